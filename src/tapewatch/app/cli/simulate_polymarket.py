"""`tapewatch simulate polymarket`: a Polymarket on this machine.

Heavy modules are imported when the server starts, so that `--help` stays quick.
"""

import asyncio
import os
import pathlib
import signal
from typing import TYPE_CHECKING

import click
from msgspec import json

if TYPE_CHECKING:
    from tapewatch.simulate.polymarket import PolymarketConfig, PolymarketServer


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free port.")
@click.option("--markets", type=int, default=12, show_default=True, help="How many, up to 20,000.")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same market.")
@click.option("--truth", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="NDJSON.")
def polymarket(
    *, host: str, port: int, markets: int, seed: int, truth: pathlib.Path | None
) -> None:
    """Polymarket: CLOB, Gamma and Data API over HTTP, the market channel at /ws/market.

    Prints one JSON line with its addresses when it is ready.
    """
    from tapewatch.simulate.polymarket import PolymarketConfig  # noqa: PLC0415  see above

    config = PolymarketConfig(host=host, port=port, markets=markets, seed=seed, truth=truth)
    asyncio.run(_serve(config))


async def _serve(config: "PolymarketConfig") -> None:
    """Until a signal."""
    from tapewatch.io.clock import SystemClock  # noqa: PLC0415  see above
    from tapewatch.simulate.polymarket import PolymarketServer  # noqa: PLC0415  see above

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with PolymarketServer(config, SystemClock()) as server:
        click.echo(_ready(server))
        click.echo("A simulated Polymarket: nothing it says is real. Ctrl+C stops it.", err=True)
        stopping, over = asyncio.create_task(stop.wait()), asyncio.create_task(server.over())
        await asyncio.wait((stopping, over), return_when=asyncio.FIRST_COMPLETED)
        if over.done():
            over.result()
        over.cancel()
        stopping.cancel()


def _ready(server: "PolymarketServer") -> str:
    line = {
        "schema": "tapewatch.simulate/1",
        "v": 1,
        "venue": "polymarket",
        "url": server.ws_url,
        "clob": server.clob_url,
        "gamma": server.gamma_url,
        "data": server.data_url,
        "pid": os.getpid(),
    }
    return json.encode(line).decode()
