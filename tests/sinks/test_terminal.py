"""The terminal sink: cards or JSON, colours or not, and nothing that a terminal would obey."""

import asyncio
import io

import msgspec
import pytest
from msgspec.structs import replace
from rich.text import Text

from tapewatch.model.errors import DeliveryError
from tapewatch.model.outputs import Alert, DataVerdict, Fault, Output, Resolved
from tapewatch.sinks.terminal import COLOURS, Screen, Terminal

ALERT = Alert(
    id="a1",
    incident="i1",
    instrument="kraken:BTC/USD",
    detector="zscore",
    cause="price_spike",
    severity="warn",
    ts_event_ns=1_763_717_452_377_000_000,
    ts_alert_ns=1_763_717_452_418_000_000,
    onset_ns=0,
    p=None,
    p_extrapolated=False,
    score=8.0,
    line=3.0,
    observed=None,
    expected=None,
    data_verdict=DataVerdict("complete"),
    reason="price [bold]jumps[/] \x1b[2J \u009b",
)
DOWN = Fault("link_down", "kraken", "", 1_763_717_452_000_000_000, "closed \x1b[0m")


def written(screen: Screen, *outputs: Output) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    asyncio.run(Terminal(out, err, screen, prices={"kraken:BTC/USD": 5.0}).deliver(outputs))
    return out.getvalue(), err.getvalue()


def test_a_card_without_codes() -> None:
    out, err = written(Screen(bell=False), ALERT)
    assert out.startswith("▲ WARN #1  kraken:BTC/USD  price [bold]jumps[/] ·[2J ·\n")
    assert "last trade 5\n" in out
    assert "\x1b" not in out + err
    assert err == ""


def test_colours_change_nothing_but_colour() -> None:
    plain, _ = written(Screen(bell=False), ALERT)
    coloured, _ = written(Screen(bell=False, color=True), ALERT)
    assert "\x1b[1;38;2;230;159;0m" in coloured
    assert Text.from_ansi(coloured).plain.rstrip() == plain.rstrip()


def test_severities_have_colours_of_their_own() -> None:
    assert len(set(COLOURS.values())) == 4


def test_the_bell_rings_from_warn_on() -> None:
    assert written(Screen(), ALERT)[0].startswith("\a")
    assert "\a" not in written(Screen(), replace(ALERT, severity="info"))[0]
    assert "\a" not in written(Screen(bell=False), ALERT)[0]


def test_ascii_only() -> None:
    out, err = written(Screen(ascii=True), ALERT, DOWN)
    assert out.isascii()
    assert err.isascii()


def test_json_lines_are_alerts_and_nothing_else() -> None:
    out, err = written(Screen(json=True), DOWN, ALERT, ALERT)
    rows = [msgspec.json.decode(line, type=Alert) for line in out.splitlines()]
    assert rows == [ALERT, ALERT]
    assert out.isascii()
    assert "disconnected" in err


def test_the_whole_payload_when_asked() -> None:
    line = written(Screen(verbose=True), ALERT)[0].splitlines()[-2]
    assert msgspec.json.decode(line.split("payload  ")[1], type=Alert) == ALERT


def test_what_happens_beside_alerts_goes_to_standard_error() -> None:
    over = Resolved("i1", "kraken:BTC/USD", "price_spike", 0, 61_000_000_000, 1, 3, 9.0)
    out, err = written(Screen(), DOWN, over)
    assert out == ""
    assert err.splitlines() == [
        "09:30:52 kraken disconnected: closed ·[0m",
        "00:01:01 kraken:BTC/USD price_spike is over after 1 m 01 s; 3 more like it",
    ]
    assert written(Screen(quiet=True), DOWN)[1] == ""


def test_faults_that_have_alerts_of_their_own_are_not_told_twice() -> None:
    assert written(Screen(), replace(DOWN, kind="gap")) == ("", "")


def test_numbers_go_on() -> None:
    out = io.StringIO()
    terminal = Terminal(out, io.StringIO(), Screen(bell=False), shown=7)
    asyncio.run(terminal.deliver((ALERT,)))
    assert out.getvalue().startswith("▲ WARN #8")


def test_nobody_reads() -> None:
    out = io.StringIO()
    out.close()
    terminal = Terminal(out, io.StringIO(), Screen())
    with pytest.raises(DeliveryError, match="cannot be written") as caught:
        asyncio.run(terminal.deliver((ALERT,)))
    assert not caught.value.retryable
