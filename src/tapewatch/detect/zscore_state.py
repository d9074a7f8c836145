"""The memory of `zscore`: one instrument's price, volume and baselines; and packed, for others.

A checkpoint is a copy for another process, which may begin with it in place of an empty baseline;
the tape is the truth. It holds at most `KEPT` samples of a window (or as many as a baseline needs),
evenly taken, so that a market costs about 3 kB as bot 4.15 estimates; a window of no more samples
comes back whole. Reading a checkpoint changes nothing in the state: a session with a mirror and one
without say the same, to the bit.
"""

from itertools import compress
from math import ceil, isfinite
from struct import pack, unpack
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct, field

from tapewatch.kernels.moments import SAMPLE_MAX, mean_std, shifted_sums
from tapewatch.kernels.windows import LOSS, Window, count, push
from tapewatch.model import limits
from tapewatch.model.errors import DecodeError
from tapewatch.model.time import NS_PER_S, TS_MAX_NS, TS_MIN_NS

FORMAT: Final = 1
KEPT: Final = 150  # samples of a window; 20 bytes each make the specification's 3 kB
VOLUME_PARTS: Final = 60  # the volume window is kept in so many parts at most
HOLE: Final = 0.1  # of the volume window may have passed unseen; more, and volume is not judged

Natural = Annotated[int, Meta(ge=0, le=1 << 32)]
Finite = Annotated[float, Meta(ge=0.0, le=SAMPLE_MAX)]


class ZScoreState(Struct):
    """Memory of one instrument: the current price, the volume by second, and both baselines."""

    key: str
    source: str
    seconds: list[float]  # notional of each second, at `second % len(seconds)`
    second: int = 0  # the newest of them
    price: float = 0.0  # 0: unknown
    quoted: bool = False  # the price is a mid, so trades do not set it
    bid: float = 0.0
    tick: float = 0.0  # smallest price step seen, 0: none yet
    cycle_ns: int = 0  # start of the cycle judged last
    prices: Window = field(default_factory=Window)
    volumes: Window = field(default_factory=Window)
    whole_s: int = 0  # the volume window has a hole before this second, and is not judged
    # What the venue says: bit 1 of this market, bit 2 of the whole source.
    stale: int = 0  # there are no current data
    halted: int = 0  # it does not trade
    holed: int = 0  # trades may be missing


class Checkpoint(Struct, frozen=True, gc=False):
    """What bot 4.15 stores of a baseline. Price in quote units, volume in quote units per
    volume window, time in ns."""

    mean_price: float
    std_price: float
    mean_volume: float
    std_volume: float
    samples: int
    updated_ns: int


class _Packed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Ages are how many `unit_ns` a sample lies before `newest_ns`, uint32; none are told where
    there is a sample every unit. Values are float64; all little-endian. `parts`: seconds before
    `second`, and the notional then."""

    format: int
    newest_ns: Annotated[int, Meta(ge=TS_MIN_NS, le=TS_MAX_NS)]
    unit_ns: Annotated[int, Meta(ge=1, le=TS_MAX_NS)]  # of the ages: the cycle
    volume_window_s: Natural
    tick: Finite
    second: Annotated[int, Meta(ge=0, le=TS_MAX_NS // NS_PER_S)]
    parts: Annotated[list[tuple[Natural, Finite]], Meta(max_length=VOLUME_PARTS)]
    price_ages: bytes
    prices: bytes
    volume_ages: bytes
    volumes: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Packed).decode


def checkpoint(state: ZScoreState, ddof: int) -> Checkpoint | None:
    """The baseline of `state` as it stands, not packed; None before it has a spread."""
    samples = count(state.prices)
    if samples <= ddof:
        return None
    mean_price, std_price = _moments(state.prices, ddof)
    mean_volume, std_volume = _moments(state.volumes, ddof)
    newest_ns = state.prices.times[-1]
    return Checkpoint(mean_price, std_price, mean_volume, std_volume, samples, newest_ns)


def packed(state: ZScoreState, unit_ns: int, min_samples: int) -> bytes:
    """The memory of `state`, which has samples, for `unpacked`. `unit_ns` divides the times of all
    samples: the length of a cycle."""
    newest_ns = state.prices.times[-1]
    keep = max(KEPT, min_samples)
    return _encode(
        _Packed(
            FORMAT,
            newest_ns,
            unit_ns,
            len(state.seconds),
            state.tick,
            state.second,
            _parts(state),
            *_window(state.prices, newest_ns, unit_ns, keep),
            *_window(state.volumes, newest_ns, unit_ns, keep),
        )
    )


def unpacked(key: str, data: bytes, volume_window_s: int, now: int) -> ZScoreState:
    """The state of `key` that `data` was made of, as far as it is told there; `now` (ns) is when it
    comes back. Its price is unknown until the market speaks. Raises `DecodeError`: `data` may have
    been written by anybody.
    """
    if len(data) > limits.BASELINE_BYTES:
        raise DecodeError(f"a baseline of {len(data):,} bytes is too large")
    try:
        found = _decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise DecodeError(f"no baseline: {error}") from error
    if found.format != FORMAT:
        raise DecodeError(f"baseline format {found.format}, this program reads {FORMAT}")
    if found.volume_window_s != volume_window_s:
        raise DecodeError(
            f"its volume is of {found.volume_window_s} s, that of our settings of {volume_window_s}"
        )
    if found.newest_ns > now or found.second > now // NS_PER_S + 1:
        raise DecodeError("its newest sample lies in the future")
    state = ZScoreState(key, key.partition(":")[0], [0.0] * volume_window_s)
    state.tick, state.cycle_ns, state.second = found.tick, found.newest_ns, found.second
    _fill(state.prices, found, found.price_ages, found.prices)
    _fill(state.volumes, found, found.volume_ages, found.volumes)
    for age_s, notional in found.parts:
        if age_s >= volume_window_s:
            raise DecodeError("it counts volume from before its window")
        state.seconds[(found.second - age_s) % volume_window_s] += notional
    second = now // NS_PER_S
    unseen_s = second - found.newest_ns // NS_PER_S
    if unseen_s > HOLE * volume_window_s:
        state.whole_s = second + volume_window_s
    return state


def _window(window: Window, newest_ns: int, unit_ns: int, keep: int) -> tuple[bytes, bytes]:
    head, size = window.head, count(window)
    times, values = window.times, window.values
    if size > keep:
        picked = [head + number * (size - 1) // (keep - 1) for number in range(keep)]
        times, values = [times[at] for at in picked], [values[at] for at in picked]
    elif head:
        times, values = times[head:], values[head:]
    ages = b""
    if values and (times[-1] != newest_ns or newest_ns - times[0] != (len(times) - 1) * unit_ns):
        ages = pack(f"<{len(times)}I", *[(newest_ns - at) // unit_ns for at in times])
    return ages, pack(f"<{len(values)}d", *values)


def _fill(window: Window, found: _Packed, ages: bytes, values: bytes) -> None:
    size = len(values) // 8
    if len(values) != size * 8 or len(ages) not in (0, size * 4):
        raise DecodeError("its samples are cut off")
    units = unpack(f"<{size}I", ages) if ages else range(size - 1, -1, -1)
    last = TS_MIN_NS
    for age, value in zip(units, unpack(f"<{size}d", values), strict=True):
        at = found.newest_ns - age * found.unit_ns
        if at < last or not (isfinite(value) and 0.0 <= value <= SAMPLE_MAX):
            raise DecodeError("its samples are out of order or no amounts")
        push(window, at, value)
        last = at


def _parts(state: ZScoreState) -> list[tuple[int, float]]:
    """The volume window without its empty seconds. Where there are more than `VOLUME_PARTS` others,
    in parts of equal length: notional is then kept to the end of its part, longer than it was."""
    seconds, size, second = state.seconds, len(state.seconds), state.second
    full = [(second - at) % size for at in compress(range(size), seconds)]
    if len(full) <= VOLUME_PARTS:
        return [(age, min(seconds[(second - age) % size], SAMPLE_MAX)) for age in full]
    length = ceil(size / VOLUME_PARTS)
    sums: dict[int, float] = {}
    for age in full:
        part = age - age % length
        sums[part] = min(sums.get(part, 0.0) + seconds[(second - age) % size], SAMPLE_MAX)
    return list(sums.items())


def _moments(window: Window, ddof: int) -> tuple[float, float]:
    """Mean and standard deviation as `windows.spread` has them, without touching the window."""
    size = count(window)
    if size <= ddof:
        return 0.0, 0.0
    anchor, sum_1, sum_2 = window.anchor, window.sum_1, window.sum_2
    if (sum_2 - sum_1 * (sum_1 / size)) * LOSS < window.peak:
        anchor, sum_1, sum_2 = shifted_sums(window.values[window.head :])
    offset, std = mean_std(size, sum_1, sum_2, ddof)
    return anchor + offset, std
