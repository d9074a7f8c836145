"""The alarm budget: how many alarms a day the user is willing to look at.

Theory of operation. Calibrated probabilities say how often a detector's *measurement* is that large
by chance, not how often an *event* is: measurements come in clusters, many detectors look at once,
and markets differ. So the budget ranks events. Each event (one incident, its peak score) is kept
for `WINDOW_NS`; a new one is shown if fewer than the budget's number of events in that time were at
least as rare, shown or not. In steady state that shows as many as were asked for, the rarest, with
no assumption about their law; an event that is rarer than all before always passes, so a storm of
small ones cannot hide a great one. In the first day there is little to rank against: the first
ones pass.

It bounds what p-values say of markets. A rule that is broken (a crossed book) and a feed that is
lost (a gap, a silence) are told whatever the budget; they count in the realised rate.
"""

from typing import Final, Literal

from msgspec import Struct

from tapewatch.model.time import NS_PER_S

DAY_NS: Final = 86_400 * NS_PER_S
WINDOW_NS: Final = 7 * DAY_NS  # a week holds each hour of the week once
EVENTS: Final = 512  # remembered events of one budget; beyond, the oldest go

ProfileName = Literal["strict", "balanced", "sensitive"]


class Profile(Struct, frozen=True):
    """What a profile stands for: alarms a day in all, of one instrument group, and the decades of
    rarity that a warning takes."""

    alarms_per_day: float
    group_alarms_per_day: float
    line: float


# Six a day is one in four hours of waking and sleeping; one in 3,200 measurements is a warning.
PROFILES: Final[dict[ProfileName, Profile]] = {
    "strict": Profile(2.0, 1.0, 4.0),
    "balanced": Profile(6.0, 3.0, 3.5),
    "sensitive": Profile(24.0, 12.0, 3.0),
}


class Ranked(Struct):
    """One event: when its incident opened, its highest score, and whether it was shown."""

    incident: str
    ns: int
    score: float
    shown: bool


class Account(Struct):
    """Events of one instrument group, or of all (`*`), since `since_ns`."""

    since_ns: int
    events: list[Ranked] = []
    shown: int = 0  # alarms shown since then, also those that no budget bounds


def window_days(account: Account, now: int) -> float:
    """Days of the past that the account can speak of: one to seven."""
    return min(max(now - account.since_ns, DAY_NS), WINDOW_NS) / DAY_NS


def affordable(account: Account, per_day: float, score: float, now: int, incident: str) -> bool:
    """Whether an event of this score is among the `per_day` rarest of its window. The event's own
    earlier entry does not stand in its way."""
    least = now - WINDOW_NS
    rarer = sum(
        1
        for event in account.events
        if event.score >= score and event.ns >= least and event.incident != incident
    )
    return rarer < per_day * window_days(account, now)


def enter(account: Account, incident: str, score: float, now: int, *, shown: bool) -> None:
    """Record an event, or that it has grown."""
    for event in reversed(account.events):
        if event.incident == incident:
            event.score = max(event.score, score)
            event.shown = event.shown or shown
            return
    account.events.append(Ranked(incident, now, score, shown))
    least = now - WINDOW_NS
    if account.events[0].ns < least or len(account.events) > EVENTS:
        account.events = [event for event in account.events if event.ns >= least][-EVENTS:]


def realised(account: Account, now: int) -> float:
    """Events shown per day over the window. Within the first day the count so far stands for it."""
    least = now - WINDOW_NS
    shown = sum(1 for event in account.events if event.shown and event.ns >= least)
    return shown / window_days(account, now)
