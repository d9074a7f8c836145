"""The one sanitiser for text that a venue, a file or a request may have written.

Everything printed, logged or spoken passes here. Machine-readable output does not need it: JSON
escapes control characters itself.
"""

import re

from tapewatch.model.limits import TEXT_CHARS

# C0, DEL and C1 controls (terminal escapes, forged log lines), bidirectional overrides (text that
# reads differently from what it is), zero-width and other invisible format characters, line and
# paragraph separators, surrogates (unencodable), private-use tags.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)

# A user and a password before a host, and what a query calls a secret. Greedy: a password may hold
# anything, also another @ or a slash that should have been escaped.
_SECRET = re.compile(
    r"(?<=://)[^\s\"']*(?=@)|(?<=[?&]password=)[^&\s\"']+|(?<=[?&]token=)[^&\s\"']+"
)


def clean(text: str, limit: int = TEXT_CHARS) -> str:
    """`text` with every unsafe character replaced by `·` and cut to `limit` characters."""
    shown = _UNSAFE.sub("·", text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def clean_bytes(data: bytes, limit: int = TEXT_CHARS) -> str:
    """Raw bytes as safe text; undecodable bytes become U+FFFD."""
    return clean(data[: limit * 4].decode("utf-8", "replace"), limit)


def masked(text: str) -> str:
    """`text` with the secrets of the addresses in it hidden."""
    return _SECRET.sub("***", text)
