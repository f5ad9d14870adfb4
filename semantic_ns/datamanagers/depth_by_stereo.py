"""Depth of training frames by stereo between them, by which geometry trains and labels spread without depth images."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int64
from nerfstudio.cameras.cameras import CameraType
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.training_depth import DepthImages
from semantic_ns.errors import SceneError
from semantic_ns.geometry.undistortion import can_be_undistorted, distort, undistort, undistorted
from semantic_ns.geometry.views import ViewCameras
from semantic_ns.io.console import announce
from semantic_ns.labels.corruption_frames import evenly_spaced
from semantic_ns.many_scenes.views import view_cameras
from semantic_ns.multi_view.finer_depth import finer_depth
from semantic_ns.multi_view.fused_stereo import fused_depth
from semantic_ns.multi_view.stereo import (
    StereoSettings,
    are_confirmed,
    enlarged_depth,
    neighbours,
    searched_depth,
    stereo_size,
)
from semantic_ns.multi_view.typical_depth import Images, typical_depth, usable_frames

_MOST_FRAMES = 256
"""Frames that are compared; the others of a longer scene have no depth."""
_FEW_FRAMES = 64
_WIDTH, _WIDTH_OF_MANY = 128, 96
"""Widths in pixels at which few and many frames are searched: a finer one finds more, and takes longer."""
_FINE_WIDTH, _FINE_WIDTH_OF_MANY = 256, 160
"""Widths at which what was found is made finer."""
_SETTINGS = StereoSettings(num_planes=96, num_neighbours=16, far=32.0, tolerance=0.03)
"""Of the search, where surfaces are about 2 m away. The planes reach far beyond what most rooms show: where near
surfaces train and far ones are unknown, the far ones are drawn towards the near. All neighbours may confirm a depth,
which takes no time."""
_NUM_SEARCHED, _NUM_FINER = 10, 8
"""First neighbours, with which a frame is compared to find depth and to make it finer."""
_USUAL_DEPTH_M = 2.0
"""The settings of stereo are made for rooms, of which this is about the median depth."""
_ASK = "--pipeline.datamanager.depth stereo takes it nevertheless"
_LEAST_SHARE = 0.1
"""Of the pixels of compared frames. One or two of a hundred are confirmed by chance: where fewer than a tenth are known
a fifth of these are off by more than a tenth of their depth, and no more than a twenty-fifth in other rooms."""


@runtime_checkable
class StereoImages(Images, Protocol):
    """Images with what tells which of their pixels are used."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the data parser says of the scene."""
        ...

    def __len__(self) -> int: ...

    def mask_of(self, index: int) -> Bool[ndarray, "_height _width"] | None:
        """Which pixels of an image are used; None for all."""
        ...

    def alpha_of(self, index: int) -> Float32[Tensor, "_height _width"] | None:
        """Opacity of the pixels of an image; None where it has none."""
        ...


def read_depth_by_stereo(dataset: StereoImages, is_asked_for: bool = False) -> "DepthByStereo | None":
    """Depth of all images by stereo, for training; None where there is none.

    The scale of the cameras need not be known: planes stand from .18 to 16 times the typical depth. What is masked or
    transparent has no depth and confirms none. Frames are compared as pinhole cameras see them. Those without a pose
    have no depth. Nothing is drawn at random. The log says why there is no depth.

    Args:
        dataset: the images.
        is_asked_for: whether depth of few pixels is taken, too, with a warning in the log: many of them are wrong.
    """
    compared = _compared(dataset, is_asked_for)
    if compared is None:
        return None
    announce(
        "depth",
        f"training uses depth by stereo between {compared.said_of(compared.is_confirmed)}; "
        "--pipeline.datamanager.depth scene leaves it out",
    )
    return compared


def read_fused_depth(
    dataset: StereoImages, use: str, least_share: float = 0.0, is_asked_for: bool = False
) -> DepthImages | None:
    """Planar depth of all images in metres, fused, see `DepthByStereo.fused_images`; None where there is none.

    Args:
        dataset: the images.
        use: what the log says that it is used for, a sentence with {} where it is named.
        least_share: share of the pixels of compared images that must be known; with fewer there is none.
        is_asked_for: whether depth of fewer is taken, too, see `read_depth_by_stereo`.
    """
    compared = _compared(dataset, is_asked_for)
    if compared is None:
        return None
    known = compared.fused
    if _is_too_little(compared.share_of(known > 0), least_share, is_asked_for):
        hint = "" if is_asked_for else f"; {_ASK}"
        announce("depth", f"stereo between {compared.said_of(known > 0)} gives too little depth{hint}")
        return None
    said = use.format(f"depth by stereo between {compared.said_of(known > 0)}")
    announce("depth", f"{said}; --pipeline.datamanager.depth says where depth comes from")
    return compared.as_images(known)


@dataclass(frozen=True, eq=False)
class DepthByStereo:
    """Frames of a data set that were compared, and the depth that came of it.

    Attributes:
        images: the images.
        numbers: which of them were compared.
        cameras: their cameras, in metres of the planes.
        around: the neighbours of each frame.
        depths: planar depth in metres of the planes, smaller than the images if these are large; 0 is unknown.
        is_confirmed: which of it other frames confirm.
        is_used: pixels that are neither masked nor transparent.
        scale: true metres per metre of the planes.
        num_images: number of images of the data set.
        begin: when the comparison began, in seconds.
    """

    images: "_PinholeImages"
    numbers: Int[ndarray, "frames"]
    cameras: ViewCameras
    around: Sequence[Int64[Tensor, "_others"]]
    depths: Float[Tensor, "frames rows columns"]
    is_confirmed: Bool[Tensor, "frames rows columns"]
    is_used: Bool[Tensor, "frames rows columns"]
    scale: float
    num_images: int
    begin: float

    def share_of(self, some: Bool[Tensor, "frames rows columns"]) -> float:
        """Share of some of the pixels that are used."""
        return float(some.sum()) / max(1, int(self.is_used.sum()))

    @cached_property
    def fused(self) -> Float[Tensor, "frames rows columns"]:
        """Planar depth in metres of the planes that is the mean of what frames say, 0 where unknown."""
        return fused_depth(self.depths, self.cameras, self.around)

    def confirmed_images(self) -> DepthImages:
        """Planar depth of all images in metres, 0 where other frames do not confirm it."""
        return self.as_images(self.depths.where(self.is_confirmed, 0.0))

    def fused_images(self) -> DepthImages:
        """Planar depth of all images in metres, of more pixels and half as far off in the middle, see `fused_depth`."""
        return self.as_images(self.fused)

    def said_of(self, is_known: Bool[Tensor, "frames rows columns"]) -> str:
        """How many pixels have a depth, for the log."""
        share, seconds = self.share_of(is_known), time.perf_counter() - self.begin
        return f"{len(self.numbers)} training images ({share:.0%} of their pixels are known, after {seconds:.1f} s)"

    def as_images(self, known: Float[Tensor, "frames rows columns"]) -> DepthImages:
        """Depth of all images in metres as they were taken, 0 where unknown."""
        size = int(self.images.cameras.height[0]), int(self.images.cameras.width[0])
        found = [np.zeros(size, np.float32)] * self.num_images
        for number, depth in zip(self.numbers, known * self.scale, strict=True):
            found[int(number)] = self.images.as_taken(enlarged_depth(depth[None], size)[0].numpy(), int(number))
        return found


def _compared(dataset: StereoImages, is_asked_for: bool) -> DepthByStereo | None:
    """Compare the frames of a data set; None, of which the log says why, where hardly any depth is confirmed.

    Where it is asked for, any is enough.
    """
    usable = usable_frames(dataset.cameras).numpy()
    images = _pinhole_images(dataset, len(usable))
    if isinstance(images, str):
        announce("depth", f"stereo between the training images gives no depth: {images}")
        return None
    start = time.perf_counter()
    typical = typical_depth(images)
    if typical is None:
        announce("depth", "stereo between the training images gives no depth: too little texture or parallax")
        return None
    numbers = usable[evenly_spaced(min(_MOST_FRAMES, len(usable)), len(usable))]
    metres_per_unit = _USUAL_DEPTH_M / typical
    cameras = view_cameras(images.cameras, metres_per_unit)[torch.from_numpy(numbers).long()]
    settings = replace(_SETTINGS, width=_WIDTH if len(numbers) <= _FEW_FRAMES else _WIDTH_OF_MANY)
    scale = float(dataset.metadata[keys.METRES_PER_UNIT]) / metres_per_unit
    around = neighbours(cameras, settings)
    found = _searched(images, numbers, cameras, around, settings)
    compared = DepthByStereo(images, numbers, cameras, around, *found, scale, len(dataset), start)
    share = compared.share_of(compared.is_confirmed)
    if _is_too_little(share, _LEAST_SHARE, is_asked_for):
        said = f"only {share:.1%} of the pixels have one; {_ASK}" if share else "no pixel has one that others confirm"
        announce("depth", f"stereo between the training images gives no depth: {said}")
        return None
    if share < _LEAST_SHARE:
        announce(
            "depth",
            f"only {share:.1%} of the pixels have depth by stereo that other images confirm, and of so few many are "
            "wrong; without --pipeline.datamanager.depth stereo they are left out",
        )
    return compared


def _is_too_little(share: float, least_share: float, is_asked_for: bool) -> bool:
    return share == 0 or (share < least_share and not is_asked_for)


class _PinholeImages:
    """The images of a data set as pinhole cameras at their places would have taken them."""

    def __init__(self, dataset: StereoImages) -> None:
        self._dataset, self._taken = dataset, dataset.cameras
        self._is_bent = can_be_undistorted(self._taken)
        self.cameras = undistorted(self._taken) if self._is_bent else self._taken

    def color_of(self, index: int) -> Float32[Tensor, "_height _width 3"]:
        """Colours of an image in 0..1."""
        colors = self._dataset.color_of(index)
        return torch.from_numpy(self._straight(colors.numpy(), index, is_color=True)) if self._is_bent else colors

    def are_used(self, index: int) -> list[Float32[Tensor, "_height _width"]]:
        """Maps of an image that are 1 where its pixels are used."""
        mask, alpha = self._dataset.mask_of(index), self._dataset.alpha_of(index)
        maps = [np.asarray(part, np.float32) for part in (mask, alpha) if part is not None]
        return [torch.from_numpy(self._straight(part, index) if self._is_bent else part) for part in maps]

    def as_taken(self, depth: Float32[ndarray, "height width"], index: int) -> Float32[ndarray, "height width"]:
        """Planar depth of a pinhole image in the image that was taken, 0 where unknown."""
        return distort(depth, self._taken, self.cameras, index) if self._is_bent else depth

    def _straight(self, values: ndarray, index: int, is_color: bool = False) -> ndarray:
        return undistort(values, self._taken, self.cameras, index, is_color)


def _searched(
    images: "_PinholeImages",
    numbers: Int[ndarray, "frames"],
    cameras: ViewCameras,
    around: Sequence[Int64[Tensor, "_others"]],
    settings: StereoSettings,
) -> tuple[
    Float32[Tensor, "frames rows columns"], Bool[Tensor, "frames rows columns"], Bool[Tensor, "frames rows columns"]
]:
    """Planar depth in the units of the cameras, 0 where unknown; which of it others confirm; which pixels are used."""
    fine = replace(settings, width=_FINE_WIDTH if len(numbers) <= _FEW_FRAMES else _FINE_WIDTH_OF_MANY)
    whole = int(images.cameras.height[0]), int(images.cameras.width[0])
    small = [_small(images, int(number), stereo_size(whole, fine)) for number in numbers]
    colors, used = (torch.stack(part) for part in zip(*small, strict=True))
    size = stereo_size(whole, settings)
    searched, searchable = (F.interpolate(part, size, mode="area") for part in (colors, used[:, None].float()))
    depths = searched_depth(searched, cameras, [others[:_NUM_SEARCHED] for others in around], settings)
    depths = depths.where(searchable[:, 0] == 1, 0.0)
    depths = finer_depth(depths, colors, cameras, [others[:_NUM_FINER] for others in around], settings)
    depths = depths.where(used, 0.0)
    return depths, are_confirmed(depths, cameras, around, settings.tolerance, settings.num_confirming), used


def _pinhole_images(dataset: StereoImages, num_usable: int) -> _PinholeImages | str:
    """What is compared, or why nothing is."""
    cameras = dataset.cameras
    if num_usable < 2:
        return "fewer than two cameras have a pose"
    if bool((cameras.camera_type != CameraType.PERSPECTIVE.value).any()):
        return "the cameras are no perspective ones"
    if len(cameras.width.unique()) > 1 or len(cameras.height.unique()) > 1:
        return "the images have several sizes"
    try:
        return _PinholeImages(dataset)
    except SceneError:
        return "the lens distortion cannot be undone"


def _small(
    images: _PinholeImages, number: int, size: tuple[int, int]
) -> tuple[Float32[Tensor, "3 height width"], Bool[Tensor, "height width"]]:
    """An image at the size of stereo, and which of its pixels are used."""
    colors = F.interpolate(images.color_of(number).permute(2, 0, 1)[None], size, mode="area")[0]
    used = torch.ones(size, dtype=torch.bool)
    for part in images.are_used(number):
        used &= F.interpolate(part[None, None], size, mode="area")[0, 0] == 1
    return colors, used
