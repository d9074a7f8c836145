"""Price detectors and the ends of every range, where prices are probabilities and where not."""

from math import isfinite
from typing import Any

import pytest
from price_tapes import COIN, ODDS, told

from tapewatch.detect.base import Detector
from tapewatch.detect.drift import Drift
from tapewatch.detect.price_jump import PriceJump
from tapewatch.detect.regime import Regime
from tapewatch.testing.streams import extremes, lively


@pytest.mark.parametrize("key", [COIN, ODDS])
@pytest.mark.parametrize("detector", [PriceJump(), Drift(), Regime()], ids=lambda one: one.name)
def test_nothing_raises_and_every_number_is_finite(detector: Detector[Any], key: str) -> None:
    normal = lively((key,), 2_000)
    stream = [*normal, *extremes(key, normal[-1].ts_recv + 1)]
    mine = [event for event in stream if type(event) in detector.wants and detector.key(event)]
    for seen in told(detector, mine):
        numbers = (seen.score, seen.observed, seen.expected, seen.flip, seen.sigma, seen.deviation)
        assert all(one is None or isfinite(one) for one in numbers)
