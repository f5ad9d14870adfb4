"""Every frame of a scene, as a network is shown it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np
from jaxtyping import UInt8
from nerfstudio.data.dataparsers.base_dataparser import DataParser
from numpy import ndarray

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig, require_source
from semantic_ns.dataparsers.scene_source import find_class_table
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import names_of_images
from semantic_ns.io.orientation import exif_orientation, to_upright
from semantic_ns.labels.label_map import LabelMap
from semantic_ns.labels.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class SceneFrame:
    """One frame.

    Attributes:
        dataset: the split that holds it.
        index: its place there.
        name: name of its prediction without suffix: that of its label image.
    """

    dataset: SemanticDataset
    index: int
    name: str

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
    """All frames of a scene.

    Attributes:
        frames: the frames, training frames first.
        taxonomy: the classes of the scene, none where it has neither label images nor a list of classes.
        label_map: map from the ids in its label images to those of the classes; None where they are the same.
        inputs: folder and files of the scene, in which nothing may be written.
    """

    frames: tuple[SceneFrame, ...]
    taxonomy: Taxonomy
    label_map: LabelMap | None
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
    if isinstance(chosen, NerfstudioSemanticDataParserConfig) and _has_class_table(scene):
        chosen.labels_optional, chosen.all_classes = False, True  # classes that no label image shows yet, too
    parser = cast(DataParser, chosen.setup())
    datasets = [SemanticDataset(parser.get_dataparser_outputs(split)) for split in ("train", "val")]
    place_of_image: dict[Path, tuple[SemanticDataset, int]] = {}
    for dataset in datasets:
        for index, image in enumerate(dataset.image_filenames):
            place_of_image.setdefault(image, (dataset, index))
    places = list(place_of_image.values())
    frames = tuple(SceneFrame(*place, name) for place, name in zip(places, _names(places), strict=True))
    metadata = datasets[0].metadata
    return SceneFrames(frames, metadata[keys.TAXONOMY], metadata.get(keys.LABEL_MAP), _inputs(scene, datasets))


def _has_class_table(scene: Path) -> bool:
    return find_class_table(require_source(scene), None) is not None


def _names(places: Sequence[tuple[SemanticDataset, int]]) -> list[str]:
    """A name for each frame: that of its label image or, where two have the same, one with its folders."""
    labels = [PurePosixPath(dataset.metadata[keys.LABEL_EXPORT_NAMES][index]).stem for dataset, index in places]
    if len(set(labels)) == len(labels):
        return labels
    return names_of_images([dataset.image_filenames[index] for dataset, index in places])


def _inputs(scene: Path, datasets: Sequence[SemanticDataset]) -> tuple[Path, ...]:
    paths = {scene if scene.is_dir() else scene.parent}
    for dataset in datasets:
        paths.update(dataset.image_filenames)
        for key in (keys.LABEL_FILENAMES, keys.DEPTH_FILENAMES):
            paths.update(path for path in dataset.metadata.get(key) or () if path is not None)
    return tuple(sorted(paths))
