"""One data file through the real engine and gate, and its alerts into a file.

Every set runs with the same settings: the defaults, with what the user changes. There is no second
way into the engine: rows become frames of the `ndjson` venue, with timers between, as
`tapewatch import` writes them.
"""

import pathlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from tapewatch.app.build import engine_of
from tapewatch.app.config import Config, assemble
from tapewatch.app.environment import Setting
from tapewatch.model.errors import ConfigError
from tapewatch.model.inputs import Input
from tapewatch.model.outputs import Alert, Observation, Output
from tapewatch.sinks.wording import json_text

_encode = msgspec.json.Encoder().encode


def configured(ids: Sequence[str], changes: Sequence[Setting] = ()) -> Config:
    """The default settings for imported rows of the instruments `ids`, with `changes`."""
    source = Setting(("source", "ndjson", "ids"), tuple(ids), "evaluate")
    return assemble([source, *changes])[0]


def outputs(
    inputs: Iterable[Input], ids: Sequence[str], changes: Sequence[Setting] = ()
) -> Iterator[Output]:
    """Everything that the engine says about the inputs."""
    engine = engine_of(configured(ids, changes))
    for item in inputs:
        yield from engine.step(item)


def run(
    inputs: Iterable[Input], ids: Sequence[str], changes: Sequence[Setting] = ()
) -> list[Alert]:
    """The alerts among them."""
    return [out for out in outputs(inputs, ids, changes) if isinstance(out, Alert)]


def observed(
    inputs: Iterable[Input], ids: Sequence[str], changes: Sequence[Setting] = ()
) -> list[Observation]:
    """The observations among them, shown or not."""
    return [out for out in outputs(inputs, ids, changes) if isinstance(out, Observation)]


def write(out: pathlib.Path, stem: str, alerts: Iterable[Alert]) -> None:
    """`<out>/<stem>.alerts.ndjson`, empty where nothing fired. Raises `ConfigError`."""
    path = out / f"{stem}.alerts.ndjson"
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json_text(_encode(alert))}\n" for alert in alerts), "utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path.name}: {error.strerror}", "--out") from error
