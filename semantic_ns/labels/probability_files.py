"""Class probabilities of an image in a NumPy file.

``.npy`` holds probabilities [H, W, C] of the scene's classes by ascending id. ``.npz`` holds ``probabilities``
[H, W, C] and ``ids`` [C] of classes, which may be others than those of the scene.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.images import told_as_scene_error
from semantic_ns.labels.class_table import MAX_ID
from semantic_ns.labels.taxonomy import Taxonomy

PROBABILITY_SUFFIXES = (".npy", ".npz")
_SUM_TOLERANCE = 0.02


def read_probability_ids(path: Path, taxonomy: Taxonomy) -> Int64[ndarray, "classes"]:
    """The id of each channel of probabilities.

    Raises:
        SceneError: if an `.npz` file does not say them, or says what cannot be.
    """
    if path.suffix == ".npy":
        return np.array(taxonomy.source_ids, np.int64)
    with told_as_scene_error(path, "probability file"), np.load(path, allow_pickle=False) as arrays:
        names = sorted(arrays)
        ids = arrays["ids"] if names == ["ids", "probabilities"] else np.zeros(0)
    is_good = ids.ndim == 1 and ids.dtype.kind in "iu" and len(ids) == len(np.unique(ids)) > 0
    if not is_good or set(ids.tolist()) & set(taxonomy.void_source_ids) or ids.min() < 0 or ids.max() > MAX_ID:
        raise SceneError(
            f"Expected the arrays 'probabilities' and 'ids' (one class id per channel, each once, none of them void) "
            f"in {path}, found {', '.join(names)} with ids {ids.tolist()}; save them so."
        )
    return ids.astype(np.int64)


def read_probabilities(
    path: Path, taxonomy: Taxonomy
) -> tuple[Int64[ndarray, "classes"], Float32[ndarray, "height width classes"]]:
    """Ids of the channels, and the probabilities; all 0 where nothing is predicted.

    Raises:
        SceneError: if the file cannot be read, or does not hold distributions.
    """
    ids = read_probability_ids(path, taxonomy)
    with told_as_scene_error(path, "probability file"):
        loaded = np.load(path, allow_pickle=False)
        values = loaded if isinstance(loaded, np.ndarray) else loaded["probabilities"]
    if values.ndim != 3 or values.shape[-1] != len(ids) or values.dtype.kind != "f":
        raise SceneError(
            f"Expected probabilities [height, width, {len(ids)}] as floats in {path}, found {values.dtype} "
            f"{values.shape}; save one channel per class by ascending id, or an .npz with ids."
        )
    probabilities = values.astype(np.float32)
    total = probabilities.sum(axis=-1)
    is_distribution = (np.abs(total - 1) < _SUM_TOLERANCE) & (probabilities >= 0).all(axis=-1)
    if not (is_distribution | (total == 0)).all():
        raise SceneError(
            f"Expected probabilities of sum 1 (or all 0 where there is no prediction) in {path}, found sums "
            f"{total.min():.3g} to {total.max():.3g} and a least value of {probabilities.min():.3g}; apply the "
            "soft-max before saving."
        )
    return ids, probabilities


def read_most_likely_ids(path: Path, taxonomy: Taxonomy) -> Int64[ndarray, "height width"]:
    """The id of the most likely class of each pixel (the first of equals), void's where nothing is predicted.

    Raises:
        SceneError: see `read_probabilities`.
    """
    ids, probabilities = read_probabilities(path, taxonomy)
    return np.where(probabilities.any(axis=-1), ids[probabilities.argmax(axis=-1)], taxonomy.void_source_id)
