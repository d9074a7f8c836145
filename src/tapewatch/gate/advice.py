"""Advice: what a strategy that is about to enter a market should do, and how that is judged.

| what is known | judged |
|---|---|
| an anomalous report, or an alert `high` or `page`, within `block_s` | block |
| the same within `widen_s`; a borderline report, or an alert `warn`, within it | widen |
| an open incident goes on, or one was held back by the alarm budget only | widen |
| no baseline yet: nothing would be noticed | widen |
| kill switch on or unreadable, service silent, market unknown, data not current | the safe side |
| none of these | allow |

The strictest of what holds is judged. Tables, structs and small functions; the memory is
`gate/advisor.py`'s.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from tapewatch.model.time import NS_PER_S

Action = Literal["allow", "widen", "block"]
ACTIONS: Final[tuple[Action, ...]] = ("allow", "widen", "block")  # ever stricter
Mode = Literal["shadow_only", "limited_live", "general_live"]

MAX_S: Final = 1e6  # longest time in these settings: eleven days
Seconds = Annotated[float, Meta(gt=0.0, le=MAX_S)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Names = Annotated[tuple[Name, ...], Meta(max_length=10_000)]


class Advice(Struct, frozen=True, kw_only=True):
    """The answer to "may I enter `market`?", true from `at_ns` until `expires_at_ns`.

    `action` is what to do; where the mode forbids to say what was judged, `shadow` is that. `score`
    is in the unit of its `evidence` (the id of a report or an alert): |z| of a report. `data_age_s`
    is None where nothing was ever heard. `pause` names strategies to stop, on a block.
    """

    schema: str = "tapewatch.advice/1"
    v: int = 1
    market: str  # condition id or instrument; what was asked, where that is unknown
    name: str = ""  # for people
    action: Action
    shadow: Action | None = None
    reason: str = ""  # a `Reason`, or the cause of an alert; empty: nothing is wrong
    detail: str = ""  # one sentence for people, safe to print
    score: float | None = None
    data_age_s: float | None = None
    at_ns: int
    expires_at_ns: int
    pause: tuple[str, ...] = ()
    evidence: str = ""
    mode: Mode = "general_live"

    @property
    def judged(self) -> Action:
        """What was judged, whatever the mode made of it."""
        return self.shadow or self.action

    def holds(self, now_ns: int) -> bool:
        """Whether it may still be acted on. One that has expired says nothing: ask again."""
        return self.at_ns <= now_ns < self.expires_at_ns


class AdviceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How strict the gate for strategies is.

    `block_s`: no entry for so long after a page, a high alert or an anomalous report; the default
    is the ten seconds of bot 4.15's worked example. `widen_s`: care for so long, the block
    included. `stale_s`: older data are not current; over a bus, where normal reports are sampled,
    at least three times `sample_rate` cycles. `valid_s`: how long an allow or a widen may be held.
    `safe_side` is the answer when nothing is known. It is `block`, because a strategy that cannot
    see is the failure this gate exists for; `allow` leaves strategies as they would be without it.
    `auto_pause_strategies` are named in every block.
    """

    block_s: Seconds = 10.0
    widen_s: Seconds = 60.0
    stale_s: Seconds = 60.0
    valid_s: Seconds = 1.0
    safe_side: Action = "block"
    auto_pause_strategies: Names = ()


class Judgement(Struct, frozen=True, gc=False):
    """One thing that speaks about a market: `until_ns` 0 is as long as it is so."""

    action: Action
    reason: str = ""
    detail: str = ""
    score: float | None = None
    evidence: str = ""
    incident: str = ""
    until_ns: int = 0


ALLOW: Final = Judgement("allow")


def strictest(found: list[Judgement]) -> Judgement:
    """The strictest; the first of several as strict."""
    return max(found, key=lambda one: ACTIONS.index(one.action), default=ALLOW)


def told(
    judged: Action, mode: Mode, *, limited: bool, shadow: bool
) -> tuple[Action, Action | None]:
    """What a strategy is told in a mode, and what it would have been told if that is not it.
    `limited`: the market is one of those where blocks are live; `shadow`: it is on trial, whatever
    the mode."""
    if shadow or mode == "shadow_only":
        action: Action = "allow"
    elif mode == "limited_live" and judged == "block" and not limited:
        action = "widen"
    else:
        action = judged
    return action, None if action == judged else judged


def expiry_ns(judged: Judgement, settings: AdviceSettings, now_ns: int, current_until: int) -> int:
    """Until when an advice may be held. A block lasts as long as it was given for; anything milder
    for `valid_s`, and not longer than its data are current (ns; at least one ns from now)."""
    if judged.action == "block" and judged.until_ns:
        return judged.until_ns
    until = now_ns + int(settings.valid_s * NS_PER_S)
    return max(now_ns + 1, min(until, current_until)) if current_until > now_ns else until
