"""A short soak: what is planted is found, and the plants are what they say."""

import json
import pathlib

import pytest

from tapewatch.app.environment import Setting
from tapewatch.app.evaluate import soak
from tapewatch.app.evaluate.soak_market import CYCLES, TICK, SoakMarket
from tapewatch.app.promote import read_soak
from tapewatch.model.errors import ConfigError
from tapewatch.model.time import NS_PER_S

SHORT = [
    Setting(("soak", name), value, "test")
    for name, value in {"days": 0.2, "markets": 4, "every_h": 1.5}.items()
]


def market(cycles: int) -> SoakMarket:
    one = SoakMarket(0, 7, 30)
    for cycle in range(cycles):
        one.step(soak.START_NS + cycle * 30 * NS_PER_S)
        one.settle()
    return one


def test_every_planted_spike_of_a_short_soak_is_found_and_promote_can_read_it(
    tmp_path: pathlib.Path,
) -> None:
    score = soak.evaluate(tmp_path, tmp_path, SHORT)
    assert score["price"][0] == score["price"][1] >= 2
    assert score["volume"][0] == score["volume"][1] >= 2
    assert min(score["price_sigmas"] + score["volume_sigmas"]) >= soak.SIGMAS
    assert score["zscore_false_per_market_day"]["exposure"] == pytest.approx(0.8)
    assert read_soak(tmp_path / "soak.json").price == tuple(score["price"])
    lines = (tmp_path / "soak.alerts.ndjson").read_text().splitlines()
    assert all(json.loads(line)["schema"] == "tapewatch.alert/1" for line in lines)


def test_a_detector_that_looks_for_more_finds_less(tmp_path: pathlib.Path) -> None:
    deaf = Setting(("detector", "zscore", "z_score_threshold"), 9.0, "test")
    score = soak.evaluate(tmp_path, tmp_path, [*SHORT, deaf])
    assert score["price"][0] < score["price"][1]
    assert score["volume"][0] < score["volume"][1]


@pytest.mark.parametrize("sigmas", [soak.SIGMAS, -soak.SIGMAS])
def test_a_price_spike_is_as_large_as_it_says(sigmas: float) -> None:
    one = market(CYCLES)
    mean = sum(one.mids) / CYCLES
    std = (sum((mid - mean) ** 2 for mid in one.mids) / CYCLES) ** 0.5
    told = one.spike_price(sigmas)
    assert told == pytest.approx(abs(one.mid - mean) / max(std, TICK / 2))
    assert told >= soak.SIGMAS


def test_a_volume_spike_is_as_large_as_it_says() -> None:
    one = market(CYCLES)
    now = soak.START_NS + CYCLES * 30 * NS_PER_S
    one.step(now)
    assert one.spike_volume(soak.SIGMAS, now) >= soak.SIGMAS
    largest = max(one.trades, key=lambda trade: trade.size)
    assert largest.at_s == now // NS_PER_S - 3


def test_the_same_seed_gives_the_same_market() -> None:
    assert list(market(50).mids) == list(market(50).mids)
    assert market(50).trades == market(50).trades


def test_a_soak_of_nothing_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError):
        soak.evaluate(tmp_path, tmp_path, [Setting(("soak", "days"), 0, "test")])
