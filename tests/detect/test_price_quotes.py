"""`price_jump` where there are quotes: they count once they have stood, prints beside them not."""

from price_tapes import COIN, quote, sample, told, trade, walk

from tapewatch.detect.base import LINE
from tapewatch.detect.price_jump import PriceJump
from tapewatch.detect.price_scale import WARM
from tapewatch.detect.price_steps import PriceState
from tapewatch.kernels.tails import READY

WARMED = READY + WARM + 40


def quoted(detector: PriceJump, key: str = COIN) -> PriceState:
    state = detector.start(key)
    for at, price in enumerate(walk(WARMED)):
        detector.update(state, quote(at, price * (1 - 1e-5), price * (1 + 1e-5), key))
    return state


def test_a_quote_counts_once_it_has_stood() -> None:
    detector = PriceJump()
    state = quoted(detector)
    far, bid, ask = 110.0, state.newest_bid, state.newest_ask
    assert detector.update(state, quote(WARMED, far, far + 0.01)) is None
    assert detector.update(state, quote(WARMED + 0.2, bid, ask)) is None  # it flickered
    assert detector.update(state, quote(WARMED + 5, far, far + 0.01)) is None
    seen = detector.update(state, quote(WARMED + 5.3, far, far + 0.02))
    assert seen is not None
    assert seen.score >= LINE
    assert seen.onset_ns == quote(WARMED + 5, far, far).ts_event


def test_a_quote_that_settles_in_silence_is_seen_with_the_sample() -> None:
    detector = PriceJump()
    state = quoted(detector)
    assert detector.update(state, quote(WARMED, 110.0, 110.01)) is None
    seen = detector.update(state, sample((WARMED // 5) + 1, 110.0))
    assert seen is not None
    assert seen.score >= LINE


def test_a_side_that_is_pulled_is_no_jump() -> None:
    detector = PriceJump()
    state = quoted(detector)
    ask = state.settled_ask
    tape = [quote(WARMED, 0.5 * ask, ask), quote(WARMED + 3, 0.5 * ask, 1.01 * ask)]
    assert not [one for one in told(detector, tape, state) if one.score >= LINE]


def test_a_print_beside_the_quotes_is_told_at_once_and_forgotten() -> None:
    detector = PriceJump()
    state = quoted(detector)
    bid, ask = state.newest_bid, state.newest_ask
    seen = detector.update(state, trade(WARMED + 0.1, 1.3 * ask, "buy"))
    assert seen is not None
    assert seen.score >= LINE
    undone = detector.update(state, trade(WARMED + 0.5, bid, "sell"))
    assert undone is not None
    assert undone.cause == "bad_print"
    assert (state.settled_bid, state.settled_ask) == (bid, ask)
