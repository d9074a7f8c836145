"""`tapewatch killswitch`: the operator's hand on the file that `io.control` watches."""

import asyncio
import getpass

import click

from tapewatch.app.cli import output
from tapewatch.io import control
from tapewatch.io.clock import SystemClock
from tapewatch.io.control_switches import KillSwitches, KillSwitchSettings
from tapewatch.model.inputs import Command
from tapewatch.model.text import clean
from tapewatch.model.time import format_rfc3339

_REASON = click.option("--reason", default="", help="Why; recorded with the switch.")


@click.group()
def killswitch() -> None:
    """Stop all alerts and reports of every session; detection and recording go on."""


@killswitch.command()
@_REASON
def on(*, reason: str) -> None:
    """Nothing goes out any more."""
    _set("on", reason)


@killswitch.command()
@_REASON
def off(*, reason: str) -> None:
    """Alerts and reports go out again."""
    _set("off", reason)


@killswitch.command()
@output.JSON
def status(*, as_json: bool) -> None:
    """Is it on, since when, and why; in every place that the settings name."""
    shell = output.current()
    settings = shell.load().config.kill_switch
    path = settings.path
    if settings.url or settings.redis_url or settings.bus_url:
        _places(settings, as_json=as_json)
        return
    order = control.read(path)
    state = "unknown" if order is None else "on" if order.active else "off"
    if as_json:
        said = (
            {}
            if order is None
            else {"actor": order.actor, "reason": order.reason, "at_ns": order.at_ns}
        )
        shell.put(output.json_line("killswitch", state=state, file=str(path), **said))
        return
    text = "unknown: the file cannot be read, which counts as on" if order is None else state
    if order is not None and order.at_ns:
        text += f" since {format_rfc3339(order.at_ns, 0)} by {clean(order.actor, 60)}"
        text += f": {clean(order.reason)}" if order.reason else ""
    shell.put(text)
    shell.say(str(path))


def _places(settings: KillSwitchSettings, *, as_json: bool) -> None:
    shell = output.current()
    state, places = asyncio.run(_looked(settings))
    if as_json:
        said = [{"place": place, "state": word, "why": why} for place, word, why in places]
        shell.put(output.json_line("killswitch", state=state, places=said))
        return
    shell.put(state)
    for line in output.columns(places):
        shell.put(f"  {line}")


async def _looked(
    settings: KillSwitchSettings,
) -> tuple[control.Switch, list[tuple[str, str, str]]]:
    """What a session that began now would see."""

    async def ignore(_: Command) -> None:
        """Nobody is listening."""

    switches = KillSwitches(settings, SystemClock(), ignore)
    await switches.poll()
    await switches.close()
    return switches.state, [(place, word, why) for place, word, why in switches.places()]


def _set(state: control.Switch, reason: str) -> None:
    assert state != "unknown"
    shell = output.current()
    path = shell.load().config.kill_switch.path
    now = SystemClock().now_ns()
    control.write(path, state, actor=_user(), reason=reason, now_ns=now)
    effect = "no alert and no report goes out" if state == "on" else "alerts and reports go out"
    shell.say(
        f"The kill switch is {state}: {effect}, within a second, in every session that reads {path}"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this user id, as in many containers
        return "unknown user"
