"""Settings of the HTTP interface, apart from it: every command reads settings, few serve HTTP."""

import ipaddress
from typing import Annotated, Final

from msgspec import Meta, Struct

PORT: Final = 8415


class HttpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP interface of `tapewatch serve`.

    It listens on this machine only. `port` 0 is a free one. `token_file` holds the token that
    changes need, at least 128 bits, readable by nobody else; by default one is made in the
    session's folder. Another `host` needs such a file, and `behind_tls_proxy`, because a token in
    the open is none; every route asks for it then. `hosts` are further names under which a proxy
    may ask for us.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = PORT
    token_file: str = ""
    hosts: Annotated[tuple[str, ...], Meta(max_length=100)] = ()
    behind_tls_proxy: bool = False

    @property
    def local(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:  # a name
            return False
