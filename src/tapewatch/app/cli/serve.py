"""`tapewatch serve`: a session as a service, with gate, health, metrics and buses."""

import asyncio
from typing import Any, Final

import click

from tapewatch.app.cli import output
from tapewatch.app.environment import COMMAND_LINE, Setting
from tapewatch.model.errors import ConfigError

NAME: Final = "service"  # of its session, which every start goes on with


@click.command()
@click.option("--name", help="Name of the session's folder.  [default: service]")
@click.option("--dir", "folder", help="Folder of all sessions.")
@click.option("--duration", help="End after 90s, 15m, 4h or bare seconds.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Any setting.")
def serve(*, changes: tuple[str, ...], **options: Any) -> None:
    """Run as a service: watch the sources of the settings (--config FILE) without an end.

    The same session as `tapewatch watch`, and one that is always gone on with. It tells what
    happens line by line on standard error, answers over HTTP (health, metrics, the gate), and
    publishes reports. Where Polymarket is watched, bot 4.15's detector runs unless the settings
    say otherwise.
    """
    from tapewatch.app.cli.running import until_signal  # noqa: PLC0415  --help stays quick
    from tapewatch.app.config import load, set_option  # noqa: PLC0415
    from tapewatch.io.clock import SystemClock  # noqa: PLC0415

    shell = output.current()
    where = {"name": ("session", "name"), "folder": ("session", "dir")}
    where["duration"] = ("session", "duration_s")
    flags = [Setting(where[key], value, COMMAND_LINE) for key, value in options.items() if value]
    flags += map(set_option, changes)
    loaded = load(flags, file=shell.config)  # what must be said is said below
    if not loaded.config.session.name:
        flags.append(Setting(("session", "name"), NAME, "tapewatch serve"))
    polymarket = next((v for v in loaded.config.venues if v.name == "polymarket"), None)
    if polymarket is not None and not any("detector.zscore" in path for path in loaded.origins):
        cycle = ("detector", "zscore", "cycle_s")
        flags.append(Setting(cycle, polymarket.poll_s, "tapewatch serve"))
    config = shell.load(flags).config
    if not config.venues:
        raise ConfigError(
            "nothing to watch; name a source in the settings, for example [source.polymarket]"
        )
    screen = shell.screen(bell=False)
    asyncio.run(until_signal(shell, config, SystemClock(), screen, serve=True))
