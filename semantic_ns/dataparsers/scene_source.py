"""Where the frames of a scene are: a `transforms.json`, a file per split, a COLMAP model or a video of ARKitScenes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_ns.dataparsers import arkit_scenes, colmap_model, scene
from semantic_ns.dataparsers.frame_paths import SEMANTICS_FOLDER
from semantic_ns.dataparsers.transforms_file import SPLITS
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json
from semantic_ns.labels.class_table import ClassTable

TRANSFORMS = "transforms.json"
SCANNETPP_TRANSFORMS = f"dslr/nerfstudio/{TRANSFORMS}"
_SPLIT_FILES = tuple(f"transforms_{split}.json" for split in SPLITS)
_CLASS_FILES = ("classes.csv", "classes.json", "classes.txt")
_COLMAPS_WORLD = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
_SCANNETPP_IMAGES = ("resized_images", "resized_undistorted_images")
_SCANNETPP_MASKS = ("resized_anon_masks", "resized_undistorted_masks")


@dataclass(frozen=True)
class SceneSource:
    """Where the frames of a scene are.

    Attributes:
        found: what the scene was recognised by, for the user.
        path: file or folder that describes the frames, for errors.
        folder: folder that paths are relative to, and that holds the label images.
        read: function that returns the content in the form of a `transforms.json`.
        further_folders: folders that image paths may be relative to instead.
        mask_folders: folders that mask paths may be relative to instead.
        has_white_background: whether transparent pixels are white, as in renderings of objects.
        colmap_model: folder of a COLMAP model whose sparse points belong to the scene; None without one.
        lists_frames: whether `path` is one json file that lists all frames itself, and so can name their label images.
    """

    found: str
    path: Path
    folder: Path
    read: Callable[[], Any]
    further_folders: tuple[Path, ...] = ()
    mask_folders: tuple[Path, ...] = ()
    has_white_background: bool = False
    colmap_model: Path | None = None
    lists_frames: bool = False


def find_source(data: Path) -> SceneSource | None:
    """Find the frames of a scene, None where the folder holds none in a form of nerfstudio's or COLMAP's.

    Args:
        data: folder of the scene, or the json file in it.

    Raises:
        SceneError: if there is no such folder.
    """
    data = data.absolute()  # what is found in it is joined with its folder more than once
    if data.suffix == ".json" and not data.is_dir():
        return _transforms_source(data)
    scene.require_folder(data)
    for name in (TRANSFORMS, SCANNETPP_TRANSFORMS, SCANNETPP_TRANSFORMS.removeprefix("dslr/")):
        if (data / name).is_file():
            return _transforms_source(data / name, name == TRANSFORMS and (data / "colmap/sparse/0").exists())
    split_files = [data / name for name in _SPLIT_FILES if (data / name).is_file()]
    if split_files:
        names = ", ".join(path.name for path in split_files)
        return SceneSource(
            found=names,
            path=split_files[0],
            folder=data,
            read=lambda: _read_split_files(split_files),
            has_white_background=True,
        )
    video = arkit_scenes.find_video(data)
    if video is not None:
        return SceneSource(
            found=f"{video.name}/lowres_wide.traj (ARKitScenes)",
            path=video,
            folder=data,
            read=lambda: arkit_scenes.read_video(video),
        )
    model = colmap_model.find_model(data)
    if model is None:
        return None
    return SceneSource(
        found=f"{model.relative_to(data).as_posix()} (COLMAP)",
        path=model,
        folder=data,
        read=lambda: colmap_model.read_model(data, model),
        colmap_model=model,
    )


def _transforms_source(path: Path, has_colmap_beside: bool = False) -> SceneSource:
    above = path.parent.parent
    is_scannetpp = path.parent.name == "nerfstudio" and any((above / name).is_dir() for name in _SCANNETPP_IMAGES)
    if not is_scannetpp:
        complete = _with_colmaps_world if has_colmap_beside else (lambda meta: meta)
        return SceneSource(
            found=path.name,
            path=path,
            folder=path.parent,
            read=lambda: complete(read_json(path)),
            lists_frames=True,
        )
    # The file of undistorted images is told by its name; both name images alone, without their folder.
    order = -1 if "undistorted" in path.stem else 1
    return SceneSource(
        found=f"{path.name} of ScanNet++",
        path=path,
        folder=path.parent,
        read=lambda: _with_test_frames(read_json(path)),
        further_folders=tuple(above / name for name in _SCANNETPP_IMAGES[::order]),
        mask_folders=tuple(above / name for name in _SCANNETPP_MASKS[::order]),
    )


def _with_test_frames(meta: Any) -> Any:
    """ScanNet++ keeps the frames that are scored in a list of their own."""
    if not isinstance(meta, dict) or not isinstance(meta.get("test_frames"), list):
        return meta
    frames, tests = meta.get("frames"), meta["test_frames"]
    if not isinstance(frames, list):
        return meta
    lists = {f"{split}_filenames": _names(part) for split, part in (("train", frames), ("val", tests), ("test", tests))}
    return {**meta, **lists, "frames": [*frames, *tests]}


def _names(frames: list[Any]) -> list[Any]:
    return [frame.get("file_path") if isinstance(frame, dict) else None for frame in frames]


def _with_colmaps_world(meta: Any) -> Any:
    """What nerfstudio assumes of scenes that older versions of it made from a COLMAP model."""
    is_old = isinstance(meta, dict) and "applied_transform" not in meta
    return {**meta, "applied_transform": _COLMAPS_WORLD} if is_old else meta


def _read_split_files(paths: list[Path]) -> dict[str, Any]:
    """The files of all splits as one, with lists of which frame is in which split.

    Raises:
        SceneError: if a file holds no list of frames, or one image has two poses.
    """
    merged: dict[str, Any] = {}
    frames: dict[str, dict[str, Any]] = {}
    for path in paths:
        meta = read_json(path)
        listed = meta.get("frames") if isinstance(meta, dict) else None
        if not isinstance(listed, list) or not all(isinstance(frame, Mapping) for frame in listed):
            raise SceneError(f"Expected a list of frames in {path}, found none; restore the file.")
        top = {key: value for key, value in meta.items() if key != "frames"}
        merged = {**top, **merged}
        for frame in listed:
            # What the files say at the top may differ, and is then each frame's own.
            known = frames.setdefault(str(frame.get("file_path")), {**top, **frame})
            if known.get("transform_matrix") != frame.get("transform_matrix"):
                raise SceneError(
                    f"Expected one pose of {frame.get('file_path')} in {path.parent}, found another one in "
                    f"{path.name}; correct one of the files."
                )
        split = path.stem.removeprefix("transforms_")
        merged[f"{split}_filenames"] = _names(listed)
    return {**merged, "frames": list(frames.values())}


def class_files(source: SceneSource) -> list[Path]:
    """The files of classes beside the frames of a scene."""
    places = (source.folder, source.folder / SEMANTICS_FOLDER)
    return [place / name for place in places for name in _CLASS_FILES if (place / name).is_file()]


def class_table_of(source: SceneSource, classes: Path | None, meta: Any = None) -> ClassTable:
    """The class table of a scene, see `find_class_table`.

    Raises:
        SceneError: if there is none, or several files, or it cannot be understood.
    """
    table = find_class_table(source, classes, meta)
    if table is None:
        raise SceneError(
            f"Expected a list semantic_classes in {source.path}, found none; add the names of the classes there, put "
            "them into a file classes.txt beside it, or pass a table by --classes."
        )
    return table


def find_class_table(source: SceneSource, classes: Path | None, meta: Any = None) -> ClassTable | None:
    """The class table of a scene: the given one, the scene file's own list, a file of classes beside it, or None.

    Args:
        source: where the scene's frames are.
        classes: a class table that goes before the scene's own.
        meta: content of the scene's file, if it was read.

    Raises:
        SceneError: if there are several files, or it cannot be understood.
    """
    if classes is not None:
        return ClassTable.load(classes)
    meta = source.read() if meta is None else meta
    if isinstance(meta, dict) and "semantic_classes" in meta:
        where = f"semantic_classes of {source.path}"
        return ClassTable.from_list(meta["semantic_classes"], meta.get("semantic_void_id"), where)
    found = class_files(source)
    if len(found) > 1:
        raise SceneError(
            f"Expected one class table for {source.folder}, found {found[0]} and {found[1]}; remove one, or name one "
            "by --classes."
        )
    return ClassTable.load(found[0]) if found else None
