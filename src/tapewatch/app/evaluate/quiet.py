"""`evaluate quiet`: calm markets, where nothing should wake anybody.

The folder, or those below it, holds captures of Binance (`spot_`, `usdm_` or `cm_`, the symbol, a
date, `.gz`: lines of `<ns> <frame>`) and csv files of trades. There are no labels: whatever is said
is counted. Captures are read as frames of their venue, so the decoder and the form of its messages
are judged too.
"""

import pathlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from tapewatch.app import importing
from tapewatch.app.build import engine_of
from tapewatch.app.config import assemble
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate import runner, scoring
from tapewatch.gate.severity import FEED_CAUSES
from tapewatch.model.errors import ConfigError
from tapewatch.model.outputs import SEVERITIES, Alert
from tapewatch.model.time import NS_PER_S

_CAPTURE: Final = re.compile(r"(spot|usdm|cm)_([a-z0-9]+)(?:_perp)?_\d+\.gz", re.ASCII)
_TRADES: Final = re.compile(r"[a-z]+_([a-z0-9]+)_.*\.csv", re.ASCII)
_FUTURES: Final = {"spot": "{}", "usdm": "usdm/{}", "cm": "coinm/{}_PERP"}
_DAY_S: Final = 86_400.0


class Quiet(Struct, frozen=True):
    """What one file gave: `hours` of data, `alerts`."""

    file: str
    hours: float
    rows: int
    alerts: list[Alert]


def evaluate(
    data: pathlib.Path, out: pathlib.Path, changes: Sequence[Setting] = ()
) -> dict[str, Any]:
    """Alerts by file and severity of the default configuration with `changes`.

    Writes `<out>/<stem>.alerts.ndjson` for every file. Raises `ConfigError`.
    """
    found = []
    for plan in plans(data):
        one = judged(plan, changes)
        runner.write(out, one.file, one.alerts)
        found.append(one)
    return scoring.plain(scored(found))


def plans(data: pathlib.Path) -> list[importing.Plan]:
    """What to read, by the names of the files. Raises `ConfigError` when there is nothing."""
    files = sorted(file for pattern in ("*", "*/*") for file in data.glob(pattern))
    found = [plan for file in files if file.is_file() and (plan := _plan(file)) is not None]
    if not found:
        raise ConfigError(f"{data} has no capture such as spot_btcusdt_20240808.gz", "DIR")
    return found


def _plan(file: pathlib.Path) -> importing.Plan | None:
    capture = _CAPTURE.fullmatch(file.name)
    if capture is not None:
        symbol = _FUTURES[capture.group(1)].format(capture.group(2).upper())
        return importing.Plan(kind="frames", file=file, instruments=(f"binance:{symbol}",))
    trades = _TRADES.fullmatch(file.name)
    if trades is not None and file.parent.name == "kraken_trades":
        instrument = f"ndjson:{trades.group(1).upper()}"
        return importing.Plan(kind="trades", file=file, instruments=(instrument,))
    return None


def judged(plan: importing.Plan, changes: Sequence[Setting] = ()) -> Quiet:
    """One file through the engine."""
    done = importing.Imported()
    alerts = list(_alerts(plan, done, changes))
    if not done.rows:
        told = f" ({done.problems[0]})" if done.problems else ""
        raise ConfigError(f"{plan.file.name} has no usable row{told}")
    hours = (done.until_ns - done.since_ns) / NS_PER_S / 3600.0
    return Quiet(plan.file.name.partition(".")[0], hours, done.rows, alerts)


def _alerts(
    plan: importing.Plan, done: importing.Imported, changes: Sequence[Setting]
) -> Iterator[Alert]:
    if plan.kind != "frames":
        yield from runner.run(importing.inputs(plan, done), plan.instruments, changes)
        return
    symbols = tuple(one.partition(":")[2] for one in plan.instruments)
    source = Setting(("source", "binance", "symbols"), symbols, "evaluate")
    engine = engine_of(assemble([source, *changes])[0])
    for item in importing.inputs(plan, done):
        for output in engine.step(item):
            if isinstance(output, Alert):
                yield output


def scored(found: Sequence[Quiet]) -> dict[str, Any]:
    """Counts, and the rate of warnings or more per market-day. `warnings_of_markets` leaves out
    what is said of the feed: a recorder whose clock was wrong says nothing of the market."""
    days = sum(one.hours for one in found) * 3600.0 / _DAY_S
    alerts = [alert for one in found for alert in one.alerts]
    warned = [alert for alert in alerts if alert.severity != "info"]
    pages = sum(alert.severity == "page" for alert in alerts)
    return {
        "set": "quiet",
        "files": [
            {
                "file": one.file,
                "hours": round(one.hours, 3),
                "rows": one.rows,
                "alerts": _by_severity(one.alerts),
                "causes": dict(sorted(Counter(_cause(alert) for alert in one.alerts).items())),
            }
            for one in found
        ],
        "market_days": round(days, 4),
        "alerts": _by_severity(alerts),
        "pages": pages,
        "warnings": len(warned),
        "warnings_of_markets": sum(alert.cause not in FEED_CAUSES for alert in warned),
        "warnings_per_market_day": scoring.rate(len(warned), days),
        "warnings_by_cause": dict(sorted(Counter(alert.cause for alert in warned).items())),
    }


def _by_severity(alerts: Sequence[Alert]) -> dict[str, int]:
    counts = Counter(alert.severity for alert in alerts)
    return {severity: counts[severity] for severity in SEVERITIES}


def _cause(alert: Alert) -> str:
    kind = f".{alert.kind}" if alert.kind else ""
    return f"{alert.severity} {alert.cause}{kind}"
