"""The page for Prometheus as families of samples, from what was counted and what holds now.

Names, labels and meanings come from `metrics_names.py`. Escaping is prometheus_client's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family

from tapewatch.model.text import clean
from tapewatch.sinks import metrics_names as names
from tapewatch.sinks.metrics_counts import Counts
from tapewatch.sinks.metrics_markets import Markets, Summary, age_s
from tapewatch.sinks.metrics_vitals import EVENTS, Vitals

Row = tuple[tuple[str, ...], float]

NAME_CHARS: Final = 80  # of a market's name in a label
MODES: Final = ("shadow_only", "limited_live", "general_live")
SWITCH: Final = ("off", "on", "unknown")
RESULTS: Final = ("delivered", "failed", "dropped", "spilled", "duplicates")
ASKED: Final = ("fetched", "fetch_failures", "fetches_dropped", "skipped")


def families(
    counts: Counts,
    markets: Markets,
    vitals: Vitals,
    links: Mapping[tuple[str, str], bool],
    stale: int,
    *,
    now: int,
    top_k: int,
    compat: int,
) -> Iterator[Family]:
    """Every family but those that prometheus_client keeps itself, at `now` (ns). `top_k` markets
    have series of their own; `compat` have those of bot 4.15, which are left out when it is 0."""
    for name in counts.names():
        yield _family(name, counts.of(name))
    summary = markets.summary(now, max(top_k, compat))
    yield _family(names.LINK_UP, ((link, float(up)) for link, up in links.items()))
    yield _family(names.STALE, _one(stale))
    yield from _markets(summary, top_k, vitals.names)
    yield from _process(vitals)
    yield from _deliveries(vitals)
    if compat:
        yield from _theirs(counts, summary, compat, now)


def _markets(summary: Summary, top_k: int, called: Mapping[str, str]) -> Iterator[Family]:
    latest: list[Row] = []
    peaks: list[Row] = []
    for shown in summary.top[:top_k]:
        market = shown.market
        label = (shown.key, clean(called.get(shown.key, ""), NAME_CHARS))
        if shown.fresh:
            scores = zip(names.QUANTITIES, (market.price, market.volume), strict=True)
            latest += [((*label, what), z) for what, z in scores if isfinite(z)]
        peaked = zip(names.QUANTITIES, shown.peaks, strict=True)
        peaks += [((*label, what), z) for what, z in peaked]
    largest = (summary.price_largest, summary.volume_largest)
    ages = [
        ((key, clean(called.get(key, ""), NAME_CHARS)), age) for key, age in summary.oldest[:top_k]
    ]
    yield _family(names.Z_SCORE, latest)
    yield _family(names.Z_PEAK, peaks)
    yield _family(
        names.Z_LARGEST, [((w,), z) for w, z in zip(names.QUANTITIES, largest, strict=True)]
    )
    yield _family(names.MARKETS, _one(summary.fresh))
    yield _family(names.LEFT_OUT, _one(summary.ranked - len(summary.top)))
    yield _family(names.AGE, ages)
    yield _family(names.AGE_MAX, _one(summary.age_max_s))


def _process(vitals: Vitals) -> Iterator[Family]:
    yield _family(names.BUILD, [((vitals.version,), 1.0)])
    yield _family(names.MODE, _states(MODES, vitals.mode))
    yield _family(names.KILL, _states(SWITCH, vitals.kill))
    yield _family(names.INPUTS, _one(vitals.inputs))
    yield _family(names.EVENTS, [((kind,), vitals.events.get(kind, 0)) for kind in EVENTS])
    yield _family(names.INBOX, _one(vitals.inbox))
    yield _family(names.INBOX_WAITS, _one(vitals.inbox_waits))
    yield _family(names.WAITING, _one(vitals.waiting))
    yield _family(names.RECORDING, _one(vitals.recording))
    yield _family(names.TAPE_BYTES, _one(vitals.tape_bytes))
    if vitals.lag_s is not None:
        yield _family(names.LAG, _one(vitals.lag_s))
    if vitals.coverage is not None:
        yield _family(names.COVERAGE, _one(vitals.coverage))
    alarms = {"budget": vitals.alarms_budget, "shown": vitals.alarms_shown}
    yield _family(names.ALARMS, _by(alarms))
    yield _family(names.STATES, _by(vitals.states))
    yield _family(names.SOCKET, _by(vitals.sockets))
    yield _family(names.HTTP, _by({what: getattr(vitals.polls, what) for what in ASKED}))
    yield _family(names.COMPONENT, _by(vitals.components))


def _deliveries(vitals: Vitals) -> Iterator[Family]:
    outputs: list[Row] = [
        ((sink.name, result), getattr(sink.counters, result))
        for sink in vitals.sinks
        for result in RESULTS
    ]
    yield _family(names.SINK_OUTPUTS, outputs)
    yield _family(
        names.SINK_RETRIES, [((sink.name,), sink.counters.retries) for sink in vitals.sinks]
    )
    yield _family(names.SINK_QUEUE, [((sink.name,), sink.queued) for sink in vitals.sinks])
    yield _family(names.OUTBOX, vitals.outbox.items())


def _theirs(counts: Counts, summary: Summary, most: int, now: int) -> Iterator[Family]:
    """Bot 4.15's four. Its label has no venue, so of two instruments with one condition (the
    market, and its trades on the chain) the first speaks."""
    yield _family(names.THEIR_REPORTS, counts.of(names.REPORTS))
    yield _family(names.THEIR_ANOMALIES, counts.of(names.ANOMALIES))
    scores: dict[tuple[str, ...], float] = {}
    ages: dict[tuple[str, ...], float] = {}
    for shown in summary.top[:most]:
        condition, market = shown.key.partition(":")[2], shown.market
        if (condition,) in ages:
            continue
        ages[(condition,)] = age_s(market, now)
        for what, z in zip(names.QUANTITIES, (market.price, market.volume), strict=True):
            if shown.fresh and isfinite(z):
                scores[(condition, what)] = z
    yield _family(names.THEIR_Z, scores.items())
    yield _family(names.THEIR_AGE, ages.items())


def _family(name: str, rows: Iterable[tuple[tuple[str, ...], float]]) -> Family:
    metric = names.OURS.get(name) or names.POLYTRADERS[name]
    make: Callable[..., CounterMetricFamily | GaugeMetricFamily] = (
        CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    )
    family = make(name, metric.meaning, labels=metric.labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _one(value: float) -> list[Row]:
    return [((), value)]


def _by(values: Mapping[str, float]) -> list[Row]:
    return [((name,), value) for name, value in values.items()]


def _states(known: tuple[str, ...], state: str) -> list[Row]:
    return [((one,), float(one == state)) for one in known]
