"""Alerts on the terminal: cards for people, or one JSON line each for programs. Never both.

Links that break and mend are told on standard error. While nobody reads, alerts stay owed; what
happened beside them is left out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, TextIO

import msgspec
from msgspec import Struct

from tapewatch.io.worker import WhenFull
from tapewatch.model.errors import DeliveryError
from tapewatch.model.inputs import STOPPED
from tapewatch.model.outputs import Alert, Fault, Output, Resolved, Severity
from tapewatch.model.text import clean
from tapewatch.model.time import clock_text, duration_text
from tapewatch.sinks.card import card
from tapewatch.sinks.wording import ascii_text, fit, json_text
from tapewatch.sinks.writing import Pen

BELL: Final = "\a"
# Okabe and Ito's palette, which people with any common colour vision can tell apart.
COLOURS: Final[dict[Severity, str]] = {
    "info": "#56B4E9",
    "warn": "#E69F00",
    "high": "#D55E00",
    "page": "#CC79A7",
}
# What no detector turns into an alert of its own.
_TOLD: Final = {
    "link_down": "disconnected",
    "link_up": "connected",
    "detector_error": "a detector failed and is off",
    "keys_evicted": "too many instruments; the idlest was forgotten",
    "killswitch_on": "is on, nothing goes out",
    "killswitch_off": "is off, alerts go out again",
    "killswitch_unreadable": "cannot be read: nothing goes out, as if it were on",
}
_TOLD_OF_SOURCES: Final = {  # of a single market it would be too much
    "stale": "has no current data",
    "current": "has current data again",
}


# A labelled row of a card; its other lines are the rest of the sentence above them.
_LABEL: Final = re.compile(r"   (when|id|market|found|odd|score|because|trust|evidence|payload) +")


class Screen(Struct, frozen=True, kw_only=True):
    """What the terminal can show and what the user wants of it; no `bell` where nobody sits."""

    color: bool = False
    ascii: bool = False
    bell: bool = True
    json: bool = False
    verbose: bool = False
    quiet: bool = False
    banner: str = ""


class Terminal:
    """The sink. `out` is for alerts, `err` for everything else; `prices` holds the last trade price
    by instrument; numbers of alerts go on after `shown`."""

    name: ClassVar[str] = "terminal"
    accepts: ClassVar[tuple[type[Output], ...]] = (Alert, Fault, Resolved)
    durable: ClassVar[bool] = True
    when_full: ClassVar[WhenFull] = "drop_newest"

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        screen: Screen,
        *,
        prices: Mapping[str, float] | None = None,
        shown: int = 0,
    ) -> None:
        self.shown = shown
        self._out, self._err, self._screen = Pen(out), Pen(err), screen
        self._prices: Mapping[str, float] = prices if prices is not None else {}

    async def deliver(self, batch: Sequence[Output], /) -> None:
        """Write the batch. Raises `DeliveryError` when nobody reads any more, or at the moment."""
        alerts = [output for output in batch if isinstance(output, Alert)]
        notes = [output for output in batch if not isinstance(output, Alert)]
        if alerts:
            await self._out.write(alerts, lambda: "".join(map(self._alert, alerts)))
        if notes and not self._screen.quiet:
            try:
                await self._err.write(notes, lambda: "".join(map(self._note, notes)))
            except DeliveryError as error:  # old news is no use
                raise DeliveryError(str(error), retryable=False) from error

    def _alert(self, alert: Alert) -> str:
        self.shown += 1
        screen = self._screen
        if screen.json:
            return json_text(msgspec.json.encode(alert)) + "\n"
        price = self._prices.get(alert.instrument)
        lines = card(alert, self.shown, last_price=price, banner=screen.banner)
        if screen.verbose:
            lines.append(f"   payload  {json_text(msgspec.json.encode(alert))}")
        if screen.ascii:
            lines = [ascii_text(line) for line in lines]
        bell = BELL if screen.bell and alert.severity != "info" else ""
        text = "\n".join(lines)
        return f"{bell}{coloured(lines, alert.severity) if screen.color else text}\n\n"

    def _note(self, output: Output) -> str:
        if isinstance(output, Fault):
            told = _TOLD.get(output.kind)
            if told is None and not output.instrument:
                told = _TOLD_OF_SOURCES.get(output.kind)
            if told is None or (output.kind == "link_down" and output.detail == STOPPED):
                return ""
            detail = f": {clean(output.detail)}" if output.detail else ""
            link = f" ({clean(output.stream, 16)})" if output.stream != "ws" else ""
            line = f"{clean(output.instrument or output.source, 48)}{link} {told}{detail}"
            at = output.ts_ns
        elif isinstance(output, Resolved):
            lasted = duration_text((output.ts_ns - output.onset_ns) / 1e9)
            line = (
                f"{clean(output.instrument, 48)} {clean(output.cause, 24)} is over after {lasted}"
                + (f"; {output.merged} more like it" if output.merged else "")
            )
            at = output.ts_ns
        else:
            return ""
        text = fit(f"{clock_text(at)} {line}")
        return (ascii_text(text) if self._screen.ascii else text) + "\n"


def coloured(lines: Sequence[str], severity: Severity) -> str:
    """The lines with terminal codes: the head in the colour of its severity, labels dimmed."""
    import io  # noqa: PLC0415  with rich, only on terminals that show colours

    from rich.console import Console  # noqa: PLC0415  costs 60 ms of start-up
    from rich.text import Text  # noqa: PLC0415

    page = Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        width=10_000,
    )
    text = Text()
    text.append(lines[0], f"bold {COLOURS[severity]}")
    for line in lines[1:]:
        label = _LABEL.match(line)
        size = label.end() if label else 0
        text.append(f"\n{line[:size]}", "dim")
        text.append(line[size:])
    with page.capture() as captured:
        page.print(text, end="")
    return captured.get()
