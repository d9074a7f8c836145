"""Would it have fired? A recorded tape at other settings: what they would have said, and how often.

Each trial is a whole replay, so what it says is exactly what a session with that setting would have
said of the same inputs. Nothing is estimated but the rate: a short tape says little about a day,
and the interval beside each rate says how little.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from tapewatch.app.config import Config, restore, set_option
from tapewatch.app.evaluate.scoring import Rate, rate
from tapewatch.app.replay import alerts
from tapewatch.gate.budget import PROFILES
from tapewatch.gate.severity import alarms
from tapewatch.io.tape_read import TapeReader
from tapewatch.model.errors import ConfigError
from tapewatch.model.outputs import Alert
from tapewatch.model.text import clean
from tapewatch.model.time import NS_PER_S

TRIALS: Final = 32  # settings of one run: each takes as long as a replay
_STEPS: Final = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the budget that is asked about
_DAY_S: Final = 86_400.0


class Span(Struct, frozen=True):
    """The time that a tape covers, and the settings it was recorded with."""

    config: Config
    since_ns: int
    until_ns: int

    @property
    def days(self) -> float:
        """Length in days."""
        return (self.until_ns - self.since_ns) / NS_PER_S / _DAY_S


class Trial(Struct, frozen=True):
    """One setting: `text` is `key=value`, empty for the recorded ones. `alarms` want to be looked
    at, `notices` are the rest; `appear` and `vanish` are alarms, against the recorded settings.
    """

    text: str
    alarms: int
    notices: int
    per_day: Rate
    appear: tuple[Alert, ...] = ()
    vanish: tuple[Alert, ...] = ()


def span(path: Path) -> Span:
    """What there is to replay. Raises `ConfigError` when that is nothing, `TapeError` when it is no
    tape."""
    reader = TapeReader(path)
    since = until = 0
    for _, item in reader.inputs():
        since = since or item.ts_recv
        until = max(until, item.ts_recv)
    if until <= since:
        raise ConfigError(f"{path.name} has nothing to replay: no time passes on it")
    return Span(restore(reader.header.config), since, until)


def usual(config: Config, budget: float) -> list[str]:
    """The trials that answer for a budget: around it, and the other profiles."""
    around = [f"gate.alarms_per_day={step * budget:g}" for step in _STEPS]
    return [*around, *(f"gate.profile={name}" for name in PROFILES if name != config.gate.profile)]


def parsed(texts: Sequence[str]) -> list[str]:
    """`key=1,2,3` -> one trial for each value. Raises `ConfigError`."""
    found = []
    for text in texts:
        key, separator, values = text.partition("=")
        parts = [value.strip() for value in values.split(",")]
        if not separator or not key.strip() or not all(parts):
            raise ConfigError(f'"{clean(text, 60)}" is not key=value,value,...', "--try")
        found += [f"{key.strip()}={value}" for value in parts]
    if len(found) > TRIALS:
        raise ConfigError(f"{len(found):,} settings are too many; at most {TRIALS}", "--try")
    return list(dict.fromkeys(found))


def trials(path: Path, span: Span, texts: Sequence[str]) -> Iterator[Trial]:
    """The recorded settings first, then each of `texts`. Raises `ConfigError` for a setting that
    does not exist, before anything is replayed."""
    header = TapeReader(path).header.config
    configs = [restore(header, [set_option(text)]) for text in texts]
    recorded = list(alerts(path, span.config))
    yield _trial("", recorded, span, {})
    before = _by_key(recorded)
    for text, config in zip(texts, configs, strict=True):
        yield _trial(text, list(alerts(path, config)), span, before)


def chosen(found: Sequence[Trial], budget: float, days: float) -> Trial | None:
    """The trial that says the most within the budget, the recorded settings if they do as well. A
    tape of less than a day counts as one: a day's alarms may all come in an hour."""
    within = [trial for trial in found if trial.alarms <= budget * max(days, 1.0)]
    # `max` keeps the first of equals, and the recorded settings come first.
    return max(within, key=lambda trial: trial.alarms, default=None)


def _by_key(said: Sequence[Alert]) -> dict[tuple[str, str, str, int], Alert]:
    """Alarms; the same if instrument, cause, kind and onset are."""
    return {
        (one.instrument, one.cause, one.kind, one.onset_ns): one
        for one in said
        if alarms(one.severity)
    }


def _trial(
    text: str, said: list[Alert], span: Span, before: dict[tuple[str, str, str, int], Alert]
) -> Trial:
    after = _by_key(said)
    count = sum(alarms(one.severity) for one in said)
    base = before if text else after
    return Trial(
        text,
        count,
        len(said) - count,
        rate(count, span.days),
        _only(after, base),
        _only(base, after),
    )


def _only(
    here: dict[tuple[str, str, str, int], Alert], there: dict[tuple[str, str, str, int], Alert]
) -> tuple[Alert, ...]:
    found = (alert for key, alert in here.items() if key not in there)
    return tuple(sorted(found, key=lambda alert: (alert.onset_ns, alert.id)))


def changes(trial: Trial) -> list[tuple[str, Alert]]:
    """`+` what appears and `-` what vanishes, by onset."""
    marked = itertools.chain(
        (("+", alert) for alert in trial.appear), (("-", alert) for alert in trial.vanish)
    )
    return sorted(marked, key=lambda one: (one[1].onset_ns, one[1].id))
