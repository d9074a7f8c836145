"""The session's own log, `master.log`: one logfmt line per thing that happened, by structlog.

Event names are constants of the form `noun.verb`; everything else is a key. Every text is sanitised
here, because some of it was written by a venue. The core does not log: it returns outputs.
"""

from collections.abc import Callable, MutableMapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

import structlog

from tapewatch.io.clock import Clock
from tapewatch.io.worker import WhenFull
from tapewatch.model.outputs import Alert, Fault, Output, Resolved
from tapewatch.model.reasons import Reason
from tapewatch.model.text import clean
from tapewatch.model.time import format_rfc3339

_INFO: Final = 20  # logging.INFO
_LINKS: Final = {
    "link_up": "link.up",
    "link_down": "link.down",
    "stale": "data.stale",
    "current": "data.current",
    "killswitch_on": "killswitch.on",
    "killswitch_off": "killswitch.off",
    "killswitch_unreadable": "killswitch.unreadable",
}

Log = structlog.typing.FilteringBoundLogger


def session_log(write: Callable[[str], None], clock: Clock) -> Log:
    """A logger whose finished lines go to `write`."""

    def stamped(_: Any, level: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        entry["at"], entry["level"] = format_rfc3339(clock.now_ns(), 3), level
        return entry

    log: Log = structlog.wrap_logger(
        _Lines(write),
        processors=[
            stamped,
            _cleaned,
            structlog.processors.LogfmtRenderer(key_order=["at", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_INFO),
    )
    return log


def _cleaned(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: clean(value) if isinstance(value, str) else value for key, value in entry.items()}


class _Lines:
    """What structlog calls with a finished line; the level is in it already."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.info = self.warning = self.error = write


class LogSink:
    """Alerts, their ends and broken links, in the session's log."""

    name: ClassVar[str] = "log"
    accepts: ClassVar[tuple[type[Output], ...]] = (Alert, Fault, Resolved)
    durable: ClassVar[bool] = False
    when_full: ClassVar[WhenFull] = "drop_newest"

    def __init__(self, log: Log) -> None:
        self._log = log

    async def deliver(self, batch: Sequence[Output], /) -> None:
        """One line for each."""
        for output in batch:
            if isinstance(output, Alert):
                self._log.warning(
                    "alert.raised",
                    id=output.id,
                    severity=output.severity,
                    instrument=output.instrument,
                    cause=output.cause,
                    score=round(output.score, 3),
                    reason=output.reason,
                )
            elif isinstance(output, Resolved):
                self._log.info(
                    "incident.resolved",
                    incident=output.incident,
                    instrument=output.instrument,
                    cause=output.cause,
                    merged=output.merged,
                )
            elif isinstance(output, Fault) and output.kind in _LINKS:
                stale = output.kind == "stale"  # bot 4.15 wants it as a warning, by its code
                tell = partial(self._log.warning, code=str(Reason.STALE_DATA))
                (tell if stale else self._log.info)(
                    _LINKS[output.kind],
                    source=output.source,
                    stream=output.stream,
                    instrument=output.instrument,
                    reason=output.detail,
                )
