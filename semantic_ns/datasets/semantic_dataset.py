"""Images with class labels, and depth in metres where evaluation asks for it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int16, Int64, Integer, Shaped, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from numpy import ndarray
from PIL import Image
from torch import Tensor

from semantic_ns.batch import DEPTH_M, LABELS
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.undistortion import without_distortion
from semantic_ns.errors import SceneError
from semantic_ns.geometry.lens import Undistortion
from semantic_ns.geometry.undistortion import can_be_undistorted, undistortion_of
from semantic_ns.io.hdf5 import is_hdf5
from semantic_ns.io.images import (
    PLAIN_COLOR_MODES,
    color_image_size,
    opened_color_image,
    read_depth_image,
    read_hdr_image,
    read_label_image,
    read_mask_image,
    to_8_bit_color,
    told_as_scene_error,
)
from semantic_ns.io.tone_mapping import tone_map
from semantic_ns.labels.taxonomy import VOID, Taxonomy

_ASPECT_TOLERANCE = 0.02
"""Cameras that record depth apart from colour differ in shape by less than this; other images differ by more."""


class SemanticDataset(InputDataset):
    """nerfstudio's images plus `semantics`, by default read once and kept as int16, and on request `depth_image_m`.

    Not nerfstudio's SemanticDataset, which turns void into a mask and so takes it away from the colour loss.

    Labels and depth of another size than the colour image are resized by nearest neighbours. Linear colour (HDF5) is
    tone-mapped, ids go through the scene's `LabelMap`, and ray distances become planar depth. Where the metadata names
    `DISTORTED_CAMERAS`, images, labels, depth and masks are undistorted.

    Attributes:
        load_depth: whether items hold `depth_image_m` (where the scene has depth); off while training.
        loads_depth: a capability, see `interfaces.can`: that `load_depth` can be set.
        keeps_labels: whether labels that were read are kept; on unless set.
        has_16_bit_labels: whether `semantics` is int16 instead of int64, for a cache of all items; off unless set.

    Raises:
        SceneError: on a damaged image, a label or depth image of another shape (width / height) than its image, or a
            scale factor that leaves no pixel.
    """

    loads_depth = True

    def __init__(
        self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0, load_depth: bool = False
    ) -> None:
        super().__init__(dataparser_outputs, scale_factor)
        if scale_factor != 1.0:
            self._fit_cameras(dataparser_outputs.cameras)
        if keys.MASK_FILENAMES in self.metadata:
            self.mask_color = None  # it is applied here, as the parent has no masks of some images alone
        # A list per object: nerfstudio's data managers remove keys from it in place.
        self.exclude_batch_keys_from_device = [*InputDataset.exclude_batch_keys_from_device, LABELS, DEPTH_M]
        self.load_depth = load_depth
        self.keeps_labels = True
        self.has_16_bit_labels = False
        self._labels: dict[int, Int16[ndarray, "height width"]] = {}

    def _fit_cameras(self, full: Cameras) -> None:
        """Let the cameras see the whole image at its new size, which cuts off the fraction of a pixel."""
        for side, focal, centre in (("width", "fx", "cx"), ("height", "fy", "cy")):
            length = getattr(full, side)
            # Not by the parent's single precision: 100 pixels times 0.29 are 28 to Python, as images have it.
            new = torch.tensor([int(n * self.scale_factor) for n in length.flatten().tolist()]).reshape(length.shape)
            if not bool((new > 0).all()):
                raise SceneError(
                    "Expected a --pipeline.datamanager.camera-res-scale-factor that leaves some pixels, found "
                    f"{self.scale_factor:g}; give a larger one."
                )
            setattr(self.cameras, side, new)
            for name in (focal, centre):
                setattr(self.cameras, name, getattr(full, name) * (new / length))

    @property
    def taxonomy(self) -> Taxonomy:
        """The classes of the scene."""
        return self.metadata[keys.TAXONOMY]

    def get_numpy_image(self, image_idx: int) -> UInt8[ndarray, "height width channels"]:
        """The colour image; a damaged one raises SceneError."""
        return self.undistorted(self._stored_image(image_idx), image_idx, is_color=True)

    def undistorted(
        self, values: Shaped[ndarray, "height width *channels"], index: int, is_color: bool = False
    ) -> Shaped[ndarray, "height width *channels"]:
        """An image of any kind as the camera without distortion sees it; by default by nearest neighbours."""
        undistortion = self.undistortion_of(index)
        return values if undistortion is None else undistortion.undistort(values, is_color)

    def undistortion_of(self, index: int) -> Undistortion | None:
        """How the stored image becomes the one that training sees; None where that is the stored one."""
        distorted = self.metadata.get(keys.DISTORTED_CAMERAS)
        return None if distorted is None else undistortion_of(distorted, self._dataparser_outputs.cameras, index)

    def as_stored(
        self, values: Shaped[ndarray, "height width *channels"], index: int, unseen: int
    ) -> Shaped[ndarray, "height width *channels"]:
        """Numbers for the pixels of the image that training sees, on those of the stored one, which a lens may bend.

        Args:
            values: numbers of the pixels of the undistorted image.
            index: number of the image.
            unseen: number of the pixels that the undistorted image does not show.
        """
        undistortion = self.undistortion_of(index)
        return values if undistortion is None else undistortion.distort(values - unseen) + unseen

    def parts_as_stored(
        self, numbers: Integer[ndarray, "height width"], index: int
    ) -> Integer[ndarray, "height width"]:
        """Numbers of parts of the image that training sees, 0 for none, on the pixels of the stored one; all stay."""
        undistortion = self.undistortion_of(index)
        return numbers if undistortion is None else undistortion.distort_numbers(numbers)

    def stored_color_of(self, index: int) -> UInt8[ndarray, "height width 3"]:
        """The colours of the stored image, which a lens may bend."""
        if self.undistortion_of(index) is None:
            return (self.color_of(index) * 255).round().byte().numpy()
        image = self._stored_image(index)[..., :3]
        return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))

    def _stored_image(self, image_idx: int) -> UInt8[ndarray, "height width channels"]:
        path = self.image_filenames[image_idx]
        if is_hdf5(path):
            return self._scaled(tone_map(read_hdr_image(path), self.metadata[keys.EXPOSURE]))
        with opened_color_image(path) as image:
            is_plain = image.mode in PLAIN_COLOR_MODES
            if not is_plain:
                return self._alike(self._scaled(_with_channels(np.asarray(to_8_bit_color(image)))))
        with told_as_scene_error(path, "colour image"):
            return self._alike(super().get_numpy_image(image_idx))

    def _alike(self, image: UInt8[ndarray, "height width _given"]) -> UInt8[ndarray, "height width channels"]:
        """The image with as many channels as the others: opaque if they have alpha and it has none."""
        if image.shape[-1] == 3 and self.metadata.get(keys.HAS_ALPHA, False):
            return np.concatenate([image, np.full_like(image[..., :1], 255)], axis=-1)
        return image

    def _scaled(self, image: UInt8[ndarray, "rows columns channels"]) -> UInt8[ndarray, "height width channels"]:
        if self.scale_factor == 1.0:
            return image
        height, width = (int(length * self.scale_factor) for length in image.shape[:2])
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def get_metadata(self, data: dict) -> dict:
        """The labels of the image, all void if it has none, and its depth if asked for and known.

        Args:
            data: `image_idx` and `image` [H, W, channels] of the image.

        Returns:
            `semantics` int64 (or int16) [H, W, 1]; with `load_depth` and depth files `depth_image_m` float32 [H, W, 1];
            where the scene has masks `mask` bool [H, W, 1], true for pixels that are used.
        """
        index, (height, width) = data["image_idx"], data["image"].shape[:2]
        labels = torch.from_numpy(self.labels_of(index))[..., None]
        result: dict[str, Tensor] = {LABELS: labels.clone() if self.has_16_bit_labels else labels.long()}
        depths = self.metadata.get(keys.DEPTH_FILENAMES)
        if self.load_depth and depths is not None:
            result[DEPTH_M] = torch.from_numpy(self._depth(index, depths[index], (height, width)))[..., None]
        masks = self.metadata.get(keys.MASK_FILENAMES)
        if masks is not None:
            result |= self._masked(data["image"], torch.from_numpy(self._mask(index, masks[index]))[..., None])
        return result

    def _masked(
        self, image: Shaped[Tensor, "height width channels"], mask: Bool[Tensor, "height width 1"]
    ) -> dict[str, Tensor]:
        """The mask, and where `mask_color` is set the image with this color outside the mask, as in the parent."""
        color = self.metadata.get("mask_color")
        if not color:
            return {"mask": mask}
        return {"mask": mask, "image": torch.where(mask, image, torch.ones_like(image) * torch.tensor(color))}

    def mask_of(self, index: int) -> Bool[ndarray, "height width"] | None:
        """Which pixels of an image are used; None where the scene has no masks."""
        masks = self.metadata.get(keys.MASK_FILENAMES)
        return None if masks is None else self._mask(index, masks[index])

    def _mask(self, index: int, path: Path | None) -> Bool[ndarray, "height width"]:
        if path is None:
            return np.ones(self._size_of(index), bool)
        return self._fitted(read_mask_image(path), path, index, self._size_of(index))

    def color_of(self, index: int) -> Float32[Tensor, "height width 3"]:
        """Colours of an image in [0, 1]; a grey one has three equal channels, and transparency is left out."""
        return self.get_image_float32(index)[..., :3].expand(-1, -1, 3)

    def alpha_of(self, index: int) -> Float32[Tensor, "height width"] | None:
        """Opacity of the pixels of an image in [0, 1]; None where no image of the scene has an alpha channel."""
        return self.layers_of(index)[1] if self.metadata.get(keys.HAS_ALPHA, False) else None

    def layers_of(self, index: int) -> tuple[Float32[Tensor, "height width 3"], Float32[Tensor, "height width"] | None]:
        """Colours of an image in [0, 1] before they lie on any background, and its opacity; None if it has none."""
        image = self.bytes_of(index) / 255  # the parent's floats lie on `alpha_color`
        return image[..., :3], image[..., 3] if image.shape[-1] == 4 else None

    def bytes_of(self, index: int) -> UInt8[Tensor, "height width channels"]:
        """Three channels of colour before they lie on any background, and a fourth of opacity where images have one."""
        image = self.get_numpy_image(index)
        return torch.tensor(np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image)

    def depth_of(self, index: int) -> Float32[ndarray, "height width"] | None:
        """Planar depth of an image in metres, 0 where unknown; None where the scene has no depth.

        It is read anew each time, whatever `load_depth` says.
        """
        depths = self.metadata.get(keys.DEPTH_FILENAMES)
        return None if depths is None else self._depth(index, depths[index], self._size_of(index))

    def labels_of(self, index: int) -> Int16[ndarray, "height width"]:
        """Classes -1..C-1 of an image, void everywhere if it has no label; not to be changed.

        They are read once, unless `keeps_labels` is off.
        """
        if index in self._labels:
            return self._labels[index]
        labels = self.read_labels(index)
        if self.keeps_labels:
            self._labels[index] = labels
        return labels

    @property
    def num_kept_labels(self) -> int:
        """Number of images whose labels are in memory."""
        return len(self._labels)

    def read_labels(self, index: int) -> Int16[ndarray, "height width"]:
        """Classes -1..C-1 of an image out of the scene's own label file, whatever `labels_of` gives."""
        path = self.metadata[keys.LABEL_FILENAMES][index]
        if path is None:
            return self.without_label(index)
        ids = self.read_ids(path, index)
        label_map = self.metadata.get(keys.LABEL_MAP)
        ids = ids if label_map is None else label_map.apply(ids, str(path))
        return self.taxonomy.encode(ids, str(path))

    def replace_labels(self, labels: Sequence[Int16[ndarray, "_height _width"]]) -> None:
        """Give every image other labels, classes -1..C-1 at its size, in place of those of its file."""
        self._labels = dict(enumerate(labels))

    def without_label(self, index: int) -> Int16[ndarray, "height width"]:
        """Void at the size of an image."""
        return np.full(self._size_of(index), VOID, np.int16)

    def read_ids(self, path: Path, index: int) -> Int64[ndarray, "height width"]:
        """The ids in a label or instance image, at the size of image `index`."""
        return self.fit_ids(read_label_image(path), path, index)

    def fit_ids(self, ids: Int64[ndarray, "rows columns"], path: Path, index: int) -> Int64[ndarray, "height width"]:
        """Ids read from a file at the size of image `index`, by nearest neighbours."""
        return self._fitted(ids, path, index, self._size_of(index))

    def _size_of(self, index: int) -> tuple[int, int]:
        """Height and width of a possibly downscaled image."""
        width, height = color_image_size(self.image_filenames[index])
        return int(height * self.scale_factor), int(width * self.scale_factor)

    def _depth(self, index: int, path: Path | None, size: tuple[int, int]) -> Float32[ndarray, "height width"]:
        """Planar depth in metres at a size (height, width), 0 where unknown: everywhere without a file."""
        if path is None:
            return np.zeros(size, np.float32)
        depth = read_depth_image(path, self.metadata[keys.DEPTH_METRES_PER_UNIT])
        planar_per_ray = self.metadata.get(keys.PLANAR_PER_RAY_DEPTH)
        if planar_per_ray is not None:
            if depth.shape != planar_per_ray.shape:
                raise SceneError(
                    f"Expected a depth image of {_size(planar_per_ray.shape)} at {path}, found {_size(depth.shape)}; "
                    "ray distances belong to the pixels of the camera, so give them at its size."
                )
            depth = depth * planar_per_ray
        return self._fitted(depth, path, index, size)

    def _fitted(
        self, values: Shaped[ndarray, "rows columns"], path: Path, index: int, size: tuple[int, int]
    ) -> Shaped[ndarray, "height width"]:
        """Values at the size (height, width) of a possibly downscaled image, undistorted, by nearest neighbours."""
        if size == values.shape:
            return self.undistorted(values, index)
        image = self.image_filenames[index]
        width, height = color_image_size(image)
        if abs(values.shape[1] * height / (values.shape[0] * width) - 1) > _ASPECT_TOLERANCE:
            raise SceneError(
                f"Expected {path} to have the shape of its image {image}, {_size((height, width))} or in proportion, "
                f"found {_size(values.shape)}; cut it out or resize it with nearest neighbours."
            )
        rows, columns = (
            ((np.arange(n) + 0.5) * full / n).astype(np.int64) for n, full in zip(size, values.shape, strict=True)
        )
        return self.undistorted(values[np.ix_(rows, columns)], index)


def _with_channels(image: UInt8[ndarray, "..."]) -> UInt8[ndarray, "height width channels"]:
    """Three equal channels of a grey image; others stay."""
    return np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


class PinholeDataset(SemanticDataset):
    """A `SemanticDataset` of a scene without lens distortion, which is taken away where it can be.

    Raises:
        SceneError: as its parent, and if a distortion is too strong.
    """

    def __init__(
        self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0, load_depth: bool = False
    ) -> None:
        super().__init__(without_distortion(dataparser_outputs), scale_factor, load_depth)

    @classmethod
    def of(cls, dataset: SemanticDataset) -> SemanticDataset:
        """The images of a data set without lens distortion; the data set itself where they have none."""
        if not can_be_undistorted(dataset.cameras):
            return dataset
        return cls(dataset._dataparser_outputs, dataset.scale_factor, dataset.load_depth)
