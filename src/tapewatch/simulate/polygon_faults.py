"""The faults that the simulated node and its chain can show. What they do stands where they act.

Numbers are those of the catalogue of feed faults of the protocol reference, where it has one.
"""

import pathlib
from typing import Final

from tapewatch.simulate import faults
from tapewatch.simulate.faults import Fault, FaultKind

VENUE: Final = "polygon"

POLYGON: Final = (
    FaultKind(
        "F02", "acked_dead", "subscriptions made now are acknowledged, but bring nothing", 30
    ),
    FaultKind("F04", "mute", "sockets say nothing; HTTP goes on", 30),
    FaultKind("F11", "close", "sockets close; 1006 drops TCP", 0, {"code": 1006}, 1000, 4999),
    FaultKind("F13", "duplicates", "every log is delivered twice", 30),
    FaultKind(
        "F33",
        "rate_limit",
        "requests are refused: HTTP 429, or an error",
        30,
        {"how": "http"},
        choices=("http", "rpc"),
    ),
    FaultKind("F35", "http_5xx", "HTTP answers an error page", 20, {"status": 502}, 400, 599),
    FaultKind(
        "F41",
        "malformed",
        "answers are none: text, null, or hostile hexadecimal",
        20,
        {"frame": "hex"},
        choices=("text", "null", "hex", "empty"),
    ),
    FaultKind("F45", "wrong_rows", "the node ignores the filter: logs of others come too", 30),
    FaultKind(
        "reorg",
        "reorg",
        "blocks are replaced; some transactions are dropped",
        0,
        {"depth": 5, "dropped": 0},
        0,
        10_000,
    ),
    FaultKind("halt", "halt", "no block is made", 90),
    FaultKind(
        "lag",
        "lagging",
        "a share of answers is blocks old; split: within a batch, too",
        60,
        {"blocks": 10, "share": 1.0, "split": False},
    ),
    FaultKind(
        "missing", "missing_logs", "eth_getLogs leaves out a share", 20, {"share": 0.5}, 0, 1
    ),
    FaultKind(
        "range",
        "range_limit",
        "eth_getLogs of more blocks or logs is refused",
        60,
        {"blocks": 5, "logs": 10_000, "words": "geth"},
        choices=("geth", "infura", "alchemy", "erigon"),
    ),
    FaultKind(
        "liar", "false_head", "the chain is said to be longer", 20, {"blocks": 5_000}, 1, 1e6
    ),
    FaultKind("single", "no_batches", "batches are refused", 20),
)


def complete(fault: Fault) -> Fault:
    """With its number as name and every default filled in. Raises `ConfigError`."""
    return faults.complete(fault, POLYGON, VENUE)


def parse(text: str) -> Fault:
    """`NAME@AT[:FOR][,key=value...]` -> a complete fault. Raises `ConfigError`."""
    return faults.parse(text, POLYGON, VENUE)


def load(path: pathlib.Path) -> tuple[Fault, ...]:
    """The faults of a JSON list. Raises `ConfigError`."""
    return faults.load(path, POLYGON, VENUE)
