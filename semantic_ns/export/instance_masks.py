"""Masks of single frames that the user gives: images of ids, named like the frames.

Cityscapes' images of ids of instances serve, too, in whatever folder: `NAME_gtFine_instanceIds.png`, of which things
that are told apart are masks. They belong to the upright picture, and other masks to the stored pixels.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from semantic_ns.datasets.training_labels import names_of_images
from semantic_ns.errors import SceneError
from semantic_ns.io.images import read_label_image
from semantic_ns.io.orientation import UPRIGHT, exif_orientation, to_stored
from semantic_ns.labels.instance_ids import INSTANCE_IDS, things_of

LARGEST_ID = 65535
"""Largest id of an image of ids: they have 16 bits."""


@dataclass(frozen=True)
class MaskNames:
    """Where the mask image of a frame may lie in the folder of masks.

    Attributes:
        paths: Paths in the folder that are this frame's alone, first the one that `sns-export instances` writes.
        words: File names without suffix that other frames may have as well.
        image: The image of the frame.
    """

    paths: tuple[PurePosixPath, ...]
    words: tuple[str, ...] = ()
    image: Path | None = None

    @property
    def all(self) -> list[PurePosixPath]:
        """Every path, each once, in the order in which they are looked for."""
        return list(dict.fromkeys([*self.paths, *(PurePosixPath(f"{word}.png") for word in self.words)]))

    @property
    def of_cityscapes(self) -> list[str]:
        """File names of Cityscapes' ids of instances, in whatever folder."""
        whole = ["_".join(path.with_suffix("").parts) for path in self.paths]
        stems = list(dict.fromkeys([*whole, *self.words, *(path.stem for path in self.paths)]))
        return [f"{stem}{INSTANCE_IDS}.png" for stem in stems]

    def may_be(self, path: PurePosixPath) -> bool:
        """Whether a path in the folder may be of this frame."""
        return path in self.all or path.name in self.of_cityscapes


def relative_paths(images: Sequence[Path]) -> list[PurePosixPath]:
    """The paths of images in the folder that holds all of them, itself or in its folders."""
    common = Path(os.path.commonpath([path.parent for path in images])) if images else Path()
    return [PurePosixPath(path.relative_to(common).as_posix()) for path in images]


def mask_names(
    images: Sequence[Path], paths: Sequence[PurePosixPath], written: Sequence[PurePosixPath]
) -> list[MaskNames]:
    """Where the mask images of frames may lie.

    Args:
        images: The image of each frame.
        paths: Its path in the folder of all images.
        written: The path of the PNG that `sns-export instances` writes of it.
    """
    own = [(export, path.with_suffix(".png")) for export, path in zip(written, paths, strict=True)]
    taken = {path for pair in own for path in pair}
    names = zip(own, names_of_images(images), images, strict=True)
    return [
        MaskNames(pair, tuple(word for word in (name, image.stem) if PurePosixPath(f"{word}.png") not in taken), image)
        for pair, name, image in names
    ]


def read_masks(
    folder: Path, names: Sequence[MaskNames], sizes: Sequence[tuple[int, int]]
) -> list[Int32[ndarray, "_height _width"] | None]:
    """The mask image of each frame, None for a frame without one.

    Args:
        folder: Folder of PNGs, in which 0 is no mask.
        names: Where the mask image of each frame may lie, see `mask_names`.
        sizes: Height and width of each frame.

    Raises:
        SceneError: if the folder has no PNG, none of its files belongs to a frame, one may belong to several frames or
            is there twice, or one has another size than its frame or several channels.
    """
    files = {PurePosixPath(path.relative_to(folder).as_posix()) for path in folder.rglob("*.png")}
    if not files:
        raise SceneError(
            f"Expected PNG images of mask ids in {folder}, found none; name each like the image of its frame, or leave "
            "--masks out."
        )
    by_name: dict[str, PurePosixPath] = {}
    for path in sorted(path for path in files if path.stem.endswith(INSTANCE_IDS)):
        if (other := by_name.setdefault(path.name, path)) != path:
            raise SceneError(f"Expected {path.name} once in {folder}, found {other} and {path}; move one of them away.")
    chosen = [
        next((path for path in frame.all if path in files), None)
        or next((by_name[name] for name in frame.of_cityscapes if name in by_name), None)
        for frame in names
    ]
    if not any(chosen):
        expected = " or ".join(str(path) for path in names[0].all)
        raise SceneError(
            f"Expected masks named like the frames, such as {expected}, found {min(files)} in {folder}; rename the "
            "masks."
        )
    _refuse_shared(folder, names, {path for path in chosen if path is not None})
    return [
        None if path is None else _read(folder / path, size, frame.image)
        for path, size, frame in zip(chosen, sizes, names, strict=True)
    ]


def _refuse_shared(folder: Path, names: Sequence[MaskNames], used: set[PurePosixPath]) -> None:
    for path in sorted(used):
        owners = [frame for frame in names if frame.may_be(path)]
        if len(owners) > 1:
            first, second = (frame.paths[-1] for frame in owners[:2])
            raise SceneError(
                f"Expected a mask image of each frame in {folder}, found that {path} may belong to {first} and to "
                f"{second}; name the masks {first} and {second}."
            )


def _read(path: Path, size: tuple[int, int], image: Path | None) -> Int32[ndarray, "height width"]:
    ids = read_label_image(path)
    if path.stem.endswith(INSTANCE_IDS):
        ids = to_stored(things_of(ids), UPRIGHT if image is None else exif_orientation(image))
    if ids.shape != size:
        raise SceneError(
            f"Expected {size[1]}x{size[0]} pixels as its frame has in {path}, found {ids.shape[1]}x{ids.shape[0]}; "
            "make the masks on the images of the scene itself."
        )
    return ids.astype(np.int32)
