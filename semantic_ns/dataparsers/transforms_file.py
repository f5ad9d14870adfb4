"""The content of a `transforms.json`, in any of the forms that tools write, as the one form that nerfstudio reads.

In that form every frame has a 4x4 pose, the path of an image that exists and numbers for its camera; these stand at the
top where all frames share them, else in each frame.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from semantic_ns.dataparsers.frame_paths import find_file
from semantic_ns.errors import SceneError
from semantic_ns.geometry import poses

SPLITS = ("train", "val", "test")
UNKNOWN_SCALE = "semantic_has_unknown_scale"
"""Key of a file whose depth is in the unit of its poses, which nobody knows in metres."""
_MAX_PATH = 4096
_PATHS = ("file_path", "semantics_path", "depth_file_path", "mask_path")
_SCALE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Frames:
    """The frames of a scene's file, checked.

    Attributes:
        entries: content of each frame, with the path of its image as `file_path` and a 4x4 list as `transform_matrix`.
        places: index in `entries` of each frame as the file lists them; one that repeats another has the same.
        notes: what was read otherwise than it stands in the file, as sentences.
    """

    entries: list[dict[str, Any]]
    places: list[int]
    notes: tuple[str, ...]


def read_frames(meta: Any, path: Path, further_folders: Sequence[Path] = ()) -> Frames:
    """The frames of the content of a scene's file.

    Args:
        meta: content of the file.
        path: the file, for errors; image paths are relative to its folder.
        further_folders: folders that image paths may be relative to instead.

    Raises:
        SceneError: if there is no frame, a frame has no image path or no pose that is a rigid motion, or two frames of
            one image differ.
    """
    given = meta.get("frames") if isinstance(meta, dict) else None
    if not isinstance(given, list) or not given:
        raise SceneError(f"Expected a list of frames in {path}, found none; make it with `ns-process-data`.")
    for index, entry in enumerate(given):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str) or not entry["file_path"]:
            raise SceneError(f"Expected file_path in frame number {index} of {path}, found none; name its image.")
        for key in _PATHS:
            _require_path(entry.get(key), f"{key} of frame number {index} of {path}")
        if "transform_matrix" not in entry:
            raise SceneError(
                f"Expected a pose (transform_matrix) for {entry['file_path']} in {path}, found none; add it or remove "
                "the frame."
            )
    _require_path(meta.get("ply_file_path"), f"ply_file_path of {path}")
    matrices, scale = _without_common_scale(np.stack([_matrix(entry, path) for entry in given]))
    poses.check_poses(matrices, [f"{entry['file_path']} in {path}" for entry in given])
    images = [find_file(entry["file_path"], path.parent, further_folders) for entry in given]
    read = [
        {**entry, "file_path": image.as_posix(), "transform_matrix": matrix.tolist()}
        for entry, image, matrix in zip(given, images, matrices, strict=True)
    ]
    entries, places = _without_repetitions(read, [entry["file_path"] for entry in given], path)
    num_repeated = len(read) - len(entries)
    notes = [
        f"the rotations of all poses are scaled by {scale:.6g}, which is divided out" if scale != 1 else "",
        f"{num_repeated} frames repeat another one in all they say, and are read once" if num_repeated else "",
    ]
    return Frames(entries, places, tuple(note for note in notes if note))


def _require_path(value: Any, what: str) -> None:
    """Raise a SceneError unless a value is a path, or nothing."""
    if value is not None and (not isinstance(value, str) or len(value) > _MAX_PATH):
        found = f"one of {len(value)}" if isinstance(value, str) else type(value).__name__
        raise SceneError(f"Expected a path of at most {_MAX_PATH} letters as {what}, found {found}; correct it.")


def _matrix(entry: dict[str, Any], path: Path) -> Float[ndarray, "4 4"]:
    """The pose as 4x4 numbers; the last row may be left out, and the rows may follow each other in one list."""
    try:
        matrix = np.asarray(entry["transform_matrix"], np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape in ((16,), (12,)):
        matrix = matrix.reshape(-1, 4)
    if matrix.shape == (3, 4):
        matrix = np.concatenate([matrix, [[0.0, 0.0, 0.0, 1.0]]])
    if matrix.shape != (4, 4):
        raise SceneError(
            f"Expected 4x4 numbers as transform_matrix of {entry['file_path']} in {path}, found something "
            "else; correct it."
        )
    return matrix


def _without_common_scale(matrices: Float[ndarray, "frames 4 4"]) -> tuple[Float[ndarray, "frames 4 4"], float]:
    """The poses with rotations of determinant 1 and the scale they had, where it is common to all; else unchanged."""
    rotations = matrices[:, :3, :3]
    if not np.isfinite(rotations).all():
        return matrices, 1.0
    scales = np.cbrt(np.linalg.det(rotations))
    scale = float(np.median(scales))
    if scale <= 0 or np.abs(scales / scale - 1).max() > _SCALE_TOLERANCE or abs(scale - 1) <= _SCALE_TOLERANCE:
        return matrices, 1.0
    result = matrices.copy()
    result[:, :3, :3] /= scale
    return result, scale


def _without_repetitions(
    entries: Sequence[dict[str, Any]], names: Sequence[str], path: Path
) -> tuple[list[dict[str, Any]], list[int]]:
    """Each image once, and the place of each frame there; two frames of an image must say the same."""
    place_of: dict[str, int] = {}
    kept: list[dict[str, Any]] = []
    for entry, name in zip(entries, names, strict=True):
        place = place_of.setdefault(entry["file_path"], len(kept))
        if place == len(kept):
            kept.append(entry)
        elif kept[place] != entry:
            key = next(key for key in {**kept[place], **entry} if kept[place].get(key) != entry.get(key))
            count = sum(other["file_path"] == entry["file_path"] for other in entries)
            raise SceneError(
                f"Expected each image once in {path}, found {name} {count} times with another {key}; remove the "
                "repetitions that are wrong."
            )
    return kept, [place_of[entry["file_path"]] for entry in entries]


def with_split_lists(meta: Mapping[str, Any], entries: Sequence[dict[str, Any]], path: Path) -> dict[str, Any]:
    """The content with the lists of file names of its splits as paths of its images.

    A list may hold a path, a file name or a name without suffix, as long as it means one image.

    Args:
        meta: content of the file.
        entries: its frames, see `read_frames`.
        path: the file, for errors.

    Raises:
        SceneError: if a list is none, is empty, or holds a name that means no image or several.
    """
    images = [Path(entry["file_path"]) for entry in entries]
    known = set(images)
    of_name: dict[str, set[Path]] = {}
    for image in images:
        for name in (image.name, image.stem):
            of_name.setdefault(name, set()).add(image)
    result = dict(meta)
    for split in SPLITS:
        key = f"{split}_filenames"
        if key not in meta:
            continue
        listed = meta[key]
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise SceneError(f"Expected a list of file names as {key} of {path}, found another thing; correct it.")
        result[key] = [_listed_image(name, key, known, of_name, path).as_posix() for name in listed]
    return result


def _listed_image(name: str, key: str, known: set[Path], of_name: Mapping[str, set[Path]], path: Path) -> Path:
    found = find_file(name, path.parent)
    if found in known:
        return found
    plain = name.replace("\\", "/").removeprefix("./")
    ending = {image for image in known if image.as_posix().endswith(f"/{plain}")}
    candidates = ending or of_name.get(plain.rpartition("/")[2], set())
    if len(candidates) != 1:
        found_words = "none" if not candidates else f"{len(candidates)} of them"
        raise SceneError(
            f"Expected one frame for {name}, which {key} of {path} lists, found {found_words}; correct the list."
        )
    return next(iter(candidates))
