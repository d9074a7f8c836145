"""Markets as Gamma and the CLOB write them: wire shapes and the reading of single fields.

Any field may be missing, null, or of another type than it was last year; lists are JSON written
into a text.
"""

from typing import Any

import msgspec
from msgspec import Struct, field

from tapewatch.model.errors import DecodeError
from tapewatch.model.text import clean
from tapewatch.model.time import parse_rfc3339

_any = msgspec.json.Decoder().decode


class EventRow(Struct, rename="camel"):
    """An event of Gamma, its markets not looked at yet."""

    slug: Any = ""
    title: Any = ""
    neg_risk: Any = False
    neg_risk_augmented: Any = False
    markets: list[msgspec.Raw] = []


class GammaRow(Struct, rename="camel"):
    """A market of Gamma. Any field may be missing, null, or of another type than it was."""

    condition_id: str
    id: Any = ""
    question_id: Any = field(name="questionID", default="")
    slug: Any = ""
    question: Any = ""
    outcomes: Any = None
    outcome_prices: Any = None
    clob_token_ids: Any = None
    active: Any = True
    closed: Any = False
    archived: Any = False
    accepting_orders: Any = True
    enable_order_book: Any = True
    end_date: Any = None
    game_start_time: Any = None
    seconds_delay: Any = 0
    neg_risk: Any = False
    neg_risk_other: Any = False
    order_price_min_tick_size: Any = None
    uma_resolution_status: Any = None
    uma_resolution_statuses: Any = None
    best_bid: Any = None
    best_ask: Any = None
    volume24hr: Any = None
    events: Any = None


class TokenRow(Struct):
    """An outcome of a market of the CLOB."""

    token_id: Any = ""
    outcome: Any = ""
    winner: Any = False


class ClobRow(Struct):
    """A market of the CLOB."""

    condition_id: str
    tokens: list[TokenRow]
    question_id: Any = ""
    market_slug: Any = ""
    question: Any = ""
    active: Any = True
    closed: Any = False
    archived: Any = False
    accepting_orders: Any = True
    enable_order_book: Any = True
    end_date_iso: Any = None
    game_start_time: Any = None
    seconds_delay: Any = 0
    neg_risk: Any = False
    minimum_tick_size: Any = None


def texts_of(value: Any) -> list[str]:
    """A list of texts, or such a list written as JSON in a text; empty for anything else."""
    if isinstance(value, str):
        try:
            value = _any(value)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return []
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return []


def text_of(value: Any) -> str:
    """A text that is safe to show; empty for anything else."""
    return clean(value) if isinstance(value, str) else ""


def number_of(value: Any) -> float:
    """A finite number from a number or a text; 0.0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return 0.0
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return 0.0
    return number if abs(number) < 1e18 else 0.0  # neither infinite nor NaN


def time_of(value: Any) -> int:
    """`2026-05-09T02:07:01Z` or `2026-05-09 02:07:01+00` -> ns; 0 for anything else."""
    if not isinstance(value, str):
        return 0
    text = value.strip()
    if len(text) > 3 and text[-3] in "+-":
        text += ":00"
    try:
        return parse_rfc3339(text)
    except DecodeError:
        return 0
