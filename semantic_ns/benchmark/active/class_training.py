"""Training of classes alone, in a field whose geometry and colours stay as they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from semantic_ns.batch import LABEL_WEIGHTS, LABELS, SOFT_LABELS, semantic_loss
from semantic_ns.fields.class_rays import ClassRays, collect_rays
from semantic_ns.interfaces import SemanticModelLike, TrainingDataLike
from semantic_ns.labels.taxonomy import VOID
from semantic_ns.optimizers import set_up_for_run
from semantic_ns.propagation.targets import supervision_weights
from semantic_ns.surface.maps import SurfaceMaps

RAYS = 2048
"""Rays of a step."""


@dataclass(frozen=True, eq=False)
class PoolRays:
    """Rays of the pixels of the maps that labels spread over: every n-th row and column of all frames.

    Attributes:
        maps: what the field shows there.
        rays: the same pixels, frame by frame and row by row.
    """

    maps: SurfaceMaps
    rays: ClassRays


def train_classes(
    model: SemanticModelLike, datamanager: TrainingDataLike, pool: PoolRays, optimizers: dict[str, Any], num_steps: int
) -> None:
    """Train what only classes are made of, on the labels that there are and on what has spread of them.

    As in a whole training, a batch holds pixels of all frames and, where fewer are labelled than the share that the
    data manager is to see to, a share of labelled ones. Draws come from torch's and numpy's generators.

    Args:
        model: `semantic-nerf`.
        datamanager: The data manager with the labels, perhaps `propagated` ones.
        pool: rays of the training images.
        optimizers: optimiser configurations of the method, by parameter group.
        num_steps: number of Adam steps, over which the method's schedules are stretched.
    """
    head = model.field.head
    steppers = set_up_for_run(head.parameters_by_group(), optimizers, num_steps)
    for rays, numbers, batch in _batches(model, datamanager, pool, num_steps):
        logits = torch.cat([part.logits(head, of_part) for part, of_part in zip(rays, numbers, strict=True)])
        for optimizer, _ in steppers:
            optimizer.zero_grad(set_to_none=True)
        semantic_loss(logits, batch).backward()
        for optimizer, schedule in steppers:
            optimizer.step()
            schedule.step()


def _batches(
    model: SemanticModelLike, datamanager: TrainingDataLike, pool: PoolRays, num_steps: int
) -> Iterator[tuple[list[ClassRays], list[ndarray], dict[str, Tensor]]]:
    share = datamanager.config.labelled_share
    labelled = _labelled_pixels(datamanager.training_labels, share)
    num_labelled = 0 if labelled is None else round(share * RAYS)
    drawn = torch.empty(0, 3, dtype=torch.int64)
    if labelled is not None:
        drawn = labelled[torch.randint(len(labelled), (num_steps * num_labelled,))]
    further = collect_rays(model, datamanager.train_ray_generator, drawn) if len(drawn) else None
    images = _Images(datamanager)
    for step in range(num_steps):
        numbers = torch.randint(len(pool.rays), (RAYS - num_labelled,)).numpy()
        rays, chosen, pixels = [pool.rays], [numbers], pool.maps.pixels_of(numbers)
        if further is not None:
            own = np.arange(step * num_labelled, (step + 1) * num_labelled)
            rays, chosen = [*rays, further], [*chosen, own]
            pixels = np.concatenate([pixels, drawn.numpy()[own]])
        yield rays, chosen, _targets(datamanager, images, torch.from_numpy(pixels))


def _labelled_pixels(labels: Sequence[ndarray], share: float) -> Tensor | None:
    """Frame, row and column of each labelled pixel, if they are fewer than a share of all."""
    count, total = (sum(numbers) for numbers in zip(*((int((x != VOID).sum()), x.size) for x in labels), strict=True))
    if not 0 < count < share * total:
        return None
    found = [np.argwhere(image != VOID) for image in labels]
    frames = np.repeat(np.arange(len(labels)), [len(pixels) for pixels in found])
    return torch.from_numpy(np.concatenate([frames[:, None], np.concatenate(found)], axis=1))


class _Images:
    """Colours and labels of pixels of the training images."""

    def __init__(self, datamanager: TrainingDataLike) -> None:
        batch = datamanager.train_image_dataloader.cached_collated_batch
        self._images: Tensor = batch["image"]
        self._places = torch.argsort(torch.as_tensor(batch["image_idx"]))
        self._labels: Tensor = batch[LABELS]

    def at(self, pixels: Int64[Tensor, "rays 3"]) -> tuple[Tensor, Tensor]:
        """Colours [rays, 3] and classes [rays] of pixels (frame, row, column)."""
        where = self._places[pixels[:, 0]], pixels[:, 1], pixels[:, 2]
        return self._images[where][:, :3], self._labels[where][:, 0].long()


def _targets(datamanager: TrainingDataLike, images: _Images, pixels: Int64[Tensor, "rays 3"]) -> dict[str, Tensor]:
    """What the classes of pixels are trained towards."""
    colors, labels = images.at(pixels)
    batch = {LABELS: labels[:, None]}
    if datamanager.propagated is None:
        return batch
    rays = datamanager.train_ray_generator(pixels)
    targets = datamanager.propagated.targets((rays.origins, rays.directions), pixels, colors.contiguous(), labels)
    return {**batch, SOFT_LABELS: targets, LABEL_WEIGHTS: supervision_weights(targets)[:, None]}
