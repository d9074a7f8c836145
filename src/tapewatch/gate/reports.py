"""ObservationReports in bot 4.15's form, from the observations of its own detector."""

from typing import Final
from zlib import crc32

from tapewatch.gate.incidents import stable_id
from tapewatch.model.outputs import Contribution, Observation, Report
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_MS

MS_PER_S: Final = 1000

BOT_ID = "intel.anomalydetector"

_SPIKES = {
    "price": Reason.ANOMALYDETECTOR_PRICE_SPIKE,
    "volume": Reason.ANOMALYDETECTOR_VOLUME_SPIKE,
}


def sampled(seen: Observation, rate: int) -> bool:
    """Whether a normal cycle is one of those that are told. It depends on the cycle and the market
    alone, so that replicas tell the same ones, and not all markets have their turn together."""
    cycle = seen.cycle_ms // max(1, round(seen.interval_s * MS_PER_S))
    return (cycle + crc32(seen.instrument.encode())) % rate == 0


def report(seen: Observation, line: float, now: int, market: str = "") -> Report:
    """The report of one cycle. Its id is a pure function of market and cycle, so running a cycle
    twice cannot produce two reports."""
    by_name = {part.name: part for part in seen.contributions}
    identity = stable_id(BOT_ID, seen.instrument, seen.cycle_ms)
    warnings = [
        str(reason)
        for name, reason in _SPIKES.items()
        if seen.ready and name in by_name and abs(by_name[name].score) >= line
    ]
    if not seen.ready:
        warnings.append(str(Reason.ANOMALYDETECTOR_INSUFFICIENT_BASELINE))
    return Report(
        report_id=f"rep_ad_0x{identity[:16]}_{seen.cycle_ms}",
        trace_id=f"trc_0x{identity[:20]}",
        bot_id=BOT_ID,
        condition_id=seen.instrument.partition(":")[2],
        anomaly_detected=seen.ready and seen.score >= line,
        z_price=_score(by_name.get("price"), ready=seen.ready),
        z_vol=_score(by_name.get("volume"), ready=seen.ready),
        warnings=tuple(warnings),
        emitted_at_ms=now // NS_PER_MS,
        instrument=seen.instrument,
        low_confidence=seen.low_confidence,
        baseline_sample_count=seen.baseline_count,
        poll_cycle_ms=seen.cycle_ms,
        market=market,
    )


def _score(part: Contribution | None, *, ready: bool) -> float | None:
    return part.score if ready and part is not None else None
