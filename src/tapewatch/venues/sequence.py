"""Trade ids that should be consecutive: which are new, missing, late or seen before.

No wire format and no events: the venue turns the answers into both.
"""

from typing import Final, Literal

from msgspec import Struct, field

from tapewatch.model.limits import GAP_RANGES

# A larger jump is a new numbering rather than missing trades: ten days of the busiest pair.
RENUMBERED_IDS: Final = 1_000_000

Place = Literal["next", "jump", "late", "again", "restart"]


class Hole(Struct):
    """Ids `first`..`last` are missing, of a gap that was `gap_first`..`gap_last` when it opened.

    `since_ns` is the venue's time of the last trade known before; the missing trades were asked for
    at `asked_ns` (0: not yet), `tries` times without progress.
    """

    first: int
    last: int
    gap_first: int
    gap_last: int
    since_ns: int
    asked_ns: int = 0
    tries: int = 0


class Sequence(Struct):
    """Highest id seen, latest venue time seen, and what is missing below, oldest first."""

    last_id: int = 0
    last_ns: int = 0
    holes: list[Hole] = field(default_factory=list)

    def place(self, trade_id: int, ts_ns: int) -> Place:
        """Where an id belongs. An old id that is not missing was seen before, unless it is on a
        trade younger than all others: then the venue has begun to count anew."""
        ahead = trade_id - self.last_id
        if ahead == 1 or self.last_id == 0:
            return "next"
        if ahead > 1:
            return "jump" if ahead <= RENUMBERED_IDS else "restart"
        if self.missing(trade_id):
            return "late"
        return "restart" if ts_ns > self.last_ns else "again"

    def missing(self, trade_id: int) -> bool:
        """Whether we wait for this id."""
        return self._hole(trade_id) is not None

    def advance(self, trade_id: int, ts_ns: int) -> None:
        """`trade_id` is the newest now."""
        self.last_id = trade_id
        self.last_ns = max(self.last_ns, ts_ns)

    def open(self, trade_id: int) -> Hole:
        """Everything between the newest id and `trade_id` is missing."""
        first, last = self.last_id + 1, trade_id - 1
        hole = Hole(first, last, first, last, self.last_ns)
        self.holes.append(hole)
        return hole

    def fill(self, trade_id: int) -> Hole | None:
        """A missing id arrived. Returns its hole if that was the last missing id of its gap."""
        hole = self._hole(trade_id)
        assert hole is not None
        at = self.holes.index(hole)
        rest = []
        if hole.first < trade_id:
            rest.append(_part(hole, hole.first, trade_id - 1))
        if trade_id < hole.last:
            rest.append(_part(hole, trade_id + 1, hole.last))
        self.holes[at : at + 1] = rest
        same_gap = any(other.gap_first == hole.gap_first for other in self.holes)
        return None if same_gap else hole

    def cut(self, low: int, high: int) -> list[Hole]:
        """Give up what is missing strictly between two ids; returns what was given up."""
        lost, kept = [], []
        for hole in self.holes:
            first, last = max(hole.first, low + 1), min(hole.last, high - 1)
            if first > last:
                kept.append(hole)
                continue
            lost.append(_part(hole, first, last))
            if hole.first < first:
                kept.append(_part(hole, hole.first, first - 1))
            if last < hole.last:
                kept.append(_part(hole, last + 1, hole.last))
        self.holes = kept
        return lost

    def overflow(self) -> list[Hole]:
        """Holes beyond the limit, oldest first; they are forgotten."""
        excess = max(0, len(self.holes) - GAP_RANGES)
        forgotten = self.holes[:excess]
        del self.holes[:excess]
        return forgotten

    def _hole(self, trade_id: int) -> Hole | None:
        for hole in self.holes:
            if hole.first <= trade_id <= hole.last:
                return hole
        return None


def _part(hole: Hole, first: int, last: int) -> Hole:
    return Hole(
        first, last, hole.gap_first, hole.gap_last, hole.since_ns, hole.asked_ns, hole.tries
    )
