"""What clients may ask over the websockets, v2 and v1, and the venue's answers to the letter.

Texts of errors are those seen in captures of the venue where there is one.
"""

import json
from typing import Any, Final

from tapewatch.model.time import format_rfc3339
from tapewatch.simulate.connection import Connection, Subscription
from tapewatch.simulate.frames import encode
from tapewatch.simulate.pairs import Pair

DEPTHS: Final = (10, 25, 100, 500, 1000)
_PLAIN: Final = ("instrument", "heartbeat", "status")  # v2 channels without symbols


def answer_v2(connection: Connection, text: str) -> None:
    """Answer one message of a v2 client."""
    time_in = connection.wall_ns()
    request = _object(text)
    method = request.get("method")
    if method == "ping":
        _reply(connection, request, {"method": "pong"}, time_in)
    elif method not in ("subscribe", "unsubscribe"):
        _refuse(connection, request, "Malformed request", time_in)
    else:
        params = request.get("params")
        _subscription_v2(connection, request, params if isinstance(params, dict) else {}, time_in)


def _subscription_v2(
    connection: Connection, request: dict[str, Any], params: dict[str, Any], time_in: int
) -> None:
    channel, symbols = params.get("channel"), params.get("symbol")
    if channel in _PLAIN:
        symbols = [""]
    elif channel not in ("trade", "book"):
        _refuse(connection, request, "Subscription name invalid", time_in)
        return
    elif not isinstance(symbols, list) or not symbols:
        _refuse(connection, request, "Symbol field must be an array", time_in)
        return
    depth = params.get("depth", 10)
    if channel == "book" and not _known(depth):
        _refuse(connection, request, "Subscription depth not supported", time_in)
        return
    for symbol in dict.fromkeys(str(symbol) for symbol in symbols):
        _one_v2(connection, request, Subscription(channel, symbol, depth), time_in)


def _one_v2(
    connection: Connection, request: dict[str, Any], wanted: Subscription, time_in: int
) -> None:
    """One symbol of a request; each gets its own answer."""
    method, channel, symbol = request["method"], wanted.channel, wanted.symbol
    error = _error_v2(connection, method, wanted)
    if error:
        _refuse(connection, request, error, time_in, symbol)
        return
    params = request["params"]
    snapshot = bool(params.get("snapshot", True))
    result: dict[str, Any] = {"channel": channel}
    if channel == "book":
        result["depth"] = wanted.depth
    if method == "subscribe":
        result["snapshot"] = snapshot
    if symbol:
        result["symbol"] = symbol
    if method == "subscribe" and channel != "trade":
        result["warnings"] = []
    _reply(connection, request, {"method": method, "result": result, "success": True}, time_in)
    if method == "subscribe":
        connection.subscribe(wanted, snapshot=snapshot)
    else:
        del connection.subscriptions[channel, symbol]


def _error_v2(connection: Connection, method: str, wanted: Subscription) -> str:
    channel, symbol = wanted.channel, wanted.symbol
    here = (channel, symbol) in connection.subscriptions
    if channel not in _PLAIN and symbol not in connection.exchange.pairs:
        return f"Currency pair not supported {symbol}"
    if method == "unsubscribe":
        return "" if here else "Subscription Not Found"
    if here:
        return "Already subscribed"
    if connection.exchange.active.find("F07", symbol, channel):
        return "Subscription temporarily not available"
    return ""


def _refuse(
    connection: Connection, request: dict[str, Any], error: str, time_in: int, symbol: str = ""
) -> None:
    answer: dict[str, Any] = {"error": error}
    if isinstance(request.get("method"), str):
        answer["method"] = request["method"]
    answer["success"] = False
    if symbol:
        answer["symbol"] = symbol
    connection.refused = True
    _reply(connection, request, answer, time_in)


def _reply(
    connection: Connection, request: dict[str, Any], answer: dict[str, Any], time_in: int
) -> None:
    answer["time_in"] = format_rfc3339(time_in)
    answer["time_out"] = format_rfc3339(connection.wall_ns())
    if isinstance(request.get("req_id"), int):
        answer["req_id"] = request["req_id"]
    connection.send(encode(answer))


def answer_v1(connection: Connection, text: str) -> None:
    """Answer one message of a v1 client."""
    request = _object(text)
    event = request.get("event")
    if event == "ping":
        connection.send(encode({"event": "pong", **_reqid(request)}))
        return
    about = request.get("subscription")
    pairs = request.get("pair")
    if event not in ("subscribe", "unsubscribe") or not isinstance(about, dict):
        connection.send(
            encode({"errorMessage": "Malformed request", "event": "error", **_reqid(request)})
        )
        return
    for name in pairs if isinstance(pairs, list) else []:
        _one_v1(connection, request, about, str(name))


def _one_v1(
    connection: Connection, request: dict[str, Any], about: dict[str, Any], name: str
) -> None:
    kind, depth = about.get("name"), about.get("depth", 10)
    pair = next((one for one in connection.exchange.pairs.values() if one.v1_name == name), None)
    shown: dict[str, Any] = {"depth": depth, "name": kind} if kind == "book" else {"name": kind}
    answer: dict[str, Any] = {"event": "subscriptionStatus", "pair": name}
    error = _error_v1(connection, request["event"], kind, depth, pair or name)
    if error or pair is None:
        answer |= {"errorMessage": error, "status": "error", "subscription": shown}
        connection.send(encode({**answer, **_reqid(request)}))
        return
    key = (str(kind), pair.symbol)
    number = 2 * (list(connection.exchange.pairs).index(pair.symbol) + 168) + (kind == "trade")
    done = {"subscribe": "subscribed", "unsubscribe": "unsubscribed"}[request["event"]]
    answer |= {
        "channelID": number,
        "channelName": f"book-{depth}" if kind == "book" else kind,
        "status": done,
        "subscription": shown,
    }
    connection.send(encode({**answer, **_reqid(request)}))
    if done == "subscribed":
        wanted = Subscription(str(kind), pair.symbol, depth, channel_id=number)
        # the v1 trade channel begins without a snapshot (as in a raw capture of 2021)
        connection.subscribe(wanted, snapshot=kind == "book")
    else:
        del connection.subscriptions[key]


def _error_v1(connection: Connection, event: str, kind: Any, depth: Any, pair: Pair | str) -> str:
    if isinstance(pair, str):
        listed = "supported" if "/" in pair else "in ISO 4217-A3 format"
        return f"Currency pair not {listed} {pair}"
    if kind not in ("trade", "book"):
        return "Subscription name invalid"
    if kind == "book" and not _known(depth):
        return "Subscription depth not supported"
    if event == "unsubscribe" and (kind, pair.symbol) not in connection.subscriptions:
        return "Subscription Not Found"
    if event == "subscribe" and connection.exchange.active.find("F07", pair.symbol, kind):
        return "Subscription temporarily not available"
    return ""


def _known(depth: Any) -> bool:
    return isinstance(depth, int) and depth in DEPTHS


def _reqid(request: dict[str, Any]) -> dict[str, int]:
    return {"reqid": request["reqid"]} if isinstance(request.get("reqid"), int) else {}


def _object(text: str) -> dict[str, Any]:
    """The request, or an empty one when it is no JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
