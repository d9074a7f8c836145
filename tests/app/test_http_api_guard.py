"""To whom the HTTP interface says nothing: hosts, origins, tokens, floods and dawdlers."""

import asyncio
import pathlib
import stat
from typing import Any

import aiohttp
import pytest
from api_kit import SLUG, World, post, raw, said, status, with_api

from tapewatch.app.http_api_guard import check
from tapewatch.app.http_settings import HttpSettings
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError
from tapewatch.testing import virtual_time

HOSTS = ["rebind.evil.example", "127.0.0.1.evil.example", "127.0.0.1:8415@evil", "", "[::2]", "0"]
ORIGINS = ["http://evil.example", "null", "http://127.0.0.1:1", "file://", "https://localhost", "x"]
TOKENS = ["", "Bearer", "Bearer wrong", "Basic {}", "Bearer {}x", "Bearer \xff", "{}"]
JSON = ("Content-Type", "application/json")


async def every(world: World, url: str) -> list[tuple[str, str]]:
    """Method and path of every route, from the routes themselves."""
    found = []
    for route in world.running.routes():
        path = route.path.partition("{")[0] + (SLUG if "{" in route.path else "")
        found.append((route.method, path))
    assert len(found) == 10
    return found


def test_every_route_refuses_every_strange_host_origin_and_site(tmp_path: pathlib.Path) -> None:
    async def job(world: World, _: aiohttp.ClientSession, url: str) -> None:
        own = ("Host", url.removeprefix("http://"))
        known = ("Authorization", f"Bearer {world.token}")
        for method, path in await every(world, url):
            for host in HOSTS:
                headers = [("Host", host), known, JSON]
                assert await status(url, method, path, headers) == 421, (method, path, host)
            assert await status(url, method, path, [own, own, known, JSON]) in (400, 421)
            away = f"http://evil.example{path}"
            assert await status(url, method, away, [own, known, JSON]) == 421
            for origin in ORIGINS:
                headers = [own, ("Origin", origin), known, JSON]
                assert await status(url, method, path, headers) == 403, (method, path, origin)
            for site in ("cross-site", "same-site", "what"):
                headers = [own, ("Sec-Fetch-Site", site), known, JSON]
                assert await status(url, method, path, headers) == 403
            if method == "GET":
                fine = [own, ("Origin", url), ("Sec-Fetch-Site", "same-origin")]
                assert await status(url, method, path, fine) == 200, path

    assert not with_api(tmp_path, job).kill_switch.exists()


def test_nothing_is_changed_without_the_token_or_from_a_form(tmp_path: pathlib.Path) -> None:
    async def job(world: World, _: aiohttp.ClientSession, url: str) -> None:
        own = ("Host", url.removeprefix("http://"))
        changing = [item for item in await every(world, url) if item[0] != "GET"]
        assert len(changing) == 2
        for method, path in changing:
            for form in TOKENS:
                headers = [own, ("Authorization", form.format(world.token)), JSON]
                assert await status(url, method, path, headers) == 401, form
            assert await status(url, method, path, [own, JSON]) == 401
            known = ("Authorization", f"Bearer {world.token}")
            assert await status(url, method, path, [own, known, known, JSON]) in (400, 401)
            for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
                headers = [own, known, ("Content-Type", kind)]
                assert await status(url, method, path, headers) == 415
            assert await status(url, method, path, [own, known, JSON]) == 400  # nearer to it

    world = with_api(tmp_path, job)
    assert not world.commands
    assert not world.kill_switch.exists()


def test_other_methods_are_not_allowed_even_with_the_token(tmp_path: pathlib.Path) -> None:
    async def job(world: World, _: aiohttp.ClientSession, url: str) -> None:
        own = ("Host", url.removeprefix("http://"))
        known = ("Authorization", f"Bearer {world.token}")
        paths = {path for _, path in await every(world, url)}
        for path in paths:
            for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
                assert await status(url, method, path, [own, known, JSON]) == 405

    with_api(tmp_path, job)


def test_where_others_can_connect_every_route_wants_the_token(tmp_path: pathlib.Path) -> None:
    token = tmp_path / "token"
    token.write_text("k7Gq2Zt9xWmB4nVc8LsE1a\n")
    token.chmod(0o600)
    open_to_others = {"host": "0.0.0.0", "token_file": str(token), "behind_tls_proxy": True}

    async def job(world: World, _: aiohttp.ClientSession, url: str) -> None:
        here = url.replace("0.0.0.0", "127.0.0.1")
        own = ("Host", "gate.example")
        known = ("Authorization", "Bearer k7Gq2Zt9xWmB4nVc8LsE1a")
        for method, path in await every(world, url):
            assert await status(here, method, path, [own]) == 401
            if method == "GET":
                assert await status(here, method, path, [own, known]) == 200
        assert await status(here, "GET", "/healthz", [("Host", "other.example"), known]) == 421

    with_api(tmp_path, job, hosts=("gate.example",), **open_to_others)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_it_does_not_start_open_to_others_without_a_token_and_tls(host: str) -> None:
    with pytest.raises(ConfigError, match="token_file"):
        check(HttpSettings(host=host))
    with pytest.raises(ConfigError, match="behind_tls_proxy"):
        check(HttpSettings(host=host, token_file="t"))
    check(HttpSettings(host=host, token_file="t", behind_tls_proxy=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_this_machine_needs_neither(host: str) -> None:
    check(HttpSettings(host=host))


def test_the_token_is_made_once_and_nobody_else_can_read_it(tmp_path: pathlib.Path) -> None:
    async def job(world: World, *_: Any) -> None:
        assert len(world.token) >= 43

    path = with_api(tmp_path, job).folder / "http.token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = path.read_text()
    with_api(tmp_path, job)
    assert path.read_text() == first


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("k7Gq2Zt9xWmB4nVc8LsE1a", 0o640, "chmod 600"),
        ("k7Gq2Zt9xWmB4nVc8LsE1a", 0o604, "chmod 600"),
        ("short", 0o600, "weak"),
        ("a" * 64, 0o600, "weak"),
        ("", 0o600, "weak"),
    ],
)
def test_a_token_that_protects_nothing_is_refused(
    tmp_path: pathlib.Path, text: str, mode: int, words: str
) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)

    async def job(*_: Any) -> None: ...

    with pytest.raises(ConfigError, match=words) as caught:
        with_api(tmp_path, job, token_file=str(path))
    assert not text or text not in str(caught.value)


def test_a_token_that_is_a_link_to_somewhere_is_not_written_through(
    tmp_path: pathlib.Path,
) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / "http.token").symlink_to(target)

    async def job(*_: Any) -> None: ...

    with pytest.raises(ConfigError, match="token"):
        with_api(tmp_path, job)
    assert not target.exists()


def test_too_many_connections_are_closed_and_those_before_go_on(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HTTP_CONNECTIONS", 3)

    async def job(_: World, client: aiohttp.ClientSession, url: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        assert (await said(client, f"{url}/healthz"))[0] == 200  # keeps its connection
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        assert await raw(url, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
        assert (await said(client, f"{url}/healthz"))[0] == 200
        for _, writer in idle:
            writer.close()

    with_api(tmp_path, job)


def test_too_many_requests_at_once_are_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HTTP_REQUESTS", 1)

    async def job(world: World, client: aiohttp.ClientSession, url: str) -> None:
        world.stuck = True
        reset = post(client, f"{url}/v1/baseline/reset", world.token, b'{"market": "will-it-rain"}')
        slow = asyncio.create_task(reset)
        await world.entered.wait()
        assert (await said(client, f"{url}/healthz"))[0] == 503
        slow.cancel()

    with_api(tmp_path, job)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: loc",
        (
            b"POST /v1/killswitch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer TOKEN\r\nContent-Length: 100\r\n\r\n{"
        ),
    ],
)
def test_a_client_that_dawdles_is_let_go(tmp_path: pathlib.Path, start: bytes) -> None:
    """In virtual time: the deadlines are real, the waiting is not."""
    world = World(tmp_path)

    async def scenario() -> bytes:
        async with world.serving() as url:
            host, _, port = url.removeprefix("http://").rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(start.replace(b"TOKEN", world.token.encode()))
            async with asyncio.timeout(60):
                answer = await reader.read()
            writer.close()
            return answer

    answer = virtual_time.run(scenario())
    assert not answer or b" 503 " in answer or b" 408 " in answer


def test_rubbish_on_the_wire_is_answered_and_survived(tmp_path: pathlib.Path) -> None:
    async def job(_: World, client: aiohttp.ClientSession, url: str) -> None:
        for request in (
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 10_000 + b"\r\n\r\n",
            b"GET /" + b"z" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nBad header\r\n\r\n",
        ):
            assert b" 400 " in (await raw(url, request)).partition(b"\r\n")[0]
        assert b" 421 " in await raw(url, b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await said(client, f"{url}/healthz"))[0] == 200

    with_api(tmp_path, job)
