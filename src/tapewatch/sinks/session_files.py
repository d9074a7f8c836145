"""The files that driftlock's session scripts write, with their names, beside the tape.

For people and for scripts that read them; the tape is the evidence, and anything here can be made
again from it. A full disk is counted and told (`trouble`), it never stops the session.
"""

import contextlib
import errno
import os
import pathlib
from collections.abc import Sequence
from typing import IO, Any, ClassVar, Final

import msgspec
from msgspec import Struct

from tapewatch.io.worker import WhenFull
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, DeliveryError
from tapewatch.model.events import Trade
from tapewatch.model.outputs import Alert, Fault, Observation, Output
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_MS, NS_PER_S, format_rfc3339
from tapewatch.sinks.wording import json_text

RULE: Final = "═" * 59
_DETECTOR_FAULTS: Final = frozenset({"detector_error", "keys_evicted", "malformed", "unknown"})
_encode: Final = msgspec.json.Encoder().encode


class FileNames(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of the session's files, relative to its folder. `streamer_pid` empty: not written."""

    raw: str = "kraken_raw.ndjson"
    anomalies: str = "kraken_anomalies.ndjson"
    master: str = "master.log"
    status: str = "status.log"
    synthetic: str = "synthetic.log"
    loom: str = "loom.log"
    streamer_errors: str = "streamer.stderr.log"
    detector_errors: str = "detector.stderr.log"
    loom_state: str = "loom.state"
    recordings: str = "recordings"
    alerts: str = "../anomaly_alerts.log"
    streamer_pid: str = ""


class SessionFiles:
    """The sink. `prices` is the last trade price by instrument; `lost` counts lines that could not
    be written and `trouble` says why."""

    name: ClassVar[str] = "files"
    accepts: ClassVar[tuple[type[Output], ...]] = (Observation, Alert, Fault)
    durable: ClassVar[bool] = True
    when_full: ClassVar[WhenFull] = "block"

    def __init__(self, folder: pathlib.Path, names: FileNames, *, alerts: int = 0) -> None:
        self.folder, self.names = folder, names
        self.prices: dict[str, float] = {}
        self.lost = 0
        self.trouble = ""
        self._alerts = alerts
        self._native: dict[str, tuple[int, Any]] = {}  # time and form of the last result by key
        self._millisecond = 0
        self._index = 0  # of a trade within its millisecond
        self._raw = bytearray()
        self._open: dict[str, IO[bytes]] = {}
        try:
            self._create()
        except OSError as error:
            self.close()
            raise ConfigError(
                f"cannot write in {clean(str(folder))}: {error.strerror}", "sink.files"
            ) from error

    def trade(self, trade: Trade) -> None:
        """Take one trade for the raw log; written with the next `flush` or 64 KB."""
        self.prices[trade.instrument] = trade.price
        millisecond = trade.ts_event // NS_PER_MS
        self._index = self._index + 1 if millisecond == self._millisecond else 0
        self._millisecond = millisecond
        source, _, pair = trade.instrument.partition(":")
        row = {
            "ts": trade.ts_event / NS_PER_S,
            "price": trade.price,
            "qty": trade.size,
            "side": trade.aggressor,
            "pair": pair,
            "id": f"{source}-{millisecond}-{self._index}",
            "source": source,
        }
        self._raw += _line(row)
        if len(self._raw) >= limits.FILE_BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the raw rows that are waiting."""
        if self._raw:
            rows, self._raw = bytes(self._raw), bytearray()
            self._append("raw", rows, rows.count(b"\n"))

    def note(self, line: str) -> None:
        """One finished line of `master.log`: what the session did."""
        self._append("master", f"{line}\n".encode())

    def status(self, lines: Sequence[str]) -> None:
        """One block of `status.log`."""
        self._append("status", "".join(f"{clean(line)}\n" for line in (*lines, "")).encode())

    async def deliver(self, batch: Sequence[Output], /) -> None:
        """Write the batch. Raises `DeliveryError` when the disk does not take it."""
        before, natives = self.lost, bytearray()
        for output in batch:
            match output:
                case Observation(native=native) if native is not None:
                    self._native[_key(output)] = (output.ts_event, native)
                    natives += _line(native)
                case Alert():
                    self._alert(output)
                case Fault():
                    kind = (
                        "detector_errors" if output.kind in _DETECTOR_FAULTS else "streamer_errors"
                    )
                    self._append(kind, _stamped(output.ts_ns, _fault_text(output)))
        if natives:
            self._append("anomalies", bytes(natives), natives.count(b"\n"))
        self.flush()
        if self.lost > before:
            raise DeliveryError(self.trouble, retryable=False)

    def close(self) -> None:
        """Write what is left and make all of it durable."""
        self.flush()
        for name, file in self._open.items():
            try:
                os.fsync(file.fileno())
            except OSError as error:
                self._refused(name, error, 0)
            finally:
                file.close()
        self._open.clear()

    def path(self, name: str) -> pathlib.Path:
        """Where the file for `name` (a field of `FileNames`) is."""
        return self.folder / str(getattr(self.names, name))

    def _create(self) -> None:
        """Every file exists from the start, so that `tail -f` works on each."""
        for name in self.names.__struct_fields__:
            if name not in {"recordings", "loom_state", "streamer_pid"}:
                self._file(name)
        self.path("recordings").mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(self.path("loom_state"), b"idle\n")
        if self.names.streamer_pid:
            _replace(self.path("streamer_pid"), b"%d\n" % os.getpid())

    def _file(self, name: str) -> IO[bytes]:
        """The open file, for appending; not through a link somebody put in its place."""
        file = self._open.get(name)
        if file is None:
            path = self.path(name)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file = self._open[name] = open(os.open(path, flags, 0o600), "ab", buffering=0)  # noqa: SIM115, PTH123  closed by close()
        return file

    def _append(self, name: str, data: bytes, lines: int = 1) -> None:
        try:
            file = self._file(name)
            written = 0
            while written < len(data):
                written += file.write(data[written:])
        except OSError as error:
            self._refused(name, error, lines)

    def _refused(self, name: str, error: OSError, lines: int) -> None:
        self.lost += lines
        cause = "disk full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        self.trouble = f"{clean(str(self.path(name)))}: {cause}"

    def _alert(self, alert: Alert) -> None:
        self._alerts += 1
        at, native = self._native.get(_key(alert), (0, None))
        if at != alert.ts_event_ns:  # delivered late: a newer result has taken its place
            native = None
        block = alert_block(alert, self._alerts, native, self.prices.get(alert.instrument))
        self._append("alerts", block.encode())
        with contextlib.suppress(OSError):  # a file system that cannot sync still has the block
            os.fsync(self._file("alerts").fileno())
        prompt = f"START LOOM NOW  alert #{self._alerts}  {clean(alert.id)}"
        self._append("loom", _stamped(alert.ts_alert_ns, prompt))


def alert_block(alert: Alert, count: int, native: Any, last_price: float | None) -> str:
    """One alert as driftlock's alerter writes it. `native`: the detector's result in its own form,
    which is then the payload and, where it is about a trade, says which one."""
    row = _row_of(native)
    price = row.get("price", last_price)
    lines = [
        RULE,
        "🚨 START LOOM NOW! 🚨",
        RULE,
        f"Alert #{count}",
        f"Time: {_date_text(alert.ts_alert_ns)}",
        f"Trade Time: {_date_text(alert.ts_event_ns)}",
        f"Anomaly ID: {clean(str(row.get('id') or alert.id), 80)}",
        f"Pair: {clean(alert.instrument.partition(':')[2] or alert.instrument, 80)}",
        f"Price: {clean(str(price), 40) if price is not None else 'unknown'}",
        f"Score: {alert.score:.4g}",
        "",
        "Full Payload:",
        json_text(_encode(alert if native is None else native)),
        RULE,
        "",
    ]
    return "\n".join(lines) + "\n"


def _key(output: Observation | Alert) -> str:
    return f"{output.detector}|{output.instrument}"


def _line(value: Any) -> bytes:
    return f"{json_text(_encode(value))}\n".encode()


def _row_of(native: Any) -> dict[str, Any]:
    """The trade inside a driftlock result, if its line is one."""
    line = native.get("line") if isinstance(native, dict) else getattr(native, "line", None)
    try:
        row = msgspec.json.decode(line) if isinstance(line, str) else None
    except msgspec.DecodeError:
        return {}  # a line need not be JSON
    return row if isinstance(row, dict) else {}


def _fault_text(fault: Fault) -> str:
    where = fault.instrument or fault.source
    ids = f" {fault.first_id}..{fault.last_id}" if fault.last_id else ""
    return f"{clean(where, 64)} {clean(fault.kind, 40)}{ids} {clean(fault.detail)}".rstrip()


def _stamped(ns: int, text: str) -> bytes:
    return f"{format_rfc3339(ns, 3)} {clean(text)}\n".encode()


def _date_text(ns: int) -> str:
    return format_rfc3339(ns, 0).replace("T", " ").rstrip("Z")


def _replace(path: pathlib.Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:  # noqa: PTH123  Path cannot refuse links
        file.write(data)
