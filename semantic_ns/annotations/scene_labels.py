"""Writes annotations into a scene in nerfstudio's format, as `nerfstudio-semantic-data` reads it.

Each annotated frame gets a label image `semantics/<stem of the image>.png` (8 bit, or 16 where an id is above 255) and
its path as `semantics_path`; the classes become `semantic_classes` and `semantic_void_id` of the json file.
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
from semantic_ns.dataparsers.scene import FrameFiles
from semantic_ns.errors import SceneError
from semantic_ns.export.labels import label_image
from semantic_ns.io.text import read_json
from semantic_ns.io.writing import write_errors_as_scene_error, write_json, write_png
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.taxonomy import VOID


@dataclass(frozen=True)
class ImportOptions:
    """What the user may choose.

    Attributes:
        unlabelled: class of the pixels that no annotation covers; None makes them void.
        overwrite: replace label images that exist.
        dry_run: read and check everything, write nothing.
        are_stored: take annotations as made on the stored pixels, whatever the EXIF orientation of the images says.
    """

    unlabelled: str | None = None
    overwrite: bool = False
    dry_run: bool = False
    are_stored: bool = False


@dataclass(frozen=True)
class ImportSummary:
    """What was imported, or would be.

    Attributes:
        num_frames: frames of the scene.
        matches: pairs of an annotated image and its frame.
        num_pixels: pixels of each class that occurs in the imported images, by name.
        num_void: void pixels in the imported images.
        remarks: what was left out or decided.
        backup: copy of the json file as it was; None for a dry run.
    """

    num_frames: int
    matches: Matches
    num_pixels: dict[str, int]
    num_void: int
    remarks: tuple[str, ...]
    backup: Path | None

    def lines(self) -> list[str]:
        """The summary as sentences."""
        total = sum(self.num_pixels.values()) + self.num_void
        shares = [f"{name} {count / total:.1%}" for name, count in self.num_pixels.items()]
        verb = "Labelled" if self.backup else "Would label"
        lines = [
            f"{verb} {len(self.matches.pairs)} of {self.num_frames} frames: {', '.join(shares)}, "
            f"void {self.num_void / total:.1%}"
        ]
        if self.matches.unmatched:
            lines.append(f"Annotated images that no frame has: {enumerate_names(self.matches.unmatched)}")
        if self.matches.ambiguous:
            lines.append(f"Names that occur more than once, left out: {enumerate_names(self.matches.ambiguous)}")
        lines += [f"Note: {remark}" for remark in self.remarks]
        if self.backup:
            lines.append(f"The former {layout.TRANSFORMS} is {self.backup}")
        return lines


@dataclass(frozen=True)
class _Scene:
    path: Path
    content: dict[str, Any]
    frames: list[FrameFiles]

    @classmethod
    def load(cls, data: Path) -> "_Scene":
        path = layout.transforms_path(data)
        content = read_json(path)
        entries = layout.frame_entries(content, path)
        num_of_stem = Counter(Path(entry["file_path"]).stem for entry in entries)
        return cls(path, content, [layout.frame_files(entry, num_of_stem, path.parent) for entry in entries])

    def label_name(self, index: int) -> str:
        """Path of the label image that a frame gets, relative to the scene."""
        return f"{layout.SEMANTICS_FOLDER}/{self.frames[index].image.stem}.png"


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
    matches = match_images(loaded.frames, annotations.images, loaded.path)
    if not options.overwrite:
        _refuse_to_overwrite(loaded, matches)
    _refuse_to_mix_tables(loaded, matches, annotations.table)
    # Beside the scene's files, so that moving the label images cannot fail for want of space.
    folder = None if options.dry_run else loaded.path.parent
    with (
        write_errors_as_scene_error(loaded.path.parent),
        tempfile.TemporaryDirectory(prefix="import-labels-", dir=folder, ignore_cleanup_errors=True) as temporary,
    ):
        counts = _draw(loaded, matches, annotations, options, Path(temporary))
        backup = None if options.dry_run else _install(loaded, matches, annotations.table, Path(temporary))
    if matches.is_by_order:
        annotations.notes.say("the frames of the video belong to the scene's images in the order of their names")
    names = annotations.taxonomy.names
    num_pixels = {name: int(count) for name, count in zip(names, counts[:-1], strict=True) if count}
    return ImportSummary(len(loaded.frames), matches, num_pixels, int(counts[-1]), annotations.notes.lines(), backup)


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
        drawn = draw_for_frame(image, loaded.frames[index].image, options.are_stored, annotations.notes)
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
        for path in dict.fromkeys((loaded.frames[index].label, loaded.path.parent / loaded.label_name(index)))
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


def _means_the_same(loaded: _Scene, table: ClassTable) -> bool:
    if "semantic_classes" not in loaded.content:
        return False
    where = f"semantic_classes of {loaded.path}"
    old = ClassTable.from_list(loaded.content["semantic_classes"], loaded.content.get("semantic_void_id"), where)
    new = {entry.id: entry.name.casefold() for entry in table.entries}
    return old.void_ids <= table.void_ids and all(new.get(entry.id) == entry.name.casefold() for entry in old.entries)


def _install(loaded: _Scene, matches: Matches, table: ClassTable, drawn: Path) -> Path:
    """Move the label images into the scene and replace its json file; returns the copy of the old one."""
    backup = _backup(loaded.path)
    frames = [dict(entry) for entry in loaded.content["frames"]]
    for index, _ in matches.pairs:
        frames[index]["semantics_path"] = loaded.label_name(index)
    classes = [asdict(entry) for entry in table.entries]
    meanings = {"semantic_classes": classes, "semantic_void_id": sorted(table.void_ids)}
    names = [loaded.label_name(index) for index, _ in matches.pairs]
    with _images_in_place(names, drawn, loaded.path.parent):
        write_json(loaded.path, {**loaded.content, **meanings, "frames": frames})
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
