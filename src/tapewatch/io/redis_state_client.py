"""Baselines in Redis, on the wire: scripts that look, write, drop and load. Blocking; no policy.

Bot 4.15's shape: a hash `baseline:<condition_id>` with its six fields, which expires a day after it
was written last, and our field `window`. A script does in one call what a pipeline needs thousands
of replies for, and it looks and writes at once: a key that somebody deleted is not written again
before we know. `SENTINEL` tells a key that was deleted from a database that was emptied.

The scripts find their keys in their arguments, so this is for one Redis, or a primary with
replicas, and not for a cluster. Numbers are written as Python prints them.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from msgspec import Raw, Struct, msgpack

from tapewatch.detect.zscore_state import Checkpoint, ZScoreState
from tapewatch.io.reach import host_of
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, Retryable
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_MS

if TYPE_CHECKING:
    from redis import Redis
    from redis.commands.core import Script

T = TypeVar("T")

SCHEMES: Final = ("redis", "rediss", "unix")
SENTINEL: Final = "tapewatch:baselines"
EPOCH_BYTES: Final = 64  # what stands there is ours, or is replaced
PREFIX: Final = "baseline:"
POLYMARKET: Final = "polymarket:"  # whose condition ids stand in the keys as they are
CHUNK: Final = 250  # markets of one call: Redis serves nobody else for about 2 ms
LOOK: Final = 2_000  # keys looked at in one call, in as long
SCAN: Final = 1_000  # keys that Redis goes through at once

FIELDS: Final = (
    "rolling_mean_price",
    "rolling_std_price",
    "rolling_mean_vol",
    "rolling_std_vol",
    "baseline_sample_count",
    "last_updated_at_ms",
)

# Each row: key, whether it must be there, six numbers as text, window or false. The expiry moves
# with each window, and a key that was not there is known by how many fields are new.
_WRITE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local gone, rows = {}, cmsgpack.unpack(ARGV[3])
for i = 1, #rows do
  local row = rows[i]
  local key, window = row[1], row[9]
  local fields = {'rolling_mean_price', row[3], 'rolling_std_price', row[4],
    'rolling_mean_vol', row[5], 'rolling_std_vol', row[6],
    'baseline_sample_count', row[7], 'last_updated_at_ms', row[8]}
  if window then fields[13], fields[14] = 'window', window end
  local added = redis.pcall('HSET', key, unpack(fields))
  if type(added) == 'table' then
    if string.sub(added.err, 1, 9) ~= 'WRONGTYPE' then return added end
    redis.call('DEL', key)
    redis.call('HSET', key, unpack(fields))
  end
  if row[2] and added == #fields / 2 then
    redis.call('DEL', key)
    gone[#gone + 1] = key
  elseif window then
    redis.call('PEXPIRE', key, ARGV[2])
  end
end
return gone
"""
_LOOK: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local gone = {}
for _, key in ipairs(cmsgpack.unpack(ARGV[2])) do
  if redis.call('EXISTS', key) == 0 then gone[#gone + 1] = key end
end
return gone
"""
_LOAD: Final = """
local found = {}
for i, key in ipairs(cmsgpack.unpack(ARGV[1])) do
  found[i] = false
  local size = redis.pcall('HSTRLEN', key, 'window')
  if type(size) == 'number' and size > 0 and size <= tonumber(ARGV[2]) then
    found[i] = redis.call('HGET', key, 'window')
  end
end
return found
"""


class Row(Struct, frozen=True, gc=False):
    """One market to write, taken from `state`. `known`: it is there already, unless somebody
    deleted it."""

    instrument: str
    known: bool
    checkpoint: Checkpoint
    packed: bytes | None
    state: ZScoreState


def key_of(instrument: str) -> str:
    """`polymarket:0xab` -> `baseline:0xab`; of other sources the whole id follows."""
    return PREFIX + instrument.removeprefix(POLYMARKET)


def instrument_of(key: str) -> str:
    """The way back; every key has one."""
    name = key.removeprefix(PREFIX)
    return name if ":" in name else POLYMARKET + name


def checked_url(url: str) -> str:
    """`url` if it can be one of a Redis. Raises `ConfigError`, which never quotes it: it may hold a
    password."""
    parts = urlsplit(url)
    try:
        usable = parts.scheme in SCHEMES and bool(parts.path if parts.scheme == "unix" else url)
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or (parts.scheme != "unix" and not parts.hostname):
        raise ConfigError("write redis://host:6379/0, rediss:// or unix:// and a path")
    return url


def place_of(url: str) -> str:
    """Where it is, for people."""
    return host_of(url) or clean(urlsplit(url).path)


def connect(url: str, timeout_s: float) -> "Redis":
    """A client that fails rather than tries again by itself: who asks must know. Raises
    `ConfigError` without the library."""
    try:
        from redis import Redis  # noqa: PLC0415  an extra
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "Redis is not installed for Python: pip install 'tapewatch[redis]'"
        ) from error
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )


class RedisBaselines:
    """One connection. Every method raises `Retryable` in the user's words when Redis does not do
    what it should; `answered` whether it has since. Not for two threads at once."""

    def __init__(self, url: str, ttl_s: float, timeout_s: float) -> None:
        self._url, self._timeout_s, self._ttl_ms = url, timeout_s, round(ttl_s * 1000)
        self._client = connect(checked_url(url), timeout_s)
        self._write = self._client.register_script(_WRITE)
        self._look = self._client.register_script(_LOOK)
        self._load = self._client.register_script(_LOAD)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def adopt(self, epoch: bytes) -> bytes:
        """The epoch of the database: `epoch`, if it has none yet."""

        def work() -> bytes:
            self._client.set(SENTINEL, epoch, nx=True)
            found: Any = self._client.get(SENTINEL)
            if not found or len(found) > EPOCH_BYTES:
                self._client.set(SENTINEL, epoch)
                return epoch
            return bytes(found)

        return self._do(work)

    def write(self, rows: Sequence[Row], epoch: bytes) -> list[str] | None:
        """Write rows; the instruments among the known ones that are gone, and were not written.
        None, and nothing is written, when the database has another epoch."""
        gone: list[str] = []
        for start in range(0, len(rows), CHUNK):
            data = msgpack.encode([_plain(row) for row in rows[start : start + CHUNK]])
            args = (epoch, self._ttl_ms, data)
            found = self._do(partial(self._run, self._write, args))
            if found is None:
                return None
            gone += map(_instrument, found)
        return gone

    def look(self, instruments: Sequence[str], epoch: bytes) -> list[str] | None:
        """Those that are gone; None when the database has another epoch."""
        gone: list[str] = []
        for start in range(0, len(instruments), LOOK):
            keys = msgpack.encode(list(map(key_of, instruments[start : start + LOOK])))
            found = self._do(partial(self._run, self._look, (epoch, keys)))
            if found is None:
                return None
            gone += map(_instrument, found)
        return gone

    def drop(self, instruments: Sequence[str]) -> None:
        """Delete baselines."""
        keys = list(map(key_of, instruments))
        for start in range(0, len(keys), LOOK):
            self._do(partial(self._client.delete, *keys[start : start + LOOK]))

    def evicted(self) -> int:
        """How many keys Redis threw away by itself since it started; -1 where we may not ask."""

        def work() -> int:
            from redis.exceptions import NoPermissionError  # noqa: PLC0415  an extra

            try:
                found: Any = self._client.info("stats")
            except NoPermissionError:
                return -1
            return int(found.get("evicted_keys", -1))

        return self._do(work)

    def names(self, most: int) -> list[str]:
        """Instruments that have a baseline, in order; at most so many."""

        def work() -> list[str]:
            found: set[str] = set()
            for key in self._client.scan_iter(f"{PREFIX}*", SCAN):
                if len(found) >= most:
                    break
                found.add(_instrument(key))
            return sorted(found)

        return self._do(work)

    def load(self, instruments: Sequence[str]) -> list[bytes | None]:
        """Their windows; None where there is none, or one of more than `limits.BASELINE_BYTES`."""
        keys = msgpack.encode(list(map(key_of, instruments)))
        found: list[bytes | None] = self._do(
            partial(self._run, self._load, (keys, limits.BASELINE_BYTES))
        )
        return found

    def show(self, instrument: str) -> dict[str, str]:
        """The fields of one baseline but its window; empty without one."""
        key = key_of(instrument)
        found: Any = self._do(lambda: self._client.hmget(key, list(FIELDS)))
        pairs = zip(FIELDS, found, strict=True)
        return {name: clean(v.decode("utf-8", "replace"), 40) for name, v in pairs if v is not None}

    def _run(self, script: "Script", args: Sequence[object]) -> Any:
        return script([SENTINEL], args)  # type: ignore[arg-type]

    def _do(self, work: Callable[[], T]) -> T:
        from redis.exceptions import RedisError  # noqa: PLC0415  an extra

        try:
            return work()
        except (RedisError, OSError) as error:
            # The next attempt begins with a new connection: this one may still owe an answer.
            self._client.connection_pool.disconnect()
            raise Retryable(f"Redis {place_of(self._url)} {why(error, self._timeout_s)}") from error


# Codes of errors that a script ran into, which older versions wrap into words of their own.
_CODES: Final = {
    "NOAUTH": "refuses our name or password",
    "WRONGPASS": "refuses our name or password",
    "NOPERM": "does not allow us the commands or keys that we need",
    "READONLY": "is read-only (a replica?)",
    "OOM": "is full",
    "MISCONF": "cannot save its data and takes no writes",
    "LOADING": "is loading its data",
    "MASTERDOWN": "has lost its primary",
}


def why(error: Exception, timeout_s: float) -> str:
    """What is wrong, in words that hold nothing of the address or of what was sent."""
    from redis import exceptions  # noqa: PLC0415  an extra

    told: tuple[tuple[type[Exception], str], ...] = (
        (exceptions.TimeoutError, f"does not answer within {timeout_s:g} s"),
        (exceptions.AuthenticationError, _CODES["NOAUTH"]),
        (exceptions.NoPermissionError, _CODES["NOPERM"]),
        (exceptions.ReadOnlyError, _CODES["READONLY"]),
        (exceptions.OutOfMemoryError, _CODES["OOM"]),
        (exceptions.BusyLoadingError, _CODES["LOADING"]),
        (exceptions.ConnectionError, "refused or lost the connection"),
        (OSError, "refused or lost the connection"),
    )
    for kind, words in told:
        if isinstance(error, kind):
            return words
    codes = re.findall(r"\b[A-Z]{3,}\b", str(error))
    known = (_CODES[code] for code in codes if code in _CODES)
    return next(known, f"cannot do it ({type(error).__name__})")


def _plain(row: Row) -> tuple[object, ...]:
    kept = row.checkpoint
    packed: Raw | bool = False
    if row.packed is not None:
        # A msgpack text, not bytes, which the Lua of older versions cannot read.
        packed = Raw(b"\xdb" + len(row.packed).to_bytes(4, "big") + row.packed)
    return (
        key_of(row.instrument),
        row.known,
        repr(kept.mean_price),
        repr(kept.std_price),
        repr(kept.mean_volume),
        repr(kept.std_volume),
        str(kept.samples),
        str(kept.updated_ns // NS_PER_MS),
        packed,
    )


def _instrument(key: bytes) -> str:
    return instrument_of(key.decode("utf-8", "replace"))
