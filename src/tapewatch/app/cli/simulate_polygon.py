"""`tapewatch simulate polygon`: a Polygon node on this machine, and the Polymarket it settles.

Heavy modules are imported when the server starts, so that `--help` stays quick.
"""

import asyncio
import pathlib
from typing import TYPE_CHECKING, Final

import click

from tapewatch.app.cli.simulate_polymarket import addresses
from tapewatch.app.cli.simulate_serving import factor, serve

if TYPE_CHECKING:
    from tapewatch.simulate.polygon import PolygonServer

MARKETS: Final = 4
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=pathlib.Path)


def _listed(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001  click's order
    from tapewatch.simulate.polygon_faults import POLYGON  # noqa: PLC0415  see above

    if not wanted:
        return
    for kind in POLYGON:
        length = f"{kind.for_s:g} s" if kind.for_s else "once"
        params = " ".join(f"{name}={value}" for name, value in kind.params.items())
        click.echo(f"{kind.code:<8} {kind.name:<13} {length:<6} {kind.text}  {params}".rstrip())
    context.exit()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free port.")
@click.option("--markets", type=int, help="How many, up to 20,000.  [default: 4, or the file's]")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same market.")
@click.option("--scenario", type=_FILE, help="JSON file of market and anomalies: Polymarket's.")
@click.option("--tape", type=_FILE, help="Play trades with wallets: parquet.")
@click.option("--speed", default="1", callback=factor, show_default=True, help="Factor, or: max.")
@click.option(
    "--contracts",
    "layout",
    type=click.Choice(["v1", "v2", "mixed"]),
    default="v2",
    show_default=True,
    help="Which exchange contracts settle; mixed: by turns of market.",
)
@click.option(
    "--ring",
    "rings",
    multiple=True,
    help="KIND@AT[:FOR][,members=3,trades=60,shares=250,cross=mint,market=1], repeatable.",
)
@click.option("--faults", "script", type=_FILE, help="JSON list of faults.")
@click.option("--fault", "faults", multiple=True, help="NAME@AT[:FOR][,key=value], repeatable.")
@click.option("--list-faults", is_flag=True, is_eager=True, expose_value=False, callback=_listed)
@click.option("--truth", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="NDJSON.")
def polygon(  # noqa: PLR0913  one argument per option
    *,
    host: str,
    port: int,
    markets: int | None,
    seed: int,
    scenario: pathlib.Path | None,
    tape: pathlib.Path | None,
    speed: float,
    layout: str,
    rings: tuple[str, ...],
    script: pathlib.Path | None,
    faults: tuple[str, ...],
    truth: pathlib.Path | None,
) -> None:
    """Polygon: JSON-RPC at / and, with subscriptions, at /ws; a block every two seconds.

    The fills are those of a simulated Polymarket, which listens too. Prints one JSON line with all
    addresses when it is ready.
    """
    from tapewatch.io.clock import SystemClock  # noqa: PLC0415  see above
    from tapewatch.simulate import polygon_faults as catalogue  # noqa: PLC0415  see above
    from tapewatch.simulate import polygon_rings  # noqa: PLC0415  see above
    from tapewatch.simulate import polymarket_scenario as scenarios  # noqa: PLC0415  see above
    from tapewatch.simulate.polygon import PolygonConfig, PolygonServer  # noqa: PLC0415  see above
    from tapewatch.simulate.polymarket import PolymarketConfig  # noqa: PLC0415  see above

    scripted = catalogue.load(script) if script else ()
    config = PolygonConfig(
        market=PolymarketConfig(
            host=host,
            markets=markets if markets is not None else 0 if tape else MARKETS,
            contests=0,
            seed=seed,
            scenario=scenarios.load(scenario) if scenario else scenarios.PolymarketScenario(),
            wallets=tape,
            speed=speed,
            truth=truth,
        ),
        port=port,
        layout=layout,
        faults=(*scripted, *map(catalogue.parse, faults)),
        rings=tuple(map(polygon_rings.parse, rings)),
    )
    server = PolygonServer(config, SystemClock())
    asyncio.run(serve("polygon", server, _addresses, PolygonServer.over))


def _addresses(server: "PolygonServer") -> dict[str, str]:
    return {"rpc": server.rpc_url, "ws": server.ws_url, **addresses(server.market)}
