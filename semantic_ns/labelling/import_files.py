"""Files that a session begins with, brought onto its frames: annotations of other tools, label images, predictions.

Apart from `imports`, since it needs torch. Formats, classes and names of images are those of `sns-import-labels`.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16, Int64
from numpy import ndarray

from semantic_ns.annotations.class_lists import CLASS_FILES, find_class_file, is_class_file, read_class_file
from semantic_ns.annotations.folder import files_in
from semantic_ns.annotations.formats import AnnotationSource, find_annotations
from semantic_ns.annotations.matching import Matches, match_images
from semantic_ns.annotations.placement import Target, draw_at
from semantic_ns.annotations.types import Annotations
from semantic_ns.dataparsers.scene import FrameFiles, ImageSize
from semantic_ns.datasets.training_labels import files_of_frames
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.orientation import UPRIGHT
from semantic_ns.io.text import read_json
from semantic_ns.labelling.classes import MAX_CLASS_ID
from semantic_ns.labelling.frame_label_files import read_frame_label_files
from semantic_ns.labelling.imports import NO_LABEL, ImportedLabels
from semantic_ns.labelling.packed_labels import PackedLabels
from semantic_ns.labelling.surface import FrameInfo
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.label_files import CLASSES_FILE

_LARGEST_STRETCH = 0.01
"""By how much the sides of a label image may differ in proportion from those of its frame."""
_FURTHER_FILES = (".hdf5", ".npz")
"""Endings of label images and probabilities that `find_annotations` does not look for."""
_LIST_FILES = (".csv", ".json", ".txt")
_SCENE_FILE = "transforms.json"
_OPTION = re.compile(r"--(?:classes|format|orientation|photos)\b")


class _Found(NamedTuple):
    """Annotations with their frames, and whether they are of the pixels as they are stored, whatever EXIF says."""

    annotations: Annotations
    matches: Matches
    are_stored: bool


@dataclass(frozen=True)
class ImportFiles:
    """Labels that were found, of which nothing is read yet but what tells their format.

    Attributes:
        path: What the user named.
        source: What is there.
    """

    path: Path
    source: AnnotationSource

    @classmethod
    def find(cls, path: Path) -> "ImportFiles":
        """The labels of a file, a folder or a zip file.

        Raises:
            SceneError: if there is nothing, or nothing that can be imported.
        """
        if not path.exists():
            raise SceneError(f"Expected a file or folder of labels for --import, found nothing at {path}; correct it.")
        with _told_with_the_importer():
            found = cls(path, find_annotations(path))
            if found.source.format is None and not (found._has_folder and found._holds_further_files):
                raise found.source.refusal()
        return found

    @property
    def _has_folder(self) -> bool:
        return self.source.labels.is_dir()

    @property
    def _holds_further_files(self) -> bool:
        return any(file.suffix in _FURTHER_FILES for file in self._folder.iterdir())

    @property
    def _folder(self) -> Path:
        """The folder itself, or that of the file; of an archive the folder in it that holds everything."""
        folder = self.source.folder
        while self.source.holder is not None:
            inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
            if len(inside) != 1 or not inside[0].is_dir():
                break
            folder = inside[0]
        return folder

    def read(self, frames: Sequence[FrameInfo], known: ClassTable | None = None) -> ImportedLabels:
        """The labels of frames, at their size; tells how many there are, and what was left out.

        Label images and probabilities of this package, or named like those, belong to the frame of their name or of
        their number, as it is stored. All else belongs to frames by names, as `sns-import-labels` says, except that
        sides may differ in proportion by 1 %. Where a lens bends the photos, all of them lie on the photos. What is
        void and what nobody annotated has no label.

        Args:
            frames: The frames; one without an image has no labels.
            known: The classes that the ids of label images mean where there is no list of them.

        Raises:
            SceneError: if they cannot be read, no frame has any, a picture has another shape than its frame, or an id
                is that of no class or too large.
        """
        with _told_with_the_importer():
            found = self._find(frames, known)
            entries = sorted(found.annotations.table.entries, key=lambda entry: entry.id)
            images, counts = _draw(found, frames, [entry.id for entry in entries])
        present = [entry for entry, count in zip(entries, counts, strict=False) if count]
        if not present:
            raise SceneError(
                f"Expected a labelled pixel of some frame in the labels at {self.path}, found void alone; choose "
                "others."
            )
        if present[-1].id > MAX_CLASS_ID:
            raise SceneError(
                f"Expected ids of classes up to {MAX_CLASS_ID} at {self.path}, found {present[-1].id} for "
                f"'{present[-1].name}'; renumber the class."
            )
        name = self.path.name or self.path.resolve().name
        _tell(name, found, len(frames), [*(entry.name for entry in entries), "no label"], counts)
        return ImportedLabels(name, images, tuple(present))

    def close(self) -> None:
        """Remove what was unpacked, which nothing needs once the labels are read."""
        if self.source.holder is not None:
            self.source.holder.cleanup()

    def _find(self, frames: Sequence[FrameInfo], known: ClassTable | None) -> _Found:
        source, folder = self.source, self._folder
        holds_label_images = source.format in (None, "png")
        table = _class_list(folder, known) if holds_label_images or source.needs_class_list else None
        if self._has_folder and (holds_label_images or _is_written_here(folder)):
            found = self._find_label_images(frames, table or _class_list(folder, known))
            if found is not None:
                return found
        annotations = source.read(table)
        return _Found(annotations, _match(frames, annotations, annotations.folder), are_stored=False)

    def _find_label_images(self, frames: Sequence[FrameInfo], table: ClassTable) -> _Found | None:
        """Label images or probabilities that belong to frames by their names; None if there are none.

        Those are the names of the frames, or else names that tools make of them, or else their numbers.
        """
        names = [info.name for info in frames]
        if not any(files_of_frames(self._folder, names, names, by_number=False, needs_any=False)):
            # Before the number at the end of a name, since tools add digits of their own.
            with suppress(SceneError):
                annotations = self.source.read(table)
                return _Found(annotations, _match(frames, annotations), are_stored=False)
        may_be_others = self.source.format is not None
        files = files_of_frames(self._folder, names, names, by_number=True, needs_any=not may_be_others)
        if not any(files):
            return None
        annotations = read_frame_label_files([path for path in files if path is not None], table)
        images = iter(annotations.images)
        pairs = tuple((index, next(images)) for index, path in enumerate(files) if path is not None)
        suffixes = {path.suffix for path in files if path is not None}
        used = set(files)
        others = [path.name for path in sorted(self._folder.iterdir()) if path.suffix in suffixes and path not in used]
        return _Found(annotations, Matches(pairs, tuple(others), ()), are_stored=True)


def read_import(path: Path, frames: Sequence[FrameInfo], known: ClassTable | None = None) -> ImportedLabels:
    """The labels of a file, a folder or a zip file, see `ImportFiles`."""
    return ImportFiles.find(path).read(frames, known)


@contextmanager
def _told_with_the_importer() -> Iterator[None]:
    """Errors inside that propose an option say which command has it, and how its labels come here."""
    try:
        yield
    except SceneError as error:
        options = ", ".join(dict.fromkeys(_OPTION.findall(str(error))))
        if not options:
            raise
        raise SceneError(
            f"{str(error).removesuffix('.')}. It is sns-import-labels that has {options} for such labels: let it write "
            "into a copy of the scene, whose folder semantics --import takes."
        ) from error


def _is_written_here(folder: Path) -> bool:
    """Whether a command of this package wrote the label images of a folder; there may be annotations beside them."""
    path = folder / CLASSES_FILE
    content = read_json(path) if path.is_file() else None
    return isinstance(content, dict) and "written_by" in content


def _class_list(folder: Path, known: ClassTable | None) -> ClassTable:
    """The classes of label images: of a list in or above their folder, of the scene whose they are, or `known`."""
    places = (folder, folder.parent)
    is_listed = any((place / name).is_file() for place in places for name in CLASS_FILES)
    if is_listed or any(is_class_file(path) for path in files_in(folder, _LIST_FILES)):
        return read_class_file(find_class_file(folder))
    for path in (place / _SCENE_FILE for place in places):
        content = read_json(path) if path.is_file() else None
        if isinstance(content, dict) and "semantic_classes" in content:
            return ClassTable.from_list(content["semantic_classes"], content.get("semantic_void_id"), str(path))
    if known is not None and known.entries:
        return known
    raise SceneError(
        f"Expected a list of the classes of the label images in {folder}, found none of {', '.join(CLASS_FILES)} there "
        "or above; add one, with a name in each line of classes.txt for example."
    )


def _match(frames: Sequence[FrameInfo], annotations: Annotations, beside: Path | None = None) -> Matches:
    files = [FrameFiles(info.photo, None, None, f"{info.name}.png") for info in frames]
    matches = match_images(files, annotations.images, frames[0].photo.parent, beside=beside)
    matches.note_how(annotations.notes)
    return matches


def _draw(
    found: _Found, frames: Sequence[FrameInfo], class_ids: Sequence[int]
) -> tuple[PackedLabels, Int64[ndarray, "classes_and_none"]]:
    """The labels of all frames, and how many pixels of the frames that have some are of each class, and of none.

    Args:
        found: What was found.
        frames: The frames.
        class_ids: The ids of the classes, ascending.
    """
    # The last place serves what has no label. Classes of larger ids are refused if any pixel is of them.
    ids = np.array([*(min(number, MAX_CLASS_ID) for number in class_ids), NO_LABEL], np.int16)
    counts = np.zeros(len(ids), np.int64)
    annotated = dict(found.matches.pairs)

    def drawn(index: int) -> Int16[ndarray, "height width"]:
        info, sight = frames[index], found.matches.sights.get(index)
        if index not in annotated:
            return np.full((info.height, info.width), NO_LABEL, np.int16)
        orientation = UPRIGHT
        if not found.are_stored:
            orientation = info.orientation if sight is None else sight.orientation
        target = Target((info.width, info.height), orientation, f"the frame {info.name}")
        classes = draw_at(annotated[index], target, found.annotations.notes, _are_alike)
        places = info.from_photo(np.where(classes < 0, len(class_ids), classes))
        counts[:] += np.bincount(places.ravel(), minlength=len(ids))
        return ids[places]

    # One after the other, since all of them at full size would not fit into memory.
    images = PackedLabels.of(map(drawn, range(len(frames))), frames[0].height, frames[0].width)
    return images, counts


def _are_alike(one: ImageSize, other: ImageSize) -> bool:
    return abs(one[1] * other[0] / (one[0] * other[1]) - 1) <= _LARGEST_STRETCH


def _tell(
    name: str, found: _Found, num_frames: int, class_names: Sequence[str], counts: Int64[ndarray, "classes"]
) -> None:
    """Say what is imported: from where, for how many frames, and how many of their pixels have which label."""
    shares = [f"{label} {n / counts.sum():.1%}" for label, n in zip(class_names, counts, strict=True) if n]
    announce(
        "labelling",
        f"{name} has labels of {len(found.matches.pairs)} of the {num_frames} training images: {', '.join(shares)}",
    )
    notes = [f"Note: {line}" for line in found.annotations.notes.lines()]
    for line in (*found.matches.lines_on_others(), *notes):
        announce("labelling", line)
