"""`staleness`: silence, its repetition, its end, and whose silence it is."""

import msgspec
import pytest

from tapewatch.detect.staleness import Staleness, StalenessState
from tapewatch.model.errors import ConfigError
from tapewatch.model.events import Book, Event, Quote, Status, StatusKind, Trade
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_MS, NS_PER_S

ID = "kraken:BTC/USD"
T0 = 1_763_700_000 * NS_PER_S


class Bench:
    """One instrument; `now` in seconds since the start."""

    def __init__(self, detector: Staleness | None = None) -> None:
        self.detector = detector or Staleness()
        self.state: StalenessState = self.detector.start(ID)
        self.now = 0.0

    @property
    def ns(self) -> int:
        return T0 + round(self.now * 1_000) * NS_PER_MS

    def put(self, event: Event) -> Observation | None:
        return self.detector.update(self.state, event)

    def trade(self, *, backfilled: bool = False) -> Observation | None:
        return self.put(Trade(ID, self.ns, self.ns, 1.0, 1.0, "buy", backfilled=backfilled))

    def busy(self, gap_s: float, count: int = 200) -> None:
        for _ in range(count):
            self.now += gap_s
            assert self.trade() is None

    def wait(self, seconds: int) -> list[Observation]:
        """Timers, one a second."""
        found = []
        for _ in range(seconds):
            self.now += 1.0
            one = self.put(Timer(self.ns))
            if one is not None:
                found.append(one)
        return found

    def status(self, kind: StatusKind, instrument: str = ID, source: str = "kraken") -> None:
        assert self.put(Status(source, instrument, self.ns, self.ns, kind)) is None


def test_silence_is_said_once_and_again_when_it_has_doubled() -> None:
    bench = Bench()
    bench.busy(0.3)
    found = bench.wait(50)
    assert [one.observed for one in found] == [11.0, 23.0, 47.0]
    first = found[0]
    assert (first.cause, first.severity, first.ready) == ("silence", "warn", True)
    assert first.reason == "nothing for 11 s (normal: 0.3 s)"
    assert first.score == pytest.approx(1.1)
    assert first.line == 1.0
    assert first.onset_ns == bench.state.last_ns
    assert (first.flip, first.unit) == (10.0, "s")
    assert first.expected == pytest.approx(0.3)


def test_resumed_once_with_the_length() -> None:
    bench = Bench()
    bench.busy(0.3)
    bench.wait(18)
    found = bench.put(Quote(ID, bench.ns, bench.ns, 1.0, 1.0, 2.0, 1.0))
    assert found is not None
    assert (found.cause, found.severity, found.observed) == ("resumed", "info", 18.0)
    assert found.reason == "data again after 18 s of silence"
    assert found.score >= found.line
    assert bench.trade() is None
    assert bench.wait(9) == []
    assert len(bench.wait(2)) == 1


def test_a_slow_market_is_given_twenty_of_its_gaps() -> None:
    bench = Bench()
    bench.busy(2.0)
    assert bench.wait(40) == []
    assert [one.cause for one in bench.wait(1)] == ["silence"]


def test_beyond_the_ceiling_it_is_always_silent() -> None:
    bench = Bench()
    bench.busy(30.0)
    assert bench.wait(120) == []
    assert [one.score for one in bench.wait(1)] == [pytest.approx(121 / 120)]


def test_until_the_normal_is_known_only_the_ceiling_counts() -> None:
    bench = Bench()
    bench.busy(0.3, count=10)
    assert bench.wait(120) == []
    (found,) = bench.wait(1)
    assert found.reason == "nothing for 121 s"
    assert found.expected is None


def test_one_outage_does_not_become_normal() -> None:
    bench = Bench()
    bench.busy(0.3)
    bench.wait(3_600)
    assert bench.trade() is not None
    bench.busy(0.3, count=50)
    assert bench.state.gap_s < 0.6
    assert len(bench.wait(13)) == 1


def test_events_of_one_message_are_one() -> None:
    bench = Bench()
    for _ in range(100):
        bench.now += 1.0
        for _ in range(50):
            bench.trade()
    assert bench.state.gap_s == pytest.approx(1.0)


def test_any_market_event_counts_but_not_backfill() -> None:
    bench = Bench()
    bench.busy(0.3)
    bench.wait(8)
    bench.put(Book(ID, 0, bench.ns, (), ()))
    assert bench.wait(10) == []
    assert bench.trade(backfilled=True) is None
    assert [one.cause for one in bench.wait(1)] == ["silence"]


def test_while_the_link_is_down_the_silence_is_the_links() -> None:
    bench = Bench()
    bench.busy(0.3)
    assert bench.put(Link(bench.ns, "kraken", "down")) is None
    (found,) = bench.wait(12)
    assert found.severity == "info"
    assert found.reason == "nothing for 11 s (normal: 0.3 s): the link to kraken is down"
    bench.put(Link(bench.ns, "kraken", "up"))
    assert bench.wait(10) == []
    (found,) = bench.wait(1)  # up again and still nothing: now it is the market's
    assert found.severity == "warn"
    ended = bench.trade()
    assert ended is not None
    assert ended.observed == 23.0


def test_another_sources_link_is_no_excuse() -> None:
    bench = Bench()
    bench.busy(0.3)
    bench.put(Link(bench.ns, "polymarket", "down"))
    assert [one.severity for one in bench.wait(12)] == ["warn"]


@pytest.mark.parametrize("instrument", [ID, ""])
def test_a_halted_venue_is_not_silent(instrument: str) -> None:
    bench = Bench()
    bench.busy(0.3)
    bench.status("halted", instrument)
    assert bench.wait(1_000) == []
    bench.status("online", instrument)
    assert bench.wait(10) == []
    assert [one.severity for one in bench.wait(1)] == ["warn"]


@pytest.mark.parametrize(("instrument", "source"), [("kraken:ETH/USD", "kraken"), ("", "binance")])
def test_a_halt_elsewhere_is_no_excuse(instrument: str, source: str) -> None:
    bench = Bench()
    bench.busy(0.3)
    bench.status("halted", instrument, source)
    assert len(bench.wait(12)) == 1


def test_nothing_is_silent_before_its_first_event() -> None:
    bench = Bench()
    bench.status("subscribed")
    bench.put(Link(bench.ns, "kraken", "up"))
    assert bench.wait(1_000) == []


def test_keys() -> None:
    detector = Staleness()
    assert detector.key(Trade(ID, 0, 0, 1.0, 1.0, "buy")) == ID
    assert detector.key(Status("kraken", ID, 0, 0, "halted")) == ID
    assert detector.key(Status("kraken", "", 0, 0, "halted")) is None
    assert detector.key(Timer(0)) is None


def test_limits_must_be_in_order() -> None:
    with pytest.raises(ConfigError, match="min_silence_s = 200 is above max_silence_s = 120"):
        msgspec.convert({"min_silence_s": 200.0}, Staleness)
