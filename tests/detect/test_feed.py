"""`feed`: one table of rules, late trades, clocks."""

from typing import get_args

import pytest

from tapewatch.detect.feed import GOOD, RULES, Feed, FeedState
from tapewatch.model.events import Event, Status, StatusKind, Trade
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_MS, NS_PER_S

ID = "kraken:BTC/USD"
T0 = 1_763_700_000 * NS_PER_S


class Bench:
    """One instrument; times in ms since the start."""

    def __init__(self, key: str = ID) -> None:
        self.detector = Feed()
        self.state: FeedState = self.detector.start(key)

    def put(self, event: Event) -> Observation | None:
        return self.detector.update(self.state, event)

    def trade(self, ms: int, lag_s: float, *, backfilled: bool = False) -> Observation | None:
        at = T0 + ms * NS_PER_MS
        sent = at - int(lag_s * NS_PER_S)
        return self.put(Trade(ID, sent, at, 1.0, 1.0, "buy", backfilled=backfilled))

    def status(
        self, ms: int, kind: StatusKind, detail: str = "", **more: int
    ) -> Observation | None:
        at = T0 + ms * NS_PER_MS
        return self.put(Status("kraken", ID, at, at, kind, detail, **more))  # type: ignore[arg-type]


def test_every_status_is_either_a_rule_or_good() -> None:
    assert set(get_args(StatusKind)) == set(RULES) | GOOD
    assert not set(RULES) & GOOD


@pytest.mark.parametrize("kind", [kind for kind in get_args(StatusKind) if kind in RULES])
def test_each_fault_is_said(kind: StatusKind) -> None:
    found = Bench().status(0, kind, "why")
    assert found is not None
    severity = RULES[kind].severity if RULES[kind].from_score <= 1.0 else "info"
    assert (found.cause, found.severity) == ("feed", severity)
    assert found.score >= found.line == 1.0
    assert found.reason.startswith(RULES[kind].sentence)
    assert "why" in found.reason
    assert found.contributions[0].name == kind
    assert found.p is None


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_good_news_is_none(kind: StatusKind) -> None:
    assert Bench().status(0, kind) is None


def test_a_storm_is_one_observation_and_a_count() -> None:
    bench = Bench()
    first = bench.status(0, "malformed", "not JSON")
    assert first is not None
    assert first.reason == "a frame cannot be read (not JSON)"
    for ms in range(1, 60_000, 10):
        assert bench.status(ms, "malformed") is None
    assert bench.state.repeats == {"malformed": 6_000}
    assert bench.status(30_000, "invalid") is not None  # another kind is another matter
    later = bench.status(60_000, "malformed")
    assert later is not None
    assert later.reason == "a frame cannot be read; 6000 more since it was last said"
    assert later.contributions[0].score == 6_001.0
    assert bench.state.repeats == {}


def test_a_gap_names_what_is_missing_and_since_when() -> None:
    found = Bench().status(0, "gap_lost", first_id=7, last_id=9, since_ns=T0 - 5)
    assert found is not None
    assert "(7 to 9)" in found.reason
    assert found.onset_ns == T0 - 5


def test_venue_text_is_cleaned() -> None:
    found = Bench().status(0, "rejected", "\x1b[31mno\n")
    assert found is not None
    assert found.reason == "the venue refused a subscription (·[31mno·)"


def test_source_wide_statuses_have_a_key_of_their_own() -> None:
    wide = Status("kraken", "", T0, T0, "malformed")
    assert Feed().key(wide) == "kraken:*"
    assert Bench().put(wide) is None
    found = Bench("kraken:*").put(wide)
    assert found is not None
    assert found.instrument == "kraken:*"


def test_a_clock_that_steps_back_does_not_silence_a_fault() -> None:
    bench = Bench()
    assert bench.status(0, "malformed") is not None
    assert bench.status(-3_600_000, "malformed") is not None


def test_lag_is_said_once_until_it_has_subsided() -> None:
    bench = Bench()
    assert bench.trade(0, 5.0) is None
    found = bench.trade(1, 10.0)
    assert found is not None
    assert (found.score, found.observed, found.severity) == (2.0, 10.0, "warn")
    assert found.reason == "trades arrive late (by 10.0 s)"
    for ms, lag_s in ((70_000, 10.0), (70_001, 3.0), (140_000, 6.0)):
        assert bench.trade(ms, lag_s) is None
    assert bench.trade(140_001, 1.0) is None
    assert bench.trade(140_002, 6.0) is not None


def test_backfilled_trades_are_late_by_nature() -> None:
    assert Bench().trade(0, 3_600.0, backfilled=True) is None


def test_a_venue_clock_ahead_of_ours() -> None:
    bench = Bench()
    assert bench.trade(0, -1.0) is None
    found = bench.trade(1, -2.0)
    assert found is not None
    assert (found.score, found.observed) == (2.0, -2.0)
    assert found.severity == "info"
    assert "the venue's is 2.0 s ahead" in found.reason
    assert bench.trade(70_000, -0.9) is None
    assert bench.trade(70_001, -2.0) is None
    assert bench.trade(70_002, 0.0) is None
    assert bench.trade(70_003, -2.0) is not None
    worse = Bench().trade(0, -5.0)
    assert worse is not None
    assert worse.severity == "warn"


def test_measured_lag_and_clock_of_the_decoder() -> None:
    at = T0
    found = Bench().put(Status("kraken", ID, at, at, "clock", value=4.2))
    assert found is not None
    assert (found.score, found.observed, found.unit) == (4.2, 4.2, "s")
    found = Bench().put(Status("kraken", ID, at, at, "lag", value=20.0))
    assert found is not None
    assert found.score == 4.0
