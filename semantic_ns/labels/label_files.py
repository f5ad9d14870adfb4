"""The content of label images and of the table of classes beside them, as this package writes them."""

from typing import Any

import numpy as np
from numpy import ndarray

from semantic_ns.labels.taxonomy import Taxonomy

CLASSES_FILE = "classes.json"
"""The table of classes beside label images."""
_MAX_UINT8 = 255


def label_image(labels: ndarray, taxonomy: Taxonomy) -> ndarray:
    """Classes -1..C-1 [H, W] as source ids: uint8, or uint16 where the scene has an id above 255."""
    largest = max((*taxonomy.source_ids, taxonomy.void_source_id))
    return taxonomy.decode(labels).astype(np.uint8 if largest <= _MAX_UINT8 else np.uint16)


def class_table(taxonomy: Taxonomy) -> dict[str, Any]:
    """The classes as classes.json holds them: id of void, and of each class id, name, colour and kind."""
    classes = zip(taxonomy.source_ids, taxonomy.names, taxonomy.colors, taxonomy.is_thing, strict=True)
    return {
        "void_id": taxonomy.void_source_id,
        "classes": [
            {"id": source_id, "name": name, "color": list(color), "is_thing": is_thing}
            for source_id, name, color, is_thing in classes
        ],
    }
