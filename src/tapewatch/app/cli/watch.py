"""`tapewatch watch`: live markets, until stopped."""

import asyncio
from typing import Any

import click

from tapewatch.app.cli import output
from tapewatch.app.environment import COMMAND_LINE, Setting
from tapewatch.io.reach import host_of, is_loopback
from tapewatch.model.errors import ConfigError
from tapewatch.model.instrument import split_id


@click.command()
@click.argument("markets", nargs=-1, metavar="[MARKET]...")
@click.option("--pair", help="A Kraken pair, as driftlock's script has it: same as kraken:PAIR.")
@click.option("--duration", help="End after 90s, 15m, 4h or bare seconds.")
@click.option("--test-mode", is_flag=True, help="A short session: two minutes unless --duration.")
@click.option("--status-every", "--test-interval", "status_every", help="Status report interval.")
@click.option("--name", help="Name of the session's folder; an existing one is resumed.")
@click.option("--dir", "folder", help="Folder of all sessions.")
@click.option("--url", help="Websocket of the venue, such as that of tapewatch simulate.")
@click.option("--rest-url", help="HTTP base of the venue; that of --url on this machine.")
@click.option("--protocol", type=click.Choice(["v2", "v1"]), help="Kraken's websocket version.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Any setting.")
@output.JSON
def watch(*, markets: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Watch live markets, such as kraken:BTC/USD or polymarket:SLUG.

    Without MARKET: the sources of the settings. Ctrl+C once ends with the summary, twice at once.
    """
    from tapewatch.app.cli.running import until_signal  # noqa: PLC0415  --help stays quick
    from tapewatch.app.config import set_option  # noqa: PLC0415
    from tapewatch.io.clock import SystemClock  # noqa: PLC0415

    shell = output.current()
    flags = [*settings(markets, **options), *map(set_option, options["changes"])]
    config = shell.load(flags).config
    if not config.venues:
        raise ConfigError("nothing to watch; name a market, for example kraken:BTC/USD")

    screen = shell.screen(bell=config.sink.terminal.bell, json=as_json)
    asyncio.run(until_signal(shell, config, SystemClock(), screen))


def settings(markets: tuple[str, ...], *, pair: str | None, **options: Any) -> list[Setting]:
    """The command line's words as settings. Raises `ConfigError` for what is no market id."""
    symbols: dict[str, list[str]] = {}
    for market in (*markets, *([f"kraken:{pair}"] if pair else [])):
        venue, symbol = split_id(market)
        symbols.setdefault(venue, []).append(symbol)
    found = [Setting(("source", v, "symbols"), s, COMMAND_LINE) for v, s in symbols.items()]
    where = {
        "duration": ("session", "duration_s"),
        "status_every": ("session", "status_every_s"),
        "name": ("session", "name"),
        "folder": ("session", "dir"),
        "protocol": ("source", "kraken", "protocol"),
    }
    found += [
        Setting(where[key], value, COMMAND_LINE)
        for key, value in options.items()
        if key in where and value
    ]
    found += addresses("polymarket" if "polymarket" in symbols else "kraken", options)
    if options.get("test_mode"):
        found.append(Setting(("session", "test_mode"), True, COMMAND_LINE))
    return found


def addresses(venue: str, options: dict[str, Any]) -> list[Setting]:
    """Where the venue is. A simulator answers sockets and HTTP on one port: the real venue must not
    be asked about its market."""
    url, rest = options.get("url"), options.get("rest_url")
    if url and not rest and is_loopback(url):
        rest = f"http://{host_of(url)}"
    socket = "ws_url" if venue == "polymarket" else "url"
    services = {"clob_url": "/clob", "gamma_url": "/gamma", "data_url": "/data"}
    places = {socket: url} if url else {}
    if rest and venue == "polymarket":
        places |= {name: f"{rest.rstrip('/')}{path}" for name, path in services.items()}
    elif rest:
        places["rest_url"] = rest
    return [Setting(("source", venue, name), place, COMMAND_LINE) for name, place in places.items()]
