"""Polymarket's catalogue: which markets there are, and whether they trade. Pure: what to ask of
Gamma and of the CLOB about markets, and what their answers mean.

The two services describe a market in words of their own; both end up as a `Found`. Lists are JSON
written into a text (`clobTokenIds`, `outcomes`, `outcomePrices`), ids of tokens are missing for
minutes on a new market, times come in two forms, and a closed market may still say that it accepts
orders.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from tapewatch.model.errors import DecodeError
from tapewatch.model.text import clean
from tapewatch.venues.base import Fetch
from tapewatch.venues.polymarket_catalogue import (
    ClobRow,
    EventRow,
    GammaRow,
    number_of,
    text_of,
    texts_of,
    time_of,
)
from tapewatch.venues.polymarket_markets import CONDITION_ID, TOKEN_ID, Market
from tapewatch.venues.polymarket_status import Facts, State, state_of

MARKETS: Final = "/markets/keyset"
EVENTS: Final = "/events/keyset"
SEARCH: Final = "/public-search"
CLOB_MARKET: Final = "/markets/"
BATCH: Final = 25  # markets a request: an address of 2 kB, an answer of 250 kB
PAGE: Final = 100  # the most that a page may have, since 2026-05-14
_TICK: Final = 0.01  # of most markets, and of those that do not say


class Found(Struct, frozen=True, kw_only=True):
    """One market as the catalogue has it. `market`: None if it cannot be watched, and `lacks` says
    why. `why`: why it does not trade, empty when it does. `hydrated` False: the tokens are not
    known yet, ask again.

    `exclusive`: exactly one market of its event pays; `open_ended`: the event's list of markets is
    not complete, so that none of them may. `number`: Gamma's own id of the market. Prices in pUSD,
    0.0 where there is none; `volume_24h` in pUSD. Texts are safe to show."""

    condition: str
    market: Market | None
    state: State
    why: str = ""
    lacks: str = ""
    hydrated: bool = True
    slug: str = ""
    question: str = ""
    event: str = ""
    event_title: str = ""
    exclusive: bool = False
    open_ended: bool = False
    number: str = ""
    question_id: str = ""
    bid: float = 0.0
    ask: float = 0.0
    volume_24h: float = 0.0


class Page(Struct, frozen=True):
    """One answer. `problems`: rows that are no markets, one sentence each; `cursor`: of the next
    page, empty after the last."""

    found: tuple[Found, ...]
    problems: tuple[str, ...] = ()
    cursor: str = ""


class _Envelope(Struct):
    markets: list[msgspec.Raw] | None = None
    events: list[msgspec.Raw] | None = None
    data: list[msgspec.Raw] | None = None
    next_cursor: str | None = None


class _Head(Struct):
    """What tells the kinds of objects apart."""

    conditionId: Any = None  # noqa: N815  the wire's name
    condition_id: Any = None
    markets: Any = None
    events: Any = None
    data: Any = None


_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_head = msgspec.json.Decoder(_Head).decode
_envelope = msgspec.json.Decoder(_Envelope).decode
_event = msgspec.json.Decoder(EventRow).decode
_gamma = msgspec.json.Decoder(GammaRow).decode
_clob = msgspec.json.Decoder(ClobRow).decode


def ask_markets(
    gamma_url: str, conditions: Sequence[str], *, batch: int = BATCH
) -> tuple[Fetch, ...]:
    """Requests for the state of markets by condition id. Each batch is asked for twice, because
    what is closed is given only to those who ask for it. Streams are
    `rest:/markets/keyset?closed=false&batch=0` and so on."""
    return tuple(
        _market_request(gamma_url, "condition_ids", conditions[at : at + batch], asked, number)
        for number, at in enumerate(range(0, len(conditions), batch))
        for asked in ("false", "true")
    )


def ask_market(gamma_url: str, key: str, value: str, *, closed: bool) -> Fetch:
    """The request for one market. `key`: `condition_ids`, `clob_token_ids`, `question_ids`, `slug`
    or `id`."""
    return _market_request(gamma_url, key, [value], "true" if closed else "false", 0)


def ask_events(gamma_url: str, slugs: Iterable[str]) -> tuple[Fetch, ...]:
    """Requests for events with all their markets, by slug: one each, since an event may have a
    hundred. Streams are `rest:/events/keyset?slug=...`."""
    return tuple(
        Fetch(f"{gamma_url}{query}", f"rest:{query}", "gamma")
        for query in (f"{EVENTS}?slug={quote(slug, safe='')}" for slug in slugs)
    )


def ask_search(gamma_url: str, words: str, *, limit: int = 20) -> Fetch:
    """The request for a search in the catalogue; `limit`: events."""
    query = urlencode({"q": words, "limit_per_type": limit, "events_status": "active"})
    return Fetch(f"{gamma_url}{SEARCH}?{query}", f"rest:{SEARCH}?{query}", "gamma")


def ask_clob(clob_url: str, condition: str) -> Fetch:
    """The request for one market of the CLOB. Raises `ValueError` for what is no condition id:
    it would be a path of the asker's choice."""
    if not CONDITION_ID.fullmatch(condition):
        raise ValueError(f"no condition id: {condition[:80]!r}")
    path = f"{CLOB_MARKET}{condition}"
    return Fetch(clob_url + path, f"rest:{path}", "clob")


def read_markets(data: bytes, now: int) -> Page:
    """The markets in an answer of any of these requests, or of the older lists without cursors;
    `now` (ns) is when it came. Raises `DecodeError` for what is no JSON of this kind."""
    try:
        if data.lstrip()[:1] == b"[":
            return _page(_raws(data), "", now)
        head = _head(data)
        if head.conditionId is not None or head.condition_id is not None:
            return _page([msgspec.Raw(data)], "", now)
        if head.markets is None and head.events is None and head.data is None:
            raise DecodeError(f"no markets in an answer of Polymarket: {_words(data)}")
        if head.markets is not None and head.events is None and head.data is None:
            event = _event(data)
            if event.slug:  # one event
                return _page([msgspec.Raw(data)], "", now)
        envelope = _envelope(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError(f"markets of Polymarket cannot be read: {clean(str(error))}") from error
    rows = [*(envelope.events or ()), *(envelope.markets or ()), *(envelope.data or ())]
    return _page(rows, envelope.next_cursor or "", now)


def _market_request(
    gamma_url: str, key: str, values: Sequence[str], closed: str, number: int
) -> Fetch:
    pairs = [(key, value) for value in values]  # repeated: a list with commas finds nothing
    query = urlencode([*pairs, ("closed", closed), ("limit", str(PAGE))])
    stream = f"rest:{MARKETS}?closed={closed}&batch={number}"
    return Fetch(f"{gamma_url}{MARKETS}?{query}", stream, "gamma")


def _page(rows: Iterable[msgspec.Raw], cursor: str, now: int) -> Page:
    found: list[Found] = []
    problems: list[str] = []
    for row in rows:
        for one in _row(row, now):
            if isinstance(one, Found):
                found.append(one)
            else:
                problems.append(one)
    return Page(tuple(found), tuple(problems), cursor)


def _row(row: msgspec.Raw, now: int) -> Iterator[Found | str]:
    """The markets of one row: itself, or all of an event. What cannot be read comes as a text."""
    try:
        head = _head(row)
        if head.conditionId is not None:
            yield _of_gamma(_gamma(row), None, now)
        elif head.condition_id is not None:
            yield _of_clob(_clob(row), now)
        elif head.markets is not None:
            event = _event(row)
            for raw in event.markets:
                yield from _of_event(raw, event, now)
        else:
            yield f"neither a market nor an event: {_words(bytes(row))}"
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        yield clean(str(error))


def _of_event(raw: msgspec.Raw, event: EventRow, now: int) -> Iterator[Found | str]:
    try:
        yield _of_gamma(_gamma(raw), event, now)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        yield clean(str(error))


def _of_gamma(row: GammaRow, event: EventRow | None, now: int) -> Found | str:
    if event is None and isinstance(row.events, list) and row.events:
        first = row.events[0]
        if isinstance(first, dict):
            event = msgspec.convert({**first, "markets": []}, EventRow)
    outcomes = [clean(one) for one in texts_of(row.outcomes)]
    statuses = texts_of(row.uma_resolution_statuses)
    facts = Facts(
        active=row.active is not False,
        closed=row.closed is True,
        archived=row.archived is True,
        accepting=row.accepting_orders is not False,
        order_book=row.enable_order_book is not False,
        winner=_winner(outcomes, [number_of(one) for one in texts_of(row.outcome_prices)]),
        uma=text_of(row.uma_resolution_status) or (statuses[-1] if statuses else ""),
        end_ns=time_of(row.end_date),
        game_ns=time_of(row.game_start_time),
        delay_s=number_of(row.seconds_delay),
    )
    about = _About(
        condition=row.condition_id,
        question_id=text_of(row.question_id).lower(),
        slug=text_of(row.slug),
        question=text_of(row.question),
        neg_risk=row.neg_risk is True,
        tick=number_of(row.order_price_min_tick_size),
    )
    return _found(about, outcomes, texts_of(row.clob_token_ids), facts, event, now, row)


def _of_clob(row: ClobRow, now: int) -> Found | str:
    outcomes = [text_of(token.outcome) for token in row.tokens]
    winners = [name for name, token in zip(outcomes, row.tokens, strict=True) if token.winner]
    facts = Facts(
        active=row.active is not False,
        closed=row.closed is True,
        archived=row.archived is True,
        accepting=row.accepting_orders is not False,
        order_book=row.enable_order_book is not False,
        winner=winners[0] if len(winners) == 1 else "",
        end_ns=time_of(row.end_date_iso),
        game_ns=time_of(row.game_start_time),
        delay_s=number_of(row.seconds_delay),
    )
    about = _About(
        condition=row.condition_id,
        question_id=text_of(row.question_id).lower(),
        slug=text_of(row.market_slug),
        question=text_of(row.question),
        neg_risk=row.neg_risk is True,
        tick=number_of(row.minimum_tick_size),
    )
    tokens = [one.token_id for one in row.tokens if isinstance(one.token_id, str)]
    return _found(about, outcomes, tokens, facts, None, now, None)


class _About(Struct, frozen=True, kw_only=True):
    """What both services say of a market, in one form."""

    condition: str
    question_id: str
    slug: str
    question: str
    neg_risk: bool
    tick: float


def _found(
    about: _About,
    outcomes: list[str],
    tokens: list[str],
    facts: Facts,
    event: EventRow | None,
    now: int,
    row: GammaRow | None,
) -> Found | str:
    condition = about.condition.lower()
    if not CONDITION_ID.fullmatch(condition):
        return f"no condition id: {clean(about.condition, 80)}"
    lacks, hydrated = _lacks(outcomes, tokens)
    name = text_of(event.slug) if event is not None else ""
    market = None if lacks else Market(
        condition=condition, yes=tokens[0], no=tokens[1], outcomes=(outcomes[0], outcomes[1]),
        slug=about.slug, question=about.question, event=name, neg_risk=about.neg_risk,
        tick=about.tick if 0.0 < about.tick < 1.0 else _TICK, end_ns=facts.end_ns,
    )  # fmt: skip
    state, why = state_of(facts, now)
    other = row is not None and row.neg_risk_other is True
    return Found(
        condition=condition,
        market=market,
        state=state,
        why=why,
        lacks=lacks,
        hydrated=hydrated,
        slug=about.slug,
        question=about.question,
        event=name,
        event_title=text_of(event.title) if event is not None else "",
        exclusive=about.neg_risk or (event is not None and event.neg_risk is True),
        open_ended=other or (event is not None and event.neg_risk_augmented is True),
        number=text_of(row.id) if row is not None else "",
        question_id=about.question_id,
        bid=number_of(row.best_bid) if row is not None else 0.0,
        ask=number_of(row.best_ask) if row is not None else 0.0,
        volume_24h=number_of(row.volume24hr) if row is not None else 0.0,
    )


def _lacks(outcomes: list[str], tokens: list[str]) -> tuple[str, bool]:
    """Why a market cannot be watched, and whether its tokens are known at all."""
    if not any(tokens):
        return "its tokens are not known yet", False
    if len(tokens) != 2 or len(outcomes) != 2:
        return f"it has {len(outcomes)} outcomes, not two", True
    if not all(TOKEN_ID.fullmatch(token) for token in tokens) or tokens[0] == tokens[1]:
        return "its token ids are none", True
    return "", True


def _winner(outcomes: list[str], prices: list[float]) -> str:
    """The outcome that pays, when its price is 1 and all others are 0."""
    if len(outcomes) != len(prices) or sorted(prices, reverse=True)[:2] != [1.0, 0.0]:
        return ""
    return outcomes[prices.index(1.0)]


def _words(data: bytes) -> str:
    return clean(data[:80].decode("utf-8", "replace"), 80)
