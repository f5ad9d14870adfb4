"""The frames of one scene, of which each is read when it is asked for, and a bounded memory of what was read."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int16, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras
from semantic_ns.labels.taxonomy import VOID
from semantic_ns.many_scenes.scene_content import content_of
from semantic_ns.many_scenes.views import SceneViews, colors_of_bytes, reduced_size, view_cameras

Keep = Callable[[str, int, Callable[[], Tensor]], Tensor]
"""Gives what a frame holds, by its kind and the number of the frame: what was kept of it, or else what is read now."""


def _read_anew(_kind: str, _frame: int, read: Callable[[], Tensor]) -> Tensor:
    return read()


@dataclass(frozen=True, eq=False)
class SceneFrames:
    """N frames of a scene, of one size, of which no more is read than is asked for; see `SceneViews`.

    What is used of a frame does not depend on what else was read, nor on what `keep` keeps.

    Attributes:
        cameras: cameras in metres.
        size: height and width of the images.
        metres_per_unit: metres per scene unit of nerfstudio's cameras.
        read_color: reads the colours of a frame by its number.
        read_labels: reads its classes 0..C-1, void -1.
        read_depth: reads its planar depth in metres, 0 where unknown; None where the scene has none.
        read_mask: reads which pixels are used; None where all are. The others are void, and of unknown depth.
        keep: remembers what was read.
        content: a text that differs between scenes whose colours, masks or cameras differ; it reads all their files.
        noisy_cameras: wrong cameras, which a model gets in place of the exact ones; None where there is no noise.
    """

    cameras: ViewCameras
    size: tuple[int, int]
    metres_per_unit: float
    read_color: Callable[[int], Tensor]
    read_labels: Callable[[int], Tensor]
    read_depth: Callable[[int], Tensor] | None = None
    read_mask: Callable[[int], Tensor] | None = None
    keep: Keep = _read_anew
    content: Callable[[], str] | None = None
    noisy_cameras: ViewCameras | None = None

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def has_depth(self) -> bool:
        """Whether the scene has depth."""
        return self.read_depth is not None

    @property
    def known_cameras(self) -> ViewCameras:
        """The cameras as a model knows them; which frames are which is told by the exact ones."""
        return self.cameras if self.noisy_cameras is None else self.noisy_cameras

    def colors(self, chosen: Int64[Tensor, "chosen"]) -> Float32[Tensor, "chosen 3 height width"]:
        """Colours 0..1 of some frames."""
        return colors_of_bytes(self.images_of(chosen))

    def images_of(self, chosen: Int64[Tensor, "chosen"]) -> UInt8[Tensor, "chosen height width 3"]:
        """Colours of some frames in bytes."""
        return self._stacked("color", chosen, self.read_color)

    def labels_of(self, chosen: Int64[Tensor, "chosen"]) -> Int16[Tensor, "chosen height width"]:
        """Classes of some frames, void -1."""
        return self._stacked("labels", chosen, lambda frame: self._used(frame, self.read_labels(frame), VOID))

    def depths_of(self, chosen: Int64[Tensor, "chosen"]) -> Float32[Tensor, "chosen height width"] | None:
        """Planar depth of some frames in metres, 0 where unknown; None where the scene has none."""
        read = self.read_depth
        if read is None:
            return None
        return self._stacked("depth", chosen, lambda frame: self._used(frame, read(frame), 0))

    def masks_of(
        self, chosen: Int64[Tensor, "chosen"], device: torch.device | str = "cpu"
    ) -> Bool[Tensor, "chosen height width"] | None:
        """Which pixels of some frames are used; None where all are."""
        return None if self.read_mask is None else self._stacked("mask", chosen, self.read_mask).to(device)

    def whole(self) -> SceneViews:
        """All frames in memory."""
        every = torch.arange(len(self))
        images, labels, depths = self.images_of(every), self.labels_of(every), self.depths_of(every)
        masks, noisy = self.masks_of(every), self.noisy_cameras
        return SceneViews(images, self.cameras, labels, depths, self.metres_per_unit, masks, noisy)

    def _stacked(self, kind: str, chosen: Tensor, read: Callable[[int], Tensor]) -> Tensor:
        return torch.stack([self.keep(kind, frame, lambda frame=frame: read(frame)) for frame in chosen.tolist()])

    def _used(self, frame: int, values: Tensor, unknown: int) -> Tensor:
        """Values of a frame, and outside its mask that of what is unknown."""
        if self.read_mask is None:
            return values
        read = self.read_mask
        return values.masked_fill(~self.keep("mask", frame, lambda: read(frame)), unknown)


AnyViews = SceneViews | SceneFrames
"""The frames of a scene, in memory or not."""


def frames_of(dataset: SemanticDataset, max_width: int | None = None, keep: Keep = _read_anew) -> SceneFrames:
    """The frames of a data set, of which none is read yet.

    Args:
        dataset: images with labels.
        max_width: images that are wider are made smaller: colours by averages, labels and depth by nearest neighbours.
            Images of another size than the first one are brought to its size; their cameras see them so.
        keep: remembers what was read.

    Raises:
        SceneError: when a frame is read that is missing or damaged, or whose mask leaves nothing of it.
    """
    scale: float = dataset.metadata[keys.METRES_PER_UNIT]
    size = reduced_size(dataset.cameras, max_width)
    cameras = view_cameras(dataset.cameras, scale)

    def depth_of(frame: int) -> Float32[Tensor, "height width"]:
        depth = dataset.depth_of(frame)
        assert depth is not None
        return _nearest(depth, size)

    def mask_of(frame: int) -> Bool[Tensor, "height width"]:
        mask = dataset.mask_of(frame)
        assert mask is not None
        found = _nearest(mask, size)
        if not bool(found.any()):
            raise SceneError(
                f"Expected a mask that leaves some pixels of {dataset.image_filenames[frame]}, found one that is "
                "black; take the frame out of the scene, or correct its mask."
            )
        return found

    return SceneFrames(
        cameras,
        size,
        scale,
        read_color=lambda frame: _area(dataset.color_of(frame), size),
        # Not `labels_of`, which keeps them at their full size as long as the data set lives.
        read_labels=lambda frame: _nearest(dataset.read_labels(frame), size),
        read_depth=depth_of if keys.DEPTH_FILENAMES in dataset.metadata else None,
        read_mask=mask_of if keys.MASK_FILENAMES in dataset.metadata else None,
        keep=keep,
        content=lambda: content_of(dataset, cameras, size),
    )


def read_views(dataset: SemanticDataset, max_width: int | None = None) -> SceneViews:
    """Read all frames of a data set, see `frames_of`.

    Raises:
        SceneError: if a frame is missing or damaged, or if a mask leaves nothing of its image.
    """
    return frames_of(dataset, max_width).whole()


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


class FrameCache:
    """What was read of frames, kept while there is memory for it; what was used longest ago goes first.

    It may be asked from several threads, as by a training and by the viewer that looks at it.

    Args:
        max_bytes: memory for all that is kept; with 0 nothing is.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._num_bytes = 0
        self._lock = Lock()

    def of_scene(self, scene: int) -> Keep:
        """Remembers what is read of the frames of one scene, see `SceneFrames`."""
        return lambda kind, frame, read: self.get((scene, kind, frame), read)

    def get(self, key: Hashable, read: Callable[[], Tensor]) -> Tensor:
        """What is kept by a name, or else what is read now."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        values = read()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = values
                self._num_bytes += _bytes_of(values)
            while self._num_bytes > self._max_bytes:
                self._num_bytes -= _bytes_of(self._kept.popitem(last=False)[1])
        return values

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def num_bytes(self) -> int:
        """Memory of all that is kept."""
        return self._num_bytes


def _bytes_of(values: Tensor) -> int:
    return values.numel() * values.element_size()
