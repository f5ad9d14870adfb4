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
from semantic_ns.multi_view.stereo import StereoSettings, compared_maps, matching_costs, stereo_depth

_NUM_FRAMES, _NUM_TARGETS, _NUM_OTHERS = 64, 12, 4
_LEAST_OTHERS = 2
_LEAST_COSINE = 0.7
"""Of the angle between the lines of sight of frames that are compared: 45 degrees."""
_LEAST_PIXELS = 500
_LEAST_CONFIRMED = 0.1
"""Share of the pixels of a frame. Frames from one tripod confirm less than .08 by chance, those of a walk over .2."""
_LEAST_DISTANCE = 0.02
"""Of the largest distance between frames: frames from one tripod differ by errors of their poses alone."""
_LEAST_CONTRAST = 0.01
"""Standard deviation of the colours of a frame below which it is plain, so that any depth would be confirmed."""
_QUANTILE, _FACTOR = 0.25, 1.25
"""Plain walls, which are the near surfaces of a corridor, are hardly ever confirmed: of what is, the median lies too
far. In nine of twelve real and rendered rooms this quantile times the factor is within 15 % of the true median."""
_MOST_SEEN_AT_ONCE = 50.0
"""Times the distance between two cameras, beyond which both see a point in one direction, to a pixel of 96."""
_LEAST_AGREEING = 0.5
"""Share of textured pixels: more than .8 with cameras 3 cm around one point in a room, at most .1 in a dozen rooms, a
corridor, a street and around an object."""
_TEXTURE, _AGREEMENT = 0.02, 0.015
"""Matching costs of a pixel: one of two depths costs more than the first, and that of light from far away less than the
second and than half of what the other depth costs."""
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


class SmallImages:
    """Images made as small as they are compared, each of which is read once."""

    def __init__(self, images: Images) -> None:
        self.cameras = images.cameras
        self._images = images
        self._small: dict[int, Float32[Tensor, "_height _width 3"]] = {}

    def color_of(self, index: int) -> Float32[Tensor, "_height _width 3"]:
        """Colours of an image in 0..1."""
        if index not in self._small:
            colors = self._images.color_of(index)
            factor = min(1.0, _SETTINGS.width / max(colors.shape[:2]))
            size = (max(1, round(colors.shape[0] * factor)), max(1, round(colors.shape[1] * factor)))
            self._small[index] = _resized(colors, size)[0].permute(1, 2, 0)
        return self._small[index]


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
    kept, cameras = _kept(images)
    if cameras is None:
        return None
    images = images if isinstance(images, SmallImages) else SmallImages(images)
    targets = evenly_spaced(min(_NUM_TARGETS, len(kept)), len(kept))
    found = torch.cat([_depth_of_frame(images, kept, cameras, int(target)) for target in targets])
    return _FACTOR * float(found.quantile(_QUANTILE)) if len(found) >= _LEAST_PIXELS else None


@torch.no_grad()
def least_depth(images: Images) -> float | None:
    """About the least depth of most of what cameras in nearly one place see, in the units of their positions.

    Some frames are each compared with the farthest others that look the same way. If most pixels with texture are where
    light from infinitely far away would be, hardly any parallax is seen: most is about 50 times as far or farther.

    Returns:
        None where cameras see parallax, or where nothing can be said.
    """
    kept, cameras = _kept(images)
    if cameras is None:
        return None
    images = images if isinstance(images, SmallImages) else SmallImages(images)
    agreeing, textured, distances = 0, 0, []
    for target in evenly_spaced(min(_NUM_TARGETS, len(kept)), len(kept)):
        others, baseline = _compared_with(cameras, int(target), farthest=True)
        if len(others) < _LEAST_OTHERS:
            continue
        colors, near = _moved_frames(images, kept, cameras, int(target), others, baseline)
        far, close = (_cost_at(colors, near, depth) for depth in (1e5, 1.0))
        is_seen = (far < _SETTINGS.largest_cost) & (close < _SETTINGS.largest_cost)
        has_texture = is_seen & (torch.maximum(far, close) > _TEXTURE)
        agreeing += int((has_texture & (far < _AGREEMENT) & (far < close / 2)).sum())
        textured += int(has_texture.sum())
        distances.append(baseline)
    if textured < _LEAST_PIXELS or agreeing < _LEAST_AGREEING * textured:
        return None
    return _MOST_SEEN_AT_ONCE * float(torch.tensor(distances).median())


def usable_frames(cameras: Cameras) -> Int64[Tensor, "usable"]:
    """Numbers of the cameras [N] that have a pose and a focal length."""
    c2w, focal = cameras.camera_to_worlds.cpu(), cameras.fx.cpu().reshape(-1)
    is_usable = c2w.isfinite().all(dim=2).all(dim=1) & (focal > 0)
    is_usable &= torch.linalg.det(c2w[:, :3, :3].nan_to_num(0.0, 0.0, 0.0)).abs() > 0.5
    return is_usable.nonzero()[:, 0]


def _kept(images: Images) -> tuple[Int64[Tensor, "frames"], ViewCameras | None]:
    """Numbers and cameras of some frames, evenly spaced; no cameras where not all are perspective ones."""
    usable = usable_frames(images.cameras)
    kept = usable[torch.from_numpy(evenly_spaced(min(_NUM_FRAMES, len(usable)), len(usable))).long()]
    if not len(kept) or bool((images.cameras.camera_type != CameraType.PERSPECTIVE.value).any()):
        return kept, None
    return kept, view_cameras(_without_distortion(images.cameras), 1.0)[kept]


def _cost_at(
    colors: Float[Tensor, "frames 3 height width"], cameras: ViewCameras, depth: float
) -> Float[Tensor, "height width"]:
    settings = replace(_SETTINGS, num_planes=2, near=depth, far=2 * depth)
    maps = compared_maps(colors, settings.color_weight)
    return matching_costs(maps, cameras, 0, torch.arange(1, len(colors)), settings)[0]


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
    colors, near = _moved_frames(images, kept, cameras, target, others, baseline)
    if float(images.color_of(int(kept[target])).mean(dim=-1).std()) < _LEAST_CONTRAST:
        return torch.zeros(0)
    depths, is_confirmed = stereo_depth(colors, near, _SETTINGS)
    if float(is_confirmed[0].float().mean()) < _LEAST_CONFIRMED:
        return torch.zeros(0)
    return depths[0][is_confirmed[0]] * (baseline / _BASELINE)


def _moved_frames(
    images: Images,
    kept: Int64[Tensor, "frames"],
    cameras: ViewCameras,
    target: int,
    others: Int64[Tensor, "others"],
    baseline: float,
) -> tuple[Float[Tensor, "compared 3 height width"], ViewCameras]:
    """A frame and others of its size, with the first camera at the origin and the others `_BASELINE` away."""
    frames = torch.cat([torch.tensor([target]), others])
    near = cameras[frames]
    c2w = near.c2w.clone()
    c2w[:, :3, 3] = (c2w[:, :3, 3] - cameras.centres[target]) * (_BASELINE / baseline)
    height, width = images.color_of(int(kept[target])).shape[:2]
    colors = [_resized(images.color_of(int(kept[frame])), (height, width)) for frame in frames]
    return torch.cat(colors), replace(near, c2w=c2w)


def _compared_with(cameras: ViewCameras, target: int, farthest: bool = False) -> tuple[Int64[Tensor, "others"], float]:
    """The nearest or farthest other frames that look the same way, and the median distance to them."""
    distances = (cameras.centres - cameras.centres[target]).norm(dim=1)
    cosines = cameras.c2w[:, :3, 2] @ cameras.c2w[target, :3, 2]
    usable = ((cosines > _LEAST_COSINE) & (distances > _LEAST_DISTANCE * distances.max())).nonzero()[:, 0]
    others = usable[distances[usable].argsort(descending=farthest, stable=True)][:_NUM_OTHERS]
    return others, float(distances[others].median()) if len(others) else 0.0


def _resized(colors: Float32[Tensor, "_height _width 3"], size: tuple[int, int]) -> Float[Tensor, "1 3 height width"]:
    return F.interpolate(colors.permute(2, 0, 1)[None], size, mode="area")
