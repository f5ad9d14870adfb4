"""nerfstudio's `transforms.json` with labels: nerfstudio's own dataparser, extended.

Keys of `transforms.json` beyond nerfstudio's:

- `semantic_classes` (top level): list of names, whose ids are 0, 1, 2, ... in order, or list of
  `{"id": 3, "name": "chair", "color": [r, g, b], "is_thing": true}` (the last two are optional). A class named `void`
  is none.
- `semantic_void_id` (top level, optional): id, or list of ids, that means void. Without it and without a class named
  `void`, 255 and 0 are void where no class has them.
- `semantics_path` (per frame, optional): label image with one channel of ids, relative to `transforms.json`. Without
  it `semantics/<stem of the image>.png` is taken where it exists; a frame without either trains colour only.

Depth is nerfstudio's `depth_file_path`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio, NerfstudioDataParserConfig

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers import scene
from semantic_ns.errors import SceneError
from semantic_ns.geometry import poses
from semantic_ns.io.text import read_json
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.label_map import LabelMap
from semantic_ns.labels.label_spaces import NATIVE, map_to_space

TRANSFORMS = "transforms.json"
SEMANTICS_FOLDER = "semantics"
_SPLITS = ("train", "val", "test")
_ROUNDING = 1e-6
"""Distance between cameras, as a share of their coordinates (1 at least), that is no distance."""


@dataclass
class NerfstudioSemanticDataParserConfig(NerfstudioDataParserConfig):
    """nerfstudio's format with labels: `semantics_path` per frame or a folder `semantics`, and `semantic_classes`."""

    _target: type = field(default_factory=lambda: NerfstudioSemanticDataParser)
    data: Path = Path()
    """Folder of the scene, or the json file in it."""
    downscale_factor: int | None = 1
    """Must be 1, because labels have the size of the images in the JSON file."""
    eval_mode: Literal["fraction", "filename", "interval", "all"] = "interval"
    """Which frames are scored: every n-th (interval, with eval-interval), a share of 1 - train-split-fraction
    (fraction), by file name (filename), or all, which then also train. The lists train_filenames, val_filenames and
    test_filenames in the JSON file take precedence."""
    classes: Path | None = None
    """Class table, as CSV (id,name[,r,g,b][,is_thing]) or JSON; by default semantic_classes of the JSON file."""
    label_space: str = NATIVE
    """Label space to train in: native (the scene's), nyu40, nyu13, scannet20, viewseg37, or a class table (.csv or
    .json) that maps classes by its names and its column from."""
    all_classes: bool = False
    """Keep every class of the table, including those that no label image shows yet; for scenes still to be labelled
    (active learning with a folder). No label image is needed."""


@dataclass(frozen=True)
class _Scene:
    """Everything that the splits share."""

    meta: dict[str, Any]
    files_of_image: dict[Path, scene.FrameFiles]
    classes: scene.SceneClasses
    label_map: LabelMap | None


class NerfstudioSemanticDataParser(Nerfstudio):
    """nerfstudio's dataparser plus labels, classes and checks; poses, scale and splits are the parent's.

    Raises:
        SceneError: on any scene that cannot be used, see `semantic_ns.dataparsers.scene`; a scene without any label,
            or without one in the training split, is refused unless it takes all classes of its table.
    """

    config: NerfstudioSemanticDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: NerfstudioSemanticDataParserConfig) -> None:
        super().__init__(config)
        self._scene: _Scene | None = None
        self._split_sentence: str | None = None

    def _generate_dataparser_outputs(self, split: str = "train") -> DataparserOutputs:
        if self._scene is None:
            self._scene = self._load()
        loaded = self._scene
        outputs = self._parent_outputs(split, loaded.meta)
        if self._split_sentence is None:
            self._split_sentence = self._describe_split(split, outputs, loaded)
        frames = [loaded.files_of_image[path] for path in outputs.image_filenames]
        metadata: keys.Metadata = {
            # The parent writes None where there is no depth, on which nerfstudio's DepthDataset downloads a network.
            **{key: value for key, value in outputs.metadata.items() if key != keys.DEPTH_FILENAMES},
            **scene.scene_metadata(
                loaded.classes.taxonomy,
                self._split_sentence,
                1 / float(outputs.dataparser_scale),
                None,
                loaded.label_map,
            ),
            **scene.frame_metadata(frames, self.config.depth_unit_scale_factor),
        }
        outputs.metadata = metadata
        return outputs

    def _load(self) -> _Scene:
        path = transforms_path(self.config.data)
        if self.config.downscale_factor not in (None, 1):
            raise SceneError(
                f"Expected --downscale-factor 1 for {path}, found {self.config.downscale_factor}; labels have the size "
                "of the full images, so leave it out."
            )
        # Images above 1600 pixels must not make the parent look for images_2.
        self.downscale_factor = 1
        meta = read_json(path)
        entries = frame_entries(meta, path)
        if self.config.center_method != "none" and _are_in_one_place(
            entries
        ):  # the parent would divide by how far they lie apart
            config = replace(self.config, auto_scale_poses=False)
            self.config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        table = self._class_table(meta, path)
        num_of_stem = Counter(Path(entry["file_path"]).stem for entry in entries)
        frames = [frame_files(entry, num_of_stem, path.parent) for entry in entries]
        size = scene.common_image_size([frame.image for frame in frames])
        _check_stated_size(meta, entries, size, path)
        label_map = map_to_space(self.config.label_space, table)
        every = self.config.all_classes
        classes = scene.read_classes(frames, size, table, path.parent, label_map, all_classes=every)
        return _Scene(meta, {frame.image: frame for frame in frames}, classes, label_map)

    def _class_table(self, meta: dict[str, Any], path: Path) -> ClassTable:
        if self.config.classes is not None:
            return ClassTable.load(self.config.classes)
        if "semantic_classes" not in meta:
            raise SceneError(
                f"Expected a list semantic_classes in {path}, found none; add the names of the classes there, or pass "
                "a table by --classes."
            )
        return ClassTable.from_list(
            meta["semantic_classes"], meta.get("semantic_void_id"), f"semantic_classes of {path}"
        )

    def _parent_outputs(self, split: str, meta: dict[str, Any]) -> DataparserOutputs:
        """The parent's outputs of a split; where the file lists only one of val and test, both mean this one."""
        listed = [name for name in _SPLITS if f"{name}_filenames" in meta]
        if listed and split not in listed and split != "train":
            split = next((name for name in ("val", "test") if name in listed), split)
        try:
            outputs = super()._generate_dataparser_outputs(split)
        except (AssertionError, ArithmeticError, RuntimeError, KeyError, ValueError, IndexError, OSError) as error:
            raise SceneError(
                f"Expected a scene in nerfstudio's format in {self.config.data}, found that nerfstudio cannot read its "
                f"split {split} ({' '.join(str(error).split()) or type(error).__name__}); correct {TRANSFORMS}."
            ) from error
        if not outputs.image_filenames:
            raise SceneError(
                f"Expected images in the split {split} of {self.config.data}, found none; choose another --eval-mode, "
                "--eval-interval or --train-split-fraction."
            )
        return outputs

    def _describe_split(self, split: str, outputs: DataparserOutputs, loaded: _Scene) -> str:
        other = self._parent_outputs("val" if split == "train" else "train", loaded.meta)
        train, evaluation = (outputs, other) if split == "train" else (other, outputs)
        place_of_image = {image: place for place, image in enumerate(loaded.files_of_image)}
        if not self.config.all_classes:
            scene.require_training_labels(
                loaded.classes, [place_of_image[image] for image in train.image_filenames], self.config.data
            )
        config = self.config
        rules = {
            "interval": f"interval (one frame in {config.eval_interval} is scored, the others train)",
            "fraction": f"fraction ({config.train_split_fraction:g} of the frames train, the others are scored)",
            "filename": "filename (train and eval in the file names)",
            "all": "all (every frame trains and is scored, so scores are those of training views)",
        }
        is_listed = any(f"{name}_filenames" in loaded.meta for name in _SPLITS)
        rule = f"lists of file names in {TRANSFORMS}" if is_listed else rules[config.eval_mode]
        sentence = f"{rule}: {len(train.image_filenames)} train, {len(evaluation.image_filenames)} test images"
        scene.announce_scene("nerfstudio-semantic-data", str(config.data), loaded.classes, loaded.label_map, sentence)
        return sentence


def transforms_path(data: Path) -> Path:
    """The json file of a scene, which is given by its folder or by the file itself.

    Raises:
        SceneError: if the folder, or `transforms.json` in it, is missing.
    """
    if data.suffix == ".json" and not data.is_dir():
        return data
    scene.require_folder(data)
    if not (data / TRANSFORMS).is_file():
        raise SceneError(
            f"Expected {TRANSFORMS} in {data}, found none; pass the folder of a scene in nerfstudio's format."
        )
    return data / TRANSFORMS


def frame_entries(meta: Any, path: Path) -> list[dict[str, Any]]:
    """The frames of the json file, checked: each has an image path and a pose that is a rigid motion.

    Args:
        meta: the content of the file.
        path: the file, for errors.

    Raises:
        SceneError: if there is no frame, a frame has no image path or no such pose, or an image is named twice.
    """
    entries = meta.get("frames") if isinstance(meta, dict) else None
    if not isinstance(entries, list) or not entries:
        raise SceneError(f"Expected a list of frames in {path}, found none; make it with `ns-process-data`.")
    matrices = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
            raise SceneError(f"Expected file_path in frame number {index} of {path}, found none; name its image.")
        if "transform_matrix" not in entry:
            raise SceneError(
                f"Expected a pose (transform_matrix) for {entry['file_path']} in {path}, found none; add it or remove "
                "the frame."
            )
        matrices.append(_matrix(entry, path))
    poses.check_poses(np.stack(matrices), [f"{entry['file_path']} in {path}" for entry in entries])
    counts = Counter(entry["file_path"] for entry in entries)
    image, count = counts.most_common(1)[0]
    if count > 1:
        raise SceneError(f"Expected each image once in {path}, found {image} {count} times; remove the repetitions.")
    return entries


def _matrix(entry: dict[str, Any], path: Path) -> np.ndarray:
    try:
        matrix = np.asarray(entry["transform_matrix"], np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape != (4, 4):
        raise SceneError(
            f"Expected 4x4 numbers as transform_matrix of {entry['file_path']} in {path}, found something "
            "else; correct it."
        )
    return matrix


def frame_files(entry: dict[str, Any], num_of_stem: Counter[str], folder: Path) -> scene.FrameFiles:
    """The files of one frame of the json file.

    Args:
        entry: the frame, see `frame_entries`.
        num_of_stem: how many images of the scene have each name without folder and suffix.
        folder: what the paths are relative to.

    Raises:
        SceneError: if the label image that the frame names is missing, or one found by its name fits several images.
    """
    image = Path(entry["file_path"])
    sibling = Path(SEMANTICS_FOLDER) / f"{image.stem}.png"
    relative = Path(entry.get("semantics_path") or sibling)
    label: Path | None = folder / relative
    if entry.get("semantics_path"):
        if not (folder / relative).is_file():
            raise SceneError(
                f"Expected the label image {folder / relative} that {folder / TRANSFORMS} names for {image}, found "
                "none; restore it or remove its semantics_path."
            )
    elif not (folder / relative).is_file():
        label = None
    elif num_of_stem[image.stem] > 1:
        raise SceneError(
            f"Expected one image for the label image {folder / sibling}, found several named {image.stem}; give each "
            "frame a semantics_path."
        )
    depth = entry.get("depth_file_path")
    # A label image elsewhere on the disk is exported under the name of the sibling.
    is_inside = not relative.is_absolute() and ".." not in relative.parts
    return scene.FrameFiles(
        image=folder / image,
        label=label,
        depth=None if depth is None else folder / depth,
        label_export_name=(relative if is_inside else sibling).as_posix(),
    )


def _are_in_one_place(entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all cameras stand at one point, but for rounding."""
    try:
        places = np.array([entry["transform_matrix"] for entry in entries], float)[:, :3, 3]
    except (KeyError, ValueError, TypeError, IndexError):
        return False  # the parent says what is wrong
    return bool(np.ptp(places, axis=0).max() <= _ROUNDING * max(1.0, np.abs(places).max()))


def _check_stated_size(
    meta: dict[str, Any], entries: Sequence[dict[str, Any]], size: scene.ImageSize, path: Path
) -> None:
    for entry in entries:
        stated = (meta.get("w", entry.get("w", size[0])), meta.get("h", entry.get("h", size[1])))
        if stated != size:
            raise SceneError(
                f"Expected images of {stated[0]}x{stated[1]} as {path} states (w, h), found {size[0]}x{size[1]} in "
                f"{entry['file_path']}; correct w, h and the intrinsics."
            )
