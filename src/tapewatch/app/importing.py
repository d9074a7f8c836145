"""Files of trades, bars or raw frames become a tape, in which data time is receive time.

Timers stand between the rows, as in a live session, so that detectors measure cycles and silence.
A row that makes no sense is told, counted and left out, never guessed at.
"""

import itertools
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

import msgspec
from msgspec import Struct

from tapewatch.app import importing_books, importing_wallets, table_files
from tapewatch.app.cells import amount, found_columns, time_ns
from tapewatch.io.tape_file import TapeFile
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.inputs import Frame, Input, Link, Timer
from tapewatch.model.instrument import Side
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.venues.ndjson import BarRow, Row, TradeRow, impossible

Kind = Literal["trades", "bars", "books", "wallet-trades", "frames"]

# Our name of a column -> the names it is known by elsewhere, likeliest first.
COLUMNS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "trades": {
        "time": ("time", "ts_ms", "ts", "timestamp", "ts_event", "date"),
        "price": ("price",),
        "size": ("size", "qty", "quantity", "amount"),
        "side": ("side", "aggressor", "taker_side"),
        "id": ("id", "trade_id", "tid"),
    },
    "bars": {
        "time": ("time", "ts_ms", "ts", "timestamp", "open_time", "date"),
        "open": ("open",),
        "high": ("high",),
        "low": ("low",),
        "close": ("close",),
        "volume": ("volume", "vol"),
    },
}
_OPTIONAL: Final = frozenset({"side", "id"})
_SIDES: Final[dict[str, Side]] = {
    "buy": "buy", "b": "buy", "bid": "buy", "sell": "sell", "s": "sell", "ask": "sell",
}  # fmt: skip
# `<epoch>: <frame>` or `<ns> <frame>`
_CAPTURED: Final = re.compile(rb"(\d{9,10}(?:\.\d+)?(?=: )|\d{19}(?= )):? (.*)")
_SOCKET: Final = re.compile(rb"\S+ <(-|->) (\d{9,10}(?:\.\d+)?)(?::.*)?")  # `<url> <-> <epoch>`
_PROBE_ROWS: Final = 1_000  # rows from which the interval of bars is read

Item = tuple[int, Input]  # receive time in ns


class Imported(Struct):
    """What came of an import. `since_ns`, `until_ns`: of the first and the last row; `late`: rows
    that are older than the one before; `skipped_s`: quiet time without timers."""

    rows: int = 0
    bad: int = 0
    late: int = 0
    timers: int = 0
    skipped_s: float = 0.0
    since_ns: int = 0
    until_ns: int = 0
    problems: list[str] = []


class Plan(Struct, frozen=True, kw_only=True):
    """What to import. `columns`: ours -> the file's. `start_ns`: of frames without times.
    `interval_s` 0: read from the rows. `bar_time`: what the time of a bar says."""

    kind: Kind
    file: pathlib.Path
    instruments: tuple[str, ...]
    columns: dict[str, str] = {}
    start_ns: int = 1_577_836_800 * NS_PER_S  # 2020-01-01
    interval_s: float = 0.0
    bar_time: Literal["start", "end"] = "start"


class Cadence(Struct, frozen=True):
    """How often a timer comes. `after`: an item on the stroke comes before its timer, because a
    bar that ends then belongs to the cycle that ends then; a trade belongs to the next."""

    step_ns: int
    after: bool = False


def parse_columns(text: str) -> dict[str, str]:
    """`time=timestamp,size=amount` -> dict. Raises `ConfigError`."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(separator and name.strip() and column.strip() for name, separator, column in pairs):
        raise ConfigError(f'"{clean(text, 80)}" is not name=column,...', "--columns")
    return {name.strip(): column.strip() for name, _, column in pairs}


def ids(plan: Plan) -> tuple[str, ...]:
    """The instruments of the rows. Of books and wallets' trades, a file may hold several, and only
    what they have in common is named: see `importing_books.ids`. Raises `ConfigError`."""
    if plan.kind == "books":
        return importing_books.ids(plan.file, plan.instruments, plan.columns)
    if plan.kind == "wallet-trades":
        return importing_wallets.ids(_wallets(plan))
    return plan.instruments


def import_file(plan: Plan, tape: TapeFile) -> Imported:
    """Append everything in the file to `tape`. Raises `ConfigError` when nothing can be used."""
    done = Imported()
    for item in inputs(plan, done):
        tape.append(item)
    if not done.rows:
        told = f" ({done.problems[0]})" if done.problems else ""
        raise ConfigError(f"{plan.file.name} has no usable row{told}")
    return done


def inputs(plan: Plan, done: Imported) -> Iterator[Input]:
    """What the tape of the file holds: its rows, and timers between them. `done` is filled in."""

    def complain(number: int, what: str) -> None:
        done.bad += 1
        if len(done.problems) < limits.IMPORT_PROBLEMS:
            done.problems.append(f"{plan.file.name}:{number}: {clean(what)}")

    if plan.kind == "frames":
        items, cadence = _frames(plan, complain), Cadence(NS_PER_S)
    elif plan.kind == "trades":
        items, cadence = _trades(plan, complain), Cadence(NS_PER_S)
    elif plan.kind == "books":
        table = importing_books.Books(file=plan.file, ids=ids(plan), columns=plan.columns)
        items, cadence = importing_books.messages(table, complain), Cadence(NS_PER_S)
    elif plan.kind == "wallet-trades":
        # Blocks are seconds apart and their files span years: a timer a minute is enough.
        items, cadence = importing_wallets.trades(_wallets(plan), complain), Cadence(60 * NS_PER_S)
    else:
        interval_ns = int(plan.interval_s * NS_PER_S) or _interval_ns(plan)
        items, cadence = _bars(plan, interval_ns, complain), Cadence(interval_ns, after=True)
    yield from _with_timers(items, cadence, done)


def _wallets(plan: Plan) -> importing_wallets.Wallets:
    return importing_wallets.Wallets(file=plan.file, base=plan.instruments[0], columns=plan.columns)


def _with_timers(items: Iterable[Item], cadence: Cadence, done: Imported) -> Iterator[Input]:
    """The items with a timer at every multiple of the step, none before the first item."""
    step_ns, before = cadence.step_ns, int(cadence.after)
    now = 0
    for ts, item in items:
        if not now:
            done.since_ns = now = ts
        done.late += ts < now
        yield from _timers(now - before, ts - before, step_ns, done)
        done.rows += not isinstance(item, Link)
        done.until_ns = now = max(now, ts)
        yield item
    if now:  # so that the last cycle is judged
        yield from _timers(now - before, now - before + step_ns, step_ns, done)


def _timers(since: int, until: int, step_ns: int, done: Imported) -> Iterator[Timer]:
    """Those after `since` and not after `until`; of a very long stretch only the end."""
    first, last = since // step_ns + 1, until // step_ns
    if last - first >= limits.QUIET_TIMERS:
        done.skipped_s += (last - limits.QUIET_TIMERS - first) * step_ns / NS_PER_S
        first = last - limits.QUIET_TIMERS
    for index in range(first, last + 1):
        done.timers += 1
        yield Timer(index * step_ns)


def _trades(plan: Plan, complain: table_files.Complain) -> Iterator[Item]:
    def trade(row: table_files.Row, names: dict[str, str]) -> Row:
        side = str(row[names["side"]]).strip().lower() if "side" in names else ""
        number = row.get(names["id"]) if "id" in names else None
        return Row(
            trade=TradeRow(
                instrument=plan.instruments[0],
                ts_event=time_ns(row[names["time"]]),
                price=amount(row[names["price"]]),
                size=amount(row[names["size"]]),
                aggressor=_SIDES.get(side, "unknown"),
                trade_id="" if number is None else clean(str(number), 64),
            )
        )

    return _table(plan, trade, complain)


def _bars(plan: Plan, interval_ns: int, complain: table_files.Complain) -> Iterator[Item]:
    """A bar is known when it ends, so that is its time."""
    shift = interval_ns if plan.bar_time == "start" else 0

    def bar(row: table_files.Row, names: dict[str, str]) -> Row:
        return Row(
            bar=BarRow(
                instrument=plan.instruments[0],
                ts_event=time_ns(row[names["time"]]) + shift,
                open=amount(row[names["open"]]),
                high=amount(row[names["high"]]),
                low=amount(row[names["low"]]),
                close=amount(row[names["close"]]),
                volume=amount(row[names["volume"]]),
                interval_ns=interval_ns,
            )
        )

    return _table(plan, bar, complain)


def _table(
    plan: Plan,
    build: Callable[[table_files.Row, dict[str, str]], Row],
    complain: table_files.Complain,
) -> Iterator[Item]:
    names: dict[str, str] = {}
    newest = 0
    for number, cells in table_files.rows(plan.file, complain):
        names = names or _named(plan, cells)
        try:
            row = build(cells, names)
        except (DecodeError, KeyError) as error:
            missing = isinstance(error, KeyError)
            complain(number, f"no {error.args[0]}" if missing else str(error))
            continue
        value = row.trade or row.bar
        assert value is not None
        wrong = impossible(value)
        if wrong:
            complain(number, wrong)
            continue
        newest = max(newest, value.ts_event)  # what is late is received late
        yield value.ts_event, Frame(newest, "ndjson", msgspec.json.encode(row))


def _named(plan: Plan, row: table_files.Row) -> dict[str, str]:
    return found_columns(COLUMNS[plan.kind], _OPTIONAL, plan.columns, plan.file.name, row)


def _interval_ns(plan: Plan) -> int:
    """The commonest distance of the first bars."""
    times: list[int] = []
    names: dict[str, str] = {}
    for _, row in table_files.rows(plan.file, lambda *_: None):  # told in the real pass
        names = names or _named(plan, row)
        try:
            times.append(time_ns(row.get(names["time"])))
        except DecodeError:
            continue  # told in the real pass
        if len(times) >= _PROBE_ROWS:
            break
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise(times))
    positive = [gap for gap in gaps if gap > 0]
    if not positive:
        raise ConfigError("the interval of the bars cannot be told; give it with --interval 1m")
    return max(set(positive), key=positive.count)


def _frames(plan: Plan, complain: table_files.Complain) -> Iterator[Item]:
    """Captured lines `<epoch>: <frame>`, with or without connect lines, or bare frames."""
    source = plan.instruments[0].partition(":")[0]
    now, connected = plan.start_ns, False
    for number, line in table_files.lines(plan.file, complain):
        socket, captured = _SOCKET.fullmatch(line), _CAPTURED.fullmatch(line)
        try:
            if socket:
                ts = time_ns(socket.group(2).decode())
            elif captured:
                ts = time_ns(captured.group(1).decode())
            else:
                ts = now + NS_PER_MS
        except DecodeError as error:
            complain(number, str(error))
            continue
        connects = socket is not None and socket.group(1) == b"->"
        if connects or not connected:
            connected = True
            yield ts, Link(ts, source, "up", "imported")
        now = max(now, ts) if captured or socket else ts
        if socket is None:
            yield ts, Frame(ts, source, captured.group(2) if captured else line)
