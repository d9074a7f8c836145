"""`tapewatch gate`: what a strategy would be told by a running service."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

import click
import msgspec

from tapewatch.app.cli import output
from tapewatch.gate.advice import Advice
from tapewatch.io.http import Http
from tapewatch.io.reach import host_of
from tapewatch.model.errors import Retryable
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S, clock_text
from tapewatch.sdk.http_gate import URL, HttpGate

BLOCKED: Final = 3  # exit code: a gate was not met
UNREACHED: Final = 69
LINE: Final = 400  # characters for people
TIMEOUT_S: Final = 2.0  # people can wait longer than strategies

_URL = click.option("--url", default=URL, show_default=True, help="Address of the service.")


class _Standing(msgspec.Struct):
    markets: list[Advice]
    more: int = 0


@click.group()
def gate() -> None:
    """May a strategy enter a market? Asks a running tapewatch serve."""


@gate.command()
@click.argument("market")
@_URL
@output.JSON
@click.pass_context
def check(context: click.Context, *, market: str, url: str, as_json: bool) -> None:
    """Advice for one MARKET: a slug, a condition id or an instrument.

    Exit code 0: allow or widen, 3: block, 69: no answer (the advice is the safe side then).
    """
    shell = output.current()

    async def ask() -> tuple[Advice, str]:
        async with HttpGate(url, timeout_s=TIMEOUT_S) as client:
            return await client.ask(market), client.trouble

    advice, trouble = asyncio.run(ask())
    shell.put(msgspec.json.encode(advice).decode() if as_json else line(advice))
    if trouble:
        shell.complain(trouble)
        context.exit(UNREACHED)
    if advice.action == "block":
        context.exit(BLOCKED)


@gate.command()
@_URL
@click.option(
    "--every",
    type=click.FloatRange(1.0, 3600.0),
    default=1.0,
    show_default=True,
    help="Seconds between two looks; one a second at most.",
)
@click.option("--once", is_flag=True, help="What stands now, and no more.")
@output.JSON
def watch(*, url: str, every: float, once: bool, as_json: bool) -> None:
    """Follow what the gate holds back, or would in another mode, until Ctrl+C."""
    shell = output.current()

    def tell(advice: Advice) -> None:
        shell.put(msgspec.json.encode(advice).decode() if as_json else line(advice))

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_follow(url, every, tell, once=once))


async def _follow(url: str, every_s: float, tell: Callable[[Advice], None], *, once: bool) -> None:
    shown: Mapping[str, tuple[str, str, str]] = {}
    http, left = Http(), 1 if once else -1
    try:
        while left:
            left -= 1
            found = msgspec.json.decode(await http.get(f"{url}/v1/gate"), type=_Standing)
            now = {one.market: (one.judged, one.reason, one.evidence) for one in found.markets}
            for one in found.markets:
                if shown.get(one.market) != now[one.market]:
                    tell(one)
            shown = now
            if left:
                await asyncio.sleep(every_s)
    except msgspec.DecodeError as error:
        raise Retryable(f"{host_of(url)} is no tapewatch service: {clean(str(error))}") from error
    finally:
        await http.close()


def line(advice: Advice) -> str:
    """One answer on one line for people."""
    what = f"would {advice.shadow}" if advice.shadow else advice.action
    left_s = (advice.expires_at_ns - advice.at_ns) / NS_PER_S
    score = "" if advice.score is None else f", score {advice.score:.1f}"
    age = "" if advice.data_age_s is None else f", data {advice.data_age_s:.1f} s old"
    why = f"  {advice.reason}: {advice.detail}" if advice.reason else ""
    name = advice.name or advice.market
    return clean(
        f"{clock_text(advice.at_ns)}  {what:<11} {name}  for {left_s:.0f} s{score}{age}{why}", LINE
    )
