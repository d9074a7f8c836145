"""A soak: days of simulated time over many markets, polled as bot 4.15 polls them.

The venue's decoder says what is to be asked and when; `soak_market` answers; frames and timers go
through the real engine with the settings given. Every few hours each market has a planted spike of
five standard deviations of the hour before it, of price (one cycle, both signs) or of volume (one
trade), as `detection` defines them: the spike replaces what would have been there.

A planted spike is found when the report of that cycle, or of one of the two after it, names it.
What is told at any other time is a false incident: nothing else happens in these markets but their
own heavy-tailed noise. The DIR is `-`. `--set soak.days=7`, `soak.markets=30`, `soak.seed=0`,
`soak.every_h=8` are the defaults.
"""

import gc
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TextIO

import msgspec
from msgspec import Struct, field, to_builtins

from tapewatch.app.build import engine_of
from tapewatch.app.config import Config, assemble
from tapewatch.app.environment import Setting
from tapewatch.app.evaluate.scoring import plain, proportion, rate
from tapewatch.app.evaluate.soak_market import CYCLES, SoakMarket, answer
from tapewatch.app.promote import fingerprint
from tapewatch.engine.engine import Engine
from tapewatch.engine.snapshot import snapshot
from tapewatch.model.errors import ConfigError
from tapewatch.model.inputs import Frame, Input, Link, Timer
from tapewatch.model.outputs import Alert, Output, Report
from tapewatch.model.reasons import Reason
from tapewatch.model.time import NS_PER_MS, NS_PER_S
from tapewatch.sinks.wording import json_text
from tapewatch.venues.polymarket import Polymarket

START_NS: Final = 1_735_689_600 * NS_PER_S  # 2025-01-01
CYCLE_S: Final = 30
SIGMAS: Final = 5.0
LATE_CYCLES: Final = 2  # in which a spike may still be named
OURS_NS: Final = 900 * NS_PER_S  # what is told so long after a spike is about it
_DAY_S: Final = 86_400
_PAGE: Final = 4096  # bytes; of /proc/self/statm
_NAMED: Final = {
    "price": Reason.ANOMALYDETECTOR_PRICE_SPIKE,
    "volume": Reason.ANOMALYDETECTOR_VOLUME_SPIKE,
}

_encode = msgspec.json.Encoder().encode

What = Literal["price", "volume"]


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """How long, how many, how often."""

    days: float = 7.0
    markets: int = 30
    seed: int = 0
    every_h: float = 8.0


class Planted(Struct):
    """One spike: in which cycle (its end, ns), how large, and whether it was named."""

    what: What
    instrument: str
    at_ns: int
    sigmas: float
    found: bool = False


class Memory(Struct, frozen=True):
    """At the end of a simulated day, in bytes: of the process, and of the engine's snapshot."""

    day: int
    resident: int
    state: int


class Told(Struct, frozen=True):
    """An incident, when it was first told."""

    instrument: str
    detector: str
    at_ns: int


class Run(Struct):
    """What a soak saw. Alerts go to `out` as they come: memory is measured, and must be the
    engine's. `told` are the incidents of severity warn and above, the latest of them by name."""

    out: TextIO
    planted: list[Planted] = field(default_factory=list)
    told: dict[str, Told] = field(default_factory=dict)
    memory: list[Memory] = field(default_factory=list)
    reports: int = 0
    inputs: int = 0


def evaluate(data: pathlib.Path, out: pathlib.Path, changes: Sequence[Setting]) -> dict[str, Any]:
    """Run it, write alerts and `soak.json` (what `tapewatch promote` reads), return the score."""
    del data  # there is none
    plan, rest = planned(changes)
    config = configured(plan, rest)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / "soak.alerts.ndjson").open("w", encoding="utf-8") as file:
            run = soak(plan, config, file)
    except OSError as error:
        raise ConfigError(f"cannot write in {out}: {error.strerror}", "--out") from error
    score = scored(plan, config, run)
    text = msgspec.json.format(msgspec.json.encode(score), indent=1)
    (out / "soak.json").write_bytes(text + b"\n")
    return score


def planned(changes: Sequence[Setting]) -> tuple[Plan, list[Setting]]:
    """What is said about the soak itself, and the other settings. Raises `ConfigError`."""
    said = {s.path[1]: s.value for s in changes if s.path[0] == "soak" and len(s.path) == 2}
    try:
        plan = msgspec.convert(said, Plan, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error), "soak") from error
    if not 0.0 < plan.days <= 400.0 or not 0 < plan.markets <= 10_000 or plan.every_h < 1.5:
        raise ConfigError(
            "days, markets and hours between spikes (1.5 or more) are positive", "soak"
        )
    return plan, [setting for setting in changes if setting.path[0] != "soak"]


def configured(plan: Plan, changes: Sequence[Setting]) -> Config:
    """The settings: polled markets, the bot's detector beside the default ones."""
    markets = [to_builtins(one.market) for one in _markets(plan)]
    source = {"mode": "poll", "poll_s": CYCLE_S, "trades": "v2", "markets": markets}
    said = [
        Setting(("source", "polymarket", name), value, "soak") for name, value in source.items()
    ]
    said.append(Setting(("detector", "zscore", "cycle_s"), CYCLE_S, "soak"))
    return assemble([*said, *changes])[0]


def soak(plan: Plan, config: Config, out: TextIO) -> Run:
    """The whole time, second by second; alerts go to `out`."""
    engine, run = engine_of(config), Run(out)
    venue = next(venue for venue in config.venues if isinstance(venue, Polymarket))
    markets = _markets(plan)
    by_id = {name: one for one in markets for name in _ids(one)}
    waiting: dict[str, Planted] = {}
    turns: dict[str, int] = {}
    for surface in ("clob", "data", "gamma"):
        _take(engine.step(Link(START_NS, venue.name, "up", stream=surface)), run, waiting)
    for second in range(int(plan.days * _DAY_S)):
        now = START_NS + second * NS_PER_S
        if (second + venue.lead_s) % CYCLE_S == 0:
            cycle = int(second + venue.lead_s) // CYCLE_S
            for number, one in enumerate(markets):
                one.step(now)
                _plant(plan, run, waiting, (number, one), cycle)
                one.settle()
        for item in _inputs(engine, venue, by_id, turns, now):
            _take(engine.step(item), run, waiting)
            run.inputs += 1
        if second % _DAY_S == _DAY_S - 1:
            run.memory.append(_memory(second // _DAY_S + 1, engine))
    return run


def _inputs(
    engine: Engine,
    venue: Polymarket,
    markets: dict[str, SoakMarket],
    turns: dict[str, int],
    now: int,
) -> Iterator[Input]:
    """What the edge brings in this second: answers to what is due, and the timer."""
    for poll in venue.polls(engine.venue_states[venue.name]):
        turn = (now + int(poll.lead_s * NS_PER_S)) // int(poll.every_s * NS_PER_S)
        if turn != turns.get(poll.name):
            turns[poll.name] = turn
            for fetch in poll.requests:
                body = answer(markets, fetch, now)
                yield Frame(now + NS_PER_MS, venue.name, body, fetch.stream)
    yield Timer(now + 2 * NS_PER_MS)


def _plant(
    plan: Plan,
    run: Run,
    waiting: dict[str, Planted],
    who: tuple[int, SoakMarket],
    cycle: int,
) -> None:
    """A spike, if this market's turn has come: every few hours, price and volume by turns."""
    number, one = who
    every = int(plan.every_h * 3600 / CYCLE_S)
    shifted = cycle - number * every // max(1, plan.markets)
    last = int(plan.days * _DAY_S) // CYCLE_S - 2 * LATE_CYCLES  # later nobody could answer
    if shifted % every or not CYCLES + every // plan.markets + 60 < cycle < last:
        return
    at_ns = START_NS + cycle * CYCLE_S * NS_PER_S
    if shifted // every % 2:
        spike = Planted("volume", _id(one), at_ns, one.spike_volume(SIGMAS, at_ns))
    else:
        sign = SIGMAS if shifted // every % 4 else -SIGMAS
        spike = Planted("price", _id(one), at_ns, one.spike_price(sign))
    run.planted.append(spike)
    waiting[spike.instrument] = spike


def _take(outputs: Sequence[Output], run: Run, waiting: dict[str, Planted]) -> None:
    for output in outputs:
        if isinstance(output, Report):
            run.reports += 1
            spike = waiting.get(output.instrument)
            if spike is not None:
                late = output.poll_cycle_ms * NS_PER_MS - spike.at_ns
                if 0 <= late <= LATE_CYCLES * CYCLE_S * NS_PER_S:
                    spike.found |= _NAMED[spike.what] in output.warnings
        elif isinstance(output, Alert):
            run.out.write(json_text(_encode(output)) + "\n")
            if output.severity != "info" and output.incident not in run.told:
                told = Told(output.instrument, output.detector, output.ts_alert_ns)
                run.told[output.incident] = told


def scored(plan: Plan, config: Config, run: Run) -> dict[str, Any]:
    """The figures, with intervals."""
    days = plan.days * plan.markets
    groups: dict[str, list[Told]] = {"zscore": [], "suite": []}
    for told in run.told.values():
        groups["zscore" if told.detector == "zscore" else "suite"].append(told)
    found = {what: [spike for spike in run.planted if spike.what == what] for what in _NAMED}
    score: dict[str, Any] = {
        "schema": "tapewatch.soak/1",
        **to_builtins(plan),
        "detectors": fingerprint(config),
        "reports": run.reports,
        "inputs": run.inputs,
    }
    for what, spikes in found.items():
        hits = sum(spike.found for spike in spikes)
        score[what] = [hits, len(spikes)]
        score[f"{what}_recall"] = proportion(hits, len(spikes))
        score[f"{what}_sigmas"] = [
            min((spike.sigmas for spike in spikes), default=None),
            max((spike.sigmas for spike in spikes), default=None),
        ]
    for name, incidents in groups.items():
        false = [told for told in incidents if not _about(told, run.planted)]
        score[f"{name}_incidents"] = len(incidents)
        score[f"{name}_false_per_market_day"] = rate(len(false), days)
        score[f"{name}_noticed"] = proportion(
            sum(_noticed(spike, incidents) for spike in run.planted), len(run.planted)
        )
    score["memory"] = to_builtins(run.memory)
    score["growth_after_day_1"] = _growth(run.memory)
    return plain(score)


def _about(told: Told, planted: Sequence[Planted]) -> bool:
    return any(
        spike.instrument == told.instrument and 0 <= told.at_ns - spike.at_ns <= OURS_NS
        for spike in planted
    )


def _noticed(spike: Planted, incidents: Sequence[Told]) -> bool:
    return any(_about(told, [spike]) for told in incidents)


def _growth(memory: Sequence[Memory]) -> dict[str, float] | None:
    """By which fraction memory grew from the end of the first day to that of the last."""
    if len(memory) < 2:
        return None
    first, last = memory[0], memory[-1]
    return {
        "resident": last.resident / first.resident - 1.0,
        "state": last.state / first.state - 1.0,
    }


def _memory(day: int, engine: Engine) -> Memory:
    gc.collect()
    pages = pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return Memory(day, int(pages) * _PAGE, len(snapshot(engine)))


def _markets(plan: Plan) -> list[SoakMarket]:
    return [SoakMarket(number, plan.seed, CYCLE_S) for number in range(plan.markets)]


def _ids(one: SoakMarket) -> tuple[str, str, str]:
    return one.market.condition, one.market.yes, one.market.no


def _id(one: SoakMarket) -> str:
    return f"polymarket:{one.market.condition}"
