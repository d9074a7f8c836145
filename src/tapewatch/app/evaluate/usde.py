"""`evaluate usde`: a stablecoin that one venue alone lost for a hundred minutes.

The folder holds minute bars of USDe/USDT on Binance over four months
(`usde_minute_binance.parquet`) and, for ten hours around the event, the price in a Uniswap pool
block by block (`uniswap_usde.parquet`). The event is run twice: `usde.single` has the bars alone,
`usde.cross` both, with the two declared to be one thing. Alerts of both are written before they are
scored.

Truth. Binance's lows were below 0.99 from 21:20 to 23:04 UTC on 2025-10-10; 0.65 was the lowest.
The window that was published afterwards begins at 21:36. The bar of 21:20 ends at 21:21, so that is
the earliest instant at which bars can tell.
"""

import heapq
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from tapewatch.app import importing, table_files
from tapewatch.app.cells import amount, time_ns
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate import runner, scoring
from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.inputs import Frame, Input, Link
from tapewatch.model.instrument import split_id
from tapewatch.model.outputs import Alert
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S, format_rfc3339, parse_rfc3339
from tapewatch.venues.ndjson import BarRow, Row

BARS: Final = "usde_minute_binance.parquet"
BLOCKS: Final = "uniswap_usde.parquet"
VENUE: Final = "binance:USDE/USDT"
POOL: Final = "uniswap:USDE/USDT"
BLOCK_NS: Final = 12 * NS_PER_S  # between blocks
# In the pool's own terms the coin is token 0, and `token1Price` is how much of token 1 (USDT) one
# unit of it costs.
PRICE: Final = "token1Price"
SINCE: Final = parse_rfc3339("2025-10-10T21:19:00Z")
FIRST: Final = parse_rfc3339("2025-10-10T21:21:00Z")
PUBLISHED: Final = parse_rfc3339("2025-10-10T21:36:00Z")
UNTIL: Final = parse_rfc3339("2025-10-10T23:10:00Z")
APART_S: Final = 3600.0  # quiet between two incidents
_DAY_NS: Final = 86_400 * NS_PER_S


def evaluate(
    data: pathlib.Path, out: pathlib.Path, changes: Sequence[Setting] = ()
) -> dict[str, Any]:
    """How early and how often the event was told, with one venue and with two, and what else was.

    Writes `<out>/usde.single.alerts.ndjson` and `<out>/usde.cross.alerts.ndjson`. Raises
    `ConfigError`.
    """
    done = importing.Imported()
    single = list(runner.run(_bars(data, done), (VENUE,), changes))
    runner.write(out, "usde.single", single)
    pair = Setting(("detector", "divergence", "pairs"), [[VENUE, POOL]], "evaluate")
    both = heapq.merge(_bars(data, done), _blocks(data), key=_received)
    cross = list(runner.run(both, (VENUE, POOL), [pair, *changes]))
    runner.write(out, "usde.cross", cross)
    days = (done.until_ns - done.since_ns) / _DAY_NS
    return scoring.plain(
        {"set": "usde", "single": scored(single, days), "cross": scored(cross, days)}
    )


def scored(alerts: Sequence[Alert], days: float) -> dict[str, Any]:
    """The score of one run over `days` days."""
    alarms = [alert for alert in alerts if alert.severity != "info"]
    times = [alert.ts_alert_ns for alert in alarms]
    inside = sorted(at for at in times if SINCE <= at <= UNTIL)
    outside = scoring.episodes([at for at in times if not SINCE <= at <= UNTIL], APART_S)
    first = inside[0] if inside else None
    return {
        "found": first is not None,
        "first_alarm_utc": None if first is None else format_rfc3339(first, 0),
        "later_than_the_first_bar_s": None if first is None else (first - FIRST) / NS_PER_S,
        "before_the_published_window_s": None if first is None else (PUBLISHED - first) / NS_PER_S,
        "alarms_in_incident": len(inside),
        "causes": [alert.cause for alert in alarms if alert.ts_alert_ns in set(inside)],
        "other_incidents": scoring.rate(len(outside), days),
        "other_incidents_utc": [format_rfc3339(at, 0) for at in outside],
    }


def _received(item: Input) -> int:
    return item.ts_recv


def _bars(data: pathlib.Path, done: importing.Imported) -> Iterator[Input]:
    columns = {"time": "__index_level_0__"}
    plan = importing.Plan(
        kind="bars", file=data / BARS, instruments=(VENUE,), columns=columns, interval_s=60.0
    )
    return importing.inputs(plan, done)


def _blocks(data: pathlib.Path) -> Iterator[Input]:
    """The pool's price after each block, as a bar of one price that ends with the block; then its
    link goes down, for the end of a recording is no silence of the venue."""
    at = 0

    def complain(number: int, what: str) -> None:
        raise ConfigError(f"{BLOCKS}:{number}: {clean(what)}", "DIR")

    for number, row in table_files.rows(data / BLOCKS, complain):
        try:
            at, price = time_ns(row["timestamp"]), amount(row[PRICE])
        except (DecodeError, KeyError) as error:
            raise ConfigError(f"{BLOCKS}:{number}: {clean(str(error))}", "DIR") from error
        bar = BarRow(POOL, at, price, price, price, price, 0.0, BLOCK_NS)
        yield Frame(at, "ndjson", msgspec.json.encode(Row(bar=bar)))
    if at:
        yield Link(at, split_id(POOL)[0], "down", "the recording ends")
