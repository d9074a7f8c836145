"""The page for Prometheus: what it counts, and what it shows of markets and of the process."""

import pytest
from metrics_bench import AT, CONDITION, MARKET, Bench, scored
from msgspec.structs import replace

from tapewatch.gate.alerts import Candidate
from tapewatch.gate.gate import Gate, judge, on_kill
from tapewatch.io.worker import Counters
from tapewatch.model.outputs import Alert, DataVerdict, Fault, Observation, Report, Resolved
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_S
from tapewatch.sinks import metrics_names as names
from tapewatch.sinks.metrics_settings import MetricsSettings
from tapewatch.sinks.metrics_vitals import SinkVitals, Vitals


def test_counters_begin_at_zero() -> None:
    """The first increment of a counter that is born at 1 is invisible to `rate`."""
    bench = Bench(MetricsSettings(compat="polytraders"))
    for cause in names.CAUSES:
        for severity in ("info", "warn", "high", "page"):
            assert bench.value(names.ALERTS, cause=cause, severity=severity) == 0.0
    for reason in Reason:
        assert bench.value(names.SUPPRESSED, what="report", reason=str(reason)) == 0.0
    for spike in names.SPIKES:
        assert bench.value(names.ANOMALIES, type=spike) == 0.0
        assert bench.value(names.THEIR_ANOMALIES, anomaly_type=spike) == 0.0
    for flag in ("true", "false"):
        assert bench.value(names.REPORTS, anomaly_detected=flag) == 0.0
        assert bench.value(names.THEIR_REPORTS, anomaly_detected=flag) == 0.0
    for what in names.QUANTITIES:
        assert bench.value(names.HIGH_Z, metric=what) == 0.0
        assert bench.value(names.Z_LARGEST, metric=what) == 0.0
    assert bench.value(names.CYCLES) == bench.value(names.RESOLVED) == 0.0
    assert bench.value(names.OBSERVATIONS, detector="zscore") == 0.0
    assert bench.value(names.FAULT, kind="killswitch_unreadable") == 0.0


def test_a_spike_down() -> None:
    bench = Bench()
    bench.cycle(-8.4, 1.2)
    assert bench.value(names.ANOMALIES, type="price_spike") == 1.0
    assert bench.value(names.ANOMALIES, type="volume_spike") == 0.0
    assert bench.value(names.HIGH_Z, metric="price") == 1.0
    assert bench.value(names.REPORTS, anomaly_detected="true") == 1.0
    assert bench.value(names.Z_SCORE, market=MARKET, metric="price") == -8.4
    assert bench.value(names.Z_LARGEST, metric="price") == 8.4
    assert bench.value(names.ALERTS, cause="price_spike", severity="page") == 1.0


def test_a_spike_shorter_than_a_scrape() -> None:
    """It is over at the next cycle, 10 s later, and Prometheus comes every 15 s: the latest score
    tells nothing, the peak and the counter do."""
    bench = Bench()
    bench.cycle(8.4)
    bench.wait(10)
    bench.cycle(0.3)
    assert bench.value(names.Z_SCORE, market=MARKET, metric="price") == 0.3
    assert bench.value(names.Z_PEAK, market=MARKET, metric="price") == 8.4
    assert bench.value(names.Z_LARGEST, metric="price") == 8.4
    assert bench.value(names.HIGH_Z, metric="price") == 1.0


@pytest.mark.parametrize("early", range(0, 60, 10))
def test_a_peak_is_seen_for_a_minute_and_then_fades(early: int) -> None:
    bench = Bench()
    bench.wait(early)
    bench.cycle(9.0)
    for _ in range(6):
        bench.wait(10)
        bench.cycle(0.5)
        assert bench.value(names.Z_LARGEST, metric="price") == 9.0
    for _ in range(6):
        bench.wait(10)
        bench.cycle(0.5)
    assert bench.value(names.Z_LARGEST, metric="price") == 0.5


def test_an_old_z_score_is_not_shown() -> None:
    """Bot 4.15's main failure is to go on serving what it scored before the feed broke."""
    bench = Bench(MetricsSettings(compat="polytraders"))
    bench.cycle(4.0)
    bench.wait(61)
    assert bench.value(names.Z_SCORE, market=MARKET, metric="price") is None
    assert bench.value(names.THEIR_Z, condition_id=CONDITION, metric="price") is None
    assert bench.value(names.THEIR_AGE, condition_id=CONDITION) == 61.0
    assert bench.value(names.AGE, market=MARKET) == 61.0
    assert bench.value(names.AGE_MAX) == 61.0
    assert bench.value(names.MARKETS) == 0.0


def test_markets_without_a_cycle_for_a_day_are_forgotten() -> None:
    bench = Bench()
    bench.cycle(1.0)
    bench.wait(24 * 3600 + 1)
    assert bench.value(names.AGE_MAX) == 0.0
    assert len(bench.metrics.markets) == 0


def test_the_kill_switch_stops_reports_and_not_detection() -> None:
    bench = Bench()
    bench.see(on_kill(bench.gate, "on", AT))
    bench.cycle(8.4)
    assert bench.value(names.REPORTS, anomaly_detected="true") == 0.0
    held = {"what": "report", "reason": str(Reason.KILL_SWITCH_ACTIVE)}
    assert bench.value(names.SUPPRESSED, **held) == 1.0
    assert bench.value(names.CYCLES) == 1.0
    assert bench.value(names.ANOMALIES, type="price_spike") == 1.0
    assert bench.value(names.HIGH_Z, metric="price") == 1.0


def test_stale_data_are_not_scored() -> None:
    bench = Bench()
    bench.gate.stale["polymarket:*"] = "link down"
    bench.cycle(8.4)
    held = {"what": "alert", "reason": str(Reason.STALE_DATA)}
    assert bench.value(names.SUPPRESSED, **held) == 1.0
    assert bench.value(names.CYCLES) == 0.0
    assert bench.value(names.ANOMALIES, type="price_spike") == 0.0
    assert bench.value(names.Z_SCORE, market=MARKET, metric="price") is None
    bench.gate.stale.clear()
    bench.cycle(1.0)  # the one before is not taken for this one's
    assert bench.value(names.CYCLES) == 1.0
    assert bench.value(names.HIGH_Z, metric="price") == 0.0


def test_a_baseline_that_is_not_ready_has_no_score() -> None:
    bench = Bench()
    unready = Observation("zscore", MARKET, "price_spike", AT, 0.0, 3.0, ready=False, report=True)
    bench.see([unready])
    bench.see(judge(Gate(sample_rate=1), bench.gate, Candidate(unready, 1, 1, AT, False)))
    assert bench.value(names.CYCLES) == 1.0
    assert bench.value(names.REPORTS, anomaly_detected="false") == 1.0
    assert bench.value(names.Z_SCORE, market=MARKET, metric="price") is None


def test_sampled_cycles_count_as_cycles() -> None:
    bench = Bench()
    for _ in range(20):
        bench.wait(10)
        bench.cycle(0.5)
    assert bench.value(names.CYCLES) == 20.0
    assert bench.value(names.REPORTS, anomaly_detected="false") == 2.0


def test_links_and_stale_markets() -> None:
    bench = Bench()
    bench.see([Fault("link_up", "polymarket", "", AT), Fault("link_down", "kraken", "", AT)])
    bench.see([Fault("link_down", "polymarket", "", AT, stream="clob")])
    bench.see([Fault("stale", "polymarket", MARKET, AT), Fault("stale", "polymarket", "", AT)])
    bench.see([Fault("current", "polymarket", "", AT)])
    assert bench.value(names.LINK_UP, source="polymarket", stream="ws") == 1.0
    assert bench.value(names.LINK_UP, source="kraken") == 0.0
    assert bench.value(names.LINK_UP, source="polymarket", stream="clob") == 0.0
    assert bench.value(names.STALE) == 1.0
    assert bench.value(names.FAULT, kind="link_down") == 2.0
    bench.see([Fault("link_down", "kraken", "", AT, "stopped")])
    assert bench.value(names.LINK_UP, source="kraken") is None  # we are leaving: no outage


def test_the_process_at_the_moment_of_a_scrape() -> None:
    bench = Bench()
    sinks = (SinkVitals("bus", Counters(delivered=5, failed=1, retries=3), 7),)
    vitals = Vitals(
        version="1.2.3",
        mode="general_live",
        kill="unknown",
        inputs=41,
        events={"Trade": 12},
        lag_s=0.25,
        recording=False,
        sinks=sinks,
        outbox={("bus", "pending"): 9},
        components={"redis": False},
        names={MARKET: "nfl-a-b · Yes"},
    )
    bench.metrics.vitals = lambda: vitals
    bench.cycle(1.0)
    assert bench.value(names.BUILD, version="1.2.3") == 1.0
    assert bench.value(names.MODE, mode="general_live") == 1.0
    assert bench.value(names.MODE, mode="shadow_only") == 0.0
    assert bench.value(names.KILL, state="unknown") == 1.0
    assert bench.value(names.KILL, state="off") == 0.0
    assert bench.value(names.INPUTS) == 41.0
    assert bench.value(names.EVENTS, type="Trade") == 12.0
    assert bench.value(names.LAG) == 0.25
    assert bench.value(names.RECORDING) == 0.0
    assert bench.value(names.SINK_OUTPUTS, sink="bus", result="failed") == 1.0
    assert bench.value(names.SINK_QUEUE, sink="bus") == 7.0
    assert bench.value(names.OUTBOX, sink="bus", state="pending") == 9.0
    assert bench.value(names.COMPONENT, component="redis") == 0.0
    assert bench.value(names.Z_SCORE, name="nfl-a-b · Yes", metric="price") == 1.0


def test_how_long_evidence_took() -> None:
    bench = Bench()
    alert = Alert(
        id="a1",
        incident="i1",
        instrument=MARKET,
        detector="zscore",
        cause="price_spike",
        severity="warn",
        ts_event_ns=AT,
        ts_alert_ns=AT,
        onset_ns=AT,
        p=None,
        p_extrapolated=False,
        score=4.0,
        line=3.0,
        observed=None,
        expected=None,
        data_verdict=DataVerdict("complete"),
    )
    bench.wait(0.02)
    bench.see([alert, replace(alert, ts_alert_ns=AT + NS_PER_S)])  # the clock was set back
    assert bench.value(names.READY + "_count") == 2.0
    assert bench.value(names.READY + "_sum") == pytest.approx(0.02)
    bench.see([Resolved("i1", MARKET, "price_spike", AT, AT, 1, 0, 4.0)])
    assert bench.value(names.RESOLVED) == 1.0


def test_every_family_is_one_of_the_list_and_has_its_labels() -> None:
    bench = Bench(MetricsSettings(compat="polytraders"))
    bench.metrics.vitals = lambda: Vitals(
        states={"zscore": 1},
        sinks=(SinkVitals("bus", Counters(), 0),),
        outbox={("bus", "dead"): 1},
        components={"redis": True},
        lag_s=0.0,
        coverage=1.0,
        sockets={"frames": 1},
    )
    bench.see([Fault("link_up", "polymarket", "", AT)])
    bench.cycle(1.0, market="polymarket:0xold")
    bench.wait(61)
    bench.cycle(1.0)
    shown: dict[str, set[str]] = {}
    for sample in bench.samples():
        if not sample.name.startswith(("process_", names.READY)):
            shown.setdefault(sample.name, set(sample.labels))
    listed = {m.name: set(m.labels) for m in (names.OURS | names.POLYTRADERS).values()}
    assert shown == {name: kept for name, kept in listed.items() if name != names.READY}


def test_without_compat_none_of_their_names() -> None:
    bench = Bench()
    bench.cycle(1.0)
    assert not [s for s in bench.samples() if s.name.startswith("polytraders")]


def test_one_condition_on_two_venues_is_one_series_of_theirs() -> None:
    """Two series with the same labels make a page that Prometheus refuses as a whole."""
    bench = Bench(MetricsSettings(compat="polytraders"))
    bench.cycle(4.0)
    bench.cycle(2.0, market=f"polygon:{CONDITION}")
    assert bench.value(names.THEIR_Z, condition_id=CONDITION, metric="price") == 4.0
    keys = [(s.name, tuple(sorted(s.labels.items()))) for s in bench.samples()]
    assert len(keys) == len(set(keys))


def test_the_content_type_says_which_format() -> None:
    assert Bench().metrics.render()[1].startswith("text/plain; version=")


def told(market: str) -> Report:
    return Report(
        report_id="r",
        trace_id="t",
        bot_id="b",
        condition_id=CONDITION,
        anomaly_detected=True,
        z_price=4.0,
        z_vol=None,
        warnings=(str(Reason.ANOMALYDETECTOR_PRICE_SPIKE),),
        emitted_at_ms=0,
        instrument=market,
        low_confidence=False,
        baseline_sample_count=360,
        poll_cycle_ms=0,
    )


def test_a_report_is_counted_with_its_own_cycle_only() -> None:
    bench = Bench()
    bench.see([told(MARKET)])  # without one
    bench.see([scored(9.0, 0.0, "polymarket:0xother", AT), told(MARKET)])  # another market's
    assert bench.value(names.REPORTS, anomaly_detected="true") == 2.0
    assert bench.value(names.CYCLES) == bench.value(names.HIGH_Z, metric="price") == 0.0
    bench.see([scored(9.0, 0.0, MARKET, AT), told(MARKET), told(MARKET)])  # and once
    assert bench.value(names.CYCLES) == bench.value(names.HIGH_Z, metric="price") == 1.0
    assert bench.value(names.ANOMALIES, type="price_spike") == 1.0
