"""`evaluate peers`: the rules of others on the same data, at the same rate of false alarms.

A threshold of one detector means nothing to another, so each rule gets the threshold at which it is
as loud as all the others, and is asked what it finds there: on made-up tapes at a share of false
steps, on real tape at a load of alarms a day. That is kinder to a rule than life is, since nobody
who sets a threshold knows the load beforehand.

The folder holds `pumps/` and `bitfinex_1m/`; what is missing is left out. Rules whose library is
not installed are named under `missing`; `driftlock` looks at the text of a trade, all others at its
price. The forest is too slow for real tape and gets a shorter tape.
"""

import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from math import exp
from typing import Any, Final

import msgspec
from msgspec import Struct

from tapewatch.app import table_files
from tapewatch.app.cells import time_ns
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
BISECTIONS: Final = 12  # of a threshold: one score in 4,096
KEPT: Final = 4_096  # highest scores of a market that can become alarms

Peak = tuple[float, int]  # score, time in ns


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
        score["pumps"] = [row for name in names if name != FOREST for row in _pumps(data, name)]
    if (data / "bitfinex_1m" / "incidents.csv").is_file():
        quick = [name for name in names if name not in SLOW]
        score["bitfinex"] = [row for name in quick for row in _bitfinex(data, name)]
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


def _pumps(data: pathlib.Path, name: str) -> list[dict[str, Any]]:
    """Onsets found within ten seconds at a load; bars of BAR_S."""
    labels = list(pumps.read_labels(data / "pumps"))
    peaks = {label.file: _bars(data / "pumps" / label.file, name) for label in labels}

    def scored(line: float) -> dict[str, Any]:
        said = {file: list(_alerts(name, one, line)) for file, one in peaks.items()}
        return scoring.plain(pumps.scored(labels, said))

    rows = []
    for load in LOADS:
        line = _line(
            peaks.values(), lambda line: scored(line)["alarms_per_market_day"]["rate"], load
        )
        found = scored(line)
        rows.append({"rule": name, "load": load, "line": line, "score": found})
    if name == "level_z":
        rows.append({"rule": name, "load": None, "line": 3.0, "score": scored(3.0)})
    return rows


def _bars(file: pathlib.Path, name: str) -> list[Peak]:
    """Scores of the last price of each bar at its end. A rule of the window sees empty bars too,
    with the price before; half-space trees are too slow for that and see bars with trades."""
    rule = MAKERS[name](HOUR // BAR_S)
    step = BAR_S * NS_PER_S
    peaks: list[Peak] = []
    end, price = 0, 0.0
    for _, row in table_files.rows(file, lambda *_: None):
        at = int(row["ts_ms"]) * NS_PER_MS
        while end and at >= end:
            peaks.append((rule.score(price), end))
            rule.learn(price)
            end = at - at % step + step if name in SLOW else end + step
        end = end or at - at % step + step
        price = float(row["price"])
    return sorted(peaks, reverse=True)[:KEPT]


def _bitfinex(data: pathlib.Path, name: str) -> list[dict[str, Any]]:
    """Price incidents found at a load; the outages of silence are not a rule's business here."""
    folder = data / "bitfinex_1m"
    incidents = [one for one in bitfinex.read_incidents(folder) if one.kind not in bitfinex.OUTAGES]
    peaks = {
        file.stem.removesuffix(bitfinex.SUFFIX): _minutes(file, name)
        for file in sorted(folder.glob(f"*{bitfinex.SUFFIX}.parquet"))
    }

    def scored(line: float) -> dict[str, Any]:
        said = {symbol: list(_alerts(name, one, line)) for symbol, one in peaks.items()}
        return scoring.plain(bitfinex.scored(incidents, said))

    rows = []
    for load in LOADS:
        line = _line(peaks.values(), lambda line: _worst(scored(line)), load)
        found = scored(line)
        kept = {key: found[key] for key in ("incidents", "missed", "load")}
        rows.append({"rule": name, "load": load, "line": line, "score": kept})
    return rows


def _worst(score: dict[str, Any]) -> float:
    """The load of the loudest market."""
    rates = [float(one["alarms_per_day"]["rate"]) for one in score["load"].values()]
    return max(rates, default=0.0)


def _minutes(file: pathlib.Path, name: str) -> list[Peak]:
    rule = MAKERS[name](HOUR // 60)
    peaks: list[Peak] = []
    for _, row in table_files.rows(file, lambda *_: None):
        price = float(row["close"])
        peaks.append((rule.score(price), time_ns(row["ts_ms"]) + 60 * NS_PER_S))
        rule.learn(price)
    return sorted(peaks, reverse=True)[: 8 * KEPT]


def _line(
    markets: Collection[Sequence[Peak]], load_at: Callable[[float], float | None], load: float
) -> float:
    """The least threshold that is not louder than `load`."""
    values = sorted({score for one in markets for score, _ in one})
    low, high = 0, len(values) - 1
    for _ in range(BISECTIONS + 8):
        if low >= high:
            break
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
