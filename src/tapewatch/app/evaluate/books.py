"""`tapewatch evaluate books`: order books of prediction markets, one file a market.

Labels were made by rules: stretches without data, crossed books, and moves of the naive mid that
lasted a minute or did not. So beside recall stands the load, and how good the forecasts are.

Every silence of a minute has a label, most of them ordinary quiet of a slow market. So here each is
noted (`detector.gap.told_s`), and two that follow each other are two (`gate.quiet_s`). Notes are no
alarms: the load counts warnings and above.
"""

import csv
import pathlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from tapewatch.app import importing
from tapewatch.app.config import set_option
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate import runner, scoring
from tapewatch.model.errors import ConfigError
from tapewatch.model.instrument import split_id
from tapewatch.model.outputs import Alert
from tapewatch.model.time import NS_PER_MS, NS_PER_S

SETTINGS: Final = ("detector.gap.told_s=60", "gate.quiet_s=20")
ENDING: Final = "_polymarket-market-events.csv.gz"
LABELS: Final = "events_derived.csv"
COUNTED: Final = frozenset({"warn", "high", "page"})
PRICE: Final = frozenset({"price_jump", "level_shift", "drift", "resumed"})
AFTER_NS: Final = 5 * NS_PER_S  # after the end of a gap or crossing it still counts as found
FORECAST_NS: Final = 3 * NS_PER_S  # after a jump: the line of the first three seconds is judged
UNWANTED_NS: Final = 60 * NS_PER_S  # after a jump that came back: an alarm is unwanted
SECOND_NS: Final = 1 * NS_PER_S
NS_PER_HOUR: Final = 3_600 * NS_PER_S


class Label(NamedTuple):
    """One labelled stretch of a market, in ns."""

    slug: str
    kind: str
    start: int
    end: int


class Forecast(NamedTuple):
    """The forecast of one labelled jump, and whether it did last."""

    slug: str
    p: float
    lasted: bool


class Market(NamedTuple):
    """The alerts of one market and the hours its file spans."""

    alerts: list[Alert]
    hours: float


def evaluate(
    data: pathlib.Path, out: pathlib.Path, changes: Sequence[Setting] = ()
) -> dict[str, Any]:
    """Write the alerts of every market, then read the labels and score them. `ConfigError` where
    there is nothing to read."""
    files = sorted(data.glob(f"*{ENDING}"))
    if not files:
        raise ConfigError(f"{data.name} has no file *{ENDING}", "DIR")
    settings = [*(set_option(text) for text in SETTINGS), *changes]
    parts: dict[str, list[Market]] = defaultdict(list)
    for file in files:
        slug = file.name.removesuffix(ENDING).partition("_")[2]
        parts[slug].append(watched(file, slug, settings))
    markets = {
        slug: Market(
            [alert for part in some for alert in part.alerts], sum(part.hours for part in some)
        )
        for slug, some in parts.items()
    }
    for slug, market in markets.items():
        runner.write(out, slug, market.alerts)
    return scoring.plain(score(markets, labels(data / LABELS)))


def watched(file: pathlib.Path, slug: str, settings: Sequence[Setting]) -> Market:
    """Run one file."""
    instrument = f"polymarket:{slug}"
    split_id(instrument)
    plan = importing.Plan(kind="books", file=file, instruments=(instrument,))
    done = importing.Imported()
    alerts = runner.run(importing.inputs(plan, done), importing.ids(plan), settings)
    return Market(alerts, (done.until_ns - done.since_ns) / NS_PER_HOUR)


def labels(file: pathlib.Path) -> list[Label]:
    """Raises `ConfigError` when they cannot be read."""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return [
                Label(
                    row["slug"],
                    row["type"],
                    int(row["start_ms"]) * NS_PER_MS,
                    int(row["end_ms"] or row["start_ms"]) * NS_PER_MS,
                )
                for row in csv.DictReader(lines)
            ]
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(f"{file.name} cannot be read as labels: {error}") from error


def score(markets: dict[str, Market], truth: Sequence[Label]) -> dict[str, Any]:
    """Everything that is reported, of the markets that were run."""
    mine = [label for label in truth if label.slug in markets]
    seen = {kind: [x for x in mine if x.kind == kind] for kind in {label.kind for label in mine}}
    hours = sum(market.hours for market in markets.values())
    gaps, crossings = seen.get("feed_gap", []), seen.get("crossed_book", [])
    late = [_late_s(markets, label) for label in crossings]
    return {
        "set": "books",
        "markets": len(markets),
        "market_hours": hours,
        "feed_gap": scoring.proportion(_found(markets, gaps, "silence"), len(gaps)),
        "crossed_book": scoring.proportion(_found(markets, crossings, "crossed"), len(crossings)),
        "crossed_within_1_s_of_the_first": scoring.recall(late, 1.0),
        "jump_triage": _triage(markets, mine),
        "reverted_jumps_alerted": _alerted(markets, seen.get("mid_jump_reverted", [])),
        "persisted_jumps_alerted": _alerted(markets, seen.get("mid_jump_persisted", [])),
        "per_market_hour": {
            "price": _load(markets, PRICE, hours),
            "silence": _load(markets, frozenset({"silence"}), hours),
            "silence_notes": _load(markets, frozenset({"silence"}), hours, notes=True),
            "crossed": _load(markets, frozenset({"crossed"}), hours),
            "all": _load(markets, None, hours),
        },
    }


def _found(markets: dict[str, Market], wanted: Sequence[Label], cause: str) -> int:
    return sum(
        any(
            alert.cause == cause and label.start <= alert.ts_alert_ns <= label.end + AFTER_NS
            for alert in markets[label.slug].alerts
        )
        for label in wanted
    )


def _late_s(markets: dict[str, Market], label: Label) -> float:
    """Seconds from the moment at which a crossing had lasted a second to its alert."""
    times = [a.ts_alert_ns for a in markets[label.slug].alerts if a.cause == "crossed"]
    lasts_s = (label.end + AFTER_NS - label.start) / NS_PER_S
    return scoring.delay_s(times, label.start, 0.0, lasts_s) - SECOND_NS / NS_PER_S


def _triage(markets: dict[str, Market], mine: Sequence[Label]) -> dict[str, Any]:
    """How well the two-second forecasts tell what lasts from what comes back. Intervals draw whole
    markets: the jumps of one game are not independent."""
    jumps = [label for label in mine if label.kind.startswith("mid_jump")]
    forecasts: list[Forecast] = []
    for label in jumps:
        near = [
            alert.p_persist
            for alert in markets[label.slug].alerts
            if alert.p_persist is not UNSET
            and label.start - SECOND_NS <= alert.ts_alert_ns <= label.start + FORECAST_NS
        ]
        if near:
            forecasts.append(Forecast(label.slug, near[-1], label.kind.endswith("persisted")))
    games = [
        [one for one in forecasts if one.slug == slug]
        for slug in sorted({one.slug for one in forecasts})
    ]
    return {
        "auc": _auc([forecasts]),
        "auc_interval": scoring.bootstrap(games, _auc, "books auc"),
        "brier": _brier([forecasts]),
        "brier_interval": scoring.bootstrap(games, _brier, "books brier"),
        "scored": len(forecasts),
        "unseen": len(jumps) - len(forecasts),
    }


def _auc(games: Sequence[list[Forecast]]) -> float | None:
    every = [one for game in games for one in game]
    return scoring.auc(
        [one.p for one in every if one.lasted], [one.p for one in every if not one.lasted]
    )


def _brier(games: Sequence[list[Forecast]]) -> float | None:
    every = [one for game in games for one in game]
    return scoring.brier([one.p for one in every], [one.lasted for one in every])


def _alerted(markets: dict[str, Market], jumps: Sequence[Label]) -> scoring.Proportion:
    """How many of these jumps a price alarm spoke of."""
    hits = sum(
        any(
            alert.severity in COUNTED
            and alert.cause in PRICE - {"resumed", "drift"}
            and jump.start - SECOND_NS <= alert.ts_alert_ns <= jump.start + UNWANTED_NS
            for alert in markets[jump.slug].alerts
        )
        for jump in jumps
    )
    return scoring.proportion(hits, len(jumps))


def _load(
    markets: dict[str, Market], causes: frozenset[str] | None, hours: float, *, notes: bool = False
) -> scoring.Rate:
    """Episodes per market-hour: of the causes (None: all), warnings and above or notes as well."""
    count = sum(
        len(
            scoring.episodes(
                alert.ts_alert_ns
                for alert in market.alerts
                if (notes or alert.severity in COUNTED) and (not causes or alert.cause in causes)
            )
        )
        for market in markets.values()
    )
    return scoring.rate(count, hours)
