"""Settings of the metrics, apart from them: every command reads settings, few make the page."""

from typing import Annotated, Literal

from msgspec import Meta, Struct


class MetricsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the page shows beside the totals.

    `compat = "polytraders"` adds bot 4.15's four metrics under its names, for at most
    `compat_markets` markets: with a label for each, its specification makes 300,000 series of
    100,000 markets, and a page of 40 MiB. `top_k` markets, those that peaked most, have series of
    their own. A z-score above `high_z` counts as high. `peak_s`: the longest pause between two
    scrapes in which no peak is missed. `fresh_s`: a z-score that is older (and older than two
    cycles) is not shown, for bot 4.15's main failure is to go on serving it.
    """

    compat: Literal["", "polytraders"] = ""
    compat_markets: Annotated[int, Meta(ge=1, le=400)] = 400
    top_k: Annotated[int, Meta(ge=1, le=50)] = 20
    high_z: Annotated[float, Meta(gt=0.0)] = 5.0
    peak_s: Annotated[float, Meta(ge=1.0, le=3600.0)] = 60.0
    fresh_s: Annotated[float, Meta(ge=1.0, le=86400.0)] = 60.0
