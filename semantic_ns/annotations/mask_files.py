"""Files of masks: which of a folder are masks, and opening them within a limit of memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from semantic_ns.annotations.folder import files_in
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.images import MAX_PIXELS, quiet_about_size, told_as_scene_error

_PHOTO_FOLDERS = frozenset({"images", "jpegimages", "img", "image"})
_LOSSY = (".jpg", ".jpeg", ".webp")


def mask_files(folder: Path, suffixes: tuple[str, ...] = (".png",)) -> list[Path]:
    """The masks in a folder and its subfolders, in order of their names.

    Files in folders of photos (`images`, `JPEGImages`, `img`) count only if there are no others.

    Args:
        folder: the folder.
        suffixes: endings of masks, in small letters.

    Raises:
        SceneError: if there are masks in a format that changes values (JPEG), and no others.
    """
    found = files_in(folder, suffixes)
    masks = [path for path in found if not _is_photo(path, folder)] or found
    if not masks and (lossy := _lossy_masks(folder)):
        raise SceneError(
            f"Expected masks saved without loss (PNG) in {folder}, found {lossy[0].name} and {len(lossy) - 1} more; "
            "JPEG blends the classes at their edges, so export the masks again as PNG."
        )
    return masks


def _is_photo(path: Path, folder: Path) -> bool:
    return any(part.lower() in _PHOTO_FOLDERS for part in path.relative_to(folder).parts[:-1])


def _lossy_masks(folder: Path) -> list[Path]:
    return [path for path in files_in(folder, _LOSSY) if not _is_photo(path, folder)]


@contextmanager
def open_mask(path: Path, kind: str) -> Iterator[Image.Image]:
    """Open a mask; what it raises is told with its path.

    Args:
        path: the file.
        kind: what it should hold, for errors.

    Raises:
        SceneError: if it is missing or damaged, or has more than `MAX_PIXELS`.
    """
    with told_as_scene_error(path, kind), quiet_about_size(), Image.open(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise SceneError(
                f"Expected a {kind} of at most {MAX_PIXELS} pixels at {path}, found {image.width}x{image.height}; "
                "make it smaller."
            )
        yield image


def mask_size(path: Path) -> ImageSize:
    """Width and height of a mask, from its header alone.

    Raises:
        SceneError: as `open_mask`.
    """
    with open_mask(path, "mask") as image:
        return image.size
