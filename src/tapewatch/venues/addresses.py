"""Addresses of venues in settings."""

from typing import Final
from urllib.parse import urlsplit

from tapewatch.model.errors import ConfigError
from tapewatch.model.text import clean

SHOWN: Final = 60  # characters of a bad address in an error


def check_url(name: str, url: str, schemes: tuple[str, ...], shown: int = SHOWN) -> None:
    """Raises `ConfigError` for an address that nobody can connect to. Of one that may hold a key
    only the first `shown` characters are told."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")  # what a name goes through to be resolved: no empty or endless labels
        valid = parts.scheme in schemes and host and parts.port != 0 and url.isprintable()
    except ValueError:
        valid = False
    if not valid or " " in url:
        forms = " or ".join(f"{scheme}://host" for scheme in schemes)
        raise ConfigError(f'{name} = "{clean(url, shown)}" is no address; write {forms}')
