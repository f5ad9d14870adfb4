"""Images with class labels, and depth in metres where evaluation asks for it."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int16, Int64, Shaped, UInt8
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from numpy import ndarray
from torch import Tensor

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.errors import SceneError
from semantic_ns.labels.images import color_image_size, read_depth_image, read_label_image, told_as_scene_error
from semantic_ns.labels.taxonomy import VOID, Taxonomy

SEMANTICS = "semantics"
"""Batch key: int64 [H, W, 1] of classes -1..C-1, -1 is void or unlabelled."""
DEPTH_M = "depth_image_m"
"""Batch key: float32 [H, W, 1], planar depth in metres, 0 is unknown."""


class SemanticDataset(InputDataset):
    """nerfstudio's images plus `semantics`, read once and kept as int16, and on request `depth_image_m`.

    Not nerfstudio's SemanticDataset, which turns void into a mask and so takes it away from the colour loss.

    Attributes:
        load_depth: whether items hold `depth_image_m` (where the scene has depth); off while training.

    Raises:
        SceneError: on a damaged image, or a label or depth image of another size than its image.
    """

    def __init__(
        self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0, load_depth: bool = False
    ) -> None:
        super().__init__(dataparser_outputs, scale_factor)
        # A list per object: nerfstudio's data managers remove keys from it in place.
        self.exclude_batch_keys_from_device = [*InputDataset.exclude_batch_keys_from_device, SEMANTICS, DEPTH_M]
        self.load_depth = load_depth
        self._labels: dict[int, Int16[Tensor, "height width 1"]] = {}

    @property
    def taxonomy(self) -> Taxonomy:
        """The classes of the scene."""
        return self.metadata[keys.TAXONOMY]

    def get_numpy_image(self, image_idx: int) -> UInt8[ndarray, "height width channels"]:
        """The colour image; a damaged one raises SceneError."""
        with told_as_scene_error(self.image_filenames[image_idx], "colour image"):
            return super().get_numpy_image(image_idx)

    def get_metadata(self, data: dict) -> dict:
        """The labels of the image, all void if it has none, and its depth if asked for and known.

        Args:
            data: `image_idx` and `image` [H, W, channels] of the image.

        Returns:
            `semantics` int64 [H, W, 1]; with `load_depth` and depth files `depth_image_m` float32 [H, W, 1].
        """
        index, (height, width) = data["image_idx"], data["image"].shape[:2]
        result: dict[str, Tensor] = {SEMANTICS: self._semantics(index, height, width)}
        depths = self.metadata.get(keys.DEPTH_FILENAMES)
        if self.load_depth and depths is not None:
            result[DEPTH_M] = self._depth(index, depths[index], height, width)
        return result

    def _semantics(self, index: int, height: int, width: int) -> Int64[Tensor, "height width 1"]:
        if index not in self._labels:
            path = self.metadata[keys.LABEL_FILENAMES][index]
            if path is None:
                labels = np.full((height, width), VOID, np.int16)
            else:
                labels = self._fitted(read_label_image(path), path, index, (height, width))
                labels = self.taxonomy.encode(labels, str(path))
            self._labels[index] = torch.from_numpy(labels)[..., None]
        return self._labels[index].long()

    def _depth(self, index: int, path: Path | None, height: int, width: int) -> Float32[Tensor, "height width 1"]:
        if path is None:
            return torch.zeros(height, width, 1)
        depth = read_depth_image(path, self.metadata[keys.DEPTH_METRES_PER_UNIT])
        return torch.from_numpy(self._fitted(depth, path, index, (height, width)))[..., None]

    def _fitted(
        self, values: Shaped[ndarray, "rows columns"], path: Path, index: int, size: tuple[int, int]
    ) -> Shaped[ndarray, "height width"]:
        """Values at the size (height, width) of a possibly downscaled image, by nearest neighbours."""
        image = self.image_filenames[index]
        width, height = color_image_size(image)
        if values.shape != (height, width):
            raise SceneError(
                f"Expected {path} to have the size of its image {image}, {width}x{height}, found "
                f"{values.shape[1]}x{values.shape[0]}; resize it with nearest neighbours."
            )
        if size == values.shape:
            return values
        rows, columns = (
            ((np.arange(n) + 0.5) * full / n).astype(np.int64) for n, full in zip(size, (height, width), strict=True)
        )
        return values[np.ix_(rows, columns)]
