"""The files that a scene means where it does not name them as they are: images, masks, depth and label images.

Paths in a scene may come from another machine, from Windows, or from a tool that leaves suffixes out. A label image is
found by the name of its image, in the folder `semantics` or in one beside the images.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from semantic_ns.dataparsers.scene import FrameFiles
from semantic_ns.errors import SceneError

SEMANTICS_FOLDER = "semantics"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
PHOTO_SUFFIXES = (*IMAGE_SUFFIXES, ".heic", ".heif", ".hif")
_FOUND_SUFFIXES = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES), ".npy", ".HEIC", ".heic", ".heif")
_LABEL_SUFFIXES = (".png", ".PNG", ".tif", ".tiff", ".bmp", ".npy", ".hdf5", ".jpg", ".jpeg", ".JPG", ".webp")
_WORDS_OF_LABELS = ("mask", "label", "labels", "semantic", "semantics", "seg", "segmentation")


def find_file(given: str, folder: Path, further_folders: Sequence[Path] = ()) -> Path:
    r"""The file that a scene names; the path as it was given where nothing is found.

    What is tried in this order: the path as it is; with `/` for `\`; with the suffix of an image, where it has none or
    there is one file of this name with another suffix; and of a path that is absolute, that leads out of the scene or
    that repeats the scene's folder, its end relative to the scene.

    Args:
        given: path in the scene's file, absolute or relative to `folder`.
        folder: folder of the scene's file.
        further_folders: folders that the path may be relative to instead.
    """
    literal = folder / given
    if _is_file(literal):
        return literal
    path = PurePosixPath(given.replace("\\", "/"))
    for place in (folder, *further_folders):
        for reading in _readings(path, place):
            found = _existing(place / reading)
            if found is not None:
                return found
    return folder / path


def _readings(path: PurePosixPath, folder: Path) -> Iterator[PurePosixPath]:
    yield path
    is_elsewhere = (
        path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", path.parts[0] if path.parts else "")
    )
    if is_elsewhere or folder.name in path.parts[:-1]:
        for start in range(1, len(path.parts)):
            yield PurePosixPath(*path.parts[start:])
    if is_elsewhere:
        yield PurePosixPath("images", path.name)


def _existing(path: Path) -> Path | None:
    if _is_file(path):
        return path
    if path.suffix.lower() not in IMAGE_SUFFIXES:  # frame_1.5 has no suffix either
        return next(
            (found for suffix in _FOUND_SUFFIXES if _is_file(found := path.with_name(path.name + suffix))), None
        )
    others = [found for suffix in _FOUND_SUFFIXES if _is_file(found := path.with_suffix(suffix))]
    return others[0] if len(others) == 1 else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


class LabelFinder:
    """Finds the label images of a scene's frames by the names of their images, each folder being listed once.

    Args:
        folder: folder of the scene.
        num_of_stem: how many images of the scene have each name without folder and suffix.
    """

    def __init__(self, folder: Path, num_of_stem: Counter[str]) -> None:
        self._folder = folder
        self._num_of_stem = num_of_stem
        self._names: dict[Path, frozenset[str]] = {}

    def find(self, image: Path) -> Path | None:
        """The label image of a frame, None where there is none.

        Args:
            image: colour image, absolute or relative to the scene.

        Raises:
            SceneError: if the one found by its name fits several images.
        """
        flat = self._folder / SEMANTICS_FOLDER
        for place in self._mirrored_folders(image):
            found = None if place == flat else self._named_like(image, place)
            if found is not None:
                return found
        found = self._named_like(image, flat)
        if found is not None and self._num_of_stem[image.stem] > 1 and found.stem != image.name:
            raise SceneError(
                f"Expected one image for the label image {found}, found several named {image.stem}; give each frame a "
                "semantics_path."
            )
        return found

    def place_for(self, image: Path) -> Path:
        """Where the label image of a frame would be, relative to the scene."""
        place = Path(SEMANTICS_FOLDER)
        if self._num_of_stem[image.stem] > 1:
            place = place.joinpath(*self._parents(image)[1:])
        return place / f"{image.stem}.png"

    def _parents(self, image: Path) -> tuple[str, ...]:
        """Names of the folders between the scene and an image, none for an image elsewhere."""
        inside = image.relative_to(self._folder) if image.is_relative_to(self._folder) else image
        return () if inside.is_absolute() or ".." in inside.parts else inside.parent.parts

    def _mirrored_folders(self, image: Path) -> Iterable[Path]:
        """Folders that stand to `semantics` as that of the image stands to its own one."""
        parents = self._parents(image)
        for place in range(len(parents)):
            yield self._folder.joinpath(*parents[:place], SEMANTICS_FOLDER, *parents[place + 1 :])
        if parents:
            yield self._folder.joinpath(SEMANTICS_FOLDER, *parents)
        else:
            yield (self._folder / image).parent.parent / SEMANTICS_FOLDER

    def _named_like(self, image: Path, place: Path) -> Path | None:
        names = self._names_in(place)
        if not names:
            return None
        words = [f"{image.stem}_{word}" for word in _WORDS_OF_LABELS if f"{image.stem}_{word}" not in self._num_of_stem]
        is_shared = self._num_of_stem[image.stem] > 1
        bases = [image.name, image.stem, *words] if is_shared else [image.stem, image.name, *words]
        candidates = (base + suffix for base in bases for suffix in _LABEL_SUFFIXES)
        return next((place / name for name in candidates if name in names), None)

    def _names_in(self, place: Path) -> frozenset[str]:
        if place not in self._names:
            exists = place.is_dir()
            self._names[place] = frozenset(path.name for path in place.iterdir()) if exists else frozenset()
        return self._names[place]


def frame_files(
    entry: Mapping[str, Any], num_of_stem: Counter[str], folder: Path, finder: LabelFinder | None = None
) -> FrameFiles:
    """The files of one frame of a scene.

    Args:
        entry: content of the frame, see `transforms_file.read_frames`.
        num_of_stem: how many images of the scene have each name without folder and suffix.
        folder: what the paths are relative to.
        finder: finds label images by the names of images; one for all frames is faster.

    Raises:
        SceneError: if the label image that the frame names is missing, or one found by its name fits several images.
    """
    finder = finder or LabelFinder(folder, num_of_stem)
    image = Path(entry["file_path"])
    given, depth = entry.get("semantics_path"), entry.get("depth_file_path")
    label = find_file(given, folder) if given else finder.find(image)
    if given and label is not None and not label.is_file():
        raise SceneError(
            f"Expected the label image {label} that the scene names for {image}, found "
            "none; restore it or remove its semantics_path."
        )
    return FrameFiles(
        image=folder / image,
        label=label,
        depth=find_file(depth, folder) if depth else None,
        label_export_name=_export_name(label, folder, finder.place_for(image)).as_posix(),
    )


def _export_name(label: Path | None, folder: Path, usual: Path) -> Path:
    # A label image elsewhere on the disk is exported under the name that it would have in the scene.
    if label is None or not label.is_relative_to(folder) or ".." in label.relative_to(folder).parts:
        return usual
    return label.relative_to(folder).with_suffix(".png")
