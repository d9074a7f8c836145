"""Causes, their groups, and how bad an observation is. Tables and small functions; no state."""

from typing import Final

from tapewatch.model.outputs import SEVERITIES, Observation, Severity

# Causes that speak of the feed itself: stale data are their subject, not an objection.
FEED_CAUSES: Final = frozenset({"silence", "resumed", "feed", "crossed", "shape"})

# One thing that happens in a market shows in several causes; those of a group share an incident.
# A cause that is not here is a group of its own.
GROUPS: Final[dict[str, str]] = {
    "price_jump": "price",
    "level_shift": "price",
    "bad_print": "price",
    "drift": "price",
    "regime": "price",
    "divergence": "price",
    "intensity": "flow",
    "volume": "flow",
    "flow": "flow",
}
# They say what an earlier alert turned out to be, and are told once in an incident.
TYPES: Final = frozenset({"bad_print", "level_shift"})

HIGH: Final = 1.5  # decades beyond the line
PAGE: Final = 3.0


def severity(seen: Observation, line: float) -> Severity:
    """Of a measured p: by how many decades it is beyond the line, at most what the detector allows.
    Of a broken rule: what the detector says. Low confidence never wakes anybody."""
    if seen.low_confidence:
        return "info"
    if seen.p is None:
        return seen.severity
    beyond = seen.score - line
    word: Severity = "page" if beyond >= PAGE else "high" if beyond >= HIGH else "warn"
    return min(word, seen.severity, key=SEVERITIES.index)


def alarms(word: Severity) -> bool:
    """Whether this severity is an alarm: something that wants to be looked at now."""
    return word != "info"
