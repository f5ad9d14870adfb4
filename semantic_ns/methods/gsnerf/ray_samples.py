"""Where a ray is sampled, given the depth of its surface."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from semantic_ns.methods.gsnerf.volumes import DepthRange

SampleRule = Literal["released", "paper", "uniform"]
SURFACE_STD_M = 0.5


def place_samples(
    z: Float[Tensor, "rays"],
    is_supported: Bool[Tensor, "rays"],
    bounds: DepthRange,
    count: int,
    rule: SampleRule = "released",
    generator: torch.Generator | None = None,
) -> Float[Tensor, "rays samples"]:
    """Planar depths in metres at which rays are sampled, ascending, z among them.

    Rule `released` (released code): z, a quarter less one around it from a normal distribution of deviation 0.5 m (31
    of 128), and the others evenly from near to far. Rule `paper` (Chou et al. 2024, equation (8)): z, and all others
    from a normal distribution around it whose deviation is a third of the distance to the nearer bound. Rule `uniform`:
    z, and all others evenly. Rays whose z is only guessed are sampled evenly by every rule.

    Args:
        z: depth of the surface, metres.
        is_supported: whether z follows from depth of a source nearby.
        bounds: nearest and farthest sample.
        count: number of samples.
        rule: see above.
        generator: draws the normal samples; without one they stand at quantiles of their distribution.
    """
    z = z.clamp(bounds.near, bounds.far)
    evenly = _evenly(z, bounds, count - 1)
    if rule != "uniform":
        around, deviation = count - 1, torch.minimum(z - bounds.near, bounds.far - z) / 3
        if rule == "released":
            around, deviation = count // 4 - 1, torch.full_like(z, SURFACE_STD_M)
        normal = z[:, None] + deviation[:, None] * _standard_normal(z, around, generator)
        guided = torch.cat([_evenly(z, bounds, count - 1 - around), normal], dim=-1)
        evenly = torch.where(is_supported[:, None], guided, evenly)
    return torch.cat([evenly, z[:, None]], dim=-1).clamp(bounds.near, bounds.far).sort(dim=-1).values


def _evenly(z: Tensor, bounds: DepthRange, count: int) -> Float[Tensor, "rays count"]:
    depths = torch.linspace(bounds.near, bounds.far, count, device=z.device, dtype=z.dtype)
    return depths.expand(len(z), -1)


def _standard_normal(z: Tensor, count: int, generator: torch.Generator | None) -> Float[Tensor, "rays count"]:
    if generator is not None:
        return torch.randn(len(z), count, generator=generator, device=generator.device).to(z)
    shares = (torch.arange(count, device=z.device, dtype=z.dtype) + 0.5) / count
    return (torch.erfinv(2 * shares - 1) * 2**0.5).expand(len(z), -1)
