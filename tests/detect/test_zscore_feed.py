"""`zscore`: cycles without data, volume with holes, and markets that are over."""

import pytest

from tapewatch.detect.zscore import ZScore
from tapewatch.detect.zscore_state import ZScoreState
from tapewatch.engine.detecting import Keyed
from tapewatch.kernels.windows import count
from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Quote, Status, StatusKind, Trade
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Observation
from tapewatch.model.time import NS_PER_S

ID = "polymarket:0xab12"
T0 = 1_763_700_000 * NS_PER_S
WINDOW_S = 60


class Bench:
    """One market, a cycle a second, a quote and a trade in each."""

    def __init__(self) -> None:
        self.detector = ZScore(volume_window_s=WINDOW_S)
        self.state: ZScoreState = self.detector.start(ID)
        self.now = T0

    def cycle(self) -> Observation | None:
        self.now += NS_PER_S
        mid = 0.5 + 0.01 * (self.now // NS_PER_S % 3)
        self.detector.update(self.state, Quote(ID, self.now, self.now, mid, 1.0, mid + 0.01, 1.0))
        size = 1.0 + self.now // NS_PER_S % 5
        self.detector.update(self.state, Trade(ID, self.now, self.now, mid, size, "buy"))
        return self.detector.update(self.state, Timer(self.now))

    def judged(self, cycles: int = 1) -> list[str]:
        """What the last of some cycles had a z-score of."""
        found = None
        for _ in range(cycles):
            found = self.cycle()
        return [part.name for part in found.contributions] if found is not None else []

    def say(
        self, kind: StatusKind, about: str = ID, source: str = "polymarket", value: float = 0.0
    ) -> None:
        status = Status(source, about, self.now, self.now, kind, "why", value=value)
        assert self.detector.update(self.state, status) is None

    def link(self, stream: str) -> None:
        self.detector.update(self.state, Link(self.now, "polymarket", "down", "", stream))


BOTH = ["price", "volume"]


@pytest.fixture
def bench() -> Bench:
    ready = Bench()
    assert ready.judged(200) == BOTH
    return ready


@pytest.mark.parametrize("about", [ID, ""])
@pytest.mark.parametrize(("bad", "good"), [("stale", "current"), ("halted", "online")])
def test_without_current_data_cycles_are_left_out(
    bench: Bench, bad: StatusKind, good: StatusKind, about: str
) -> None:
    before = count(bench.state.prices)
    bench.say(bad, about)
    assert bench.judged(100) == []
    assert count(bench.state.prices) == before  # nothing joins the baseline
    bench.say(good, about)
    assert bench.judged() == BOTH


def test_what_is_said_of_a_market_and_of_all_is_taken_back_apart(bench: Bench) -> None:
    bench.say("stale")
    bench.say("stale", "")
    bench.say("current", "")
    assert bench.judged() == []
    bench.say("current")
    assert bench.judged() == BOTH


def test_an_unchanged_price_is_believed_again_when_data_are_current(bench: Bench) -> None:
    bench.say("stale")
    bench.say("current")
    bench.now += NS_PER_S
    assert bench.detector.update(bench.state, Timer(bench.now)) is not None


@pytest.mark.parametrize("about", [ID, ""])
def test_s2_volume_is_not_judged_while_trades_may_be_missing(bench: Bench, about: str) -> None:
    """Its fallback: skip the volume z-score if the Data API is unavailable, price anomaly only."""
    volumes = count(bench.state.volumes)
    bench.say("incomplete", about)
    assert bench.judged(30) == ["price"]
    assert count(bench.state.volumes) == volumes  # nor does a hole join the baseline
    bench.say("complete", about)
    assert bench.judged(WINDOW_S - 1) == ["price"]  # the window still has the hole
    assert bench.judged() == BOTH


def test_a_hole_that_is_told_afterwards_counts(bench: Bench) -> None:
    bench.say("incomplete")
    bench.say("complete")
    assert bench.judged() == ["price"]


def test_the_baseline_of_a_market_that_is_over_is_dropped(bench: Bench) -> None:
    bench.say("halted", value=1.0)
    assert (count(bench.state.prices), count(bench.state.volumes)) == (0, 0)
    bench.say("online")
    found = bench.cycle()
    assert found is not None
    assert not found.ready


def test_other_words_and_other_sources_change_nothing(bench: Bench) -> None:
    for kind in ("listed", "duplicate", "mute", "checksum"):
        bench.say(kind)  # type: ignore[arg-type]
    for kind in ("stale", "halted", "incomplete"):
        bench.say(kind, "", "kraken")  # type: ignore[arg-type]
    assert bench.judged() == BOTH


def test_only_the_socket_that_is_the_source_takes_the_price_away(bench: Bench) -> None:
    for stream in ("gamma", "data", "clob", "ws:0"):
        bench.link(stream)
    assert bench.detector.update(bench.state, Timer(bench.now + NS_PER_S)) is not None
    bench.link("ws")
    assert bench.detector.update(bench.state, Timer(bench.now + 2 * NS_PER_S)) is None


def test_what_is_said_of_a_mirror_is_no_market_of_ours() -> None:
    detector = ZScore()
    assert detector.key(Status("polymarket", f"{ID}/NO", T0, T0, "mute")) is None
    assert detector.key(Status("polymarket", ID, T0, T0, "mute")) == ID
    assert detector.key(Status("polymarket", "", T0, T0, "stale")) is None


def test_a_word_about_the_feed_does_not_stand_in_the_way_of_a_baseline_that_comes_back(
    bench: Bench,
) -> None:
    detector = bench.detector
    data = detector.packed(bench.state)
    keyed = Keyed(detector, lambda *_: None)
    keyed.measure(ID, Status("polymarket", ID, T0, T0, "listed"), 1, [])
    keyed.adopt(ID, data, bench.now, 2)
    assert count(keyed.states[ID].prices) > 100
    with pytest.raises(DecodeError, match="measured already"):
        keyed.adopt(ID, data, bench.now, 3)
