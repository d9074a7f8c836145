"""What Kraken answers rather than streams: acknowledgements, refusals, pongs, the list of pairs."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct

from tapewatch.model.errors import DecodeError
from tapewatch.model.text import clean
from tapewatch.venues.books import DECIMALS_MAX
from tapewatch.venues.kraken_state import Market, Reading, halt_market, hear_clock, spoken

PERMANENT: Final = "not supported"  # in refusals that asking again cannot change
REQUEST_IDS: Final = {"instrument": 1, "trade": 2, "book": 3}
_CHANNEL_OF: Final = {number: channel for channel, number in REQUEST_IDS.items()}


class _Pair(Struct):
    symbol: str
    status: str = "online"
    price_precision: int = 0
    qty_precision: int = 0


def instruments(reading: Reading, message: dict[str, Any]) -> None:
    """Precision and trading state of our pairs, from the instrument channel."""
    data = message.get("data")
    pairs = data.get("pairs", []) if isinstance(data, dict) else None
    if not isinstance(pairs, list):
        raise DecodeError("Kraken's instruments are not an object with a list of pairs")
    for item in pairs:
        market = reading.state.market(item.get("symbol")) if isinstance(item, dict) else None
        if market is None:
            continue
        try:
            pair = msgspec.convert(item, _Pair)
        except (ValueError, ArithmeticError) as error:  # also text that is no Unicode
            reading.say("invalid", market, str(error), channel="instrument")
            continue
        precisions = pair.price_precision, pair.qty_precision
        if not all(0 <= precision <= DECIMALS_MAX for precision in precisions):
            reading.say("invalid", market, f"precisions {precisions}", channel="instrument")
            continue
        market.price_decimals, market.size_decimals = precisions
        halt_market(reading, market, pair.status)


def answer_v2(reading: Reading, message: dict[str, Any]) -> None:
    """A message with a `method`."""
    hear_clock(reading, message.get("time_out"))
    method, result = message.get("method"), message.get("result")
    if method != "subscribe":
        # A pong is heard above. Unsubscribing can fail only because there is nothing to end, which
        # is what was wanted.
        if method not in ("pong", "unsubscribe"):
            reading.say("unknown", None, f"method {spoken(method)}")
        return
    about = result if isinstance(result, dict) else message
    number = message.get("req_id")
    by_number = _CHANNEL_OF.get(number, "") if isinstance(number, int) else ""
    channel = spoken(about.get("channel", by_number))
    market = reading.state.market(about.get("symbol"))
    if message.get("success") is True:
        accepted(reading, market, channel)
    elif about.get("symbol") is None:  # the whole request failed
        refused(reading, reading.state.markets.values(), channel, message.get("error"))
    else:
        refused(reading, [market], channel, message.get("error"))


def accepted(reading: Reading, market: Market | None, channel: str) -> None:
    """A subscription was acknowledged. `market` is None for channels without pairs."""
    subscription = None if market is None else market.subscription(channel)
    if subscription is not None:
        subscription.acked = True
    reading.say("subscribed", market, channel=clean(channel))


def refused(reading: Reading, markets: Iterable[Market | None], channel: str, error: Any) -> None:
    """A subscription was refused: for good, or to be asked for again when its deadline passes."""
    text = spoken(error)
    final = PERMANENT in text
    for market in markets:
        subscription = None if market is None else market.subscription(channel)
        if subscription is not None:
            subscription.acked = False
            subscription.refused = final
        reading.say("rejected", market, text, channel=clean(channel), value=float(final))


def error_v2(reading: Reading, message: dict[str, Any]) -> None:
    """A message without channel and method. Kraken writes the rate limit with a capital E."""
    error = message.get("Error", message.get("error"))
    if error is None:
        reading.say("unknown", None, "neither channel nor method")
    elif "rate" in spoken(error).lower():
        reading.say("rate_limited", None, spoken(error))
    else:
        reading.say("rejected", None, spoken(error))
