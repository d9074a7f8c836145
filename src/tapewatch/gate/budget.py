"""The alarm budget: how many alarms a day the user is willing to look at.

Theory of operation. Calibrated probabilities say how often a detector's *measurement* is that large
by chance, not how often an *event* is: measurements come in clusters, many detectors look at once,
and markets differ. So the budget ranks events. What alerts of one instrument group follow each
other within `EPISODE_NS` are one event, whichever detectors they come from; it is kept with its
highest score for `WINDOW_NS`. A new one is shown if events at least as rare have come, and are to
be expected, less often than the budget's number a day:

    (expected in a day by p alone + seen in the window) / days of the window < budget

where the window is one to seven days long. At first p alone speaks: of a measurement a second, so
many a day are that rare by chance. With every day the market's own events count for more. In steady
state that shows as many as were asked for, the rarest, with no assumption about their law; an event
that is rarer than all before, and than a day's chance, always passes, so a storm of small ones
cannot hide a great one.

It bounds what p-values say of markets. A rule that is broken (a crossed book) and a feed that is
lost (a gap, a silence) are told whatever the budget; they count in the realised rate.
"""

from typing import Final, Literal

from msgspec import Struct

from tapewatch.model.time import NS_PER_S

DAY_S: Final = 86_400
DAY_NS: Final = DAY_S * NS_PER_S
WINDOW_NS: Final = 7 * DAY_NS  # a week holds each hour of the week once
EPISODE_NS: Final = 300 * NS_PER_S  # the usual quiet time that ends an incident
# All detectors of a market together look twice as often as the one that looks most: one looks each
# second, five each five seconds.
LOOKS: Final = 2.0
EVENTS: Final = 512  # remembered events of one budget; beyond, the oldest go

ProfileName = Literal["strict", "balanced", "sensitive"]


class Profile(Struct, frozen=True):
    """What a profile stands for: alarms a day in all, of one instrument group, and the decades of
    rarity that a warning takes."""

    alarms_per_day: float
    group_alarms_per_day: float
    line: float


# Six a day is one in four hours of waking and sleeping, one a day what a single market may take of
# them; one in 3,200 measurements is a warning.
PROFILES: Final[dict[ProfileName, Profile]] = {
    "strict": Profile(2.0, 0.5, 4.0),
    "balanced": Profile(6.0, 1.0, 3.5),
    "sensitive": Profile(24.0, 4.0, 3.0),
}


class Ranked(Struct):
    """One event: whose it is, when it began and was last heard of, its highest score, and whether
    it was shown."""

    group: str
    ns: int
    last_ns: int
    score: float
    shown: bool


class Account(Struct):
    """Events of one instrument group, or of all (`*`), since `since_ns`."""

    since_ns: int
    events: list[Ranked] = []


def affordable(
    account: Account, per_day: float, group: str, score: float, interval_s: float, now: int
) -> bool:
    """Whether an event of `group` with this score (decades) is among the `per_day` rarest, if it is
    measured every `interval_s`. It does not stand in its own way."""
    least = now - WINDOW_NS
    mine = _under_way(account, group, now)
    rarer = sum(
        1
        for event in account.events
        if event.score >= score and event.ns >= least and event is not mine
    )
    expected: float = LOOKS * DAY_S / interval_s * 10.0**-score
    return expected + rarer < per_day * window_days(account, now)


def window_days(account: Account, now: int) -> float:
    """Days of the past that the account can speak of: one to seven."""
    return min(max(now - account.since_ns, DAY_NS), WINDOW_NS) / DAY_NS


def enter(account: Account, group: str, score: float, now: int, *, shown: bool) -> None:
    """Record an event, or that it goes on."""
    event = _under_way(account, group, now)
    if event is not None:
        event.last_ns = now
        event.score = max(event.score, score)
        event.shown = event.shown or shown
        return
    account.events.append(Ranked(group, now, now, score, shown))
    least = now - WINDOW_NS
    if account.events[0].ns < least or len(account.events) > EVENTS:
        account.events = [event for event in account.events if event.ns >= least][-EVENTS:]


def _under_way(account: Account, group: str, now: int) -> Ranked | None:
    """The event of a group that has not ended yet."""
    for event in reversed(account.events):
        if event.group == group:
            return event if now - event.last_ns <= EPISODE_NS else None
    return None


def realised(account: Account, now: int) -> float:
    """Events shown per day over the window. Within the first day the count so far stands for it."""
    least = now - WINDOW_NS
    shown = sum(1 for event in account.events if event.shown and event.ns >= least)
    return shown / window_days(account, now)
