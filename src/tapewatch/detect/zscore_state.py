"""The memory of `zscore`: one instrument's price, volume and baselines; and packed, for others.

A checkpoint is a copy for another process, which may begin with it in place of an empty baseline;
the tape is the truth. It holds at most `KEPT` samples of a window (or as many as a baseline needs),
evenly taken, so that a market costs about 3 kB as bot 4.15 estimates; a window of no more samples
comes back whole. Reading a checkpoint changes nothing in the state: a session with a mirror and one
without say the same, to the bit.
"""

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


class Checkpoint(Struct, frozen=True, gc=False):
    """A baseline for others: what bot 4.15 stores, and `packed`, from which `unpacked` makes the
    state again. Price in quote units, volume in quote units per volume window."""

    mean_price: float
    std_price: float
    mean_volume: float
    std_volume: float
    samples: int
    updated_ns: int
    packed: bytes


class _Packed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`age_*`: ns of a sample before `newest_ns`, uint64; values are float64; all little-endian.
    `volume_ages` is empty where both windows have the same times. `parts`: seconds before `second`,
    and the notional since the part before."""

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


def packed(state: ZScoreState, unit_ns: int, min_samples: int, ddof: int) -> Checkpoint | None:
    """The baseline of `state` as it stands; None before its first sample. `unit_ns` divides the
    times of all samples: the length of a cycle."""
    samples = count(state.prices)
    if samples <= ddof:
        return None
    newest_ns = state.prices.times[-1]
    keep = max(KEPT, min_samples)
    price_ages, prices = _window(state.prices, newest_ns, unit_ns, keep)
    volume_ages, volumes = _window(state.volumes, newest_ns, unit_ns, keep)
    mean_price, std_price = _moments(state.prices, ddof)
    mean_volume, std_volume = _moments(state.volumes, ddof)
    data = _Packed(
        FORMAT,
        newest_ns,
        unit_ns,
        len(state.seconds),
        state.tick,
        state.second,
        _parts(state),
        price_ages,
        prices,
        b"" if volume_ages == price_ages else volume_ages,
        volumes,
    )
    return Checkpoint(
        mean_price, std_price, mean_volume, std_volume, samples, newest_ns, _encode(data)
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
    _fill(state.volumes, found, found.volume_ages or found.price_ages, found.volumes)
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
    ages = [(newest_ns - at) // unit_ns for at in times]
    return pack(f"<{len(ages)}I", *ages), pack(f"<{len(values)}d", *values)


def _fill(window: Window, found: _Packed, ages: bytes, values: bytes) -> None:
    size = len(values) // 8
    if len(ages) != size * 4 or len(values) != size * 8:
        raise DecodeError("its samples are cut off")
    last = TS_MIN_NS
    for age, value in zip(unpack(f"<{size}I", ages), unpack(f"<{size}d", values), strict=True):
        at = found.newest_ns - age * found.unit_ns
        if at < last or not (isfinite(value) and 0.0 <= value <= SAMPLE_MAX):
            raise DecodeError("its samples are out of order or no amounts")
        push(window, at, value)
        last = at


def _parts(state: ZScoreState) -> list[tuple[int, float]]:
    """The volume window without its empty seconds, in parts of equal length: notional is kept to
    the end of its part, a sixtieth of the window, longer than it was."""
    size, second = len(state.seconds), state.second
    length = ceil(size / VOLUME_PARTS)
    if not any(state.seconds):
        return []
    ages = state.seconds[second % size :: -1] + state.seconds[: second % size : -1]
    sums = ((age, sum(ages[age : age + length])) for age in range(0, size, length))
    return [(age, min(notional, SAMPLE_MAX)) for age, notional in sums if notional > 0.0]


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
