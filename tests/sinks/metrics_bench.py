"""Metrics behind a real gate, for the tests of the page that Prometheus reads."""

import asyncio
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tapewatch.gate.alerts import Candidate
from tapewatch.gate.gate import Gate, GateState, judge
from tapewatch.model.outputs import Contribution, Observation, Output
from tapewatch.model.time import NS_PER_S
from tapewatch.sinks.metrics import Metrics
from tapewatch.sinks.metrics_settings import MetricsSettings

AT = 1_767_225_600 * NS_PER_S
CONDITION = "0xf1a2b3" + "0" * 58
MARKET = f"polymarket:{CONDITION}"


class At:
    """A clock that shows what it is told."""

    def __init__(self) -> None:
        self.ns = AT

    def now_ns(self) -> int:
        return self.ns


class Bench:
    """Metrics behind a gate of their own, on a clock that stands still until it is moved."""

    def __init__(self, settings: MetricsSettings | None = None) -> None:
        self.clock, self.gate = At(), GateState()
        self.metrics = Metrics(settings or MetricsSettings(), self.clock, detectors=("zscore",))

    def cycle(self, price: float, volume: float = 0.0, *, market: str = MARKET) -> None:
        """One cycle of bot 4.15's detector, now, judged by the real gate."""
        self.see([seen := scored(price, volume, market, self.clock.ns)])
        item = Candidate(seen, 1, 1, self.clock.ns, simulated=False)
        self.see(judge(Gate(), self.gate, item))

    def see(self, outputs: Iterable[Output]) -> None:
        asyncio.run(self.metrics.deliver(tuple(outputs)))

    def wait(self, seconds: float) -> None:
        self.clock.ns += int(seconds * NS_PER_S)

    def samples(self, name: str = "") -> list[Sample]:
        text = self.metrics.render()[0].decode()
        families = text_string_to_metric_families(text)
        return [s for family in families for s in family.samples if name in ("", s.name)]

    def value(self, name: str, /, **labels: str) -> float | None:
        """The one sample with these labels; None if there is none."""
        found = [s.value for s in self.samples(name) if labels.items() <= s.labels.items()]
        assert len(found) < 2, (name, labels)
        return found[0] if found else None


def scored(price: float, volume: float, market: str, at: int) -> Observation:
    top = max(abs(price), abs(volume))
    return Observation(
        "zscore",
        market,
        "price_spike" if abs(price) >= abs(volume) else "volume_spike",
        at,
        top,
        3.0,
        low_confidence=2.0 <= top < 3.0,
        severity="page" if top > 5.0 else "warn",
        contributions=(Contribution("price", price), Contribution("volume", volume)),
        baseline_count=360,
        report=True,
        cycle_ms=at // 1_000_000,
        interval_s=10.0,
    )
