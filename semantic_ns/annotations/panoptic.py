"""Annotations of COCO's panoptic task: PNGs of segment ids, and a JSON file that says the category of each segment.

The id of a pixel is red + 256 green + 65536 blue, and 0 is no segment. The PNGs lie beside the JSON file or in a folder
below; their names are the `file_name` of the annotations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from PIL import Image

from semantic_ns.annotations.folder import files_in
from semantic_ns.annotations.mask_files import mask_size, open_mask
from semantic_ns.annotations.pixel_values import classes_of_values
from semantic_ns.annotations.records import entry_of, id_of, in_short, whole_number_of
from semantic_ns.annotations.types import (
    UNLABELLED,
    AnnotatedImage,
    Annotations,
    ClassNames,
    Notes,
    table_from_annotations,
)
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable

_MAX_SEGMENT = 2**24


@dataclass(frozen=True)
class PanopticFolder:
    """The folder in which the PNGs of segments are, in whatever subfolder."""

    root: Path

    def find(self, json_file: Path, name: str, where: str) -> Path:
        """The PNG of a name.

        Raises:
            SceneError: if the name leads out of the folder, or there is no such file or more than one.
        """
        relative = PurePosixPath(name.replace("\\", "/"))
        if relative.is_absolute() or ".." in relative.parts or not name.isprintable():
            raise SceneError(
                f"Expected a file name inside the annotations' folder as file_name of {where}, found {in_short(name)}; "
                "correct it."
            )
        # Exporters name the folder of the PNGs after the JSON file.
        likely = json_file.parent / json_file.stem / relative
        if likely.is_file():
            return likely
        found = [path for path in files_in(self.root, (".png",)) if path.name == relative.name]
        beside = [path for path in found if "panoptic" in path.parent.as_posix().lower()]
        if len(found) != 1 and len(beside) == 1:
            return beside[0]
        if len(found) != 1:
            raise SceneError(
                f"Expected one image of segments {in_short(name)} in {self.root} for {where}, found {len(found)}; put "
                "it beside the JSON file."
            )
        return found[0]


def read_panoptic(
    files: Sequence[tuple[Path, Any, Mapping[str, str]]],
    folder: PanopticFolder,
    classes: Sequence[Mapping[str, Any]],
    table: ClassTable | None,
    source: str,
    notes: Notes,
) -> Annotations:
    """Read panoptic annotations.

    Args:
        files: path, content and names of the categories by id, of each JSON file.
        folder: where the PNGs are.
        classes: categories of all files, as for `table_from_annotations`.
        table: class table that the user gave, if any.
        source: name of the annotations, for errors.
        notes: notes, to which what was left out is added.

    Raises:
        SceneError: if a record cannot be understood or an image of segments is missing; on reading an image, if it
            has a segment that is not listed.
    """
    used = table or table_from_annotations([dict(entry) for entry in classes], source, notes)
    names = ClassNames(used, notes)
    images = []
    for path, content, categories in files:
        image_names = _image_names(content, path)
        for position, record in enumerate(entry_of(content, "annotations", list, str(path))):
            where = f"annotation number {position} of {path}"
            number = id_of(record, "image_id", where)
            if number not in image_names:
                raise SceneError(
                    f"Expected an image of the list images in {where}, found image_id {in_short(number)}; add it."
                )
            meanings = _meanings(record, categories, names, where)
            png = folder.find(path, entry_of(record, "file_name", str, where), where)
            read, size = partial(_read, png, meanings), partial(mask_size, png)
            images.append(AnnotatedImage(image_names[number], str(png), read, size))
    return Annotations(used, tuple(images), table is not None, notes)


def _image_names(content: Any, path: Path) -> dict[str, str]:
    names = {}
    for position, image in enumerate(entry_of(content, "images", list, str(path))):
        where = f"image number {position} of {path}"
        names[id_of(image, "id", where)] = entry_of(image, "file_name", str, where)
    return names


def _meanings(record: Any, categories: Mapping[str, str], names: ClassNames, where: str) -> dict[int, int]:
    """The class of each segment id."""
    meanings = {0: UNLABELLED}
    for position, segment in enumerate(entry_of(record, "segments_info", list, where)):
        place = f"segment number {position} of {where}"
        number = whole_number_of(segment, "id", place)
        category = id_of(segment, "category_id", place)
        if not 0 < number < _MAX_SEGMENT or category not in categories:
            raise SceneError(
                f"Expected a segment id 1..{_MAX_SEGMENT - 1} and a category of the list categories in {place}, found "
                f"{number} and {in_short(category)}; correct them."
            )
        meanings[number] = names.index(categories[category], place)
    return meanings


def _read(path: Path, meanings: Mapping[int, int], size: ImageSize) -> Int64[ndarray, "height width"]:
    with open_mask(path, "image of segments") as image:
        if image.mode not in {"RGB", "RGBA"}:
            raise SceneError(
                f"Expected an image of segments in colour (RGB) at {path}, found mode {image.mode}; export it again."
            )
        channels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.NEAREST)).astype(np.int64)
    ids = channels @ np.array([1, 1 << 8, 1 << 16])
    return classes_of_values(ids, meanings, path, lambda value: f"ids of segments_info, found {value}")
