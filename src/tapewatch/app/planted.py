"""What a simulator planted against what a session said: the demo's honest last word.

It joins two records after the fact. Detectors never see the ground truth.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from tapewatch.model.outputs import Alert
from tapewatch.model.time import NS_PER_S
from tapewatch.simulate.truth import Record

# Planted kind -> what a right answer is: (cause, kind); an empty kind stands for any.
ANSWERS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "price_jump": (("price_jump", ""), ("price_spike", "")),
    "glitch": (("bad_print", ""), ("price_jump", ""), ("price_spike", "")),
    "bad_print": (("bad_print", ""), ("price_jump", ""), ("price_spike", "")),
    "volume_burst": (("volume", ""), ("intensity", ""), ("volume_spike", "")),
    "silence": (("silence", ""),),
    "stall": (("silence", ""), ("feed", "mute")),
    "malformed": (("feed", "malformed"),),
    "trade_gap": (("feed", "gap"),),
    "lost_delta": (("feed", "checksum"),),
    "crossed": (("crossed", ""),),
}
LATE_S: Final = 15.0  # an answer that comes later is none
EARLY_S: Final = 1.0  # an onset may be dated back to the last good data
INCIDENT_S: Final = 300.0  # an incident takes in what follows so soon: `Gate.quiet_s`


class Answer(Struct, frozen=True):
    """One planted thing. `number`: the alert that answers it, from 1, 0 for none; `after_s` since
    it began; `merged`: it became part of the incident which that alert had opened."""

    planted: Record
    number: int
    after_s: float
    merged: bool = False


def answers(records: Sequence[Record], alerts: Sequence[Alert]) -> list[Answer]:
    """The first right alert for each planted thing, in order."""
    return [_answer(record, alerts) for record in records if record.kind in ANSWERS]


def _answer(record: Record, alerts: Sequence[Alert]) -> Answer:
    merged = Answer(record, 0, 0.0)
    for number, alert in enumerate(alerts, 1):
        if not any(
            alert.cause == cause and kind in ("", alert.kind)
            for cause, kind in ANSWERS[record.kind]
        ):
            continue
        after_s = (alert.ts_alert_ns - record.t_ns) / NS_PER_S
        lasts_s = (record.end_ns - record.t_ns) / NS_PER_S
        if -EARLY_S <= after_s <= max(lasts_s, 0.0) + LATE_S:
            return Answer(record, number, after_s)
        if -INCIDENT_S <= after_s < 0.0:
            merged = Answer(record, number, 0.0, merged=True)
    return merged


def table(found: Sequence[Answer], began_ns: int) -> list[str]:
    """Lines of at most 80 columns: what was planted, when, and what answered it."""
    lines = ["What the simulator planted, and what was said about it:"]
    for one in found:
        at_s = (one.planted.t_ns - began_ns) / NS_PER_S
        if not one.number:
            said = "not found"
        elif one.merged:
            said = f"part of the incident that alert #{one.number} had opened"
        else:
            said = f"alert #{one.number} after {max(0.0, one.after_s):.1f} s"
        lines.append(f"  {at_s:5.1f} s  {one.planted.kind:<13} {said}")
    answered = sum(bool(one.number) for one in found)
    return [*lines, f"  {answered} of {len(found)} answered."]
