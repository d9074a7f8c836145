"""How long a session remembers: all of it for a month, a line for each day and market for a year.

Bot 4.15 wants "full fidelity for 30 d; rolled-up summary retained for 1 y". What goes with time are
the outputs in the store (`io.history`) and the oldest segments of the tape (`io.tape_prune`). What
must be delivered yet, and what going on with the session needs, stays, however old it is.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from tapewatch.app import checkpoint
from tapewatch.app.history_settings import HistorySettings
from tapewatch.app.session import STORE, TAPE
from tapewatch.io.clock import Clock
from tapewatch.io.history import DAY_NS, History, Rollup, Stop
from tapewatch.io.tape_prune import alone, begins, old_segments, prune, read_mark
from tapewatch.io.tape_read import TapeReader
from tapewatch.model.errors import TapewatchError
from tapewatch.model.time import format_rfc3339
from tapewatch.sinks.wording import counted, size_text

FIRST_S: Final = 600.0  # after a start: there is a checkpoint then, and other work is over
CLOCK_STEP_NS: Final = DAY_NS  # a machine's clock is not set back by more


class Pruned(Struct, kw_only=True):
    """What went, or would go, at once. `before_ns`: what is older went; `owed` outputs are older
    and wait for a delivery; `dead` of those that went were never delivered. `first` and `since_ns`:
    the input that the tape begins with now. `why`: what keeps the next segment."""

    before_ns: int
    rolled_up: int = 0
    outputs: int = 0
    owed: int = 0
    dead: int = 0
    rollups: int = 0
    segments: int = 0
    freed: int = 0  # bytes of the tape; the store's file keeps its size, and fills the space again
    first: int = 0
    since_ns: int = 0
    why: str = ""


class View(Struct, kw_only=True):
    """What there is of a session. `kept_since_ns`: the oldest output that is kept in full; `owed`
    deliveries wait; the tape begins with record `first`, since it was pruned at `pruned_ns` (0:
    never)."""

    kept_since_ns: int
    owed: int
    first: int
    pruned_ns: int
    rows: list[Rollup]


def roll_up(folder: Path) -> int:
    """Bring the daily figures up to date; of how many outputs they were not. Raises
    `StoreError`."""
    with closing(History(folder / STORE)) as history:
        return history.roll_up()


def let_go(
    folder: Path,
    settings: HistorySettings,
    now_ns: int,
    *,
    stop: Stop = lambda: False,
    dry_run: bool = False,
) -> Pruned:
    """Let go of what is too old at `now_ns`, in a session that may be running. `stop` ends it
    early, in good order. Raises `StoreError`, `TapeError`, and `ConfigError` if another process is
    at it."""
    found = Pruned(before_ns=now_ns - int(settings.keep_days * DAY_NS))
    mode: Literal["ro", "rw"] = "ro" if dry_run else "rw"
    before_day = (now_ns - int(settings.rollup_days * DAY_NS)) // DAY_NS
    with alone(folder / TAPE), closing(History(folder / STORE, mode)) as history:
        if not dry_run:
            found.rolled_up = history.roll_up(stop)
        gone = history.forget(found.before_ns, stop, dry_run=dry_run)
        found.outputs, found.owed, found.dead = gone.outputs, gone.owed, gone.dead
        found.rollups = history.forget_rollups(before_day, dry_run=dry_run)
        if stop():
            return found
        old = old_segments(folder / TAPE, found.before_ns, covered(folder), now_ns)
        found.segments, found.freed, found.why = len(old.segments), old.size, old.why
        if not dry_run:
            prune(folder / TAPE, old)
            found.first, found.since_ns = begins(folder / TAPE)
            history.release(found.since_ns - CLOCK_STEP_NS)
    return found


def covered(folder: Path) -> int:
    """The last record that going on with the session does not need, as its checkpoint has it; 0
    without a sound one."""
    try:
        data = (folder / checkpoint.NAME).read_bytes()
        saved = msgspec.msgpack.decode(data, type=checkpoint.Checkpoint)
    except (OSError, msgspec.MsgspecError):
        return 0
    sound = saved.version == checkpoint.VERSION and sha256(saved.memory).digest() == saved.check
    return saved.seq if sound else 0


async def keep(settings: HistorySettings, folder: Path, clock: Clock) -> Pruned:
    """`let_go` in a thread, so that the loop goes on; it ends soon when this is cancelled."""
    leave = threading.Event()
    try:
        return await asyncio.to_thread(let_go, folder, settings, clock.now_ns(), stop=leave.is_set)
    finally:
        leave.set()


async def keep_up(
    settings: HistorySettings, folder: Path, clock: Clock, tell: Callable[[str], None]
) -> None:
    """Do that every `every_h` until cancelled, and tell what went, or why it could not be done: the
    session goes on in any case, and it is tried again."""
    wait_s, loop = FIRST_S, asyncio.get_running_loop()
    while not loop.is_closed():
        await asyncio.sleep(wait_s)
        wait_s = settings.every_h * 3600.0
        try:
            found = await keep(settings, folder, clock)
        except TapewatchError as error:
            tell(f"What is old could not be let go: {error}")
        else:
            tell("; ".join(account(found)))


def account(found: Pruned, *, dry_run: bool = False) -> list[str]:
    """What went, in words."""
    went = "would go" if dry_run else "went"
    when = format_rfc3339(found.before_ns, 0)
    lines = [f"{found.outputs:,} alerts and reports from before {when} {went}"]
    if found.dead:
        lines.append(f"{found.dead:,} of them had never been delivered to somebody")
    if found.owed:
        lines.append(f"{found.owed:,} older ones stay, as they must be delivered yet")
    if found.rollups:
        lines.append(f"{found.rollups:,} daily figures {went}")
    lines.append(f"{counted(found.segments, 'segment')} of tape ({size_text(found.freed)}) {went}")
    if found.why:
        lines.append(f"the next one stays: {found.why}")
    if found.segments and found.first:
        begin = format_rfc3339(found.since_ns, 0)
        lines.append(f"the tape begins with record {found.first:,} of {begin} now")
    return lines


def look(folder: Path, since_day: int) -> View:
    """The history of a session. Changes nothing. Raises `StoreError`, `TapeError`."""
    tape = folder / TAPE
    mark = read_mark(tape)
    first = TapeReader(tape).header.first
    with closing(History(folder / STORE, "ro")) as history:
        return View(
            kept_since_ns=history.kept_since(),
            owed=history.owed(),
            first=first,
            pruned_ns=mark.at_ns if mark and first > 1 else 0,
            rows=history.rollups(since_day),
        )


def words(view: View, name: str) -> list[str]:
    """The head of a history, for people."""
    since = f"since {format_rfc3339(view.kept_since_ns, 0)}" if view.kept_since_ns else "of nothing"
    lines = [f"Session {name}: everything {since}, and figures of each day"]
    if view.pruned_ns:
        at = format_rfc3339(view.pruned_ns, 0)
        lines.append(f"  tape      begins with record {view.first:,}, since {at}")
    if view.owed:
        lines.append(f"  owed      deliveries to come: {view.owed:,}")
    return lines


def total(rows: Iterable[Rollup], name: Callable[[Rollup], str]) -> dict[str, Rollup]:
    """The figures of all rows of a name together."""
    found: dict[str, Rollup] = {}
    for row in rows:
        found.setdefault(name(row), Rollup(row.day, row.instrument)).add(row)
    return found


def day_text(day: int) -> str:
    """Days since 1970-01-01 -> `2026-01-31`."""
    return format_rfc3339(day * DAY_NS, 0)[:10]
