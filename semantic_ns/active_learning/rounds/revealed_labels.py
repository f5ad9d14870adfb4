"""What a run with active learning has asked for, what was revealed, and what that cost; part of its checkpoint."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Bool, Int16, Int64
from numpy import ndarray
from torch import Tensor, nn

from semantic_ns.active_learning.config import Cost, SelectionConfig
from semantic_ns.active_learning.pool.units import Units
from semantic_ns.errors import SceneError


@dataclass(frozen=True)
class Answer:
    """Labels of some units of one frame of the pool.

    Attributes:
        frame: number in the pool.
        units: the units that are answered, all of this frame.
        labels: classes of the whole frame, -1..C-1; only pixels of these units are looked at.
    """

    frame: int
    units: Int64[ndarray, "units"]
    labels: Int16[ndarray, "height width"]


def division_name(config: SelectionConfig) -> str:
    """How the pool is divided into units."""
    return f"{config.unit}, {config.region_pixels} pixels a region"


def spent(units: Units, chosen: Int64[ndarray, "chosen"]) -> dict[Cost, float]:
    """What some units cost together in each currency; a part of a frame is that share of a frame."""
    currencies: tuple[Cost, ...] = get_args(Cost)
    return {cost: float(units.costs(cost)[chosen].sum()) for cost in currencies}


class RevealedLabels(nn.Module):
    """The labels of the pool as far as they were revealed; void everywhere else.

    Args:
        labels: of each frame, void everywhere; the arrays are written to in place, so that whoever shows them to
            training shows the present ones.
        division: how the pool is divided into units; a checkpoint of another division is refused.

    Attributes:
        asked: units in the order in which they were asked for.
        is_answered: whether each of them was answered.
        rounds: step, number of units and total cost so far of each round.
    """

    def __init__(self, labels: Sequence[Int16[ndarray, "_height _width"]], division: str) -> None:
        super().__init__()
        self.labels = list(labels)
        self._division = division
        self.asked: Int64[ndarray, "asked"] = np.empty(0, np.int64)
        self.is_answered: Bool[ndarray, "asked"] = np.empty(0, bool)
        self.rounds: list[dict[str, float]] = []

    @property
    def pending(self) -> Int64[ndarray, "pending"]:
        """Units that were asked for and not answered yet."""
        return self.asked[~self.is_answered]

    def matches(self, units: Units, config: SelectionConfig) -> bool:
        """Whether the units that were asked for are of this division."""
        is_known = len(self.asked) == 0 or int(self.asked.max()) < len(units)
        return is_known and self._division == division_name(config)

    def is_asked(self, num_units: int) -> Bool[ndarray, "units"]:
        """Which of all units were asked for, answered or not."""
        found = np.zeros(num_units, bool)
        found[self.asked] = True
        return found

    def ask(self, units: Units, chosen: Int64[ndarray, "chosen"], step: int) -> None:
        """Note a round that asks for these units.

        Raises:
            ValueError: if one was asked for before.
        """
        if self.is_asked(len(units.frames))[chosen].any():
            raise ValueError("a unit was chosen that was asked for before")
        self.asked = np.concatenate([self.asked, chosen])
        self.is_answered = np.concatenate([self.is_answered, np.zeros(len(chosen), bool)])
        self.rounds.append({"step": step, "units": len(chosen), **spent(units, self.asked)})

    def reveal(self, units: Units, answers: Sequence[Answer]) -> None:
        """Take the labels of those units of the answers that were asked for; those of others are not looked at."""
        is_revealed = np.zeros(len(units.frames), bool)
        for answer in answers:
            is_revealed[answer.units] = True
        is_revealed &= self.is_asked(len(units.frames))
        self.is_answered |= is_revealed[self.asked]
        for answer in answers:
            inside = is_revealed[units.maps[answer.frame]]
            self.labels[answer.frame][inside] = answer.labels[inside]

    def get_extra_state(self) -> dict[str, Any]:
        """All of it, for the checkpoint."""
        flat = np.concatenate([image.ravel() for image in self.labels])
        packed = np.frombuffer(zlib.compress(flat.astype("<i2").tobytes(), 1), np.uint8)
        return {
            "division": self._division,
            "labels": torch.from_numpy(packed.copy()),
            "asked": torch.from_numpy(self.asked),
            "is_answered": torch.from_numpy(self.is_answered),
            "rounds": self.rounds,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over what a checkpoint holds.

        Raises:
            SceneError: if it is of other images or of another division into units.
        """
        flat = np.frombuffer(zlib.decompress(_bytes_of(state["labels"])), "<i2")
        sizes = [image.size for image in self.labels]
        if state["division"] != self._division or len(flat) != sum(sizes):
            raise SceneError(
                f"Expected labels given to {sum(sizes)} pixels in units {self._division}, found a checkpoint with "
                f"{len(flat)} pixels in units {state['division']}; go on with the options that the run had."
            )
        for image, part in zip(self.labels, np.split(flat, np.cumsum(sizes)[:-1]), strict=True):
            image[...] = part.reshape(image.shape)
        self.asked, self.is_answered = state["asked"].numpy().copy(), state["is_answered"].numpy().copy()
        self.rounds = list(state["rounds"])


def _bytes_of(values: Tensor) -> bytes:
    return values.cpu().numpy().tobytes()
