"""A maker that keeps its ladder when tapewatch says so: bot 4.15's worked example.

A market has stood at 0.62 for a while. One tick says 0.91, then the feed is silent for six seconds,
then it is 0.62 again. A maker that takes the tick for the new mid quotes around 0.91 and is crossed
by the next print. This one asks the gate before it moves its ladder, and on a block leaves it where
it is; on `widen` it quotes twice as far apart. It sends nothing anywhere: `ladder` is what it would
quote.
"""

from collections.abc import Callable

from tapewatch.gate import Advice

STEP = 0.01  # between two rungs
RUNGS = 3


class Maker:
    """`check` is the `check` of any gate."""

    def __init__(self, market: str, check: Callable[[str], Advice]) -> None:
        self.market, self._check = market, check
        self.ladder: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
        self.moved = 0

    def on_mid(self, mid: float) -> Advice:
        """The mid price as the feed tells it."""
        advice = self._check(self.market)
        if advice.action != "block":
            step = STEP if advice.action == "allow" else 2 * STEP
            bids = tuple(round(mid - step * (rung + 1), 4) for rung in range(RUNGS))
            asks = tuple(round(mid + step * (rung + 1), 4) for rung in range(RUNGS))
            if (bids, asks) != self.ladder:
                self.ladder, self.moved = (bids, asks), self.moved + 1
        return advice
