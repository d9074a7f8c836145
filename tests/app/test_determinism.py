"""The determinism contract on a session's tape: whoever calls `step`, the outputs are equal."""

import pathlib
import random
from collections.abc import Iterable

import msgspec
import pytest
from live_session import Memory, Session
from watch_session import alerts_of, watched

from tapewatch.app.build import engine_of
from tapewatch.app.exporting import around, export_tape
from tapewatch.app.ledger import Ledger
from tapewatch.app.live import Live
from tapewatch.app.replay import check, configured, recorded
from tapewatch.engine.engine import Engine
from tapewatch.engine.snapshot import restore, snapshot
from tapewatch.io.store import Store
from tapewatch.io.tape_check import verify
from tapewatch.io.tape_file import TapeFile
from tapewatch.io.tape_read import TapeReader
from tapewatch.io.tape_records import AlertRecord, alert_record
from tapewatch.io.tape_write import TapeWriter
from tapewatch.model.errors import ReplayMismatch
from tapewatch.model.inputs import Command, Frame, Input, Timer
from tapewatch.model.outputs import Alert, Fault, Output, Report, Resolved
from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.kraken import KrakenConfig
from tapewatch.simulate.scenario import Anomaly, MarketConfig, Scenario
from tapewatch.simulate.scenario import Fault as Planted
from tapewatch.testing import virtual_time

Numbered = tuple[int, Input]

SYMBOLS = ("BTC/USD", "ETH/USD", "DOGE/USD")
STORM = Scenario(
    market=MarketConfig(trades_per_s=8.0, sigma_1s=2.5e-5),
    anomalies=(
        Anomaly(at_s=40.0, kind="price_jump", params={"sigmas": 60.0}),
        Anomaly(at_s=44.0, kind="volume_burst", symbol="ETH/USD", for_s=3.0),
    ),
    faults=(
        Planted(at_s=20.0, fault="malformed"),
        Planted(at_s=25.0, fault="trade_gap", params={"trades": 3}),
        Planted(at_s=30.0, fault="lost_delta"),
        Planted(at_s=34.0, fault="F11"),
    ),
)


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session(
        tmp_path_factory.mktemp("storm"), 55.0, KrakenConfig(symbols=SYMBOLS, scenario=STORM)
    ).run()


@pytest.fixture(scope="module")
def tape(storm: Session) -> list[Numbered]:
    return list(TapeReader(storm.tape).inputs())


def run(engine: Engine, inputs: Iterable[Numbered]) -> list[bytes]:
    return [msgspec.json.encode(out) for seq, item in inputs for out in engine.step(item, seq)]


def test_the_session_had_something_to_say(storm: Session, tape: list[Numbered]) -> None:
    kinds = {type(item).__name__ for _, item in tape}
    assert kinds >= {"Frame", "Link", "Timer"}
    assert {alert.instrument for alert in storm.alerts} >= {"kraken:BTC/USD", "kraken:ETH/USD"}
    assert storm.ledger.reconnects >= 1


def test_live_equals_replay(storm: Session, tape: list[Numbered]) -> None:
    live = [msgspec.json.encode(alert) for alert in storm.alerts]
    replayed = [line for line in run(storm.engine(), tape) if line.startswith(b'{"type":"alert"')]
    assert replayed == live


@pytest.mark.parametrize("seed", range(3))
def test_any_chunking_gives_the_same(
    storm: Session, tape: list[Numbered], tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng, folder = random.Random(seed), tmp_path_factory.mktemp("chunks")
    outputs: list[Output] = []
    inputs = [item for _, item in tape]

    async def main() -> None:
        live = Live(
            storm.engine(),
            tape=TapeWriter(folder / "tape", config={}, version="test"),
            store=Store(folder / "alerts.sqlite"),
            sinks=[Memory()],
            clock=virtual_time.loop_clock(),
            ledger=Ledger(),
        )
        at = 0
        while at < len(inputs):
            size = rng.choice([1, 2, 17, 256])
            outputs.extend(live.take(inputs[at : at + size]))
            at += size
        live.tape.close()

    virtual_time.run(main())
    said = [msgspec.json.encode(out) for out in outputs]
    # Positions on the tape depend on when alerts were recorded between the inputs; nothing else.
    assert [unplaced(line) for line in said] == [
        unplaced(line) for line in run(storm.engine(), tape)
    ]
    recorded = [line for _, line in TapeReader(folder / "tape").alerts()]
    assert recorded == [
        msgspec.json.encode(out) for out in outputs if isinstance(out, Alert | Report)
    ]


def unplaced(line: bytes) -> dict[str, object]:
    said: dict[str, object] = msgspec.json.decode(line)
    said.pop("evidence", None)
    return said


@pytest.mark.parametrize("count", [2, 3, 5])
def test_shards_by_instrument_together_say_the_same(
    storm: Session, tape: list[Numbered], count: int
) -> None:
    parts = [run(storm.engine((index, count)), tape) for index in range(count)]
    assert sum(map(bool, parts)) > 1
    assert sorted(line for part in parts for line in part) == sorted(run(storm.engine(), tape))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.77, 0.99])
def test_restoring_a_snapshot_gives_the_same(
    storm: Session, tape: list[Numbered], share: float
) -> None:
    cut = int(len(tape) * share)
    first, second = storm.engine(), storm.engine()
    head = run(first, tape[:cut])
    restore(second, snapshot(first))
    assert head + run(second, tape[cut:]) == run(storm.engine(), tape)


def test_while_killed_no_alert_report_or_resolution_leaves(
    storm: Session, tape: list[Numbered]
) -> None:
    engine = storm.engine()
    first = tape[0][1].ts_recv
    engine.step(Command(first, "operator", "kill", "on"))
    outputs = [out for _, item in tape for out in engine.step(item)]
    assert not any(isinstance(out, Alert | Report | Resolved) for out in outputs)
    assert any(out for out in outputs)  # detection went on
    released = engine.step(Command(engine.now, "operator", "kill", "off"))
    told = released.pop(0)
    assert isinstance(told, Fault)
    assert told.kind == "killswitch_off"
    assert all(isinstance(out, Alert) for out in released)


def test_duplicated_frames_give_no_further_market_event(
    storm: Session, tape: list[Numbered]
) -> None:
    plain, doubled = storm.engine(), storm.engine()
    run(plain, tape)
    for _, item in tape:
        doubled.step(item)
        if isinstance(item, Frame) and b'"trade"' in item.data and b'"type":"update"' in item.data:
            doubled.step(item)
    assert doubled.counts["Trade"] == plain.counts["Trade"]
    assert doubled.counts["Quote"] == plain.counts["Quote"]


def test_a_wall_clock_that_steps_back_does_not_move_the_engine(
    storm: Session, tape: list[Numbered]
) -> None:
    engine, seen = storm.engine(), 0
    for index, (seq, item) in enumerate(tape):
        back = 3600 * NS_PER_S if index % 7 == 3 else 0
        engine.step(msgspec.structs.replace(item, ts_recv=item.ts_recv - back), seq)
        assert engine.now >= seen
        seen = engine.now


def test_an_alert_is_reproduced_from_its_clip_alone(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("clip")
    watched(folder, "session.duration_s=62")
    whole = folder / "one" / "tape"
    jump = next(alert for alert in alerts_of(folder) if alert.cause == "price_spike")
    clip = folder / "jump.tape"
    since, _ = around(whole, jump.id[:8])
    export_tape(whole, clip, since + 50 * NS_PER_S, jump.ts_alert_ns + NS_PER_S)
    assert verify(clip).problems == ()
    assert (
        sum(1 for _ in TapeReader(clip).inputs()) < sum(1 for _ in TapeReader(whole).inputs()) / 2
    )
    assert jump in list(recorded(clip))
    assert check(clip, engine_of(configured(clip))) == len(list(recorded(clip)))


def test_a_replay_names_what_differs_from_the_record(
    storm: Session, tmp_path: pathlib.Path
) -> None:
    changed = tmp_path / "changed.tape"
    with TapeFile(changed, config={}, version="test") as out:
        for record in TapeReader(storm.tape).records():
            if isinstance(record, AlertRecord):
                line = bytes(record.a).replace(b'"severity":"page"', b'"severity":"info"')
                out.put(alert_record(record.n, line))
            else:
                out.put(record)
    with pytest.raises(ReplayMismatch, match="severity was info, is page"):
        check(changed, storm.engine())


def test_a_record_that_lacks_alerts_does_not_agree(tmp_path: pathlib.Path) -> None:
    """Ten alerts, of which the first three are on a closed tape, long before its end."""
    watched(tmp_path, "session.duration_s=62")
    whole = tmp_path / "one" / "tape"
    lacking = tmp_path / "lacking.tape"
    config, kept = TapeReader(whole).header.config, 0
    with TapeFile(lacking, config=config, version="test") as out:
        for record in TapeReader(whole).records():
            if isinstance(record, AlertRecord):
                kept += 1
                if kept > 3:  # its number on the tape stays in use: alerts say where they are
                    out.append(Timer(1))
                    continue
            out.put(record)
    assert kept > 3
    with pytest.raises(ReplayMismatch, match="the record lacks what input"):
        check(lacking, engine_of(configured(lacking)))


def test_nothing_is_compared_where_inputs_were_not_recorded(
    storm: Session, tmp_path: pathlib.Path
) -> None:
    paused, notes, told = tmp_path / "paused.tape", list[str](), 0
    with TapeFile(paused, config={}, version="test") as out:
        for record in TapeReader(storm.tape).records():
            if told >= 2 and not isinstance(record, AlertRecord):
                break
            told += isinstance(record, AlertRecord)
            out.put(record)
        out.append(Command(1, "tape", "unrecorded", "begin"))
        out.append_alert(b'{"type":"alert"}')
    assert check(paused, storm.engine(), notes.append) == told
    assert notes == [
        f"from record {out.seq - 1:,} on nothing can be compared: inputs were not recorded"
    ]
