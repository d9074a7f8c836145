"""`driftlock`: the score of the Kraken session's detector, number by number.

It measures the form of a line of text: the entropy of its bytes, and how far it can be compressed.
It is not a detector of prices: docs/explanation/driftlock.md says what it can see and what it
cannot. `tapewatch scan` uses `Driftlock.score` for any lines; as a detector it writes each trade as
the row that the session's streamer wrote, and scores that.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import asdict

from tapewatch.detect import gojson
from tapewatch.detect.gojson import PLAIN_MIN
from tapewatch.kernels.information import entropy, gzip_length, zstd_length
from tapewatch.model import limits
from tapewatch.model.events import Event, Trade
from tapewatch.model.instrument import split_id
from tapewatch.model.outputs import Contribution, Observation
from tapewatch.model.time import NS_PER_S

BYTE_BITS: Final = 8.0  # the most entropy a byte can have

_ENCODER: Final = msgspec.json.Encoder()
LENGTHS: Final[dict[str, Callable[[bytes], int]]] = {"zstd": zstd_length, "gzip": gzip_length}


class LineResult(Struct, frozen=True, gc=False):
    """What driftlock says of one line: its fields, in its order."""

    sequence: int
    line: str
    entropy: float
    baseline_entropy: float
    compression_ratio: float
    baseline_compression_ratio: float
    entropy_delta: float
    compression_delta: float
    score: float
    is_anomaly: bool
    ready: bool
    reason: str


class LineWindow(Struct):
    """The last lines' entropies and ratios, with running sums.

    The sums are never computed afresh: their rounding errors are part of the original's output.
    """

    sequence: int = 0
    entropies: list[float] = []
    ratios: list[float] = []
    oldest: int = 0  # the sample to be replaced next, once all places are taken
    entropy_sum: float = 0.0
    ratio_sum: float = 0.0


class DriftlockState(Struct):
    """Memory of one instrument."""

    venue: str
    pair: str
    last_ns: int = 0  # receipt of the newest sample
    window: LineWindow = field(default_factory=LineWindow)


class Driftlock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """score = mean of |H - mean H| / 8 and |CR - mean CR| / mean CR, each at most 1: entropy H of a
    trade's row in bits per byte, compressed length CR per byte, means of the last `baseline_lines`.

    Units: score 0 to 1, anomalous from `threshold` on; observed and expected are of the larger of
    the two changes, in bits or as a ratio. `p` is always None: the score has no distribution that
    anyone knows. Anomalous rows enter the baseline too, as in the original.

    Reference: driftlock commit af82d47, package entropywindow; defaults of its Kraken session.
    False alarms: none on trades, and no hits either: a row keeps its form whatever the price and
    size in it. It sees a change of format, a foreign message, a run of one character.
    Cost: one compression of each row, several times that of everything else here.
    """

    name: ClassVar[str] = "driftlock"
    version: ClassVar[int] = 1
    wants: ClassVar[tuple[type[Event], ...]] = (Trade,)
    state_type: ClassVar[type] = DriftlockState

    baseline_lines: Annotated[int, Meta(ge=1, le=limits.WINDOW_SAMPLES)] = 120
    algo: Literal["zstd", "gzip"] = "zstd"
    threshold: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.35
    min_line_length: Annotated[int, Meta(ge=1)] = 12

    def key(self, event: Event, /) -> str | None:
        return event.instrument if isinstance(event, Trade) else None

    def start(self, key: str, /) -> DriftlockState:
        return DriftlockState(*split_id(key))

    def update(self, state: DriftlockState, event: Event, /) -> Observation | None:
        assert isinstance(event, Trade)
        row = trade_row(state, event)
        result = self.score(state.window, row, LENGTHS[self.algo](row))
        age_s = max(0, event.ts_recv - state.last_ns) / NS_PER_S if state.last_ns else 0.0
        state.last_ns = event.ts_recv
        return self._observation(event, result, len(row), age_s)

    def score(self, window: LineWindow, line: bytes, compressed: int) -> LineResult:
        """Score one line whose compressed length is `compressed`, then let it join the baseline.

        Every operation is in the original's order, so that equal lengths give equal bits.
        """
        size, wanted = len(line), self.baseline_lines
        h = entropy(line)
        ratio = compressed / size if size else 0.0
        entropies, ratios, at = window.entropies, window.ratios, window.oldest
        samples = len(entropies)
        sum_h, sum_ratio = window.entropy_sum, window.ratio_sum
        mean_h = sum_h / samples if samples else 0.0
        mean_ratio = sum_ratio / samples if samples else 0.0
        delta_h = delta_ratio = score = 0.0
        anomaly, ready = False, samples >= wanted
        if ready:
            delta_h = min(1.0, (abs(h - mean_h) if mean_h > 0.0 else h) / BYTE_BITS)
            change = abs(ratio - mean_ratio) / max(mean_ratio, 1e-9) if mean_ratio > 0.0 else ratio
            delta_ratio = min(1.0, change)
            score = (delta_h + delta_ratio) / 2.0
            anomaly = score >= self.threshold and size >= self.min_line_length
            reason = "Within baseline variance"
            if anomaly:
                reason = f"ΔH={delta_h:.2f} ΔCR={delta_ratio:.2f} (score={score:.2f})"
            window.entropy_sum = sum_h + (h - entropies[at])
            window.ratio_sum = sum_ratio + (ratio - ratios[at])
            entropies[at], ratios[at] = h, ratio
            window.oldest = (at + 1) % wanted
        else:
            reason = f"Warming baseline ({samples}/{wanted})"
            window.entropy_sum = sum_h + h
            window.ratio_sum = sum_ratio + ratio
            entropies.append(h)
            ratios.append(ratio)
        window.sequence = sequence = window.sequence + 1
        return LineResult(
            sequence, str(line, "utf-8", "replace"), h, mean_h, ratio, mean_ratio, delta_h,
            delta_ratio, score, anomaly, ready, reason,
        )  # fmt: skip

    def _observation(
        self, trade: Trade, result: LineResult, size: int, age_s: float
    ) -> Observation:
        by_entropy = result.entropy_delta > result.compression_delta
        return Observation(
            detector=self.name,
            instrument=trade.instrument,
            cause=self.name,
            ts_event=trade.ts_event,
            score=result.score,
            line=self.threshold,
            # A row too short to be judged is not ready, whatever its score.
            ready=result.ready and size >= self.min_line_length,
            observed=result.entropy if by_entropy else result.compression_ratio,
            expected=result.baseline_entropy if by_entropy else result.baseline_compression_ratio,
            unit="bits per byte" if by_entropy else "compressed / raw",
            contributions=_contributions(result) if result.is_anomaly else (),
            baseline_count=min(result.sequence - 1, self.baseline_lines),
            baseline_age_s=age_s,
            reason=_sentence(result, self.baseline_lines),
            native=result,
        )


def trade_row(state: DriftlockState, trade: Trade) -> bytes:
    """The trade as the session's streamer wrote it, in the form in which it was scored."""
    ts = trade.ts_event / NS_PER_S
    return gojson.encode_map(
        {
            "id": f"{state.venue}-{int(ts * 1000)}-{trade.index}",
            "pair": state.pair,
            "price": trade.price,
            "qty": trade.size,
            "side": trade.aggressor,
            "source": state.venue,
            "ts": ts,
        }
    )


def encode(result: LineResult) -> bytes:
    """The result as the original prints it, without the newline."""
    if (
        PLAIN_MIN <= result.entropy_delta < 1.0
        and PLAIN_MIN <= result.compression_delta < 1.0
        and result.entropy % 1.0 >= PLAIN_MIN
        and result.baseline_entropy % 1.0 >= PLAIN_MIN
        and result.compression_ratio % 1.0 >= PLAIN_MIN
        and result.baseline_compression_ratio % 1.0 >= PLAIN_MIN
    ):  # then so is the score, and msgspec writes all of them as Go does
        return gojson.escaped(_ENCODER.encode(result))
    return gojson.encode_struct(asdict(result))


def _contributions(result: LineResult) -> tuple[Contribution, ...]:
    return (
        Contribution(
            "entropy",
            result.entropy_delta,
            result.entropy,
            result.baseline_entropy,
            "part of 8 bits",
        ),
        Contribution(
            "compression",
            result.compression_delta,
            result.compression_ratio,
            result.baseline_compression_ratio,
            "part of the mean",
        ),
    )


def _sentence(result: LineResult, lines: int) -> str:
    if not result.ready:
        return f"the baseline has {result.sequence - 1} of {lines} rows"
    if not result.is_anomaly:
        return ""
    return (
        f"this row's form is unlike the last {lines}: entropy {result.entropy:.2f} bits per byte"
        f" (mean {result.baseline_entropy:.2f}), compressed to {result.compression_ratio:.2f}"
        f" of its size (mean {result.baseline_compression_ratio:.2f})"
    )
