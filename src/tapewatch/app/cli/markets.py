"""`tapewatch markets`: which markets Polymarket has, and what is known of one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from tapewatch.app.cli import output

if TYPE_CHECKING:
    from tapewatch.app.resolve import Resolver
    from tapewatch.venues.polymarket_gamma import Found

_GAMMA = click.option("--gamma-url", help="Another catalogue, such as that of tapewatch simulate.")


@click.group()
def markets() -> None:
    """Markets of Polymarket: find one to watch, see what is known of it."""


@markets.command()
@click.argument("words", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, 50), default=10, help="Events at most.")
@_GAMMA
@output.JSON
def search(*, words: tuple[str, ...], limit: int, gamma_url: str | None, as_json: bool) -> None:
    """Open markets that match WORDS, the busiest first."""
    shell = output.current()
    said = " ".join(words)
    found = _ask(gamma_url, lambda resolver: resolver.search(said, limit))
    found = tuple(sorted(found, key=lambda one: -one.volume_24h))
    if as_json:
        for one in found:
            shell.put(_json(one))
        return
    if not found:
        shell.say(f'No open market of Polymarket matches "{said}".')
        return
    head = ("market", "price", "24 h volume", "state", "question")
    for line in output.columns([head, *(_row(one) for one in found)]):
        shell.put(line)
    shell.say(f"Watch one with: tapewatch watch polymarket:{found[0].slug or found[0].condition}")


@markets.command()
@click.argument("word")
@_GAMMA
@output.JSON
def show(*, word: str, gamma_url: str | None, as_json: bool) -> None:
    """What is known of WORD: a slug, an event, an id, or an address of polymarket.com."""
    shell = output.current()
    text = word.removeprefix("polymarket:")
    for number, one in enumerate(_ask(gamma_url, lambda resolver: resolver.find(text))):
        if as_json:
            shell.put(_json(one))
            continue
        if number:
            shell.put("")
        for name, value in _facts(one):
            shell.put(f"{name:<12} {value}")


def _ask(
    gamma_url: str | None, question: "Callable[[Resolver], Awaitable[tuple[Found, ...]]]"
) -> "tuple[Found, ...]":
    """Ask the catalogue that the settings name, if they name one."""
    from msgspec import structs  # noqa: PLC0415  --help stays quick

    from tapewatch.app.resolve import Resolver  # noqa: PLC0415
    from tapewatch.io.clock import SystemClock  # noqa: PLC0415
    from tapewatch.io.http import Http  # noqa: PLC0415
    from tapewatch.venues.polymarket import Polymarket  # noqa: PLC0415

    shell = output.current()
    named = (one for one in shell.load().config.venues if isinstance(one, Polymarket))
    venue = next(named, Polymarket(symbols=("any",)))
    if gamma_url:
        venue = structs.replace(venue, gamma_url=gamma_url)
        venue.__post_init__()
    budget = next(one for one in venue.budgets() if one.surface == "gamma")

    async def answer() -> "tuple[Found, ...]":
        http = Http()
        try:
            resolver = Resolver(
                http, SystemClock(), gamma_url=venue.gamma_url, budget=budget, say=shell.say
            )
            return await question(resolver)
        finally:
            await http.close()

    return asyncio.run(answer())


def _row(one: "Found") -> tuple[str, ...]:
    name = one.slug or one.condition
    return (name, _price(one), f"{one.volume_24h:,.0f}", one.state, one.question)


def _price(one: "Found") -> str:
    """The mid of what the catalogue says; not shown where a side is missing."""
    if not 0.0 < one.bid < one.ask < 1.0:
        return "-"
    return f"{(one.bid + one.ask) / 2:.4f}".rstrip("0").rstrip(".")


def _facts(one: "Found") -> list[tuple[str, str]]:
    from tapewatch.model.time import format_rfc3339  # noqa: PLC0415  see above

    facts = [("market", one.slug), ("question", one.question), ("event", one.event)]
    facts += [("state", one.why or "it trades"), ("price", _price(one))]
    facts.append(("condition", one.condition))
    if one.market is None:
        facts.append(("no tokens", one.lacks))
    else:
        market = one.market
        facts += [("token", f"{market.yes} {market.outcomes[0]} (its price is watched)")]
        facts += [("token", f"{market.no} {market.outcomes[1]}")]
        facts.append(("tick", f"{market.tick:g}"))
        facts.append(("end", format_rfc3339(market.end_ns, 0) if market.end_ns else "unknown"))
    if one.exclusive:
        more = "; outcomes may be added" if one.open_ended else ""
        facts.append(("exclusive", f"one market of the event pays{more}"))
    return facts


def _json(one: "Found") -> str:
    import msgspec  # noqa: PLC0415  see above

    plain: dict[str, Any] = msgspec.to_builtins(one)
    return output.json_line("market", id=f"polymarket:{one.condition}", **plain)
