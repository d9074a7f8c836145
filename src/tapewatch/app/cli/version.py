"""`tapewatch version`."""

import importlib.metadata
import platform

import click

from tapewatch.app.cli import output

_STANDS_ON = ("aiohttp", "click", "msgspec", "rich", "structlog", "websockets", "zstandard")


@click.command()
@output.JSON
def version(*, as_json: bool) -> None:
    """Version of tapewatch and of what it stands on."""
    shell = output.current()
    ours = importlib.metadata.version("tapewatch")
    python = platform.python_version()
    libraries = {name: importlib.metadata.version(name) for name in _STANDS_ON}
    if as_json:
        system = platform.platform()
        line = output.json_line(
            "version", version=ours, python=python, system=system, libraries=libraries
        )
        shell.put(line)
        return
    shell.put(f"tapewatch {ours}")
    shell.say(f"python {python}, " + ", ".join(f"{name} {libraries[name]}" for name in libraries))
