"""The card: what it says, and that nothing a venue writes can break it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from tapewatch.model.outputs import SEVERITIES, Alert, Contribution, DataVerdict
from tapewatch.sinks.card import CARD_LINES, card
from tapewatch.sinks.wording import ascii_text, fit, json_text, number, size_text

ALERT = Alert(
    id="a-7Q4K",
    incident="i-31",
    instrument="kraken:BTC/USD",
    detector="zscore",
    cause="price_spike",
    severity="warn",
    ts_event_ns=1_763_717_452_377_000_000,
    ts_alert_ns=1_763_717_452_418_000_000,
    onset_ns=1_763_717_452_377_000_000,
    p=4e-6,
    p_extrapolated=False,
    score=8.41,
    line=3.0,
    observed=87412.3,
    expected=86630.0,
    expected_low=86540.0,
    expected_high=86720.0,
    flip=86790.0,
    contributions=(Contribution("price", 8.41), Contribution("volume", -2.2)),
    baseline_count=3600,
    data_verdict=DataVerdict("complete", lag_ms=41.0, book="thin", other_venue="agrees"),
    sigma=8.41,
    deviation=90.3,
    deviation_unit="bps",
    alarms_per_day=6.0,
    realised_per_day=1.25,
    reason="price 87412.3 is 8.4 standard deviations above its mean 86630 of the last 1 h 00 m",
    evidence={"seq": 1234},
)
HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07", "a\nWARN forged", "\u202egnp.exe", "[bold red]x[/]", "\x9b31m",
    "表" * 300, "e\u0301" * 300, "\u200b\ufeff", "%s%n{0}", "'; rm -rf /", "\ud800",
    "\u202e" + "x" * 5000,
)  # fmt: skip


def test_the_card_to_the_word() -> None:
    assert card(ALERT, 1, last_price=87400.1) == [
        "▲ WARN #1  kraken:BTC/USD  price 87412.3 is 8.4 standard deviations above its",
        "   mean 86630 of the last 1 h 00 m",
        "   when     09:30:52.418 +00:00 (trade time 09:30:52.377)",
        "   id       a-7Q4K",
        "   market   last trade 87,400.1",
        "   found    87,412.3   expected 86,540 … 86,720   (flip point 86,790)",
        "   odd      +90.3 bps · 8.41 sigma",
        "   score    8.41 against a line of 3 (zscore) · p = 4e-06",
        "   because  price +8.41  volume -2.2",
        "   trust    feed complete, lag 41 ms · book thin · the other venue agrees",
        "   evidence tape record 1,234 · baseline of 3,600 · 1.2 of 6 alarms a day",
    ]


def test_counted_things_have_their_unit() -> None:
    counted = (Contribution("gap", 3.0, unit="times"), Contribution("lag", 1.5))
    assert "   because  gap 3 times  lag +1.5" in card(replace(ALERT, contributions=counted), 1)


def test_once() -> None:
    counted = (Contribution("gap", 1.0, unit="times"),)
    assert "   because  gap once" in card(replace(ALERT, contributions=counted), 1)


def test_what_a_timer_tells_has_no_trade_time_and_no_lag() -> None:
    told = replace(
        ALERT, ts_event_ns=ALERT.ts_alert_ns, data_verdict=DataVerdict("stale", lag_ms=0.0)
    )
    lines = card(told, 1)
    assert "   when     09:30:52.418 +00:00" in lines
    assert "   trust    the feed is stale" in lines


def test_in_ascii_it_is_as_wide() -> None:
    lines = card(ALERT, 1)
    assert [len(ascii_text(line)) for line in lines] == [len(line) for line in lines]
    assert ascii_text(lines[0]).startswith("! WARN #1")
    assert all(ascii_text(line).isascii() for line in lines)


def test_never_colour_alone() -> None:
    heads = [card(replace(ALERT, severity=severity), 1)[0] for severity in SEVERITIES]
    assert [head[:8].strip() for head in heads] == ["i INFO #", "▲ WARN #", "◆ HIGH #", "■ PAGE #"]
    assert len({ascii_text(head)[0] for head in heads}) >= 3


def test_data_that_are_not_live_say_so_first() -> None:
    assert "[DEMO] kraken" in card(ALERT, 1, banner="DEMO")[0]
    assert "[SIMULATED] kraken" in card(replace(ALERT, simulated=True), 1)[0]


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (DataVerdict("gap", gap_before_s=12.3), "a gap 12 s ago"),
        (DataVerdict("stale", lag_ms=9_000.0), "the feed is stale, lag 9,000 ms"),
    ],
)
def test_what_the_data_are_worth(verdict: DataVerdict, said: str) -> None:
    assert f"   trust    {said}" in card(replace(ALERT, data_verdict=verdict), 1)


def check_page(lines: list[str]) -> None:
    assert len(lines) <= CARD_LINES
    for line in lines:
        assert cell_len(line) <= 80
        assert not re.search("[\x00-\x1f\x7f-\x9f\u200b\u2028\u202e]", line)
        line.encode()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names(text: str) -> None:
    hostile = replace(
        ALERT,
        instrument=text,
        reason=text,
        id=text,
        incident=text,
        unit=text,
        cause=text,
        detector=text,
        contributions=tuple(Contribution(text, 1.0) for _ in range(30)),
    )
    check_page(card(hostile, 1, banner=text))


@given(st.text(max_size=400), st.floats(allow_nan=True), st.integers(0, 10**9))
def test_any_text_and_number_fit(text: str, value: float, count: int) -> None:
    alert = replace(ALERT, reason=text, instrument=text, observed=value, expected_low=value)
    check_page(card(alert, count, last_price=value))


def test_markup_is_text() -> None:
    assert "[bold red]x[/]" in card(replace(ALERT, reason="[bold red]x[/]"), 1)[0]


def test_numbers_and_sizes() -> None:
    values = (87412.3, 0.00054749, 86630.0, 1e-9, 0.0, -12.5, 1e20, 3476189.4469, 100.0)
    assert [number(value) for value in values] == [
        "87,412.3", "0.00054749", "86,630", "1e-09", "0", "-12.5", "1e+20", "3,476,189.4", "100",
    ]  # fmt: skip
    sizes = (0, 1023, 1024, 15_938_355, 10**12)
    assert [size_text(size) for size in sizes] == ["0 B", "1,023 B", "1.0 KB", "15.2 MB", "931 GB"]
    assert fit("x" * 81) == "x" * 79 + "…"


@given(st.text())
def test_json_for_terminals_is_the_same_value(text: str) -> None:
    value = {"a": text.encode("utf-8", "replace").decode()}
    shown = json_text(json.dumps(value, ensure_ascii=False).encode())
    assert json.loads(shown) == value
    assert shown.isascii()
    assert shown.isprintable()
