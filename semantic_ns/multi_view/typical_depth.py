"""How far what cameras see typically lies, from the colours of a few of their images: stereo without a known scale."""

from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float32, Int64
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.views import ViewCameras
from semantic_ns.labels.corruption_frames import evenly_spaced
from semantic_ns.many_scenes.views import view_cameras
from semantic_ns.multi_view.stereo import StereoSettings, stereo_depth

_NUM_FRAMES, _NUM_TARGETS, _NUM_OTHERS = 64, 12, 4
_LEAST_OTHERS = 2
_LEAST_COSINE = 0.7
"""Of the angle between the lines of sight of frames that are compared: 45 degrees."""
_LEAST_PIXELS = 500
_LEAST_CONTRAST = 0.01
"""Standard deviation of the colours of a frame below which it is plain, so that any depth would be confirmed."""
_QUANTILE, _FACTOR = 0.25, 1.25
"""Plain walls, which are the near surfaces of a corridor, are hardly ever confirmed: of what is, the median lies too
far. In nine of twelve real and rendered rooms this quantile times the factor is within 15 % of the true median."""
_BASELINE = 0.44
"""Distance of the compared frames in the units of `_SETTINGS`, in which stereo expects surfaces at about 2.5."""
_SETTINGS = StereoSettings(num_planes=48, near=0.3, far=30.0, num_confirming=1)


@runtime_checkable
class Images(Protocol):
    """Images and their cameras."""

    cameras: Cameras

    def color_of(self, index: int) -> Float32[Tensor, "_height _width 3"]:
        """Colours of an image in 0..1."""
        ...


@torch.no_grad()
def typical_depth(images: Images) -> float | None:
    """About the median planar depth of what the cameras see, in the units of their positions.

    Some frames are each compared with the nearest others that look the same way, on planes from .7 to 70 times the
    distance to these, and pixels count whose depth another frame confirms. Nothing is drawn at random.

    Args:
        images: images and their cameras. Lens distortion is passed over, which costs confirmed pixels.

    Returns:
        None where too few pixels are confirmed, as without parallax or texture, and where a camera is no perspective
        one.
    """
    if bool((images.cameras.camera_type != CameraType.PERSPECTIVE.value).any()):
        return None
    kept = torch.from_numpy(evenly_spaced(min(_NUM_FRAMES, len(images.cameras)), len(images.cameras))).long()
    cameras = view_cameras(_without_distortion(images.cameras), 1.0)[kept]
    targets = evenly_spaced(min(_NUM_TARGETS, len(kept)), len(kept))
    found = torch.cat([_depth_of_frame(images, kept, cameras, int(target)) for target in targets])
    return _FACTOR * float(found.quantile(_QUANTILE)) if len(found) >= _LEAST_PIXELS else None


def _without_distortion(cameras: Cameras) -> Cameras:
    parts = (cameras.camera_to_worlds, cameras.fx, cameras.fy, cameras.cx, cameras.cy, cameras.width, cameras.height)
    return Cameras(*parts)


def _depth_of_frame(
    images: Images, kept: Int64[Tensor, "frames"], cameras: ViewCameras, target: int
) -> Float[Tensor, "pixels"]:
    """Confirmed planar depth of one of the kept frames."""
    others, baseline = _compared_with(cameras, target)
    if len(others) < _LEAST_OTHERS:
        return torch.zeros(0)
    frames = torch.cat([torch.tensor([target]), others])
    near = cameras[frames]
    c2w = near.c2w.clone()
    c2w[:, :3, 3] = (c2w[:, :3, 3] - cameras.centres[target]) * (_BASELINE / baseline)
    own = images.color_of(int(kept[target]))
    if float(own.mean(dim=-1).std()) < _LEAST_CONTRAST:
        return torch.zeros(0)
    height, width = own.shape[:2]
    factor = min(1.0, _SETTINGS.width / width)
    size = (max(1, round(height * factor)), round(width * factor))
    colors = [_reduced(images.color_of(int(kept[frame])), size) for frame in frames]
    depths, is_confirmed = stereo_depth(torch.cat(colors), replace(near, c2w=c2w), _SETTINGS)
    return depths[0][is_confirmed[0]] * (baseline / _BASELINE)


def _compared_with(cameras: ViewCameras, target: int) -> tuple[Int64[Tensor, "others"], float]:
    """The nearest other frames that look the same way, and the median distance to them."""
    distances = (cameras.centres - cameras.centres[target]).norm(dim=1)
    cosines = cameras.c2w[:, :3, 2] @ cameras.c2w[target, :3, 2]
    usable = ((cosines > _LEAST_COSINE) & (distances > 1e-6 * distances.max())).nonzero()[:, 0]
    others = usable[distances[usable].argsort(stable=True)][:_NUM_OTHERS]
    return others, float(distances[others].median()) if len(others) else 0.0


def _reduced(colors: Float32[Tensor, "_height _width 3"], size: tuple[int, int]) -> Float[Tensor, "1 3 height width"]:
    return F.interpolate(colors.permute(2, 0, 1)[None], size, mode="area")
