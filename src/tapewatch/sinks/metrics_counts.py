"""Counters by label values, all of which are known from the start. Numbers only."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Final

from tapewatch.sinks.metrics_names import OTHER

Values = tuple[str, ...]
STRANGERS: Final = 64  # combinations of one counter that were not known, before they are `other`


class Counts:
    """`known` are the values of each label, by the counter's name. A combination that is not known
    (a plug-in's own cause) is counted under its name while there is room for a few, then under
    `other`, so that nobody can make the page grow."""

    def __init__(self, known: Mapping[str, tuple[Values, ...]]) -> None:
        self._all = {name: dict.fromkeys(product(*labels), 0) for name, labels in known.items()}
        self._most = {name: len(counted) + STRANGERS for name, counted in self._all.items()}

    def add(self, name: str, *values: str) -> None:
        """One more."""
        counted = self._all[name]
        if values not in counted and len(counted) >= self._most[name]:
            values = (OTHER,) * len(values)
        counted[values] = counted.get(values, 0) + 1

    def of(self, name: str) -> Iterator[tuple[Values, int]]:
        """Counts of one counter, by label values."""
        yield from self._all[name].items()

    def value(self, name: str, *values: str) -> int:
        """One count; 0 for what was never seen."""
        return self._all[name].get(values, 0)

    def names(self) -> tuple[str, ...]:
        """All counters."""
        return tuple(self._all)
