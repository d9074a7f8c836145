"""`zscore`: what its configuration refuses and what it warns of."""

import math

import msgspec
import pytest

from tapewatch.detect.zscore import ZScore
from tapewatch.model.errors import ConfigError


def test_locked_parameters() -> None:
    assert ZScore(z_score_threshold=1.0, baseline_window_s=300.0).warnings()
    with pytest.raises(ConfigError) as refused:
        ZScore(z_score_threshold=0.8)
    assert str(refused.value) == (
        "z_score_threshold = 0.8 is below the locked minimum 1.0"
        " (PARAMETER_CHANGE_REQUIRES_APPROVAL)"
    )
    with pytest.raises(
        ConfigError, match="baseline_window_s = 299 is below the locked minimum 300 "
    ):
        msgspec.convert({"baseline_window_s": 299.0}, ZScore)
    with pytest.raises(ConfigError, match="PARAMETER_CHANGE_REQUIRES_APPROVAL"):
        ZScore(z_score_threshold=math.nan)
    with pytest.raises(ConfigError, match="too long"):
        ZScore(baseline_window_s=1e9)


@pytest.mark.parametrize(("window", "warns"), [(300.0, True), (3_599.0, True), (3_600.0, False)])
def test_short_windows_warn(window: float, warns: bool) -> None:  # noqa: FBT001
    assert bool(ZScore(baseline_window_s=window).warnings()) is warns
