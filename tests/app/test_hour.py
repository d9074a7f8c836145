"""A real hour of trades, served by the simulator at sixty times its speed and watched."""

import csv
import pathlib

from live_session import Session

from tapewatch.simulate.kraken import KrakenConfig

SPEED = 60.0
HOUR = "kraken_trades/kraken_btcusd_20190701_00h.csv"


def test_every_trade_of_a_real_hour_arrives_once(
    shared_data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with (shared_data / HOUR).open() as file:
        recorded = [
            (float(row["price"]), float(row["qty"]), row["side"]) for row in csv.DictReader(file)
        ]
    market = KrakenConfig(symbols=("BTC/USD",), tape=shared_data / HOUR, speed=SPEED)
    session = Session(tmp_path, 3600 / SPEED + 5, market).run()
    assert [(t.price, t.size, t.aggressor) for t in session.trades] == recorded
    assert session.ledger.gaps == 0
    assert session.ledger.coverage(session.ended_ns) == 1.0
