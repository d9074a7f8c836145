"""`evaluate wallets`: who is named as trading among themselves, and how surely.

The folder holds trades with accounts. With a `rings.csv` (wallet, ring, kind) beside them, they are
scored against it: average precision of the ranking of wallets by their highest score, for each kind
of ring, where members of other rings do not count. Real trades have no such truth, so without it
rings are also planted into copies of the file (`planted_rings`); the copies are kept below OUT with
their alerts. While `wash` was made, other seeds than `SEEDS` were looked at.
"""

import csv
import pathlib
from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, Final

from msgspec import UNSET, Struct

from tapewatch.app import importing
from tapewatch.app.config import DEFAULT_DETECTORS
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate import runner, scoring
from tapewatch.app.evaluate.planted_rings import Planted, WalletTrade, merged, plant
from tapewatch.detect.wash import ARBITRAGE
from tapewatch.model.errors import ConfigError
from tapewatch.model.events import Trade
from tapewatch.model.inputs import Frame
from tapewatch.model.outputs import Alert
from tapewatch.venues.ndjson import Ndjson

SEEDS: Final = (200, 201, 202, 203, 204)
LABELS: Final = "rings.csv"
_SUFFIXES: Final = (".parquet", ".csv", ".csv.gz", ".ndjson")
_HEAD: Final = ("market", "Timestamp", "Account", "Type", "Outcome", "Amount", "Shares", "Price")
_INNOCENT: Final = "innocent"


class Named(Struct, frozen=True):
    """Wallets with their highest score, and as what they had it."""

    scores: dict[str, float]
    kinds: dict[str, str]


class Ranked(Struct, frozen=True):
    """One ring of one run: its members' scores, -inf where nobody named them."""

    kind: str
    scores: tuple[float, ...]


def evaluate(
    data: pathlib.Path, out: pathlib.Path, changes: Sequence[Setting] = ()
) -> dict[str, Any]:
    """Scores of the files as they are, and of copies of the first one with planted rings. Raises
    `ConfigError`."""
    files = _files(data)
    alerts: list[Alert] = []
    for file in files:
        found = judged(file, changes)
        runner.write(out, _stem(file), found)
        alerts += found
    seen = named(alerts)
    score: dict[str, Any] = {"set": "wallets", "as_it_is": _listed(seen)}
    if (data / LABELS).is_file():
        score["rings"] = scored([(seen, labels(data / LABELS))])
        return scoring.plain(score)
    runs = []
    innocents: list[dict[str, Any]] = []
    rows = trades(files[0])
    for seed in SEEDS:
        planted = plant(rows, seed)
        folder = out / "planted" / str(seed)
        copy = write(folder, rows, planted)
        found = judged(copy, (*changes, *_only_wash()))
        runner.write(folder, _stem(copy), found)
        runs.append((named(found), labels(folder / LABELS)))
        innocents.append(_innocent(runs[-1][0], planted))
    score["planted"] = {
        "seeds": list(SEEDS),
        **scored(runs),
        "innocents_above_arbitrage": innocents,
    }
    return scoring.plain(score)


def _files(data: pathlib.Path) -> list[pathlib.Path]:
    """The tables of trades: everything but labels and alerts. Raises `ConfigError`."""
    files = [
        file
        for file in sorted(data.iterdir())
        if file.name.endswith(_SUFFIXES)
        and file.name != LABELS
        and not file.name.endswith(".alerts.ndjson")
    ]
    if not files:
        raise ConfigError(f"{data} has no file of trades", "DIR")
    return files


def _stem(file: pathlib.Path) -> str:
    return file.name.partition(".")[0]


def _plan(file: pathlib.Path) -> importing.Plan:
    return importing.Plan(
        kind="wallet-trades", file=file, instruments=(f"polymarket:{_stem(file)}",)
    )


def judged(file: pathlib.Path, changes: Sequence[Setting] = ()) -> list[Alert]:
    """Alerts of one file, through the engine and the gate."""
    plan = _plan(file)
    return runner.run(importing.inputs(plan, importing.Imported()), importing.ids(plan), changes)


def _only_wash() -> list[Setting]:
    """Planted copies differ in their rings only: what others say of them is known already."""
    return [
        Setting(("detector", name, "enabled"), value=False, origin="evaluate")
        for name in DEFAULT_DETECTORS
        if name != "wash"
    ]


def trades(file: pathlib.Path) -> list[WalletTrade]:
    """The usable rows of a file, as `tapewatch import` reads them."""
    plan = _plan(file)
    venue = Ndjson(ids=importing.ids(plan))
    state = venue.start()
    return [
        _wallet_trade(event)
        for item in importing.inputs(plan, importing.Imported())
        if isinstance(item, Frame)
        for event in venue.decode(state, item)
        if isinstance(event, Trade)
    ]


def _wallet_trade(trade: Trade) -> WalletTrade:
    _, market, outcome = trade.instrument.rsplit("/", 2)
    buy = trade.aggressor == "buy"
    return WalletTrade(trade.ts_event, market, outcome, trade.taker, buy, trade.size, trade.price)


def write(
    folder: pathlib.Path, rows: Sequence[WalletTrade], planted: Sequence[Planted]
) -> pathlib.Path:
    """`trades.csv` with the rings among the rows, and `rings.csv`. Raises `ConfigError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "trades.csv"
        _write(path, _HEAD, map(_cells, merged(rows, planted)))
        members = [
            (account, f"{number}", one.kind)
            for number, one in enumerate(planted)
            if not one.kind.startswith(_INNOCENT)
            for account in one.accounts
        ]
        _write(folder / LABELS, ("wallet", "ring", "kind"), members)
    except OSError as error:
        raise ConfigError(f"cannot write into {folder}: {error.strerror}", "--out") from error
    return path


def _write(path: pathlib.Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


def _cells(row: WalletTrade) -> tuple[Any, ...]:
    side = "Buy" if row.buy else "Sell"
    value = row.size * row.price
    return (row.market, row.ts, row.account, side, row.outcome, value, row.size, row.price)


def labels(path: pathlib.Path) -> list[Planted]:
    """Rings of a `rings.csv`. Raises `ConfigError`."""
    rings: dict[tuple[str, str], list[str]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                rings.setdefault((row["kind"], row["ring"]), []).append(row["wallet"])
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} has no readable wallet, ring, kind", "DIR") from error
    return [Planted(kind, tuple(wallets), []) for (kind, _), wallets in rings.items()]


def named(alerts: Iterable[Alert]) -> Named:
    """Wallets of `wash` alerts of any severity."""
    scores: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for alert in alerts:
        if alert.cause == "wash" and alert.wallets is not UNSET:
            for wallet in alert.wallets:
                if alert.score > scores.get(wallet, -inf):
                    scores[wallet], kinds[wallet] = alert.score, alert.kind
    return Named(scores, kinds)


def scored(runs: Sequence[tuple[Named, Sequence[Planted]]]) -> dict[str, Any]:
    """Of several runs together: by kind of ring, average precision with an interval over rings."""
    rings: dict[str, list[Ranked]] = {}
    others: list[float] = []
    for seen, planted in runs:
        members = {wallet for ring in planted for wallet in ring.accounts}
        others += [score for wallet, score in seen.scores.items() if wallet not in members]
        for ring in planted:
            scores = tuple([seen.scores.get(wallet, -inf) for wallet in ring.accounts])
            rings.setdefault(ring.kind, []).append(Ranked(ring.kind, scores))
    lowest = min(
        (score for some in rings.values() for ring in some for score in ring.scores if score > 0.0),
        default=inf,
    )
    return {
        "kinds": {kind: _kind(kind, some, others) for kind, some in sorted(rings.items())},
        "unplanted_named": len(others),
        "unplanted_above_last_planted": sum(score > lowest for score in others),
    }


def _kind(kind: str, rings: Sequence[Ranked], others: Sequence[float]) -> dict[str, Any]:
    def precision(some: Sequence[Ranked]) -> float:
        scores = [score for ring in some for score in ring.scores]
        found = [score for score in scores if score > -inf]
        return scoring.average_precision(
            [*found, *others], [True] * len(found) + [False] * len(others), len(scores)
        )

    return {
        "rings": len(rings),
        "average_precision": precision(rings),
        "interval": scoring.bootstrap(rings, precision, f"wallets {kind}"),
        "named": scoring.proportion(
            sum(score > -inf for ring in rings for score in ring.scores),
            sum(len(ring.scores) for ring in rings),
        ),
    }


def _listed(seen: Named) -> dict[str, Any]:
    """Whom the file as it is makes us name: rings and self-crosses, and arbitrage below them."""
    order = sorted(seen.scores, key=lambda wallet: (-seen.scores[wallet], wallet))
    return {
        "named": [
            {"wallet": wallet, "score": seen.scores[wallet], "kind": seen.kinds[wallet]}
            for wallet in order
        ],
        "arbitrage": sum(kind == ARBITRAGE for kind in seen.kinds.values()),
    }


def _innocent(seen: Named, planted: Sequence[Planted]) -> dict[str, int]:
    """Of the planted market maker and arbitrageur: accounts named as anything but arbitrage."""
    return {
        one.kind: sum(seen.kinds.get(account, ARBITRAGE) != ARBITRAGE for account in one.accounts)
        for one in planted
        if one.kind.startswith(_INNOCENT)
    }
