"""Trades of websocket v2 and REST: sequence, gaps, duplicates, mute feeds, bad rows."""

from typing import Any

import kraken_wire as wire
import pytest
from kraken_wire import BTC, T0, Feed, ids, kinds, statuses, trade, trades

from tapewatch.model import limits
from tapewatch.model.events import Trade
from tapewatch.model.outputs import Fault
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.kraken import Kraken


def rest_row(number: int, price: str = "105944.20000") -> list[Any]:
    return [price, "0.00027625", (T0 / 1e9 - 1) + number / 1000, "b", "l", "", number]


def page(*rows: list[Any]) -> dict[str, Any]:
    return {"error": [], "result": {"XXBTZUSD": list(rows), "last": "1"}}


def test_one_trade() -> None:
    events = Feed().ws(trades([trade(7, "105944.20", "0.5", "sell", T0 + 1000)]))
    assert events == [Trade(BTC, T0 + 1000, T0, 105944.2, 0.5, "sell", "7", 0, False)]


def test_history_is_flagged_and_sorted() -> None:
    feed = Feed()
    events = feed.ws(trades([trade(12), trade(10), trade(11)], "snapshot"))
    assert [(t.trade_id, t.index, t.backfilled) for t in wire.of_trades(events)] == [
        ("10", 1, True),
        ("11", 2, True),
        ("12", 0, True),
    ]
    assert kinds(events) == []


def test_reconnect_snapshot_closes_a_short_gap() -> None:
    feed = Feed()
    feed.ws(trades([trade(10)]))
    feed.link("down")
    feed.link("up")
    events = feed.ws(trades([trade(n) for n in (9, 10, 11, 12)], "snapshot"), trades([trade(13)]))
    assert ids(events) == [11, 12, 13]
    assert [t.backfilled for t in wire.of_trades(events)] == [True, True, False]
    assert kinds(events) == []


def test_a_jump_is_a_gap_and_rest_fills_it() -> None:
    feed = Feed()
    feed.ws(trades([trade(10)]))
    gap, newer = feed.ws(trades([trade(14)]))
    assert statuses([gap]) == [gap]
    assert (gap.kind, gap.ask, gap.first_id, gap.last_id) == ("gap", "backfill", 11, 13)
    assert gap.since_ns == T0 - NS_PER_S + 10_000_000
    assert ids([newer]) == [14]
    events = feed.rest(page(*(rest_row(n) for n in (14, 9, 10, 12, 11, 13))))
    assert ids(events) == [11, 12, 13]
    assert all(t.backfilled for t in wire.of_trades(events))
    (closed,) = statuses(events)
    assert (closed.kind, closed.first_id, closed.last_id) == ("gap_filled", 11, 13)
    assert feed.rest(page(*(rest_row(n) for n in range(9, 15)))) == []


def test_what_rest_lacks_too_is_lost() -> None:
    feed = Feed()
    feed.ws(trades([trade(10)]), trades([trade(14)]))
    events = feed.rest(page(rest_row(10), rest_row(12), rest_row(14)))
    assert ids(events) == [12]
    lost = [(s.kind, s.first_id, s.last_id) for s in statuses(events)]
    assert lost == [("gap_lost", 11, 11), ("gap_lost", 13, 13)]
    assert feed.state.markets["BTC/USD"].sequence.holes == []


def test_a_gap_longer_than_a_page_is_asked_for_again() -> None:
    feed = Feed()
    feed.live(10)
    feed.ws(trades([trade(20)]))
    events = feed.rest(page(*(rest_row(n) for n in range(10, 15))))
    assert ids(events) == [11, 12, 13, 14]
    assert kinds(events) == []
    (again,) = statuses(feed.wait(1))
    assert (again.ask, again.first_id, again.last_id) == ("backfill", 15, 19)
    assert abs(again.since_ns - (T0 - NS_PER_S + 14_000_000)) < 1000
    events = feed.rest(page(*(rest_row(n) for n in range(14, 21))))
    assert ids(events) == [15, 16, 17, 18, 19]
    (closed,) = statuses(events)
    assert (closed.kind, closed.first_id, closed.last_id) == ("gap_filled", 11, 19)


def test_a_gap_that_rest_never_answers_is_lost() -> None:
    feed = Feed()
    feed.live(10)
    feed.ws(trades([trade(12)]))
    events = []
    for _ in range(120):
        events += feed.wait(1)
        feed.ws(trades([trade(feed.state.markets["BTC/USD"].sequence.last_id + 1)]))
    assert [s.ask for s in statuses(events)] == ["backfill"] * 5 + [None]
    assert kinds(events)[-1] == "gap_lost"


def test_a_late_trade_fills_its_hole() -> None:
    feed = Feed()
    feed.ws(trades([trade(10)]), trades([trade(13)]))
    assert kinds(feed.ws(trades([trade(12)]))) == ["reordered"]
    events = feed.ws(trades([trade(11)]))
    assert ids(events) == [11]
    assert not wire.of_trades(events)[0].backfilled
    assert kinds(events) == ["reordered", "gap_filled"]
    assert (statuses(events)[1].first_id, statuses(events)[1].last_id) == (11, 12)


def test_duplicates_are_dropped_and_said_outside_snapshots_only() -> None:
    feed = Feed()
    feed.ws(trades([trade(10), trade(11)]))
    events = feed.ws(trades([trade(10), trade(11)]))
    assert kinds(events) == ["duplicate", "duplicate"]
    assert ids(events) == []
    assert feed.ws(trades([trade(10), trade(11)], "snapshot")) == []


def test_holes_are_bounded() -> None:
    feed = Feed()
    feed.ws(trades([trade(1)]))
    events = feed.ws(*(trades([trade(3 * n)]) for n in range(1, limits.GAP_RANGES + 2)))
    assert len(feed.state.markets["BTC/USD"].sequence.holes) == limits.GAP_RANGES
    (lost,) = [s for s in statuses(events) if s.kind == "gap_lost"]
    assert (lost.first_id, lost.last_id) == (2, 2)
    # Only the first of many asks; the timer sees to the rest.
    assert [s.ask for s in statuses(events) if s.kind == "gap"].count("backfill") == 1


def test_a_new_numbering_is_followed() -> None:
    feed = Feed()
    feed.ws(trades([trade(5_000_000, ts_ns=T0)]))
    events = feed.ws(trades([trade(1, ts_ns=T0 + 1000), trade(2, ts_ns=T0 + 2000)]))
    assert ids(events) == [1, 2]
    assert kinds(events) == ["gap"]
    assert statuses(events)[0].ask is None


@pytest.mark.parametrize(
    "bad",
    [
        trade(11, price="0"),
        trade(11, price="-1.5"),
        trade(11, qty="0.0"),
        trade(11, price="NaN"),
        trade(11, price="1e400"),
        trade(11, qty="-Infinity"),
        trade(11, price='"105944.2"'),
        trade(11, price="null"),
        trade(11, price="9" * 5000 + ".0"),
        trade(11, qty="1e99999999999999999999"),
        trade(11, side="hold"),
        trade(11, ts_ns=0),
        trade(11, ts_ns=4_200_000_000 * NS_PER_S),
        trade(11).replace("2025", "20x5"),
        trade(11).replace('"timestamp":"2025', '"timestamp":1763699999,"x":"'),
        trade(11).replace('"trade_id":11', '"trade_id":1e30'),
        trade(11).replace('"trade_id":11', '"trade_id":123456789012345678901234567890'),
        trade(11).replace('"trade_id":11', '"trade_id":-11'),
        trade(11).replace('"trade_id":11,', ""),
        trade(11).replace('"trade_id"', '"\\ud800":1,"trade_ids"'),
        '{"\\ud800":1}',
        "null",
        "[]",
        "7",
    ],
)
def test_a_bad_row_is_dropped_and_its_neighbours_stay(bad: str) -> None:
    feed = Feed()
    events = feed.ws(trades([trade(10), bad, trade(12)]))
    assert ids(events) == [10, 12]
    assert kinds(events) == ["invalid", "gap"]


def test_many_bad_rows_are_counted() -> None:
    events = Feed().ws(trades(["0"] * 5000))
    assert len(events) == 21
    assert (kinds(events)[-1], statuses(events)[-1].value) == ("invalid", 4980.0)


def test_rows_of_other_pairs_are_named() -> None:
    events = Feed().ws(trades([trade(1, symbol="A\\u001b[2J/USD")]))
    assert kinds(events) == ["unknown"]
    assert "\x1b" not in statuses(events)[0].detail


def test_a_mute_socket_is_found_by_rest() -> None:
    feed = Feed()
    feed.live(10)
    asked = [s for s in statuses(feed.wait(20)) if s.ask == "probe"]
    assert [(s.kind, s.channel, s.instrument) for s in asked] == [("quiet", "trade", BTC)]
    assert feed.rest(page(rest_row(9), rest_row(10))) == []
    late = feed.now / 1e9 - 10
    fresh = feed.now / 1e9 - 1
    rows = [["1.0", "1.0", late, "s", "m", "", 11], ["1.1", "1.0", fresh, "s", "m", "", 12]]
    events = feed.rest(page(rest_row(10), *rows))
    assert ids(events) == [11]
    (mute,) = statuses(events)
    assert (mute.kind, mute.ask, mute.channel) == ("mute", "resubscribe", "trade")
    # What the socket brings after all is a duplicate; the young one is news.
    events = feed.ws(trades([trade(11), trade(12)]))
    assert ids(events) == [12]
    assert kinds(events) == ["duplicate"]


def test_a_socket_that_stays_mute_is_dropped() -> None:
    feed = Feed()
    feed.live(10)
    asks = []
    for number in range(11, 16):
        feed.now += 60 * NS_PER_S
        rows = [["1.0", "1.0", feed.now / 1e9 - 10, "s", "m", "", number]]
        asks += [s.ask for s in statuses(feed.rest(page(*rows)))]
        feed.ws(wire.ack("trade"), trades([trade(number)], "snapshot"))
    assert asks[:4] == ["resubscribe"] * 3 + ["reconnect"]


def test_our_clock_does_not_make_a_socket_mute() -> None:
    """Ten seconds ahead, every trade looks ten seconds old."""
    feed = Feed()
    feed.live(10)
    feed.now += 10 * NS_PER_S
    theirs = '"2025-11-21T04:40:00.000000Z"'
    pong = f'{{"method":"pong","req_id":9,"time_in":{theirs},"time_out":{theirs}}}'.encode()
    events = feed.ws(pong, pong, pong)
    assert [(s.kind, s.value) for s in statuses(events)] == [("clock", 10.0)]
    rows = [["1.0", "1.0", feed.now / 1e9 - 11, "s", "m", "", 11]]
    assert feed.rest(page(*rows)) == []


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        (["EGeneral:Too many requests"], "rate_limited"),
        (["EAPI:Rate limit exceeded"], "rate_limited"),
        (["EService:Throttled: 1763700000"], "rate_limited"),
        (["EService:Unavailable"], "unavailable"),
        (["EGeneral:Internal error"], "unavailable"),
        (["EQuery:Unknown asset pair"], "rejected"),
    ],
)
def test_errors_inside_a_good_answer(errors: list[str], kind: str) -> None:
    (said,) = statuses(Feed().rest({"error": errors}))
    assert (said.kind, said.instrument, said.detail) == (kind, BTC, errors[0])


def test_old_rest_rows_have_no_id() -> None:
    feed = Feed(Kraken(symbols=("BTC/USD",), protocol="v1"))
    row = ["1.0", "1.0", T0 / 1e9 + 5, "s", "m", ""]
    feed.now += 10 * NS_PER_S
    events = feed.rest(page(row))
    assert [(t.trade_id, t.aggressor) for t in wire.of_trades(events)] == [("", "sell")]
    assert kinds(events) == ["mute"]


def test_requests_for_trades() -> None:
    kraken = Kraken(symbols=("BTC/USD", "XDG/EUR"), rest_url="http://127.0.0.1:9")
    fault = Fault("gap", "kraken", "kraken:DOGE/EUR", T0, since_ns=T0, ask="backfill")
    fetch = kraken.fetch(kraken.start(), fault)
    assert fetch is not None
    query = f"/0/public/Trades?pair=XDGEUR&since={T0 - NS_PER_S}&count=1000"
    assert (fetch.url, fetch.stream) == (f"http://127.0.0.1:9{query}", f"rest:{query}")
    feed = Feed(kraken)
    rows = [["1.0", "1.0", T0 / 1e9 - 10, "s", "m", "", 11]]
    events = feed.rest({"error": [], "result": {"XDGEUR": rows}}, fetch.stream)
    assert [t.instrument for t in wire.of_trades(events)] == ["kraken:DOGE/EUR"]
    assert (
        kraken.fetch(kraken.start(), Fault("gap", "kraken", "kraken:A/B", T0, ask="backfill"))
        is None
    )


def test_system_state_over_rest() -> None:
    kraken = Kraken(symbols=("BTC/USD",))
    fetch = kraken.fetch(kraken.start(), Fault("quiet", "kraken", "", T0, ask="probe"))
    assert fetch is not None
    feed = Feed(kraken)
    body = {"error": [], "result": {"status": "maintenance", "timestamp": "x"}}
    assert kinds(feed.rest(body, fetch.stream)) == ["halted"]
    assert kinds(feed.rest(body, fetch.stream)) == []
    body["result"]["status"] = "online"
    assert kinds(feed.rest(body, fetch.stream)) == ["online"]
