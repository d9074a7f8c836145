"""`evaluate bitfinex`: minute bars of years, with dated wrong prints, crashes and outages.

The folder holds `<SYMBOL>_1m.parquet` and `incidents.csv` (`id`, `symbol`, `start_utc`, `end_utc`,
`kind`, `split`); a minute without a trade has no row. Alerts of every file are written before a
label is read.

A price incident is found by an alarm from a minute before its start to five minutes after its end
that speaks of the price or volume; an outage by `silence` within 15 minutes of the last print. A
wrong print must be called `bad_print`. Load is what all detectors together say on BTC and ETH over
stretches chosen before anything was tuned.
"""

import pathlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from tapewatch.app import importing, table_files
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate import runner, scoring
from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.outputs import Alert
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S, parse_rfc3339

SUFFIX: Final = "_1m"
BEFORE_S: Final = 60.0
AFTER_S: Final = 300.0
SILENT_S: Final = 900.0  # within which an outage is to be told
SILENT_BUDGETS_S: Final = (600.0, SILENT_S)
RESUMED_S: Final = 120.0
FEED: Final = frozenset({"silence", "resumed"})
OUTAGES: Final = frozenset({"outage", "maintenance"})
WRONG: Final = "erroneous_print"
LOADED: Final = ("BTCUSD", "ETHUSD")
LOAD_SPANS: Final = (("2016-08-11", "2017-06-30"), ("2018-01-01", "2019-12-31"))
_DAY_NS: Final = 86_400 * NS_PER_S


class Incident(Struct, frozen=True):
    """One incident of one symbol; times in ns."""

    name: str
    symbol: str
    kind: str
    start_ns: int
    end_ns: int


def evaluate(
    data: pathlib.Path, out: pathlib.Path, changes: Sequence[Setting] = ()
) -> dict[str, Any]:
    """Incidents found, wrong prints called so, and load, of the default configuration with
    `changes`. Writes `<out>/<SYMBOL>_1m.alerts.ndjson` for every file. Raises `ConfigError`."""
    said: dict[str, list[Alert]] = {}
    for file in sorted(data.glob(f"*{SUFFIX}.parquet")):
        symbol = file.stem.removesuffix(SUFFIX)
        alerts = list(_alerts(file, symbol, changes))
        runner.write(out, file.stem, alerts)
        said[symbol] = alerts
    if not said:
        raise ConfigError(f"{clean(str(data))} has no file named *{SUFFIX}.parquet", "DIR")
    return scoring.plain(scored(list(read_incidents(data)), said))


def scored(incidents: Sequence[Incident], said: Mapping[str, Sequence[Alert]]) -> dict[str, Any]:
    """The score of the alerts by symbol."""
    incidents = [one for one in incidents if one.symbol in said]
    delays = {one.name: _found_after(one, said[one.symbol]) for one in incidents}
    outages = [one for one in incidents if one.kind in OUTAGES]
    wrong = [one for one in incidents if one.kind == WRONG]
    typed = [one.name for one in wrong if _typed(one, said[one.symbol])]
    found = [name for name, delay in delays.items() if delay < float("inf")]
    return {
        "set": "bitfinex",
        "incidents": scoring.proportion(len(found), len(delays)),
        "delay_s": {name: round(delays[name], 1) for name in found},
        "missed": sorted(set(delays) - set(found)),
        "wrong_prints_called_so": scoring.proportion(len(typed), len(wrong)),
        "moves_called_wrong_prints": [
            one.name for one in incidents if one.kind != WRONG and _typed(one, said[one.symbol])
        ],
        "outages": scoring.recalls([delays[one.name] for one in outages], SILENT_BUDGETS_S),
        "resumed_within_2_min": scoring.proportion(
            sum(_resumed(one, said[one.symbol]) for one in outages), len(outages)
        ),
        "load": dict(_load(said)),
    }


def _alerts(file: pathlib.Path, symbol: str, changes: Sequence[Setting]) -> Iterator[Alert]:
    instrument = f"bitfinex:{symbol}"
    plan = importing.Plan(kind="bars", file=file, instruments=(instrument,), interval_s=60.0)
    done = importing.Imported()
    yield from runner.run(importing.inputs(plan, done), (instrument,), changes)
    if not done.rows:
        told = f" ({done.problems[0]})" if done.problems else ""
        raise ConfigError(f"{file.name} has no usable row{told}")


def read_incidents(data: pathlib.Path) -> Iterator[Incident]:
    """Rows of `incidents.csv`, one for each symbol. Raises `ConfigError` naming what is wrong."""

    def complain(number: int, what: str) -> None:
        raise ConfigError(f"incidents.csv:{number}: {clean(what)}", "DIR")

    for number, row in table_files.rows(data / "incidents.csv", complain):
        try:
            if row["split"] == "exclude":
                continue
            for base in str(row["symbol"]).replace("USD", "").split("/"):
                yield Incident(
                    name=f"{row['id']}:{base}USD",
                    symbol=f"{base}USD",
                    kind=str(row["kind"]),
                    start_ns=_minute(str(row["start_utc"])),
                    end_ns=_minute(str(row["end_utc"])),
                )
        except (DecodeError, KeyError) as error:
            raise ConfigError(f"incidents.csv:{number}: {clean(str(error))}", "DIR") from error


def _minute(text: str) -> int:
    """`2013-04-11 18:12` -> ns. Raises `DecodeError`."""
    return parse_rfc3339(f"{text}:00Z")


def _alarms(alerts: Sequence[Alert]) -> Iterator[Alert]:
    return (alert for alert in alerts if alert.severity != "info")


def _found_after(one: Incident, alerts: Sequence[Alert]) -> float:
    """Seconds from the start to the first alarm that finds the incident; inf: none does."""
    if one.kind in OUTAGES:
        causes = {"silence"}
        after_s = SILENT_S
    else:
        causes = {alert.cause for alert in alerts} - FEED
        after_s = (one.end_ns - one.start_ns) / NS_PER_S + AFTER_S
    times = [alert.ts_alert_ns for alert in _alarms(alerts) if alert.cause in causes]
    return scoring.delay_s(times, one.start_ns, BEFORE_S, after_s)


def _typed(one: Incident, alerts: Sequence[Alert]) -> bool:
    first = one.start_ns - round(BEFORE_S * NS_PER_S)
    last = one.end_ns + round(AFTER_S * NS_PER_S)
    return any(
        alert.cause == "bad_print" and first <= alert.ts_alert_ns <= last
        for alert in _alarms(alerts)
    )


def _resumed(one: Incident, alerts: Sequence[Alert]) -> bool:
    """Whether the end of an outage was told in time, at any severity."""
    times = [alert.ts_alert_ns for alert in alerts if alert.cause == "resumed"]
    return scoring.delay_s(times, one.end_ns, BEFORE_S, RESUMED_S) < float("inf")


def _load(said: Mapping[str, Sequence[Alert]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Episodes of alarms a day, and what began them, where there are any alerts at all."""
    for symbol in LOADED:
        for span in LOAD_SPANS:
            since, until = (parse_rfc3339(f"{day}T00:00:00Z") for day in span)
            alarms = [
                one for one in _alarms(said.get(symbol, ())) if since <= one.ts_alert_ns < until
            ]
            starts = scoring.episodes(one.ts_alert_ns for one in alarms)
            if starts:
                first = {one.ts_alert_ns: one.cause for one in reversed(alarms)}
                causes = Counter(first[at] for at in starts)
                yield (
                    f"{symbol} {span[0][:4]}",
                    {
                        "alarms_per_day": scoring.rate(len(starts), (until - since) / _DAY_NS),
                        "by_cause": dict(sorted(causes.items())),
                    },
                )
