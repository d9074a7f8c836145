"""Why a host did not answer, in the user's words, and which proxy leads to it.

Shared by the websocket and the HTTP client, so that the same trouble reads the same everywhere.
"""

import errno
import ipaddress
import socket
import ssl
import urllib.parse
import urllib.request
from typing import Final

from tapewatch.model.errors import Retryable
from tapewatch.model.text import clean

THROTTLED_S: Final = 30.0  # first wait after a ban-like answer: knocking on prolongs it
RETRY_AFTER_MAX_S: Final = 600.0  # Kraken's ban is the longest known; more is a mistake or malice

# Blocked region or provider, too many requests (Cloudflare's 1015 page carries 429, its 1020 page
# 403), legal block.
BLOCKING: Final = frozenset({403, 429, 451})
EDGE_ERRORS: Final = frozenset(range(520, 526))  # Cloudflare cannot reach the venue behind it


def host_of(url: str) -> str:
    """Host of a URL, with the port where the URL names one; never its credentials."""
    return clean(urllib.parse.urlsplit(url).netloc.rpartition("@")[2])


def is_loopback(url: str) -> bool:
    """True for addresses of this machine, which no proxy can reach for us."""
    host = urllib.parse.urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def proxy_for(url: str) -> str | None:
    """The proxy that the environment asks for (`HTTPS_PROXY`, `NO_PROXY` ...), if any."""
    parts = urllib.parse.urlsplit(url)
    if is_loopback(url) or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def unreachable(url: str, error: BaseException, timeout_s: float) -> Retryable:
    """The host could not be reached at all."""
    host = host_of(url)
    if isinstance(error, socket.gaierror):
        return Retryable(
            f"Cannot reach {host} (name lookup failed). You seem to be offline. "
            "Try: tapewatch demo (needs no network) or tapewatch doctor."
        )
    return Retryable(f"Cannot reach {host} ({_cause(error, timeout_s)}). Try: tapewatch doctor.")


def _cause(error: BaseException, timeout_s: float) -> str:
    # asyncio folds the failures of several addresses into one error without a number.
    refused = f"[Errno {errno.ECONNREFUSED}]" in str(error)
    if isinstance(error, ConnectionRefusedError) or refused:
        return "connection refused"
    if isinstance(error, ssl.SSLCertVerificationError):
        return clean(f"its certificate is not trusted: {error.verify_message}")
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, OSError) and error.strerror:
        return clean(error.strerror.lower())
    return clean(str(error)) or type(error).__name__


def answered(name: str, status: int, retry_after: str | None) -> Retryable:
    """Venue `name` answered with an HTTP status that is not the one we need."""
    venue = name.capitalize()
    wait_s = _seconds(retry_after)
    if status in BLOCKING:
        return Retryable(
            f"{venue} answers {status} from this network. Your region or provider may be blocked; "
            "tapewatch will not work around that.",
            wait_s or THROTTLED_S,
        )
    if status in EDGE_ERRORS:
        return Retryable(f"{venue} is down behind its edge ({status}).", wait_s or THROTTLED_S)
    if status >= 500:
        return Retryable(f"{venue} is down or overloaded ({status}).", wait_s)
    return Retryable(f"{venue} answers {status} instead of data.", wait_s)


def _seconds(retry_after: str | None) -> float | None:
    """Value of a `Retry-After` header; the rare form with a date counts as absent."""
    text = (retry_after or "").strip()
    if not (text.isascii() and text.isdigit()):
        return None
    return min(float(text[:9]), RETRY_AFTER_MAX_S)
