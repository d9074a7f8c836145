"""`tapewatch health`: is a running service well?"""

import asyncio
from typing import Final

import click
import msgspec

from tapewatch.app.cli import output
from tapewatch.app.health import Health
from tapewatch.io.reach import host_of, unreachable
from tapewatch.model import limits
from tapewatch.model.errors import Retryable
from tapewatch.model.text import clean
from tapewatch.sdk.http_gate import URL

PATH: Final = "/internal/health/anomalydetector"
RED: Final = 1  # exit code
TIMEOUT_S: Final = 5.0


@click.command()
@click.argument("url", default=URL)
@output.JSON
@click.pass_context
def health(context: click.Context, *, url: str, as_json: bool) -> None:
    """Health of the service at URL: green, yellow or red, with reasons.

    Exit code 0: green or yellow, 1: red, 69: no answer.
    """
    shell = output.current()
    found = asyncio.run(_ask(url.rstrip("/")))
    if as_json:
        shell.put(msgspec.json.encode(found).decode())
    else:
        shell.put(found.status)
        for reason in found.reasons:
            shell.put(f"  {clean(reason)}")
    if found.status == "red":
        context.exit(RED)


async def _ask(url: str) -> Health:
    import aiohttp  # noqa: PLC0415  half of the start-up time

    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            aiohttp.ClientSession() as session,
            session.get(f"{url}{PATH}", allow_redirects=False) as response,
        ):
            body = await response.content.read(limits.ADVICE_BYTES)
            return msgspec.json.decode(body, type=Health)
    except aiohttp.ClientConnectorError as error:
        raise unreachable(url, error.os_error, TIMEOUT_S) from error
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        if isinstance(error, msgspec.DecodeError):
            raise Retryable(f"{host_of(url)} does not answer as a tapewatch service.") from error
        raise unreachable(url, error, TIMEOUT_S) from error
