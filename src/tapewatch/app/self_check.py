"""Does this configuration do what bot 4.15's first gate asks of it? Four scenes in simulated time.

Each goes through the real engine and gate as rows of the `ndjson` venue: what is told about a price
and a volume far off, about a baseline that is too short, and while the kill switch is on.
"""

from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

from tapewatch.detect.zscore import ZScore
from tapewatch.engine.engine import Engine
from tapewatch.gate.gate import Gate
from tapewatch.model.inputs import Command, Frame, Input, Timer
from tapewatch.model.outputs import Observation, Output, Report, Suppressed
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.ndjson import Ndjson, Row, TradeRow

MARKET: Final = "selfcheck:market"
START_NS: Final = 1_735_689_600 * NS_PER_S  # 2025-01-01, on the grid of every cycle that divides it
LOW, HIGH = 0.49, 0.51  # mean 0.5, standard deviation 0.01 when they take turns
SIGMAS: Final = 5.0
USUAL: Final = 100.0  # shares in a cycle; every other cycle twice as many


class Checked(Struct, frozen=True):
    """One scene: `name`, whether it went as it must, and what was seen."""

    name: str
    ok: bool
    seen: str


def self_check(detector: ZScore) -> list[Checked]:
    """The four scenes with the z-score detector of a configuration."""
    scene = _Scene(detector)
    return [scene.price_spike(), scene.volume_spike(), scene.short_baseline(), scene.killed()]


class _Scene:
    def __init__(self, detector: ZScore) -> None:
        self._detector = detector
        self._cycle_ns = int(detector.cycle_s * NS_PER_S)
        # An even number of cycles, so that both prices occur as often.
        self._warm = 2 * ((detector.min_samples + 1) // 2)

    def price_spike(self) -> Checked:
        """A price five standard deviations above its mean."""
        report = self._last_report(0.5 + SIGMAS * 0.01, USUAL)
        ok = (
            report is not None
            and report.anomaly_detected
            and Reason.ANOMALYDETECTOR_PRICE_SPIKE in report.warnings
        )
        return Checked("price spike", ok, _told(report))

    def volume_spike(self) -> Checked:
        """A hundred times the usual volume at a usual price."""
        report = self._last_report(LOW, 100.0 * USUAL)
        ok = (
            report is not None
            and report.anomaly_detected
            and Reason.ANOMALYDETECTOR_VOLUME_SPIKE in report.warnings
        )
        return Checked("volume spike", ok, _told(report))

    def short_baseline(self) -> Checked:
        """The same price before the baseline is populated."""
        outputs = list(self._outputs(self._inputs(2, 0.55, USUAL)))
        judged = [o for o in outputs if isinstance(o, Observation) and o.ready]
        reports = [o for o in outputs if isinstance(o, Report)]
        ok = not judged and bool(reports)
        ok = ok and all(not report.anomaly_detected for report in reports)
        return Checked("insufficient baseline", ok, _told(reports[-1] if reports else None))

    def killed(self) -> Checked:
        """A price spike while the kill switch is on: measured, counted, and not told."""
        inputs = self._inputs(self._warm, 0.5 + SIGMAS * 0.01, USUAL)
        switch: list[Input] = [Command(START_NS, "self-check", "kill", "on")]
        outputs = list(self._outputs(switch + list(inputs)))
        told = sum(isinstance(output, Report) for output in outputs)
        seen = any(isinstance(o, Observation) and o.ready and o.score >= o.line for o in outputs)
        held = sum(
            isinstance(o, Suppressed) and o.reason == Reason.KILL_SWITCH_ACTIVE for o in outputs
        )
        found = "found" if seen else "not found"
        text = f"{told} reports, {held} held back, the spike was {found}"
        return Checked("kill switch", not told and held > 0 and seen, text)

    def _last_report(self, price: float, size: float) -> Report | None:
        reports = [
            output
            for output in self._outputs(self._inputs(self._warm, price, size))
            if isinstance(output, Report)
        ]
        return reports[-1] if reports else None

    def _outputs(self, inputs: "Iterator[Input] | list[Input]") -> Iterator[Output]:
        engine = Engine([Ndjson(ids=(MARKET,))], [self._detector], Gate(sample_rate=1))
        for item in inputs:
            yield from engine.step(item)

    def _inputs(self, cycles: int, price: float, size: float) -> Iterator[Input]:
        """So many usual cycles, and one of this price and size."""
        for number in range(cycles):
            even = number % 2 == 0
            shares = USUAL if even else 2.0 * USUAL
            yield from self._cycle(number, LOW if even else HIGH, shares)
        yield from self._cycle(cycles, price, size)

    def _cycle(self, number: int, price: float, size: float) -> Iterator[Input]:
        """One trade, and the timer that judges it."""
        at = START_NS + number * self._cycle_ns + 1
        row = Row(trade=TradeRow(MARKET, at, price, size))
        yield Frame(at, Ndjson.name, msgspec.json.encode(row), "rest:import")
        yield Timer(START_NS + (number + 1) * self._cycle_ns)


def _told(report: Report | None) -> str:
    if report is None:
        return "no report"
    scores = ", ".join(
        f"{name} {value:.4g}"
        for name, value in (("z_price", report.z_price), ("z_vol", report.z_vol))
        if value is not None
    )
    return "; ".join(part for part in (scores, " ".join(report.warnings)) if part)
