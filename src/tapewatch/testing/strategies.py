"""Hypothesis strategies for events and inputs. Needs hypothesis, which tapewatch itself does not.

Values are legal but wide: prices over the whole range of floats, times that repeat and step back.
"""

from typing import get_args

from hypothesis import strategies as st

from tapewatch.model.events import Bar, Book, Event, Quote, Sample, Status, StatusKind, Trade
from tapewatch.model.inputs import Command, Frame, Input, Link, Timer
from tapewatch.model.instrument import Side
from tapewatch.model.time import NS_PER_S, TS_MAX_NS, TS_MIN_NS

INSTRUMENTS = ("kraken:BTC/USD", "kraken:ETH/USD", "polymarket:71321")

instruments = st.sampled_from(INSTRUMENTS)
sources = st.sampled_from(("kraken", "polymarket"))
times = st.integers(TS_MIN_NS, TS_MAX_NS)
prices = st.floats(min_value=0.0, exclude_min=True, allow_nan=False, allow_infinity=False)
sizes = st.floats(min_value=0.0, allow_nan=False, allow_infinity=False)
levels = st.lists(st.tuples(prices, sizes), max_size=10).map(tuple)

trades = st.builds(
    Trade, instruments, times, times, prices, sizes, st.sampled_from(get_args(Side)),
    st.text(max_size=20), st.integers(0, 1_000), st.booleans(),
)  # fmt: skip
quotes = st.builds(
    Quote, instruments, times, times, prices | st.just(0.0), sizes, prices | st.just(0.0), sizes
)
books = st.builds(Book, instruments, times, times, levels, levels)
bars = st.builds(
    Bar, instruments, times, times, prices, prices, prices, prices, sizes,
    st.integers(1, 86_400 * NS_PER_S), st.integers(-1, 10_000),
)  # fmt: skip
samples = st.builds(
    Sample, instruments, times, times, st.integers(1, 86_400 * NS_PER_S), st.integers(-1, 10**15),
    prices, prices, prices, prices | st.just(0.0), prices | st.just(0.0), prices | st.just(0.0),
    st.integers(-1, 10_000), st.integers(-1, 10_000), sizes, sizes, sizes, sizes,
)  # fmt: skip
statuses = st.builds(
    Status, sources, instruments | st.just(""), times, times, st.sampled_from(get_args(StatusKind)),
    st.text(max_size=50), st.text(max_size=10), st.integers(0, 100), st.integers(0, 100), times,
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip

timers = st.builds(Timer, times)
links = st.builds(Link, times, sources, st.sampled_from(("up", "down")), st.text(max_size=50))
frames = st.builds(Frame, times, sources, st.binary(max_size=500))
commands = st.builds(
    Command, times, st.text(max_size=20), st.sampled_from(("kill", "reset_baseline", "unrecorded")),
    st.sampled_from(("on", "off", "unknown", "7", *INSTRUMENTS)),
)  # fmt: skip

events: st.SearchStrategy[Event] = st.one_of(
    trades, quotes, books, bars, samples, statuses, timers, links, frames
)
inputs: st.SearchStrategy[Input] = st.one_of(frames, links, timers, commands)
