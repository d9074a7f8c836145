"""What the simulated venues share on the command line: serving until a signal, and speeds."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import click
from msgspec import json

from tapewatch.model.errors import ConfigError

S = TypeVar("S")


def factor(_: click.Context, __: click.Parameter, text: str) -> float:
    """An option's text as a factor. Raises `ConfigError`."""
    try:
        return float("inf") if text == "max" else float(text)
    except ValueError as error:
        raise ConfigError(f"{text[:20]!r} is not a speed; write 1, 60 or max", "--speed") from error


async def serve(
    venue: str,
    server: AbstractAsyncContextManager[S],
    addresses: Callable[[S], dict[str, str]],
    over: Callable[[S], Any],
    *,
    exit_at_end: bool = True,
) -> None:
    """Serve until a signal, or until `over` has ended if that is wanted. One JSON line with the
    addresses says that it is ready."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with server as running:
        line = {"schema": "tapewatch.simulate/1", "v": 1, "venue": venue}
        click.echo(json.encode(line | addresses(running) | {"pid": os.getpid()}).decode())
        told = f"A simulated {venue.capitalize()}: nothing it says is real. Ctrl+C stops it."
        click.echo(told, err=True)
        stopping, ending = asyncio.create_task(stop.wait()), asyncio.create_task(over(running))
        await asyncio.wait((stopping, ending), return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            ending.result()
            if not exit_at_end:
                await stopping
        ending.cancel()
        stopping.cancel()
