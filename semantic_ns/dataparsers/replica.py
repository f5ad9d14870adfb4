"""Replica scenes in the layout of Semantic-NeRF (Zhi et al. 2021), published or rendered by the user.

A scene folder holds `info_semantic.json` (class names, optional) and folders `Sequence_<k>`, each with

- `rgb/rgb_<i>.png` (or `.jpg`): 8 bit colour,
- `depth/depth_<i>.png`: uint16 planar depth in millimetres, 0 is unknown (optional),
- `semantic_class/semantic_class_<i>.png`: class ids, 0 is void (optional per frame),
- `traj_w_c.txt`: row i holds 16 numbers, the row-major camera-to-world matrix of frame i (OpenCV camera, metres, z up).
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from numpy import ndarray

from semantic_ns.dataparsers import poses, scene
from semantic_ns.dataparsers.splits import Split, SplitMethod, SplitOptions, split_frames, split_sequences
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.text_files import read_text

TRAJECTORY = "traj_w_c.txt"
SEQUENCE_PATTERN = "Sequence_*"
_INFO = "info_semantic.json"
_DEPTH_METRES_PER_UNIT = 0.001
_NEAR_FAR_M = (0.1, 10.0)


@dataclass
class ReplicaDataParserConfig(DataParserConfig):
    """Replica scenes with class labels, in the layout of Semantic-NeRF."""

    _target: type = field(default_factory=lambda: ReplicaDataParser)
    data: Path = Path()
    """Folder of a scene (it holds Sequence_1, ...) or of one sequence (it holds rgb and traj_w_c.txt)."""
    train_sequence: str | None = None
    """Sequence to train on, for example Sequence_1; the first one if not given."""
    eval_sequence: str | None = None
    """Sequence to score, all of it, while all of train-sequence trains; if not given, train-sequence is split."""
    split: SplitMethod = "auto"
    """Which frames train and which are scored. published: train id % 5 == 0, test id % 5 == 2; interval; fraction; all;
    auto: published for captures that look like the published ones, else interval."""
    eval_interval: int = 8
    """Every how many frames one is scored (split interval)."""
    train_fraction: float = 0.9
    """Share of the frames that trains (split fraction)."""
    classes: Path | None = None
    """Own class table, CSV (id,name[,r,g,b][,is_thing]) or JSON; else the scene's info_semantic.json or Replica's."""
    hfov: float = 90.0
    """Horizontal field of view in degrees; pixels are square and the principal point is the image centre."""
    camera_margin: float = 1.0
    """Metres round the cameras that lie inside the unit cube of the scene."""


@dataclass(frozen=True)
class ReplicaFrame(scene.FrameFiles):
    """A frame with its number and the OpenCV camera-to-world pose in metres."""

    id: int
    pose_name: str
    c2w_opencv: Float[ndarray, "4 4"]


@dataclass(frozen=True)
class _Scene:
    """Everything that the splits share."""

    frames: tuple[ReplicaFrame, ...]
    size: scene.ImageSize
    classes: scene.SceneClasses
    split: Split
    similarity: poses.Similarity


class ReplicaDataParser(DataParser):
    """Reads a Replica scene; world and scene have z up, and the scale is metric.

    Frames may be missing, sizes are read from the images, and frames without a label train colour only. The classes,
    the centre and the scale come from all frames of all sequences used, so that splits share them. Every frame of
    `Sequence_1` is at `p_scene = dataparser_scale * (dataparser_transform p_world)`.

    Raises:
        SceneError: on any scene that cannot be used, see `semantic_ns.dataparsers.scene`; a scene without any label,
            or without one in the training split, is refused.
    """

    config: ReplicaDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: ReplicaDataParserConfig) -> None:
        super().__init__(config)
        self._scene: _Scene | None = None

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        del kwargs
        if self._scene is None:
            self._scene = self._load()
        loaded = self._scene
        frames = [loaded.frames[i] for i in (loaded.split.train if split == "train" else loaded.split.eval)]
        metres_per_unit = 1 / loaded.similarity.scale
        return DataparserOutputs(
            image_filenames=[frame.image for frame in frames],
            cameras=self._cameras(frames, loaded),
            scene_box=SceneBox(aabb=torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])),
            dataparser_scale=loaded.similarity.scale,
            dataparser_transform=torch.from_numpy(loaded.similarity.transform).float(),
            metadata={
                **scene.scene_metadata(loaded.classes.taxonomy, loaded.split.sentence, metres_per_unit, _NEAR_FAR_M),
                **scene.frame_metadata(frames, _DEPTH_METRES_PER_UNIT),
            },
        )

    def _load(self) -> _Scene:
        scene.require_folder(self.config.data)
        train_folder, eval_folder = self._sequence_folders()
        train_frames = _read_sequence(train_folder, self.config.data)
        frames = train_frames
        if eval_folder is None:
            options = SplitOptions(self.config.split, self.config.eval_interval, self.config.train_fraction)
            split = split_frames([frame.id for frame in frames], options, str(train_folder))
        else:
            eval_frames = _read_sequence(eval_folder, self.config.data)
            frames = train_frames + eval_frames
            split = split_sequences(len(train_frames), len(eval_frames), train_folder.name, eval_folder.name)
        c2w = np.stack([frame.c2w_opencv for frame in frames])
        poses.check_poses(c2w, [frame.pose_name for frame in frames])
        size = scene.common_image_size([frame.image for frame in frames])
        classes = scene.read_classes(frames, size, self._class_table(train_folder), self.config.data)
        scene.require_training_labels(classes, split.train.tolist(), train_folder)
        loaded = _Scene(frames, size, classes, split, poses.centre_and_scale(c2w, self.config.camera_margin))
        scene.announce(
            "replica-data", f"{train_folder}, {classes.taxonomy.num_classes} classes, split {split.sentence}"
        )
        return loaded

    def _sequence_folders(self) -> tuple[Path, Path | None]:
        data, config = self.config.data, self.config
        if is_sequence(data):
            if config.train_sequence or config.eval_sequence:
                raise SceneError(
                    "Expected the folder of a scene with sequences for --train-sequence and --eval-sequence, found "
                    f"the folder of one sequence, {data}; pass its parent by --data."
                )
            return data, None
        names = sequence_names(data)
        if not names:
            raise SceneError(
                f"Expected a Replica scene in {data}, found neither a folder {SEQUENCE_PATTERN} nor rgb/ and "
                f"{TRAJECTORY}; pass the folder of one scene."
            )
        for name in (config.train_sequence, config.eval_sequence):
            if name is not None and name not in names:
                raise SceneError(f"Expected a sequence of {data} ({', '.join(names)}), found '{name}'; choose one.")
        train = config.train_sequence or next((name for name in names if name != config.eval_sequence), names[0])
        is_other = config.eval_sequence is not None and config.eval_sequence != train
        return data / train, data / str(config.eval_sequence) if is_other else None

    def _class_table(self, sequence_folder: Path) -> ClassTable:
        if self.config.classes is not None:
            return ClassTable.load(self.config.classes)
        folder = sequence_folder.resolve().parent
        for path in (folder / _INFO, folder.parent / "semantic_info" / folder.name / _INFO):
            if path.is_file():
                return ClassTable.from_replica_info(path)
        return ClassTable.load("replica")

    def _cameras(self, frames: list[ReplicaFrame], loaded: _Scene) -> Cameras:
        if not 0 < self.config.hfov < 180:
            raise SceneError(f"Expected --hfov between 0 and 180 degrees, found {self.config.hfov}; correct it.")
        width, height = loaded.size
        focal = width / 2 / math.tan(math.radians(self.config.hfov) / 2)
        c2w = poses.opencv_to_opengl(np.stack([frame.c2w_opencv for frame in frames]))
        # nerfstudio's pixel centres lie at +0.5, so the middle of the image is at half its size.
        return Cameras(
            camera_to_worlds=torch.from_numpy(loaded.similarity.apply_to_poses(c2w)).float(),
            fx=focal,
            fy=focal,
            cx=width / 2,
            cy=height / 2,
            width=width,
            height=height,
            camera_type=CameraType.PERSPECTIVE,
        )


def is_sequence(folder: Path) -> bool:
    """Whether the folder is one Replica sequence, or was meant to be one."""
    return (folder / TRAJECTORY).is_file() or (folder / "rgb").is_dir()


def sequence_names(folder: Path) -> list[str]:
    """Names of the Replica sequences in a scene folder, numbers in numeric order."""
    names = [path.name for path in folder.glob(SEQUENCE_PATTERN) if path.is_dir()]
    return sorted(names, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def _read_sequence(folder: Path, scene_folder: Path) -> tuple[ReplicaFrame, ...]:
    """The frames of a sequence that have a colour image, in numeric order."""
    images = _numbered_files(folder / "rgb", "rgb", (".png", ".jpg", ".jpeg"))
    if not images:
        raise SceneError(f"Expected images rgb_<number>.png (or .jpg) in {folder / 'rgb'}, found none; check --data.")
    labels = _numbered_files(folder / "semantic_class", "semantic_class")
    depths = _numbered_files(folder / "depth", "depth")
    c2w = _read_trajectory(folder / TRAJECTORY)
    frames = []
    for number, image in sorted(images.items()):
        if number >= len(c2w):
            raise SceneError(
                f"Expected a pose for {image} in row {number + 1} of {folder / TRAJECTORY}, found {len(c2w)} rows; add "
                "the pose or remove the image."
            )
        label = labels.get(number, folder / "semantic_class" / f"semantic_class_{number}.png")
        frames.append(
            ReplicaFrame(
                image=image,
                label=labels.get(number),
                depth=depths.get(number),
                label_export_name=label.relative_to(scene_folder).as_posix(),
                id=number,
                pose_name=f"{image} (row {number + 1} of {folder / TRAJECTORY})",
                c2w_opencv=c2w[number],
            )
        )
    return tuple(frames)


def _numbered_files(folder: Path, stem: str, suffixes: tuple[str, ...] = (".png",)) -> dict[int, Path]:
    """Files `<stem>_<number>` of one of the suffixes by number; others (`vis_...`) are passed over."""
    files: dict[int, Path] = {}
    for path in sorted(folder.glob(f"{stem}_*")):
        match = re.fullmatch(rf"{stem}_(\d+)", path.stem)
        if match is None or path.suffix not in suffixes:
            continue
        number = int(match[1])
        if number in files:
            raise SceneError(f"Expected one file per frame, found {files[number]} and {path}; remove one of them.")
        files[number] = path
    return files


def _read_trajectory(path: Path) -> Float[ndarray, "rows 4 4"]:
    rows = []
    for line_number, line in enumerate(read_text(path).rstrip().splitlines(), 1):
        try:
            row = [float(word) for word in line.split()]
        except ValueError as error:
            raise SceneError(
                f"Expected numbers at line {line_number} of {path}, found other text ({error}); correct the line."
            ) from error
        if len(row) != 16:
            raise SceneError(
                f"Expected 16 numbers (a 4x4 camera-to-world matrix) at line {line_number} of {path}, found "
                f"{len(row)}; correct the line."
            )
        rows.append(row)
    return np.array(rows, np.float64).reshape(-1, 4, 4)
