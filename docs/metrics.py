"""Writes `docs/reference/metrics.md` from the list of metrics in the code. A test checks it.

It states nothing itself; `docs/generate.py` does the same for the other pages.
"""

import inspect
import pathlib
import re
import textwrap
from collections.abc import Iterable

from tapewatch.sinks import metrics_names
from tapewatch.sinks.metrics_families import ASKED, MODES, RESULTS, SWITCH
from tapewatch.sinks.metrics_names import OURS, POLYTRADERS, Metric
from tapewatch.sinks.metrics_settings import MetricsSettings
from tapewatch.sinks.metrics_vitals import EVENTS, total

PAGE = pathlib.Path(__file__).resolve().parent / "reference" / "metrics.md"
NOTE = "<!-- Written by docs/metrics.py from the code. -->\n\n"
VALUES: dict[tuple[str, str], Iterable[str]] = {  # of labels that have few and fixed ones
    (metrics_names.REPORTS, "anomaly_detected"): ("true", "false"),
    (metrics_names.THEIR_REPORTS, "anomaly_detected"): ("true", "false"),
    (metrics_names.ALARMS, "what"): ("budget", "shown"),
    (metrics_names.Z_PEAK, "metric"): metrics_names.QUANTITIES,
    (metrics_names.Z_LARGEST, "metric"): metrics_names.QUANTITIES,
    (metrics_names.THEIR_Z, "metric"): metrics_names.QUANTITIES,
    (metrics_names.ANOMALIES, "type"): metrics_names.SPIKES,
    (metrics_names.HIGH_Z, "metric"): metrics_names.QUANTITIES,
    (metrics_names.SUPPRESSED, "what"): ("alert", "report"),
    (metrics_names.Z_SCORE, "metric"): metrics_names.QUANTITIES,
    (metrics_names.MODE, "mode"): MODES,
    (metrics_names.KILL, "state"): SWITCH,
    (metrics_names.EVENTS, "type"): EVENTS,
    (metrics_names.SINK_OUTPUTS, "result"): RESULTS,
    (metrics_names.HTTP, "result"): ASKED,
    (metrics_names.SOCKET, "what"): total([]),
    (metrics_names.THEIR_ANOMALIES, "anomaly_type"): metrics_names.SPIKES,
}


def paragraph(text: str) -> str:
    plain = " ".join(text.split())
    return textwrap.fill(plain, 110, break_long_words=False, break_on_hyphens=False) + "\n\n"


def labels(metric: Metric) -> str:
    said = []
    for label in metric.labels:
        values = ", ".join(VALUES.get((metric.name, label), ()))
        said.append(f"`{label}`" + (f" ({values})" if values else ""))
    return ", ".join(said)


def table(metrics: Iterable[Metric]) -> str:
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for metric in metrics:
        meaning = metric.meaning.replace("|", "\\|")
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels(metric)} | {meaning} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page as it has to be."""
    about = re.split(r"\n\s*\n", inspect.getdoc(MetricsSettings) or "")
    return (
        f"# Metrics\n\n{NOTE}"
        + paragraph(
            "What `GET /metrics` of a service says. How to use it: [monitor a "
            "service](../how-to/monitor.md). Counters begin at 0 for every value of their labels "
            "that is known, with the process; those of the session go on with it."
        )
        + paragraph(f"The settings are in section `metrics`. {about[1]}")
        + f"## Ours\n\n{table(OURS.values())}\n"
        + paragraph(
            "Further, from prometheus_client: `process_cpu_seconds_total`, "
            "`process_resident_memory_bytes`, `process_open_fds`, `process_start_time_seconds` and "
            "a few more of that kind."
        )
        + '## Bot 4.15\'s, with `compat = "polytraders"`\n\n'
        + table(POLYTRADERS.values())
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
