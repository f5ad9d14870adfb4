"""Depth images of cameras with any lens and of any size, as pinholes with few pixels would have taken them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from nerfstudio.cameras.cameras import Cameras, CameraType
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.geometry.depth_agreement import DepthViews, reduced
from semantic_ns.geometry.lens import Lens
from semantic_ns.geometry.pinhole import Pixels, rays
from semantic_ns.geometry.rays import poses_of

_WIDTH = 96
"""Columns, about, of what is compared."""
_LEAST_LENGTH = 3
"""Rows and columns that a comparison needs: pixels at the edge of an image have no neighbours on all sides."""
_KINDS = {CameraType.PERSPECTIVE.value, CameraType.FISHEYE.value}

_Depth = Float32[ndarray, "_height _width"]


@dataclass(frozen=True, eq=False)
class ComparableDepth:
    """Depth images that can be compared with each other.

    Attributes:
        views: what pinholes at the places of their cameras see; smaller images are unknown beyond their edges.
        numbers: number of the image of each view.
        refusals: why other images that have some depth cannot be compared, by their numbers.
    """

    views: DepthViews
    numbers: tuple[int, ...]
    refusals: dict[int, str]

    @classmethod
    def of(cls, images_m: Sequence[_Depth], cameras: Cameras, metres_per_unit: float) -> "ComparableDepth":
        """Those of images.

        Args:
            images_m: depth, 0 where unknown: distances along the rays, divided by the ray's `directions_norm`. That is
                planar depth, but for fisheye lenses, whose norms are 1.
            cameras: their cameras [N], in scene units.
            metres_per_unit: metres per scene unit.
        """
        c2w = np.tile(np.eye(4), (len(images_m), 1, 1))
        c2w[:, :3] = poses_of(cameras).double().cpu().numpy() * np.array([1.0, -1.0, -1.0, metres_per_unit])
        found: dict[int, DepthViews] = {}
        refusals: dict[int, str] = {}
        for (kind, lens, shape), indices in _by_lens(images_m, cameras).items():
            try:
                intrinsics, undistorted = _pinhole_of(kind, lens, shape)
            except SceneError as error:
                refusals |= {index: str(error) for index in indices if images_m[index].any()}
                continue
            block = max(1, round(shape[1] / _WIDTH))
            for index in indices:
                seen = undistorted(images_m[index])[None]
                found[index] = reduced(DepthViews(seen, c2w[index : index + 1], intrinsics[None]), block)
        numbers = tuple(sorted(found))
        return cls(_of_one_size([found[number] for number in numbers]), numbers, refusals)

    def part(self, numbers: Sequence[int]) -> "ComparableDepth":
        """The views of some images."""
        kept = [place for place, number in enumerate(self.numbers) if number in set(numbers)]
        views = DepthViews(*(values[kept] for values in self.views))
        return ComparableDepth(views, tuple(self.numbers[place] for place in kept), self.refusals)


def _by_lens(images_m: Sequence[_Depth], cameras: Cameras) -> dict[tuple[int, Lens, tuple[int, int]], list[int]]:
    """Numbers of the images of each type of camera, lens and size: a lens takes far longer than an image of it."""
    kinds = cameras.camera_type.flatten().tolist()
    found: dict[tuple[int, Lens, tuple[int, int]], list[int]] = {}
    for index, image in enumerate(images_m):
        found.setdefault((kinds[index], Lens.of(cameras, index), (len(image), image.shape[1])), []).append(index)
    return found


def _pinhole_of(
    kind: int, lens: Lens, shape: tuple[int, int]
) -> tuple[Float64[ndarray, "4"], Callable[[_Depth], _Depth]]:
    """Intrinsics of the pinhole in place of a lens, and what gives its planar depth for the depth of the lens.

    Raises:
        SceneError: if no pinhole can take its place.
    """
    if kind not in _KINDS:
        raise SceneError(f"Expected perspective or fisheye cameras, found {CameraType(kind).name} ones")
    pinhole = lens.pinhole()
    if lens.is_pinhole:
        return pinhole, lambda depth_m: depth_m
    places = lens.nearest_places(pinhole, shape)
    per_depth = _planar_per_distance(pinhole, shape) if lens.is_fisheye else np.ones(shape, np.float32)
    return pinhole, lambda depth_m: depth_m[places] * per_depth


def _planar_per_distance(pinhole: Float64[ndarray, "4"], shape: tuple[int, int]) -> _Depth:
    """Planar depth of a pinhole per distance along its rays."""
    rows, columns = np.indices(shape).reshape(2, -1)
    directions = rays(Pixels(np.zeros_like(rows), rows, columns), pinhole[None])
    return (1 / np.linalg.norm(directions, axis=1)).astype(np.float32).reshape(shape)


def _of_one_size(views: Sequence[DepthViews]) -> DepthViews:
    """Views [1] of several sizes as those of one: all see nothing beyond their edges."""
    sizes = [view.depth_m.shape[1:] for view in views]
    height, width = (max([_LEAST_LENGTH, *lengths]) for lengths in (zip(*sizes, strict=True) if sizes else ((), ())))
    depth_m = np.zeros((len(views), height, width), np.float32)
    for place, (view, size) in enumerate(zip(views, sizes, strict=True)):
        depth_m[place, : size[0], : size[1]] = view.depth_m[0]
    if not views:
        return DepthViews(depth_m, np.zeros((0, 4, 4)), np.zeros((0, 4)))
    return DepthViews(depth_m, *(np.concatenate(parts) for parts in list(zip(*views, strict=True))[1:]))
