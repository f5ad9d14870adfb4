"""Imported labels of a scene to which frames were added, or from which some were removed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semantic_ns.errors import SceneError
from semantic_ns.labelling.imports import NO_LABEL, ImportedLabels, kept_import


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
    ids = np.full((len(order), *kept.ids.shape[1:]), NO_LABEL, np.int16)
    for place, image in enumerate(order):
        if image >= 0:
            ids[place] = kept.ids[image]
    found = ImportedLabels(kept.name, ids, kept.classes)
    try:
        kept_import(folder, found.checksum)  # of an earlier start
    except SceneError:
        found.keep(folder)
    return found.checksum
