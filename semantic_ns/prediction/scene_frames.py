"""Every frame of the splits of a scene, as a network is shown it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import UInt8
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig
from numpy import ndarray

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig, require_source
from semantic_ns.dataparsers.scene_source import find_class_table
from semantic_ns.datasets.scene_splits import read_splits
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.io.orientation import exif_orientation, to_upright
from semantic_ns.labels.label_map import LabelMap
from semantic_ns.labels.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class SceneFrame:
    """One frame.

    Attributes:
        dataset: the split that holds it.
        index: its place there.
    """

    dataset: SemanticDataset
    index: int

    @property
    def name(self) -> str:
        """Name of its prediction without suffix, see `metadata.FRAME_NAMES`."""
        return self.dataset.metadata[keys.FRAME_NAMES][self.index]

    @property
    def image(self) -> Path:
        """Its colour image."""
        return self.dataset.image_filenames[self.index]

    def upright(self) -> tuple[UInt8[ndarray, "height width 3"], int]:
        """Its colours as people look at them, and the EXIF orientation that leads back to the stored pixels.

        Raises:
            SceneError: if the image is damaged.
        """
        orientation = exif_orientation(self.image)
        colors = (self.dataset.color_of(self.index) * 255).round().byte().numpy()
        return np.stack([to_upright(colors[..., channel], orientation) for channel in range(3)], axis=-1), orientation


@dataclass(frozen=True, eq=False)
class SceneFrames:
    """All frames of the training, validation and test splits of a scene.

    Attributes:
        frames: the frames, training frames first.
        taxonomy: the classes of the scene, none where it has neither label images nor a list of classes.
        label_map: map from the ids in its label images to those of the classes; None where they are the same.
        has_class_list: whether a scene in nerfstudio's format lists its classes, in its file or in one beside it.
        inputs: folder and files of the scene, in which nothing may be written.
    """

    frames: tuple[SceneFrame, ...]
    taxonomy: Taxonomy
    label_map: LabelMap | None
    has_class_list: bool
    inputs: tuple[Path, ...]

    @property
    def has_labels(self) -> bool:
        """Whether any frame has a label image."""
        return any(frame.dataset.metadata[keys.LABEL_FILENAMES][frame.index] is not None for frame in self.frames)


def read_frames(scene: Path, sequence: str | None = None) -> SceneFrames:
    """Read a scene of any layout; it needs no label image.

    Args:
        scene: its folder.
        sequence: name of the sequence, where the layout has several; by default the first one.

    Raises:
        SceneError: if the scene cannot be used.
    """
    config = AutoDataParserConfig(data=scene, labels_optional=True, train_sequence=sequence)
    chosen, _ = config.setup().choose()
    datasets = _datasets(chosen)
    has_class_list = isinstance(chosen, NerfstudioSemanticDataParserConfig) and _has_class_table(scene)
    if has_class_list and not any(path for dataset in datasets for path in dataset.metadata[keys.LABEL_FILENAMES]):
        # All classes of the list: where there are label images, they say which classes are trained.
        datasets = _datasets(replace(chosen, labels_optional=False, all_classes=True))
    place_of_image: dict[Path, tuple[SemanticDataset, int]] = {}
    for dataset in datasets:
        for index, image in enumerate(dataset.image_filenames):
            place_of_image.setdefault(image, (dataset, index))
    frames = tuple(SceneFrame(*place) for place in place_of_image.values())
    metadata = datasets[0].metadata
    return SceneFrames(
        frames, metadata[keys.TAXONOMY], metadata.get(keys.LABEL_MAP), has_class_list, _inputs(scene, datasets)
    )


def _datasets(config: DataParserConfig) -> list[SemanticDataset]:
    return [split.dataset for split in read_splits(cast(DataParser, config.setup())).values()]


def _has_class_table(scene: Path) -> bool:
    return find_class_table(require_source(scene), None) is not None


def _inputs(scene: Path, datasets: Sequence[SemanticDataset]) -> tuple[Path, ...]:
    paths = {scene if scene.is_dir() else scene.parent}
    for dataset in datasets:
        paths.update(dataset.image_filenames)
        for key in (keys.LABEL_FILENAMES, keys.DEPTH_FILENAMES):
            paths.update(path for path in dataset.metadata.get(key) or () if path is not None)
    return tuple(sorted(paths))
