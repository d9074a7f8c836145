"""Bot 4.15's unit tests and its properties, from venue to gate with exact numbers.

S2-UNIT-1  a price 5 sigma above the mean is reported as anomalous
S2-UNIT-2  half a sigma is normal, and told every tenth cycle
S2-UNIT-3  nothing is reported while the kill switch is on
S2-PROP-1  it never submits or signs orders: `tests/test_read_only.py` looks at the code, and
           `test_s2_failures.py` at all requests of a session
S2-PROP-2  no report goes out while the kill switch is on, whatever happens
"""

import itertools
import statistics
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tapewatch.app.build import engine_of
from tapewatch.app.config import DEFAULT_DETECTORS, assemble
from tapewatch.app.environment import Setting
from tapewatch.engine.engine import Engine
from tapewatch.model.inputs import Command, Frame, Input, Link, Timer
from tapewatch.model.outputs import Alert, Fault, Observation, Output, Report, Suppressed
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.venues.ndjson import Row, TradeRow

CONDITION, OTHER = "0xf1a2" + "0" * 60, "0x0b0b" + "0" * 60
MARKET = f"polymarket:{CONDITION}"
T0 = 1_746_703_000 // 30 * 30 * NS_PER_S
CYCLE = 30 * NS_PER_S
KILLED = "KILL_SWITCH_ACTIVE"
MARKETS = [
    {"condition": CONDITION, "yes": "11", "no": "12", "slug": "a-game"},
    {"condition": OTHER, "yes": "21", "no": "22", "slug": "another-game"},
]
TOKENS = {market["condition"]: market["yes"] for market in MARKETS}


class Bench:
    """The decoder of Polymarket, an engine with the bot's detector in its default configuration,
    and a cycle every 30 s. Trades come as imported rows."""

    def __init__(self, *changes: tuple[str, object]) -> None:
        settings = {
            "source.polymarket.markets": MARKETS,
            "source.polymarket.mode": "poll",
            "source.polymarket.trades": "off",
            "source.ndjson.ids": (MARKET,),
            "detector.zscore.cycle_s": 30.0,
            **{f"detector.{name}.enabled": False for name in DEFAULT_DETECTORS},
            **dict(changes),
        }
        said = [Setting(tuple(path.split(".")), value, "test") for path, value in settings.items()]
        self.engine: Engine = engine_of(assemble(said)[0])
        self.now = T0
        self.put(Link(T0, "polymarket", "up", "", stream="clob"))

    def put(self, item: Input) -> list[Output]:
        self.now = max(self.now, item.ts_recv)
        return self.engine.step(item)

    def mid(self, price: float, condition: str = CONDITION) -> list[Output]:
        """The answer to a request for books: one around `price`, a cent wide."""
        self.now += NS_PER_MS
        book = {
            "market": condition,
            "asset_id": TOKENS[condition],
            "timestamp": str(self.now // NS_PER_MS),
            "bids": [{"price": f"{price - 0.005:.4f}", "size": "100"}],
            "asks": [{"price": f"{price + 0.005:.4f}", "size": "100"}],
        }
        body = msgspec.json.encode([book])
        return self.put(Frame(self.now, "polymarket", body, "rest:/books?batch=0"))

    def trade(self, size: float) -> list[Output]:
        self.now += NS_PER_MS
        row = Row(trade=TradeRow(MARKET, self.now, 0.5, size))
        return self.put(Frame(self.now, "ndjson", msgspec.json.encode(row), "rest:import"))

    def kill(self, word: str) -> list[Output]:
        return self.put(Command(self.now, "test", "kill", word))

    def timer(self) -> list[Output]:
        """The next cycle begins."""
        return self.put(Timer(self.now // CYCLE * CYCLE + CYCLE))

    def cycle(self, price: float) -> list[Output]:
        return [*self.mid(price), *self.timer()]

    def baseline(self) -> list[float]:
        """An hour around 0.5, with a deviation of 0.01."""
        prices = [0.49, 0.51] * 60
        for price in prices:
            self.cycle(price)
        return prices


def reports(outputs: Sequence[Output]) -> list[Report]:
    return [one for one in outputs if isinstance(one, Report)]


def held(outputs: Sequence[Output], what: str = "report") -> list[str]:
    """Why things of this kind did not go out."""
    return [one.reason for one in outputs if isinstance(one, Suppressed) and one.what == what]


def test_s2_unit_1_price_spike_is_reported_as_anomalous() -> None:
    """S2: a mid price 5 sigma above the rolling mean of an hour gives an ObservationReport with
    z_price = 5.0, anomaly_detected true, and the warning PRICE_SPIKE."""
    bench = Bench()
    bench.baseline()
    (report,) = reports(bench.cycle(0.55))
    assert report.z_price == pytest.approx(5.0, abs=1e-6)
    assert report.anomaly_detected is True
    assert report.warnings == ("ANOMALYDETECTOR_PRICE_SPIKE",)
    assert report.kind == "ObservationReport"
    assert report.condition_id == CONDITION
    assert report.emitted_at_ms == report.poll_cycle_ms == bench.now // NS_PER_MS
    assert report.baseline_sample_count == 120


@pytest.mark.parametrize(("z", "word"), [(2.9, "low_confidence"), (3.1, "anomaly_detected")])
def test_s2_unit_1_price_spike_begins_at_three_sigma(z: float, word: str) -> None:
    """S2: from 3 sigma it is an anomaly; between 2 and 3 it goes out as low_confidence."""
    bench = Bench()
    bench.baseline()
    (report,) = reports(bench.cycle(0.5 + 0.01 * z))
    assert report.z_price == pytest.approx(z, abs=1e-6)
    flags = [name for name in ("low_confidence", "anomaly_detected") if getattr(report, name)]
    assert flags == [word]


def test_s2_unit_1_volume_spike_is_reported_as_anomalous() -> None:
    """S2 (its gate to shadow_only): the same for volume, with the warning VOLUME_SPIKE."""
    bench = Bench()
    for number in range(120):
        size = 100.0 + 20.0 * (number % 2)
        bench.trade(size)
        bench.cycle(0.49 + 0.02 * (number % 2))
    bench.trade(50_000.0)
    (report,) = reports(bench.cycle(0.5))
    assert report.anomaly_detected is True
    assert report.warnings == ("ANOMALYDETECTOR_VOLUME_SPIKE",)
    assert report.z_vol is not None
    assert report.z_vol > 5.0


def test_s2_unit_1_without_a_baseline_there_is_no_z_score() -> None:
    """S2 (its gate to shadow_only): with too few data points the check is left out, and
    INSUFFICIENT_BASELINE is said."""
    bench = Bench()
    said = [report for number in range(29) for report in reports(bench.cycle(0.1 + 0.02 * number))]
    assert said
    for report in said:
        assert (report.z_price, report.z_vol, report.anomaly_detected) == (None, None, False)
        assert report.warnings == ("ANOMALYDETECTOR_INSUFFICIENT_BASELINE",)


def test_s2_unit_2_sampled_reports_of_normal_cycles() -> None:
    """S2: half a sigma above the mean with sample_rate 10 is told every tenth cycle, with
    anomaly_detected false."""
    bench = Bench()
    prices = bench.baseline()
    told: list[Report] = []
    for _ in range(100):
        hour = prices[-120:]
        price = statistics.fmean(hour) + 0.5 * statistics.pstdev(hour)
        prices.append(round(price, 4))  # the finest the venue has
        outputs = bench.cycle(prices[-1])
        told += reports(outputs)
        assert held(outputs) == ([] if reports(outputs) else ["SAMPLED_OUT"])
    assert [report.anomaly_detected for report in told] == [False] * 10
    assert [report.z_price for report in told] == pytest.approx([0.5] * 10, abs=0.05)
    cycles = [report.poll_cycle_ms * NS_PER_MS // CYCLE for report in told]
    assert [after - before for before, after in itertools.pairwise(cycles)] == [10] * 9


def test_s2_unit_3_kill_switch_suppresses_the_report() -> None:
    """S2: with the kill switch on and an anomaly present there is no ObservationReport, and
    KILL_SWITCH_ACTIVE is logged."""
    bench = Bench()
    bench.baseline()
    (fault,) = [one for one in bench.kill("on") if isinstance(one, Fault)]
    assert fault.kind == "killswitch_on"  # a line of the session's log
    assert KILLED in fault.detail
    outputs = bench.cycle(0.55)
    assert reports(outputs) == []
    assert held(outputs) == [KILLED]
    assert not [one for one in outputs if isinstance(one, Alert)]
    seen = [one for one in outputs if isinstance(one, Observation) and one.detector == "zscore"]
    assert [one.score for one in seen] == pytest.approx([5.0], abs=1e-6)  # it goes on detecting


moves = st.one_of(
    st.tuples(st.just("kill"), st.sampled_from(["on", "off", "off", "unknown", "unreadable: why"])),
    st.tuples(
        st.sampled_from([CONDITION, OTHER]),
        st.sampled_from([0.3, 0.48, 0.49, 0.5, 0.51, 0.52, 0.9]),
    ),
    st.tuples(st.just("trade"), st.sampled_from([1.0, 100.0, 1e6])),
    st.tuples(st.just("timer"), st.integers(1, 12)),
    st.tuples(st.just("link"), st.sampled_from(["up", "down"])),
)


@given(st.lists(moves, max_size=60))
def test_s2_prop_2_no_report_while_killed(script: list[tuple[str, object]]) -> None:
    """S2: no ObservationReport is emitted while the kill switch is on. Always.

    Every cycle is told here that can be, so that each one is a chance to break it; and what is held
    back is counted, so that nothing is just lost.
    """
    bench = Bench(("detector.zscore.min_samples", 2), ("gate.sample_rate", 1))
    killed, silenced, told = False, 0, 0
    for what, value in [
        (CONDITION, 0.5),
        ("timer", 1),
        (CONDITION, 0.5),
        ("timer", 2),
        *script,
        ("timer", 2),
    ]:
        match what:
            case "kill":
                outputs = bench.kill(str(value))
                killed = value != "off"
            case "timer":
                assert isinstance(value, int)
                outputs = [one for _ in range(value) for one in bench.timer()]
            case "link":
                state = "up" if value == "up" else "down"
                outputs = bench.put(Link(bench.now, "polymarket", state, "test", stream="clob"))
            case "trade":
                assert isinstance(value, float)
                outputs = bench.trade(value)
            case _:
                assert isinstance(value, float)
                outputs = bench.mid(value, what)
        judged = [one for one in outputs if isinstance(one, Observation) and one.report]
        out = [one for one in outputs if isinstance(one, Report | Alert)]
        if killed:
            assert out == []
            assert held(outputs).count(KILLED) == len(judged)
            silenced += len(judged)
        else:
            assert len(reports(outputs)) == len(judged)
            assert KILLED not in held(outputs)
            told += len(judged)
    event(f"silenced: {silenced > 0}, told: {told > 0}")
