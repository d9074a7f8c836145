"""Binance: every event of a frame exactly, gaps and duplicates, hostile bytes, requests, limits."""

import gzip
import itertools
import json
import pathlib
import re
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.events import Event, Quote, Status, Trade
from tapewatch.model.inputs import Frame, Link
from tapewatch.model.outputs import Fault
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.testing.conformance import check_venue
from tapewatch.venues.binance import BACKFILL_TRIES, Binance
from tapewatch.venues.binance_state import BinanceState

T0_MS: Final = 1_723_161_255_342
T0: Final = T0_MS * NS_PER_MS
SPOT: Final = Binance(symbols=("BTC/USDT", "ethusdt"))


def frame(message: Any, ts: int = T0 + 1, stream: str = "ws") -> Frame:
    data = message if isinstance(message, bytes) else json.dumps(message, separators=(",", ":"))
    return Frame(ts, "binance", data.encode() if isinstance(data, str) else data, stream)


def trade(number: int, *, symbol: str = "BTCUSDT", **more: Any) -> dict[str, Any]:
    row = {"e": "trade", "E": T0_MS + 1, "s": symbol, "t": number, "p": "61837.63000000",
           "q": "0.02000000", "T": T0_MS, "m": True, "M": True, **more}  # fmt: skip
    return {"stream": f"{symbol.lower()}@trade", "data": row}


def quote(update: int, **more: Any) -> dict[str, Any]:
    row = {"u": update, "s": "BTCUSDT", "b": "61837.63000000", "B": "3.78826000",
           "a": "61837.64000000", "A": "1.54698000", **more}  # fmt: skip
    return {"stream": "btcusdt@bookTicker", "data": row}


def decoded(state: BinanceState, *messages: Any, venue: Binance = SPOT) -> list[Event]:
    return [event for one in messages for event in venue.decode(state, frame(one))]


def kinds(events: list[Event]) -> list[str]:
    return [one.kind if isinstance(one, Status) else type(one).__name__ for one in events]


def test_a_trade_and_its_aggressor() -> None:
    state = SPOT.start()
    sold, bought = decoded(state, trade(7), trade(8, m=False))
    assert sold == Trade(
        "binance:BTCUSDT", T0, T0 + 1, 61837.63, 0.02, "sell", "7"
    )  # the buyer was in the book, so the seller took
    assert isinstance(bought, Trade)
    assert bought.aggressor == "buy"


def test_a_quote_with_and_without_a_time() -> None:
    spot, futures = decoded(SPOT.start(), quote(1), quote(2, e="bookTicker", T=T0_MS, E=T0_MS + 9))
    assert spot == Quote("binance:BTCUSDT", T0 + 1, T0 + 1, 61837.63, 3.78826, 61837.64, 1.54698)
    assert isinstance(futures, Quote)
    assert futures.ts_event == T0


def test_an_empty_side_has_no_price() -> None:
    (found,) = decoded(SPOT.start(), quote(1, b="0.00000000", B="0.00000000"))
    assert isinstance(found, Quote)
    assert (found.bid, found.bid_size, found.ask) == (0.0, 0.0, 61837.64)


def test_a_raw_stream_and_the_order_of_keys_make_no_difference() -> None:
    wrapped = trade(7)
    turned = {"data": dict(reversed(wrapped["data"].items())), "stream": wrapped["stream"]}
    expected = decoded(SPOT.start(), wrapped)
    assert decoded(SPOT.start(), wrapped["data"]) == expected
    assert decoded(SPOT.start(), turned) == expected
    assert decoded(SPOT.start(), quote(1)["data"]) == decoded(SPOT.start(), quote(1))


def test_aggregated_trades_have_a_numbering_of_their_own() -> None:
    def aggregate(number: int) -> dict[str, Any]:
        row = {"e": "aggTrade", "E": T0_MS, "s": "BTCUSDT", "a": number, "p": "7.6110", "q": "2",
               "f": 100, "l": 105, "T": T0_MS, "m": False}  # fmt: skip
        return {"stream": "btcusdt@aggTrade", "data": row}

    state = SPOT.start()
    events = decoded(state, aggregate(1), trade(900), aggregate(2))
    assert [one.trade_id for one in events if isinstance(one, Trade)] == ["1", "2"]
    assert kinds(events) == ["Trade", "Trade"]  # the plain stream tells the same trades again


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([7, 8, 9], ["Trade", "Trade", "Trade"]),
        ([7, 7], ["Trade", "duplicate"]),
        ([7, 10], ["Trade", "gap", "Trade"]),
        ([7, 9, 8], ["Trade", "gap", "Trade", "Trade", "reordered", "gap_filled"]),
        ([7, 3_000_000], ["Trade", "gap", "Trade"]),  # a new numbering: nothing to fetch
    ],
)
def test_numbers_tell_what_is_missing(numbers: list[int], expected: list[str]) -> None:
    assert kinds(decoded(SPOT.start(), *map(trade, numbers))) == expected


def test_a_gap_is_fetched_and_filled() -> None:
    state = SPOT.start()
    gap = decoded(state, trade(7), trade(10))[1]
    assert isinstance(gap, Status)
    assert (gap.ask, gap.first_id, gap.last_id) == ("backfill", 8, 9)
    fault = Fault("gap", "binance", gap.instrument, T0, ask="backfill", first_id=8, last_id=9)
    fetch = SPOT.fetch(SPOT.start(), fault)
    assert fetch is not None
    assert fetch.url == (
        "https://data-api.binance.vision/api/v3/historicalTrades?symbol=BTCUSDT&fromId=8&limit=1000"
    )
    rows = [{"id": n, "price": "1.5", "qty": "2", "quoteQty": "3", "time": T0_MS,
             "isBuyerMaker": False, "isBestMatch": True} for n in (8, 9, 10)]  # fmt: skip
    events = list(SPOT.decode(state, frame(rows, stream=fetch.stream)))
    assert kinds(events) == ["Trade", "Trade", "gap_filled"]
    assert all(one.backfilled for one in events if isinstance(one, Trade))


def test_what_the_venue_leaves_out_is_lost() -> None:
    state = SPOT.start()
    decoded(state, trade(7), trade(10))
    row = {"price": "1.5", "qty": "2", "time": T0_MS, "isBuyerMaker": False}
    rows = [{"id": number, **row} for number in (8, 10)]
    stream = "rest:/api/v3/historicalTrades?symbol=BTCUSDT&fromId=8"
    events = list(SPOT.decode(state, frame(rows, stream=stream)))
    assert kinds(events) == ["Trade", "gap_lost"]
    assert state.markets["BTCUSDT"].sequence.holes == []


def test_a_request_without_answer_is_repeated_and_given_up() -> None:
    state = SPOT.start()
    list(SPOT.on_link(state, Link(T0, "binance", "up")))
    decoded(state, trade(7), trade(10))
    found = [kind for second in range(80)
             for kind in kinds(list(SPOT.on_timer(state, T0 + second * NS_PER_S)))]  # fmt: skip
    assert found == ["no_answer"] * BACKFILL_TRIES + ["gap_lost"]


def test_prints_that_are_no_trades_only_count() -> None:
    venue = Binance(symbols=("usdm/BTCUSDT",), channels=("trade",))
    events = decoded(
        venue.start(), trade(7), trade(8, X="INSURANCE_FUND", p="0"), trade(9, X="MARKET"),
        venue=venue,
    )  # fmt: skip
    assert [one.trade_id for one in events if isinstance(one, Trade)] == ["7", "9"]
    assert kinds(events) == ["Trade", "Trade"]
    assert {one.instrument for one in events if isinstance(one, Trade)} == {"binance:usdm/BTCUSDT"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (trade(7, p="0"), ["invalid"]),
        (trade(7, p="-1"), ["invalid"]),
        (trade(7, p="NaN"), ["invalid"]),
        (trade(7, q="inf"), ["invalid"]),
        (trade(7, T=1), ["invalid"]),
        (trade(0), ["invalid"]),
        (trade(2**63), ["invalid"]),
        (trade(7, m="perhaps"), ["invalid"]),
        (trade(7, symbol="XRPUSDT"), ["unknown"]),
        (quote(0), ["invalid"]),
        (quote(1, b="-1"), ["invalid"]),
        (quote(1, b="1", B="0"), ["invalid"]),
        ({"stream": "btcusdt@depth@100ms", "data": {"e": "depthUpdate", "U": 1, "u": 2}}, []),
        ({"stream": "btcusdt@kline_1m", "data": {"e": "kline"}}, []),
        ({"lastUpdateId": 1, "bids": [], "asks": []}, []),
        ({"stream": "x", "data": 7}, ["unknown"]),
        ({"e": "outboundAccountPosition"}, ["unknown"]),
        ({"code": 3, "msg": "Invalid JSON"}, ["rejected"]),
        ({"error": {"code": 2, "msg": "Invalid request"}, "id": 1}, ["rejected"]),
        ({"error": {"code": 0, "msg": "Too many requests"}}, ["rate_limited"]),
        ({"result": ["btcusdt@trade"], "id": 1_000_000}, []),
    ],
)
def test_what_is_no_trade_is_named_or_left_out(message: Any, expected: list[str]) -> None:
    assert kinds(decoded(SPOT.start(), message)) == expected


@pytest.mark.parametrize("data", [b"", b"pong", b"[]", b"7", b"<html>502</html>", b"[" * 100_000])
def test_what_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decoded(SPOT.start(), data)
    with pytest.raises(DecodeError):
        decoded(SPOT.start(), b" " * (1 << 20) + b"{}")


@given(st.binary(max_size=200) | st.text('{}[]",:0123abesTuAB@', max_size=80).map(str.encode))
def test_bytes_give_events_or_a_decode_error(data: bytes) -> None:
    state = SPOT.start()
    for stream, body in itertools.product(
        ("ws", "rest:/api/v3/aggTrades?symbol=BTCUSDT&fromId=1"),
        (data, b'{"stream":"btcusdt@trade","data":' + data + b"}", b"[" + data + b"]"),
    ):
        try:
            assert isinstance(list(SPOT.decode(state, frame(body, stream=stream))), list)
        except DecodeError:
            continue
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=BinanceState) == state


def test_acknowledgements_are_waited_for() -> None:
    state = SPOT.start()
    list(SPOT.on_link(state, Link(T0, "binance", "up")))
    found = []
    for second in range(20):
        found += list(SPOT.on_timer(state, T0 + second * NS_PER_S))
    asks = [one.ask for one in found if isinstance(one, Status)]
    assert kinds(found) == ["ack_timeout"] * 3
    assert asks == ["resubscribe", "resubscribe", "reconnect"]
    list(SPOT.on_link(state, Link(T0, "binance", "up")))
    assert kinds(decoded(state, {"result": None, "id": 1})) == ["subscribed"]
    assert list(SPOT.on_timer(state, T0 + 60 * NS_PER_S)) == []


def test_data_are_as_good_as_an_acknowledgement() -> None:
    state = SPOT.start()
    list(SPOT.on_link(state, Link(T0, "binance", "up")))
    decoded(state, trade(7))
    assert list(SPOT.on_timer(state, T0 + 60 * NS_PER_S)) == []


def test_a_new_connection_takes_quotes_whatever_their_number() -> None:
    state = SPOT.start()
    assert kinds(decoded(state, quote(10), quote(10), quote(9))) == ["Quote"]
    list(SPOT.on_link(state, Link(T0, "binance", "down")))
    list(SPOT.on_link(state, Link(T0, "binance", "up")))
    assert kinds(decoded(state, quote(9))) == ["Quote"]


def test_requests_and_addresses() -> None:
    assert SPOT.instruments() == ("binance:BTCUSDT", "binance:ETHUSDT")
    assert [json.loads(text) for text in SPOT.subscribe(SPOT.start(), "ws")] == [
        {"method": "SUBSCRIBE", "id": 1,
         "params": ["btcusdt@trade", "btcusdt@bookTicker", "ethusdt@trade", "ethusdt@bookTicker"]},
    ]  # fmt: skip
    usdm = Binance(symbols=("usdm/btcusdt",))
    assert usdm.endpoint().url == "wss://fstream.binance.com/market/stream"
    assert json.loads(usdm.subscribe(usdm.start(), "ws")[0])["params"] == ["btcusdt@aggTrade"]
    quotes = Binance(symbols=("usdm/BTCUSDT",), channels=("bookTicker",))
    assert quotes.endpoint().url == "wss://fstream.binance.com/public/stream"
    coinm = Binance(symbols=("coinm/btcusd_perp",))
    assert coinm.instruments() == ("binance:coinm/BTCUSD_PERP",)
    fault = Fault("gap", "binance", "binance:coinm/BTCUSD_PERP", T0, first_id=5, ask="backfill")
    fetch = coinm.fetch(coinm.start(), fault)
    assert fetch is not None
    assert fetch.stream == "rest:/dapi/v1/aggTrades?symbol=BTCUSD_PERP&fromId=5&limit=1000"
    assert SPOT.fetch(SPOT.start(), fault) is None


def test_many_symbols_take_few_requests() -> None:
    names = tuple(f"{a}{b}USDT" for a, b in itertools.product("ABCDEFGHIJKLMNOP", repeat=2))
    venue = Binance(symbols=names)
    requests = [json.loads(text) for text in venue.subscribe(venue.start(), "ws")]
    assert [len(one["params"]) for one in requests] == [256, 256]
    assert [one["id"] for one in requests] == [1, 2]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"symbols": ()}, "at least one symbol"),
        ({"symbols": ("BTC USDT",)}, "has no symbol"),
        ({"symbols": ("coinm/",)}, "has no symbol"),
        ({"symbols": ("BTCUSDT", "usdm/BTCUSDT")}, "a session each"),
        ({"symbols": ("BTCUSDT",), "channels": ("trade", "aggTrade")}, "twice"),
        (
            {"symbols": ("usdm/BTCUSDT",), "channels": ("trade", "bookTicker")},
            "different addresses",
        ),
        ({"symbols": tuple(f"usdm/{n:04d}USDT" for n in range(201))}, "at most 200 streams"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Binance(**settings)


def frames_of(path: pathlib.Path, limit: int) -> list[Frame]:
    """Frames of a capture: `<ns> <json>`, or `<epoch>: <json>` with lines about the connection."""
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
    frames = []
    for line in lines:
        found = re.fullmatch(rb"(\d{19}|[\d.]+)(?:: | )(.*)", line)
        if found is not None and len(frames) < limit:
            ts = int(found[1]) if len(found[1]) == 19 else int(float(found[1]) * NS_PER_S)
            frames.append(Frame(ts, "binance", found[2]))
    return frames


@pytest.mark.parametrize(
    ("name", "symbols", "trades"),
    [
        ("binance_l2/spot_ethusdt_20240808.gz", ("ETHUSDT",), 6_106),
        ("binance_l2/cm_ethusd_perp_20240808.gz", ("coinm/ETHUSD_PERP",), 1_732),
    ],
)
def test_ten_minutes_of_real_frames_decode_without_a_word(
    shared_data: pathlib.Path, name: str, symbols: tuple[str, ...], trades: int
) -> None:
    venue = Binance(symbols=symbols)
    frames = frames_of(shared_data / name, 10**6)
    state = venue.start()
    events = [event for one in frames for event in venue.decode(state, one)]
    assert {type(event) for event in events} == {Trade, Quote}
    assert sum(isinstance(event, Trade) for event in events) == trades
    check_venue(venue, frames[:1_500])


def test_a_capture_of_four_futures(shared_data: pathlib.Path) -> None:
    names = ("SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT")
    venue = Binance(symbols=tuple(f"usdm/{name}" for name in names))
    path = shared_data / "wire" / "binance" / "cryptofeed_BINANCE_FUTURES.ws.1.0"
    check_venue(venue, frames_of(path, 10**6))
