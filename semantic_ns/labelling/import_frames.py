"""Imported labels of a scene to which frames were added, or from which some were removed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semantic_ns.errors import SceneError
from semantic_ns.labelling.imports import NO_LABEL, ImportedLabels, kept_import
from semantic_ns.labelling.packed_labels import PackedLabels


def reframed(folder: Path, checksum: str, order: Sequence[int]) -> str:
    """Keep imported labels for other frames as well.

    Args:
        folder: The folder of the session.
        checksum: That of the labels.
        order: For each frame the place of its image among those that are kept, -1 for a frame without labels.

    Returns:
        The checksum of those for the other frames.

    Raises:
        SceneError: if they cannot be written. Where they are gone or damaged, `checksum` comes back: whoever needs them
            is told.
    """
    try:
        kept = kept_import(folder, checksum)
    except SceneError:
        return checksum
    _, height, width = kept.images.shape
    (unlabelled,) = PackedLabels.of([np.full((height, width), NO_LABEL, np.int16)], height, width).packed
    packed = tuple(unlabelled if image < 0 else kept.images.packed[image] for image in order)
    found = ImportedLabels(kept.name, PackedLabels(height, width, packed), kept.classes)
    try:
        kept_import(folder, found.checksum)  # of an earlier start
    except SceneError:
        found.keep(folder)
    return found.checksum
