"""Running a session under signals: what `watch` and `demo` share.

The first Ctrl+C (or SIGTERM) ends the session in good order, with its summary; the second ends the
process at once, which the tape survives.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tapewatch.app.cli.output import Shell
from tapewatch.app.config import Config
from tapewatch.app.session import create
from tapewatch.app.watch import Streams, Watch
from tapewatch.io.clock import Clock
from tapewatch.sinks.terminal import Screen

AT_ONCE = 130  # exit code of a second signal


def prepare(shell: Shell, config: Config, clock: Clock, screen: Screen) -> Watch:
    """A session in its folder, ready to run."""
    folder = create(Path(config.session.dir), config.session.name, clock.now_ns())
    return Watch(
        config, folder, clock, screen, Streams(sys.stdout, sys.stderr, shell.say, shell.verbose)
    )


def until_signal(main: Coroutine[Any, Any, None], stop: asyncio.Event) -> Coroutine[Any, Any, None]:
    """`main`, with signals that set `stop` first and end the process the second time."""

    async def running() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _stop, stop)
        gc.freeze()  # what start-up made lives to the end; the collector need not look at it
        await main

    return running()


def _stop(stop: asyncio.Event) -> None:
    if stop.is_set():
        os.write(
            2, b"Stopped at once. What was recorded is safe; the next start repairs the rest.\n"
        )
        os._exit(AT_ONCE)
    stop.set()
