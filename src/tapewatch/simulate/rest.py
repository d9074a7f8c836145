"""The venue's public REST calls over the same `Exchange`, and the faults that only REST shows."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from tapewatch.model.time import NS_PER_S, format_rfc3339
from tapewatch.simulate import frames
from tapewatch.simulate.exchange import Exchange
from tapewatch.simulate.faults import Fault
from tapewatch.simulate.pairs import Pair

TRADES_MAX: Final = 1000
DEPTH_MAX: Final = 500
BURST: Final = 5.0  # calls that may come at once while fault F33 limits them to one a second
SECONDS_DIGITS: Final = 11  # a `since` this short is in seconds
ERROR_PAGE: Final = "<html><head><title>{0}</title></head><body><h1>Error {0}</h1></body></html>"

Answer = dict[str, Any] | str  # a result object, or an error text


class Rest:
    """`/0/public/*`. `wall_ns` is the venue's clock, `loop_s` the event loop's."""

    def __init__(
        self, exchange: Exchange, wall_ns: Callable[[], int], loop_s: Callable[[], float]
    ) -> None:
        self._exchange, self._wall_ns, self._loop_s = exchange, wall_ns, loop_s
        self._spent, self._spent_at = 0.0, 0.0
        self._calls: Mapping[str, Callable[[Mapping[str, str]], Answer]] = {
            "Time": self._time,
            "SystemStatus": self._status,
            "AssetPairs": self._asset_pairs,
            "Trades": self._trades,
            "Depth": self._depth,
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call; errors are HTTP 200 with an `error` list, as at the venue."""
        name = request.match_info["call"]
        active = self._exchange.active
        page = active.find("F35", call=name)
        if page is not None:
            return error_page(page, request)
        fault = active.find("F36", call=name)
        call = self._calls.get(name)
        answer: Answer
        if fault is not None:
            answer = str(fault.params["error"])
        elif active.find("F33", call=name) and not self._allowed():
            answer = "EGeneral:Too many requests"
        elif call is None:
            answer = "EGeneral:Unknown method"
        else:
            answer = call(request.query)
        body = {"error": [answer]} if isinstance(answer, str) else {"error": [], "result": answer}
        return web.Response(body=frames.encode(body), content_type="application/json")

    def _allowed(self) -> bool:
        now = self._loop_s()
        self._spent = max(0.0, self._spent - (now - self._spent_at))
        self._spent_at = now
        if self._spent + 1 > BURST:
            return False
        self._spent += 1
        return True

    def _time(self, query: Mapping[str, str]) -> Answer:
        del query
        return {"unixtime": self._wall_ns() // NS_PER_S, "rfc1123": _rfc1123(self._wall_ns())}

    def _status(self, query: Mapping[str, str]) -> Answer:
        del query
        status = "maintenance" if self._exchange.active.find("F32") else "online"
        return {"status": status, "timestamp": format_rfc3339(self._wall_ns(), 0)}

    def _asset_pairs(self, query: Mapping[str, str]) -> Answer:
        wanted = [name for name in query.get("pair", "").split(",") if name]
        pairs = list(self._exchange.pairs.values())
        if wanted:
            found = [self._pair(name) for name in wanted]
            pairs = [pair for pair in found if pair is not None]
            if len(pairs) < len(wanted):
                return "EQuery:Unknown asset pair"
        return {pair.rest_name: _listing(pair) for pair in pairs}

    def _trades(self, query: Mapping[str, str]) -> Answer:
        pair = self._pair(query.get("pair", ""))
        since, count = query.get("since", ""), query.get("count", str(TRADES_MAX))
        if pair is None:
            return "EQuery:Unknown asset pair"
        if not (count.isdecimal() and int(count[:9]) >= 1 and (not since or since.isdecimal())):
            return "EGeneral:Invalid arguments"
        limit = min(int(count[:9]), TRADES_MAX)
        if since:
            cursor = int(since[:19]) * (NS_PER_S if len(since) <= SECONDS_DIGITS else 1)
            trades = self._exchange.since(pair.symbol, cursor, limit)
        else:
            cursor = 0
            trades = self._exchange.recent(pair.symbol, limit)
        rows = [
            [
                frames.price_v1(pair, trade.price),
                frames.decimal(trade.size, pair.size_digits),
                _seconds(trade.ns),
                trade.taker[0],
                "l" if trade.limit else "m",
                "",
                trade.id,
            ]
            for trade in trades
        ]
        last = str(trades[-1].order if trades else cursor)
        return {pair.rest_name: rows, "last": last}

    def _depth(self, query: Mapping[str, str]) -> Answer:
        pair, count = self._pair(query.get("pair", "")), query.get("count", "100")
        if pair is None:
            return "EQuery:Unknown asset pair"
        if not (count.isdecimal() and int(count[:9]) >= 1):
            return "EGeneral:Invalid arguments"
        sides = self._exchange.sides(pair.symbol)
        limit = min(int(count[:9]), DEPTH_MAX)

        def rows(side: dict[int, tuple[int, int]], *, best_high: bool) -> list[list[str | int]]:
            return [
                [
                    frames.price_v1(pair, price),
                    f"{side[price][0] / 10**pair.size_digits:.3f}",
                    side[price][1] // NS_PER_S,
                ]
                for price in sorted(side, reverse=best_high)[:limit]
            ]

        asks, bids = rows(sides.asks, best_high=False), rows(sides.bids, best_high=True)
        return {pair.rest_name: {"asks": asks, "bids": bids}}

    def _pair(self, name: str) -> Pair | None:
        return next((pair for pair in self._exchange.pairs.values() if name in pair.names), None)


def error_page(fault: Fault, request: web.Request) -> web.StreamResponse:
    """An edge server's HTML answer; status 0 drops TCP instead."""
    status = int(fault.params["status"])
    if status == 0 and request.transport is not None:
        request.transport.abort()
    page = ERROR_PAGE.format(status)
    return web.Response(status=status or 503, text=page, content_type="text/html")


def _seconds(ns: int) -> float:
    """Seconds as a JSON number of seven decimals, as REST prints times."""
    return float(f"{ns // NS_PER_S}.{ns % NS_PER_S // 100:07d}")


def _rfc1123(ns: int) -> str:
    """`Tue, 11 Nov 25 00:17:04 +0000`."""
    text = format_rfc3339(ns, 0)
    days = ns // NS_PER_S // 86_400
    day = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")[days % 7]  # 1970-01-01 was a Thursday
    names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    month = names[int(text[5:7]) - 1]
    return f"{day}, {text[8:10]} {month} {text[2:4]} {text[11:19]} +0000"


def _listing(pair: Pair) -> dict[str, Any]:
    base, quote = pair.v1_name.split("/")
    return {
        "altname": pair.altname,
        "wsname": pair.v1_name,
        "aclass_base": "currency",
        "base": base,
        "aclass_quote": "currency",
        "quote": quote,
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": pair.price_digits,
        "lot_decimals": pair.size_digits,
        "lot_multiplier": 1,
        "leverage_buy": [2, 3],
        "leverage_sell": [2, 3],
        "fees": [[0, 0.4], [10_000, 0.35]],
        "fees_maker": [[0, 0.25], [10_000, 0.2]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": f"{pair.size / 4000:.8f}".rstrip("0"),
        "costmin": "0.5",
        "tick_size": frames.decimal(1, pair.price_digits),
        "status": "online",
        "long_position_limit": 80,
        "short_position_limit": 80,
    }
