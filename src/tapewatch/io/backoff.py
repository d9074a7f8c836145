"""How often we may knock: jittered backoff after failures, and a budget over any window.

Pure arithmetic on the loop's seconds; waiting is the caller's. Two guards are needed because each
fails alone: a connection that drops right after a healthy minute resets the backoff for ever, and a
budget alone spends itself in one burst.
"""

import collections
import random
from typing import Final

# Full jitter (delay uniform between 0 and an exponential ceiling) spreads clients that lost the
# same venue at the same moment; figures of the Kraken reconnect recipe.
BASE_S: Final = 0.5
CAP_S: Final = 60.0
HEALTHY_S: Final = 60.0  # data must flow for so long before old failures are forgotten
DOUBLINGS: Final = 7  # BASE_S * 2**7 is beyond CAP_S


class Backoff:
    """Delays after consecutive failures; `rng` is seeded by the caller."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """Seconds to wait after one more failure.

        `at_least_s` is what the other side asked for; it may exceed the cap, jitter may not.
        """
        ceiling = min(CAP_S, BASE_S * 2 ** min(self._failures, DOUBLINGS))
        self._failures += 1
        ceiling = max(ceiling, min(2 * at_least_s, CAP_S), at_least_s)
        return self._rng.uniform(at_least_s, ceiling)

    def worked(self, seconds: float) -> None:
        """Data flowed for `seconds`; forgets the failures if that was long enough."""
        if seconds >= HEALTHY_S:
            self._failures = 0


class Allowance:
    """At most `count` actions in any `per_s` seconds.

    A log of the last `count` times, not a token bucket: a bucket lets twice its size through in one
    window (a full bucket, then the refill), and venues count in rolling windows.
    """

    def __init__(self, count: int, per_s: float) -> None:
        assert count > 0
        assert per_s > 0
        self._per_s = per_s
        self._times: collections.deque[float] = collections.deque(maxlen=count)

    def reserve_s(self, now_s: float) -> float:
        """Take the next free slot; returns the seconds to wait for it."""
        at = now_s
        if self._times:
            at = max(at, self._times[-1])
        if len(self._times) == self._times.maxlen:
            at = max(at, self._times[0] + self._per_s)
        self._times.append(at)
        return at - now_s
