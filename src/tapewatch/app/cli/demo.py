"""`tapewatch demo`: the built-in Kraken and a session that watches it, in one process, offline."""

import asyncio

import click

from tapewatch.app.cli import output


@click.command()
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same market.")
@click.option("--dir", "folder", default=None, help="Folder of all sessions.")
@output.JSON
def demo(*, seed: int, folder: str | None, as_json: bool) -> None:
    """See it work: about a minute, offline.

    A simulated Kraken serves a market with planted anomalies and faults over a real local
    websocket; a session like any other watches it.
    """
    from tapewatch.app.cli.running import until_signal  # noqa: PLC0415  --help stays quick
    from tapewatch.app.cli.watch import settings  # noqa: PLC0415
    from tapewatch.app.config import set_option  # noqa: PLC0415
    from tapewatch.app.planted import answers, table  # noqa: PLC0415
    from tapewatch.app.replay import recorded  # noqa: PLC0415
    from tapewatch.app.session import TAPE  # noqa: PLC0415
    from tapewatch.io.clock import SystemClock  # noqa: PLC0415
    from tapewatch.model.outputs import Alert  # noqa: PLC0415
    from tapewatch.simulate.kraken import KrakenConfig, KrakenServer  # noqa: PLC0415
    from tapewatch.simulate.scenario import DEMO, DEMO_S  # noqa: PLC0415

    shell = output.current()

    async def main() -> None:
        clock = SystemClock()
        market = KrakenConfig(symbols=("BTC/USD",), scenario=DEMO, seed=seed)
        async with KrakenServer(market, clock) as server:
            words = {"url": server.ws_url, "rest_url": server.rest_url, "folder": folder}
            flags = settings(("kraken:BTC/USD",), pair=None, duration=f"{DEMO_S}s", **words)
            # A minute is too short for a record of what is rare; these two need no record.
            flags += [
                set_option(f"detector.{name}.enabled=true") for name in ("driftlock", "zscore")
            ]
            config = shell.load(flags).config
            screen = shell.screen(bell=False, json=as_json, banner="DEMO")
            session = await until_signal(shell, config, clock, screen)
            said = [a for a in recorded(session.folder / TAPE) if isinstance(a, Alert)]
            for line in table(answers(server.truth.records, said), session.ledger.started_ns):
                shell.say(line)

    asyncio.run(main())
