"""2D predictions in files: label images, or class probabilities as NumPy arrays.

A folder holds one file per frame under the stem of the frame's label image or of its colour image. ``.png`` holds ids
that mean what those of the scene's label images mean; void abstains. ``.npy`` holds probabilities [H, W, C] of the
scene's classes by ascending id. ``.npz`` holds ``probabilities`` [H, W, C] and ``ids`` [C] of classes. A network may
know classes that the scene does not have: their ids take part like all others.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.fusion.label_fusion import PixelDistributions, label_votes, soft_votes
from semantic_ns.fusion.views import SceneViews
from semantic_ns.io.images import read_label_image
from semantic_ns.labels.class_table import MAX_ID
from semantic_ns.labels.probability_files import PROBABILITY_SUFFIXES, read_probabilities, read_probability_ids
from semantic_ns.labels.taxonomy import VOID, Taxonomy, enumerate_ids

_SUFFIXES = (".png", *PROBABILITY_SUFFIXES)


@dataclass(frozen=True)
class Predictions:
    """The predictions for some views.

    Attributes:
        files: file of each view; None where there is none, so that all its pixels abstain.
        taxonomy: the classes of the scene and of the predictions.
        scene: the views.
        confidence: probability of the label where there are only labels.
    """

    files: tuple[Path | None, ...]
    taxonomy: Taxonomy
    scene: SceneViews
    confidence: float

    def votes(self, index: int) -> PixelDistributions:
        """The votes of a view; files are of the image as it was taken, with the distortion of its lens.

        Raises:
            SceneError: on a damaged file, or one of another shape than its view.
        """
        path, view = self.files[index], self.scene.views[index]
        size = view.size
        num_classes = self.taxonomy.num_classes
        if path is None:
            return label_votes(np.full(size, VOID), num_classes, self.confidence)
        if path.suffix == ".png":
            label_ids = _read_labels(path, self.scene)
            _require_size(label_ids.shape, size, path)
            labels = view.dataset.undistorted(self.taxonomy.encode(label_ids, str(path)), view.index)
            return label_votes(labels, num_classes, self.confidence)
        ids, given = read_probabilities(path, self.scene.taxonomy)
        _require_size(given.shape[:2], size, path)
        classes = self.taxonomy.encode(ids, str(path))
        probabilities = np.zeros((*size, num_classes), np.float32)
        probabilities[..., classes] = given
        return soft_votes(view.dataset.undistorted(probabilities, view.index))


def find_predictions(folder: Path, scene: SceneViews, confidence: float) -> Predictions:
    """Match the files of a folder with views, and fix the classes.

    Raises:
        SceneError: if a view has several files, no view has one, or a file cannot be read.
    """
    if not folder.is_dir():
        raise SceneError(f"Expected a folder of predictions at {folder}, found none; check --labels.")
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in _SUFFIXES:
            by_stem.setdefault(path.stem, []).append(path)
    num_of_stem = Counter(view.image.stem for view in scene.views)
    words = [
        (view.label_stem, view.image.stem) if num_of_stem[view.image.stem] == 1 else (view.label_stem,)
        for view in scene.views
    ]
    files = tuple(_file_of(stems, by_stem) for stems in words)
    found = [path for path in files if path is not None]
    if not found:
        remedy = "rename the files"
        if any(number > 1 for number in num_of_stem.values()):
            remedy += ", or take one sequence at a time, with --data <its folder>"
        raise SceneError(
            f"Expected a prediction for each frame in {folder}, such as {scene.views[0].label_stem}.png, .npy or "
            f".npz, found none that has the name of a frame ({len(by_stem)} others); {remedy}."
        )
    ids = frozenset().union(*(_ids_in(path, scene) for path in found))
    taxonomy = _extended(scene.taxonomy, ids)
    if not (1 / taxonomy.num_classes < confidence <= 1 or taxonomy.num_classes == 1):
        raise SceneError(
            f"Expected a confidence above 1 / {taxonomy.num_classes} (by chance) and at most 1, found {confidence}; "
            "change --confidence."
        )
    return Predictions(files, taxonomy, scene, confidence)


def _file_of(stems: tuple[str, ...], by_stem: dict[str, list[Path]]) -> Path | None:
    for stem in stems:
        paths = by_stem.get(stem, [])
        if len(paths) > 1:
            raise SceneError(
                f"Expected one prediction for each frame, found {' and '.join(str(path) for path in paths)}; keep one."
            )
        if paths:
            return paths[0]
    return None


def _ids_in(path: Path, scene: SceneViews) -> frozenset[int]:
    """The ids of classes in a prediction."""
    if path.suffix == ".png":
        ids = np.unique(_read_labels(path, scene))
        return frozenset(ids.tolist()) - frozenset(scene.taxonomy.void_source_ids)
    return frozenset(read_probability_ids(path, scene.taxonomy).tolist())


def _read_labels(path: Path, scene: SceneViews) -> Int64[ndarray, "rows columns"]:
    """A label image in the ids of classes."""
    raw = read_label_image(path)
    return raw if scene.label_map is None else scene.label_map.apply(raw, str(path))


def _require_size(found: tuple[int, ...], expected: tuple[int, int], path: Path) -> None:
    if tuple(found) != expected:
        raise SceneError(
            f"Expected a prediction of {expected[1]}x{expected[0]} like its frame at {path}, found "
            f"{found[1]}x{found[0]}; resize it (labels with nearest neighbours)."
        )


def _extended(taxonomy: Taxonomy, ids: frozenset[int]) -> Taxonomy:
    """The taxonomy with further ids, whose names are not known."""
    if any(not 0 <= number <= MAX_ID for number in ids):
        raise SceneError(
            f"Expected ids of 0 to {MAX_ID} in the predictions, found {enumerate_ids(ids)}; save class ids."
        )
    known = {
        number: (name, color, is_thing)
        for number, name, color, is_thing in zip(
            taxonomy.source_ids, taxonomy.names, taxonomy.colors, taxonomy.is_thing, strict=True
        )
    }
    every = sorted(ids | known.keys())
    described = [known.get(number, (f"id {number}", (0, 0, 0), False)) for number in every]
    return Taxonomy(
        source_ids=tuple(every),
        names=tuple(name for name, _, _ in described),
        colors=tuple(color for _, color, _ in described),
        is_thing=tuple(is_thing for _, _, is_thing in described),
        void_source_id=taxonomy.void_source_id,
        void_source_ids=taxonomy.void_source_ids,
    )
