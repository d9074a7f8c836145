"""Running a session under signals: what `watch` and `demo` share.

The first Ctrl+C (or SIGTERM, or the end of the terminal) ends the session in good order, with its
summary; the second ends the process at once, which the tape survives.
"""

import asyncio
import gc
import os
import signal
import sys
from concurrent.futures import wait
from pathlib import Path

from tapewatch.app.cli.output import Shell, shown
from tapewatch.app.config import STATE_FOLDER, Config
from tapewatch.app.replay import configured
from tapewatch.app.resolve import resolved
from tapewatch.app.session import TAPE, create
from tapewatch.app.watch import Streams, Watch
from tapewatch.io.clock import Clock
from tapewatch.io.tape_frames import segment_files
from tapewatch.sinks.terminal import Screen
from tapewatch.sinks.writing import CLOSE_S, Hand, Narrator

STATE = Path(STATE_FOLDER).expanduser()
AT_ONCE = 130  # exit code of a second signal


async def until_signal(
    shell: Shell, config: Config, clock: Clock, screen: Screen, *, serve: bool = False
) -> Watch:
    """Run a session in its folder until the first signal, or its end; returns it. What words mean
    (names of markets) is looked up first, unless the session goes on with the same words."""
    narrator, stop = Narrator(sys.stderr), asyncio.Event()

    def say(text: str) -> None:
        if not shell.quiet:
            narrator.say(shown(text, sys.stderr))

    folder = create(Path(config.session.dir), config.session.name, clock.now_ns())
    tape = folder / TAPE
    known = configured(tape) if tape.is_dir() and segment_files(tape) else None
    config = await resolved(config, clock, folder=STATE, say=say, known=known)
    streams = Streams(sys.stdout, sys.stderr, say, shell.verbose or serve)
    session = Watch(config, folder, clock, screen, streams, serve=serve)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _stop, stop)
    gc.freeze()  # what start-up made lives to the end; the collector need not look at it
    try:
        await session.run(stop)
    finally:
        narrator.close()
    return session


def _stop(stop: asyncio.Event) -> None:
    if stop.is_set():
        last = b"Stopped at once. What was recorded is safe; the next start repairs the rest.\n"
        wait([Hand("last words").submit(os.write, 2, last)], CLOSE_S)
        os._exit(AT_ONCE)
    stop.set()
