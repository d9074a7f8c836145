"""`evaluate peers`: the rules of others on the same data, at the same rate of false alarms.

A threshold of one detector means nothing to another, so each rule gets the threshold at which it is
as loud as all the others, and is asked what it finds there: on made-up tapes at a share of false
steps, on real tape at a load of alarms a day. That is kinder to a rule than life is, since nobody
who sets a threshold knows the load beforehand.

The folder holds `pumps/` and `bitfinex_1m/`; what is missing is left out. Rules whose library is
not installed are named under `missing`; `driftlock` looks at the text of a trade, all others at its
price. The forest is too slow for real tape and gets a shorter tape.
"""

import heapq
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import exp
from typing import Any, Final

import msgspec
from msgspec import Struct

from tapewatch.app import table_files
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate import bitfinex, pumps, scoring
from tapewatch.app.evaluate import synthetic_tapes as tapes
from tapewatch.app.evaluate.peers_rules import MAKERS
from tapewatch.detect.driftlock import Driftlock
from tapewatch.gate.incidents import stable_id
from tapewatch.model.errors import ConfigError
from tapewatch.model.events import Trade
from tapewatch.model.instrument import Side
from tapewatch.model.outputs import Alert, DataVerdict
from tapewatch.model.time import NS_PER_MS, NS_PER_S

HOUR: Final = 3_600  # window of rules on made-up tapes, in steps of a second
LAWS: Final = ("gaussian_wild", "garch_t4")
KS: Final = (5.0, 8.0, 12.0)
SHARES: Final = (1e-2, 1e-3)
EVERY: Final = 20  # steps between plants
SEED: Final = 100
LOADS: Final = (1.0, 0.1)  # alarms a market-day
BAR_S: Final = 5
FOREST: Final = "rrcf_forest"
SLOW: Final = frozenset({FOREST, "river_half_space_trees"})  # not for years of minutes
KEPT: Final = 4_096  # highest scores of a market that can become alarms

FIXED_Z: Final = 3.0  # the threshold of the rule of bot 4.15

Peak = tuple[float, int]  # score, time in ns
Markets = Mapping[str, Sequence[Peak]]


class Size(Struct, frozen=True):
    """Steps before plants, and plants of each k; the same for the forest."""

    warm: int = 4_000
    points: int = 500
    forest_warm: int = 300
    forest_points: int = 30


def evaluate(
    data: pathlib.Path,
    out: pathlib.Path,  # noqa: ARG001  the sets share one signature; peers raise no alerts of ours
    changes: Sequence[Setting] = (),  # noqa: ARG001  and have no settings
) -> dict[str, Any]:
    """What the rules of others find. Raises `ConfigError`."""
    return measure(Size(), data)


def measure(size: Size, data: pathlib.Path) -> dict[str, Any]:
    """The same in another size."""
    missing = dict(_missing())
    names = [name for name in MAKERS if name not in missing]
    rows = [row for law in LAWS for name in names for row in _power(law, name, size)]
    rows += [row for law in LAWS for row in _driftlock(law, size)]
    score: dict[str, Any] = {"set": "peers", "missing": missing, "synthetic": rows}
    if (data / "pumps" / "labels.csv").is_file():
        score["pumps"] = list(_pumps(data, [name for name in names if name != FOREST]))
    if (data / "bitfinex_1m" / "incidents.csv").is_file():
        score["bitfinex"] = list(_bitfinex(data, [name for name in names if name not in SLOW]))
    return scoring.plain(score)


def _missing() -> Iterator[tuple[str, str]]:
    for name, make in MAKERS.items():
        try:
            make(2)
        except ConfigError as error:
            yield name, str(error)


# Made-up tapes


def _power(law: str, name: str, size: Size) -> list[dict[str, Any]]:
    """Share of jumps that a rule sees, at the threshold that a share of clean steps reaches."""
    forest = name == FOREST
    warm = size.forest_warm if forest else size.warm
    points = size.forest_points if forest else size.points
    rule = MAKERS[name](HOUR)
    clean: list[float] = []
    planted: dict[float, list[float]] = {k: [] for k in KS}
    before = 0.0
    steps = tapes.law(law).steps(tapes.random_of(law, SEED))
    for at, step in enumerate(islice(steps, warm + points * EVERY)):
        price = exp(tapes.log_mid(step))
        if at >= warm:
            clean.append(rule.score(price))
            if at % EVERY == 0:
                sign = 1 if at // EVERY % 2 else -1
                for k in KS:
                    planted[k].append(rule.score(before * exp(sign * k * step.sigma)))
        rule.learn(price)
        before = price
    return _seen(law, name, clean, planted)


def _driftlock(law: str, size: Size) -> list[dict[str, Any]]:
    """The same for the text of trades: the jump is the first trade at the new price."""
    detector, chance = Driftlock(), tapes.random_of(f"{law}/text", SEED)
    state = detector.start(tapes.instrument(law))
    clean: list[float] = []
    planted: dict[float, list[float]] = {k: [] for k in KS}
    before = tapes.PRICE
    steps = tapes.law(law).steps(tapes.random_of(law, SEED))
    for at, step in enumerate(islice(steps, size.warm + size.points * EVERY)):
        price = exp(tapes.log_mid(step))
        side: Side = "buy" if chance.random() < 0.5 else "sell"
        amount = round(chance.lognormvariate(0.0, 1.0), 8)
        if at >= size.warm and at % EVERY == 0:
            sign = 1 if at // EVERY % 2 else -1
            for k in KS:
                copy = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state))
                jumped = before * exp(sign * k * step.sigma)
                seen = detector.update(copy, _trade(law, at, jumped, amount, side))
                planted[k].append(seen.score if seen else 0.0)
        seen = detector.update(state, _trade(law, at, price, amount, side))
        if at >= size.warm:
            clean.append(seen.score if seen else 0.0)
        before = price
    return _seen(law, "driftlock", clean, planted)


def _trade(law: str, second: int, price: float, size: float, side: Side) -> Trade:
    at = (tapes.START_S + second) * NS_PER_S
    return Trade(tapes.instrument(law), at, at, round(price, 2), size, side)


def _seen(
    law: str, name: str, clean: Sequence[float], planted: Mapping[float, Sequence[float]]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    ranked = sorted(clean, reverse=True)
    for share in SHARES:
        place = int(share * len(ranked))
        if place < 5:
            continue  # the threshold would rest on less than five steps
        line = ranked[place]
        for k, scores in planted.items():
            hits = sum(score > line for score in scores)
            seen = scoring.proportion(hits, len(scores), scoring.wilson_interval)
            row = {"tape": law, "rule": name, "share": share, "k": k, "line": line, "seen": seen}
            rows.append(row)
    return rows


# Real tape


class Listener:
    """One rule on one market, and its highest scores: only those can become alarms."""

    def __init__(self, name: str, window: int, kept: int) -> None:
        self._rule = MAKERS[name](window)
        self._kept = kept
        self._heap: list[Peak] = []

    def hear(self, price: float, at: int) -> None:
        """Score a price, then learn it."""
        peak = (self._rule.score(price), at)
        if len(self._heap) < self._kept:
            heapq.heappush(self._heap, peak)
        elif peak > self._heap[0]:
            heapq.heapreplace(self._heap, peak)
        self._rule.learn(price)

    def peaks(self) -> list[Peak]:
        """The highest first."""
        return sorted(self._heap, reverse=True)


def _pumps(data: pathlib.Path, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Onsets found within ten seconds at a load; bars of BAR_S."""
    labels = list(pumps.read_labels(data / "pumps"))
    heard = {label.file: _bars(data / "pumps" / label.file, names) for label in labels}
    for name in names:
        peaks = {file: one[name].peaks() for file, one in heard.items()}

        def scored(line: float, name: str = name, peaks: Markets = peaks) -> dict[str, Any]:
            said = {file: list(_alerts(name, one, line)) for file, one in peaks.items()}
            return scoring.plain(pumps.scored(labels, said))

        lines: list[tuple[float | None, float]] = [
            (load, _line(peaks, lambda line: scored(line)["alarms_per_market_day"]["rate"], load))
            for load in LOADS
        ]
        if name == "level_z":
            lines.append((None, FIXED_Z))
        for load, line in lines:
            yield {"rule": name, "load": load, "line": line, "score": scored(line)}


def _bars(file: pathlib.Path, names: Sequence[str]) -> dict[str, Listener]:
    """The last price of each bar at its end. A rule of the window sees empty bars too, with the
    price before; half-space trees are too slow for that and see bars with trades."""
    listeners = {name: Listener(name, HOUR // BAR_S, KEPT) for name in names}
    quick = [one for name, one in listeners.items() if name not in SLOW]
    step = BAR_S * NS_PER_S
    end, price = 0, 0.0
    for _, row in table_files.rows(file, lambda *_: None):
        at = int(row["ts_ms"]) * NS_PER_MS
        if end and at >= end:
            for one in listeners.values():
                one.hear(price, end)
            for empty in range(end + step, at + 1, step):
                for one in quick:
                    one.hear(price, empty)
        price, end = float(row["price"]), at - at % step + step
    return listeners


def _bitfinex(data: pathlib.Path, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Price incidents found at a load; outages are not the business of rules of the price."""
    folder = data / "bitfinex_1m"
    incidents = [one for one in bitfinex.read_incidents(folder) if one.kind not in bitfinex.OUTAGES]
    heard = {
        file.stem.removesuffix(bitfinex.SUFFIX): _minutes(file, names)
        for file in sorted(folder.glob(f"*{bitfinex.SUFFIX}.parquet"))
    }
    for name in names:
        peaks = {symbol: one[name].peaks() for symbol, one in heard.items()}

        def scored(line: float, name: str = name, peaks: Markets = peaks) -> dict[str, Any]:
            said = {symbol: list(_alerts(name, one, line)) for symbol, one in peaks.items()}
            return scoring.plain(bitfinex.scored(incidents, said))

        for load in LOADS:
            line = _line(peaks, lambda line: _worst(scored(line)), load)
            found = scored(line)
            kept = {key: found[key] for key in ("incidents", "missed", "load")}
            yield {"rule": name, "load": load, "line": line, "score": kept}


def _worst(score: dict[str, Any]) -> float:
    """The load of the loudest market."""
    rates = [float(one["alarms_per_day"]["rate"]) for one in score["load"].values()]
    return max(rates, default=0.0)


def _minutes(file: pathlib.Path, names: Sequence[str]) -> dict[str, Listener]:
    listeners = {name: Listener(name, HOUR // 60, 8 * KEPT) for name in names}
    for _, row in table_files.rows(file, lambda *_: None):
        price, at = float(row["close"]), int(row["ts_ms"]) * NS_PER_MS + 60 * NS_PER_S
        for one in listeners.values():
            one.hear(price, at)
    return listeners


def _line(peaks: Markets, load_at: Callable[[float], float | None], load: float) -> float:
    """The least threshold that is not louder than `load`."""
    values = sorted({score for one in peaks.values() for score, _ in one})
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if (load_at(values[middle]) or 0.0) <= load:
            high = middle
        else:
            low = middle + 1
    return values[high]


def _alerts(name: str, peaks: Sequence[Peak], line: float) -> Iterator[Alert]:
    for score, at in peaks:
        if score < line:
            return
        incident = stable_id(name, at)
        yield Alert(
            id=incident,
            incident=incident,
            instrument=f"peer:{name}",
            detector=name,
            cause="price_spike",
            severity="warn",
            ts_event_ns=at,
            ts_alert_ns=at,
            onset_ns=at,
            p=None,
            p_extrapolated=False,
            score=score,
            line=line,
            observed=None,
            expected=None,
            data_verdict=DataVerdict("complete"),
        )
