"""Writes annotations into a scene, as `nerfstudio-semantic-data` reads it.

Each annotated frame gets a label image `semantics/<stem of the image>.png` (8 bit, or 16 where an id is above 255).
Where a `transforms.json` lists the frames, it also gets their paths as `semantics_path`, and the classes as
`semantic_classes` and `semantic_void_id`. Other scenes (COLMAP models, files per split, ScanNet++) find label images by
the names of their images, and get the classes as a file `classes.json`.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from semantic_ns.annotations.matching import Matches, enumerate_names, match_images
from semantic_ns.annotations.placement import draw_for_frame
from semantic_ns.annotations.types import UNLABELLED, Annotations, ClassNames
from semantic_ns.dataparsers import nerfstudio_semantic as layout
from semantic_ns.dataparsers.frame_paths import LabelFinder, frame_files
from semantic_ns.dataparsers.scene import FrameFiles
from semantic_ns.dataparsers.scene_source import SceneSource, class_files, class_table_of
from semantic_ns.dataparsers.transforms_file import read_frames
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json
from semantic_ns.io.writing import write_errors_as_scene_error, write_json, write_png
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.label_files import label_image
from semantic_ns.labels.taxonomy import VOID

_CLASS_FILE = "classes.json"


@dataclass(frozen=True)
class ImportOptions:
    """What the user may choose.

    Attributes:
        unlabelled: class of the pixels that no annotation covers; None makes them void.
        overwrite: replace label images that exist.
        dry_run: read and check everything, write nothing.
        are_stored: take annotations as made on the stored pixels, whatever the EXIF orientation of the images says.
        photos: folder of the annotated photos, whose content tells the frames; None takes the file names, and where no
            frame has one, photos beside the annotations.
    """

    unlabelled: str | None = None
    overwrite: bool = False
    dry_run: bool = False
    are_stored: bool = False
    photos: Path | None = None


@dataclass(frozen=True)
class ImportSummary:
    """What was imported, or would be.

    Attributes:
        num_frames: frames of the scene.
        matches: pairs of an annotated image and its frame.
        num_pixels: pixels of each class that occurs in the imported images, by name.
        num_void: void pixels in the imported images.
        remarks: what was left out or decided.
        is_written: whether the scene was changed; False for a dry run.
        backup: copy of the changed json file as it was; None where there was none.
    """

    num_frames: int
    matches: Matches
    num_pixels: dict[str, int]
    num_void: int
    remarks: tuple[str, ...]
    is_written: bool
    backup: Path | None

    def lines(self) -> list[str]:
        """The summary as sentences."""
        total = sum(self.num_pixels.values()) + self.num_void
        shares = [f"{name} {count / total:.1%}" for name, count in self.num_pixels.items()]
        verb = "Labelled" if self.is_written else "Would label"
        lines = [
            f"{verb} {len(self.matches.pairs)} of {self.num_frames} frames: {', '.join(shares)}, "
            f"void {self.num_void / total:.1%}"
        ]
        lines += self.matches.lines_on_others()
        lines += [f"Note: {remark}" for remark in self.remarks]
        if self.backup:
            lines.append(f"The former {self.backup.name.partition('.bak')[0]} is {self.backup}")
        return lines


@dataclass(frozen=True)
class _Scene:
    source: SceneSource
    content: dict[str, Any]
    frames: list[FrameFiles]
    places: list[int]

    @classmethod
    def load(cls, data: Path) -> "_Scene":
        source = layout.require_source(data)
        content = source.read()
        found = read_frames(content, source.path, source.further_folders)
        entries = found.entries
        num_of_stem = Counter(Path(entry["file_path"]).stem for entry in entries)
        finder = LabelFinder(source.folder, num_of_stem)
        frames = [frame_files(entry, num_of_stem, source.folder, finder) for entry in entries]
        return cls(source, content, frames, found.places)

    @property
    def path(self) -> Path:
        """What describes the frames, for errors."""
        return self.source.path

    @property
    def folder(self) -> Path:
        """The folder that label images are relative to."""
        return self.source.folder

    def label_name(self, index: int) -> str:
        """Path of the label image that a frame gets, relative to the scene."""
        if self.source.lists_frames:
            return f"{layout.SEMANTICS_FOLDER}/{self.frames[index].image.stem}.png"
        return self.frames[index].label_export_name

    def class_table(self) -> ClassTable | None:
        """The classes that the scene has before the import, None where it has none."""
        if "semantic_classes" in self.content or class_files(self.source):
            return class_table_of(self.source, None, self.content)
        return None


def import_labels(data: Path, annotations: Annotations, options: ImportOptions) -> ImportSummary:
    """Write annotations into a scene.

    Everything is read and drawn before the first file of the scene changes, and the json file is replaced last and
    at once, after a copy of it was made beside it.

    Args:
        data: folder of the scene, or its json file.
        annotations: what to write.
        options: what the user chose.

    Raises:
        SceneError: if the scene or an annotation cannot be used, an annotated image has not the size of its frame, no
            pixel gets a class, label images would be overwritten without being asked for, or labelled frames would
            be left that mean other classes; if the scene cannot be written, which then stays as it was.
    """
    loaded = _Scene.load(data)
    if options.unlabelled is not None:
        annotations = annotations.with_class(options.unlabelled)
    matches = match_images(loaded.frames, annotations.images, loaded.path, options.photos, annotations.folder)
    if not options.overwrite:
        _refuse_to_overwrite(loaded, matches)
    _refuse_to_mix_tables(loaded, matches, annotations.table)
    _refuse_another_class_file(loaded, annotations.table)
    # Beside the scene's files, so that moving the label images cannot fail for want of space.
    folder = None if options.dry_run else loaded.folder
    with (
        write_errors_as_scene_error(loaded.folder),
        tempfile.TemporaryDirectory(prefix="import-labels-", dir=folder, ignore_cleanup_errors=True) as temporary,
    ):
        counts = _draw(loaded, matches, annotations, options, Path(temporary))
        backup = None if options.dry_run else _install(loaded, matches, annotations.table, Path(temporary))
    matches.note_how(annotations.notes)
    names = annotations.taxonomy.names
    num_pixels = {name: int(count) for name, count in zip(names, counts[:-1], strict=True) if count}
    notes = annotations.notes.lines()
    is_written = not options.dry_run
    return ImportSummary(len(loaded.frames), matches, num_pixels, int(counts[-1]), notes, is_written, backup)


def _draw(
    loaded: _Scene, matches: Matches, annotations: Annotations, options: ImportOptions, folder: Path
) -> Int64[ndarray, "classes_and_void"]:
    """Draw the label images, into a folder unless it is a dry run; returns the pixels of each class and of void."""
    taxonomy = annotations.taxonomy
    fill = VOID
    if options.unlabelled is not None:
        fill = ClassNames(annotations.table, annotations.notes).index(options.unlabelled, "--unlabelled")
    counts = np.zeros(taxonomy.num_classes + 1, np.int64)
    for index, image in matches.pairs:
        seen = matches.sights[index].orientation if index in matches.sights else None
        drawn = draw_for_frame(image, loaded.frames[index].image, options.are_stored, annotations.notes, seen)
        labels = np.where(drawn == UNLABELLED, fill, drawn)
        counts += np.bincount(np.where(labels == VOID, taxonomy.num_classes, labels).ravel(), minlength=len(counts))
        if not options.dry_run:
            write_png(folder / loaded.label_name(index), label_image(labels, taxonomy))
    if not counts[:-1].any():
        raise SceneError(
            f"Expected annotations of some class for {loaded.path}, found none in {len(matches.pairs)} images; check "
            "that the files hold regions."
        )
    return counts


def _refuse_to_overwrite(loaded: _Scene, matches: Matches) -> None:
    existing = [
        str(path)
        for index, _ in matches.pairs
        for path in dict.fromkeys((loaded.frames[index].label, loaded.folder / loaded.label_name(index)))
        if path is not None and path.exists()
    ]
    if existing:
        raise SceneError(
            f"Expected frames without label images, found {enumerate_names(existing)}; pass --overwrite to replace "
            "them, or move them away."
        )


def _refuse_to_mix_tables(loaded: _Scene, matches: Matches, table: ClassTable) -> None:
    """Label images that stay must mean the same by the new class table as by the old one."""
    replaced = {index for index, _ in matches.pairs}
    kept = [str(frame.label) for i, frame in enumerate(loaded.frames) if frame.label is not None and i not in replaced]
    if kept and not _means_the_same(loaded, table):
        raise SceneError(
            f"Expected the classes that {loaded.path} already has, since {enumerate_names(kept)} label images stay, "
            f"found others in {table.name}; pass the scene's class table by --classes, or move these images away."
        )


def _refuse_another_class_file(loaded: _Scene, table: ClassTable) -> None:
    """Where the classes are a file of the user beside the frames, the imported ones must be those."""
    files = [] if loaded.source.lists_frames else class_files(loaded.source)
    if files and files[0].name != _CLASS_FILE and not _means_the_same(loaded, table):
        raise SceneError(
            f"Expected the classes of {files[0]}, which the scene is read with, found others in {table.name}; pass "
            f"--classes {files[0]}, or move the file away."
        )


def _means_the_same(loaded: _Scene, table: ClassTable) -> bool:
    old = loaded.class_table()
    if old is None:
        return False
    new = {entry.id: entry.name.casefold() for entry in table.entries}
    return old.void_ids <= table.void_ids and all(new.get(entry.id) == entry.name.casefold() for entry in old.entries)


def _install(loaded: _Scene, matches: Matches, table: ClassTable, drawn: Path) -> Path | None:
    """Move the label images into the scene and write its classes; returns the copy of the json file that changed."""
    names = [loaded.label_name(index) for index, _ in matches.pairs]
    classes = [asdict(entry) for entry in table.entries]
    void_ids = sorted(table.void_ids)
    if not loaded.source.lists_frames:
        return _install_beside(loaded, names, {"classes": classes, "void_id": void_ids}, drawn)
    backup = _backup(loaded.path)
    name_of = {index: name for (index, _), name in zip(matches.pairs, names, strict=True)}
    frames = [
        {**entry, "semantics_path": name_of[place]} if place in name_of else entry
        for entry, place in zip(loaded.content["frames"], loaded.places, strict=True)
    ]
    meanings = {"semantic_classes": classes, "semantic_void_id": void_ids}
    with _images_in_place(names, drawn, loaded.folder):
        # As it stands in the file: what was completed while reading is completed anew.
        write_json(loaded.path, {**read_json(loaded.path), **meanings, "frames": frames})
    return backup


def _install_beside(loaded: _Scene, names: Sequence[str], classes: dict[str, Any], drawn: Path) -> Path | None:
    files = class_files(loaded.source)
    path = files[0] if files else loaded.folder / _CLASS_FILE
    backup = _backup(path) if files and path.name == _CLASS_FILE else None
    with _images_in_place(names, drawn, loaded.folder):
        if path.name == _CLASS_FILE:
            write_json(path, classes)
    return backup


@contextmanager
def _images_in_place(names: Sequence[str], drawn: Path, folder: Path) -> Iterator[None]:
    """Move the drawn label images into the scene; what was there before comes back if this or the block fails.

    New ids must not be left beside the old class list.
    """
    old = drawn / "replaced"
    try:
        for name in names:
            for path in (folder / name, old / name):
                path.parent.mkdir(parents=True, exist_ok=True)
            if (folder / name).exists():
                os.replace(folder / name, old / name)
            os.replace(drawn / name, folder / name)
        yield
    except BaseException:
        for name in names:
            if (old / name).exists():
                os.replace(old / name, folder / name)
            elif not (drawn / name).exists():
                (folder / name).unlink(missing_ok=True)
        raise


def _backup(path: Path) -> Path:
    """Copy a file to the first free name `<name>.bak`, `<name>.bak1`, `<name>.bak2`, ..."""
    number = 0
    while (backup := path.with_name(f"{path.name}.bak{number or ''}")).exists():
        number += 1
    shutil.copy2(path, backup)
    return backup
