"""The faults that the simulated Polymarket can show. What they do stands where they act.

Numbers are those of the catalogue of feed faults of the protocol reference. A fault's scope:
`symbol` is a market (slug, condition id, token id, or its number from 1), `call` a service (`clob`,
`gamma`, `data`, `ws`) or one of its calls (`books`, `v2/trades`).
"""

import pathlib
from typing import Final

from tapewatch.simulate import faults
from tapewatch.simulate.faults import Fault, FaultKind

VENUE: Final = "polymarket"
_TOPICS: Final = ("all", "book", "price_change", "last_trade_price", "best_bid_ask")
_SIDES: Final = ("bid", "ask", "both")

POLYMARKET: Final = (
    FaultKind("F01", "half_open", "open sockets say nothing, not even PONG; TCP stays"),
    FaultKind("F04", "pong_alive", "sockets answer PONG, but send no data; REST goes on", 60),
    FaultKind("F05", "expired", "subscriptions made so far bring nothing; new ones do"),
    FaultKind("F06", "burst", "no data, then all of it at once with its old times", 10),
    FaultKind(
        "F08", "partial", "of a subscription only the first ids count", 30, {"ids": 15}, 0, 10_000
    ),
    FaultKind(
        "F09", "hang_up", "a subscription to more ids ends the socket", 30, {"ids": 100}, 0, 10_000
    ),
    FaultKind(
        "F10",
        "removed",
        "a kind of message is not sent any more",
        60,
        {"topic": "all"},
        choices=_TOPICS,
    ),
    FaultKind("F11", "close", "sockets close; 1006 drops TCP", 0, {"code": 1006}, 1000, 4999),
    FaultKind("F12", "down", "a service is gone: TCP reset; sockets drop as well", 30),
    FaultKind(
        "F21",
        "recipe",
        "hashes follow another recipe, or none",
        60,
        {"generation": "none"},
        choices=("gen2024", "gen2025", "gen2026", "none"),
    ),
    FaultKind("F22", "crossed", "best bid above the best ask; ticks 0: locked", 0.5, {"ticks": 2}),
    FaultKind("F23", "ghost", "REST shows a book of 0.01/0.99, all else is right", 30),
    FaultKind("F24", "stale_cache", "REST shows books as they were when asked for first", 30),
    FaultKind("F25", "frozen_subset", "markets silent on open sockets", 60, {"share": 0.75}, 0, 1),
    FaultKind(
        "F26", "glitch", "quotes far away and back, no trade", 0.4, {"percent": 20.0}, -90, 90
    ),
    FaultKind(
        "F28", "one_sided", "a book without a side", 10, {"side": "ask"}, choices=_SIDES
    ),
    FaultKind(
        "F29",
        "not_hydrated",
        "a new market without token ids on Gamma; CLOB 404",
        120,
        {"tokens": "empty"},
        choices=("empty", "list", "blank"),
    ),
    FaultKind(
        "F30",
        "resolved",
        "the market resolves: 404, and no message unless announced",
        0,
        {"winner": 0, "announced": False},
        0,
        1,
    ),
    FaultKind(
        "F31",
        "tick_size",
        "another tick size; a book follows, or none if after_s is 0",
        60,
        {"tick": 0.001, "after_s": 0.2},
        0,
        60,
    ),
    FaultKind(
        "F32",
        "restart",
        "CLOB refuses, sockets are silent, all orders are gone; then a burst",
        90,
        {"status": 425},
        400,
        599,
    ),
    FaultKind(
        "F33",
        "rate_limit",
        "429 beyond per_s; with delay_s late answers instead",
        30,
        {"per_s": 1.0, "delay_s": 0.0, "retry_after_s": 2},
        0,
        600,
    ),
    FaultKind("F34", "cloudflare", "HTML of the edge (0: TCP reset)", 30, {"status": 403}, 0, 599),
    FaultKind(
        "F35",
        "http_5xx",
        "an error page, or the venue's own words for 425, 429, 503",
        10,
        {"status": 502, "body": "html"},
        400,
        599,
        ("html", "json"),
    ),
    FaultKind(
        "F37", "same_page", "/trades repeats a page beyond an offset", 60, {"offset": 100}, 0, 3_000
    ),
    FaultKind("F38", "late", "trades reach the Data API late", 60, {"seconds": 1800.0}, 0, 86_400),
    FaultKind("F39", "decommissioned", "trades of the Data API: 200 and nothing", 60),
    FaultKind(
        "F40",
        "schema",
        "price_change of another shape",
        60,
        {"form": "fields"},
        choices=("legacy", "fields", "renamed"),
    ),
    FaultKind(
        "F41",
        "malformed",
        "bad frames: all, or one of text empty nan not_utf8 truncated",
        0,
        {"frame": "all"},
        choices=("all", "text", "empty", "nan", "not_utf8", "truncated"),
    ),
    FaultKind("F42", "clock_skew", "venue times are shifted", 30, {"seconds": 5.0}, -1e8, 1e8),
    FaultKind("F44", "wrong_id", "Gamma gives condition ids for token ids", 60),
    FaultKind("F45", "wrong_rows", "the Data API ignores its filter", 60),
)  # fmt: skip

UNHYDRATED: Final = {"empty": "", "list": "[]", "blank": '["", ""]'}


def complete(fault: Fault) -> Fault:
    """With its number as name and every default filled in. Raises `ConfigError`."""
    return faults.complete(fault, POLYMARKET, VENUE)


def kind_of(fault: Fault) -> FaultKind:
    """The catalogue's entry. Raises `ConfigError` for an unknown name."""
    return faults.kind_of(fault, POLYMARKET, VENUE)


def parse(text: str) -> Fault:
    """`NAME@AT[:FOR][,key=value...]` -> a complete fault. Raises `ConfigError`."""
    return faults.parse(text, POLYMARKET, VENUE)


def load(path: pathlib.Path) -> tuple[Fault, ...]:
    """The faults of a JSON list. Raises `ConfigError`."""
    return faults.load(path, POLYMARKET, VENUE)
