"""Outputs for tests of the store, the workers and the bus."""

from tapewatch.model.outputs import Alert, Contribution, DataVerdict, Report, Resolved

CONDITION = "0x" + "ab12" * 16


def make_alert(number: int) -> Alert:
    return Alert(
        id=str(number),
        incident=f"i{number}",
        instrument="kraken:BTC/USD",
        detector="zscore",
        cause="price_spike",
        severity="high",
        ts_event_ns=number,
        ts_alert_ns=number + 1,
        onset_ns=number,
        p=1e-9,
        p_extrapolated=True,
        score=8.5,
        line=3.0,
        observed=61_820.1,
        expected=None,
        contributions=(Contribution(name="price", score=8.5),),
        data_verdict=DataVerdict(feed="complete", lag_ms=12.5),
        evidence={"seq": number, "clip": "c1"},
    )


def make_resolved(number: int) -> Resolved:
    return Resolved(
        incident=f"i{number}",
        instrument="kraken:BTC/USD",
        cause="price_spike",
        onset_ns=number,
        ts_ns=number,
        alerts=1,
        merged=0,
        peak=8.5,
    )


def make_report(number: int, *, anomalous: bool = False, borderline: bool = False) -> Report:
    """A report of cycle `number`, sampled and normal unless said otherwise."""
    return Report(
        report_id=f"rep_ad_0xf1a2_{number}",
        trace_id="trc_0xbeef0102030405060716",
        bot_id="intel.anomalydetector",
        condition_id=CONDITION,
        anomaly_detected=anomalous,
        z_price=3.8 if anomalous else 0.2,
        z_vol=1.2,
        warnings=("ANOMALYDETECTOR_PRICE_SPIKE",) if anomalous else (),
        emitted_at_ms=1_746_703_005_000 + number,
        instrument=f"polymarket:{CONDITION}",
        low_confidence=borderline,
        baseline_sample_count=120,
        poll_cycle_ms=1_746_703_000_000 + number,
        market="nfl-game · Yes",
    )
