"""The alert card: one alert as at most 12 lines of at most 80 columns.

A pure function; it does not print or colour, and knows no terminal. Venue text passes `clean`, and
no line is ever parsed as markup.
"""

from collections.abc import Iterable
from typing import Final

from rich.cells import cell_len, chop_cells

from tapewatch.model.outputs import Alert, Contribution, Severity
from tapewatch.model.text import clean
from tapewatch.model.time import clock_text
from tapewatch.sinks.wording import COLUMNS, fit, number

CARD_LINES: Final = 12
_INDENT: Final = 3  # columns before a label
_LABEL: Final = 9  # columns of a label and the space after it
_REASON_LINES: Final = 3

# Never colour alone: a glyph and a word for every severity.
GLYPHS: Final[dict[Severity, str]] = {"info": "i", "warn": "▲", "high": "◆", "page": "■"}


def card(
    alert: Alert, count: int, *, last_price: float | None = None, banner: str = ""
) -> list[str]:
    """The card of one alert, at most 12 lines; the first one alone says what happened.

    `count` is its number in the session, `last_price` that of the instrument's last trade,
    `banner` a word such as DEMO for data that are not live.
    """
    banner = banner or ("SIMULATED" if alert.simulated else "")
    head = f"{GLYPHS[alert.severity]} {alert.severity.upper()} #{count}  "
    head += f"[{clean(banner, 20)}] " if banner else ""
    head += f"{clean(alert.market or alert.instrument, 48)}  "
    told = clean(alert.reason) or f"{clean(alert.cause)} {number(alert.score)}"
    first, *more = _wrapped(told, max(20, COLUMNS - cell_len(head)))
    rows = [
        ("when", _when(alert)),
        ("id", clean(alert.id, 40)),
        ("market", _market(alert, last_price)),
        ("found", _found(alert)),
        ("odd", _odd(alert)),
        ("score", _score(alert)),
        ("because", _because(alert)),
        ("trust", _trust(alert)),
        ("evidence", _evidence(alert)),
    ]
    lines = [head + first, *(" " * 3 + line for line in more)]
    return [fit(line) for line in (*lines, *_labelled(rows))]


def _market(alert: Alert, last_price: float | None) -> str:
    parts = [clean(alert.instrument, 40)] if alert.market else []
    if last_price:
        parts.append(f"last trade {number(last_price)}")
    return " · ".join(parts)


def _labelled(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{'':{_INDENT}}{label:<{_LABEL}}{text}" for label, text in rows if text]


def _wrapped(text: str, columns: int) -> list[str]:
    """`text` in lines: the first of `columns`, the others of a card's width, three at most."""
    lines: list[str] = [""]
    for word in text.split(" "):
        room = (columns if len(lines) == 1 else COLUMNS - 3) - cell_len(lines[-1])
        if lines[-1] and cell_len(word) + 1 > room:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    kept = lines[:_REASON_LINES]
    if len(lines) > _REASON_LINES:
        kept[-1] += " …"
    parts = [chop_cells(line, COLUMNS - 3)[0] if line else "" for line in kept[1:]]
    return [fit(kept[0], columns), *parts]


def _when(alert: Alert) -> str:
    """UTC, and always says so."""
    text = f"{clock_text(alert.ts_alert_ns, 3)} +00:00"
    if not _of_an_event(alert):
        return text
    return f"{text} (trade time {clock_text(alert.ts_event_ns, 3)})"


def _of_an_event(alert: Alert) -> bool:
    """An event has a time of its own; what a timer or a status tells is dated when it is said."""
    return alert.ts_event_ns != alert.ts_alert_ns


def _found(alert: Alert) -> str:
    if alert.observed is None:
        return ""
    unit = f" {clean(alert.unit, 12)}" if alert.unit else ""
    text = f"{number(alert.observed)}{unit}"
    if alert.expected_low is not None and alert.expected_high is not None:
        text += f"   expected {_about(alert.expected_low)} … {_about(alert.expected_high)}"
    elif alert.expected is not None:
        text += f"   expected {_about(alert.expected)}"
    if alert.flip is None:
        return text
    flip = _about(alert.flip)
    whole = f"{text}   (flip point {flip})"
    # Large numbers: the flip point is worth more than the spaces around it.
    fits = cell_len(whole) <= COLUMNS - _INDENT - _LABEL
    return whole if fits else f"{text.replace('   ', ' ')} (flip {flip})"


def _about(value: float) -> str:
    """A computed value: its last digits mean nothing."""
    return number(value, 7)


def _odd(alert: Alert) -> str:
    """How far off it is: in the market's own units, and in those of its usual movement."""
    parts = []
    if alert.deviation is not None:
        parts.append(f"{alert.deviation:+.3g} {clean(alert.deviation_unit, 16)}".rstrip())
    if alert.sigma is not None:
        parts.append(f"{abs(alert.sigma):.3g} sigma")
    if isinstance(alert.p_persist, float):
        parts.append(f"lasts a minute with probability {alert.p_persist:.2f}")
    return " · ".join(parts)


def _score(alert: Alert) -> str:
    text = f"{alert.score:.4g} against a line of {alert.line:.4g} ({clean(alert.detector, 32)})"
    if alert.p is not None:
        text += f" · p = {alert.p:.1g}{' (extrapolated)' if alert.p_extrapolated else ''}"
    return text + (" · low confidence" if alert.low_confidence else "")


def _because(alert: Alert) -> str:
    parts = [
        f"{clean(part.name, 24)} {_times(part)}"
        if part.unit
        else f"{clean(part.name, 24)} {part.score:+.3g}"
        for part in alert.contributions[:4]
    ]
    more = len(alert.contributions) - len(parts)
    return "  ".join(parts) + (f"  and {more} more" if more else "")


def _times(part: Contribution) -> str:
    if part.unit == "times" and part.score == 1:
        return "once"
    return f"{part.score:.3g} {clean(part.unit, 12)}"


def _trust(alert: Alert) -> str:
    verdict = alert.data_verdict
    text = {
        "complete": "feed complete",
        "gap": f"a gap {verdict.gap_before_s or 0.0:.0f} s ago",
        "stale": "the feed is stale",
    }[verdict.feed]
    if verdict.lag_ms is not None and _of_an_event(alert):
        text += f", lag {verdict.lag_ms:,.0f} ms"
    if verdict.book is not None:
        text += f" · book {verdict.book}"
    if verdict.other_venue is not None:
        text += f" · the other venue {verdict.other_venue}"
    return text


def _evidence(alert: Alert) -> str:
    record = alert.evidence.get("seq")
    place = f"tape record {record:,}" if isinstance(record, int) else ""
    base = f"baseline of {alert.baseline_count:,}" if alert.baseline_count else ""
    budget = ""
    if alert.alarms_per_day is not None and alert.realised_per_day is not None:
        budget = f"{alert.realised_per_day:.2g} of {alert.alarms_per_day:g} alarms a day"
    return " · ".join(part for part in (place, base, budget) if part)
