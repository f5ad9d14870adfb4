"""Classes and ends of rays, with how sure the ends are."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.fields.density_fields import HashMLPDensityField
from torch import Tensor

from semantic_ns.active.wider_head import Extra, split_columns, with_wider_head
from semantic_ns.errors import SceneError
from semantic_ns.fields.semantic_nerf_field import SemanticHeadNames
from semantic_ns.models.semantic_nerf import SemanticNerfModel
from semantic_ns.rendering import composite_logits, median_distance
from semantic_ns.sampling.proposal_sampler import edges_of

_NAMES = ("logits", "distance", "spread", "accumulation", "colours")
_QUARTILES_APART = 1.349
"""Distance of the quartiles of a normal distribution in standard deviations."""


@dataclass(frozen=True, eq=False)
class RayStatistics:
    """What rays end in.

    Attributes:
        logits: of the classes, rendered.
        distance: along the unit ray at which half of the light is gone, scene units.
        spread: of the distance at which light is taken, scene units; see :func:`distance_spread`.
        accumulation: share of the light that is taken.
        colours: rendered.
        features: composited semantic features, if asked for.
        disagreement: of the ensemble of `with_wider_head`, if asked for.
    """

    logits: Float[Tensor, "rays classes"]
    distance: Float[Tensor, "rays"]
    spread: Float[Tensor, "rays"]
    accumulation: Float[Tensor, "rays"]
    colours: Float[Tensor, "rays 3"]
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


def refuse_other_models(model: Any) -> None:
    """Check that the model is one whose rays can be described.

    Raises:
        SceneError: if it is no semantic-nerf, or has no classes.
    """
    if not isinstance(model, SemanticNerfModel):
        raise SceneError(
            f"Expected a run of semantic-nerf to choose labels for, found a {type(model).__name__}; train with "
            "ns-train semantic-nerf."
        )
    if not model.config.use_semantics:
        raise SceneError(
            "Expected a model with classes, found one trained with --pipeline.model.use-semantics False; train it "
            "with classes to choose labels."
        )


def describe_rays(model: Any, rays: RayBundle, extras: Collection[Extra] = ()) -> RayStatistics:
    """Render the statistics of rays [rays] at evaluation, in chunks as the model renders images.

    Args:
        model: semantic-nerf.
        rays: of any cameras.
        extras: what is wanted beyond the rest.

    Raises:
        SceneError: see `refuse_other_models`.
    """
    refuse_other_models(model)
    chunk = model.config.eval_num_rays_per_chunk
    starts = range(0, len(rays), chunk)
    with torch.no_grad(), with_wider_head(model.field, extras):
        parts = [_describe(model, rays[start : start + chunk].to(model.device), extras) for start in starts]
    return RayStatistics(**{name: torch.cat([getattr(part, name) for part in parts]) for name in (*_NAMES, *extras)})


def _describe(model: SemanticNerfModel, rays: RayBundle, extras: Collection[Extra]) -> RayStatistics:
    if model.collider is not None:
        rays = model.collider(rays)
    rendered, colours, weights, edges = _render(model, rays)
    logits, features, differ = split_columns(rendered, model.taxonomy.num_classes, extras)
    distance, spread = median_distance(weights, edges)[:, 0], distance_spread(weights, edges)
    return RayStatistics(logits, distance, spread, weights.sum(dim=-1), colours, features, differ)


def _render(model: SemanticNerfModel, rays: RayBundle) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, colours, weights [rays, samples] and edges of the intervals."""
    sampler, field = model.proposal_sampler, model.field
    if model.config.fuse_on_cpu and field.can_fuse and sampler.can_fuse(rays, model.proposal_networks):
        _, edges, _ = sampler.sample_edges(rays, cast(HashMLPDensityField, model.proposal_networks[0]))
        colours, logits, weights = field.render_rays(rays, edges)
        assert logits is not None
        return logits, colours, weights, edges
    samples, _, _ = sampler(rays, density_fns=model.density_fns)
    values = field(samples)
    weights = samples.get_weights(values[FieldHeadNames.DENSITY])
    features, head = values[SemanticHeadNames.SEMANTIC_FEATURES].float(), field.semantic_head
    logits = composite_logits(field.semantic_weights(weights), features, head.weight, head.bias)
    colours = model.renderer_rgb(rgb=values[FieldHeadNames.RGB], weights=weights)
    return logits, colours, weights[..., 0], edges_of(samples)[1]
