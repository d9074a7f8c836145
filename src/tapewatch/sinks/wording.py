"""How numbers, sizes and long lines are written for people. Pure; used by every page of text."""

import re
from math import floor, isfinite, log10
from typing import Final

from rich.cells import cell_len, set_cell_size

COLUMNS: Final = 80

# One character each, so that no line gets longer where a terminal cannot show more than ASCII.
_ASCII: Final = str.maketrans(
    {
        "▲": "!", "◆": "!", "■": "#", "✓": "+", "✗": "x", "…": "~", "·": "-", "–": "-", "—": "-",
        "×": "x", "≈": "~", "±": "~", "→": ">", "−": "-", "“": '"', "”": '"', "’": "'", "µ": "u",
    }
)  # fmt: skip


def ascii_text(text: str) -> str:
    """The same text in ASCII, in as many characters."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def fit(text: str, columns: int = COLUMNS) -> str:
    """`text` in at most so many terminal columns; wide characters take two."""
    return text if cell_len(text) <= columns else set_cell_size(text, columns - 1) + "…"


def number(value: float, digits: int = 8) -> str:
    """87412.3 -> `87,412.3`, to so many significant digits; extremes in scientific form."""
    if not isfinite(value) or (value and not 1e-6 <= abs(value) < 1e15):
        return f"{value:.6g}"
    before = floor(log10(abs(value))) + 1 if value else 1
    text = f"{value:,.{max(0, digits - before)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def counted(count: int, thing: str) -> str:
    """`1 alert`, `1,247 alerts`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def size_text(size_bytes: int) -> str:
    """15_938_355 -> `15.2 MB`, in powers of 1,024."""
    size = float(size_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "B" or size >= 100 else f"{size:,.1f} {unit}"


def json_text(data: bytes) -> str:
    """JSON with everything but printable ASCII escaped: the same value, and safe on a terminal."""
    if data.isascii() and b"\x7f" not in data:  # JSON escapes the other controls itself
        return data.decode()
    return re.sub(r"[^ -~]", _escape, data.decode())


def _escape(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
