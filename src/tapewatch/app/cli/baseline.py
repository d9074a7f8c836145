"""`tapewatch baseline`: begin a market's baseline anew, and look at it.

A running service is asked over HTTP; or the key is deleted from Redis, which every session that
mirrors its baselines there takes for the same order.
"""

import asyncio
import pathlib
from typing import TYPE_CHECKING, Final

import click

from tapewatch.app.cli import output
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError, Retryable
from tapewatch.model.text import clean
from tapewatch.sdk.http_gate import URL

if TYPE_CHECKING:
    from tapewatch.io.redis_state_client import RedisBaselines

TIMEOUT_S: Final = 5.0
TOKEN_FILE: Final = "http.token"  # noqa: S105  a file's name, in the service's session folder


@click.group()
def baseline() -> None:
    """What is usual for a market: reset it, or show what Redis has of it."""


@baseline.command()
@click.argument("market")
@click.option("--url", default=URL, show_default=True, help="Address of the service.")
@click.option(
    "--token-file",
    type=click.Path(path_type=pathlib.Path),
    help="The service's token; else that of its session, by the settings.",
)
@click.option("--redis", "in_redis", is_flag=True, help="Delete the key in Redis instead.")
def reset(*, market: str, url: str, token_file: pathlib.Path | None, in_redis: bool) -> None:
    """Forget what was usual for MARKET: a condition id, an instrument, or (not in Redis) a slug.

    After a known break, such as news that move a market for good. The next cycles make a new
    baseline; until it is populated the market is not judged.
    """
    shell = output.current()
    if in_redis:
        redis, instrument = _redis(), _instrument(market)
        try:
            there = bool(redis.show(instrument))
            redis.drop([instrument])
        finally:
            redis.close()
        if not there:
            raise ConfigError(f"Redis has no baseline of {instrument}")
        shell.say(f"The baseline of {instrument} is deleted; sessions forget it within seconds.")
        return
    text = asyncio.run(_post(url.rstrip("/"), market, _token(token_file)))
    shell.say(f"The baseline is reset: {text}.")


@baseline.command()
@click.argument("market")
@output.JSON
def show(*, market: str, as_json: bool) -> None:
    """Show what Redis has of MARKET, a condition id or an instrument."""
    shell = output.current()
    redis, instrument = _redis(), _instrument(market)
    try:
        found = redis.show(instrument)
    finally:
        redis.close()
    if not found:
        raise ConfigError(f"Redis has no baseline of {instrument}")
    if as_json:
        shell.put(output.json_line("baseline", instrument=instrument, **found))
        return
    for line in output.columns(found.items()):
        shell.put(line)


def _instrument(market: str) -> str:
    """The id that is meant; a bare condition id is one of Polymarket."""
    from tapewatch.io.redis_state_client import POLYMARKET  # noqa: PLC0415  --help must not pay

    text = clean(market.strip())
    if not text:
        raise ConfigError("name a market")
    return text if ":" in text else POLYMARKET + text.lower()


def _redis() -> "RedisBaselines":
    from tapewatch.io.redis_state_client import RedisBaselines  # noqa: PLC0415  see above

    settings = output.current().load().config.redis
    if not settings.url:
        raise ConfigError("no Redis is configured: set redis.url")
    return RedisBaselines(settings.url, settings.ttl_s, settings.timeout_s)


def _token(file: pathlib.Path | None) -> str:
    """What the service of this machine wants to be shown, from where it keeps it."""
    from tapewatch.app.session import folders  # noqa: PLC0415  see above

    if file is None:
        config = output.current().load().config
        kept = (
            folder / TOKEN_FILE
            for folder in folders(pathlib.Path(config.session.dir))
            if (folder / TOKEN_FILE).exists()
        )
        given = config.http.token_file
        file = pathlib.Path(given).expanduser() if given else next(kept, None)
    if file is None:
        raise ConfigError("no session here has a token; name its --token-file")
    try:
        with file.open("rb") as opened:
            return opened.read(limits.CONTROL_BYTES).strip().decode("ascii", "replace")
    except OSError as error:
        raise ConfigError(f"cannot read {clean(str(file))}: {error.strerror}") from error


async def _post(url: str, market: str, token: str) -> str:
    """The instruments that were reset. Raises `ConfigError` for what the service refuses."""
    import aiohttp  # noqa: PLC0415  half of the start-up time
    import msgspec  # noqa: PLC0415

    from tapewatch.io.reach import host_of, unreachable  # noqa: PLC0415

    where = f"{url}/v1/baseline/reset"
    options = {"json": {"market": market}, "headers": {"Authorization": f"Bearer {token}"}}
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            aiohttp.ClientSession() as session,
            session.post(where, allow_redirects=False, **options) as response,  # type: ignore[arg-type]
        ):
            body = await response.content.read(limits.ADVICE_BYTES)
            if response.status >= 400:
                why = clean(body.decode("utf-8", "replace"))
                raise ConfigError(f"{host_of(url)} refuses ({response.status}): {why}")
            found = msgspec.json.decode(body, type=dict[str, object]).get("instruments")
            if not isinstance(found, list):
                raise Retryable(f"{host_of(url)} does not answer as a tapewatch service.")
            return ", ".join(clean(str(one)) for one in found)
    except aiohttp.ClientConnectorError as error:
        raise unreachable(url, error.os_error, TIMEOUT_S) from error
    except msgspec.DecodeError as error:
        raise Retryable(f"{host_of(url)} does not answer as a tapewatch service.") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise unreachable(url, error, TIMEOUT_S) from error
