"""Storms: many instruments of one source at once are one thing that happens.

Theory of operation. Openings of incidents are remembered for `TOGETHER_NS`. When the last opening
makes `MEMBERS` different instruments of one source and one group of causes, a storm begins: one
incident of the source as a whole, led by the rarest of them. While it is open, further openings
join it; it is told again when its members have doubled.
"""

from typing import Final

from msgspec import Struct

from tapewatch.model.time import NS_PER_S

TOGETHER_NS: Final = 10 * NS_PER_S  # a move travels through an exchange's markets in seconds
MEMBERS: Final = 5  # instruments; fewer are told one by one
NAMED: Final = 12  # members named on an alert; all are counted


class Opening(Struct):
    """One incident that opened."""

    ns: int
    storm: str  # key of the storm it would belong to
    instrument: str
    score: float


class Storm(Struct):
    """One storm under way: its members in the order of joining, and how many were told."""

    members: list[str]
    told: int


def storm_key(source: str, group: str) -> str:
    """The key of the incident of a storm, as `instrument|group|kind`."""
    return f"{source}:*|{group}|storm"


def gathered(openings: list[Opening], opening: Opening) -> list[str]:
    """Instruments that opened within the time, this one included; the rarest first."""
    openings[:] = [one for one in openings if opening.ns - one.ns <= TOGETHER_NS][-MEMBERS * 20 :]
    openings.append(opening)
    scores: dict[str, float] = {}
    for one in openings:
        if one.storm == opening.storm:
            scores[one.instrument] = max(scores.get(one.instrument, 0.0), one.score)
    return sorted(scores, key=lambda name: (-scores[name], name))


def join(storm: Storm, instrument: str) -> bool:
    """Add a member; True when the storm has grown so much that it is told again."""
    if instrument not in storm.members:
        storm.members.append(instrument)
    if len(storm.members) < 2 * storm.told:
        return False
    storm.told = len(storm.members)
    return True
