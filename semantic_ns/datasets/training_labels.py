"""The labels that training sees: the scene's or a folder's, corrupted, revealed bit by bit, written to a folder.

Nothing in here knows rays or batches, so that a method that trains on whole images has the same labels.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import Int16, Int64
from numpy import ndarray

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.exported_ids import ExportedIds
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.image_names import names_of_images
from semantic_ns.io.text import read_json
from semantic_ns.io.writing import write_errors_as_scene_error, write_json, write_png
from semantic_ns.labels.corruption import CorruptedScene, CorruptionConfig, corrupt_labels, frame_number
from semantic_ns.labels.corruption_frames import evenly_spaced
from semantic_ns.labels.label_statistics import are_complete, are_consistent
from semantic_ns.labels.probability_files import PROBABILITY_SUFFIXES, read_most_likely_ids
from semantic_ns.labels.taxonomy import VOID, Taxonomy

PARAMETERS_FILE = "corruption.json"
"""File in a written folder: how its labels came about. The ids beside it are those of the taxonomy."""

_IMAGE_SUFFIXES = frozenset({".png", ".hdf5"})
_MOST_FRAMES = 64
"""Frames that are looked at to tell whether labels are complete."""
_Image = Int16[ndarray, "_height _width"]
_Labels = list[_Image]


def frame_names(dataset: SemanticDataset) -> list[str]:
    """A name for each image of a data set that is a file name, too, see `names_of_images`."""
    return names_of_images(dataset.image_filenames)


def corrupted_labels(dataset: SemanticDataset, labels: _Labels, config: CorruptionConfig) -> _Labels:
    """Corrupt the labels of the images of a data set, see `corrupt_labels`; instance images are read where needed."""
    paths = dataset.metadata.get(keys.INSTANCE_FILENAMES)
    instances = None
    if config.region_noise > 0 and paths is not None:
        instances = [None if path is None else dataset.read_ids(path, i) for i, path in enumerate(paths)]
    taxonomy = dataset.taxonomy
    scene = CorruptedScene(taxonomy.names, frame_names(dataset), instances)
    return corrupt_labels(labels, config, taxonomy.num_classes, scene)


def read_label_folder(name: str, dataset: SemanticDataset, scene_folder: Path) -> _Labels:
    """Labels of the images of a data set from another folder than the scene's, at their sizes.

    The file of an image has the name that `sns-predict` gives it, its own name, that of its label image, or else the
    same number at its end. An image without
    a file has no label. Ids mean what those of the scene's label images mean; of probabilities (`.npy`, `.npz`, see
    `probability_files`), in a folder without label images, the most likely class counts. Void becomes of classes that
    no label image of the scene holds: a network may predict them, but they are none of the classes that are trained.
    In an export of `sns-label` ids mean what its `classes.json` says, and classes are matched by name.

    Args:
        name: an absolute path, or relative to the folder that holds the scene's label folder, or to the scene.
        dataset: dataset of the labelled images.
        scene_folder: folder of the scene.

    Raises:
        SceneError: if there is no such folder, no file in it for any image, two for one or one for two, an image that
            cannot be used, ids that the scene's label map does not know or that mean another class there, or no
            labelled pixel.
    """
    exports = [scene_folder / export for export in dataset.metadata[keys.LABEL_EXPORT_NAMES]]
    folder = find_label_folder(name, dataset, scene_folder)
    exported = ExportedIds.of(folder, dataset.taxonomy)
    was_written_here = exported is not None or _holds_taxonomy_ids(folder, dataset.taxonomy)
    stems = [export.stem for export in exports]
    # Here, a frame without a file has no label, and another frame's file may end with its number.
    names = frame_names(dataset)
    files = files_of_frames(folder, names, stems, not was_written_here, dataset.metadata.get(keys.FRAME_NAMES, names))
    label_map = None if was_written_here else dataset.metadata.get(keys.LABEL_MAP)
    labels, num_foreign, num_pixels = [], 0, 0
    foreign_ids: set[int] = set()
    for index, path in enumerate(files):
        if path is None:
            labels.append(dataset.without_label(index))
            continue
        if path.suffix in PROBABILITY_SUFFIXES:
            ids = dataset.fit_ids(read_most_likely_ids(path, dataset.taxonomy), path, index)
        else:
            ids = dataset.read_ids(path, index)
            ids = ids if label_map is None else label_map.apply(ids, str(path))
            ids = ids if exported is None else exported.apply(ids, str(path))
        is_foreign = _is_foreign(ids, dataset.taxonomy)
        num_foreign, num_pixels = num_foreign + int(is_foreign.sum()), num_pixels + ids.size
        foreign_ids |= set(np.unique(ids[is_foreign]).tolist())
        labels.append(dataset.taxonomy.encode(np.where(is_foreign, dataset.taxonomy.void_source_id, ids), str(path)))
    if not any((image != VOID).any() for image in labels):
        raise SceneError(
            f"Expected a labelled pixel in the label images of {folder}, found none with a class of the scene; check "
            "the ids, or choose another folder."
        )
    num_files = sum(path is not None for path in files)
    foreign = f"{num_foreign / num_pixels:.1%} of their pixels are void for a class that the scene's labels do not hold"
    names = [] if exported is None else exported.names_of(foreign_ids)
    named = f": {', '.join(names)}" if names else ""
    announce("training labels", f"{folder}, for {num_files} of {len(files)} frames; {foreign}{named}")
    return labels


def _is_foreign(ids: Int64[ndarray, "height width"], taxonomy: Taxonomy) -> ndarray:
    return ~np.isin(ids, [*taxonomy.source_ids, *taxonomy.void_source_ids])


def find_label_folder(name: str, dataset: SemanticDataset, scene_folder: Path) -> Path:
    """The folder that `read_label_folder` would read.

    Raises:
        SceneError: if there is none.
    """
    label_folder = (scene_folder / dataset.metadata[keys.LABEL_EXPORT_NAMES][0]).parent
    places = [label_folder.parent, scene_folder]
    candidates = [place / name for place in dict.fromkeys(places)]  # an absolute name stays itself
    for folder in candidates:
        if folder.is_dir():
            return folder
    looked_at = " or ".join(str(folder) for folder in dict.fromkeys(candidates))
    raise SceneError(
        f"Expected a folder of label images for --pipeline.datamanager.train-labels {name}, found none at {looked_at}; "
        "give its name beside the scene's label folder, or its absolute path."
    )


def files_of_frames(
    folder: Path,
    names: Sequence[str],
    label_stems: Sequence[str],
    by_number: bool,
    scene_names: Sequence[str] | None = None,
    needs_any: bool = True,
) -> list[Path | None]:
    """The label image of each frame in a folder, or its probabilities if no file there is a label image; None: neither.

    Args:
        folder: where to look.
        names: names of the frames.
        label_stems: file names, without suffix, of the frames' label images in the scene.
        by_number: whether a file may also be that of the frame whose name ends with the same number.
        scene_names: names that no two frames of the scene share, which go before the others; by default `names`.
        needs_any: whether there must be one for some frame.

    Raises:
        SceneError: if there is none for any frame but must be, two for one or one for two.
    """
    by_stem: dict[str, Path] = {}
    numbered: dict[int | None, list[Path]] = {}
    paths = sorted(folder.iterdir())
    # Beside label images, arrays may be anything: confidences, features.
    images = [path for path in paths if path.suffix.lower() in _IMAGE_SUFFIXES]
    for path in images or [path for path in paths if path.suffix in PROBABILITY_SUFFIXES]:
        by_stem[path.stem] = path
        numbered.setdefault(frame_number(path.stem), []).append(path)
    found: list[Path | None] = []
    for unique, name, stem in zip(scene_names or names, names, label_stems, strict=True):
        number = frame_number(stem)
        candidates = [by_stem[word] for word in (unique, name, stem) if word in by_stem]
        if not candidates and by_number and number is not None:
            candidates = numbered.get(number, [])
            if len(candidates) > 1:
                raise SceneError(
                    f"Expected one label image of frame {name} in {folder}, found {candidates[0].name} and "
                    f"{candidates[1].name}; name it {stem}.png."
                )
        path = candidates[0] if candidates else None
        if path is not None and path in found:
            raise SceneError(
                f"Expected a label image of each frame in {folder}, found {path.name} for the frames "
                f"{names[found.index(path)]} and {name}; name the images after the frames."
            )
        found.append(path)
    if needs_any and not any(found):
        first = " or ".join(dict.fromkeys((f"{label_stems[0]}.png", f"{names[0]}.png")))
        raise SceneError(
            f"Expected label images such as {first} in {folder}, found none for any of "
            f"the {len(names)} training frames; rename them, or choose another folder."
        )
    return found


def _holds_taxonomy_ids(folder: Path, taxonomy: Taxonomy) -> bool:
    """Whether the folder was written here, for these classes; others have the ids of the scene's label images."""
    path = next((folder / name for name in (PARAMETERS_FILE, "fusion.json") if (folder / name).is_file()), None)
    if path is None:
        return False
    content = read_json(path)
    classes = content.get("classes") if isinstance(content, dict) else None
    if classes != _classes(taxonomy):
        raise SceneError(
            f"Expected labels of the {taxonomy.num_classes} classes of the scene in {folder}, found other classes in "
            f"{path}; choose labels that were written for this scene and label space."
        )
    return True


def _classes(taxonomy: Taxonomy) -> dict[str, str]:
    return {str(number): name for number, name in zip(taxonomy.source_ids, taxonomy.names, strict=True)}


@dataclass(frozen=True)
class LabelSource:
    """What the training labels were made from and how, for the record."""

    train_labels: str | None
    corruption: CorruptionConfig

    @property
    def is_scene(self) -> bool:
        """Whether training sees the scene's own labels as they are."""
        return self.train_labels is None and self.corruption.is_clean


def write_label_folder(folder: Path, dataset: SemanticDataset, labels: Sequence[_Image], source: LabelSource) -> None:
    """Write labels as 16 bit PNG images of source ids `<frame>.png`, which `read_label_folder` gives back unchanged.

    They lie on the images as they are stored. Where the images of the data set are undistorted, what these do not show
    is void, and outlines may come back a pixel off. Frames without a label have no file. All parameters go to
    `corruption.json`.

    Raises:
        SceneError: if the folder cannot be written.
    """
    taxonomy = dataset.taxonomy
    with write_errors_as_scene_error(folder):
        for index, (name, image) in enumerate(zip(frame_names(dataset), labels, strict=True)):
            path = folder / f"{name}.png"
            if (image != VOID).any():
                stored = dataset.as_stored(image, index, VOID)
                write_png(path, taxonomy.decode(stored).astype(np.uint16))
            else:
                path.unlink(missing_ok=True)  # of an earlier start of the run with other options
        content: dict[str, Any] = {**asdict(source), "classes": _classes(taxonomy), "void_id": taxonomy.void_source_id}
        write_json(folder / PARAMETERS_FILE, json.loads(json.dumps(content)))


class TrainingLabels(Sequence[_Image]):
    """What training sees of the labels of its images: a sequence of classes [H, W] int16, -1..C-1, one for each image.

    There are three layers. `SemanticDataset.labels_of` holds what batches are made of. `by_options` is what the options
    make of the scene: its own labels or those of another folder, then corrupted. This sequence is `by_options` until
    `reveal` puts other labels in their place, which the data set then holds as well.

    Args:
        dataset: The training images.
        source: Where labels come from and how they are corrupted.
        scene_folder: The folder of the scene, beside which a folder of labels may lie.
        starts_void: Whether training sees no label before `reveal` is called. No label file is read then.
    """

    def __init__(
        self, dataset: SemanticDataset, source: LabelSource, scene_folder: Path, starts_void: bool = False
    ) -> None:
        self.dataset, self.source = dataset, source
        self._scene_folder = scene_folder
        self._revealed: Sequence[_Image] | None = None
        if starts_void:
            self.reveal([dataset.without_label(index) for index in range(len(dataset))])

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> _Image: ...

    @overload
    def __getitem__(self, index: slice) -> _Labels: ...

    def __getitem__(self, index: int | slice) -> _Image | _Labels:
        """Labels of an image, or of some.

        Raises:
            SceneError: See `read_label_folder` and `corrupt_labels`.
        """
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        index = range(len(self))[index]
        if self._revealed is not None:
            return self._revealed[index]
        return self._labels_of_scene(index) if self.source.is_scene else self.by_options[index]

    @cached_property
    def by_options(self) -> _Labels:
        """Labels of all images, replaced and corrupted as the options say, whatever training sees of them.

        Raises:
            SceneError: See `read_label_folder` and `corrupt_labels`.
        """
        if self.source.train_labels is not None:
            labels = read_label_folder(self.source.train_labels, self.dataset, self._scene_folder)
        else:
            labels = [self._labels_of_scene(index) for index in range(len(self))]
        corruption = self.source.corruption
        return labels if corruption.is_clean else corrupted_labels(self.dataset, labels, corruption)

    def _labels_of_scene(self, index: int) -> _Image:
        # Kept by the data set unless it holds, or is to hold, others.
        keeps = self.source.is_scene and self._revealed is None
        return self.dataset.labels_of(index) if keeps else self.dataset.read_labels(index)

    @cached_property
    def are_complete(self) -> bool:
        """Whether there are labels nearly everywhere, see `are_complete`; judged once, of 64 images at most."""
        return are_complete(self._judged())

    @cached_property
    def are_consistent(self) -> bool:
        """Whether single labels can be trusted, see `are_consistent`; judged once, of 64 images at most."""
        return are_consistent(self._judged())

    def _judged(self) -> Iterator[_Image]:
        frames = evenly_spaced(min(_MOST_FRAMES, len(self)), len(self))
        return (self[int(frame)] for frame in frames)

    @property
    def are_changed_by_options(self) -> bool:
        """Whether training sees labels that options made of the scene's; revealed ones are no such labels."""
        return self._revealed is None and not self.source.is_scene

    def load(self) -> None:
        """Let the data set hold these labels, for batches to be made of; before, it holds the scene's or revealed ones.

        Raises:
            SceneError: See `read_label_folder` and `corrupt_labels`.
        """
        if self.are_changed_by_options:
            self.dataset.replace_labels(self.by_options)

    def reveal(self, labels: Sequence[_Image]) -> None:
        """Let training see other labels from now on.

        Args:
            labels: Classes of all images, void where nothing is known. They are not copied: whoever changes them in
                place changes what is seen here and what the data set holds.
        """
        self._revealed = labels
        self.dataset.replace_labels(labels)

    def write(self, folder: Path) -> None:
        """Write these labels and what they were made from, see `write_label_folder`.

        The absolute path of the folder is a value of `train_labels`, which gives these labels again.

        Raises:
            SceneError: If the folder cannot be written.
        """
        write_label_folder(folder, self.dataset, self, self.source)
