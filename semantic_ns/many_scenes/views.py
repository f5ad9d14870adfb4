"""The frames of one scene as a method for many scenes sees them: images, cameras in metres, labels and depth."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int16, Int64, UInt8
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras
from semantic_ns.labels.taxonomy import VOID


@dataclass(frozen=True, eq=False)
class SceneViews:
    """N frames of a scene, of one size.

    Attributes:
        images: colours.
        cameras: cameras in metres.
        labels: classes 0..C-1, void -1.
        depths_m: planar depth in metres, 0 where unknown; None where the scene has none.
        metres_per_unit: metres per scene unit of nerfstudio's cameras.
        masks: which pixels are used; None where all are. The others are void, and of unknown depth.
        noisy_cameras: wrong cameras, which a model gets in place of the exact ones; None where there is no noise.
    """

    images: UInt8[Tensor, "frames height width 3"]
    cameras: ViewCameras
    labels: Int16[Tensor, "frames height width"]
    depths_m: Float32[Tensor, "frames height width"] | None
    metres_per_unit: float
    masks: Bool[Tensor, "frames height width"] | None = None
    noisy_cameras: ViewCameras | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.images.shape[1], self.images.shape[2]

    @property
    def num_bytes(self) -> int:
        """Memory of the images, labels, depths and masks."""
        parts = (self.images, self.labels, self.depths_m, self.masks)
        return sum(part.numel() * part.element_size() for part in parts if part is not None)

    def masked(self, masks: Bool[Tensor, "frames height width"]) -> "SceneViews":
        """The same frames, of which only some pixels are used."""
        depths = None if self.depths_m is None else self.depths_m.where(masks, 0.0)
        return replace(self, labels=self.labels.masked_fill(~masks, VOID), depths_m=depths, masks=masks)

    def masks_of(
        self, chosen: Int64[Tensor, "chosen"], device: torch.device | str
    ) -> Bool[Tensor, "chosen height width"] | None:
        """Which pixels of some frames are used; None where all are."""
        return None if self.masks is None else self.masks[chosen].to(device)

    @property
    def known_cameras(self) -> ViewCameras:
        """The cameras as a model knows them; which frames are which is told by the exact ones."""
        return self.cameras if self.noisy_cameras is None else self.noisy_cameras

    def colors(self, chosen: Int64[Tensor, "chosen"]) -> Float32[Tensor, "chosen 3 height width"]:
        """Colours 0..1 of some frames."""
        return self.images[chosen].permute(0, 3, 1, 2).float() / 255


def view_cameras(cameras: Cameras, metres_per_unit: float) -> ViewCameras:
    """Cameras of nerfstudio, [N] or [N, 1...], in metres.

    Raises:
        SceneError: if a camera is no pinhole camera without distortion.
    """
    flat = cameras.flatten()
    if bool((flat.camera_type != CameraType.PERSPECTIVE.value).any()):
        raise SceneError(
            "Expected perspective cameras for a method that compares views, found others; undistort the images, for "
            "example with COLMAP's image_undistorter."
        )
    if flat.distortion_params is not None and bool((flat.distortion_params != 0).any()):
        raise SceneError(
            "Expected images without lens distortion for a method that compares views, found distortion parameters; "
            "undistort the images, for example with COLMAP's image_undistorter."
        )
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(flat), 1, 1)
    c2w[:, :3] = flat.camera_to_worlds.double().cpu()
    # From OpenGL's axes to OpenCV's.
    c2w[:, :3, 1:3] *= -1
    c2w[:, :3, 3] *= metres_per_unit
    width, height = flat.width[:, 0].double(), flat.height[:, 0].double()
    parts = (flat.fx[:, 0] / width, flat.fy[:, 0] / height, flat.cx[:, 0] / width, flat.cy[:, 0] / height)
    return ViewCameras(c2w, torch.stack([part.double().cpu() for part in parts], dim=-1))


def read_views(dataset: SemanticDataset, max_width: int | None = None) -> SceneViews:
    """Read all frames of a data set.

    Args:
        dataset: images with labels.
        max_width: images that are wider are made smaller: colours by averages, labels and depth by nearest neighbours.
            Images of another size than the first one are brought to its size; their cameras see them so.

    Raises:
        SceneError: if a mask leaves nothing of its image.
    """
    scale: float = dataset.metadata[keys.METRES_PER_UNIT]
    size = reduced_size(dataset.cameras, max_width)
    images, labels, depths, masks = [], [], [], []
    for index in range(len(dataset)):
        color = dataset.color_of(index)
        images.append(_area(color, size))
        labels.append(_nearest(dataset.labels_of(index), size))
        depth = dataset.depth_of(index)
        if depth is not None:
            depths.append(_nearest(depth, size))
        mask = dataset.mask_of(index)
        if mask is not None:
            masks.append(_nearest(mask, size))
            if not bool(masks[-1].any()):
                raise SceneError(
                    f"Expected a mask that leaves some pixels of {dataset.image_filenames[index]}, found one that is "
                    "black; take the frame out of the scene, or correct its mask."
                )
    views = SceneViews(
        torch.stack(images),
        view_cameras(dataset.cameras, scale),
        torch.stack(labels),
        torch.stack(depths) if depths else None,
        scale,
    )
    return views.masked(torch.stack(masks)) if masks else views


def read_labels(dataset: SemanticDataset, max_width: int | None = None) -> Iterator[Int16[Tensor, "height width"]]:
    """Labels of all frames of a data set as `read_views` gives them, without reading colours or depth."""
    size = reduced_size(dataset.cameras, max_width)
    for index in range(len(dataset)):
        labels, mask = _nearest(dataset.read_labels(index), size), dataset.mask_of(index)
        yield labels if mask is None else labels.masked_fill(~_nearest(mask, size), VOID)


def reduced_size(cameras: Cameras, max_width: int | None = None) -> tuple[int, int]:
    """Height and width of the images of a scene that is read with `max_width`."""
    height, width = int(cameras.height.flatten()[0]), int(cameras.width.flatten()[0])
    factor = min(1.0, (max_width or width) / width)
    return max(1, round(height * factor)), round(width * factor)


def _area(color: Float32[Tensor, "height width 3"], size: tuple[int, int]) -> UInt8[Tensor, "rows columns 3"]:
    if color.shape[:2] != size:
        color = F.interpolate(color.permute(2, 0, 1)[None], size, mode="area")[0].permute(1, 2, 0)
    return (color * 255).round().to(torch.uint8)


def _nearest(values: np.ndarray, size: tuple[int, int]) -> Tensor:
    rows, columns = (
        ((np.arange(count) + 0.5) * full / count).astype(np.int64)
        for count, full in zip(size, values.shape, strict=True)
    )
    return torch.from_numpy(np.ascontiguousarray(values[np.ix_(rows, columns)]))


class ViewCache:
    """Views of scenes, read when they are first asked for; the ones used longest ago go when memory is full.

    Args:
        read: reads the views of the scene of a number.
        max_bytes: memory for the views; the newest scene is kept in any case.
    """

    def __init__(self, read: Callable[[int], SceneViews], max_bytes: int) -> None:
        self._read, self._max_bytes = read, max_bytes
        self._views: OrderedDict[int, SceneViews] = OrderedDict()

    def __getitem__(self, number: int) -> SceneViews:
        if number not in self._views:
            self._views[number] = self._read(number)
        self._views.move_to_end(number)
        while len(self._views) > 1 and self.num_bytes > self._max_bytes:
            self._views.popitem(last=False)
        return self._views[number]

    @property
    def num_bytes(self) -> int:
        """Memory of all views that are held."""
        return sum(views.num_bytes for views in self._views.values())
