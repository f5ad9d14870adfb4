"""Copies of a scene in nerfstudio's format whose label images mean something else than they say."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from support.broken_scenes import Change, edit

_ORIENTATION = 0x0112
ImageChange = Callable[[Image.Image], Image.Image]


def each_label(change: ImageChange, every: int = 1) -> Change:
    """Change the label image of every so many frames."""

    def apply(folder: Path) -> None:
        for path in sorted((folder / "semantics").iterdir())[::every]:
            change(Image.open(path)).save(path)

    return apply


def shown_turned(orientation: int, every: int = 1) -> Change:
    """Photos with an EXIF orientation, and labels that were drawn on what a viewer shows of them."""

    def apply(folder: Path) -> None:
        for path in sorted((folder / "images").iterdir())[::every]:
            image = Image.open(path)
            exif = image.getexif()
            exif[_ORIENTATION] = orientation
            image.save(path, exif=exif)
            label_path = folder / "semantics" / path.name
            label = Image.open(label_path)
            label.getexif()[_ORIENTATION] = orientation
            ImageOps.exif_transpose(label).save(label_path)

    return apply


def enlarged(method: Image.Resampling) -> Change:
    return each_label(lambda image: image.resize((2 * image.width, 2 * image.height), method))


def through_jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.convert("L").save(file, "JPEG", quality=75)
    return Image.open(file)


def mask(image: Image.Image) -> Image.Image:
    """255 where the last class is, else 0."""
    ids = np.asarray(image)
    return Image.fromarray((ids == ids.max()).astype(np.uint8) * 255)


def smooth_mask(image: Image.Image) -> Image.Image:
    return mask(image).resize((2 * image.width, 2 * image.height), Image.Resampling.BILINEAR)


def classes(*names: str) -> Change:
    def change(content: dict) -> None:
        content["semantic_classes"] = list(names)
        del content["semantic_void_id"]

    return edit(change)


def named(number: int, name: str) -> Change:
    return edit(lambda content: content["semantic_classes"][number].update(name=name))


def all_of(*changes: Change) -> Change:
    def apply(folder: Path) -> None:
        for change in changes:
            change(folder)

    return apply


_INTERPOLATED = r"Likely mistake: interpolated label images\."
MISLABELLED: dict[str, tuple[Change, str]] = {
    "labels of photos that viewers turn by 180 degrees": (
        shown_turned(3),
        r"Likely mistake: label images of turned pictures\.",
    ),
    "labels of photos a third of which viewers turn": (
        shown_turned(3, every=3),
        r"Likely mistake: label images of turned pictures\.",
    ),
    "labels of photos that viewers mirror": (shown_turned(2), r"Likely mistake: label images of turned pictures\."),
    "labels of photos that viewers show upright in portrait": (
        shown_turned(6),
        r"found 48x64; it may be that of the picture as its EXIF orientation turns it",
    ),
    "labels upside down": (
        each_label(lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)),
        r"Likely mistake: label images flipped upside down\.",
    ),
    "mirrored labels": (
        each_label(lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        r"Likely mistake: label images mirrored\.",
    ),
    "labels enlarged with linear interpolation": (enlarged(Image.Resampling.BILINEAR), _INTERPOLATED),
    "labels enlarged with cubic interpolation": (enlarged(Image.Resampling.BICUBIC), _INTERPOLATED),
    "labels that were a JPEG": (each_label(through_jpeg), _INTERPOLATED),
    "masks with smooth edges": (all_of(each_label(smooth_mask), classes("background", "fruit")), _INTERPOLATED),
    "masks of 0 and 255 for three classes": (
        all_of(each_label(mask), classes("background", "fruit", "leaf")),
        r"Expected two classes in .* for masks that hold 0 and 255 alone, found 3",
    ),
    "masks of 0 and 255 for two classes": (
        all_of(each_label(mask), classes("background", "fruit")),
        r"Masks of 0 and 255 are read as background and fruit\.",
    ),
    "two classes that differ in case": (
        named(1, "Wall"),
        r"found 'Wall' for id 20 and 'wall' for id 93, which differ in case; rename one of them\.",
    ),
    "a class that is called unlabeled": (named(1, "unlabeled"), r"The class unlabeled of .* is void\."),
    "ids from 1 of a list from 0 whose last class is absent": (
        all_of(
            each_label(lambda image: Image.fromarray(np.where(np.asarray(image) == 93, 2, 1).astype(np.uint8))),
            classes("wall", "floor", "lamp"),
        ),
        r"Likely mistake: label ids off by one\.",
    ),
}
"""What was done, and what is to be said of it."""
