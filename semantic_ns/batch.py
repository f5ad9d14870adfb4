"""What batches and outputs are called, and how the targets of a batch reach the model before it renders.

A model that knows the targets while it renders needs no second pass over its field. Data managers attach them to the
rays with :func:`attach_targets`; models take them off with :func:`take_targets`. Where there are none, the losses are
computed from the rendered outputs and the batch, as in any model of nerfstudio.

Each key is named here, once. nerfstudio gives images and outputs the same name for classes: a batch has labels under
``semantics``, the outputs of a model have logits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.labels.taxonomy import VOID
from semantic_ns.losses import normalized_label_weights, semantic_cross_entropy, soft_cross_entropy

COLOR = "image"
"""Item: colours [H, W, 3 or 4]; batch: [R, 3 or 4]; in [0, 1]."""
LABELS = "semantics"
"""Item: classes [H, W, 1]; batch: [R, 1]; int64, 0..C-1, void -1."""
DEPTH_M = "depth_image_m"
"""Item: planar depth [H, W, 1] float32, metres; 0 is unknown."""
MASK = "mask"
"""Item, optional: which pixels [H, W, 1] are used; the others do not train and are not scored."""
RAY_DISTANCE = "ray_distance"
"""Batch, optional: how far along its unit ray each pixel's depth image says that the surface is [R, 1] float32, scene
units; 0 is unknown."""
SOFT_LABELS = "soft_semantics"
"""Batch, optional: class distributions [R, C] float32, which then stand in for the labels."""
LABEL_WEIGHTS = "semantic_weights"
"""Batch, optional: how much each ray counts in the semantic loss [R, 1] float32; 1 if left out."""
NUM_UNIFORM = "num_uniform_rays"
"""Batch, optional: number of rays, the first ones, that are drawn uniformly; the rest carry labels alone."""
TRAINS_CLASSES = "trains_classes"
"""Batch, optional: False in a step that leaves classes out, whose labels are all void; True if left out."""
LOGITS = "semantics"
"""Output: rendered class logits [R, C]."""
RENDERED_LABELS = "semantics_labels"
"""Output inside `raw_outputs`: the most probable class [R, 1] int64, 0..C-1; void (-1) where `CLASSLESS` says so."""
CLASSLESS = "semantics_classless"
"""Beside logits, optional: where what a ray meets has no class [R, 1] bool."""
PLANAR_DEPTH = "planar_depth"
"""Output inside `raw_outputs`: depth along the optical axis [R, 1], scene units."""

NORMALS = "normals"
"""Output of single rays: unit normals n [R, 3] in scene axes, as (n + 1) / 2, under the name that ns-export expects."""

_TARGETS, _DISTANCES = "targets", "distances"

_LEAST_ACCUMULATION = 0.5
"""Share of a ray's light that a surface has to stop to be seen: nerfstudio's exporter takes the same."""


def meets_nothing(accumulation: Float[Tensor, "*pixels 1"]) -> Bool[Tensor, "*pixels 1"]:
    """Where a ray passes by every surface, so that there is no class: less than half of it is stopped."""
    return ~(accumulation >= _LEAST_ACCUMULATION)  # NaN, too


def seen_labels(outputs: Mapping[str, Any]) -> Int64[Tensor, "*pixels 1"]:
    """The classes that a model rendered inside `raw_outputs`, void (-1) where a ray meets nothing.

    Scores are over the most probable class of every pixel that has a label instead.
    """
    return outputs[RENDERED_LABELS].masked_fill(meets_nothing(outputs["accumulation"]), VOID)


def planar_depth_m(outputs: Mapping[str, Any], metres_per_unit: float) -> Float[Tensor, "*pixels 1"]:
    """The depth along the optical axis that a model rendered inside `raw_outputs`, in metres."""
    return outputs[PLANAR_DEPTH].float() * metres_per_unit


def seen_planar_depth(outputs: Mapping[str, Any], scale: float) -> Float[Tensor, "*pixels 1"]:
    """The depth along the optical axis that a model rendered inside `raw_outputs`, 0 where a ray meets nothing.

    Args:
        outputs: What the model rendered.
        scale: Length of a scene unit in the unit that is wanted.
    """
    return planar_depth_m(outputs, scale).where(~meets_nothing(outputs["accumulation"]), 0.0)


@dataclass(frozen=True)
class Targets:
    """Targets of R rays; on their device, or on the CPU."""

    color: Float[Tensor, "uniform 3"]
    """Colours of the first rays; the others have no colour loss and no distortion loss."""
    labels: Int64[Tensor, "rays"]
    """Classes, -1 for void."""
    soft_labels: Float[Tensor, "rays classes"] | None = None
    """Class distributions, which then stand in for the labels."""
    label_weights: Float[Tensor, "rays"] | None = None
    """How much each ray counts in the semantic loss."""
    trains_classes: bool = True
    """Whether there may be labels among them: known without asking a device, which would have to come to rest."""
    distances: Float[Tensor, "uniform"] | None = None
    """Distances at which the first rays end, by depth images, in scene units; 0 is unknown. The model fills them in."""

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> "Targets":
        """Those of a batch [R] without alpha."""
        weights = batch.get(LABEL_WEIGHTS)
        return cls(
            color=batch[COLOR][: batch.get(NUM_UNIFORM, len(batch[LABELS]))],
            labels=batch[LABELS].reshape(-1),
            soft_labels=batch.get(SOFT_LABELS),
            label_weights=None if weights is None else weights.reshape(-1),
            trains_classes=batch.get(TRAINS_CLASSES, True),
        )

    def with_void(self, count: int) -> "Targets":
        """These targets, and behind them those of ``count`` rays that have neither a colour nor a class."""
        soft, weights = self.soft_labels, self.label_weights
        if soft is not None and weights is None:
            # A distribution of zeros does not say that a ray is void.
            weights = torch.ones_like(self.labels, dtype=torch.float32)
        return Targets(
            color=self.color,
            labels=F.pad(self.labels, (0, count), value=VOID),
            soft_labels=None if soft is None else F.pad(soft, (0, 0, 0, count)),
            label_weights=None if weights is None else F.pad(weights, (0, count)),
            trains_classes=self.trains_classes,
            distances=self.distances,
        )

    def normalized_label_weights(self) -> Float[Tensor, "rays"]:
        """What each ray counts in the weighted mean of the semantic loss."""
        if self.soft_labels is None:
            return normalized_label_weights(self.labels, self.label_weights)
        return normalized_label_weights(torch.zeros_like(self.labels), self.label_weights)

    def semantic_loss(self, logits: Float[Tensor, "rays classes"]) -> Float[Tensor, ""]:
        """Weighted cross-entropy of rendered logits against these labels, or the distributions in their stead."""
        if self.soft_labels is None:
            return semantic_cross_entropy(logits, self.labels, self.label_weights)
        weights = self.label_weights
        return soft_cross_entropy(
            logits, self.soft_labels, torch.ones(len(logits), device=logits.device) if weights is None else weights
        )


def semantic_loss(logits: Float[Tensor, "rays classes"], batch: Mapping[str, Any]) -> Float[Tensor, ""]:
    """Cross-entropy of rendered logits against the labels or distributions of a batch, weighted if it has weights."""
    given = {name: batch[name].to(logits.device) for name in (LABELS, SOFT_LABELS, LABEL_WEIGHTS) if name in batch}
    # An alpha channel, which targets do not have, is of no concern here.
    return Targets.of({COLOR: logits.new_zeros(0, 3), **given}).semantic_loss(logits)


def attach_targets(ray_bundle: RayBundle, batch: Mapping[str, Any]) -> None:
    """Put the targets of a batch [R] on its rays, if they are of the common kind: colours without alpha.

    Distances by depth images come along in any case.
    """
    color, labels = batch[COLOR], batch[LABELS]
    num_rays = ray_bundle.origins.shape[0]
    is_common = color.dtype == torch.float32 and color.shape[1:] == (3,) and len(labels) == num_rays
    metadata: dict[str, Any] = ray_bundle.metadata
    if RAY_DISTANCE in batch:
        metadata[_DISTANCES] = uniform_distances(batch)
    if not is_common:
        return
    metadata[_TARGETS] = Targets.of(batch)


def take_targets(ray_bundle: RayBundle) -> Targets | None:
    """Take the targets off the rays: what samples rays expects tensors in their metadata."""
    metadata: dict[str, Any] = ray_bundle.metadata
    return metadata.pop(_TARGETS, None)


def take_distances(ray_bundle: RayBundle) -> Float[Tensor, "uniform"] | None:
    """Take off the rays what :func:`uniform_distances` gave for their batch."""
    metadata: dict[str, Any] = ray_bundle.metadata
    return metadata.pop(_DISTANCES, None)


def uniform_distances(batch: Mapping[str, Any]) -> Float[Tensor, "uniform"] | None:
    """Distances at which those rays of a batch end that are drawn uniformly, 0 where unknown; None without depth."""
    distances = batch.get(RAY_DISTANCE)
    return None if distances is None else distances.reshape(-1)[: batch.get(NUM_UNIFORM)]
