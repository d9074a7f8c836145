"""From settings to an engine: the same for a live session, a replay and a backtest."""

from tapewatch.app.config import Config
from tapewatch.engine.engine import Engine
from tapewatch.io.reach import is_loopback
from tapewatch.model.errors import Refused


def engine_of(config: Config) -> Engine:
    """A fresh engine."""
    return Engine(config.venues, config.detectors, config.gate, simulated=simulated(config))


def simulated(config: Config) -> bool:
    """True when a venue is on this machine: alerts are marked as not live."""
    return any(map(_is_here, config.venues))


def _is_here(venue: object) -> bool:
    try:
        return is_loopback(venue.endpoint().url)  # type: ignore[attr-defined]
    except Refused:  # a venue of files has no address
        return False
