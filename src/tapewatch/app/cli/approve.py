"""`tapewatch approve`: allow a locked setting below its minimum, with name and reason."""

import pathlib
from typing import TYPE_CHECKING

import click

from tapewatch.app.cli import output
from tapewatch.model.errors import ConfigError

if TYPE_CHECKING:
    from tapewatch.app.approvals import Approvals


@click.command()
@click.argument("setting", required=False, metavar="[SETTING=VALUE]")
@click.option("--by", default="", help="Who allows it.")
@click.option("--reason", default="", help="Why.")
@click.option("--expires", default="", help="For how long: 90m, 12h, 7d; else until revoked.")
@click.option("--revoke", metavar="ID", help="End an approval.")
@click.option("--list", "show", is_flag=True, help="Show all that were ever given.")
@click.option(
    "--file", type=click.Path(path_type=pathlib.Path), help="The record, in place of the user's."
)
@output.JSON
def approve(
    *,
    setting: str | None,
    by: str,
    reason: str,
    expires: str,
    revoke: str | None,
    show: bool,
    file: pathlib.Path | None,
    as_json: bool,
) -> None:
    """Allow a locked setting below its minimum (PARAMETER_CHANGE_REQUIRES_APPROVAL).

    For instance detector.zscore.z_score_threshold=0.8. An approval is for exactly that value.
    Sessions that start later know it, and write it on their tapes.
    """
    from tapewatch.app.approvals import FILE, Approvals  # noqa: PLC0415  --help must not pay
    from tapewatch.io.clock import SystemClock  # noqa: PLC0415
    from tapewatch.model.time import parse_duration  # noqa: PLC0415

    shell = output.current()
    record = Approvals(file or pathlib.Path(FILE).expanduser())
    now_ns = SystemClock().now_ns()
    if sum((show, revoke is not None, setting is not None)) != 1:
        raise click.UsageError("Name one: SETTING=VALUE, --revoke ID, or --list")
    if show:
        _list(record, now_ns, as_json=as_json)
        return
    if not by.strip() or not reason.strip():
        raise click.UsageError("Say --by whom and --reason why")
    if revoke is not None:
        ended = record.revoke(revoke, by=by, reason=reason, now_ns=now_ns)
        shell.say(f"Approval {ended.id} is revoked: {ended.record.path} is locked again.")
        return
    assert setting is not None
    path, value = _wanted(setting)
    for_s = parse_duration(expires) if expires else 0.0
    if expires and for_s <= 0.0:
        raise ConfigError("--expires: an approval of no length allows nothing")
    given = record.approve(path, value, by=by, reason=reason, now_ns=now_ns, for_s=for_s)
    if as_json:
        shell.put(output.json_line("approval", id=given.id, path=path, value=value))
    else:
        shell.put(given.id)
    shell.say(f"{path} = {value:g} is allowed; sessions that start from now on may use it.")
    shell.say(str(record.path))


def _wanted(text: str) -> tuple[str, float]:
    """The setting under our name, and the value. Raises `ConfigError`."""
    from tapewatch.app.aliases import renamed  # noqa: PLC0415  see above
    from tapewatch.app.config import set_option  # noqa: PLC0415
    from tapewatch.model.time import parse_duration  # noqa: PLC0415

    (one,), notes = renamed([set_option(text)])
    for note in notes:
        output.current().say(f"note: {note}.")
    path = ".".join(one.path)
    if path.endswith("_s"):
        return path, parse_duration(one.value)
    try:
        return path, float(one.value)
    except ValueError as error:
        raise ConfigError(f"{path} = {str(one.value)[:40]!r} is no number") from error


def _list(record: "Approvals", now_ns: int, *, as_json: bool) -> None:
    from tapewatch.model.time import format_rfc3339  # noqa: PLC0415  see above

    shell = output.current()
    found = record.given()
    if as_json:
        for one in found:
            said = one.record
            shell.put(
                output.json_line(
                    "approval",
                    id=one.id,
                    path=said.path,
                    value=said.value,
                    standing=one.standing(now_ns),
                    by=said.by,
                    reason=said.reason,
                    at_ns=said.at_ns,
                    expires_ns=said.expires_ns,
                    ended_ns=one.ended_ns,
                )
            )
        return
    rows = [
        (
            one.id,
            one.standing(now_ns),
            f"{one.record.path} = {one.record.value:g}",
            format_rfc3339(one.record.at_ns, 0),
            one.record.by,
            one.record.reason,
        )
        for one in found
    ]
    for line in output.columns(rows):
        shell.put(line)
    if not found:
        shell.say("There are no approvals.")
