"""`evaluate pumps`: small coins in the two days before and after a pump was announced.

The folder holds `labels.csv` (`file`, `symbol`, `announced_utc`, `manual_onset_utc`,
`corrected_utc`, `hours`) and the files of trades it names. Onsets were set by hand, independently
of any rule; an announcement is not yet a pump, and some were followed by none. Alerts of every file
are written before a label is used for anything but the file's name and symbol.

An alert counts from half a minute before to five minutes after an instant. Load is what was said
further away: an hour before to six hours after an announcement belong to the event.
"""

import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from tapewatch.app import importing, table_files
from tapewatch.app.cells import time_ns
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate import runner, scoring
from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.outputs import Alert
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S

BEFORE_S: Final = 30.0  # an alert may come before the announcement: insiders buy first
AFTER_S: Final = 300.0
BUDGETS_S: Final = (10.0, 30.0, 300.0)
_HOUR_NS: Final = 3600 * NS_PER_S
_EVENT_NS: Final = (1 * _HOUR_NS, 6 * _HOUR_NS)  # before and after an announcement: no load
_APART_NS: Final = 6 * _HOUR_NS  # of the instants that measure chance, from the announcement
_REACH_NS: Final = 47 * _HOUR_NS  # of those instants, so that every file covers them


class Label(Struct, frozen=True):
    """One file: when the pump was announced, when it began (0: nobody looked), hours of data."""

    file: str
    symbol: str
    announced_ns: int
    onset_ns: int
    hours: float


def evaluate(
    data: pathlib.Path, out: pathlib.Path, changes: Sequence[Setting] = ()
) -> dict[str, Any]:
    """Recall by delay, and load, of all alarms of the default configuration with `changes`.

    Writes `<out>/<stem>.alerts.ndjson` for every file. Raises `ConfigError`.
    """
    labels = list(read_labels(data))
    said: dict[str, list[Alert]] = {}
    for label in labels:
        stem = pathlib.PurePath(label.file).stem
        alerts = list(_alerts(data / label.file, label.symbol, changes))
        runner.write(out, stem, alerts)
        said[label.file] = [alert for alert in alerts if alert.severity != "info"]
    score = scored(labels, said)
    builtins: dict[str, Any] = msgspec.to_builtins(score)
    return builtins


def scored(labels: Sequence[Label], said: dict[str, list[Alert]]) -> dict[str, Any]:
    """The score of alarms by file."""
    manual: list[float] = []
    announced: list[float] = []
    chances: list[scoring.Proportion] = []
    late: dict[str, float | None] = {}
    load: Counter[str] = Counter()
    episodes = 0
    for label in labels:
        alarms = said[label.file]
        times = [alarm.ts_alert_ns for alarm in alarms]
        announced.append(scoring.delay_s(times, label.announced_ns, BEFORE_S, AFTER_S))
        if label.onset_ns:
            delay = scoring.delay_s(times, label.onset_ns, BEFORE_S, AFTER_S)
            manual.append(delay)
            if delay > BUDGETS_S[0]:
                late[label.file] = round(delay, 3) if delay <= AFTER_S else None
        chances.append(scoring.chance(times, _instants(label), BEFORE_S, AFTER_S))
        quiet = [start for start in scoring.episodes(times) if _is_load(label, start)]
        episodes += len(quiet)
        load.update(alarm.cause for alarm in alarms if alarm.ts_alert_ns in quiet)
    days = sum(label.hours - sum(_EVENT_NS) / _HOUR_NS for label in labels) / 24.0
    return {
        "set": "pumps",
        "files": len(labels),
        "market_days": round(days, 3),
        "onsets": scoring.recalls(manual, BUDGETS_S),
        "announcements": scoring.recalls(announced, BUDGETS_S),
        "chance": scoring.proportion(sum(one.hits for one in chances), sum(o.n for o in chances)),
        "alarms_per_market_day": scoring.rate(episodes, days),
        "alarms_by_cause": dict(sorted(load.items())),
        "onsets_later_than_10_s": late,
    }


def _alerts(file: pathlib.Path, symbol: str, changes: Sequence[Setting]) -> Iterator[Alert]:
    instrument = f"ndjson:{symbol}/BTC"
    plan = importing.Plan(kind="trades", file=file, instruments=(instrument,))
    done = importing.Imported()
    yield from runner.run(importing.inputs(plan, done), (instrument,), changes)
    if not done.rows:
        told = f" ({done.problems[0]})" if done.problems else ""
        raise ConfigError(f"{file.name} has no usable row{told}")


def read_labels(data: pathlib.Path) -> Iterator[Label]:
    """Rows of `labels.csv`. Raises `ConfigError` naming what is wrong with one."""

    def complain(number: int, what: str) -> None:
        raise ConfigError(f"labels.csv:{number}: {clean(what)}", "DIR")

    for number, row in table_files.rows(data / "labels.csv", complain):
        try:
            onset = str(row["manual_onset_utc"] or "")
            yield Label(
                file=str(row["file"]),
                symbol=str(row["symbol"]),
                announced_ns=time_ns(str(row["corrected_utc"] or row["announced_utc"])),
                onset_ns=time_ns(onset) if onset else 0,
                hours=float(row["hours"]),
            )
        except (DecodeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"labels.csv:{number}: {clean(str(error))}", "DIR") from error


def _instants(label: Label) -> list[int]:
    at = label.announced_ns
    avoid = scoring.Interval(at - _APART_NS, at + _APART_NS)
    return scoring.chance_instants(at - _REACH_NS, at + _REACH_NS, avoid, label.file)


def _is_load(label: Label, at: int) -> bool:
    before, after = _EVENT_NS
    return not label.announced_ns - before <= at <= label.announced_ns + after
