"""Deadlines of a Kraken connection: what should have come by now, and what to do about it.

Three clocks besides the socket's own: the venue's heartbeat, the acknowledgement and first data of
each subscription, and the age of each pair's last trade. A pair may be silent because nobody
trades, so silence alone leads to a question (a probe over REST), never to a reconnect. A book that
stands still while its pair trades is known to be mute.

What happens to a subscription that stays without answer or data: it is asked for again at the
deadline, three times, then once a minute; if nothing at all flows on the connection, the connection
is dropped instead. One that the venue calls unsupported is left alone.
"""

from collections.abc import Iterator
from typing import Annotated, Final

from msgspec import Meta, Struct

from tapewatch.model.events import Ask, Event, StatusKind
from tapewatch.model.inputs import Link
from tapewatch.model.time import NS_PER_S
from tapewatch.venues.kraken_state import KrakenState, Market, Subscription, status

PROMPT_TRIES: Final = 3
PATIENCE_NS: Final = 60 * NS_PER_S  # between later requests
ASKS_PER_TIMER: Final = 5  # requests a second: half of what a public client limits itself to
PROBE_MAX_NS: Final = 240 * NS_PER_S  # a pair that is always quiet is asked about this rarely
BACKFILL_NS: Final = 10 * NS_PER_S  # a request for missing trades has failed after this
BOOK_GRACE_NS: Final = NS_PER_S  # a trade may arrive before what it did to the book
BACKFILL_TRIES: Final = 5

# Up to a year: far from the end of 64-bit nanoseconds.
Positive = Annotated[float, Meta(gt=0.0, le=31_536_000.0)]


class Deadlines(Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds. `silence_s`: no byte at all (the socket's clock); `heartbeat_s`: no heartbeat;
    `ack_s`, `first_data_s`: after subscribing; `quiet_s`: no trade of a pair, so ask REST;
    `ping_s`: how often we ask for the venue's time. The first four are Kraken's own guide."""

    silence_s: Positive = 5.0
    heartbeat_s: Positive = 5.0
    ack_s: Positive = 5.0
    first_data_s: Positive = 10.0
    quiet_s: Positive = 15.0
    ping_s: Annotated[float, Meta(ge=1.0, le=31_536_000.0)] = 10.0


def on_link(state: KrakenState, link: Link) -> None:
    """A new connection starts without books, and everything is asked for."""
    state.link_up = link.state == "up"
    state.beat_ns = 0
    state.clock_ns = []
    for market in state.markets.values():
        market.void_book()
        market.failures, market.checked = 0, True
        for subscription in market.subscriptions():
            subscription.again(link.ts_recv)
            subscription.attempts, subscription.refused = 0, False
            subscription.probe_ns = 0


def on_timer(deadlines: Deadlines, protocol: str, state: KrakenState, now: int) -> list[Event]:
    """Deadlines that passed."""
    if not state.link_up:
        return []
    if state.halted:
        return list(_halted(state, now))
    if state.beat_ns and now - state.beat_ns > deadlines.heartbeat_s * NS_PER_S:
        state.beat_ns = 0  # said once
        detail = f"for {deadlines.heartbeat_s:g} s"
        late = status("no_heartbeat", now, None, detail, channel="heartbeat", ask="reconnect")
        return [late]
    overdue = _overdue(deadlines, protocol, state, now)
    return [*overdue, *_one_request(deadlines, state, now)]


def _halted(state: KrakenState, now: int) -> Iterator[Event]:
    """The venue may be back without our socket hearing of it."""
    if now - state.halt_probe_ns > PATIENCE_NS:
        state.halt_probe_ns = now
        yield status("quiet", now, None, "the venue does not trade", ask="probe")


def _overdue(deadlines: Deadlines, protocol: str, state: KrakenState, now: int) -> Iterator[Event]:
    left, flowing = ASKS_PER_TIMER, _anything_flows(state)
    for market in state.markets.values():
        for subscription in market.subscriptions():
            if left == 0 or market.halted or subscription.refused:
                continue
            kind = _late(deadlines, protocol, subscription, now, flowing=flowing)
            if kind is None and subscription is market.levels and _frozen(deadlines, market, now):
                kind = "mute"
            if kind is None:
                continue
            left -= 1
            ask: Ask = "resubscribe"
            if subscription.attempts >= PROMPT_TRIES and not flowing:
                ask = "reconnect"
            subscription.attempts += 1
            subscription.again(now)
            detail = f"attempt {subscription.attempts}"
            yield status(kind, now, market, detail, channel=subscription.channel, ask=ask)
            if ask == "reconnect":
                return


def _late(
    deadlines: Deadlines, protocol: str, subscription: Subscription, now: int, *, flowing: bool
) -> StatusKind | None:
    waited = now - subscription.asked_ns
    if subscription.attempts >= PROMPT_TRIES and flowing and waited <= PATIENCE_NS:
        return None
    if not subscription.acked:
        return "ack_timeout" if waited > deadlines.ack_s * NS_PER_S else None
    # v1 trades begin without a snapshot: no data may just mean no trades.
    promised = subscription.channel == "book" or protocol == "v2"
    if promised and not subscription.live and waited > deadlines.first_data_s * NS_PER_S:
        return "no_data"
    return None


def _frozen(deadlines: Deadlines, market: Market, now: int) -> bool:
    """A trade takes from the book, so a book that stands still while its pair trades is mute."""
    trades, levels = market.trades, market.levels
    if trades is None or levels is None or not levels.live:
        return False
    behind_ns = trades.last_ns - max(levels.last_ns, levels.asked_ns)
    return behind_ns > deadlines.quiet_s * NS_PER_S and now - trades.last_ns > BOOK_GRACE_NS


def _anything_flows(state: KrakenState) -> bool:
    return any(s.live for market in state.markets.values() for s in market.subscriptions())


def _one_request(deadlines: Deadlines, state: KrakenState, now: int) -> Iterator[Event]:
    """At most one REST request per timer (Kraken counts about one a second): for the rest of a gap
    if there is one, else about a silent pair."""
    for market in state.markets.values():
        for hole in market.sequence.holes:
            if now - hole.asked_ns <= BACKFILL_NS:
                continue
            if hole.tries >= BACKFILL_TRIES:
                market.sequence.holes.remove(hole)
                yield status(
                    "gap_lost", now, market, channel="trade", first_id=hole.first, last_id=hole.last
                )
                return
            hole.tries += 1
            hole.asked_ns = now
            yield status(
                "no_answer",
                now,
                market,
                channel="rest",
                ask="backfill",
                first_id=hole.first,
                last_id=hole.last,
                since_ns=hole.since_ns,
            )
            return
    for market in state.markets.values():
        subscription = market.trades
        if subscription is None or market.halted or not subscription.acked:
            continue
        if _silent(deadlines, subscription, now):
            since_ns = market.sequence.last_ns or subscription.asked_ns
            yield status("quiet", now, market, channel="trade", ask="probe", since_ns=since_ns)
            return


def _silent(deadlines: Deadlines, subscription: Subscription, now: int) -> bool:
    """Whether it is time to ask REST; sets the next time, twice as far away."""
    quiet_ns = int(deadlines.quiet_s * NS_PER_S)
    last_ns = max(subscription.last_ns, subscription.asked_ns)
    if subscription.probe_ns < last_ns:
        subscription.probe_ns, subscription.probe_wait_ns = last_ns, quiet_ns
    if now - subscription.probe_ns <= subscription.probe_wait_ns:
        return False
    subscription.probe_ns = now
    subscription.probe_wait_ns = min(2 * subscription.probe_wait_ns, PROBE_MAX_NS)
    return True
