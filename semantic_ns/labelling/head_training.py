"""Classes of a trained field from the labels of a session: the semantic head alone is trained, again and again.

Geometry and colour stay as they are, so that rays are rendered once and kept (`ClassRays`). Each training begins with
the head of the one before; the first begins with random values, so that the head says what the session says and
nothing of the labels that its run was trained on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int16, Int64, UInt8
from numpy import ndarray
from torch import nn

from semantic_ns.fields.class_rays import ClassRays
from semantic_ns.fields.semantic_head import SemanticHead
from semantic_ns.labels.taxonomy import VOID
from semantic_ns.losses import semantic_cross_entropy
from semantic_ns.optimizers import set_up_for_run

RAYS = 2048
"""Rays of a step."""
FIRST_STEPS, FURTHER_STEPS = 400, 400
"""Steps of the first training, and of one that begins with the head of another."""
_BY_CLASS = 0.25
"""Share of the rays that are drawn from all classes alike, so that small ones are learned."""
_RAYS_AT_A_TIME = 1 << 15


@dataclass(frozen=True, eq=False)
class HeadTargets:
    """What a session says of the pixels of some rays.

    Attributes:
        labels: Class ids, -1 for none.
        weights: How sure they are, 0..1.
    """

    labels: Int16[ndarray, "rays"]
    weights: Float32[ndarray, "rays"]


class HeadTrainer:
    """A semantic head that follows the labels of a session.

    Args:
        field: The field of a run, whose classes have a grid of their own. Its head becomes the one that is trained.
        optimizers: Optimiser configurations of the run's method, by parameter group.
        seed: The seed of all random values and draws.

    Attributes:
        class_ids: The id in the session of each class of the head.
        is_trained: Whether any label has taught it one of these classes.
    """

    def __init__(self, field: Any, optimizers: dict[str, Any], seed: int = 0) -> None:
        self._field, self._optimizers = field, optimizers
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self.class_ids: tuple[int, ...] = ()
        self.is_trained = False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            field.head.reset_parameters()

    @property
    def head(self) -> SemanticHead:
        """The head as it is now."""
        return self._field.head

    def set_classes(self, class_ids: Sequence[int]) -> None:
        """Have these classes: those of before keep what they learned, and new ones begin with nothing.

        Args:
            class_ids: Ids in the session, ascending.
        """
        before = self.head.linear
        linear = nn.Linear(before.in_features, len(class_ids))
        with torch.no_grad():
            linear.weight.normal_(0, before.in_features**-0.5, generator=self._generator)
            linear.bias.zero_()
            for place, number in enumerate(class_ids):
                if number in self.class_ids:
                    known = self.class_ids.index(number)
                    linear.weight[place], linear.bias[place] = before.weight[known], before.bias[known]
        self._field.head = SemanticHead(self.head.grid, self.head.trunk, linear)
        self.is_trained = self.is_trained and not set(class_ids).isdisjoint(self.class_ids)
        self.class_ids = tuple(class_ids)

    def train(self, rays: ClassRays, targets: HeadTargets, num_steps: int | None = None) -> None:
        """Train on the labels that there are; without any nothing changes.

        Args:
            rays: The rays.
            targets: What the session says of them, of classes that the head has.
            num_steps: Number of steps of 2048 rays; by default more for the first training than for further ones.
        """
        places = self._places(targets.labels)
        labelled = np.flatnonzero((places != VOID) & (targets.weights > 0))
        if not len(labelled):
            return
        num_steps = num_steps or (FURTHER_STEPS if self.is_trained else FIRST_STEPS)
        steppers = set_up_for_run(self.head.parameters_by_group(), self._optimizers, num_steps)
        for numbers in self._batches(labelled, places, num_steps):
            logits = rays.logits(self.head, numbers)
            for optimizer, _ in steppers:
                optimizer.zero_grad(set_to_none=True)
            labels, weights = torch.from_numpy(places[numbers]), torch.from_numpy(targets.weights[numbers])
            semantic_cross_entropy(logits, labels, weights).backward()
            for optimizer, schedule in steppers:
                optimizer.step()
                schedule.step()
        self.is_trained = True

    def _places(self, labels: Int16[ndarray, "rays"]) -> Int64[ndarray, "rays"]:
        """Class ids as places 0..C-1 in the head; -1 stays."""
        table = np.full(max([*self.class_ids, 0]) + 2, VOID, np.int64)
        table[list(self.class_ids)] = np.arange(len(self.class_ids))
        return table[labels]  # the last place serves -1

    def _batches(
        self, labelled: Int64[ndarray, "labelled"], places: Int64[ndarray, "rays"], num_steps: int
    ) -> Iterator[Int64[ndarray, "drawn"]]:
        """Numbers of the rays of each step: from all that are labelled, and some from each class alike."""
        ordered = labelled[np.argsort(places[labelled], kind="stable")]
        found, starts, counts = np.unique(places[ordered], return_index=True, return_counts=True)
        by_class = round(_BY_CLASS * RAYS)
        for _ in range(num_steps):
            drawn = self._rng.integers(len(found), size=by_class)
            of_class = ordered[starts[drawn] + self._rng.integers(counts[drawn])]
            yield np.concatenate([labelled[self._rng.integers(len(labelled), size=RAYS - by_class)], of_class])

    def predict(self, rays: ClassRays) -> tuple[Int16[ndarray, "rays"], UInt8[ndarray, "rays"]]:
        """What the field says of rays: class ids, -1 where a ray meets nothing, and confidence 0..255 for 0..1.

        Before it is trained it says nothing, -1, of all of them: what a head of random values says means nothing.
        """
        labels, confidence = np.full(len(rays), VOID, np.int16), np.zeros(len(rays), np.uint8)
        if not self.is_trained:
            return labels, confidence
        ids = np.array(self.class_ids, np.int16)
        for start in range(0, len(rays), _RAYS_AT_A_TIME):
            numbers = np.arange(start, min(start + _RAYS_AT_A_TIME, len(rays)))
            with torch.no_grad():
                most, place = rays.logits(self.head, numbers).softmax(dim=-1).max(dim=-1)
            labels[numbers], confidence[numbers] = ids[place.numpy()], (most * 255).round().byte().numpy()
        meets_nothing = rays.first[1:] == rays.first[:-1]
        labels[meets_nothing], confidence[meets_nothing] = VOID, 0
        return labels, confidence
