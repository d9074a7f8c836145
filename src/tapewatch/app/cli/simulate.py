"""`tapewatch simulate VENUE`: a venue server on this machine, with faults and ground truth.

Heavy modules are imported when the server starts, so that `--help` stays quick.
"""

import asyncio
import pathlib
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from tapewatch.app.cli.simulate_polygon import polygon
from tapewatch.app.cli.simulate_polymarket import polymarket
from tapewatch.app.cli.simulate_serving import factor, serve

if TYPE_CHECKING:
    from tapewatch.simulate.kraken import KrakenServer


@click.group()
def simulate() -> None:
    """Serve a venue on this machine: its real protocols, a synthetic or recorded market.

    Faults on request, and a record of what was planted.
    """


simulate.add_command(polygon)
simulate.add_command(polymarket)


def _list_faults(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001  click's order
    from tapewatch.simulate.faults import CATALOGUE  # noqa: PLC0415  see above

    if not wanted:
        return
    for kind in CATALOGUE:
        length = f"{kind.for_s:g} s" if kind.for_s else "once"
        params = " ".join(f"{name}={value}" for name, value in kind.params.items())
        click.echo(f"{kind.code}  {kind.name:<14} {length:<6} {kind.text}  {params}".rstrip())
    context.exit()


_FILE = click.Path(exists=True, dir_okay=False, path_type=pathlib.Path)
_TAPE = click.Path(exists=True, path_type=pathlib.Path)


@simulate.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free port.")
@click.option("--symbols", default="BTC/USD,ETH/USD,DOGE/USD", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same market.")
@click.option("--scenario", default=None, help="JSON file of market and anomalies, or: demo.")
@click.option("--tape", type=_TAPE, help="Play trades: csv, parquet, or a tape (first symbol).")
@click.option("--speed", default="1", callback=factor, show_default=True, help="Factor, or: max.")
@click.option("--exit-at-end", is_flag=True, help="Stop after the last trade of --tape.")
@click.option(
    "--faults", "script", type=_FILE, help="JSON list of {at, for, fault, scope, params}."
)
@click.option("--fault", "faults", multiple=True, help="NAME@AT[:FOR][,key=value], repeatable.")
@click.option("--truth", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="NDJSON.")
@click.option(
    "--list-faults", is_flag=True, is_eager=True, expose_value=False, callback=_list_faults
)
def kraken(  # noqa: PLR0913  one argument per option
    *,
    host: str,
    port: int,
    symbols: str,
    seed: int,
    scenario: str | None,
    tape: pathlib.Path | None,
    speed: float,
    script: pathlib.Path | None,
    faults: tuple[str, ...],
    truth: pathlib.Path | None,
    exit_at_end: bool,
) -> None:
    """Kraken: websocket v2 at /v2, v1 at /, REST at /0/public/*.

    Prints one JSON line with its addresses when it is ready.
    """
    from tapewatch.io.clock import SystemClock  # noqa: PLC0415  see above
    from tapewatch.simulate import faults as fault_module  # noqa: PLC0415  see above
    from tapewatch.simulate import scenario as scenario_module  # noqa: PLC0415  see above
    from tapewatch.simulate.kraken import KrakenConfig, KrakenServer  # noqa: PLC0415  see above

    plot = scenario_module.load(scenario) if scenario else scenario_module.Scenario()
    scripted = fault_module.load(script) if script else ()
    planned = (*plot.faults, *scripted, *map(fault_module.parse, faults))
    config = KrakenConfig(
        host=host,
        port=port,
        symbols=tuple(symbol.strip() for symbol in symbols.split(",") if symbol.strip()),
        seed=seed,
        scenario=replace(plot, faults=planned),
        tape=tape,
        speed=speed,
        truth=truth,
    )
    server = KrakenServer(config, SystemClock())
    asyncio.run(serve("kraken", server, _addresses, KrakenServer.over, exit_at_end=exit_at_end))


def _addresses(server: "KrakenServer") -> dict[str, str]:
    return {"url": server.ws_url, "url_v1": server.ws_v1_url, "rest": server.rest_url}
