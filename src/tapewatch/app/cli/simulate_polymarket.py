"""`tapewatch simulate polymarket`: a Polymarket on this machine.

Heavy modules are imported when the server starts, so that `--help` stays quick.
"""

import asyncio
import pathlib
from typing import TYPE_CHECKING, Final

import click
from msgspec.structs import replace

from tapewatch.app.cli.simulate_serving import factor, serve

if TYPE_CHECKING:
    from tapewatch.simulate.polymarket import PolymarketServer
    from tapewatch.simulate.polymarket_book import Generation
    from tapewatch.simulate.polymarket_frames import Form

MARKETS: Final = 12
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=pathlib.Path)


def _listed(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001  click's order
    from tapewatch.simulate.polymarket_faults import POLYMARKET  # noqa: PLC0415  see above

    if not wanted:
        return
    for kind in POLYMARKET:
        length = f"{kind.for_s:g} s" if kind.for_s else "once"
        params = " ".join(f"{name}={value}" for name, value in kind.params.items())
        click.echo(f"{kind.code}  {kind.name:<15} {length:<6} {kind.text}  {params}".rstrip())
    context.exit()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free port.")
@click.option("--markets", type=int, help="How many, up to 20,000.  [default: 12, or the files']")
@click.option("--contests", type=int, default=1, show_default=True, help="Negative-risk events.")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same market.")
@click.option("--scenario", type=_FILE, help="JSON file of market, anomalies and faults.")
@click.option("--books", type=_FILE, multiple=True, help="Play recorded books: csv, csv.gz.")
@click.option("--wallets", type=_FILE, help="Play trades with wallets: parquet (Data API).")
@click.option("--speed", default="1", callback=factor, show_default=True, help="Factor, or: max.")
@click.option(
    "--price-changes",
    "form",
    type=click.Choice(["new", "legacy"]),
    default="new",
    show_default=True,
    help="Form of price_change: since September 2025, or before.",
)
@click.option(
    "--hash",
    "generation",
    type=click.Choice(["2024", "2025", "2026"]),
    default="2025",
    show_default=True,
    help="What is hashed.",
)
@click.option("--faults", "script", type=_FILE, help="JSON list of faults.")
@click.option("--fault", "faults", multiple=True, help="NAME@AT[:FOR][,key=value], repeatable.")
@click.option("--list-faults", is_flag=True, is_eager=True, expose_value=False, callback=_listed)
@click.option("--truth", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="NDJSON.")
def polymarket(  # noqa: PLR0913  one argument per option
    *,
    host: str,
    port: int,
    markets: int | None,
    contests: int,
    seed: int,
    scenario: pathlib.Path | None,
    books: tuple[pathlib.Path, ...],
    wallets: pathlib.Path | None,
    speed: float,
    form: "Form",
    generation: "Generation",
    script: pathlib.Path | None,
    faults: tuple[str, ...],
    truth: pathlib.Path | None,
) -> None:
    """Polymarket: CLOB, Gamma and Data API over HTTP, the market channel at /ws/market.

    Prints one JSON line with its addresses when it is ready.
    """
    from tapewatch.io.clock import SystemClock  # noqa: PLC0415  see above
    from tapewatch.simulate import polymarket_faults as catalogue  # noqa: PLC0415  see above
    from tapewatch.simulate import polymarket_scenario as scenarios  # noqa: PLC0415  see above
    from tapewatch.simulate.polymarket import (  # noqa: PLC0415  see above
        PolymarketConfig,
        PolymarketServer,
    )

    plot = scenarios.load(scenario) if scenario else scenarios.PolymarketScenario()
    scripted = catalogue.load(script) if script else ()
    planned = (*plot.faults, *scripted, *map(catalogue.parse, faults))
    made_up = MARKETS if markets is None and not (books or wallets) else markets or 0
    config = PolymarketConfig(
        host=host,
        port=port,
        markets=made_up,
        contests=contests,
        seed=seed,
        scenario=replace(plot, faults=planned),
        books=books,
        wallets=wallets,
        speed=speed,
        form=form,
        generation=generation,
        truth=truth,
    )
    server = PolymarketServer(config, SystemClock())
    asyncio.run(serve("polymarket", server, addresses, PolymarketServer.over))


def addresses(server: "PolymarketServer") -> dict[str, str]:
    """Of the socket and of the services, by the names that settings have."""
    return {
        "url": server.ws_url,
        "clob": server.clob_url,
        "gamma": server.gamma_url,
        "data": server.data_url,
    }
