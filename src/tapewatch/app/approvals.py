"""Who allowed a locked setting to be below its minimum, and why.

The record is a file of JSON lines that only grows: approvals, and revocations of them. Each line
names the SHA-256 of the one before it, so that a line that was changed or taken out shows; its own
hash is its id, so that the last line cannot be changed without becoming another one.

An approval is for exactly one value of one setting. It is looked up when a session starts; its id
then stands in the detector's settings, hence on the tape, and a replay needs no record. An approval
that expires or is revoked while a session runs counts at its next start.
"""

import fcntl
import hashlib
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from tapewatch.app.environment import Setting
from tapewatch.detect.zscore import LOCKED, ZScore, approval_of
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError
from tapewatch.model.reasons import Reason
from tapewatch.model.text import clean
from tapewatch.model.time import format_rfc3339, parse_duration

FILE: Final = "~/.local/state/tapewatch/approvals.ndjson"
TABLE: Final = ("detector", ZScore.name)  # whose settings are locked
FIELD: Final = "approvals"  # the setting that says which approvals hold
GENESIS: Final = "0" * 64
ID_CHARS: Final = 12
OTHERS_MAY_WRITE: Final = 0o022


class Record(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One line. A revocation says in `revokes` which approval ends. Times are ns, 0: never."""

    prev: str
    kind: Literal["approval", "revocation"]
    by: str
    reason: str
    at_ns: int
    path: str = ""
    value: float = 0.0
    expires_ns: int = 0
    revokes: str = ""


class Approval(Struct, frozen=True):
    """An approval as it stands: `ended_ns` is when it was revoked, 0 if it was not."""

    id: str
    record: Record
    ended_ns: int = 0

    def standing(self, now_ns: int) -> Literal["valid", "expired", "revoked"]:
        """Whether it holds at `now_ns`."""
        if self.ended_ns:
            return "revoked"
        expires = self.record.expires_ns
        return "expired" if expires and now_ns >= expires else "valid"


class Approvals:
    """The record in one file."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def given(self) -> list[Approval]:
        """All that were ever given, in order. Raises `ConfigError` for a record that was tampered
        with or cannot be read; nothing in it is believed then."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._wrong(f"cannot be read: {error.strerror}") from error
        with open(file, "rb") as opened:  # noqa: PTH123  Path cannot refuse links
            return _standing(self._lines(opened.fileno()))

    def approve(
        self, path: str, value: float, *, by: str, reason: str, now_ns: int, for_s: float = 0.0
    ) -> Approval:
        """Allow `value` for the setting `path`, for `for_s` seconds (0: until revoked). Raises
        `ConfigError` for what needs or can have no approval."""
        least = locked(path)
        if not (math.isfinite(value) and value > 0.0):
            raise ConfigError(f"{path} = {value:g} makes no sense, with or without approval")
        if value >= least:
            raise ConfigError(f"{path} = {value:g} needs no approval: {least:g} is the minimum")
        expires_ns = now_ns + round(for_s * 1e9) if for_s else 0
        told = {"path": path, "value": value, "expires_ns": expires_ns}
        return self._append("approval", by, reason, now_ns, **told)

    def revoke(self, id_: str, *, by: str, reason: str, now_ns: int) -> Approval:
        """End an approval. Raises `ConfigError` if there is none of that id, or it has ended."""
        found = next((one for one in self.given() if one.id == id_), None)
        if found is None:
            raise ConfigError(f"there is no approval {clean(id_, 40)}")
        if found.ended_ns:
            raise ConfigError(f"approval {id_} is revoked already")
        self._append("revocation", by, reason, now_ns, revokes=id_)
        return msgspec.structs.replace(found, ended_ns=now_ns)

    def _append(self, kind: str, by: str, reason: str, now_ns: int, **fields: Any) -> Approval:
        by, reason = clean(by).strip(), clean(reason).strip()
        if not by or not reason:
            raise ConfigError("an approval says by whom it is, and why")
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise self._wrong(f"cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = self._lines(file)
            prev = _hash(lines[-1]) if lines else GENESIS
            entry = {"prev": prev, "kind": kind, "by": by, "reason": reason, "at_ns": now_ns}
            record = msgspec.convert(entry | fields, Record)
            line = msgspec.json.encode(record)
            os.ftruncate(file, sum(len(one) + 1 for one in lines))  # what a crash cut off
            os.write(file, line + b"\n")
            os.fsync(file)
            _sync(self.path.parent)
        except OSError as error:
            raise self._wrong(f"cannot be written: {error.strerror}") from error
        finally:
            os.close(file)
        return Approval(_hash(line)[:ID_CHARS], record)

    def _lines(self, file: int) -> list[bytes]:
        """Complete lines, each of which follows from the one before. What comes after the last line
        break was never acknowledged."""
        if os.fstat(file).st_mode & OTHERS_MAY_WRITE:
            raise self._wrong("others may write it, so nothing in it can be believed (chmod 600)")
        data = os.pread(file, limits.APPROVALS_BYTES + 1, 0)
        if len(data) > limits.APPROVALS_BYTES:
            raise self._wrong(f"has more than {limits.APPROVALS_BYTES:,} bytes")
        prev, lines = GENESIS, data.split(b"\n")[:-1]
        for number, line in enumerate(lines, 1):
            try:
                found = msgspec.json.decode(line, type=Record)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise self._wrong(f"line {number} cannot be read") from error
            if found.prev != prev:
                raise self._wrong(f"line {number} does not follow from the lines before it")
            prev = _hash(line)
        return lines

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(f"the record of approvals {clean(str(self.path))} {what}")


def locked(path: str) -> float:
    """The minimum of a locked setting. Raises `ConfigError` if it is none."""
    table, _, name = path.rpartition(".")
    if table != ".".join(TABLE) or name not in LOCKED:
        known = ", ".join(f"{'.'.join(TABLE)}.{one}" for one in LOCKED)
        raise ConfigError(f"{clean(path, 80)} is not locked; these are: {known}")
    return LOCKED[name]


def with_approvals(
    said: Sequence[Setting], approvals: Approvals, now_ns: int
) -> tuple[list[Setting], list[str]]:
    """The settings with the approvals that they need and that hold, and a note for each.

    Raises `ConfigError` for settings that claim an approval themselves, for one that has ended, and
    for a record that cannot be believed. A value without any is refused by the detector.
    """
    refuse_claims(said)
    settings, notes, entries = list(said), [], []
    for name, least in LOCKED.items():
        last = next((one for one in reversed(settings) if one.path == (*TABLE, name)), None)
        value = _number(name, last.value) if last is not None else None
        if last is None or value is None or not 0.0 < value < least:
            continue
        path = ".".join(last.path)
        given = [one for one in approvals.given() if one.record.path == path]
        given = [one for one in given if one.record.value == value]
        valid = [one for one in given if one.standing(now_ns) == "valid"]
        if valid:
            entries.append(f"{approval_of(name, value)}#{valid[-1].id}")
            by = f"by {valid[-1].record.by} (approval {valid[-1].id})"
            notes.append(f"{path} = {value:g} is below its minimum {least:g}, allowed {by}")
        elif given:
            raise ConfigError(
                f"{path} = {value:g} is below the locked minimum {least:g}, and approval"
                f" {given[-1].id} {_ended(given[-1], now_ns)}"
                f" ({Reason.PARAMETER_CHANGE_REQUIRES_APPROVAL})",
                last.origin,
            )
    if entries:
        settings.append(Setting((*TABLE, FIELD), entries, "approvals"))
    return settings, notes


def refuse_claims(said: Sequence[Setting]) -> None:
    """Raise `ConfigError` if a setting says itself that it is approved."""
    for one in said:
        if one.path[:3] == (*TABLE, FIELD) and one.value not in ([], (), "", None):
            raise ConfigError(
                f"{'.'.join(one.path)} is written by tapewatch approve alone", one.origin
            )


def _number(name: str, value: Any) -> float | None:
    """As the settings' reader will understand it; None where that will refuse it."""
    try:
        if isinstance(value, str) and name.endswith("_s"):
            return parse_duration(value)
        return float(value)
    except (ConfigError, TypeError, ValueError):
        return None


def _ended(approval: Approval, now_ns: int) -> str:
    at_ns = approval.ended_ns or approval.record.expires_ns
    return f"{approval.standing(now_ns)} at {format_rfc3339(at_ns, 0)}"


def _standing(lines: Sequence[bytes]) -> list[Approval]:
    found: dict[str, Approval] = {}
    for line in lines:
        record, id_ = msgspec.json.decode(line, type=Record), _hash(line)[:ID_CHARS]
        if record.kind == "approval":
            found[id_] = Approval(id_, record)
        elif record.revokes in found:
            given = found[record.revokes]
            found[given.id] = msgspec.structs.replace(given, ended_ns=record.at_ns)
    return list(found.values())


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _sync(folder: pathlib.Path) -> None:
    """A new file is durable only when its folder is."""
    opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
