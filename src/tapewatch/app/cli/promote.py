"""`tapewatch promote`: may this service say more than it does? Each gate, with its evidence."""

import pathlib
from typing import Any, Final, get_args

import click

from tapewatch.app.cli import output
from tapewatch.gate.advice import Mode
from tapewatch.model.errors import ConfigError

NOT_MET: Final = 3  # exit code
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=pathlib.Path)


@click.command()
@click.option("--to", "mode", required=True, type=click.Choice(get_args(Mode)))
@click.option("--session", help="A session of 48 hours: its name, its path, or last.")
@click.option("--audit", type=_FILE, help="CSV with a verdict, real or false, on each incident.")
@click.option(
    "--write-audit",
    type=click.Path(dir_okay=False, path_type=pathlib.Path),
    help="Write that file, without verdicts, and stop.",
)
@click.option("--soak", type=_FILE, help="The soak.json of tapewatch evaluate soak.")
@click.option("--accept-simulated", is_flag=True, help="Let a session of a simulator count.")
@output.JSON
@click.pass_context
def promote(context: click.Context, /, *, mode: Mode, as_json: bool, **options: Any) -> None:
    """Print each gate on the way to a mode, with its evidence. Exit code 3 if one is not passed.

    It changes nothing: the mode is service.mode in the settings.
    """
    from tapewatch.app import promote as work  # noqa: PLC0415  --help stays quick
    from tapewatch.app.session import TAPE, find  # noqa: PLC0415

    shell = output.current()
    config = shell.load().config
    seen = None
    if options["session"]:
        folder = find(pathlib.Path(config.session.dir), options["session"])
        seen = work.trial(folder / TAPE)
    if options["write_audit"] is not None:
        if seen is None:
            raise ConfigError("name the session with --session", "--write-audit")
        work.write_audit(options["write_audit"], seen)
        shell.say(f"{len(seen.incidents):,} incidents written; put real or false beside each.")
        return
    found = work.gates(
        mode,
        config,
        seen=seen,
        audit=work.read_audit(options["audit"]) if options["audit"] else {},
        soak=work.read_soak(options["soak"]) if options["soak"] else None,
        accept_simulated=options["accept_simulated"],
    )
    passed = all(gate.passed for gate in found)
    if as_json:
        shell.put(output.json_line("promote", to=mode, passed=passed, gates=work.as_plain(found)))
    else:
        for gate in found:
            shell.put(f"{'pass' if gate.passed else 'FAIL'}  {gate.gate}: {gate.asks}")
            shell.put(f"      {gate.found}")
        shell.say(
            f'Every gate is passed. Set it: [service] mode = "{mode}"'
            if passed
            else f"Not yet: {sum(not gate.passed for gate in found)} of {len(found)} gates fail."
        )
    if not passed:
        context.exit(NOT_MET)
