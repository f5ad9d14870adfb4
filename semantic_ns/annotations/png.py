"""Plain label images (PNG, one channel of ids) and a list of classes, which nothing but the user can give.

Pixels with a void id of the list are those that nobody annotated: the images cannot tell them from ignored ones.
"""

from functools import partial
from pathlib import Path

from jaxtyping import Int64
from numpy import ndarray

from semantic_ns.annotations.pixel_values import classes_of_values, png_files, rule_of_files
from semantic_ns.annotations.types import UNLABELLED, AnnotatedImage, Annotations
from semantic_ns.errors import SceneError
from semantic_ns.io.images import read_label_image
from semantic_ns.labels.class_table import ClassTable


def read_png(folder: Path, table: ClassTable) -> Annotations:
    """Read a folder of label images whose pixels are ids of the table.

    Raises:
        SceneError: if there is no PNG; on reading an image, if it has several channels or an id that is not in the
            table (names the pixel), or if only a person can tell what 255 means.
    """
    paths = png_files(folder)
    if not paths:
        raise SceneError(f"Expected label images (PNG) in {folder}, found none; check the path.")
    ids = sorted(entry.id for entry in table.entries)
    class_of_id = {**dict.fromkeys(table.void_ids, UNLABELLED), **{number: i for i, number in enumerate(ids)}}
    rule = rule_of_files(paths, table)
    if rule.label_map is not None:
        class_of_id |= {value: class_of_id[number] for value, number in rule.label_map.ids.items()}

    def tell(value: int) -> str:
        return f"ids of the class table {table.name}, found {value}"

    def read(path: Path) -> Int64[ndarray, "height width"]:
        return classes_of_values(read_label_image(path), class_of_id, path, tell)

    images = tuple(AnnotatedImage(path.name, str(path), partial(read, path)) for path in paths)
    return Annotations(table, images, True, () if rule.sentence is None else (rule.sentence,))
