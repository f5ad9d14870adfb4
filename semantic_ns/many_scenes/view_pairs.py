"""Which frames of a scene are far enough from a target, and still show enough of it, to predict it from them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras, pixel_centres, reproject, sweep_matrices
from semantic_ns.many_scenes.scene_frames import AnyViews

_STEP = 8
_LEAST_SHARE = 1e-6
"""Of a partner that sees nothing, which a rule may allow."""


@dataclass(frozen=True)
class PairRule:
    """When a frame is a partner of a target (Qian et al. 2021, section 4: 10 %, 0.5 m, 30 degrees).

    How the paper measures overlap is not published. Here it is the share of the target's pixels with known depth, of
    every 8th row and column, that lie in the image of the partner and before its camera, occluded or not.

    Attributes:
        least_overlap: least overlap, 0 to 1.
        least_translation_m: distance of the cameras in metres that has to be exceeded.
        least_rotation_deg: least angle between the cameras in degrees.
    """

    least_overlap: float = 0.1
    least_translation_m: float = 0.5
    least_rotation_deg: float = 30.0

    def __post_init__(self) -> None:
        """Refuse bounds that no pair can have.

        Raises:
            SceneError: if one is negative, not finite, or beyond what there is.
        """
        limits = {"overlap": (self.least_overlap, 1.0), "rotation": (self.least_rotation_deg, 180.0)}
        limits["translation"] = (self.least_translation_m, 1e6)
        for name, (value, largest) in limits.items():
            if not 0 <= value <= largest:  # NaN fails this, too
                raise SceneError(
                    f"Expected a least {name} of pairs from 0 to {largest:g}, found {value:g}; change --min-{name}."
                )

    def sentence(self) -> str:
        """The rule in words, to stand beside every score."""
        return (
            f"pairs: overlap >= {self.least_overlap:.0%} of the target's pixels with known depth (every 8th row and "
            f"column, inside the source image, before its camera), translation > {self.least_translation_m:g} m, "
            f"rotation >= {self.least_rotation_deg:g} degrees"
        )


def overlaps(
    target: ViewCameras, depth: Float[Tensor, "height width"], sources: ViewCameras
) -> Float[Tensor, "sources"]:
    """Share of the known pixels of a target that each source has in its image, see `PairRule`; 0 without any.

    Args:
        target: one camera.
        depth: its planar depth in metres, 0 where unknown.
        sources: cameras of the sources.
    """
    xy = pixel_centres(depth.shape[0], depth.shape[1])[::_STEP, ::_STEP]
    coarse = depth[::_STEP, ::_STEP]
    is_known = coarse > 0
    at = reproject(sweep_matrices(sources, target), xy, coarse.where(is_known, 1.0))
    return (at.is_seen & is_known).sum(dim=(1, 2)) / is_known.sum().clamp(min=1)


def rotations_deg(target: ViewCameras, sources: ViewCameras) -> Float64[Tensor, "sources"]:
    """Angle between one camera and each of several, in degrees."""
    turns = sources.c2w[:, :3, :3].mT @ target.c2w[:, :3, :3]
    cosine = ((turns.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1)
    return torch.rad2deg(torch.arccos(cosine))


def partners(targets: AnyViews, sources: ViewCameras, rule: PairRule) -> Float[Tensor, "targets sources"]:
    """The share of each target that its partners among the sources see, see `overlaps`; 0 for those that are none.

    Raises:
        SceneError: if the targets have no depth.
    """
    found = []
    for number in range(len(targets)):
        camera = targets.cameras[number : number + 1]
        depth = targets.depths_of(torch.tensor([number]))
        if depth is None:
            raise SceneError(
                "Expected frames with depth, by which the overlap of pairs is measured, found none; add depth."
            )
        share = overlaps(camera, depth[0], sources)
        shift = (sources.centres - camera.centres).norm(dim=-1)
        is_partner = (
            (share >= rule.least_overlap)
            & (shift > rule.least_translation_m)
            & (rotations_deg(camera, sources) >= rule.least_rotation_deg)
        )
        found.append(share.clamp(min=_LEAST_SHARE).where(is_partner, 0.0))
    return torch.stack(found)
