"""Hostile text cannot reach a terminal, a log line or a reader's eye."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.limits import TEXT_CHARS
from tapewatch.model.text import clean, clean_bytes, masked

ATTACKS = [
    "\x1b]0;OWNED\x07\x1b[2J",
    "\x9b31m",
    "one\nAnomaly ID: forged\r\nline",
    "abc\u202egpj.exe",
    "zero\u200bwidth\ufeff",
    "\u2028\u2029",
    "\x00\x7f\x85",
    "tag\U000e0041",
    "lone \ud800 surrogate",
]


def test_known_attacks_lose_their_teeth() -> None:
    for attack in ATTACKS:
        shown = clean(attack)
        assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown)
        shown.encode()  # printable on any UTF-8 terminal


@given(st.text(st.characters(), max_size=400))
def test_no_text_yields_an_unsafe_character(text: str) -> None:
    shown = clean(text)
    assert len(shown) <= TEXT_CHARS
    assert not any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in shown)


def test_ordinary_text_is_left_alone_and_long_text_is_cut_visibly() -> None:
    assert clean("Will it rain in München? ▲ 5 %") == "Will it rain in München? ▲ 5 %"
    assert clean("x" * 300, 10) == "xxxxxxxxx…"


@given(st.binary(max_size=1000))
def test_any_bytes_can_be_shown(data: bytes) -> None:
    assert len(clean_bytes(data, 50)) <= 50


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nats://me:s3cret@host:1/x", "nats://***@host:1/x"),
        ("redis://:s3/c@ret@host", "redis://***@host"),
        ("nats://token@host", "nats://***@host"),
        ("redis://h/0?a=1&password=s3cret&b=2", "redis://h/0?a=1&password=***&b=2"),
        ("[['nats://me:s3cret@a', 'nats://b']]", "[['nats://***@a', 'nats://b']]"),
        ("nats://host:4222", "nats://host:4222"),
        ("polymarket:0xab@home", "polymarket:0xab@home"),
    ],
)
def test_secrets_in_addresses_are_hidden(text: str, shown: str) -> None:
    assert masked(text) == shown
