"""`tapewatch history`: what a session said day by day, and letting go of what is old."""

import pathlib
from typing import TYPE_CHECKING, Any, Final

import click

from tapewatch.app.cli import output
from tapewatch.model.errors import ConfigError

if TYPE_CHECKING:
    from tapewatch.io.history import Rollup

MARKETS: Final = 20  # that said most; all are in the JSON
DAY_S: Final = 86_400.0
MOST_DAYS: Final = 36_500  # as in the settings
_FIGURES: Final = (
    "reports",
    "anomalous",
    "low conf.",
    "info",
    "warn",
    "high",
    "page",
    "max |z| price",
    "volume",
)

_NAME = click.argument("name", metavar="[SESSION]", default="last")


@click.group()
def history() -> None:
    """What a session said, day by day. SESSION is a folder's name, its path, or: last."""


@history.command()
@_NAME
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 36_500))
@output.JSON
def show(*, name: str, days: int, as_json: bool) -> None:
    """Reports and alerts by day and by market; as JSON, by day and market."""
    from msgspec import structs  # noqa: PLC0415  --help stays quick

    from tapewatch.app import history as work  # noqa: PLC0415
    from tapewatch.io.clock import SystemClock  # noqa: PLC0415
    from tapewatch.io.history import DAY_NS  # noqa: PLC0415

    shell = output.current()
    folder = _folder(name)
    today = SystemClock().now_ns() // DAY_NS
    view = work.look(folder, today - days + 1)
    if as_json:
        plain = structs.asdict(view) | {"session": folder.name}
        del plain["rows"]
        shell.put(output.json_line("history", **plain))
        for row in view.rows:
            fields = structs.asdict(row) | {"day": work.day_text(row.day)}
            shell.put(output.json_line("rollup", **fields))
        return
    for line in work.words(view, folder.name):
        shell.put(line)
    by_day = work.total(view.rows, lambda row: work.day_text(row.day))
    _table("day", list(by_day.items()))
    markets = work.total(view.rows, lambda row: row.market or row.instrument)
    ranked = sorted(markets.items(), key=lambda one: (-one[1].alerts, -one[1].anomalous, one[0]))
    _table("market", ranked[:MARKETS])
    if len(ranked) > MARKETS:
        shell.say(f"{len(ranked) - MARKETS:,} more markets: --json")


@history.command()
@_NAME
def rollup(*, name: str) -> None:
    """Bring the daily figures up to date. To do it again changes nothing."""
    from tapewatch.app import history as work  # noqa: PLC0415  --help stays quick

    count = work.roll_up(_folder(name))
    output.current().say(f"{count:,} alerts and reports were added to the figures of their days")


@history.command()
@_NAME
@click.option("--keep", metavar="DURATION", help="Everything younger, not history.keep_days.")
@click.option(
    "--keep-rollups", metavar="DURATION", help="Daily figures younger, not history.rollup_days."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@output.JSON
def prune(
    *, name: str, keep: str | None, keep_rollups: str | None, dry_run: bool, as_json: bool
) -> None:
    """Let go of what is old: alerts, reports, daily figures, segments of the tape.

    What must be delivered yet stays, and so does what the session needs to be gone on with. It may
    be running.
    """
    from msgspec import structs  # noqa: PLC0415  --help stays quick

    from tapewatch.app import history as work  # noqa: PLC0415
    from tapewatch.io.clock import SystemClock  # noqa: PLC0415

    shell = output.current()
    chosen: dict[str, Any] = {}
    if keep is not None:
        chosen["keep_days"] = _days(keep, "--keep")
    if keep_rollups is not None:
        chosen["rollup_days"] = _days(keep_rollups, "--keep-rollups")
    settings = structs.replace(shell.load().config.history, **chosen)
    now_ns = SystemClock().now_ns()
    found = work.let_go(_folder(name), settings, now_ns, dry_run=dry_run)
    if as_json:
        shell.put(output.json_line("pruned", dry_run=dry_run, **structs.asdict(found)))
        return
    for line in work.account(found, dry_run=dry_run):
        shell.put(f"{line[:1].upper()}{line[1:]}.")


def _folder(name: str) -> pathlib.Path:
    from tapewatch.app.session import find  # noqa: PLC0415  --help stays quick

    return find(pathlib.Path(output.current().load().config.session.dir), name)


def _days(text: str, option: str) -> float:
    from tapewatch.model.time import parse_duration  # noqa: PLC0415  --help stays quick

    try:
        days = parse_duration(text) / DAY_S
    except ConfigError as error:
        raise ConfigError(str(error), option) from error
    if not 1 <= days <= MOST_DAYS:
        raise ConfigError(f"a time to keep is between a day and {MOST_DAYS:,} days", option)
    return days


def _table(head: str, rows: "list[tuple[str, Rollup]]") -> None:
    shell = output.current()
    if not rows:
        return
    shell.put("")
    cells = [(name, *_cells(row)) for name, row in rows]
    for line in output.columns([(head, *_FIGURES), *cells]):
        shell.put(line)


def _cells(row: "Rollup") -> tuple[str, ...]:
    counts = (row.reports, row.anomalous, row.low_confidence, row.info, row.warn, row.high)
    peaks = ("" if z is None else f"{z:.2f}" for z in (row.z_price, row.z_vol))
    return (*(f"{count:,}" for count in (*counts, row.page)), *peaks)
