"""How far the page for Prometheus can grow, and what the world may write on it."""

from metrics_bench import AT, MARKET, Bench

from tapewatch.io.worker import Counters
from tapewatch.model import limits
from tapewatch.model.outputs import Fault, Observation
from tapewatch.sinks import metrics_names as names
from tapewatch.sinks.metrics import LINKS
from tapewatch.sinks.metrics_counts import STRANGERS
from tapewatch.sinks.metrics_settings import MetricsSettings
from tapewatch.sinks.metrics_vitals import SinkVitals, Vitals

SERIES = 2_000  # the most that one page may hold, whatever is watched


def test_the_page_is_small_whatever_is_watched() -> None:
    """100,000 markets, and a stranger in every label that has room for one."""
    bench = Bench(MetricsSettings(compat="polytraders", top_k=50))
    for i in range(limits.KEYS_PER_DETECTOR + 5):
        bench.metrics.markets.note(f"polymarket:{i:#066x}", AT, 10.0, 0.1 + i % 7, -0.2)
    for i in range(2 * STRANGERS):
        plug_in = Observation(f"d{i}", MARKET, f"c{i}", AT, 1.0, 2.0)
        bench.see([plug_in, Fault(f"k{i}", "s", "", AT)])
    bench.see([Fault("link_up", f"s{i}", "", AT) for i in range(2 * LINKS)])
    bench.metrics.vitals = lambda: Vitals(
        sinks=tuple(SinkVitals(f"sink{i}", Counters(), 0) for i in range(8)),
        states={f"detector{i}": 1 for i in range(22)},
    )
    samples = bench.samples()
    assert len(samples) < SERIES
    assert bench.value(names.MARKETS) == limits.KEYS_PER_DETECTOR
    assert bench.value(names.LEFT_OUT) == limits.KEYS_PER_DETECTOR - 400
    assert len([s for s in samples if s.name == names.Z_SCORE]) == 2 * 50
    assert bench.value(names.FAULT, kind=names.OTHER) == STRANGERS
    assert len([s for s in samples if s.name == names.LINK_UP]) == LINKS


def test_a_market_that_calms_down_makes_room() -> None:
    bench = Bench(MetricsSettings(top_k=1))
    bench.cycle(9.0, market="polymarket:0xa")
    bench.cycle(4.0, market="polymarket:0xb")
    assert [s.labels["market"] for s in bench.samples(names.Z_SCORE)] == ["polymarket:0xa"] * 2
    for _ in range(13):
        bench.wait(10)
        bench.cycle(0.1, market="polymarket:0xa")
        bench.cycle(4.0, market="polymarket:0xb")
    assert [s.labels["market"] for s in bench.samples(names.Z_SCORE)] == ["polymarket:0xb"] * 2


def test_hostile_names_stay_inside_their_label() -> None:
    bench = Bench()
    evil = 'x"} 1\ntapewatch_kill_switch{state="off"} 1\n# \\'
    bench.metrics.vitals = lambda: Vitals(kill="on", names={MARKET: evil * 9})
    bench.cycle(1.0)
    assert bench.value(names.KILL, state="off") == 0.0
    name = bench.samples(names.Z_SCORE)[0].labels["name"]
    assert name.startswith('x"} 1·tapewatch')
    assert len(name) <= 80
