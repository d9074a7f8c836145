"""Ground truth: what the simulator did to the market and to the feed, and when.

One record per planted anomaly or fault occurrence, in the order in which they became known. This is
for scoring and tests; nothing of it travels over the venue's protocol.
"""

import pathlib
from typing import IO, Any

from msgspec import Struct, json

from tapewatch.model.errors import ConfigError


class Record(Struct, frozen=True):
    """`kind` is an anomaly (`price_jump`) or a fault's name (`stall`), `fault` the fault's number
    (`F03`, empty for anomalies). `t_ns`..`end_ns` is when it acted, venue wall time."""

    t_ns: int
    end_ns: int
    kind: str
    instrument: str
    fault: str = ""
    params: dict[str, Any] = {}
    schema: str = "tapewatch.truth/1"
    v: int = 1


class Truth:
    """The log: always in `records`, and as NDJSON in a file where `path` is given."""

    def __init__(self, path: pathlib.Path | None = None) -> None:
        self.records: list[Record] = []
        self._file: IO[bytes] | None = None
        if path is not None:
            try:
                self._file = path.open("wb")
            except OSError as error:
                raise ConfigError(
                    f"cannot write {path.name}: {error.strerror}", "--truth"
                ) from error

    def note(self, record: Record) -> None:
        """Add one record; it is in the file when this returns."""
        self.records.append(record)
        if self._file is not None:
            self._file.write(json.encode(record) + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def of(self, kind: str) -> list[Record]:
        """The records of one kind, in order."""
        return [record for record in self.records if record.kind == kind]
