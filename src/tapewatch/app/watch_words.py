"""Small texts of a session's start and end: what is watched, what was lost, how large files are."""

from collections.abc import Sequence
from typing import Any, Final

from tapewatch.io.outbox import OutboxWorker
from tapewatch.io.poller import Counters
from tapewatch.io.worker import Worker
from tapewatch.sinks.account import FileSize
from tapewatch.sinks.session_files import SessionFiles

NAMED: Final = 3  # markets that are named one by one


def watched(venue: Any) -> str:
    """The names of its markets, where it has some for people."""
    names = [market.name for market in getattr(venue, "markets", ())] or list(venue.instruments())
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def lost(workers: Sequence[Worker | OutboxWorker], files: SessionFiles, requests: Counters) -> str:
    """What was dropped, refused or never answered; empty when nothing was."""
    counts = {
        f"lost on the way to {worker.sink.name}": worker.counters.failed + worker.counters.dropped
        for worker in workers
    }
    counts["lines that could not be written"] = files.lost
    counts["requests without an answer"] = requests.fetch_failures
    counts["requests dropped"] = requests.fetches_dropped
    counts["polls left out, as the one before was still out"] = requests.skipped
    return " · ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def sizes(files: SessionFiles) -> tuple[FileSize, ...]:
    """Of the session's files that people read."""
    found = []
    for name, label in (("raw", "Raw Log"), ("anomalies", "Anomaly Log")):
        path = files.path(name)
        if path.exists():
            found.append(FileSize(label, str(path), path.stat().st_size))
    return tuple(found)
