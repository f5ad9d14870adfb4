"""A model as `find_veils` and `find_unsure_surface` ask it, in the middle of a training as well as after it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.evaluation.unsure_surface import UnsureSurface, find_unsure_surface
from semantic_ns.evaluation.veil import Veils, find_veils
from semantic_ns.geometry.undistortion import can_be_undistorted, undistorted
from semantic_ns.interfaces import SemanticModelLike


@dataclass(frozen=True)
class ModelRays:
    """Renders single rays of a model as evaluation does.

    Attributes:
        model: model of this package, in evaluation mode.
    """

    model: SemanticModelLike

    def depth(self, rays: RayBundle) -> Float[Tensor, "rays"]:
        """The median distance of each ray (the mean one in semantic-nerf-vanilla)."""
        return self._render(rays, "depth")[0]

    def stopped(self, rays: RayBundle) -> tuple[Float[Tensor, "rays"], Float[Tensor, "rays"]]:
        """The share of the light of each ray that is stopped, and the mean distance of that."""
        accumulation, distance = self._render(rays, "accumulation", "expected_depth")
        return accumulation, distance

    def near_weight(self, rays: RayBundle, end: float) -> tuple[Float[Tensor, "rays"], Float[Tensor, "rays"]]:
        """Of rays that are cut off at `end`: their accumulation, and the mean distance."""
        # What the collider sets, it does not set again.
        cut = self.model.collider(replace(rays))
        cut.fars = torch.full_like(cut.fars, end)
        is_open = (cut.nears < cut.fars)[..., 0]
        cut.nears = torch.minimum(cut.nears, 0.999 * cut.fars)
        accumulation, distance = self._render(cut, "accumulation", "expected_depth")
        return accumulation * is_open, distance

    def _render(self, rays: RayBundle, *names: str) -> list[Float[Tensor, "rays"]]:
        size = self.model.config.eval_num_rays_per_chunk
        parts = [self.model(rays[start : start + size].to(self.model.device)) for start in range(0, len(rays), size)]
        return [torch.cat([part[name][..., 0].float() for part in parts]) for name in names]


@contextmanager
def undisturbed(model: SemanticModelLike) -> Iterator[None]:
    """Inside it the model renders as at evaluation; afterwards a training goes on as if nothing had been rendered."""
    was_training = model.training
    # nerfstudio's sampler takes any rendering for a turn of the proposal network.
    turns = model.sampling_turns
    devices = [model.device] if torch.device(model.device).type == "cuda" else []
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            yield
    finally:
        model.train(was_training)
        model.sampling_turns = turns


def as_pinholes(cameras: Cameras) -> Cameras:
    """The cameras without lens distortion, in whose pictures other cameras' points are looked for.

    They stay as they are where a distortion cannot be undone.
    """
    if not can_be_undistorted(cameras):
        return cameras
    try:
        return undistorted(cameras.to("cpu")).to(cameras.device)
    except SceneError:
        return cameras


def why_not_looked_for(cameras: Cameras) -> str | None:
    """Why cameras cannot confirm each other, in words that follow "because"; None where they can."""
    if len(cameras) < 2:
        return "there is only one camera, and no other one to confirm what it sees"
    if not bool((cameras.camera_type == CameraType.PERSPECTIVE.value).all()):
        return "only perspective cameras can confirm what others see, and not all cameras are perspective ones"
    return None


def find_veils_of(
    model: SemanticModelLike, cameras: Cameras, names: Sequence[str], num_cameras: int = 10**9, num_rays: int = 64
) -> Veils | None:
    """Look for veils before the cameras of a model, see `find_veils`; None where `why_not_looked_for` says why.

    What a lens bends is looked at as pinhole cameras see it, see `as_pinholes`.
    """
    cameras = as_pinholes(cameras)
    if why_not_looked_for(cameras) is not None:
        return None
    with undisturbed(model):
        veils = find_veils(cameras, names, ModelRays(model), num_cameras, num_rays)
    return replace(veils, remedy=_remedy(model))


def find_unsure_surface_of(
    model: SemanticModelLike, cameras: Cameras, names: Sequence[str], num_cameras: int = 10**9, num_rays: int = 64
) -> UnsureSurface | None:
    """Look where the surface of a model is unsure, see `find_unsure_surface`; for the rest as `find_veils_of`."""
    cameras = as_pinholes(cameras)
    if why_not_looked_for(cameras) is not None:
        return None
    with undisturbed(model):
        return find_unsure_surface(cameras, names, ModelRays(model), num_cameras, num_rays)


_STRONGER = 3.0
_USUAL_WEIGHT = 0.02
"""The default, for a run that was trained without a price."""


def _remedy(model: SemanticModelLike) -> str:
    """What helped most of what was tried on veiled runs; a later start of rays only hides the veil."""
    weight = getattr(model.config, "near_camera_loss_weight", None)
    if weight is None or model.config.near_camera_reach == 0:
        return f"--pipeline.model.near-plane above that (now {model.bounds.near:.2g})"
    larger = _STRONGER * weight if weight > 0 else _USUAL_WEIGHT
    return f"--pipeline.model.near-camera-loss-weight {larger:.2g} (now {weight:.2g})"
