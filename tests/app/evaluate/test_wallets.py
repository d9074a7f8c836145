"""The set of wallets on a made-up table: from rows to a ranking, planted rings, and arithmetic."""

import csv
import pathlib
from random import Random

import pytest

from tapewatch.app.config import DEFAULT_DETECTORS, set_option
from tapewatch.app.evaluate import planted_rings, wallets
from tapewatch.app.evaluate.planted_rings import KINDS, Planted, WalletTrade, merged, plant
from tapewatch.app.evaluate.wallets import Named, scored
from tapewatch.model.errors import ConfigError
from tapewatch.model.time import NS_PER_S

T0 = 1_650_000_000 * NS_PER_S
ALONE = [
    set_option(f"detector.{name}.enabled=false") for name in DEFAULT_DETECTORS if name != "wash"
]


def honest(seed: int = 1, trades: int = 600) -> list[WalletTrade]:
    random = Random(seed)
    found = []
    for index in range(trades):
        size = round(random.lognormvariate(4.0, 1.5), 2) + 0.01
        person = f"0x{int(random.random() ** 2 * 60):040x}"
        buy = random.random() < 0.5
        price = round(0.5 + 0.02 * random.random(), 3)
        at = T0 + index * 300 * NS_PER_S
        found.append(
            WalletTrade(at, "rain", random.choice(("Yes", "No")), person, buy, size, price)
        )
    return found


def test_planted_rings_are_what_they_say() -> None:
    rows = honest()
    planted = plant(rows, 7)
    assert planted == plant(rows, 7)
    assert planted != plant(rows, 8)
    volume = sum(row.size * row.price for row in rows)
    for one in planted:
        accounts = {row.account for row in one.rows}
        assert accounts == set(one.accounts)
        assert accounts.isdisjoint(row.account for row in rows)
        if one.kind in KINDS:
            assert len(accounts) == KINDS[one.kind]
            share = sum(row.size * row.price for row in one.rows) / volume
            assert 0.001 < share < 0.5  # 0.5-20 % of the volume, drawn with a spread
            bought = sum(row.size if row.buy else -row.size for row in one.rows)
            assert abs(bought) < 0.02 * sum(row.size for row in one.rows)
    everything = merged(rows, planted)
    assert len(everything) == len(rows) + sum(len(one.rows) for one in planted)
    assert everything == sorted(everything, key=lambda row: row.ts)


def test_a_table_with_truth_is_scored(tmp_path: pathlib.Path) -> None:
    data = tmp_path / "data"
    rows = honest()
    planted = [one for one in plant(rows, 3, each=1) if one.kind == "cycle of 3"]
    wallets.write(data, rows, planted)
    score = wallets.evaluate(data, tmp_path / "out", ALONE)
    assert (tmp_path / "out" / "trades.alerts.ndjson").read_text()
    assert score["rings"]["kinds"]["cycle of 3"]["average_precision"] == 1.0
    assert score["rings"]["kinds"]["cycle of 3"]["named"]["hits"] == 3
    assert score["rings"]["unplanted_above_last_planted"] == 0
    assert {one["wallet"] for one in score["as_it_is"]["named"]} >= set(planted[0].accounts)
    assert "planted" not in score


def test_a_table_without_truth_is_given_some(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wallets, "SEEDS", (1,))
    monkeypatch.setattr(planted_rings, "TAKERS", 20)
    data = tmp_path / "data"
    wallets.write(data, honest(), [])
    (data / wallets.LABELS).unlink()
    score = wallets.evaluate(data, tmp_path / "out", ALONE)
    assert set(score["planted"]["kinds"]) == set(KINDS)
    assert score["planted"]["kinds"]["cycle of 5"]["named"]["share"] == 1.0
    kept = tmp_path / "out" / "planted" / "1"
    with (kept / "rings.csv").open() as file:
        kinds = {row["kind"] for row in csv.DictReader(file)}
    assert kinds == set(KINDS)  # the innocents are no rings
    assert (kept / "trades.alerts.ndjson").is_file()


def test_rings_in_many_markets_at_once_are_all_told(tmp_path: pathlib.Path) -> None:
    rows: list[WalletTrade] = []
    rings: list[Planted] = []
    for market in map(str, range(8)):
        rows += [row._replace(market=market) for row in honest(trades=200)]
        pair = (f"left{market}", f"right{market}")
        couples = [
            WalletTrade(T0 + (3_000 + 4 * turn) * NS_PER_S, market, "Yes", name, buy, 37.13, 0.5)
            for turn in range(12)
            for name, buy in zip(pair, (turn % 2 == 0, turn % 2 == 1), strict=True)
        ]
        rings.append(Planted("pair", pair, couples))
    wallets.write(tmp_path, rows, rings)
    (tmp_path / "trades.alerts.ndjson").write_text("{}\n")  # of an earlier run; no trades
    score = wallets.evaluate(tmp_path, tmp_path / "out", ALONE)
    assert score["rings"]["kinds"]["pair"]["named"]["share"] == 1.0


def test_members_of_other_kinds_do_not_count() -> None:
    planted = [
        Planted("pair", ("a", "b"), []),
        Planted("self", ("c",), []),
        Planted("lost", ("x",), []),
    ]
    scores = {"c": 9.0, "a": 8.0, "other": 7.0, "b": 6.0, "late": 5.0}
    score = scored([(Named(scores, dict.fromkeys(scores, "")), planted)])
    assert score["kinds"]["self"]["average_precision"] == 1.0
    assert score["kinds"]["pair"]["average_precision"] == pytest.approx((1.0 + 2.0 / 3.0) / 2.0)
    assert score["kinds"]["lost"]["average_precision"] == 0.0
    assert score["unplanted_above_last_planted"] == 1
    assert score["unplanted_named"] == 2


def test_what_is_no_table_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="no file of trades"):
        wallets.evaluate(tmp_path, tmp_path / "out")
    bad = tmp_path / "rings.csv"
    bad.write_text("who\na\n")
    with pytest.raises(ConfigError, match="no readable wallet, ring, kind"):
        wallets.labels(bad)
