"""`driftlock`: byte for byte the original's output when lengths are given, and what it can see."""

import json
import math
import pathlib
import re
import runpy
import statistics
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.detect import gojson
from tapewatch.detect.driftlock import LENGTHS, Driftlock, LineResult, LineWindow, encode, trade_row
from tapewatch.model.events import Quote, Trade
from tapewatch.model.outputs import Observation
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S

Algo = Literal["zstd", "gzip"]
ALGOS: tuple[Algo, Algo] = ("zstd", "gzip")
ID = "kraken:BTC/USD"
T0 = 1_763_870_503 * NS_PER_S
BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"


def golden(shared_data: pathlib.Path, algo: Algo) -> list[tuple[bytes, bytes]]:
    """Lines of the input in Go's form, each with what the original printed for it."""
    folder = shared_data / "golden" / "driftlock"
    read = (folder / "input.ndjson").read_bytes().splitlines()
    printed = (folder / f"expected.{algo}.ndjson").read_bytes().splitlines()
    lines = [gojson.canonical(raw) for raw in read if raw.strip()]
    return list(zip(lines, printed, strict=True))


@pytest.mark.parametrize("algo", ALGOS)
def test_every_byte_is_the_originals_when_lengths_are_given(
    shared_data: pathlib.Path, algo: Algo
) -> None:
    pairs = golden(shared_data, algo)
    detector, window, equal = Driftlock(algo=algo), LineWindow(), 0
    for line, printed in pairs:
        length = round(json.loads(printed)["compression_ratio"] * len(line))
        equal += encode(detector.score(window, line, length)) == printed
    assert equal == len(pairs) == 2_000


@pytest.mark.parametrize("algo", ALGOS)
def test_our_compressors_agree_on_trades(
    shared_data: pathlib.Path, algo: Algo, record_property: Callable[[str, object], None]
) -> None:
    """No Python compressor finds the original's lengths, so scores differ a little."""
    detector, window = Driftlock(algo=algo), LineWindow()
    differences, trades = [], 0
    for line, printed in golden(shared_data, algo):
        theirs = json.loads(printed)
        ours = detector.score(window, line, LENGTHS[algo](line))
        if line.startswith(b'{"id":"kraken-'):
            trades += 1
            assert ours.is_anomaly == theirs["is_anomaly"]
        if ours.ready:
            differences.append(abs(ours.score - theirs["score"]))
    record_property("median_score_difference", statistics.median(differences))
    assert trades > 1_900
    assert statistics.median(differences) <= 0.004


def results(detector: Driftlock, lines: list[bytes]) -> list[LineResult]:
    window = LineWindow()
    return [detector.score(window, line, LENGTHS[detector.algo](line)) for line in lines]


def test_the_baseline_must_be_full_and_takes_anomalies_in() -> None:
    normal = b'{"a":1234567890,"b":"some text"}'
    odd = b"A" * 400
    found = results(Driftlock(baseline_lines=3), [*[normal] * 3, *[odd] * 4])
    assert [one.reason for one in found[:3]] == [f"Warming baseline ({n}/3)" for n in range(3)]
    assert [one.ready for one in found] == [False] * 3 + [True] * 4
    assert (found[3].is_anomaly, found[6].is_anomaly) == (True, False)
    assert [one.sequence for one in found] == [1, 2, 3, 4, 5, 6, 7]
    assert found[4].baseline_entropy == pytest.approx(found[0].entropy * 2 / 3, abs=1e-12)


def test_a_short_line_is_no_anomaly() -> None:
    normal = [b'{"a":1234567890,"b":"some text"}'] * 3
    (found,) = results(Driftlock(baseline_lines=3), [*normal, b"{}"])[3:]
    assert (found.score > 0.35, found.is_anomaly) == (True, False)
    assert found.reason == "Within baseline variance"
    (found,) = results(Driftlock(baseline_lines=3, min_line_length=2), [*normal, b"{}"])[3:]
    assert found.is_anomaly


def test_empty_lines_do_not_divide_by_zero() -> None:
    found = results(Driftlock(baseline_lines=2), [b"", b"", b"", b"x" * 20])
    assert (found[2].score, found[2].compression_ratio) == (0.0, 0.0)
    assert found[3].score == found[3].compression_delta / 2 == 0.5  # 21 of 20 bytes or more
    assert encode(found[0]).startswith(b'{"sequence":1,"line":"","entropy":0,"baseline_entropy":0,')


def test_bytes_that_are_no_text_are_shown_replaced() -> None:
    (found,) = results(Driftlock(), [b"caf\xe9"])
    assert found.line == "caf\ufffd"


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 80)), max_size=30),
    st.integers(1, 5),
)
def test_scores_are_bounded_printable_and_survive_packing(
    lines: list[tuple[bytes, int]], baseline: int
) -> None:
    detector, window, packed = Driftlock(baseline_lines=baseline), LineWindow(), LineWindow()
    for line, length in lines:
        found = detector.score(window, line, length)
        assert 0.0 <= found.score <= 1.0
        assert 0.0 <= found.entropy <= 8.0
        printed = json.loads(encode(found))
        assert list(printed) == list(LineResult.__struct_fields__)
        assert printed == msgspec.to_builtins(found)
        assert detector.score(packed, line, length) == found
        packed = msgspec.msgpack.decode(msgspec.msgpack.encode(packed), type=LineWindow)
    assert len(window.entropies) == len(window.ratios) <= baseline


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("edge", [0.0, 1e-6, 9.999999e-6, 1e-5, 0.1 + 0.2, 1.0, 4.0, 4.000001])
def test_the_quick_way_to_print_is_the_same(place: int, edge: float) -> None:
    """One number that may be written in another way, at each place among plain ones."""
    *levels, delta_h, delta_ratio = (edge if index == place else 0.17 for index in range(6))
    deltas = (min(delta_h, 1.0), min(delta_ratio, 1.0))
    found = LineResult(7, "a <b>", *levels, *deltas, sum(deltas) / 2, True, True, "ΔH=0.17")
    assert encode(found) == gojson.encode_struct(msgspec.structs.asdict(found))


def trade(index: int, price: float = 87_456.5, size: float = 0.00054749) -> Trade:
    at = T0 + index * NS_PER_S + 612_373_000
    return Trade(ID, at, at + 40_000_000, price, size, "buy", str(index), index % 3)


def watched(detector: Driftlock, trades: list[Trade]) -> list[Observation]:
    state = detector.start(ID)
    found = [detector.update(state, one) for one in trades]
    assert None not in found
    return [one for one in found if one is not None]


def test_a_trade_becomes_the_row_of_the_session() -> None:
    state = Driftlock().start(ID)
    assert trade_row(state, trade(1, 87_458.0)) == (
        b'{"id":"kraken-1763870504612-1","pair":"BTC/USD","price":87458,"qty":0.00054749,'
        b'"side":"buy","source":"kraken","ts":1763870504.612373}'
    )
    assert b'"qty":1e-8,' in trade_row(state, trade(1, size=1e-8))


def test_the_row_has_the_bytes_of_the_golden_file(shared_data: pathlib.Path) -> None:
    compared = 0
    for line, _ in golden(shared_data, "zstd"):
        if re.match(rb'\{"id":"kraken-\d{13}-\d+"', line):
            row: dict[str, Any] = json.loads(line)
            state = Driftlock().start(f"kraken:{row['pair']}")
            at = round(row["ts"] * 1_000_000) * 1_000
            index = int(row["id"].rpartition("-")[2])
            one = Trade("", at, at, row["price"], row["qty"], row["side"], index=index)
            assert trade_row(state, one) == line
            compared += 1
    assert compared > 1_900


def test_every_trade_is_measured_and_carries_the_original_result() -> None:
    found = watched(Driftlock(baseline_lines=5), [trade(index) for index in range(8)])
    assert [one.ready for one in found] == [False] * 5 + [True] * 3
    assert [one.baseline_count for one in found] == [0, 1, 2, 3, 4, 5, 5, 5]
    assert [one.baseline_age_s for one in found] == [0.0] + [1.0] * 7
    assert found[2].reason == "the baseline has 2 of 5 rows"
    last = found[-1]
    assert isinstance(last.native, LineResult)
    assert (last.score, last.line, last.p, last.cause) == (
        last.native.score,
        0.35,
        None,
        "driftlock",
    )
    assert (last.reason, last.contributions) == ("", ())
    assert last.native.sequence == 8


def test_an_anomaly_is_explained() -> None:
    trades = [*map(trade, range(5)), trade(5, float("7" * 300))]
    last = watched(Driftlock(baseline_lines=5, threshold=0.02), trades)[-1]
    assert last.score >= last.line
    assert last.ready
    assert last.native.is_anomaly
    assert last.reason.startswith("this row's form is unlike the last 5: entropy ")
    assert clean(last.reason, len(last.reason)) == last.reason
    assert [part.name for part in last.contributions] == ["entropy", "compression"]
    larger = max(last.contributions, key=lambda part: part.score)
    assert (last.observed, last.expected) == (larger.observed, larger.expected)


def test_a_row_below_the_minimum_length_is_not_judged() -> None:
    detector = Driftlock(baseline_lines=2, threshold=1e-9, min_line_length=1_000)
    last = watched(detector, [trade(index, 10.0**index) for index in range(9)])[-1]
    assert last.score >= last.line
    assert not last.ready


def test_only_trades_are_its_business() -> None:
    detector = Driftlock()
    assert detector.key(trade(1)) == ID
    assert detector.key(Quote(ID, T0, T0, 1.0, 1.0, 2.0, 1.0)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"baseline_lines": 0},
        {"baseline_lines": 10**9},
        {"threshold": 0.0},
        {"threshold": 1.5},
        {"threshold": math.nan},
        {"min_line_length": 0},
        {"algo": "entropy"},
        {"thresold": 0.3},
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, Driftlock)


@pytest.mark.parametrize("algo", ALGOS)
def test_what_it_sees_and_what_it_cannot(algo: Algo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts of docs/explanation/driftlock.md. They are the method's, not ours to improve."""
    monkeypatch.syspath_prepend(BENCH)
    seen = runpy.run_path(str(BENCH / "driftlock_sight.py"))["look"](algo)
    loud = {name for name, found in seen.items() if found.fired}
    assert loud == {"a heartbeat message", "400 letters A"}
    assert all(seen[name].fired == len(seen[name].scores) == 40 for name in loud)
    market = [name for name in seen if name.startswith(("a normal", "price", "size", "a trade"))]
    assert len(market) == 9
    assert max(score for name in market for score in seen[name].scores) < 0.05
