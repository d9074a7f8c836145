"""Detectors of others in one shape: score a price against those before it, then learn it.

Two are what people write first, a z of the level and of the last move over a window. Three are of
libraries that are installed with `tapewatch[peers]` and imported when asked for: a Gaussian law and
half-space trees of river, and robust random cut forests of rrcf. They get the move of the log price
and their documented defaults; what is chosen here is said at each.
"""

import importlib
from collections import deque
from collections.abc import Callable
from math import log, sqrt
from typing import Any, Final, Protocol

from tapewatch.model.errors import ConfigError

TREES: Final = 40  # of the forest, and points in each: the example of its authors
TREE_POINTS: Final = 256
SEED: Final = 1
_WORSE: Final = 1e-12  # of a spread: below, it is rounding


class Rule(Protocol):
    """`score` is larger for what is less usual, in a unit of its own, and changes nothing."""

    def score(self, price: float) -> float:
        """How unusual the price is."""
        ...

    def learn(self, price: float) -> None:
        """Make it part of what is usual."""
        ...


class Window:
    """Mean and standard deviation of the last `size` values, by running sums about the first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: deque[float] = deque()
        self._first = self._sum = self._squares = 0.0

    def push(self, value: float) -> None:
        """Take a value in, and the oldest out."""
        if not self._values:
            self._first = value
        offset = value - self._first
        self._values.append(offset)
        self._sum += offset
        self._squares += offset * offset
        if len(self._values) > self._size:
            oldest = self._values.popleft()
            self._sum -= oldest
            self._squares -= oldest * oldest

    def z(self, value: float) -> float:
        """|value - mean| / standard deviation; 0 while there is none."""
        count = len(self._values)
        if count < 2:
            return 0.0
        mean = self._sum / count
        spread = sqrt(max(self._squares / count - mean * mean, 0.0))
        return abs(value - self._first - mean) / spread if spread > _WORSE else 0.0


class LevelZ:
    """z of the price over a window: what the rule of bot 4.15 compares with 3."""

    def __init__(self, window: int) -> None:
        self._window = Window(window)

    def score(self, price: float) -> float:
        """Standard deviations from the mean price."""
        return self._window.z(price)

    def learn(self, price: float) -> None:
        """Take the price into the window."""
        self._window.push(price)


class Moves:
    """A rule about moves of the log price; those of before the second price are none."""

    def __init__(self) -> None:
        self._last = 0.0

    def move(self, price: float) -> float:
        """Since the price learnt last."""
        return log(price / self._last) if self._last else 0.0

    def learn(self, price: float) -> None:
        """Take the move in."""
        if self._last:
            self._take(self.move(price))
        self._last = price

    def _take(self, move: float) -> None:
        raise NotImplementedError


class MoveZ(Moves):
    """z of the last move over a window."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self._window = Window(window)

    def score(self, price: float) -> float:
        """Standard deviations from the mean move."""
        return self._window.z(self.move(price))

    def _take(self, move: float) -> None:
        self._window.push(move)


class GaussianScorer(Moves):
    """river's `GaussianScorer`: how far out the move is under one normal law of all moves."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self._model = _library("river.anomaly").GaussianScorer(grace_period=min(window, 100))

    def score(self, price: float) -> float:
        """0 in the middle to 1."""
        return float(self._model.score_one(None, self.move(price)))

    def _take(self, move: float) -> None:
        self._model.learn_one(None, move)


class HalfSpaceTrees(Moves):
    """river's `HalfSpaceTrees` behind its `MinMaxScaler`, as its documentation has them."""

    def __init__(self, window: int) -> None:
        super().__init__()
        scaler = _library("river.preprocessing").MinMaxScaler()
        trees = _library("river.anomaly").HalfSpaceTrees(seed=SEED, window_size=min(window, 250))
        self._model: Any = scaler | trees

    def score(self, price: float) -> float:
        """0 to 1."""
        return float(self._model.score_one({"move": self.move(price)}))

    def _take(self, move: float) -> None:
        self._model.learn_one({"move": move})


class CutForest(Moves):
    """rrcf's streaming forest: the displacement that a move causes, mean over the trees.

    Reference: Guha, Mishra, Roy, Schrijvers 2016, "Robust random cut forest based anomaly detection
    on streams".
    """

    def __init__(self, window: int) -> None:  # noqa: ARG002  its memory is TREE_POINTS
        super().__init__()
        module, self._numpy = _library("rrcf"), _library("numpy")
        self._trees = [module.RCTree(random_state=SEED + at) for at in range(TREES)]
        self._next = 0

    def score(self, price: float) -> float:
        """Collusive displacement."""
        point, total = self._numpy.array([self.move(price)]), 0.0
        for tree in self._trees:
            tree.insert_point(point, index=-1)
            total += tree.codisp(-1)
            tree.forget_point(-1)
        return total / TREES

    def _take(self, move: float) -> None:
        point = self._numpy.array([move])
        for tree in self._trees:
            if self._next >= TREE_POINTS:
                tree.forget_point(self._next - TREE_POINTS)
            tree.insert_point(point, index=self._next)
        self._next += 1


MAKERS: Final[dict[str, Callable[[int], Rule]]] = {
    "level_z": LevelZ,
    "move_z": MoveZ,
    "river_gaussian": GaussianScorer,
    "river_half_space_trees": HalfSpaceTrees,
    "rrcf_forest": CutForest,
}


def _library(name: str) -> Any:
    """A module of an optional package. Raises `ConfigError` where it is absent."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name.partition('.')[0]} is not installed, and only needed to compare with others:"
            ' pip install "tapewatch[peers]"'
        ) from error
