"""The HTTP gate against real servers: answers, no answers, and answers of somebody else.

Against tapewatch's own interface it is tested in `tests/app/test_http_api.py`.
"""

import asyncio
import contextlib
import json
import pathlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
from aiohttp import web

from tapewatch.gate import Advice, HttpGate
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_S
from tapewatch.sdk.shadow_log import ShadowLog
from tapewatch.testing import virtual_time

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
GUARD_S = 30.0


class Fixed:
    """A clock far from the server's."""

    def now_ns(self) -> int:
        return 1_000 * NS_PER_S


def advice(**changes: object) -> Advice:
    base = {"market": "m", "action": "allow", "at_ns": 5_000 * NS_PER_S}
    return msgspec.convert({"expires_at_ns": 5_010 * NS_PER_S, **base, **changes}, Advice)


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def asked(answer: Answer, *, times: int = 1, timeout_s: float = GUARD_S) -> list[Advice]:
    async def scenario() -> list[Advice]:
        async with (
            serving(answer) as url,
            HttpGate(url, timeout_s=timeout_s, clock=Fixed()) as gate,
        ):
            return [await gate.ask("polymarket:0x1/NO") for _ in range(times)]

    return asyncio.run(scenario())


def body(data: bytes, status: int = 200) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=data, status=status, headers={"Location": "/elsewhere"})

    return answer


def test_an_answer_is_passed_on_with_its_times_on_the_clock_of_the_caller() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.raw_path == "/v1/gate/polymarket:0x1%2FNO"
        return web.Response(body=msgspec.json.encode(advice(action="block", reason="price_jump")))

    (told,) = asked(answer)
    assert (told.action, told.reason) == ("block", "price_jump")
    assert (told.at_ns, told.expires_at_ns) == (1_000 * NS_PER_S, 1_010 * NS_PER_S)


@pytest.mark.parametrize(
    "answer",
    [
        body(b"", 200),
        body(b"{]"),
        body(b"[" * 10_000),
        body(b'{"market": "m", "action": "buy", "at_ns": 1, "expires_at_ns": 2}'),
        body(b'{"action": "allow"}'),
        body(b"x" * (limits.ADVICE_BYTES + 1)),
        body(msgspec.json.encode(advice()), 302),
        body(msgspec.json.encode(advice()), 401),
        body(msgspec.json.encode(advice()), 503),
    ],
)
def test_what_is_no_answer_is_the_safe_side(answer: Answer) -> None:
    (told,) = asked(answer)
    assert (told.action, told.reason) == ("block", Reason.SERVICE_SILENT)
    assert told.detail
    assert told.expires_at_ns == told.at_ns + NS_PER_S


def test_no_service_is_the_safe_side_whatever_that_is() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"  # bound, and not listening
        for side in ("block", "widen", "allow"):
            with HttpGate(url, safe_side=side, timeout_s=GUARD_S) as gate:  # type: ignore[arg-type]
                assert gate.check("m").action == side
                assert (gate.failed, gate.trouble.count("refused")) == (1, 1)


@pytest.mark.parametrize("dripping", [True, False])
def test_an_answer_that_does_not_come_is_not_waited_for(*, dripping: bool) -> None:
    """In virtual time: a second of the service is none of ours."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if dripping:
            await response.prepare(request)
        for _ in range(1_000):
            await asyncio.sleep(0.1)
            if dripping:
                await response.write(b" ")
        return response

    async def scenario() -> tuple[Advice, float]:
        loop = asyncio.get_running_loop()
        async with serving(answer) as url, HttpGate(url) as gate:
            began = loop.time()
            return await gate.ask("m"), loop.time() - began

    told, took_s = virtual_time.run(scenario())
    assert (told.action, told.reason) == ("block", Reason.SERVICE_SILENT)
    assert took_s < 1.0


def test_the_death_of_a_service_on_trial_stops_nobody() -> None:
    answers = [msgspec.json.encode(advice(mode="shadow_only")), b"gone"]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=answers.pop(0))

    _, gone = asked(answer, times=2)
    assert (gone.action, gone.shadow, gone.mode) == ("allow", "block", "shadow_only")


def test_a_caller_without_an_event_loop_asks_the_same() -> None:
    async def scenario() -> None:
        async with serving(body(msgspec.json.encode(advice(action="widen")))) as url:

            def strategy() -> list[str]:
                with HttpGate(url, timeout_s=GUARD_S) as gate:
                    return [gate.check("m").action for _ in range(3)]

            assert await asyncio.to_thread(strategy) == ["widen"] * 3

    asyncio.run(scenario())


def test_the_token_is_sent_and_not_in_the_open() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer abc"
        return web.Response(body=msgspec.json.encode(advice()))

    async def scenario() -> Advice:
        async with serving(answer) as url, HttpGate(url, token="abc", timeout_s=GUARD_S) as gate:
            return await gate.ask("m")

    assert asyncio.run(scenario()).action == "allow"
    HttpGate("https://gate.example", token="abc")
    with pytest.raises(ConfigError, match="https"):
        HttpGate("http://gate.example", token="abc")


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1", "ftp://x", "http://", "http://u:p@x", "http://x?y"]
)
def test_an_address_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        HttpGate(url)


def block(second: float, evidence: str = "a") -> Advice:
    at = int(second * NS_PER_S)
    return advice(
        action="allow",
        shadow="block",
        reason="r",
        evidence=evidence,
        at_ns=at,
        expires_at_ns=at + 1,
    )


def lines(path: pathlib.Path) -> list[tuple[str, int]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["advice"]["evidence"], line["asks"]) for line in found]


def test_the_shadow_log_has_what_was_or_would_have_been_and_counts_every_ask(
    tmp_path: pathlib.Path,
) -> None:
    log = ShadowLog(tmp_path / "new" / "shadow.ndjson")
    log.write(advice())
    for tenth in range(25):
        log.write(block(tenth / 10))
    log.write(block(2.5, "b"))
    log.write(block(2.6, "b"))
    log.close()
    assert lines(log.path) == [("a", 1), ("a", 10), ("a", 10), ("a", 4), ("b", 1), ("b", 1)]
    assert log.path.stat().st_mode & 0o077 == 0


def test_the_shadow_log_is_bounded(tmp_path: pathlib.Path) -> None:
    log = ShadowLog(tmp_path / "shadow.ndjson", most_bytes=2_000)
    for second in range(100):
        log.write(block(second))
    log.close()
    assert {path.name for path in tmp_path.iterdir()} == {"shadow.ndjson", "shadow.ndjson.1"}
    assert all(path.stat().st_size <= 2_000 for path in tmp_path.iterdir())


def test_a_disk_that_refuses_the_shadow_log_stops_no_answer(tmp_path: pathlib.Path) -> None:
    log = ShadowLog(tmp_path / "shadow.ndjson", most_bytes=10)
    (tmp_path / "shadow.ndjson.1").mkdir()  # it cannot be rotated
    log.write(block(1))
    log.write(block(3))
    assert log.lost == 2
    log.close()


def test_a_shadow_log_that_cannot_be_opened_is_the_users_to_mend(tmp_path: pathlib.Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot write"):
        ShadowLog(tmp_path / "link")
