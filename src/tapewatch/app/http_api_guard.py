"""Who may ask the HTTP interface what: the checks that stand before every route.

In this order: how much is asked at once (503), `Host` (421: a page in a browser that made its own
name point here), `Origin` and `Sec-Fetch-Site` (403: a page of somebody else), the token (401) for
whatever changes something, and for everything where others than this machine can connect; then a
POST must say that it is JSON (415), which no form can. There is no CORS. Answers are never guessed
to be something else than they say, kept, or shown in a frame.
"""

import asyncio
import hmac
import os
import secrets
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from tapewatch.app.http_settings import HttpSettings
from tapewatch.model import limits
from tapewatch.model.errors import ConfigError
from tapewatch.model.text import clean

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
TOKEN_CHARS: Final = 22  # 128 bits in base64
TOKEN_BYTES: Final = 32
TOKEN_MOST: Final = 512
REQUEST_S: Final = 5.0  # one request from its headers to its answer
IDLE_S: Final = 15  # a connection that asks nothing is closed; the time to send headers, too
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "tapewatch",
}
OPEN: Final = frozenset({"none", "same-origin"})  # `Sec-Fetch-Site` of what nobody else made

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def check(settings: HttpSettings) -> None:
    """Raises `ConfigError` for a combination that would leave the interface open."""
    if settings.local:
        return
    where = f"http.host = {clean(settings.host, 60)} can be reached by others"
    if not settings.token_file:
        raise ConfigError(f"{where}; set http.token_file, or leave it at 127.0.0.1")
    if not settings.behind_tls_proxy:
        raise ConfigError(
            f"{where}, and a token in the open is none; put a proxy with TLS before it and set "
            "http.behind_tls_proxy = true"
        )


def token_of(settings: HttpSettings, folder: Path) -> str:
    """The token; a new one, in `<folder>/http.token`, where the user names no file.

    Raises `ConfigError` for one that is short, or that others may read.
    """
    path = Path(settings.token_file).expanduser() if settings.token_file else folder / "http.token"
    try:
        if not settings.token_file and not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise ConfigError(f"cannot use the token {clean(str(path))}: {error.strerror}") from error


def _make(path: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123  Path cannot refuse links
        file.write(f"{secrets.token_urlsafe(TOKEN_BYTES)}\n")


def _read(path: Path) -> str:
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode) or about.st_mode & 0o077:
            raise ConfigError(f"{clean(str(path))} must be readable by its owner alone: chmod 600")
        token = os.read(file, TOKEN_MOST).strip().decode("ascii", "replace")
    finally:
        os.close(file)
    if len(token) < TOKEN_CHARS or len(set(token)) < TOKEN_CHARS // 3 or not token.isprintable():
        raise ConfigError(f"the token in {clean(str(path))} is weak: 128 bits of chance or more")
    return token


class Guard:
    """The checks, as the middleware of an application. `refused` counts by status."""

    def __init__(self, settings: HttpSettings, token: str) -> None:
        self.refused: dict[int, int] = {}
        self._local = settings.local
        own = () if settings.local else (settings.host.lower(),)
        self._hosts = frozenset((*LOOPBACK, *own, *map(str.lower, settings.hosts)))
        self._token = token.encode()
        self._room = asyncio.Semaphore(limits.HTTP_REQUESTS)

    @web.middleware
    async def stand(self, request: web.Request, handler: Answer) -> web.StreamResponse:
        """The middleware."""
        status, why = self._objection(request)
        if status:
            return self._refuse(status, why)
        if self._room.locked():
            return self._refuse(503, "too many requests at once")
        async with self._room:
            try:
                async with asyncio.timeout(REQUEST_S):
                    response = await handler(request)
            except TimeoutError:
                return self._refuse(503, "the request took too long")
            except web.HTTPException as error:
                return self._refuse(error.status, clean(error.text or error.reason), error.headers)
        response.headers.update(HEADERS)
        return response

    def _objection(self, request: web.Request) -> tuple[int, str]:
        """The first thing that speaks against a request; status 0 when nothing does."""
        hosts = request.headers.getall("Host", [])
        absolute = not request.raw_path.startswith("/")  # a target that names another host
        if absolute or len(hosts) != 1 or _bare(hosts[0]) not in self._hosts:
            return 421, "not a name of this service"
        if not self._same_origin(request):
            return 403, "not from pages of others"
        changes = request.method not in ("GET", "HEAD")
        if (changes or not self._local) and not self._known(request):
            return 401, "a token is needed: Authorization: Bearer ..."
        if changes and request.content_type != "application/json":
            return 415, "send application/json"
        return 0, ""

    def _same_origin(self, request: web.Request) -> bool:
        site = request.headers.getall("Sec-Fetch-Site", ["none"])
        if not OPEN.issuperset(site):
            return False
        for origin in request.headers.getall("Origin", []):
            scheme, separator, host = origin.partition("://")
            if scheme not in ("http", "https") or not separator:
                return False
            if host.lower() != request.headers["Host"].lower():
                return False
        return True

    def _known(self, request: web.Request) -> bool:
        said = request.headers.getall("Authorization", [])
        scheme, _, token = (said[0] if len(said) == 1 else "").partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, self._token) and scheme.lower() == "bearer"

    def _refuse(self, status: int, why: str, said: Mapping[str, str] | None = None) -> web.Response:
        self.refused[status] = self.refused.get(status, 0) + 1
        headers = HEADERS | ({"WWW-Authenticate": "Bearer"} if status == 401 else {})
        if said is not None and "Allow" in said:
            headers["Allow"] = said["Allow"]
        return json_response({"error": why}, status=status, headers=headers)


def json_response(
    body: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """`body` as JSON."""
    return web.Response(
        body=msgspec.json.encode(body) + b"\n",
        status=status,
        headers=headers,
        content_type="application/json",
    )


def _bare(host: str) -> str:
    """A `Host` without its port, in lower case; empty if it is none."""
    name, separator, port = host.lower().rpartition(":")
    if separator and not host.endswith("]"):
        return name if port.isascii() and port.isdigit() else ""
    return host.lower()
