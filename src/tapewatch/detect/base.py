"""The contract of a detector: one frozen struct, one state, one function.

Write one file with such a struct, add one line under
`[project.entry-points."tapewatch.detectors"]`, and run
`tapewatch.testing.conformance.check_detector` on it.
"""

from typing import ClassVar, Final, Protocol, TypeVar

from tapewatch.model.events import Event
from tapewatch.model.outputs import Observation

S = TypeVar("S")

# Of detectors with a calibrated p, whose score is -log10 p (decades).
TOLD: Final = 2.0  # from here on an observation is returned at all: one in a hundred
LINE: Final = 3.5  # the least that a warning takes; the gate raises it to keep the alarm budget


class Detector(Protocol[S]):
    """Measures; never decides, never remembers outside `state`, never reads a clock.

    `name` is the entry point's name and the `type` in the configuration file. `version` goes into
    alert ids: raise it whenever results change. `wants` lists the event types it is called with;
    `Timer` and `Link` are passed to every live state, all others to the state of their key. A state
    with a field `due_ns` gets a timer only when that time has come, and none while it is 0: give it
    one if there may be many keys.
    `S` is a `msgspec.Struct` that survives a msgpack round trip at any moment.

    Score before update, always: the measured value must not be part of its own baseline.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    wants: ClassVar[tuple[type[Event], ...]]
    state_type: ClassVar[type]

    def key(self, event: Event, /) -> str | None:
        """The state an event belongs to, usually its instrument; None: not mine, except that a
        `Status` of a whole source, if wanted, then goes to every live state. It depends on the
        event's type and on its instrument (or source) alone: the engine asks once."""
        ...

    def start(self, key: str, /) -> S:
        """Fresh memory for one key."""
        ...

    def update(self, state: S, event: Event, /) -> Observation | None:
        """Measure one event, then learn from it."""
        ...
