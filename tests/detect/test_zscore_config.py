"""`zscore`: what its configuration refuses, what an approval allows, and what it warns of."""

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


def test_an_approval_allows_exactly_its_value() -> None:
    given = ("z_score_threshold=0.8#a1b2", "baseline_window_s=120.0#c3d4")
    allowed = ZScore(z_score_threshold=0.8, baseline_window_s=120.0, approvals=given)
    assert allowed.warnings() == (
        "z_score_threshold = 0.8 is below 2 (approval a1b2): ordinary noise reaches it",
        "baseline_window_s = 120 is below 3600 (approval c3d4): the baseline may be noisy",
    )
    assert msgspec.convert(msgspec.to_builtins(allowed), ZScore) == allowed
    for other in ({"z_score_threshold": 0.7}, {"baseline_window_s": 119.0}):
        with pytest.raises(ConfigError, match="PARAMETER_CHANGE_REQUIRES_APPROVAL"):
            ZScore(approvals=given, **other)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_no_approval_makes_sense_of_nonsense(value: float) -> None:
    with pytest.raises(ConfigError, match="PARAMETER_CHANGE_REQUIRES_APPROVAL"):
        ZScore(z_score_threshold=value, approvals=(f"z_score_threshold={value!r}#a1b2",))


@pytest.mark.parametrize(
    ("field", "value", "warns"),
    [
        ("baseline_window_s", 300.0, True),
        ("baseline_window_s", 3_599.0, True),
        ("baseline_window_s", 3_600.0, False),
        ("z_score_threshold", 1.0, True),
        ("z_score_threshold", 1.99, True),
        ("z_score_threshold", 2.0, False),
    ],
)
def test_the_bands_of_the_specification_warn(field: str, value: float, *, warns: bool) -> None:
    detector = ZScore(**{field: value})  # type: ignore[arg-type]
    assert bool(detector.warnings()) is warns
