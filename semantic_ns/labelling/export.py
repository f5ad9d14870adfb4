"""Writes the labels of a session as label images and as points, into a folder of their own and never into the scene."""

import os
import re
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int16
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import refuse_used_folder, write_errors_as_scene_error, write_json, write_png
from semantic_ns.labels.class_table import STUFF_NAMES

if TYPE_CHECKING:
    from semantic_ns.labelling.classes import LabelClass
    from semantic_ns.labelling.shown import ShownLabels
    from semantic_ns.labels.taxonomy import Taxonomy


_BEGUN = re.compile(r"\..+\.([0-9]{1,9})\.([0-9]{1,19})\.tmp")
"""Name of a folder that is being written, with the process and the thread that do it."""


def export_labels(
    shown: "ShownLabels",
    folder: Path,
    least_confidence: float = 0.0,
    painted_only: bool = False,
    coco: bool = False,
    points: bool = False,
) -> list[Path]:
    """Write `<frame>.png` of every frame, with the ids of the session's classes, and `classes.json`.

    They lie on the photos: where the session shows pictures without the distortion of a lens, label images and
    annotations are those of the scene's own files, and what the pictures do not show of these is void. They
    appear when all files are there. The folder serves for `--pipeline.datamanager.train-labels`, which finds classes by
    their names, and for `sns-import-labels`.

    Args:
        shown: What a session shows; nothing may change it meanwhile.
        folder: A new or an empty folder outside the scene.
        least_confidence: Spread labels that are less sure become void; 0..1.
        painted_only: Whether to write painted pixels alone.
        coco: Whether to write the same as `annotations/instances_default.json` in the format of COCO as well, with the
            file names of the images; see `AnnotationFiles`.
        points: Whether to write the surface with the same labels as `points.ply` and, in the colours of the classes,
            `points_classes.ply` as well: a point for each pixel of the maps of the surface, in the world of the data
            set's files.

    Returns:
        The paths of the label images.

    Raises:
        SceneError: if the folder is used or inside the scene, cannot be written, there is nothing to write, or images
            of two frames have one name, which COCO would not tell apart.
    """
    _refuse_impossible(shown, folder, least_confidence, painted_only)
    from semantic_ns.datasets.exported_ids import LABELLING_COMMAND
    from semantic_ns.export.annotation_files import AnnotationFiles, refuse_equal_names
    from semantic_ns.labelling.cloud import SurfaceCloud
    from semantic_ns.labels.label_files import CLASSES_FILE, class_table, label_image

    if coco:
        refuse_equal_names((info.photo.name for info in shown.surface.frames), "coco")
    taxonomy = session_taxonomy(shown)
    new = folder.with_name(f".{folder.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    annotations = AnnotationFiles(new, "coco", taxonomy) if coco else None
    cloud = SurfaceCloud(shown.surface) if points else None
    try:
        with write_errors_as_scene_error(folder):
            new.mkdir(parents=True)
            for index, info in enumerate(shown.surface.frames):
                labels = _chosen_labels(shown, index, least_confidence, painted_only)
                classes = _as_classes(labels, taxonomy)
                on_photo = info.on_photo(classes, unseen=-1)
                write_png(new / f"{info.name}.png", label_image(on_photo, taxonomy))
                if annotations is not None:
                    annotations.add(info.photo.name, on_photo)
                if cloud is not None:
                    cloud.add(index, classes, shown.confidence(index))
            if annotations is not None:
                annotations.finish()
            if cloud is not None:
                cloud.write(new, taxonomy)
            write_json(new / CLASSES_FILE, {"written_by": LABELLING_COMMAND, **class_table(taxonomy)})
            if folder.exists():
                folder.rmdir()
            new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return [folder / f"{info.name}.png" for info in shown.surface.frames]


def _refuse_impossible(shown: "ShownLabels", folder: Path, least_confidence: float, painted_only: bool) -> None:
    # Written so that NaN fails, too.
    if not 0 <= least_confidence <= 1:
        raise SceneError(f"Expected a least confidence 0..1, found {least_confidence!r:.60}; choose another.")
    scene = shown.surface.scene.resolve()
    if folder.resolve().is_relative_to(scene):
        raise SceneError(f"Expected a folder outside the scene {scene}, found {folder}; choose another.")
    refuse_used_folder(folder, "folder")
    imported = shown.state.imported
    if not shown.state.painting.marks and not (imported is not None and imported.is_on and not painted_only):
        raise SceneError("Expected a mark to write labels from, found none; mark something first.")


def unused_folder(parent: Path, stem: str) -> Path:
    """The first of `stem_1`, `stem_2` and so on that is not in a folder."""
    number = 1
    while (parent / f"{stem}_{number}").exists():
        number += 1
    return parent / f"{stem}_{number}"


def reserved_folder(parent: Path, name: str | None, stem: str) -> Path | None:
    """A folder that is made here, empty, so that nobody else exports into it.

    Args:
        parent: Where it is to be.
        name: Its name; None for the first of `stem_1`, `stem_2` and so on that there is not.
        stem: See `name`.

    Returns:
        The folder; None where one of this name is there already.

    Raises:
        SceneError: if it cannot be made.
    """
    while True:
        folder = unused_folder(parent, stem) if name is None else parent / name
        try:
            with write_errors_as_scene_error(parent):
                parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if name is not None:
                return None
        except OSError as error:
            raise SceneError(f"Expected to make {folder}, found '{error.strerror}'; check its rights.") from error
        else:
            return folder


def remove_leftovers(parent: Path) -> None:
    """Remove what exports into a folder had begun when their process was ended."""
    for path in parent.glob(".*.tmp"):
        found = _BEGUN.fullmatch(path.name)
        if found is not None and path.is_dir() and not _is_being_written(int(found[1]), int(found[2])):
            shutil.rmtree(path, ignore_errors=True)


def _is_being_written(process: int, thread: int) -> bool:
    if process == os.getpid():
        return thread in {one.ident for one in threading.enumerate()}
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is that of somebody else
    return True


def session_taxonomy(shown: "ShownLabels") -> "Taxonomy":
    """The classes of a session that were not merged into others, and are not void, as those of a scene."""
    from semantic_ns.labels.taxonomy import Taxonomy

    entries = sorted(
        (c for c in shown.state.classes if c.merged_into is None and not c.is_void), key=lambda entry: entry.id
    )
    things = {entry.id: entry.is_thing for entry in shown.surface.classes}
    return Taxonomy(
        tuple(entry.id for entry in entries),
        tuple(entry.name for entry in entries),
        tuple(entry.color for entry in entries),
        tuple(things.get(entry.id, _is_thing(entry)) for entry in entries),
        shown.state.void_id,
    )


def _is_thing(entry: "LabelClass") -> bool:
    return entry.name.casefold() not in STUFF_NAMES if entry.is_thing is None else entry.is_thing


def _chosen_labels(
    shown: "ShownLabels", frame: int, least_confidence: float, painted_only: bool
) -> Int16[ndarray, "height width"]:
    labels = np.maximum(shown.painted(frame), -1) if painted_only else shown.labels(frame)
    if least_confidence > 0 and not painted_only:
        labels = np.where(shown.confidence(frame) >= least_confidence, labels, -1)
    is_void = np.isin(labels, [entry.id for entry in shown.state.classes if entry.is_void])
    return np.where(is_void, -1, labels).astype(np.int16)


def _as_classes(labels: Int16[ndarray, "height width"], taxonomy: "Taxonomy") -> Int16[ndarray, "height width"]:
    """Ids of classes as places 0..C-1 in a taxonomy; -1 stays."""
    places = np.searchsorted(taxonomy.source_ids, np.maximum(labels, 0))
    return np.where(labels >= 0, places, -1).astype(np.int16)
