"""Whether a Polymarket market trades, and why not, in words. Pure; knows no wire format.

A price that runs to 0 or 1 because the outcome becomes known is no anomaly. Nor is one that moves
in play, where the venue itself holds orders back so that nobody is picked off.
"""

from typing import Final, Literal

from msgspec import Struct

from tapewatch.model.time import NS_PER_S

State = Literal["open", "paused", "closed", "disputed", "resolved"]

ENDING_NS: Final = 120 * NS_PER_S  # before its end, a market is asked for its outcome
ENDED_NS: Final = 3600 * NS_PER_S  # after it: many dates are days, and the market lives on
_DECIDED: Final = frozenset({"resolved", "settled"})
_ASKED: Final = {
    "disputed": "its outcome is disputed",
    "proposed": "an outcome is proposed and may be disputed",
}


def is_final(why: str) -> bool:
    """Whether a reason not to trade is the end of the market."""
    return why.startswith(("resolved", "it is closed", "it is archived"))


class Facts(Struct, frozen=True, kw_only=True):
    """What the catalogue says of a market. `winner`: the outcome that paid; `uma`: what the oracle
    says; `end_ns`, `game_ns`: its planned end and the start of the game it is about, 0 unknown;
    `delay_s`: for how long orders are held back in play."""

    active: bool = True
    closed: bool = False
    archived: bool = False
    accepting: bool = True
    order_book: bool = True
    winner: str = ""
    uma: str = ""
    end_ns: int = 0
    game_ns: int = 0
    delay_s: float = 0.0


def state_of(facts: Facts, now: int) -> tuple[State, str]:
    """The state at `now` (ns) and why the market does not trade as usual; the reason is empty when
    it does.

    `closed` outweighs "accepts orders", which is left standing on closed markets. A price of 1
    decides nothing while the market is open. The oracle's `requested` is how every question begins.
    """
    if facts.closed or facts.archived:
        return _ended(facts)
    if facts.uma in _DECIDED:
        return "resolved", f"resolved: {facts.winner or 'the outcome is not given'}"
    if facts.uma in _ASKED:
        return "disputed", _ASKED[facts.uma]
    why = _pause(facts, now)
    return ("paused", why) if why else ("open", "")


def _pause(facts: Facts, now: int) -> str:
    ending = facts.end_ns and facts.end_ns - ENDING_NS <= now < facts.end_ns + ENDED_NS
    in_play = facts.delay_s > 0.0 and 0 < facts.game_ns <= now
    reasons = (
        (not facts.active, "it is not active yet"),
        (not facts.order_book, "it has no order book"),
        (not facts.accepting, "it accepts no orders"),
        (ending, "its end is reached; the outcome becomes known"),
        (in_play, f"in play: orders are delayed by {facts.delay_s:g} s"),
    )
    return next((why for holds, why in reasons if holds), "")


def _ended(facts: Facts) -> tuple[State, str]:
    if facts.winner:
        return "resolved", f"resolved: {facts.winner}"
    if facts.uma in _DECIDED:
        return "resolved", "resolved; no outcome pays in full"
    return "closed", "it is closed" if facts.closed else "it is archived"
