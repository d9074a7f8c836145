"""The account of a session adds up."""

import pytest

from tapewatch.app.ledger import Ledger
from tapewatch.model import limits
from tapewatch.model.outputs import Fault
from tapewatch.model.time import NS_PER_S

T0 = 1_763_700_000 * NS_PER_S
BTC, ETH = "kraken:BTC/USD", "kraken:ETH/USD"


def at(seconds: float) -> int:
    return T0 + int(seconds * NS_PER_S)


def ledger(*faults: Fault) -> Ledger:
    book = Ledger(instruments=(BTC, ETH), started_ns=T0)
    for fault in faults:
        book.see(fault)
    return book


def link(state: str, seconds: float) -> Fault:
    return Fault(f"link_{state}", "kraken", "", at(seconds))


def gap(instrument: str, since: float, until: float) -> Fault:
    return Fault("gap", "kraken", instrument, at(until), since_ns=at(since))


def test_an_undisturbed_session_is_covered_completely() -> None:
    book = ledger(link("up", 0))
    assert (book.coverage(at(100)), book.gaps, book.reconnects) == (1.0, 0, 0)


def test_a_server_of_our_own_is_no_feed() -> None:
    book = ledger(Fault("link_up", "redis", "", at(0), stream="state"))
    assert book.coverage(at(100)) == 0.0, "the venue has never been connected"
    book = ledger(link("up", 0), Fault("link_up", "redis", "", at(9), stream="state"))
    assert (book.coverage(at(100)), book.reconnects) == (1.0, 0)


def test_several_sockets_reconnect_each_for_itself() -> None:
    ups = [Fault("link_up", "kraken", "", at(n), stream=f"ws:{n % 2}") for n in range(3)]
    assert ledger(*ups).reconnects == 1


def test_time_without_current_data_is_lost() -> None:
    stale = Fault("stale", "kraken", BTC, at(30), since_ns=at(10))
    book = ledger(link("up", 0), stale, Fault("current", "kraken", BTC, at(50)))
    assert (book.lost_s(at(100)), book.gaps) == (20.0, 1)


def test_time_without_a_link_is_lost_for_every_instrument() -> None:
    book = ledger(link("up", 0), link("down", 10), link("up", 15))
    assert (book.lost_s(at(100)), book.coverage(at(100))) == (5.0, 0.95)
    assert (book.gaps, book.reconnects) == (1, 1)


def test_a_link_that_is_still_down_counts_until_now() -> None:
    assert ledger(link("up", 0), link("down", 10)).lost_s(at(30)) == 20.0


def test_the_time_before_the_first_connection_is_no_gap() -> None:
    book = ledger(link("down", 1), link("down", 2), link("up", 3))
    assert (book.gaps, book.lost_s(at(10))) == (0, 0.0)


def test_a_hole_in_one_instrument_counts_for_that_one() -> None:
    assert ledger(link("up", 0), gap(BTC, 10, 14)).lost_s(at(100)) == 2.0  # 4 s of one in two


def test_overlapping_losses_count_once() -> None:
    book = ledger(link("up", 0), link("down", 10), link("up", 15), gap(BTC, 9, 16), gap(ETH, 9, 16))
    assert book.lost_s(at(100)) == 7.0


def test_filled_gaps_are_told_apart_but_still_count() -> None:
    book = ledger(link("up", 0), gap(BTC, 10, 11), Fault("gap_filled", "kraken", BTC, at(12)))
    assert (book.gaps, book.filled) == (1, 1)
    assert book.coverage(at(100)) < 1.0


def test_a_session_without_any_connection_covers_nothing() -> None:
    book = ledger(link("down", 1))
    assert (book.coverage(at(10)), book.lost_s(at(10))) == (0.0, 10.0)


def test_a_dead_link_is_lost_from_the_last_sign_of_life_on() -> None:
    down = Fault("link_down", "kraken", "", at(15), since_ns=at(10))
    assert ledger(link("up", 0), down, link("up", 16)).lost_s(at(100)) == 6.0


def test_spans_that_overlap_or_touch_become_one() -> None:
    book = ledger(link("up", 0), gap(BTC, 20, 22), gap(BTC, 10, 12), gap(BTC, 12, 14))
    assert [(span.start, span.end) for span in book.spans] == [(at(10), at(14)), (at(20), at(22))]
    assert book.gaps == 3


def test_the_account_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOST_SPANS", 3)
    holes = [gap(BTC, start, start + 1) for start in (10, 20, 30, 33)]
    book = ledger(link("up", 0), *holes, gap(ETH, 40, 41))
    assert [(span.key, span.start, span.end) for span in book.spans] == [
        (BTC, at(10), at(21)), (BTC, at(30), at(34)), (ETH, at(40), at(41)),
    ]  # fmt: skip
