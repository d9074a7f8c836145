"""The shape of messages: every change of form is found, no change of values is."""

import gzip
import json
import pathlib
import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.detect.shape import FORMS, KINDS, PARTS, REPEATED, Shape, ShapeState
from tapewatch.detect.shape_memory import ADOPTED
from tapewatch.model.inputs import Frame
from tapewatch.model.outputs import Observation
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S

T0: Final = 1_763_870_504 * NS_PER_S
Row = dict[str, Any]


def rows(count: int, seed: int = 1) -> Iterator[Row]:
    """Trades as a streamer of one Kraken pair would write them."""
    chance = random.Random(seed)
    price, ts = 87_456.5, T0 / NS_PER_S
    for index in range(count):
        price = round(price * (1.0 + chance.gauss(0.0, 2e-4)), 1)
        ts += chance.expovariate(3.0)
        yield {
            "ts": round(ts, 6), "price": price, "qty": round(chance.lognormvariate(-4.0, 2.0), 8),
            "side": chance.choice(("buy", "sell")), "pair": "XBT/USD",
            "id": f"kraken-{int(ts * 1000)}-{index % 3}", "source": "kraken",
        }  # fmt: skip


def measured(
    lines: Iterable[bytes], state: ShapeState | None = None, stream: str = "ws"
) -> list[tuple[int, Observation]]:
    """Observations that are anomalous, with the number of their line."""
    shape = Shape()
    state = shape.start("kraken:*") if state is None else state
    found = []
    for index, line in enumerate(lines):
        seen = shape.update(state, Frame(T0 + index * NS_PER_S, "kraken", line, stream))
        if seen is not None and seen.score >= seen.line:
            found.append((index, seen))
    return found


def text(row: Any) -> bytes:
    return json.dumps(row).encode()


def learnt(count: int = 600) -> ShapeState:
    state = Shape().start("kraken:*")
    assert measured(map(text, rows(count)), state) == []
    return state


def without(*names: str) -> Callable[[Row], Row]:
    return lambda row: {name: value for name, value in row.items() if name not in names}


HEX: Final = random.Random(7).randbytes(100).hex()
PRINTABLE: Final = "".join(chr(33 + (7 * n) % 90) for n in range(200)).replace('"', "'")
HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body>502</body></html>"

# What the original detector's score separates from normal lines (the rows with an AUC of 1.0), and
# what a reader of the form must find besides.
ODD: Final[dict[str, tuple[str, Callable[[Row], Any]]]] = {
    "heartbeat": ("new_kind", lambda _: {"event": "heartbeat"}),
    "heartbeat_v2": ("new_kind", lambda _: {"channel": "heartbeat"}),
    "four_fields_dropped": ("new_kind", without("qty", "side", "id", "source")),
    "hex_behind": ("unreadable", lambda row: text(row) + HEX.encode()),
    "hex_inside": ("length", lambda row: {**row, "id": row["id"] + HEX}),
    "noise_behind": ("unreadable", lambda row: text(row) + PRINTABLE.encode()),
    "noise_inside": ("length", lambda row: {**row, "id": row["id"] + PRINTABLE}),
    "html": ("unreadable", lambda _: HTML),
    "letters_behind": ("unreadable", lambda row: text(row) + b"a" * 200),
    "letters_inside": ("length", lambda row: {**row, "id": "a" * 200}),
    "many_letters": ("length", lambda row: {**row, "id": "a" * 2000}),
    "digits_inside": ("length", lambda row: text(row).replace(b'e": ', b'e": ' + b"1" * 200, 1)),
    "empty": ("new_kind", lambda _: {}),
    "price_alone": ("new_kind", lambda _: {"price": 1}),
    "new_key": ("new_key", lambda row: {**row, "fee": 1}),
    "new_key_of_hex_letters": ("new_key", lambda row: {**row, "a": 1}),
    "missing_number": ("missing_field", without("price")),
    "missing_text": ("missing_field", without("id")),
    "text_for_a_number": ("type", lambda row: {**row, "price": str(row["price"])}),
    "null": ("type", lambda row: {**row, "price": None}),
    "pair_switch": ("new_value", lambda row: {**row, "pair": "ETH/USD"}),
    "list": ("new_kind", lambda _: [337, [["1", "2"]], "trade", "XBT/USD"]),
    "binary": ("unreadable", lambda _: b"\xff\xfe\x00\x01"),
    "nothing": ("unreadable", lambda _: b""),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_every_change_of_form_is_found_each_time(name: str) -> None:
    kind, change = ODD[name]
    state = learnt()
    for number, row in enumerate(rows(60, seed=2)):
        odd = number % 3 == 2
        line = change(row) if odd else row
        found = measured([line if isinstance(line, bytes) else text(line)], state)
        assert [one.kind for _, one in found] == [kind] * odd, (number, line)
        for _, one in found:
            # What cannot be read is a warning of the decoder's.
            severity = "info" if kind == "unreadable" else "warn"
            assert (one.cause, one.severity, one.instrument) == ("shape", severity, "kraken:*")
            assert one.reason == clean(one.reason, 400)
            assert one.observed is not None
            assert one.expected is not None


QUIET: Final[dict[str, Callable[[Row], Row]]] = {
    "price_x10": lambda row: {**row, "price": row["price"] * 10},
    "price_0": lambda row: {**row, "price": 0.0},
    "price_negative": lambda row: {**row, "price": -1.0},
    "huge_size": lambda row: {**row, "qty": 5000.0},
    "tiny_size": lambda row: {**row, "qty": 1e-08},
    "whole_price": lambda row: {**row, "price": 87_454},
}  # fmt: skip


@pytest.mark.parametrize("name", QUIET)
def test_no_value_of_a_price_or_size_is_odd(name: str) -> None:
    lines = [text(QUIET[name](row)) for row in rows(10, seed=2)]
    assert measured(lines, learnt()) == []


def test_nothing_is_odd_before_the_form_is_known() -> None:
    changed = [text(ODD[name][1](row)) for name, row in zip(ODD, rows(100), strict=False)
               if not isinstance(ODD[name][1](row), bytes)]  # fmt: skip
    assert measured(changed) == []
    assert measured([*map(text, rows(400)), HTML]) == []


def test_ten_thousand_normal_rows_say_nothing() -> None:
    assert measured(map(text, rows(10_000, seed=3))) == []


def test_a_lasting_change_becomes_the_rule() -> None:
    state = learnt()
    changed = [text({**row, "fee": 1}) for row in rows(ADOPTED + 500, seed=2)]
    found = measured(changed, state)
    assert [index for index, _ in found] == list(range(ADOPTED - 1))


def test_a_late_kind_is_only_told_where_a_source_has_several() -> None:
    control = [b'{"event":"systemStatus"}', b'{"event":"subscriptionStatus"}', b'{"event":"pong"}']
    lines = [*control, *map(text, rows(600)), b'{"event":"heartbeat"}', HTML]
    found = measured(lines)
    assert [(one.kind, one.severity) for _, one in found] == [
        ("new_kind", "info"), ("unreadable", "info"),
    ]  # fmt: skip


def test_one_of_many_instruments_is_only_told() -> None:
    names = "ABCDEFGHIJ"
    lines = [text({**row, "pair": f"{names[n % 10]}/USD"}) for n, row in enumerate(rows(700))]
    last = text({**next(rows(1)), "pair": "ETH/USD"})
    found = measured([*lines, last])
    assert [(index, one.kind, one.severity) for index, one in found] == [(700, "new_value", "info")]


def test_a_market_named_before_is_not_new_when_it_trades_at_last() -> None:
    confirmed = b'{"method":"subscribe","result":{"channel":"trade","symbol":"ETH/USD"}}'

    def trade(symbol: str) -> bytes:
        return text({"channel": "trade", "data": [{"symbol": symbol, "price": 1.5}]})

    late = [*[trade("BTC/USD")] * 3_000, trade("ETH/USD")]
    assert [index for index, _ in measured(late)] == [3_000]
    assert measured([confirmed, *late]) == []


def test_free_text_is_no_category() -> None:
    words = [text({**row, "id": "".join(chr(97 + (n * k) % 26) for k in range(1, 6))})
             for n, row in enumerate(rows(2_000))]  # fmt: skip
    assert measured(words) == []


def test_other_decimals_of_a_fixed_format_are_told() -> None:
    lines = [b'{"p":"%d.50","q":1}' % (100 + n % 50) for n in range(700)]
    found = measured([*lines, b'{"p":"100.500","q":1}'])
    assert [(index, one.kind, one.severity) for index, one in found] == [(700, "decimals", "info")]


def test_levels_and_trades_may_be_any_number() -> None:
    chance = random.Random(5)

    def levels(count: int) -> list[list[str]]:
        return [[f"{chance.random() * 100:.2f}", f"{chance.random():.8f}"] for _ in range(count)]

    lines = [
        text({"stream": "btcusdt@depth", "data": {"e": "depthUpdate", "u": n, "s": "BTCUSDT",
              "b": levels(chance.randrange(40)), "a": levels(chance.randrange(40))}})
        for n in range(3_000)
    ]  # fmt: skip
    state = Shape().start("kraken:*")
    assert measured(lines, state) == []
    broken = lines[0].replace(b'"]], "a"', b'", "x"]], "a"')
    assert [one.kind for _, one in measured([broken], state)] == ["new_key"]
    assert len(state.forms) + len(state.reduced) < 20


def test_answers_over_http_are_learnt_apart() -> None:
    state = learnt()
    answer = b'{"error":[],"result":{"XXBTZUSD":[["1.0","2.0",1,"b","m","",7]],"last":"1"}}'
    assert measured([answer] * 3, state, "rest:/0/public/Trades?pair=XBTUSD&since=1") == []
    assert [one.kind for _, one in measured([answer], state)] == ["new_kind"]


def test_a_rare_combination_is_told_with_its_p() -> None:
    chance, shape = random.Random(11), Shape()
    state = shape.start("kraken:*")
    state.sample = 1  # every frame counts, so that the record of code lengths is there sooner
    found = []
    for index in range(6_000):
        rare = index in {0, 1, 5_900}
        row = {"side": chance.choice(("buy", "sell")), "order": "block" if rare else "limit"}
        line = text({**row, "flag": "late" if rare else "none"})
        seen = shape.update(state, Frame(T0 + index, "kraken", line))
        if seen is not None:
            found.append((index, seen))
    assert [index for index, _ in found] == [5_900]
    seen = found[0][1]
    assert (seen.kind, seen.severity) == ("rare", "info")
    assert seen.p is not None
    assert seen.p < 1e-3
    assert seen.flip is not None
    assert seen.observed is not None
    assert seen.expected is not None
    assert seen.expected < seen.flip < seen.observed


def test_rows_of_our_own_import_have_no_form() -> None:
    assert Shape().key(Frame(T0, "ndjson", b"{}")) is None
    assert Shape().key(Frame(T0, "kraken", b"{}")) == "kraken:*"


def test_known_skeletons_rows_and_frames_are_bounded() -> None:
    chance, shape = random.Random(17), Shape()
    state = shape.start("kraken:*")
    for index in range(3_000):
        rows_of = [{"".join(chance.choices("klmnopqrs", k=6)): 1} for _ in range(index % 7)]
        key = "".join(chance.choices("klmnopqrs", k=4))
        shape.update(state, Frame(T0 + index, "kraken", text({key: rows_of * 2, "kind": "x"})))
        assert len(state.forms) <= FORMS
        assert len(state.reduced) <= FORMS
        assert len(state.outers) <= FORMS
        assert len(state.rows) <= PARTS
        assert len(state.repeated) <= REPEATED
        assert len(state.kinds) <= KINDS


def test_very_long_messages_are_a_kind_and_not_taken_apart() -> None:
    state = learnt()
    found = measured([b'["",""],' * 9_000], state)
    assert [one.kind for _, one in found] == ["new_kind"]
    assert len(found[0][1].reason) < 200
    assert len(state.rows) < 10


def test_the_memory_of_one_stream_is_small() -> None:
    state = learnt(5_000)
    assert len(msgspec.msgpack.encode(state)) < 8_000


# Shapes of JSON, with damage: what a broken proxy or an attacker might send.
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60),
    lambda part: (
        st.lists(part, max_size=12) | st.dictionaries(st.text(max_size=50), part, max_size=12)
    ),
    max_leaves=60,
)
HOSTILE: Final = (
    st.binary(max_size=300)
    | VALUES.map(lambda value: json.dumps(value).encode())
    | VALUES.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")[1:])
    | st.sampled_from([b"[" * 100_000, b'{"a":' * 5_000, b"9" * 5_000, b"\xff" * 70_000, b"NaN"])
    | st.text('{}[],:"0a', max_size=80).map(str.encode)
)


@given(st.lists(HOSTILE, min_size=1, max_size=30), st.sampled_from(["ws", "rest:/a?b=c"]))
def test_no_bytes_make_it_raise_or_forget(frames: list[bytes], stream: str) -> None:
    shape, state = Shape(), learnt(520)
    for index, data in enumerate(frames):
        frame = Frame(T0 + index, "kraken", data, stream)
        twin = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ShapeState)
        seen = shape.update(state, frame)
        assert shape.update(twin, frame) == seen
        assert twin == state
        if seen is not None:
            assert seen.reason == clean(seen.reason, len(seen.reason))


def test_memory_is_bounded_against_ever_new_forms() -> None:
    chance, shape = random.Random(13), Shape()
    state = shape.start("kraken:*")
    sizes = []
    for index in range(6_000):
        keys = {"".join(chance.choices("abcdefghij", k=8)): "x" * (n % 40) for n in range(12)}
        row = {
            "channel": f"c{chr(97 + index % 26)}{index % 40}",
            "data": [{**keys, "t": index}] * 3,
        }
        shape.update(state, Frame(T0 + index, "kraken", text(row)))
        if index % 1_000 == 999:
            sizes.append(len(msgspec.msgpack.encode(state)))
    assert sizes[-1] <= 1.1 * sizes[-3]
    assert sizes[-1] < 1 << 19


def captured(path: pathlib.Path) -> Iterator[bytes]:
    """Messages of a capture, without its own marks."""
    data = path.read_bytes()
    for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines():
        mark = re.match(rb"(?:\d{9,10}(?:\.\d+)?: |\d{19} )", line)
        if not re.match(rb"\S+ <", line) and line:
            yield line[mark.end() :] if mark else line


@pytest.mark.parametrize(
    "name",
    [
        "wire/kraken_v1/cryptofeed_KRAKEN.ws.48.0",
        "wire/kraken_v1/cryptofeed_KRAKEN.ws.49.0",
        "wire/kraken_v1/cryptofeed_KRAKEN.ws.50.0",
        "wire/kraken_v2/book_d10_btcusd_wiretext_restored_510.ndjson",
        "wire/binance/cryptofeed_BINANCE_FUTURES.ws.1.0",
        "wire/coinbase/cryptofeed_COINBASE.ws.28.0_legacy2021",
        "wire/okx/cryptofeed_OKX.ws.1.0",
        "wire/raw_2021/KRAKEN_FUTURES.ws.1.0.gz",
        "wire/raw_2021/GEMINI.ws.1.0.gz",
        "binance_l2/spot_ethusdt_20240808.gz",
    ],
)
def test_captured_sessions_warn_of_nothing(shared_data: pathlib.Path, name: str) -> None:
    found = measured(captured(shared_data / name))
    assert [one.reason for _, one in found if one.severity != "info"] == []


def test_a_foreign_line_in_rows_once_streamed_from_kraken(shared_data: pathlib.Path) -> None:
    lines = (shared_data / "golden" / "driftlock" / "input.ndjson").read_bytes().splitlines()
    normal = [line for line in lines if line.startswith(b'{"ts": ') and b"systemStatus" not in line]
    assert measured(normal[:1_000]) == []
    found = measured([*normal[:1_000], b'{"event":"heartbeat"}', *normal[1_000:]])
    assert [(index, one.severity) for index, one in found[:1]] == [(1_000, "warn")]
