"""Keyed detector states: first use, eviction, quarantine. The engine's memory exists here, once.

A detector that raises is quarantined for that key and becomes a `Fault`; its other keys go on.

Timers. A hundred thousand idle markets must not be asked every second whether they have something
to say. A state with a field `due_ns` is asked only once that time has come. The times wait in a
heap; an entry may be earlier than its state's `due_ns`, which moves with every event, and is then
put back. Nothing of it is memory: it follows from the states.
"""

import heapq
from collections.abc import Callable
from typing import Any, Final

from tapewatch.detect.base import Detector
from tapewatch.model import limits
from tapewatch.model.errors import DecodeError
from tapewatch.model.events import Event, Status
from tapewatch.model.inputs import Link, Timer
from tapewatch.model.outputs import Fault, Observation, Output

_PASSING: Final = (Timer, Link, Status)  # they reach every state, also the idlest


class Keyed:
    """One detector, its states by key, and when each last saw its market (in input sequence
    numbers). `on_forget(detector, key)` hears of every state that is dropped."""

    def __init__(self, detector: Detector[Any], on_forget: Callable[[str, str], None]) -> None:
        self.detector = detector
        self.update = detector.update
        self._on_forget = on_forget
        self.states: dict[str, Any] = {}
        self.last_used: dict[str, int] = {}
        self.broken: dict[str, str] = {}
        self._wheel: list[tuple[int, str]] = []
        # The entry of the wheel that counts, by key; None: its states have no `due_ns`.
        self.queued: dict[str, int] | None = {} if hasattr(detector.state_type, "due_ns") else None

    def measure(self, key: str, event: Event, seq: int, faults: list[Output]) -> Observation | None:
        """Pass `event` to the state of `key`, creating it on first use."""
        state = self.states.get(key)
        if state is None:
            if key in self.broken:
                return None
            if len(self.states) >= limits.KEYS_PER_DETECTOR:
                faults.append(self._evict(event))
            state = self.states[key] = self.detector.start(key)
            self.last_used[key] = seq
        elif type(event) not in _PASSING:
            self.last_used[key] = seq
        try:
            seen = self.update(state, event)
        except Exception as error:
            # A plug-in's bug must not stop the others; the frame is on the tape, so it can be
            # reproduced.
            faults.append(self.quarantine(key, event, error))
            return None
        if self.queued is not None:
            self.schedule(key, state)
        return seen

    def schedule(self, key: str, state: Any) -> None:
        """Take note of when a state wants to be asked, if that is earlier than known."""
        assert self.queued is not None
        due = state.due_ns
        if due and due < self.queued.get(key, due + 1):
            self.queued[key] = due
            heapq.heappush(self._wheel, (due, key))

    def asked(self, now: int) -> list[str]:
        """Keys that a timer at `now` (ns) goes to."""
        if self.queued is None:
            return list(self.states)
        if not self._wheel or self._wheel[0][0] > now:
            return []
        found = []
        while self._wheel and self._wheel[0][0] <= now:
            due, key = heapq.heappop(self._wheel)
            if self.queued.get(key) != due:
                continue
            del self.queued[key]
            state = self.states.get(key)
            if state is None:
                continue
            if 0 < state.due_ns <= now:
                found.append(key)
            else:
                self.schedule(key, state)
        return sorted(found)  # not the heap's order, which depends on what moved when

    def restore(self, states: dict[str, Any], last_used: dict[str, int]) -> None:
        """Take over the memory of a snapshot."""
        self.states.update(states)  # in place: the engine's routes hold these two
        self.last_used.update(last_used)
        for key, state in () if self.queued is None else states.items():
            self.schedule(key, state)

    def adopt(self, key: str, data: bytes, now: int, seq: int) -> None:
        """Begin `key` with memory that was kept elsewhere. Raises `DecodeError`: nothing is adopted
        that cannot be read, nor in place of what was measured here, nor by evicting others."""
        restore = getattr(self.detector, "restore", None)
        if restore is None:
            raise DecodeError(f"{self.detector.name} keeps no baselines elsewhere")
        fresh = self.detector.start(key)  # a word about the feed makes a state that knows nothing
        if key in self.broken or self.states.get(key, fresh) != fresh:
            raise DecodeError("it is being measured already")
        if len(self.states) >= limits.KEYS_PER_DETECTOR:
            raise DecodeError("there is no room for another key")
        state = restore(key, data, now)
        self.states[key], self.last_used[key] = state, seq
        if self.queued is not None:
            self.schedule(key, state)

    def quarantine(self, key: str, event: Event, error: Exception) -> Fault:
        """Measure this key no more."""
        self.forget(key)
        self.broken[key] = f"{type(error).__name__}: {error}"
        return self._fault("detector_error", key, event, self.broken[key])

    def forget(self, key: str) -> None:
        """Drop the memory of one key (`reset_baseline`, eviction, quarantine)."""
        self.states.pop(key, None)
        self.last_used.pop(key, None)
        self.broken.pop(key, None)
        self._on_forget(self.detector.name, key)

    def _evict(self, event: Event) -> Fault:
        idlest = min(self.last_used, key=self.last_used.__getitem__)
        self.forget(idlest)
        return self._fault("keys_evicted", idlest, event, "too many keys; its baseline is dropped")

    def _fault(self, kind: str, key: str, event: Event, detail: str) -> Fault:
        source, _, _ = key.partition(":")
        return Fault(kind, source, key, event.ts_recv, f"{self.detector.name}: {detail}")
