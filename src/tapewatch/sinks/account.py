"""What a session says of itself: how it starts, how it is, and how it was.

Pure functions from plain structs to lines of at most 80 columns; the figures come from the caller.
"""

import shlex
from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct
from rich.cells import cell_len

from tapewatch.model.text import clean
from tapewatch.model.time import clock_text, duration_text, format_rfc3339
from tapewatch.sinks.wording import COLUMNS, counted, fit, size_text


def startup(version: str, session: str, steps: Iterable["Step"], *, banner: str = "") -> list[str]:
    """The narrated start: one line per component, then how to stop."""
    mark = f" · {clean(banner, 20)}" if banner else ""
    lines = [f"tapewatch {version} · session {clean(session, 48)} · read-only{mark}"]
    marks = {"ok": "✓", "wait": "…", "off": "–", "bad": "✗"}
    lines += [f"  {marks[step.state]} {step.name:<11} {clean(step.text)}" for step in steps]
    return [fit(line) for line in (*lines, "Ctrl+C stops and prints the summary.")]


class Step(Struct, frozen=True):
    """One component at start-up. `text` says what it does, or why it does not."""

    state: Literal["ok", "wait", "off", "bad"]
    name: str
    text: str


class StatusView(Struct, frozen=True, kw_only=True):
    """The figures of one status report. `coverage` 0..1; `lag_ms` None: unknown; `age_s` seconds
    since the last update of the stream, None before the first. Ages decide the health:
    HEALTHY below 30 s, SLOW below 120 s (the limits of driftlock's reporter)."""

    now_ns: int
    elapsed_s: float
    trades: int
    alerts: int
    coverage: float
    age_s: float | None
    alarms: int = 0  # alerts of severity warn and above
    alarms_per_day: float | None = None  # the budget
    lag_ms: float | None = None
    suppressed: int = 0
    disk_free: int | None = None
    last_alert_ns: int | None = None
    last_alert_id: str = ""
    files: tuple["FileSize", ...] = ()
    kill_switch: str = "off"


class FileSize(Struct, frozen=True):
    """A file of the session, its size in bytes."""

    name: str
    path: str
    size: int


HEALTHY_S: Final = 30.0
SLOW_S: Final = 120.0
DISK_LOW_BYTES: Final = 5 << 30  # more free space than this is not worth a word


def health(age_s: float | None) -> Literal["HEALTHY", "SLOW", "UNHEALTHY"]:
    """Of a stream whose last update is so old."""
    if age_s is None or age_s >= SLOW_S:
        return "UNHEALTHY"
    return "HEALTHY" if age_s < HEALTHY_S else "SLOW"


def status_line(view: StatusView) -> str:
    """The status report on one line."""
    parts = [
        f"{clock_text(view.now_ns)[:5]} {health(view.age_s)}",
        duration_text(view.elapsed_s),
        counted(view.trades, "trade"),
        counted(view.alerts, "alert")
        if view.alarms_per_day is None
        else f"alarms {_rate(view.alarms, view.elapsed_s):.2g}/{view.alarms_per_day:g}",
        f"coverage {coverage_text(view.coverage)}",
    ]
    if view.lag_ms is not None:
        lag = f"lag {view.lag_ms:,.0f} ms"
        if cell_len(" · ".join((*parts, lag))) <= COLUMNS:  # the first that can be done without
            parts.append(lag)
    if view.disk_free is not None and view.disk_free < DISK_LOW_BYTES:
        parts.append(f"disk {size_text(view.disk_free)} free")
    if view.kill_switch != "off":
        parts.append(f"KILL SWITCH {clean(view.kill_switch).upper()}")
    return " · ".join(parts)


def _rate(alarms: int, elapsed_s: float) -> float:
    """Alarms a day. Within the first day their number so far stands for it: three in an hour are
    not 72 a day."""
    return alarms / max(1.0, elapsed_s / 86_400.0)


def status_block(view: StatusView) -> list[str]:
    """The status report as driftlock's reporter writes it, for `status.log`."""
    hours, minutes = divmod(int(view.elapsed_s) // 60, 60)
    last = "none"
    if view.last_alert_ns is not None:
        last = f"{_date_text(view.last_alert_ns)} (ID: {clean(view.last_alert_id)})"
    state = health(view.age_s)
    age = "no update yet" if view.age_s is None else f"last update {view.age_s:.0f}s ago"
    return [
        f"STATUS UPDATE - {clock_text(view.now_ns)}",
        f"   Runtime: {hours}h {minutes}m",
        f"   Total Trades: {view.trades:,}",
        f"   Total Anomalies: {view.alerts:,}"
        + (f" ({view.suppressed:,} more held back)" if view.suppressed else ""),
        f"   Last Anomaly: {last}",
        *(f"   {file.name}: {size_text(file.size)} ({clean(file.path)})" for file in view.files),
        f"   Coverage: {coverage_text(view.coverage)}",
        f"   Stream Status: {state} ({age})",
    ]


class SummaryView(Struct, frozen=True, kw_only=True):
    """The account of one session. `coverage` 0..1; `lost_s` seconds without complete data;
    `biggest` one line about the alert that mattered most; `head` the tape's chain hash, empty
    when the tape was not verified; `problems` what `verify` found."""

    session: str
    elapsed_s: float
    ended: str  # `stopped by you`, `after 4 h 00 m`
    trades: int
    coverage: float
    gaps: int
    lost_s: float
    reconnects: int
    alerts: int
    alarms: int = 0  # of them of severity warn and above
    alarms_per_day: float | None = None
    suppressed: dict[str, int] = {}
    biggest: str = ""
    files: tuple[FileSize, ...] = ()
    folder: str = ""
    head: str = ""
    problems: int = 0
    banner: str = ""
    trouble: str = ""  # what did not get where it should, counted


def summary(view: SummaryView) -> list[str]:
    """What is printed when a session ends."""
    banner = f" [{clean(view.banner, 20)}]" if view.banner else ""
    held = sum(view.suppressed.values())
    gaps = f"{counted(view.gaps, 'gap')}, {view.lost_s:.1f} s"
    coverage = f"coverage {coverage_text(view.coverage)} ({gaps})"
    rows = [
        (
            "data",
            f"{counted(view.trades, 'trade')}, {coverage}, {counted(view.reconnects, 'reconnect')}",
        ),
        ("alerts", _alerts(view, held)),
        *(
            ("", f"{count:,} {clean(reason, 40)}")
            for reason, count in sorted(view.suppressed.items())
        ),
        ("trouble", clean(view.trouble)),
        ("biggest", clean(view.biggest)),
        ("files", " · ".join(f"{file.name} {size_text(file.size)}" for file in view.files)),
        ("folder", _folder(view)),
        ("verify", _verified(view)),
        ("next", f"tapewatch session show {_folder(view)}" if view.folder else ""),
    ]
    head = (
        f"Session {clean(view.session, 48)}{banner}   {duration_text(view.elapsed_s)}, {view.ended}"
    )
    # The folder may be copied from the screen, so lines with it are never cut.
    return [
        line if view.folder and _folder(view) in line else fit(line)
        for line in (head, *_short(rows))
    ]


def _alerts(view: SummaryView, held: int) -> str:
    parts = [f"{view.alerts:,} shown"]
    if held:
        parts.append(f"{held:,} held back")
    if view.alarms_per_day is not None:
        rate = _rate(view.alarms, view.elapsed_s)
        parts.append(f"{rate:.2g} of {view.alarms_per_day:g} alarms a day")
    return ", ".join(parts)


def _short(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"  {label:<10}{text}" for label, text in rows if text]


def _verified(view: SummaryView) -> str:
    if view.problems:
        problems = counted(view.problems, "problem")
        return f"{problems}: tapewatch session verify {_folder(view)}"
    return f"chain ok, head {view.head[:16]}" if view.head else "not verified"


def _folder(view: SummaryView) -> str:
    """As a shell takes it: sessions of other folders are not found by name."""
    return shlex.quote(clean(view.folder))


def coverage_text(share: float) -> str:
    """0.9996 -> `99.96 %`; never rounded up to 100 %."""
    return "100 %" if share >= 1.0 else f"{int(share * 10_000) / 100:.2f} %"


def _date_text(ns: int) -> str:
    return format_rfc3339(ns, 0).replace("T", " ").rstrip("Z")
