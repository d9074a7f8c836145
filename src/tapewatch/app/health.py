"""Health by bot 4.15's rules: green, red, and yellow between, each with its reasons.

| colour | rule |
|---|---|
| green | last detection younger than two poll intervals, Redis reachable, APIs answering 200 |
| red | no detection for ten minutes, or Redis unreachable, or the CLOB down for five minutes |
| yellow | anything between |

A detection is a cycle of the detector that reports. Green wants it of every market that trades, red
is when no market had one. Redis counts where it is configured. `health` is pure; `Vitals` folds
outputs into the facts that it judges.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct, field

from tapewatch.model import limits
from tapewatch.model.outputs import Fault, Observation, Output
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S, duration_text

Colour = Literal["green", "yellow", "red"]
Reach = Literal["off", "up", "down"]

GREEN_INTERVALS: Final = 2.0
RED_DETECTION_S: Final = 600.0
RED_CLOB_S: Final = 300.0
LOOP_S: Final = 5.0  # an event loop that was held up for longer does not count as responsive
CLOB: Final = "clob"
NAMED: Final = 5  # markets that a reason names


class Surface(Struct):
    """One of the venues' services: when it last answered 200, and since when it does not (ns; 0:
    never, and it does)."""

    ok_ns: int = 0
    down_ns: int = 0
    why: str = ""


class Facts(Struct, kw_only=True):
    """What health is judged by. `detections`: the last one (ns), by market that trades."""

    started_ns: int
    poll_interval_s: float = 1.0
    detections: Mapping[str, int] = field(default_factory=dict)
    surfaces: Mapping[str, Surface] = field(default_factory=dict)
    redis: Reach = "off"
    connected: bool = True
    kill: str = "off"


class Health(Struct, frozen=True, kw_only=True):
    """The answer, as JSON. `reasons` is empty when it is green."""

    schema: str = "tapewatch.health/1"
    v: int = 1
    status: Colour
    reasons: tuple[str, ...]
    last_detection_age_s: float | None
    poll_interval_s: float
    markets: int
    redis: Reach
    kill_switch: str
    surfaces: dict[str, str]


class Ready(Struct, frozen=True, kw_only=True):
    """Whether it can be relied on: every source connected, and a baseline begun."""

    schema: str = "tapewatch.ready/1"
    v: int = 1
    ready: bool
    reasons: tuple[str, ...]


def health(facts: Facts, now_ns: int) -> Health:
    """The colour of a service, and why."""
    red, yellow = _detection(facts, now_ns)
    if facts.redis == "down":
        red.append("Redis cannot be reached.")
    for name, surface in sorted(facts.surfaces.items()):
        if not surface.down_ns:
            continue
        down_s = (now_ns - surface.down_ns) / NS_PER_S
        text = f"{name} has been down for {duration_text(max(0.0, down_s))}: {surface.why}"
        (red if name == CLOB and down_s > RED_CLOB_S else yellow).append(text)
    if not facts.connected:
        yellow.append("A source is not connected.")
    colour: Colour = "red" if red else "yellow" if yellow else "green"
    newest = max(facts.detections.values(), default=0)
    return Health(
        status=colour,
        reasons=(*red, *yellow),
        last_detection_age_s=max(0, now_ns - newest) / NS_PER_S if newest else None,
        poll_interval_s=facts.poll_interval_s,
        markets=len(facts.detections),
        redis=facts.redis,
        kill_switch=facts.kill,
        surfaces={n: "down" if s.down_ns else "up" for n, s in sorted(facts.surfaces.items())},
    )


def ready(facts: Facts) -> Ready:
    """Whether sources are connected and a baseline has begun."""
    reasons = [] if facts.connected else ["A source is not connected."]
    if not facts.detections:
        reasons.append("No market has a baseline yet.")
    return Ready(ready=not reasons, reasons=tuple(reasons))


def _detection(facts: Facts, now_ns: int) -> tuple[list[str], list[str]]:
    newest = max(facts.detections.values(), default=facts.started_ns)
    age_s = (now_ns - newest) / NS_PER_S
    if age_s > RED_DETECTION_S:
        return [f"No detection for {duration_text(age_s)}."], []
    if not facts.detections:
        return [], ["No detection yet."]
    most_ns = int(GREEN_INTERVALS * facts.poll_interval_s * NS_PER_S)
    late = sorted(m for m, ns in facts.detections.items() if now_ns - ns >= most_ns)
    if not late:
        return [], []
    more = f" and {len(late) - NAMED} more" if len(late) > NAMED else ""
    named = ", ".join(late[:NAMED])
    return [], [f"No detection within {GREEN_INTERVALS:g} poll intervals: {named}{more}."]


class Vitals:
    """Facts of a running service, folded from its outputs.

    Markets that the venue has halted (resolved, closed) are not expected to be measured: they count
    again with the next detection.
    """

    def __init__(self, *, started_ns: int, poll_interval_s: float, sources: Iterable[str]) -> None:
        self.facts = Facts(started_ns=started_ns, poll_interval_s=poll_interval_s)
        self.detections: dict[str, int] = {}
        self.surfaces: dict[str, Surface] = {}
        self._down = set(sources)  # whose socket, or first service, never came up, or is down
        self.facts.detections, self.facts.surfaces = self.detections, self.surfaces
        self.facts.connected = not self._down

    def see(self, outputs: Iterable[Output], now_ns: int) -> None:
        """Take outputs in as they are made."""
        for output in outputs:
            if isinstance(output, Observation):
                known = output.instrument in self.detections
                if output.report and (known or len(self.detections) < limits.GATE_MARKETS):
                    self.detections[output.instrument] = now_ns
            elif isinstance(output, Fault):
                self._fault(output)

    def answered(self, surface: str, now_ns: int) -> None:
        """A service answered 200."""
        self.surfaces.setdefault(surface, Surface()).ok_ns = now_ns

    def _fault(self, fault: Fault) -> None:
        if fault.kind in ("link_up", "link_down"):
            up = fault.kind == "link_up"
            if fault.stream.partition(":")[0] != "ws":
                surface = self.surfaces.setdefault(fault.stream, Surface())
                surface.ok_ns = fault.ts_ns if up else surface.ok_ns
                surface.down_ns = 0 if up else surface.down_ns or fault.ts_ns
                surface.why = "" if up else clean(fault.detail)
            if up:
                self._down.discard(fault.source)
            elif fault.stream == "ws":
                self._down.add(fault.source)
            self.facts.connected = not self._down
        elif fault.kind == "halted" and fault.instrument:
            self.detections.pop(fault.instrument, None)
