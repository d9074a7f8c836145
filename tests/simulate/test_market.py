"""The synthetic market: its statistics, its planted anomalies, its reproducibility."""

import math
import statistics
from itertools import pairwise

import pytest

from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.book import DepthView, Sides
from tapewatch.simulate.market import Market, Step
from tapewatch.simulate.pairs import pair_of
from tapewatch.simulate.scenario import DEMO, Anomaly, MarketConfig
from tapewatch.simulate.truth import Record, Truth

BTC = pair_of("BTC/USD")
BASE = 1_700_000_000 * NS_PER_S


def run(
    seconds: float, *anomalies: Anomaly, config: MarketConfig | None = None, seed: int = 1
) -> tuple[list[Step], list[float], Truth, list[tuple[float, int, int]]]:
    """Steps after the start, mid prices once a second, the truth, and (time, bid, ask)."""
    market, truth = Market([BTC], config or MarketConfig(), seed, BASE), Truth()
    market.plant(anomalies, truth)
    steps: list[Step] = []
    touches: list[tuple[float, int, int]] = []
    while market.next_at() < seconds:
        step = market.advance(0.0)
        if step.at_s >= 0:
            steps.append(step)
            sides = market.books["BTC/USD"].sides
            touches.append((step.at_s, max(sides.bids), min(sides.asks)))
    mids = [
        next((bid + ask) / 2 for at, bid, ask in reversed(touches[: index + 1]))
        for index, ((at, _, _), (after, _, _)) in enumerate(pairwise(touches))
        if int(at) != int(after)
    ]
    return steps, mids, truth, touches


def trades(steps: list[Step], begin: float = 0, end: float = math.inf) -> list[Step]:
    return [step for step in steps if step.fills and begin <= step.at_s < end]


def test_rates_are_the_configured_ones() -> None:
    steps, _, _, _ = run(600.0)
    assert len(trades(steps)) / 600 == pytest.approx(3.0, rel=0.3)
    assert (len(steps) - len(trades(steps))) / 600 == pytest.approx(15.0, rel=0.05)


def test_arrivals_are_self_exciting() -> None:
    """Counts per 10 s of a Hawkes process vary by 1 / (1 - branching)^2 times a Poisson's."""

    def dispersion(branching: float) -> float:
        steps, _, _, _ = run(1_500.0, config=MarketConfig(branching=branching, books_per_s=0.1))
        counts = [0] * 150
        for step in trades(steps):
            counts[int(step.at_s // 10)] += 1
        return statistics.variance(counts) / statistics.mean(counts)

    assert dispersion(0.0) == pytest.approx(1.0, abs=0.4)
    assert dispersion(0.7) > 5


def test_returns_have_heavy_tails_and_the_configured_scale() -> None:
    _, mids, _, _ = run(1_500.0, config=MarketConfig(vol_of_vol=0.0))
    returns = [math.log(b / a) for a, b in pairwise(mids)]
    assert statistics.pstdev(returns) == pytest.approx(6e-5, rel=0.2)
    scale = statistics.pstdev(returns)
    kurtosis = statistics.fmean((one / scale) ** 4 for one in returns)
    assert kurtosis > 3.1


def test_books_are_deep_and_never_crossed() -> None:
    _, _, _, touches = run(300.0)
    assert all(0 < bid < ask for _, bid, ask in touches)
    assert statistics.median(ask - bid for _, bid, ask in touches) < 30


def test_same_seed_same_market() -> None:
    assert run(60.0, seed=5)[0] == run(60.0, seed=5)[0]
    assert run(60.0, seed=5)[0] != run(60.0, seed=6)[0]


def test_pairs_are_independent_of_each_other() -> None:
    def of_btc(*symbols: str) -> list[Step]:
        market = Market([pair_of(symbol) for symbol in symbols], MarketConfig(), 1, BASE)
        steps = []
        while market.next_at() < 20.0:
            steps.append(market.advance(0.0))
        return [step for step in steps if step.symbol == "BTC/USD"]

    assert of_btc("BTC/USD") == of_btc("ETH/USD", "BTC/USD")


def only(truth: Truth) -> Record:
    (record,) = truth.records
    return record


@pytest.mark.parametrize("sigmas", [-20.0, 20.0])
def test_price_jump_lasts(sigmas: float) -> None:
    steps, mids, truth, _ = run(60.0, Anomaly(30.0, "price_jump", params={"sigmas": sigmas}))
    record = only(truth)
    assert (record.t_ns, record.instrument) == (BASE + 30 * NS_PER_S, "kraken:BTC/USD")
    moved = math.log(mids[30] / mids[29])
    assert moved == pytest.approx(math.log(record.params["to"] / record.params["from"]), abs=3e-4)
    assert moved * sigmas > 0
    assert abs(math.log(mids[-1] / mids[29])) > abs(moved) / 2
    assert [step.fills[0].taker for step in trades(steps, 30.0, 30.0001)] == [
        "buy" if sigmas > 0 else "sell"
    ]


def test_bad_print_is_one_trade_away_and_back() -> None:
    steps, mids, truth, _ = run(60.0, Anomaly(30.0, "bad_print", params={"percent": 3.0}))
    far = [s for s in trades(steps) if abs(s.fills[0].price / mids[0] / 1 - 1) > 0.02]
    assert [step.at_s for step in far] == [30.0]
    assert abs(math.log(mids[31] / mids[29])) < 0.002
    assert only(truth).params["price"] == far[0].fills[0].price / 10


def test_volume_burst() -> None:
    steps, _, truth, _ = run(90.0, Anomaly(30.0, "volume_burst", 30.0, params={"size": 10.0}))

    def volume(begin: float) -> int:
        return sum(fill.size for step in trades(steps, begin, begin + 30) for fill in step.fills)

    assert volume(30) > 8 * max(volume(0), volume(60))
    assert only(truth).end_ns - only(truth).t_ns == 30 * NS_PER_S


def test_silence() -> None:
    steps, _, _, _ = run(60.0, Anomaly(20.0, "silence", 15.0))
    times = [step.at_s for step in steps]
    assert not [at for at in times if 20.0 < at < 35.0]
    assert [at for at in times if at > 35.0]


def test_book_pull_widens_the_spread_and_heals() -> None:
    _, _, _, touches = run(
        40.0, Anomaly(20.0, "book_pull", 5.0, params={"side": "ask", "percent": 0.1})
    )
    during = [ask - bid for at, bid, ask in touches if 20.0 <= at < 25.0]
    after = [ask - bid for at, bid, ask in touches if at > 25.0]
    assert min(during) > 800
    assert statistics.median(after) < 30


def test_drift() -> None:
    _, mids, _, _ = run(120.0, Anomaly(30.0, "drift", 60.0, params={"sigmas_per_s": 3.0}))
    assert math.log(mids[90] / mids[30]) > 0.4 * 60 * 3 * 6e-5


def test_the_demo_is_calm_and_brisk_before_its_first_anomaly() -> None:
    for seed in range(5):
        steps, mids, truth, _ = run(DEMO.anomalies[0].at_s, config=DEMO.market, seed=seed)
        assert truth.records == []
        assert len([fill for step in trades(steps, 0, 12) for fill in step.fills]) >= 120
        returns = [math.log(b / a) for a, b in pairwise(mids)]
        assert max(map(abs, returns)) < 20 * DEMO.market.sigma_1s
    starts = sorted(one.at_s for one in (*DEMO.anomalies, *DEMO.faults))
    assert starts[0] >= 20
    assert all(b - a >= 3 for a, b in pairwise(starts))


def test_a_view_deletes_only_what_left_the_book() -> None:
    view = DepthView(2)
    view.update(Sides({100: (5, 1), 99: (5, 1), 98: (5, 1)}, {101: (5, 1)}), 1)
    changes = view.update(Sides({102: (7, 2), 100: (5, 1), 98: (5, 1)}, {103: (5, 1)}), 2)
    assert changes is not None
    assert {(c.price, c.size) for c in changes.bids} == {(99, 0), (102, 7)}
    assert {(c.price, c.size, c.revealed) for c in changes.asks} == {
        (101, 0, False),
        (103, 5, True),
    }
    assert list(view.bids) == [102, 100]
    assert view.update(Sides({102: (7, 2), 100: (5, 1)}, {103: (5, 1)}), 3) is None
