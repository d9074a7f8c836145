"""What the driftlock score sees: one odd line among normal Kraken rows, as a Markdown table.

Each odd line is scored 40 times at different places of the same stream; it never joins the
baseline. The numbers depend on the compressor's version, their size does not.
"""

import json
import statistics
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec

from scan import rows
from tapewatch.detect import gojson
from tapewatch.detect.driftlock import LENGTHS, Driftlock, LineResult, LineWindow

LINES, EVERY = 4_120, 100
Row = dict[str, Any]


class Seen(NamedTuple):
    """Scores of one kind of line, and how many of them were anomalous."""

    scores: list[float]
    fired: int


def _with(**changed: Callable[[Row], Any]) -> Callable[[Row], object]:
    return lambda row: row | {key: change(row) for key, change in changed.items()}


def _ethereum(row: Row) -> Row:
    return row | {"pair": "ETH/USD", "price": round(row["price"] / 31.0, 2)}


CASES: dict[str, Callable[[Row], object]] = {
    "a normal trade": lambda row: row,
    "price +1 %": _with(price=lambda row: round(row["price"] * 1.01, 1)),
    "price +20 %": _with(price=lambda row: round(row["price"] * 1.2, 1)),
    "price x 10": _with(price=lambda row: round(row["price"] * 10, 1)),
    "price 0": _with(price=lambda _: 0),
    "price -1": _with(price=lambda _: -1),
    "size x 100": _with(qty=lambda row: row["qty"] * 100),
    "size x 10,000": _with(qty=lambda row: row["qty"] * 10_000),
    "a trade of ETH/USD": _ethereum,
    "one field missing": lambda row: {key: row[key] for key in row if key != "side"},
    "four fields missing": lambda row: {key: row[key] for key in ("ts", "price", "qty")},
    "a status message": lambda _: {
        "channel": "status",
        "type": "update",
        "data": [{"system": "cancel_only", "api_version": "v2"}],
    },
    "an error page in a text": lambda _: {
        "error": "<html><head><title>502 Bad Gateway</title></head></html>"
    },
    "a heartbeat message": lambda _: {"event": "heartbeat"},
    "400 letters A": lambda _: {"a": "A" * 400},
    "{}": lambda _: {},
}


def look(algo: Literal["zstd", "gzip"]) -> dict[str, Seen]:
    """Score every case at 40 places of one stream."""
    detector, window = Driftlock(algo=algo), LineWindow()
    seen: dict[str, list[LineResult]] = {name: [] for name in CASES}

    def score(row: object, memory: LineWindow) -> LineResult:
        line = gojson.canonical(json.dumps(row).encode())
        return detector.score(memory, line, LENGTHS[algo](line))

    for index, text in enumerate(rows(LINES)):
        row = json.loads(text)
        if index >= detector.baseline_lines and index % EVERY == EVERY - 1:
            packed = msgspec.msgpack.encode(window)
            for name, change in CASES.items():
                copy = msgspec.msgpack.decode(packed, type=LineWindow)
                seen[name].append(score(change(row), copy))
        score(row, window)
    return {
        name: Seen([one.score for one in found], sum(one.is_anomaly for one in found))
        for name, found in seen.items()
    }


def table() -> str:
    """Median score and share of anomalous lines, by compressor."""
    zstd, gzip = look("zstd"), look("gzip")
    lines = [
        "| the line | zstd: median score | alerts | gzip: median score | alerts |",
        "|---|---|---|---|---|",
    ]
    for name in CASES:
        cells = [
            f"{statistics.median(found.scores):.3f} | {found.fired} of {len(found.scores)}"
            for found in (zstd[name], gzip[name])
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
