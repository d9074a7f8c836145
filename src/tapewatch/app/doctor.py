"""What may keep tapewatch from working on this machine, found before it does."""

import asyncio
import contextlib
import importlib.metadata
import os
import pathlib
import platform
import re
import shutil
import sys
import tempfile
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from tapewatch.app.config import Config
from tapewatch.io import control
from tapewatch.io.clock import Clock
from tapewatch.io.http import Http
from tapewatch.io.reach import proxy_for, unreachable
from tapewatch.model import limits
from tapewatch.model.errors import Retryable
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S, TS_MIN_NS, format_rfc3339
from tapewatch.sinks.wording import size_text

PYTHON: Final = (3, 11)
REACH_S: Final = 8.0  # for one connection
SKEW_S: Final = 2.0  # the venue tells whole seconds
SPACE_BYTES: Final = 4 * limits.SEGMENT_BYTES
_TIME_URL: Final = "/0/public/Time"  # of Kraken's REST interface

State = Literal["ok", "warn", "fail"]


class Check(Struct, frozen=True):
    """One finding. `exit_code` is what a failure makes of the whole."""

    name: str
    state: State
    text: str
    exit_code: int = 0


def examine(config: Config, clock: Clock, *, network: bool = True) -> list[Check]:
    """Every check, in the order in which they matter."""
    found = [
        _python(),
        _dependencies(),
        _writable(pathlib.Path(config.session.dir)),
        _space(pathlib.Path(config.session.dir)),
        _kill_switch(config.kill_switch.path),
        _clock(clock),
    ]
    if network:
        found += asyncio.run(_network(config, clock))
    return [*found, _ffmpeg()]


def _python() -> Check:
    text = f"{platform.python_version()} on {platform.system()}"
    if sys.version_info < PYTHON:
        return Check("python", "fail", f"{text}; it must be {PYTHON[0]}.{PYTHON[1]} or newer", 1)
    return Check("python", "ok", text)


def _dependencies() -> Check:
    wrong = []
    for line in importlib.metadata.requires("tapewatch") or ():
        needed = re.match(r"([\w.-]+)[^;]*?>=([\d.]+)", line)
        if needed is None or "extra ==" in line:
            continue
        name, least = needed.groups()
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
        else:
            if _numbers(version) < _numbers(least):
                wrong.append(f"{name} {version} is older than {least}")
    if wrong:
        return Check("libraries", "fail", "; ".join(wrong), 1)
    return Check("libraries", "ok", "all there")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _writable(folder: pathlib.Path) -> Check:
    place = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        text = f"cannot write in {clean(str(place))}: {error.strerror}; set session.dir"
        return Check("folder", "fail", text, 1)
    return Check("folder", "ok", clean(str(folder.absolute())))


def _space(folder: pathlib.Path) -> Check:
    free = shutil.disk_usage(_existing(folder)).free
    text = f"{size_text(free)} free"
    if free < limits.RESERVE_BYTES:
        return Check("disk", "fail", f"{text}; nothing could be recorded", 1)
    if free < SPACE_BYTES:
        return Check("disk", "warn", f"{text}; a long session may fill it")
    return Check("disk", "ok", text)


def _existing(folder: pathlib.Path) -> pathlib.Path:
    places = (folder.absolute(), *folder.absolute().parents)
    return next(place for place in places if place.is_dir())


def _kill_switch(path: pathlib.Path) -> Check:
    order = control.read(path)
    if order is None:
        text = f"{clean(str(path))} cannot be read, which counts as on: nothing goes out"
        return Check("killswitch", "fail", text, 1)
    if order.active:
        return Check("killswitch", "warn", f"on: nothing goes out ({clean(str(path))})")
    return Check("killswitch", "ok", "off")


def _clock(clock: Clock) -> Check:
    now = clock.now_ns()
    text = format_rfc3339(now, 0)
    if now < TS_MIN_NS:
        return Check("clock", "fail", f"{text} cannot be; set the machine's clock", 1)
    return Check("clock", "ok", text)


async def _network(config: Config, clock: Clock) -> list[Check]:
    """The way to each venue in the settings, by default to Kraken."""
    from tapewatch.venues.kraken import Kraken  # noqa: PLC0415  other checks do not need it

    watched = [venue for venue in config.venues if hasattr(venue, "url")]
    found = []
    for venue in watched or [Kraken(symbols=("BTC/USD",))]:
        reached = await _reach(venue.endpoint().url)
        found.append(reached)
        if reached.state == "ok" and isinstance(venue, Kraken):
            found.append(await _skew(venue.rest_url, clock))
    return found


async def _reach(url: str) -> Check:
    from websockets.asyncio.client import connect  # noqa: PLC0415  half a second of start-up
    from websockets.exceptions import WebSocketException  # noqa: PLC0415

    try:
        async with connect(url, proxy=proxy_for(url), open_timeout=REACH_S):
            return Check("network", "ok", f"{clean(url, 80)} answers")
    except (OSError, WebSocketException, EOFError) as error:
        refused = unreachable(url, error, REACH_S)
        return Check("network", "fail", str(refused), refused.exit_code)


async def _skew(rest_url: str, clock: Clock) -> Check:
    http = Http()
    try:
        before = clock.now_ns()
        body = await http.get(f"{rest_url}{_TIME_URL}")
        ours = (before + clock.now_ns()) / 2 / NS_PER_S
        answer: Any = msgspec.json.decode(body, type=dict[str, Any])
        ahead = ours - float(answer["result"]["unixtime"]) - 0.5  # whole seconds, rounded down
    except (Retryable, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        return Check("venue clock", "warn", f"cannot be asked: {clean(str(error))}")
    finally:
        with contextlib.suppress(OSError):
            await http.close()
    if abs(ahead) > SKEW_S:
        text = f"Your clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} Kraken. "
        return Check("venue clock", "warn", text + "Fix: enable NTP (timedatectl set-ntp true)")
    return Check("venue clock", "ok", "agrees with ours")


def _ffmpeg() -> Check:
    there = shutil.which("ffmpeg", path=os.environ.get("PATH"))
    state = "found" if there else "not found"
    return Check("ffmpeg", "ok", f"{state}; screen recording is not part of this version")
