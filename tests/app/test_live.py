"""The whole path over a real local websocket, in virtual time: simulator, tape, engine, sinks."""

import asyncio

import msgspec
import pytest
from live_session import Session

from tapewatch.app.replay import check, replay
from tapewatch.io.tape_read import TapeReader
from tapewatch.simulate.kraken import KrakenConfig
from tapewatch.simulate.scenario import DEMO, DEMO_S


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session(
        tmp_path_factory.mktemp("demo"), DEMO_S, KrakenConfig(symbols=("BTC/USD",), scenario=DEMO)
    ).run()


def test_what_the_demo_plants_is_found(demo: Session) -> None:
    causes = {alert.cause for alert in demo.alerts}
    assert {"price_spike", "volume_spike", "feed", "silence"} <= causes


def test_no_trade_is_lost_or_invented(demo: Session) -> None:
    ids = [int(trade.trade_id) for trade in demo.trades]
    assert sorted(ids) == list(range(min(ids), max(ids) + 1))
    exchange = demo.server.exchange
    pair = exchange.pairs["BTC/USD"]
    served = {trade.id: trade for trade in exchange.recent("BTC/USD", 50_000)}
    for trade in demo.trades:
        sent = served[int(trade.trade_id)]
        ticks = round(trade.price * 10**pair.price_digits), round(trade.size * 10**pair.size_digits)
        assert (*ticks, trade.aggressor) == (sent.price, sent.size, sent.taker)


def test_gaps_are_filled_and_accounted_for(demo: Session) -> None:
    assert demo.ledger.gaps >= 1
    assert demo.ledger.filled >= 1
    assert 0.5 < demo.ledger.coverage(demo.ended_ns) < 1.0


def test_every_alert_is_on_the_tape_and_in_the_outbox_exactly_once(demo: Session) -> None:
    shown = [alert.id for alert in demo.alerts]
    taped = [
        msgspec.json.decode(line)["id"]
        for _, line in TapeReader(demo.tape).alerts()
        if b'"type":"alert"' in line
    ]
    assert shown == taped
    assert len(set(shown)) == len(shown)
    assert demo.store.counts() == {("memory", "delivered"): len(shown)}


def test_a_replay_says_what_was_said_live(demo: Session) -> None:
    assert check(demo.tape, demo.engine()) >= len(demo.alerts)
    one, two = (asyncio.run(replay(TapeReader(demo.tape), demo.engine())) for _ in range(2))
    assert one == two
    assert one.events == demo.counts
