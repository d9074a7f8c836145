"""Outputs for tests of the store and the worker."""

from tapewatch.model.outputs import Alert, Contribution, DataVerdict, Resolved


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
