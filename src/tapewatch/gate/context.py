"""What stands beside an alert: the state of its data, and what else was odd at the same time."""

from typing import Final

from msgspec import Struct

from tapewatch.model.outputs import Contribution, DataVerdict, Observation
from tapewatch.model.time import NS_PER_MS, NS_PER_S

GAP_MEMORY_NS: Final = 300 * NS_PER_S  # a gap is mentioned on alerts for so long (scoring episodes)
BESIDE_NS: Final = 60 * NS_PER_S  # observations so close in time belong together
BESIDE: Final = 3  # of them are named on an alert
_THIN: Final = frozenset({"thin", "depth", "spread"})  # kinds of `book` that make prices worth less


class Beside(Struct):
    """The newest observation of one cause: when, how rare, and of which kind."""

    ns: int
    score: float
    p: float | None
    kind: str


def whole(instrument: str) -> str:
    """The key of an instrument's source as a whole."""
    return f"{instrument.partition(':')[0]}:*"


def note(recent: dict[str, dict[str, Beside]], seen: Observation, now: int) -> None:
    """Remember an observation for the alerts of others."""
    causes = recent.setdefault(seen.instrument, {})
    causes[seen.cause] = Beside(now, seen.score, seen.p, seen.kind)


def expire(recent: dict[str, dict[str, Beside]], now: int) -> None:
    """Forget what is too old to stand beside anything."""
    for instrument in list(recent):
        causes = recent[instrument]
        for cause in [c for c, one in causes.items() if now - one.ns > BESIDE_NS]:
            del causes[cause]
        if not causes:
            del recent[instrument]


def contributions(causes: dict[str, Beside], seen: Observation) -> tuple[Contribution, ...]:
    """The detector's own contributions, and the rarest things that others saw beside it."""
    others = sorted(
        (item for item in causes.items() if item[0] != seen.cause),
        key=lambda item: (-item[1].score, item[0]),
    )
    return seen.contributions + tuple(
        Contribution(cause, one.score, unit="decades" if one.p is not None else "", p=one.p)
        for cause, one in others[:BESIDE]
    )


def verdict(
    causes: dict[str, Beside], seen: Observation, now: int, gap_ns: int, *, stale: bool
) -> DataVerdict:
    """Can the data behind this observation be trusted? `gap_ns`: of the last gap, 0: never."""
    gapped = gap_ns > 0 and now - gap_ns <= GAP_MEMORY_NS
    thin, other = causes.get("book"), causes.get("divergence")
    return DataVerdict(
        feed="stale" if stale else "gap" if gapped else "complete",
        gap_before_s=(now - gap_ns) / NS_PER_S if gapped else None,
        # A poll cycle is dated on its grid: its distance from now is no lag of the feed.
        lag_ms=None if seen.cycle_ms else (now - seen.ts_event) / NS_PER_MS,
        book="thin" if thin is not None and thin.kind in _THIN else None,
        other_venue=None if other is None else "agrees" if other.kind == "agrees" else "differs",
    )
