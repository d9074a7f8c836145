"""Words for Polymarket markets become markets, before a session begins.

What is found is part of the session's settings, hence on its tape: a replay asks nobody. While the
session runs the venue asks the catalogue itself for what changes (`venues/polymarket_refresh.py`).
"""

import asyncio
import pathlib
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from msgspec import Struct, structs

from tapewatch.app.config import Config
from tapewatch.app.market_cache import MarketCache
from tapewatch.detect.sum_arb import SumArb
from tapewatch.io.backoff import Backoff
from tapewatch.io.clock import Clock
from tapewatch.io.http import Http
from tapewatch.model.errors import ConfigError, DecodeError, Retryable
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S, duration_text
from tapewatch.venues.base import Budget, Fetch
from tapewatch.venues.polymarket import Polymarket
from tapewatch.venues.polymarket_gamma import (
    BATCH,
    Found,
    ask_events,
    ask_market,
    ask_markets,
    ask_search,
    read_markets,
)
from tapewatch.venues.polymarket_markets import Market, instrument_of
from tapewatch.venues.polymarket_words import Key, Word, word_of

VENUES: Final = ("polymarket", "polygon")  # whose markets are found here
NAME: Final = "Polymarket"
ATTEMPTS: Final = 3  # of a request that fails
PATIENCE_S: Final = 30.0  # a start waits no longer for a service that asks for more
# A new market has no tokens for minutes; known clients ask a dozen times in three minutes.
HYDRATION_S: Final = (5.0, 10.0, *[15.0] * 11)
SUGGESTED: Final = 5  # markets in an error's text
FRESH_S: Final = 300.0  # for legs of an event, where the venue says what is stale
_OVER: Final = frozenset({"closed", "resolved"})

Say = Callable[[str], None]


class Resolved(Struct, frozen=True):
    """Markets in the order of the words, each once, and the events that are watched as a whole: the
    markets of each that exclude each other, and whether others may come."""

    markets: tuple[Market, ...]
    groups: tuple[tuple[tuple[Market, ...], bool], ...] = ()


class Resolver:
    """Asks the catalogue at `gamma_url` within `budget`. `say` gets words for people.

    Raises `ConfigError` for words that lead to no market that can be watched, `Retryable` when the
    catalogue does not answer and nothing is remembered.
    """

    def __init__(
        self,
        http: Http,
        clock: Clock,
        *,
        gamma_url: str,
        budget: Budget,
        cache: MarketCache | None = None,
        say: Say = lambda _: None,
        seed: int = 0,
    ) -> None:
        self._http, self._clock, self._cache, self._say = http, clock, cache, say
        self._gamma_url, self._budget = gamma_url, budget
        self._rng = random.Random(seed)  # noqa: S311  jitter is no secret

    async def resolve(self, words: Sequence[str]) -> Resolved:
        """The markets of all words."""
        known = await self._conditions([word_of(text) for text in words])
        markets: dict[str, Market] = {}
        groups: list[tuple[tuple[Market, ...], bool]] = []
        for text in words:
            found = known.get(text) or await self._hydrated(text)
            usable = self._usable(text, found)
            for one in usable:
                assert one.market is not None
                markets.setdefault(one.condition, one.market)
            legs = tuple(one.market for one in usable if one.exclusive and one.market is not None)
            if len(legs) > 1:
                groups.append((legs, any(one.open_ended for one in found)))
        return Resolved(tuple(markets.values()), tuple(groups))

    async def find(self, text: str) -> tuple[Found, ...]:
        """All markets that a word means, closed ones included. Raises `ConfigError` if none."""
        word, asked = word_of(text), f"{self._gamma_url} {text}"
        now = self._clock.now_ns()
        entry = self._cache.get(asked, now) if self._cache else None
        if entry is not None:
            return entry.found
        try:
            found = await self._look_up(word)
        except Retryable as error:
            entry = self._cache.get(asked, now, old=True) if self._cache else None
            if entry is None:
                raise
            age = duration_text((now - entry.at_ns) / NS_PER_S)
            self._say(f"{error} What its catalogue said {age} ago is used for {clean(text, 80)}.")
            return entry.found
        if not found:
            raise await self._unknown(word)
        if self._cache and all(one.hydrated for one in found):
            self._cache.put(asked, self._clock.now_ns(), found)
        return found

    async def search(self, words: str, limit: int = 20) -> tuple[Found, ...]:
        """Open markets that the catalogue finds for some words, at most `limit` events of them."""
        found = await self._ask(ask_search(self._gamma_url, words, limit=limit))
        return tuple(one for one in found if one.state not in _OVER)

    async def _hydrated(self, text: str) -> tuple[Found, ...]:
        """As `find`; asks again while the tokens of all that was found are missing."""
        found = await self.find(text)
        for wait_s in HYDRATION_S:
            usable = [one for one in found if one.state not in _OVER]
            if not usable or any(one.hydrated for one in usable):
                break
            self._say(
                f"{clean(text, 80)} is new, its tokens are not known yet; asking again in"
                f" {wait_s:.0f} s."
            )
            await asyncio.sleep(wait_s)
            found = await self.find(text)
        return found

    async def _conditions(self, words: Iterable[Word]) -> dict[str, tuple[Found, ...]]:
        """Words that are condition ids, many at once: there may be thousands."""
        ids = {word.keys[0][1]: word.text for word in words if word.keys[0][0] == "condition_ids"}
        if len(ids) < 2:
            return {}
        requests = ask_markets(self._gamma_url, list(ids), batch=BATCH)
        answers = await asyncio.gather(*(self._ask(fetch) for fetch in requests))
        found = (one for answer in answers for one in answer)
        return {ids[one.condition]: (one,) for one in found if one.condition in ids}

    async def _look_up(self, word: Word) -> tuple[Found, ...]:
        """Whatever a word may mean, likeliest first: open markets, then closed ones."""
        closed: tuple[Found, ...] = ()
        for key, value in word.keys:
            if key == "event":
                found = await self._ask(*ask_events(self._gamma_url, [value]))
                found = tuple(one for one in found if one.event == value)
            else:
                found = await self._one(key, value)
            if any(one.state not in _OVER for one in found):
                return found
            closed = closed or found
        return closed

    async def _one(self, key: Key, value: str) -> tuple[Found, ...]:
        for closed in (False, True):
            found = await self._ask(ask_market(self._gamma_url, key, value, closed=closed))
            found = tuple(one for one in found if _is_meant(one, key, value))
            if found:
                return found
        return ()

    async def _ask(self, fetch: Fetch) -> tuple[Found, ...]:
        backoff = Backoff(self._rng)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                data = await self._http.send(fetch, self._budget, name=NAME)
                return read_markets(data, self._clock.now_ns()).found
            except DecodeError as error:
                raise Retryable(f"{NAME}'s catalogue is not what it was: {error}") from error
            except Retryable as error:
                wait_s = error.retry_after_s or 0.0
                if attempt == ATTEMPTS or wait_s > PATIENCE_S:
                    raise
                await asyncio.sleep(backoff.next_s(wait_s))
        raise AssertionError("the last attempt raises")

    def _usable(self, text: str, found: Sequence[Found]) -> list[Found]:
        """Those that can be watched. Raises `ConfigError` if there is none."""
        shown = clean(text, 80)
        alive = [one for one in found if one.state not in _OVER]
        if not alive:
            why = found[0].why if len(found) == 1 else f"all its {len(found)} markets are over"
            raise ConfigError(f"polymarket:{shown} cannot be watched: {why}")
        usable = [one for one in alive if one.market is not None]
        if not usable:
            raise ConfigError(f"polymarket:{shown} cannot be watched: {alive[0].lacks}")
        for one in alive:
            if one.market is None:
                self._say(f"{one.slug or one.condition} is left out: {one.lacks}.")
        return usable

    async def _unknown(self, word: Word) -> ConfigError:
        """The error for a word that means nothing, with what may have been meant."""
        shown = clean(word.text, 80)
        if word.keys[0][0] not in {"slug", "event"}:
            return ConfigError(f"{NAME} knows no market with the id {shown}")
        words = word.keys[0][1].replace("-", " ")
        found = await self.search(words)
        hint = f"See: tapewatch markets search {clean(words, 60)}"
        if not found:
            return ConfigError(f'{NAME} has no market "{shown}". {hint}')
        names = ", ".join(one.slug or one.condition for one in found[:SUGGESTED])
        more = ", ..." if len(found) > SUGGESTED else ""
        count = "1 open market matches" if len(found) == 1 else f"{len(found)} open markets match"
        return ConfigError(f'{NAME} has no market "{shown}", but {count}: {names}{more}. {hint}')


async def resolved(
    config: Config,
    clock: Clock,
    *,
    folder: pathlib.Path,
    say: Say = lambda _: None,
    known: Config | None = None,
    http: Http | None = None,
) -> Config:
    """`config` with the markets that the words of its Polymarket and Polygon tables mean.

    `folder` is where markets are remembered. `known` are the settings of a session that goes on:
    the same words mean the same markets there, and nobody is asked. Raises as `Resolver`.
    """
    if not any(venue.name in VENUES and venue.symbols for venue in config.venues):
        return config
    own = Http() if http is None else http
    try:
        return await _resolved(config, clock, own, folder, say, known)
    finally:
        if http is None:
            await own.close()


async def _resolved(
    config: Config,
    clock: Clock,
    http: Http,
    folder: pathlib.Path,
    say: Say,
    known: Config | None,
) -> Config:
    catalogue = next(
        (venue for venue in config.venues if isinstance(venue, Polymarket)),
        Polymarket(symbols=("any",)),
    )
    cache = MarketCache(folder, clock.now_ns())
    resolver = Resolver(
        http,
        clock,
        gamma_url=catalogue.gamma_url,
        budget=next(one for one in catalogue.budgets() if one.surface == "gamma"),
        cache=cache,
        say=say,
    )
    venues: list[Any] = []
    groups: list[tuple[tuple[Market, ...], bool]] = []
    for venue in config.venues:
        if venue.name not in VENUES or not venue.symbols:
            venues.append(venue)
            continue
        before = _before(venue, known)
        if before is not None:
            venues.append(structs.replace(venue, markets=before.markets))
            continue
        found = await resolver.resolve(venue.symbols)
        markets = {market.condition: market for market in (*venue.markets, *found.markets)}
        venues.append(structs.replace(venue, markets=tuple(markets.values())))
        groups += found.groups if venue.name == catalogue.name else ()
    cache.save()
    if cache.trouble:
        say(f"{cache.trouble}.")
    detectors = tuple(_with_legs(one, groups, known) for one in config.detectors)
    return structs.replace(config, venues=tuple(venues), detectors=detectors)


def _before(venue: Any, known: Config | None) -> Any:
    """The same source in the settings of a session that goes on, if its words are the same."""
    sources = known.venues if known is not None else ()
    same = (one for one in sources if one.name == venue.name and one.symbols == venue.symbols)
    return next(same, None)


def _with_legs(
    detector: Any, groups: Iterable[tuple[tuple[Market, ...], bool]], known: Config | None
) -> Any:
    """`sum_arb` with the markets of events of which exactly one pays; what the user said stays."""
    if not isinstance(detector, SumArb):
        return detector
    for before in known.detectors if known is not None else ():
        if isinstance(before, SumArb) and before.sets[: len(detector.sets)] == detector.sets:
            legs_of = {name: getattr(before, name) for name in ("sets", "open_sets", "fresh_s")}
            return structs.replace(detector, **legs_of)
    sets, open_sets = list(detector.sets), list(detector.open_sets)
    taken = {name for group in (*sets, *open_sets) for name in group}
    for markets, open_ended in groups:
        legs = tuple(instrument_of(market.condition) for market in markets)
        if taken.isdisjoint(legs):
            (open_sets if open_ended else sets).append(legs)
            taken.update(legs)
    if len(sets) + len(open_sets) == len(detector.sets) + len(detector.open_sets):
        return detector
    fresh_s = max(detector.fresh_s, FRESH_S)
    return structs.replace(detector, sets=tuple(sets), open_sets=tuple(open_sets), fresh_s=fresh_s)


def _is_meant(found: Found, key: Key, value: str) -> bool:
    """Whether a market is the one that was asked for: filters have been ignored before."""
    market = found.market
    match key:
        case "condition_ids":
            return found.condition == value
        case "clob_token_ids":
            return market is not None and value in (market.yes, market.no)
        case "slug":
            return found.slug == value
        case "question_ids":
            return found.question_id == value
        case _:
            return found.number == value
