"""Metrics for Prometheus: a sink that counts what the engine says, and a page of what holds now.

Theory of operation. Outputs are folded into plain numbers; nothing is formatted and no lock is
taken until somebody reads the page. `render` makes it, on the loop's thread, from those numbers,
from the markets' table (`metrics_markets.py`) and from the process (`metrics_vitals.py`).

Every counter whose labels are known begins at 0, for Prometheus cannot see the first step of a
counter that is born at 1. The page is bounded: labels come from lists (`metrics_names.py`) or from
the settings, and only `top_k` markets have series of their own. What has a market for a label is a
gauge, so a market that leaves takes nothing away from a sum.

The kill switch stops reports and alerts, not detection: cycles, anomalies and z-scores go on.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Final

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from tapewatch.io.clock import Clock
from tapewatch.io.worker import WhenFull
from tapewatch.model.inputs import STOPPED
from tapewatch.model.outputs import (
    SEVERITIES,
    Alert,
    Fault,
    Observation,
    Output,
    Report,
    Resolved,
    Suppressed,
)
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_S
from tapewatch.sinks import metrics_names as names
from tapewatch.sinks.metrics_counts import Counts
from tapewatch.sinks.metrics_families import families
from tapewatch.sinks.metrics_markets import Markets
from tapewatch.sinks.metrics_settings import MetricsSettings
from tapewatch.sinks.metrics_vitals import Vitals

LINKS: Final = 128  # sockets and services that have a series each
STALE: Final = 100_000  # instruments remembered as stale; as many as the gate has markets
READY_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_WARNINGS: Final = {
    str(Reason.ANOMALYDETECTOR_PRICE_SPIKE): "price_spike",
    str(Reason.ANOMALYDETECTOR_VOLUME_SPIKE): "volume_spike",
}


class Metrics:
    """The sink, and `render` for whoever serves the page. `detectors` are the names of those that
    run; `vitals` reads the process and may be set later."""

    name: ClassVar[str] = "metrics"
    accepts: ClassVar[tuple[type[Output], ...]] = (
        Observation, Alert, Report, Resolved, Suppressed, Fault,
    )  # fmt: skip
    durable: ClassVar[bool] = False
    when_full: ClassVar[WhenFull] = "block"  # a count that misses some is none, and it is quick

    def __init__(
        self,
        settings: MetricsSettings,
        clock: Clock,
        *,
        detectors: Sequence[str] = (),
        vitals: Callable[[], Vitals] = Vitals,
    ) -> None:
        self.settings, self.vitals = settings, vitals
        self.markets = Markets(peak_s=settings.peak_s, fresh_s=settings.fresh_s)
        self.counts = _counts(detectors)
        self.links: dict[tuple[str, str], bool] = {}
        self.stale: set[str] = set()
        self._clock = clock
        self._cycle: Observation | None = None  # of bot 4.15's detector, not judged yet
        self._registry = CollectorRegistry(auto_describe=False)
        self._ready = Histogram(
            names.READY, names.OURS[names.READY].meaning, registry=self._registry, buckets=READY_S
        )
        self._registry.register(_Page(self))
        ProcessCollector(registry=self._registry)

    async def deliver(self, batch: Sequence[Output], /) -> None:
        """Count it."""
        for output in batch:
            self.see(output)

    def see(self, output: Output) -> None:
        """Take one output into account; the outputs of one cycle come in the engine's order."""
        counts = self.counts
        match output:
            case Observation():
                counts.add(names.OBSERVATIONS, output.detector)
                if output.report:
                    self._cycle = output
            case Report():
                counts.add(names.REPORTS, _word(output.anomaly_detected))
                self._judged(output.instrument, [_WARNINGS.get(w, "") for w in output.warnings])
            case Suppressed():
                counts.add(names.SUPPRESSED, output.what, output.reason)
                if output.what == "report":
                    self._judged(output.instrument, None)
            case Alert():
                counts.add(names.ALERTS, output.cause, output.severity)
                waited = (self._clock.now_ns() - output.ts_alert_ns) / NS_PER_S
                self._ready.observe(max(0.0, waited))
            case Resolved():
                counts.add(names.RESOLVED)
            case Fault():
                self._fault(output)

    def _judged(self, instrument: str, spikes: list[str] | None) -> None:
        """A cycle went through the gate: its report went out, or was sampled out or held by the
        kill switch (`spikes` is None then). One whose data are stale is not judged and does not
        count: a z-score of stale data says nothing."""
        seen, self._cycle = self._cycle, None
        if seen is None or seen.instrument != instrument:
            return
        self.counts.add(names.CYCLES)
        scores = {part.name: part.score for part in seen.contributions} if seen.ready else {}
        price, volume = scores.get("price"), scores.get("volume")
        self.markets.note(instrument, seen.ts_event, seen.interval_s, price, volume)
        for quantity, spike in zip(names.QUANTITIES, names.SPIKES, strict=True):
            score = abs(scores.get(quantity, 0.0))
            if score > self.settings.high_z:
                self.counts.add(names.HIGH_Z, quantity)
            if (score >= seen.line) if spikes is None else (spike in spikes):
                self.counts.add(names.ANOMALIES, spike)

    def _fault(self, fault: Fault) -> None:
        self.counts.add(names.FAULT, fault.kind)
        about = fault.instrument or f"{fault.source}:*"
        match fault.kind:
            case "link_up" | "link_down":
                link = (fault.source, fault.stream)
                if fault.detail == STOPPED:  # our own orderly end is no outage
                    self.links.pop(link, None)
                elif link in self.links or len(self.links) < LINKS:
                    self.links[link] = fault.kind == "link_up"
            case "stale" if len(self.stale) < STALE:
                self.stale.add(about)
            case "current":
                self.stale.discard(about)

    def render(self) -> tuple[bytes, str]:
        """The page, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def families(self) -> Iterator[Family]:
        """What the page is made of, but for the histogram and the process."""
        yield from families(
            self.counts,
            self.markets,
            self.vitals(),
            self.links,
            len(self.stale),
            now=self._clock.now_ns(),
            top_k=self.settings.top_k,
            compat=self.settings.compat_markets if self.settings.compat else 0,
        )


class _Page(Collector):
    """What the registry calls for a scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        return self._metrics.families()


def _counts(detectors: Sequence[str]) -> Counts:
    """All counters, at 0 for every label value that is known."""
    return Counts(
        {
            names.OBSERVATIONS: (tuple(detectors),),
            names.CYCLES: (),
            names.REPORTS: (("true", "false"),),
            names.ANOMALIES: (names.SPIKES,),
            names.HIGH_Z: (names.QUANTITIES,),
            names.ALERTS: (names.CAUSES, SEVERITIES),
            names.RESOLVED: (),
            names.SUPPRESSED: (("alert", "report"), tuple(map(str, Reason))),
            names.FAULT: (names.FAULTS,),
        }
    )


def _word(flag: bool) -> str:  # noqa: FBT001  it is the subject
    return "true" if flag else "false"
