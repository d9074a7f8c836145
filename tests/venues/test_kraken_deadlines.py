"""Acknowledgements, first data, heartbeats, silence, halts; configuration and requests."""

import json

import kraken_wire as wire
import msgspec
import pytest
from kraken_wire import BTC, NS_PER_S, T0, Feed, kinds, statuses

from tapewatch.model.errors import ConfigError, DecodeError
from tapewatch.model.events import Event
from tapewatch.model.outputs import Fault
from tapewatch.venues.kraken import Kraken
from tapewatch.venues.kraken_symbols import canonical_symbol, check_listed, listed_symbols


def asks(events: list[Event]) -> list[tuple[str, str, str | None]]:
    return [(s.kind, s.channel, s.ask) for s in statuses(events)]


def test_nothing_is_due_while_the_link_is_down() -> None:
    assert Feed(up=False).wait(100) == []


def test_missing_acknowledgement() -> None:
    feed = Feed()
    assert asks(feed.wait(5)) == []
    first = asks(feed.wait(1))
    assert first == [("ack_timeout", channel, "resubscribe") for channel in ("trade", "book")]
    # Twice more, then the connection goes: nothing flows on it.
    assert asks(feed.wait(12)) == first * 2
    assert asks(feed.wait(6)) == [("ack_timeout", "trade", "reconnect")]


def test_a_working_connection_is_not_dropped_for_one_channel() -> None:
    feed = Feed(Kraken(symbols=("BTC/USD", "ETH/USD"), channels=("trade",)))
    feed.ws(wire.ack("trade"))
    found: list[Event] = []
    for number in range(200):
        feed.ws(wire.trades([wire.trade(1 + number)]))
        found += feed.wait(1)
    tried = [s for s in statuses(found) if s.instrument == "kraken:ETH/USD"]
    assert {s.ask for s in tried} == {"resubscribe"}
    assert [(s.ts_recv - T0) // NS_PER_S for s in tried] == [6, 12, 18, 79, 140]


def test_acknowledged_but_dead() -> None:
    feed = Feed()
    feed.ws(wire.ack("trade"), wire.ack("book"))
    assert asks(feed.wait(10)) == []
    assert asks(feed.wait(1)) == [("no_data", c, "resubscribe") for c in ("trade", "book")]


def test_an_empty_history_is_an_answer() -> None:
    feed = Feed(Kraken(symbols=("BTC/USD",), channels=("trade",)))
    feed.ws(wire.ack("trade"), b'{"channel":"trade","type":"snapshot","data":[]}')
    assert asks(feed.wait(12)) == []


def test_v1_trades_may_begin_without_data() -> None:
    feed = Feed(Kraken(symbols=("BTC/USD",), channels=("trade",), protocol="v1"))
    answer = {
        "event": "subscriptionStatus",
        "status": "subscribed",
        "pair": "XBT/USD",
        "subscription": {"name": "trade"},
    }
    assert asks(feed.ws(json.dumps(answer).encode())) == [("subscribed", "trade", None)]
    assert "no_data" not in kinds(feed.wait(14))


def test_a_refused_subscription() -> None:
    refusal = {
        "error": "Subscription temporarily not available",
        "method": "subscribe",
        "success": False,
        "symbol": "BTC/USD",
        "req_id": 2,
    }
    feed = Feed()
    events = feed.ws(json.dumps(refusal).encode(), wire.ack("book"), wire.WireBook().snapshot())
    assert asks(events) == [("rejected", "trade", None), ("subscribed", "book", None)]
    assert asks(feed.wait(6)) == [("ack_timeout", "trade", "resubscribe")]
    refusal["error"] = "Currency pair not supported BTC/USD"
    (said,) = statuses(feed.ws(json.dumps(refusal).encode()))
    assert (said.kind, said.instrument, said.detail) == ("rejected", BTC, refusal["error"])
    assert "ack_timeout" not in kinds(feed.wait(200))


def test_a_refusal_without_a_symbol_is_of_all() -> None:
    feed = Feed(Kraken(symbols=("BTC/USD", "ETH/USD")))
    data = b'{"error":"Subscription depth not supported","method":"subscribe","success":false,'
    events = feed.ws(data + b'"req_id":3,"time_in":"","time_out":""}')
    assert [(s.instrument, s.channel) for s in statuses(events)] == [
        (BTC, "book"),
        ("kraken:ETH/USD", "book"),
    ]


def test_rate_limit() -> None:
    (said,) = statuses(Feed().ws(b'{"Error":"Exceeded msg rate"}'))
    assert (said.kind, said.detail) == ("rate_limited", "Exceeded msg rate")


def test_retries_are_paced() -> None:
    symbols = tuple(f"A{n}/USD" for n in range(20))
    feed = Feed(Kraken(symbols=symbols))
    per_second = [len(asks(feed.wait(1))) for _ in range(13)]
    assert max(per_second) == 5
    assert sum(per_second) == 40


def test_a_void_book_is_due_again() -> None:
    feed = Feed()
    feed.live()
    assert kinds(feed.ws(wire.WireBook().update(crc=1))) == ["checksum"]
    assert asks(feed.wait(6)) == [("ack_timeout", "book", "resubscribe")]
    feed.ws(wire.ack("book"))
    assert ("no_data", "book", "resubscribe") in asks(feed.wait(11))


def test_a_book_that_stands_still_while_its_pair_trades() -> None:
    feed = Feed()
    feed.live(1000)
    found: list[Event] = []
    for number in range(1, 24):
        if number % 3 == 0:
            feed.ws(wire.trades([wire.trade(1000 + number // 3)]))
        found += feed.wait(1)
    assert asks(found) == [("mute", "book", "resubscribe")]
    assert (statuses(found)[0].ts_recv - T0) // NS_PER_S == 19


def test_heartbeats_stop() -> None:
    feed = Feed()
    feed.live()
    feed.wait(2)
    found = asks(feed.wait(5, beat=False))
    assert found == []
    assert asks(feed.wait(2, beat=False)) == [("no_heartbeat", "heartbeat", "reconnect")]
    assert asks(feed.wait(2, beat=False)) == []


def test_silence_is_asked_about_less_and_less_often() -> None:
    feed = Feed()
    feed.live()
    quiet = [s for s in statuses(feed.wait(800)) if s.kind == "quiet"]
    assert [(s.ts_recv - T0) // NS_PER_S for s in quiet] == [16, 47, 108, 229, 470, 711]
    assert {(s.ask, s.channel, s.instrument) for s in quiet} == {("probe", "trade", BTC)}
    assert quiet[0].since_ns == feed.state.markets["BTC/USD"].sequence.last_ns


def test_no_questions_while_halted() -> None:
    feed = Feed()
    feed.live()
    status = '{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"%s",'
    status += '"api_version":"v2","connection_id":15113583034416118705}]}'
    assert feed.ws((status % "online").encode()) == []
    halted = feed.ws((status % "cancel_only").encode())
    assert kinds(halted) == ["halted"]
    assert statuses(halted)[0].instrument == ""
    found = statuses(feed.wait(100))
    assert [(s.kind, s.instrument, s.ask) for s in found] == [("quiet", "", "probe")]
    assert kinds(feed.ws((status % "online").encode())) == ["online"]
    assert asks(feed.wait(14)) == []


def test_a_pair_is_halted() -> None:
    feed = Feed()
    feed.live()
    assert feed.ws(wire.instruments(1, 8)) == []
    (said,) = statuses(feed.ws(wire.instruments(1, 8, "post_only")))
    assert (said.kind, said.instrument, said.detail) == ("halted", BTC, "pair: post_only")
    assert asks(feed.wait(100)) == []
    assert kinds(feed.ws(wire.instruments(1, 8, "limit_only"))) == ["online"]


def test_clock_offset_is_said_when_it_begins_and_ends() -> None:
    feed = Feed()

    def pong(seconds: int) -> list[Event]:
        text = f"2025-11-21T04:40:{seconds:02d}.000000Z"
        return feed.ws(f'{{"method":"pong","req_id":9,"time_out":"{text}"}}'.encode())

    feed.now = T0 + 30 * NS_PER_S
    assert pong(30) + pong(30) + pong(30) == []
    assert pong(34) == []  # one odd answer is not a trend
    assert [s.value for s in statuses(pong(34))] == [-4.0]
    assert pong(34) == []
    assert [s.value for s in statuses(pong(30) + pong(30))] == [0.0]


def test_subscribe_messages() -> None:
    kraken = Kraken(symbols=("XBT/USD", "ETH/XBT"), depth=25)
    assert [json.loads(message) for message in kraken.subscribe(kraken.start(), "ws")] == [
        {
            "method": "subscribe",
            "params": {"channel": "instrument", "snapshot": True},
            "req_id": 1,
        },
        {
            "method": "subscribe",
            "params": {"channel": "trade", "symbol": ["BTC/USD", "ETH/BTC"], "snapshot": True},
            "req_id": 2,
        },
        {
            "method": "subscribe",
            "params": {
                "channel": "book",
                "symbol": ["BTC/USD", "ETH/BTC"],
                "depth": 25,
                "snapshot": True,
            },
            "req_id": 3,
        },
    ]
    fault = Fault("checksum", "kraken", "kraken:ETH/BTC", T0, channel="book", ask="resubscribe")
    again = [json.loads(message) for message in kraken.resubscribe(kraken.start(), fault)]
    assert [message["method"] for message in again] == ["unsubscribe", "subscribe"]
    assert all(message["params"]["symbol"] == ["ETH/BTC"] for message in again)
    assert kraken.resubscribe(kraken.start(), Fault("x", "kraken", "", T0)) == kraken.subscribe(
        kraken.start(), "ws"
    )


def test_v1_subscribe_messages() -> None:
    kraken = Kraken(symbols=("BTC/USD", "DOGE/EUR"), protocol="v1")
    assert [json.loads(message) for message in kraken.subscribe(kraken.start(), "ws")] == [
        {
            "event": "subscribe",
            "pair": ["XBT/USD", "XDG/EUR"],
            "subscription": {"name": "trade"},
            "reqid": 2,
        },
        {
            "event": "subscribe",
            "pair": ["XBT/USD", "XDG/EUR"],
            "subscription": {"name": "book", "depth": 10},
            "reqid": 3,
        },
    ]


def test_endpoint() -> None:
    endpoint = Kraken(symbols=("BTC/USD",)).endpoint()
    assert (endpoint.url, endpoint.silence_s) == ("wss://ws.kraken.com/v2", 5.0)
    assert (endpoint.attempts, endpoint.attempts_window_s) == (100, 600.0)
    assert json.loads(endpoint.ping)["method"] == "ping"
    v1 = Kraken(symbols=("BTC/USD",), protocol="v1").endpoint()
    assert (v1.url, json.loads(v1.ping)["event"]) == ("wss://ws.kraken.com", "ping")
    assert Kraken(symbols=("BTC/USD",), url="ws://127.0.0.1:1").endpoint().url[-2:] == ":1"


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("XBT/USD", "BTC/USD"),
        ("eth/xbt", "ETH/BTC"),
        (" XDG/EUR", "DOGE/EUR"),
        ("1INCH/USD", "1INCH/USD"),
        ("USDT/USD", "USDT/USD"),
    ],
)
def test_symbols(text: str, symbol: str) -> None:
    assert canonical_symbol(text) == symbol
    assert Kraken(symbols=(text, symbol)).instruments() == (f"kraken:{symbol}",)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("BTCUSD", "kraken:BTC/USD"),
        ("xbt-usdt", "kraken:BTC/USDT"),
        ("dogebtc", "kraken:DOGE/BTC"),
        ("USD", "BASE/QUOTE"),
        ("", "BASE/QUOTE"),
    ],
)
def test_wrong_symbols(text: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        Kraken(symbols=(text,))


def test_configuration_is_checked() -> None:
    with pytest.raises(ConfigError, match="at least one pair"):
        Kraken(symbols=())
    table = {"symbols": ["XBT/USD"], "depth": 25, "deadlines": {"ack_s": 2}}
    kraken = msgspec.convert(table, Kraken)
    assert (kraken.symbols, kraken.deadlines.ack_s) == (("BTC/USD",), 2.0)
    for wrong in (
        {"depth": 27},
        {"chanels": []},
        {"deadlines": {"ack": 1}},
        {"deadlines": {"ping_s": 0}},
        {"deadlines": {"quiet_s": 0}},
        {"deadlines": {"silence_s": float("nan")}},
        {"attempts": 0},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"symbols": ["BTC/USD"], **wrong}, Kraken)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("url", "ws://127.0.0.1:99999"),
        ("url", "ws://127.0.0.1:0"),
        ("url", "ws://[::1"),
        ("url", "ws://a..b/"),
        ("url", "ws://a b/"),
        ("url", "ws:///v2"),
        ("url", "http://localhost"),
        ("rest_url", "foo"),
        ("rest_url", ""),
        ("rest_url", "wss://localhost"),
        ("rest_url", "http://localhost:port"),
    ],
)
def test_addresses_that_nobody_can_connect_to(name: str, url: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} = .* is no address"):
        msgspec.convert({"symbols": ["BTC/USD"], name: url}, Kraken)


def test_addresses() -> None:
    for host in ("localhost", "127.0.0.1:8080", "[::1]:443/v2", "ws.kraken.com/v2"):
        venue = Kraken(symbols=("BTC/USD",), url=f"ws://{host}", rest_url=f"https://{host}")
        assert venue.endpoint().url == f"ws://{host}"


def test_listed_pairs() -> None:
    result = {
        "XXBTZUSD": {"altname": "XBTUSD", "wsname": "XBT/USD"},
        "XDGEUR": {"wsname": "XDG/EUR"},
        "DARK": {"altname": "DARK"},
    }
    listed = listed_symbols(json.dumps({"error": [], "result": result}).encode())
    assert listed == ("BTC/USD", "DOGE/EUR")
    check_listed("BTC/USD", listed)
    with pytest.raises(ConfigError, match=r'no pair "BTC/USDD"\. Did you mean kraken:BTC/USD\?'):
        check_listed("BTC/USDD", listed)
    with pytest.raises(DecodeError):
        listed_symbols(b"<html>")
