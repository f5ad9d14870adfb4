"""Who gives the labels that are asked for: an interface, and the scene's own labels in the place of a person."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int16, Int64
from numpy import ndarray

from semantic_ns.active_learning.pool.units import Units
from semantic_ns.active_learning.rounds.revealed_labels import Answer
from semantic_ns.labels.taxonomy import VOID


@runtime_checkable
class Oracle(Protocol):
    """Answers questions, at once or later; nobody waits for it."""

    def asked_in(self, number: int) -> Int64[ndarray, "asked"] | None:
        """What was asked in a round before this process began, in this order; None: nothing is known of it."""
        ...

    def ask(self, number: int, chosen: Int64[ndarray, "chosen"]) -> None:
        """Ask for the labels of units in the round of this number."""
        ...

    def answers(self, pending: Int64[ndarray, "pending"], step: int) -> Sequence[Answer]:
        """Answers for units of `pending` that are there at this step of the run."""
        ...


class GroundTruthOracle:
    """Answers with known labels, or for some units with one random class that is not the unit's most frequent one.

    Whether and with what a unit is answered wrongly hangs on seed and unit alone. Void pixels stay void.

    Args:
        labels: classes of each frame of the pool, -1..C-1.
        units: division of the pool.
        num_classes: C.
        error_rate: share of the units that are answered wrongly.
        seed: seed of the errors.
    """

    def __init__(
        self,
        labels: Sequence[Int16[ndarray, "_height _width"]],
        units: Units,
        num_classes: int,
        error_rate: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._labels, self._units, self._num_classes = labels, units, num_classes
        self._error_rate, self._seed = error_rate, seed

    def asked_in(self, number: int) -> None:
        """Nothing is kept."""

    def ask(self, number: int, chosen: Int64[ndarray, "chosen"]) -> None:
        """Nothing to do: the labels are there."""

    def answers(self, pending: Int64[ndarray, "pending"], step: int) -> list[Answer]:
        """All that is asked for, frame by frame."""
        del step
        frames = self._units.frames[pending]
        return [self._answer(int(frame), pending[frames == frame]) for frame in np.unique(frames)]

    def _answer(self, frame: int, asked: Int64[ndarray, "asked"]) -> Answer:
        labels = self._labels[frame].copy()
        is_wrong = uniform_numbers(asked, self._seed) < self._error_rate
        if is_wrong.any() and self._num_classes > 1:
            wrong = np.sort(asked[is_wrong])
            numbers = self._units.maps[frame]
            places = np.minimum(np.searchsorted(wrong, numbers), len(wrong) - 1)
            inside = (wrong[places] == numbers) & (labels != VOID)
            labels[inside] = self._wrong_classes(places[inside], labels[inside], wrong)[places[inside]]
        return Answer(frame, asked, labels)

    def _wrong_classes(
        self, places: Int64[ndarray, "pixels"], labels: Int16[ndarray, "pixels"], wrong: Int64[ndarray, "wrong"]
    ) -> Int16[ndarray, "wrong"]:
        """For each unit that is answered wrongly a class other than the one that most of its pixels have."""
        counts = np.zeros((len(wrong), self._num_classes), np.int64)
        np.add.at(counts, (places, labels.astype(np.int64)), 1)
        further = 1 + np.floor(uniform_numbers(wrong, self._seed + 1) * (self._num_classes - 1))
        return ((counts.argmax(axis=1) + further) % self._num_classes).astype(np.int16)


def uniform_numbers(numbers: Int64[ndarray, "numbers"], seed: int) -> Float64[ndarray, "numbers"]:
    """A random number in [0, 1) for each number, the same whatever stands beside it (Steele et al. 2014, SplitMix64).

    Args:
        numbers: numbers that are not negative.
        seed: another seed gives other random numbers.
    """
    with np.errstate(over="ignore"):
        start = _mixed(np.array([seed], np.uint64))
        mixed = _mixed(start + numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(values: ndarray) -> ndarray:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
