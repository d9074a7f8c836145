"""`tapewatch doctor`."""

import click
from msgspec import structs

from tapewatch.app.cli import output
from tapewatch.app.doctor import examine
from tapewatch.io.clock import SystemClock

_MARKS = {"ok": "✓", "warn": "!", "fail": "✗"}


@click.command()
@click.option("--offline", is_flag=True, help="Leave the network out.")
@output.JSON
@click.pass_context
def doctor(context: click.Context, *, offline: bool, as_json: bool) -> None:
    """Check this machine and the way to the venues (exit code 69: no way)."""
    shell = output.current()
    found = examine(shell.load().config, SystemClock(), network=not offline)
    for check in found:
        if as_json:
            shell.put(output.json_line("check", **structs.asdict(check)))
        else:
            shell.put(f"  {_MARKS[check.state]} {check.name:<12} {check.text}")
    failed = [check.exit_code for check in found if check.state == "fail"]
    if failed:
        context.exit(failed[0])
