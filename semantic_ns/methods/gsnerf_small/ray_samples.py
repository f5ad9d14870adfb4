"""Samples of the rays of a target, what is decided for them, and what they show."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.geometry.views import SeenAt, sample_images


@dataclass(frozen=True, eq=False)
class RaySamples:
    """Samples of R rays as V sources see them.

    Attributes:
        depths: planar depth in metres.
        at: where the sources see them.
        is_visible: which sources see them.
        behind: by how much of its depth each lies behind the surface of a source.
    """

    depths: Float[Tensor, "rays samples"]
    at: SeenAt
    is_visible: Bool[Tensor, "views rays samples"]
    behind: Float[Tensor, "views rays samples"]

    def mean_of_views(
        self, values: Float[Tensor, "views channels rays samples"], weights: Float[Tensor, "rays samples"]
    ) -> tuple[Float[Tensor, "views channels rays"], Float[Tensor, "views rays"]]:
        """What each source shows along a ray, as far as it sees the samples, and the share of the weights it sees.

        What is left of a ray behind its samples shows their mean, not black.
        """
        shares = weights + (1 - weights.sum(dim=-1, keepdim=True)) / weights.shape[1]
        seen = shares * self.is_visible
        total = seen.sum(dim=-1)
        # A source that sees nothing of a ray shows the mean of its samples: it counts little, but it is no NaN.
        normalised = (seen + 1e-4 * shares) / (total + 1e-4)[..., None]
        return (values * normalised[:, None]).sum(dim=-1), total


@dataclass(frozen=True, eq=False)
class RayDecisions:
    """What the networks decide for rays, or images of it.

    Attributes:
        logits: what is added to the classes that the sources carry over.
        weights: rendering weights of the samples.
        scores: score of each source for the colour.
    """

    logits: Float[Tensor, "classes *rays"]
    weights: Float[Tensor, "samples *rays"]
    scores: Float[Tensor, "views *rays"]

    @classmethod
    def stack(cls, parts: Sequence["RayDecisions"]) -> "RayDecisions":
        """Rays of several parts, one after the other."""
        groups = zip(*((part.logits, part.weights, part.scores) for part in parts), strict=True)
        return cls(*(torch.cat(group, dim=1) for group in groups))

    def images(self, size: Sequence[int]) -> "RayDecisions":
        """Images (height, width) of rays that come row by row."""
        return RayDecisions(*(part.unflatten(1, tuple(size)) for part in (self.logits, self.weights, self.scores)))

    def at(self, xy: Float[Tensor, "rays 2"]) -> "RayDecisions":
        """Images at image coordinates."""
        return RayDecisions(*(at_points(part, xy) for part in (self.logits, self.weights, self.scores)))


@dataclass(frozen=True, eq=False)
class RenderedRays:
    """What R rays of a target show.

    Attributes:
        rgb: colour.
        logits: class logits at the point z.
        carried: logarithm of the class probabilities that the sources by themselves carry over to z.
        z: planar depth of the surface, metres.
        depth: planar depth that the rendered samples give, metres.
        accumulation: opacity of the ray.
        is_seen: which sources see the point z.
    """

    rgb: Float[Tensor, "rays 3"]
    logits: Float[Tensor, "rays classes"]
    carried: Float[Tensor, "rays classes"]
    z: Float[Tensor, "rays"]
    depth: Float[Tensor, "rays"]
    accumulation: Float[Tensor, "rays"]
    is_seen: Bool[Tensor, "views rays"]

    @classmethod
    def stack(cls, parts: Sequence["RenderedRays"]) -> "RenderedRays":
        """Rays of several parts, one after the other."""
        names = ("rgb", "logits", "carried", "z", "depth", "accumulation")
        joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        return cls(**joined, is_seen=torch.cat([part.is_seen for part in parts], dim=1))


class RayDensity(nn.Module):
    """Density of the samples of a ray from their tokens, each of which sees its neighbours along the ray."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.along = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.density = nn.Conv1d(width, 1, 1)

    def forward(self, tokens: Float[Tensor, "rays width samples"]) -> Float[Tensor, "rays samples"]:
        """Densities, 0 or more."""
        for layer in self.along:
            tokens = tokens + F.elu(layer(tokens))
        return F.softplus(self.density(tokens)[:, 0] - 1.0)


def samples_around(
    z: Float[Tensor, "rays"], log_std: Float[Tensor, "rays"], count: int
) -> Float[Tensor, "rays samples"]:
    """Depths at quantiles of a normal distribution of log depth around z, ascending; the same in every call.

    Chou et al. (2024, equation (8)) draw them from a normal distribution whose width is a third of the way to the
    nearer end of the ray. Here the width is what the network takes for the relative error of z, between 1 % and 20 %.
    """
    shares = (torch.arange(count, device=z.device, dtype=z.dtype) + 0.5) / count
    steps = torch.erfinv(2 * shares - 1) * 2**0.5
    return z[:, None] * (steps * log_std.exp().clamp(0.01, 0.2)[:, None]).exp()


def samples_between(near: float, far: float, rays: Float[Tensor, "rays"], count: int) -> Float[Tensor, "rays samples"]:
    """Depths of R rays that nothing guides: the middles of intervals of log depth between near and far."""
    shares = (torch.arange(count, device=rays.device, dtype=rays.dtype) + 0.5) / count
    return (near * (far / near) ** shares).expand(len(rays), -1)


def at_points(
    image: Float[Tensor, "channels height width"], xy: Float[Tensor, "points 2"]
) -> Float[Tensor, "channels points"]:
    """An image at image coordinates."""
    return sample_images(image[None], xy[None])[0]
