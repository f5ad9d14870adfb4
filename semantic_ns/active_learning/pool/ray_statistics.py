"""Classes and ends of rays, with how sure the ends are."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from semantic_ns.active_learning.pool.ensemble_head import RayStatistic, split_columns, with_ensemble_head
from semantic_ns.errors import SceneError
from semantic_ns.interfaces import SemanticModelLike, can
from semantic_ns.rendering import median_distance

_NAMES = ("logits", "distance", "spread", "accumulation", "colors")
_QUARTILES_APART = 1.349
"""Distance of the quartiles of a normal distribution in standard deviations."""


@dataclass(frozen=True, eq=False)
class RayStatistics:
    """What rays end in.

    Attributes:
        logits: rendered class logits.
        distance: along the unit ray at which half of the light is gone, scene units.
        spread: spread of the distance at which light is taken, scene units; see :func:`distance_spread`.
        accumulation: share of the light that is taken.
        colors: rendered.
        features: composited semantic features, if asked for.
        disagreement: disagreement of the ensemble of `with_ensemble_head`, if asked for.
    """

    logits: Float[Tensor, "rays classes"]
    distance: Float[Tensor, "rays"]
    spread: Float[Tensor, "rays"]
    accumulation: Float[Tensor, "rays"]
    colors: Float[Tensor, "rays 3"]
    features: Float[Tensor, "rays channels"] | None = None
    disagreement: Float[Tensor, "rays"] | None = None


def distance_spread(
    weights: Float[Tensor, "rays samples"], edges: Float[Tensor, "rays edges"]
) -> Float[Tensor, "rays"]:
    """Standard deviation of the normal distribution with the quartiles of where a ray's light is taken.

    The standard deviation of the light itself says little: a haze of a few per cent far from the surface outweighs it.

    Args:
        weights: rendering weights; light is taken evenly within each interval.
        edges: distances of the ends of the intervals, one more than there are samples.
    """
    shares = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-10)
    # A share p of the light is gone where a half of it, scaled by 1 / 2 p, would be.
    first, third = (median_distance(shares * (0.5 / share), edges)[:, 0] for share in (0.25, 0.75))
    return (third - first) / _QUARTILES_APART


def refuse_other_models(model: SemanticModelLike) -> None:
    """Check that the model is one whose rays can be described.

    Raises:
        SceneError: if it is no semantic-nerf, or has no classes.
    """
    if not (can(model, "supports_active_learning") or can(model, "renders_image_intervals")):
        raise SceneError(
            f"Expected a run of semantic-nerf to choose labels for, found a {type(model).__name__}; train with "
            "ns-train semantic-nerf."
        )
    if not can(model, "renders_classes"):
        raise SceneError(
            "Expected a model with classes, found one trained with --pipeline.model.use-semantics False; train it "
            "with classes to choose labels."
        )


def describe_rays(model: SemanticModelLike, rays: RayBundle, extras: Collection[RayStatistic] = ()) -> RayStatistics:
    """Render the statistics of rays [rays] at evaluation, in chunks as the model renders images.

    Args:
        model: semantic-nerf.
        rays: rays of any cameras.
        extras: what is wanted beyond the rest.

    Raises:
        SceneError: see `refuse_other_models`.
    """
    refuse_other_models(model)
    chunk = model.config.eval_num_rays_per_chunk
    starts = range(0, len(rays), chunk)
    with torch.no_grad(), with_ensemble_head(model.field, extras):
        parts = [_describe(model, rays[start : start + chunk].to(model.device), extras) for start in starts]
    return RayStatistics(**{name: torch.cat([getattr(part, name) for part in parts]) for name in (*_NAMES, *extras)})


def describe_image(
    model: SemanticModelLike, camera: Cameras, stride: int, extras: Collection[RayStatistic] = ()
) -> RayStatistics:
    """The statistics of every n-th pixel of a camera, for a model that renders whole images.

    Args:
        model: one that states `renders_image_intervals`.
        camera: one camera [1].
        stride: n, along rows and columns; the first row and column are among the pixels.
        extras: what is wanted beyond the rest.

    Raises:
        SceneError: if something is wanted beyond the rest, which such a model does not have.
    """
    if extras:
        raise SceneError(
            f"Expected semantic-nerf for a strategy that asks for {', '.join(sorted(extras))}, found a "
            f"{type(model).__name__}; choose another --strategy."
        )
    with torch.no_grad():
        rendered = model.render_image_intervals(camera.to(model.device))
    height, width = int(camera.height.flatten()[0]), int(camera.width.flatten()[0])
    chosen = torch.arange(height * width).view(height, width)[::stride, ::stride].flatten().to(rendered.rgb.device)
    assert rendered.logits is not None
    weights, distances = rendered.weights[chosen], rendered.distances[chosen]
    distance, spread = median_distance(weights, distances)[:, 0], distance_spread(weights, distances)
    return RayStatistics(rendered.logits[chosen], distance, spread, weights.sum(dim=-1), rendered.rgb[chosen])


def _describe(model: SemanticModelLike, rays: RayBundle, extras: Collection[RayStatistic]) -> RayStatistics:
    if model.collider is not None:
        rays = model.collider(rays)
    rendered = model.render_intervals(rays)
    assert rendered.logits is not None
    weights, distances = rendered.weights, rendered.distances
    logits, features, differ = split_columns(rendered.logits, model.taxonomy.num_classes, extras)
    distance, spread = median_distance(weights, distances)[:, 0], distance_spread(weights, distances)
    return RayStatistics(logits, distance, spread, weights.sum(dim=-1), rendered.rgb, features, differ)
