"""What Polymarket's catalogue answered lately, in a file: a start asks for nothing that was asked
for a minute ago, and works while the catalogue does not.

The file is a convenience. One that cannot be read counts as empty, one that cannot be written is
said, and what is in it is checked like an answer of the venue.
"""

import os
import pathlib
import tempfile
from typing import Final

import msgspec
from msgspec import Struct

from tapewatch.model import limits
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.polymarket_gamma import Found

FILE: Final = "polymarket-markets.json"
FRESH_NS: Final = 300 * NS_PER_S  # then the catalogue is asked again
KEPT_NS: Final = 7 * 86_400 * NS_PER_S  # ids do not change; states are asked for while watching


class Entry(Struct, frozen=True):
    """One answer: `asked` is the word with the address it was asked at."""

    asked: str
    at_ns: int
    found: tuple[Found, ...]


_decode = msgspec.json.Decoder(list[Entry]).decode


class MarketCache:
    """The file in `folder`. `trouble` says what is wrong with it, empty when nothing is."""

    def __init__(self, folder: pathlib.Path, now_ns: int) -> None:
        self.trouble = ""
        self._path = folder / FILE
        self._entries: dict[str, Entry] = {}
        try:
            if self._path.stat().st_size > limits.MARKET_CACHE_BYTES:
                self.trouble = f"{self._path} is too large and is not used"
                return
            entries = _decode(self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            self.trouble = f"{self._path} cannot be read ({error})"
            return
        for entry in entries:
            if 0 <= now_ns - entry.at_ns < KEPT_NS:
                self._entries[entry.asked] = entry

    def get(self, asked: str, now_ns: int, *, old: bool = False) -> Entry | None:
        """The answer to a word, if it is fresh, or at all if it may be `old`."""
        entry = self._entries.get(asked)
        if entry is None or not 0 <= now_ns - entry.at_ns < (KEPT_NS if old else FRESH_NS):
            return None
        return entry

    def put(self, asked: str, now_ns: int, found: tuple[Found, ...]) -> None:
        """Remember an answer; the oldest are forgotten."""
        self._entries.pop(asked, None)
        self._entries[asked] = Entry(asked, now_ns, found)
        while len(self._entries) > limits.MARKET_CACHE_WORDS:
            del self._entries[next(iter(self._entries))]

    def save(self) -> None:
        """Write the file, whole or not at all."""
        data = msgspec.json.encode(list(self._entries.values()))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".markets-")
            with os.fdopen(handle, "wb") as out:
                out.write(data)
            pathlib.Path(name).replace(self._path)
        except OSError as error:
            self.trouble = f"{self._path} cannot be written ({error.strerror})"
