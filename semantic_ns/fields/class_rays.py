"""Rays of a field whose geometry stays as it is, reduced to what their classes hang on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float16, Int64, UInt16
from nerfstudio.cameras.rays import RayBundle
from numpy import ndarray
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.fields.feature_grid import composite_packed_features, contributes
from semantic_ns.fields.semantic_head import SemanticHead
from semantic_ns.interfaces import RayGeneratorLike, SemanticModelLike, can
from semantic_ns.io.writing import replacing
from semantic_ns.rendering import head_of_composited

_STEPS = 2**16 - 1
"""Positions are kept in this many steps along an axis of the unit cube; the finest grid of classes has 1024 cells."""
_RAYS_AT_A_TIME = 1 << 15


@dataclass(frozen=True, eq=False)
class ClassRays:
    """The samples that have a say in the classes of rays, those of one ray adjacent.

    Attributes:
        positions: positions in the unit cube, times 65535.
        weights: rendering weights.
        first: index of each ray's first sample, and the number of samples.
    """

    positions: UInt16[ndarray, "samples 3"]
    weights: Float16[ndarray, "samples"]
    first: Int64[ndarray, "rays_plus_one"]

    def __len__(self) -> int:
        return len(self.first) - 1

    def logits(self, head: SemanticHead, rays: Int64[ndarray, "rays"]) -> Float[Tensor, "rays classes"]:
        """Rendered class logits of some of the rays, differentiable in what classes are made of.

        Args:
            head: what classes are made of, with a grid of its own, on the CPU.
            rays: numbers of the rays.
        """
        assert head.grid is not None
        counts = self.first[rays + 1] - self.first[rays]
        first = np.concatenate([[0], np.cumsum(counts)])
        samples = np.repeat(self.first[rays] - first[:-1], counts) + np.arange(first[-1])
        x = torch.from_numpy(self.positions[samples].astype(np.float32)) / _STEPS
        shares = torch.from_numpy(self.weights[samples].astype(np.float32))
        features = composite_packed_features(head.grid.grid(x), torch.from_numpy(first), shares, head.grid.layer)
        owners = torch.from_numpy(np.repeat(np.arange(len(rays)), counts))
        accumulation = torch.zeros(len(rays)).index_add(0, owners, shares)[:, None]
        return head_of_composited(features, accumulation, head.linear.weight, head.linear.bias)

    def save(self, path: Path) -> None:
        """Write to a `.npz` file."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, positions=self.positions, weights=self.weights, first=self.first)

    @classmethod
    def load(cls, path: Path) -> "ClassRays":
        """Inverse of `save`."""
        with np.load(path) as arrays:
            return cls(arrays["positions"], arrays["weights"], arrays["first"])


def collect_rays(
    model: SemanticModelLike, ray_generator: RayGeneratorLike, pixels: Int64[Tensor, "rays 3"]
) -> ClassRays:
    """Render pixels (camera, row, column) as far as classes need it.

    Raises:
        SceneError: if the model is not a semantic-nerf on the CPU whose classes have a grid of their own.
    """
    if (
        not can(model, "supports_active_learning")
        or model.field.head.grid is None
        or model.device.type != "cpu"
        or not model.config.fuse_on_cpu
    ):
        raise SceneError(
            "Expected semantic-nerf on the CPU with --pipeline.model.semantic-features own, found another model: only "
            "there do labels leave geometry and colours alone."
        )
    with torch.no_grad(), _at_evaluation(model):
        parts = [
            _collect(model, ray_generator(pixels[start : start + _RAYS_AT_A_TIME]))
            for start in range(0, len(pixels), _RAYS_AT_A_TIME)
        ]
    positions, weights, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ClassRays(positions, weights, np.concatenate([[0], np.cumsum(counts)]))


@contextmanager
def _at_evaluation(model: SemanticModelLike) -> Iterator[None]:
    """At evaluation, and without the classes, which are not needed here."""
    was_training, had_semantics = model.training, model.field.use_semantics
    model.eval()
    model.field.use_semantics = False
    try:
        yield
    finally:
        model.train(was_training)
        model.field.use_semantics = had_semantics


def _collect(model: SemanticModelLike, rays: RayBundle) -> tuple[ndarray, ndarray, ndarray]:
    rays = model.collider(rays)
    rendered = model.render_intervals(rays)
    weights, distances = rendered.weights, rendered.distances
    kept = contributes(weights)
    owners, places = kept.nonzero(as_tuple=True)
    centres = (distances[owners, places] + distances[owners, places + 1]) / 2
    x = model.field.unit_positions(rays.origins[owners] + rays.directions[owners] * centres[:, None])
    positions = (x.clamp(0, 1) * _STEPS).round().numpy().astype(np.uint16)
    return positions, weights[kept].numpy().astype(np.float16), kept.sum(dim=1).numpy()
