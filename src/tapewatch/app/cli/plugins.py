"""`tapewatch plugins`."""

import click
from msgspec import structs

from tapewatch.app import registry
from tapewatch.app.cli import output


@click.command()
@output.JSON
def plugins(*, as_json: bool) -> None:
    """Venues and detectors that are installed, ours and yours."""
    shell = output.current()
    found = registry.plugins()
    if as_json:
        for plugin in found:
            shell.put(output.json_line("plugin", **structs.asdict(plugin)))
        return
    rows = [
        (
            plugin.kind,
            plugin.name,
            f"{plugin.package} {plugin.version}",
            plugin.trouble or plugin.about,
        )
        for plugin in found
    ]
    for line in output.columns(rows):
        shell.put(line)
