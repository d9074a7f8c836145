"""The shadow log: what the gate held back, or would have, as NDJSON (`tapewatch.advice/1`).

A strategy may ask a hundred times a second. One line stands for all answers that say the same of a
market within a second; `asks` is how many there were since the line before. The file is bounded:
when it is full it is kept as `<name>.1`, and the one before that goes.
"""

import os
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tapewatch.gate.advice import Advice
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S

LINE_NS: Final = NS_PER_S  # between two lines that say the same


class Line(Struct, frozen=True, kw_only=True):
    """One line of the log."""

    schema: str = "tapewatch.shadow/1"
    v: int = 1
    asks: int
    advice: Advice


class _Last(Struct):
    """What was last said of a market: `asks` are not written yet."""

    same: tuple[str, str, str]
    advice: Advice
    ns: int
    asks: int = 0


class ShadowLog:
    """Appends to `path`. `lost` counts lines that the disk refused. Raises `ConfigError` when the
    file cannot be opened at all."""

    def __init__(self, path: Path, most_bytes: int = limits.SHADOW_LOG_BYTES) -> None:
        self.path, self.lost = path, 0
        self._most_bytes = most_bytes
        self._last: dict[str, _Last] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = self._open()
        except OSError as error:
            raise ConfigError(f"cannot write {clean(str(path))}: {error.strerror}") from error

    def write(self, advice: Advice) -> None:
        """Take note of an answer; an `allow` in full is none that needs to be."""
        if advice.judged == "allow":
            return
        same = (advice.judged, advice.reason, advice.evidence)
        last = self._last.get(advice.market)
        if last is not None and last.same == same and advice.at_ns - last.ns < LINE_NS:
            last.advice = advice
            last.asks += 1
            return
        if last is not None and last.same != same:
            self._settle(last)
        asks = 1 + (last.asks if last is not None and last.same == same else 0)
        self._put(Line(asks=asks, advice=advice))
        while len(self._last) >= limits.SHADOW_MARKETS and advice.market not in self._last:
            self._settle(self._last.pop(next(iter(self._last))))
        self._last[advice.market] = _Last(same, advice, advice.at_ns)

    def close(self) -> None:
        """Write what is left."""
        for last in self._last.values():
            self._settle(last)
        self._last.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _settle(self, last: _Last) -> None:
        if last.asks:
            self._put(Line(asks=last.asks, advice=last.advice))
            last.asks = 0

    def _put(self, line: Line) -> None:
        data = msgspec.json.encode(line) + b"\n"
        try:
            if os.fstat(self._fd).st_size + len(data) > self._most_bytes:
                os.close(self._fd)
                self._fd = -1
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
                self._fd = self._open()
            os.write(self._fd, data)
        except OSError:
            self.lost += 1  # a full disk must not stop a strategy from being told

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self.path, flags, 0o600)
