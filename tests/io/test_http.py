"""The HTTP client against a real server on loopback."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from tapewatch.io.http import TIMEOUT_S, Http
from tapewatch.io.reach import proxy_for, unreachable
from tapewatch.model import limits
from tapewatch.model.errors import Retryable
from tapewatch.testing.virtual_time import run

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[str, Http]]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    http = Http()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", http
    finally:
        await http.close()
        await runner.cleanup()


def fail(answer: Answer) -> Retryable:
    """What one request says when the server answers like this."""

    async def scenario() -> Retryable:
        async with serving(answer) as (url, http):
            with pytest.raises(Retryable) as caught:
                await http.get(url, name="kraken")
            return caught.value

    return run(scenario())


def test_bodies_come_back_verbatim_also_errors_inside_200() -> None:
    body = b'{"error":["EService:Unavailable"],"x":"\xff"}'

    async def answer(request: web.Request) -> web.Response:
        assert request.query_string == "pair=XBTUSD&since=1"
        return web.Response(body=body, content_type="application/json")

    async def scenario() -> bytes:
        async with serving(answer) as (url, http):
            return await http.get(url + "0/public/Trades?pair=XBTUSD&since=1")

    assert run(scenario()) == body


def test_one_request_a_second_and_host() -> None:
    asked: list[float] = []

    async def answer(_: web.Request) -> web.Response:
        asked.append(asyncio.get_running_loop().time())
        return web.Response(text="[]")

    async def scenario() -> int:
        async with serving(answer) as (url, http):
            await asyncio.gather(*(http.get(url) for _ in range(5)))
            return http.requests

    assert run(scenario()) == 5
    assert [round(at - asked[0], 3) for at in asked] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("status", "header", "text", "wait_s"),
    [
        (403, None, "Kraken answers 403 from this network. Your region or provider may be", 30),
        (429, "45", "Kraken answers 429 from this network. Your region or provider may be", 45),
        (429, "Fri, 31 Dec 2027 23:59:59 GMT", "Kraken answers 429 from this network.", 30),
        (500, None, "Kraken is down or overloaded (500).", None),
        (503, "7", "Kraken is down or overloaded (503).", 7),
        (520, None, "Kraken is down behind its edge (520).", 30),
        (404, None, "Kraken answers 404 instead of data.", None),
    ],
)
def test_other_answers(status: int, header: str | None, text: str, wait_s: float | None) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": header} if header else None)

    error = fail(answer)
    assert str(error).startswith(text)
    assert error.retry_after_s == wait_s


def test_retry_after_is_honoured_without_another_request() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "60"})

    async def scenario() -> tuple[list[str], int]:
        said = []
        async with serving(answer) as (url, http):
            for pause in (0, 20, 39, 2):
                await asyncio.sleep(pause)
                with pytest.raises(Retryable) as caught:
                    await http.get(url, name="kraken")
                said.append(str(caught.value).split(";")[0].split(" from")[0])
            return said, http.requests

    said, requests = run(scenario())
    assert requests == 2
    assert said[0] == said[3] == "Kraken answers 429"
    assert all(text.endswith("asked us to wait") for text in said[1:3])


def test_web_pages_are_not_data() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<html>maintenance</html>", content_type="text/html")

    assert str(fail(answer)) == "Kraken answers with a web page, not with data."


def test_redirects_are_not_followed() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    assert str(fail(answer)) == "Kraken answers 302 instead of data."
    assert asked == ["/"]


@pytest.mark.parametrize("compressed", [False, True])
def test_oversize_bodies_are_refused_also_compressed(*, compressed: bool) -> None:
    async def answer(_: web.Request) -> web.Response:
        response = web.Response(body=bytes(limits.FRAME_BYTES + 1))
        if compressed:
            response.enable_compression(web.ContentCoding.gzip)
        return response

    assert str(fail(answer)) == "Kraken sent more than 1,048,576 bytes in one answer."


def test_a_mute_server_is_given_up() -> None:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    async def scenario() -> tuple[str, float]:
        async with serving(answer) as (url, http):
            with pytest.raises(Retryable) as caught:
                await http.get(url)
            return str(caught.value), asyncio.get_running_loop().time()

    text, waited = run(scenario())
    assert "(no answer within 8 s)" in text
    assert TIMEOUT_S <= waited <= TIMEOUT_S + 1


def test_a_body_cut_short_is_an_error() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"half":')
        assert request.transport is not None
        request.transport.abort()
        return response

    assert str(fail(answer)).startswith("Cannot reach 127.0.0.1:")


def test_refused_and_unknown_hosts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def scenario(url: str) -> str:
        http = Http()
        with pytest.raises(Retryable) as caught:
            await http.get(url)
        await http.close()
        return str(caught.value)

    assert run(scenario(f"http://127.0.0.1:{port}/x?key=secret")) == (
        f"Cannot reach 127.0.0.1:{port} (connection refused). Try: tapewatch doctor."
    )
    assert run(scenario("https://api.kraken.invalid/0/public/Time")) == (
        "Cannot reach api.kraken.invalid (name lookup failed). You seem to be offline. "
        "Try: tapewatch demo (needs no network) or tapewatch doctor."
    )


def test_pace_is_remembered_for_a_bounded_number_of_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_HOSTS", 2)

    async def scenario() -> int:
        http = Http()
        for number in range(5):
            with pytest.raises(Retryable):
                await http.get(f"http://127.0.0.{number + 1}:9/")
        await http.close()
        return len(http._desks)

    assert run(scenario()) == 2


def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_for("https://api.kraken.com/0/public/Time") == "http://proxy.example:3128"
    assert proxy_for("https://inside.example/") is None
    for host in ("127.0.0.1", "127.9.9.9", "localhost", "[::1]"):
        assert proxy_for(f"http://{host}:8080/") is None


def test_a_certificate_that_is_not_trusted() -> None:
    error = ssl.SSLCertVerificationError(1, "long text of the library")
    error.verify_message = "certificate has expired"
    assert str(unreachable("wss://ws.kraken.com/v2", error, 1.0)) == (
        "Cannot reach ws.kraken.com (its certificate is not trusted: certificate has expired). "
        "Try: tapewatch doctor."
    )


def test_causes_never_show_credentials_or_control_characters() -> None:
    text = str(unreachable("https://user:pw@host.example/", OSError(5, "bad\x1b[31m"), 1.0))
    assert text == "Cannot reach host.example (bad·[31m). Try: tapewatch doctor."
