"""`gap`: silence by the stream's own record, its end, and whose silence it is."""

from math import log
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.detect.gap import KNOWN, Gap, GapState, Silence
from tapewatch.kernels.tails import READY
from tapewatch.model.events import Bar, Book, Event, Quote, Status, StatusKind, Trade
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_MS, NS_PER_S

ID = "kraken:BTC/USD"
T0 = 1_763_700_000 * NS_PER_S
MINUTE = 60 * NS_PER_S


class Bench:
    """One instrument; `now` in seconds since the start."""

    def __init__(self, detector: Gap | None = None) -> None:
        self.detector = detector or Gap()
        self.state: GapState = self.detector.start(ID)
        self.now = 0.0

    @property
    def ns(self) -> int:
        return T0 + round(self.now * 1_000) * NS_PER_MS

    def put(self, event: Event) -> Observation | None:
        return self.detector.update(self.state, event)

    def trade(self, price: float = 1.0, *, backfilled: bool = False) -> Observation | None:
        return self.put(Trade(ID, self.ns, self.ns, price, 1.0, "buy", backfilled=backfilled))

    def busy(self, mean_s: float, count: int = 4_000, seed: int = 1) -> "Bench":
        """Trades at exponential distances, cut so that none is a silence by itself."""
        random = Random(seed)
        for _ in range(count):
            self.now += min(random.expovariate(1.0 / mean_s), 6.0 * mean_s) + 0.001
            assert self.trade() is None
        return self

    def bars(self, count: int, seed: int = 1, gap_share: float = 0.05) -> "Bench":
        """Minute bars; some minutes have none."""
        random = Random(seed)
        for _ in range(count):
            self.now += 60.0 * (1 + (random.random() < gap_share))
            self.bar()
        return self

    def bar(self, price: float = 1.0) -> Observation | None:
        return self.put(Bar(ID, self.ns, self.ns, price, price, price, price, 1.0, MINUTE))

    def wait(self, seconds: int, step_s: float = 1.0) -> list[Observation]:
        """Timers."""
        found = []
        for _ in range(int(seconds / step_s)):
            self.now += step_s
            one = self.put(Timer(self.ns))
            if one is not None:
                found.append(one)
        return found

    def status(self, kind: StatusKind, instrument: str = ID, source: str = "kraken") -> None:
        assert self.put(Status(source, instrument, self.ns, self.ns, kind)) is None


def test_six_seconds_of_silence_in_ten_a_second_fire() -> None:
    bench = Bench().busy(0.1)
    (found,) = bench.wait(6)
    assert (found.cause, found.severity, found.observed) == ("silence", "warn", 5.0)
    assert found.score >= found.line == 3.5
    assert found.p is not None
    assert found.score == pytest.approx(-log(found.p) / log(10.0), abs=0.01)
    assert found.flip is not None
    assert found.flip == 5.0  # a shorter one does not matter
    assert found.reason == "nothing for 5 s (usually 0.1 s)"
    assert found.onset_ns == bench.state.last_ns


def test_told_once_again_when_high_and_when_it_ends() -> None:
    bench = Bench().busy(0.1)
    found = bench.wait(3_000)
    assert [(one.severity, one.observed) for one in found] == [("warn", 5.0), ("high", 600.0)]
    bench.now += 0.5
    ended = bench.trade(2.0)
    assert ended is not None
    assert (ended.cause, ended.severity, ended.score) == ("resumed", "info", 1.0)
    assert ended.reason == "data again after 3000 s of silence; repriced from 1 to 2 while silent"
    assert ended.observed == 3000.5
    assert bench.trade() is None
    assert bench.wait(4) == []
    assert [one.cause for one in bench.wait(2)] == ["silence"]


def test_an_outage_does_not_become_usual() -> None:
    bench = Bench().busy(0.1)
    usual = bench.state.usual_s
    for _ in range(3):
        bench.wait(3_600)
        bench.trade()
        bench.busy(0.1, 300)
    assert bench.state.usual_s == pytest.approx(usual, rel=0.5)
    assert len(bench.wait(7)) == 1


def test_a_slow_stream_is_never_more_than_noted() -> None:
    bench = Bench().busy(20.0)
    found = bench.wait(36_000)
    assert {one.severity for one in found} <= {"info"}


def test_a_burst_does_not_make_a_slow_stream_flow() -> None:
    bench = Bench().busy(20.0).busy(0.05, 300)
    assert all(one.severity == "info" for one in bench.wait(600))


def test_before_anything_is_known_it_is_a_note() -> None:
    bench = Bench()
    assert bench.wait(1_000) == []  # nothing is silent before its first event
    bench.trade()
    bench.trade()
    assert bench.wait(119) == []
    (found,) = bench.wait(2)
    assert (found.severity, found.p, found.line) == ("info", None, 1.0)
    assert found.observed == 120.0


def test_until_the_record_can_speak_a_rule_does() -> None:
    bench = Bench().busy(0.8, KNOWN + 200)
    assert bench.state.tail.seen < READY
    (found,) = bench.wait(90)
    assert (found.p, found.line, found.severity) == (None, 1.0, "warn")
    assert found.score >= 1.0
    assert found.observed is not None
    assert 60.0 <= found.observed <= 62.0


def test_a_fast_stream_need_not_wait_for_a_minute() -> None:
    """A feed of twenty a second that has run for a minute, and stops."""
    (silent,) = Bench().busy(0.05, count=1_000).wait(20)[:1]
    assert silent.severity == "warn"
    assert silent.observed is not None
    assert silent.observed <= 12.0


@pytest.mark.parametrize("told_s", [60.0, 90.0])
def test_every_silence_can_be_noted(told_s: float) -> None:
    bench = Bench(Gap(told_s=told_s)).busy(20.0)
    found, *more = bench.wait(300)
    assert all(one.severity == "info" for one in more)
    assert (found.severity, found.observed, found.p, found.line) == ("info", told_s, None, 1.0)
    ended = bench.trade()
    assert ended is not None
    assert ended.score >= ended.line
    assert bench.wait(int(told_s) - 1) == []
    assert len(bench.wait(2)) == 1


def test_what_is_noted_can_still_become_a_warning() -> None:
    bench = Bench(Gap(told_s=5.0)).busy(0.1)
    found = bench.wait(20)
    assert [one.severity for one in found] == ["info", "warn"]


def test_bars_are_silent_by_missing() -> None:
    bench = Bench().bars(4_000)
    (found,) = bench.wait(60 * 9, 60.0)
    assert (found.severity, found.observed) == ("warn", 300.0)
    ended = bench.bar(2.0)
    assert ended is not None
    assert "repriced from 1 to 2" in ended.reason


def test_bars_that_often_miss_are_no_stream_that_flows() -> None:
    bench = Bench().bars(4_000, gap_share=1.0)
    for _ in range(200):
        bench.now += 180.0
        bench.bar()
    assert all(one.severity == "info" for one in bench.wait(7_200, 60.0))


def test_bars_beside_trades_do_not_count() -> None:
    bench = Bench().busy(0.1)
    bench.now += 4.0
    bench.bar()
    assert bench.state.bar_s == 0.0
    assert len(bench.wait(2)) == 1


def test_events_of_one_message_are_one() -> None:
    bench = Bench()
    for _ in range(100):
        bench.now += 1.0
        for _ in range(50):
            bench.trade()
    assert bench.state.usual_s == pytest.approx(1.0)
    assert bench.state.tail.seen == 98  # the first message and the first gap have no record


def test_any_message_counts_but_no_backfill() -> None:
    bench = Bench().busy(0.1)
    bench.wait(4)
    bench.put(Book(ID, 0, bench.ns, (), ()))
    assert bench.wait(4) == []
    bench.put(Quote(ID, 0, bench.ns, 1.0, 1.0, 2.0, 1.0))
    assert bench.wait(4) == []
    assert bench.trade(backfilled=True) is None
    assert [one.cause for one in bench.wait(1)] == ["silence"]


def test_the_mirror_speaks_for_its_market() -> None:
    mirror = Book("polymarket:game/2", 0, 0, (), (), ID)
    assert Gap().key(mirror) == ID


def test_while_the_link_is_down_the_silence_is_the_links() -> None:
    bench = Bench().busy(0.1)
    assert bench.put(Link(bench.ns, "kraken", "down")) is None
    (found,) = bench.wait(12)
    assert found.severity == "info"
    assert found.reason.endswith(": the link to kraken is down")
    bench.put(Link(bench.ns, "kraken", "up"))
    assert bench.wait(4) == []
    (found,) = bench.wait(1)  # up again and still nothing: now it is the market's
    assert found.severity == "warn"
    ended = bench.trade()
    assert ended is not None
    assert ended.observed == 17.0


def test_another_sources_link_is_no_excuse() -> None:
    bench = Bench().busy(0.1)
    bench.put(Link(bench.ns, "polymarket", "down"))
    assert [one.severity for one in bench.wait(12)] == ["warn"]


@pytest.mark.parametrize("instrument", [ID, ""])
def test_a_halted_venue_is_not_silent(instrument: str) -> None:
    bench = Bench().busy(0.1)
    bench.status("halted", instrument)
    assert bench.wait(1_000) == []
    bench.status("online", instrument)
    assert bench.wait(4) == []
    assert [one.severity for one in bench.wait(1)] == ["warn"]


@pytest.mark.parametrize(("instrument", "source"), [("kraken:ETH/USD", "kraken"), ("", "binance")])
def test_a_halt_elsewhere_is_no_excuse(instrument: str, source: str) -> None:
    bench = Bench().busy(0.1)
    bench.status("halted", instrument, source)
    assert len(bench.wait(12)) == 1


def test_timers_are_wanted_only_when_something_may_be_due() -> None:
    bench = Bench().busy(0.1)
    assert bench.state.due_ns > 0
    asked, told = 0, []
    for _ in range(3_600):
        bench.now += 1.0
        if 0 < bench.state.due_ns <= bench.ns:
            asked += 1
            one = bench.put(Timer(bench.ns))
            told += [one.severity] if one else []
    assert told == ["warn", "high"]
    assert asked < 200
    assert bench.state.due_ns == 0  # and nothing more until data come


def hawkes(random: Random, count: int, branching: float, rate: float, decay: float) -> list[float]:
    """Gaps of a self-exciting process with exponential kernel. Reference: Ogata 1981 (thinning)."""
    gaps, excited, since, base = [], 0.0, 0.0, rate * (1.0 - branching)
    while len(gaps) < count:
        bound = base + excited
        step = random.expovariate(bound)
        since += step
        excited *= 2.718281828459045 ** (-decay * step)
        if random.random() * bound <= base + excited:
            gaps.append(since)
            since = 0.0
            excited += branching * decay
    return gaps


@pytest.mark.parametrize("branching", [0.0, 0.7])
def test_the_record_holds_for_self_exciting_streams(branching: float) -> None:
    """Realised over nominal p of the gaps' lengths, each judged as a silence just before it ends,
    is between a half and two, at 1e-2 and 1e-3 of a gap."""
    random, bench = Random(7), Bench()
    seen = {1e-2: 0, 1e-3: 0}
    count = 60_000
    for index, gap_s in enumerate(hawkes(random, count + 10_000, branching, 1.0, 5.0)):
        state = bench.state
        if index >= 10_000 and gap_s > 1.0:
            rarity: Silence = bench.detector._rarity(state, gap_s)
            assert rarity.p is not None
            p = rarity.p / max(1.0, 5.0 / state.usual_s)  # of a gap again, not of five seconds
            for nominal in seen:
                seen[nominal] += p <= nominal
        bench.now += gap_s
        at = T0 + int(bench.now * NS_PER_S)
        bench.put(Trade(ID, at, at, 1.0, 1.0, "buy"))
    for nominal, hits in seen.items():
        assert 0.5 <= hits / (nominal * count) <= 2.0, (nominal, hits)


@settings(max_examples=30)
@given(st.lists(st.floats(0.01, 400.0), min_size=1, max_size=60), st.integers(1, 40))
def test_no_silence_without_its_end(gaps: list[float], speed: int) -> None:
    """Whatever the gaps: at most one end for each silence, in turn, and none without."""
    bench = Bench(Gap(told_s=60.0)).busy(0.05 * speed, 300)
    open_ = False
    for gap_s in gaps:
        for one in bench.wait(int(gap_s)):
            assert one.cause == "silence"
            open_ = True
        bench.now += gap_s % 1.0 + 0.001
        ended = bench.trade()
        assert (ended is not None) == open_
        open_ = False


def test_keys() -> None:
    detector = Gap()
    assert detector.key(Trade(ID, 0, 0, 1.0, 1.0, "buy")) == ID
    assert detector.key(Status("kraken", ID, 0, 0, "halted")) == ID
    assert detector.key(Status("kraken", "", 0, 0, "halted")) is None
    assert detector.key(Timer(0)) is None
