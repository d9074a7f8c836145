"""Settings of the history: what is kept, and for how long."""

from typing import Annotated

from msgspec import Meta, Struct

from tapewatch.model.errors import ConfigError

Days = Annotated[float, Meta(ge=1.0, le=36_500.0)]


class HistorySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`keep_days`: everything; `rollup_days`: the figures of each day; `every_h`: how often a
    running service lets go of what is older."""

    keep_days: Days = 30.0
    rollup_days: Days = 365.0
    every_h: Annotated[float, Meta(ge=1.0, le=8_760.0)] = 24.0

    def __post_init__(self) -> None:
        if self.rollup_days < self.keep_days:
            raise ConfigError(
                "the figures of a day are kept at least as long as the day itself",
                "history.rollup_days",
            )
