"""Masks of single things in COCO files: of each image an id for each annotation, whatever its category."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from semantic_ns.annotations.coco import shape_images
from semantic_ns.annotations.matching import Matches, match_images
from semantic_ns.annotations.placement import draw_for_frame
from semantic_ns.annotations.records import entry_of
from semantic_ns.annotations.shapes import paint
from semantic_ns.annotations.types import AnnotatedImage, Notes
from semantic_ns.dataparsers.scene import FrameFiles
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.text import read_json

_THING = "thing"


def read_coco_masks(
    path: Path, images: Sequence[Path], names: Sequence[str], are_stored: bool = False
) -> list[Int32[ndarray, "_height _width"] | None]:
    """The masks of frames, an id for each annotation of the frame; 0 is no mask, and None a frame without annotations.

    Where annotations overlap, as those of Segment Anything do, the one that covers fewer pixels wins. Images belong to
    frames by their paths or, where no path is that of a frame, by their names, see `match_images`; annotations belong
    to the upright picture, see `draw_for_frame`. Categories are not read: there may be none.

    Args:
        path: A JSON file of COCO's format of instances.
        images: The image file of each frame.
        names: Its path in the folder of all images, with `/`.
        are_stored: Whether annotations were made on the stored pixels, whatever EXIF says.

    Raises:
        SceneError: if the file cannot be understood, or no frame has an annotation.
    """
    notes = Notes()
    content: Any = read_json(path)
    annotations = entry_of(content, "annotations", list, str(path))
    named = [{**one, "category_id": _THING} if isinstance(one, dict) else one for one in annotations]
    found = shape_images({**content, "annotations": named}, path, {_THING: _THING}, notes)
    masked = [
        AnnotatedImage(
            image.name,
            image.where,
            partial(paint, image, range(len(image.shapes)), True),
            lambda size=image.size: size,
        )
        for image in found.values()
        if image.shapes
    ]
    if not masked:
        raise SceneError(
            f"Expected annotations with a segmentation in {path}, found none for {len(found)} images; leave --masks "
            "out, or give another file."
        )
    matches = _matches(path, images, names, masked)
    masks: list[Int32[ndarray, "_height _width"] | None] = [None] * len(images)
    for index, image in matches.pairs:
        drawn = draw_for_frame(image, images[index], are_stored, notes)
        masks[index] = (np.maximum(drawn, -1) + 1).astype(np.int32)
    matches.note_how(notes)
    for line in (*notes.lines(), *matches.lines_on_others()):
        announce("masks", line)
    return masks


def _matches(path: Path, images: Sequence[Path], names: Sequence[str], masked: Sequence[AnnotatedImage]) -> Matches:
    frame_of = {name: number for number, name in enumerate(names)}
    pairs = tuple((frame_of[image.name], image) for image in masked if image.name in frame_of)
    if pairs:
        return Matches(pairs, tuple(image.name for image in masked if image.name not in frame_of), ())
    frames = [FrameFiles(image, None, None, f"{image.stem}.png") for image in images]
    return match_images(frames, masked, path)
