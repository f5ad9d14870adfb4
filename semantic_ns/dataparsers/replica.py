"""Replica scenes with labels: the layout of Semantic-NeRF (Zhi et al. 2021) and those of SLAM systems.

`replica_layouts` lists the files, `replica_camera` and `replica_labels` what they mean. A scene folder holds one
sequence or several and `info_semantic.json` (class names, optional); label images have 0 for void.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig, DataparserOutputs

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers import scene
from semantic_ns.dataparsers.posed_scene import PosedFrame, PosedScene
from semantic_ns.dataparsers.posed_scene_parser import PosedSceneParser
from semantic_ns.dataparsers.replica_camera import CamParams, intrinsics_of, read_cam_params
from semantic_ns.dataparsers.replica_labels import label_map_of, scene_class_table
from semantic_ns.dataparsers.replica_layouts import (
    EXPECTED,
    MILLIMETRE,
    ReplicaSequence,
    guess_depth_unit,
    layout_of,
    read_sequence,
    sequence_names,
)
from semantic_ns.dataparsers.splits import SplitConfig, SplitMethod, split_frames, split_sequences
from semantic_ns.errors import SceneError
from semantic_ns.geometry import poses
from semantic_ns.labels.label_map import LabelMap
from semantic_ns.labels.label_spaces import NATIVE

_NEAR_FAR_M = (0.1, 10.0)


@dataclass
class ReplicaDataParserConfig(SplitConfig, DataParserConfig):
    """Replica scenes with labels, in the layouts of Semantic-NeRF, vMAP, NICE-SLAM, SNI-SLAM and SGS-SLAM."""

    _target: type = field(default_factory=lambda: ReplicaDataParser)
    data: Path = Path()
    """Folder of a scene (with Sequence_1, ... or imap/00, ...) or of one sequence (with images and poses)."""
    train_sequence: str | None = None
    """Sequence to train on, such as Sequence_1; by default the first one."""
    eval_sequence: str | None = None
    """Sequence of which every frame is scored, while every frame of train-sequence trains; by default train-sequence is
    split."""
    split: SplitMethod = "auto"
    """Split into training and test frames: published (train id % 5 == 0, test id % 5 == 2), interval, fraction, or all.
    auto takes the published split for captures that match it, else interval."""
    classes: Path | None = None
    """Class table, as CSV (id,name[,r,g,b][,is_thing]) or JSON; by default the scene's info_semantic.json or Replica's
    table."""
    label_space: str = NATIVE
    """Label space to train in: native (the scene's), nyu40, nyu13, scannet20, viewseg37, or a class table (.csv or
    .json) that maps classes by its names and its column from. The mapping from Replica to NYU40 is this project's
    proposal."""
    hfov: float | None = None
    """Horizontal field of view in degrees, for square pixels and a principal point at the image centre. By default the
    camera of cam_params.json is used if the layout has one, else 90."""
    camera_margin: float = 1.0
    """Margin around the camera positions, in metres, that is inside the unit cube of the scene."""
    labels_optional: tyro.conf.Suppress[bool] = False
    """Whether a scene without a label image is read, with no class: for models that bring classes of their own."""


class ReplicaDataParser(PosedSceneParser):
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
        self._instances: dict[Path, Path] = {}

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        outputs = super()._generate_dataparser_outputs(split, **kwargs)
        if self._instances:
            outputs.metadata[keys.INSTANCE_FILENAMES] = [self._instances.get(path) for path in outputs.image_filenames]
        return outputs

    def _load(self) -> PosedScene:
        scene.require_folder(self.config.data)
        train_folder, eval_folder = self._sequence_folders()
        sequence = read_sequence(train_folder, self.config.data)
        frames = sequence.frames
        self._instances.update(sequence.instances)
        if eval_folder is None:
            numbers = [frame.id for frame in frames]
            split = split_frames(numbers, self.config.split_options(), str(train_folder))
        else:
            other = _read_like(sequence, eval_folder, self.config.data)
            frames += other.frames
            self._instances.update(other.instances)
            num_train = len(sequence.frames)
            split = split_sequences(num_train, len(frames) - num_train, train_folder.name, eval_folder.name)
        c2w = np.stack([frame.c2w_opencv for frame in frames])
        poses.check_poses(c2w, [frame.pose_name for frame in frames])
        size = scene.common_image_size([frame.image for frame in frames])
        classes, label_map = self._classes(sequence, frames, size)
        if not self.config.labels_optional:
            scene.require_training_labels(classes, split.train.tolist(), train_folder)
        parameters = read_cam_params(sequence)
        depth_unit, depth_sentence = _depth_unit(sequence, parameters)
        loaded = PosedScene(
            frames=frames,
            intrinsics=intrinsics_of(size, parameters, self.config.hfov),
            classes=classes,
            label_map=label_map,
            split=split,
            similarity=poses.centre_and_scale(c2w, self.config.camera_margin),
            depth_metres_per_unit=depth_unit,
            further_metadata={keys.NEAR_FAR_M: _NEAR_FAR_M},
        )
        scene.announce_scene("replica-data", f"{train_folder}{depth_sentence}", classes, label_map, split.sentence)
        return loaded

    def _classes(
        self, sequence: ReplicaSequence, frames: tuple[PosedFrame, ...], size: scene.ImageSize
    ) -> tuple[scene.SceneClasses, LabelMap | None]:
        if self.config.labels_optional and (none := scene.classes_without_labels(frames)):
            return none, None
        table = scene_class_table(sequence.folder, self.config.classes)
        label_map = label_map_of(sequence, table, self.config.label_space)
        return scene.read_classes(frames, size, table, self.config.data, label_map), label_map

    def _sequence_folders(self) -> tuple[Path, Path | None]:
        data, config = self.config.data, self.config
        if layout_of(data) is not None:
            if config.train_sequence or config.eval_sequence:
                raise SceneError(
                    "Expected the folder of a scene with sequences for --train-sequence and --eval-sequence, found "
                    f"the folder of one sequence, {data}; pass its parent by --data."
                )
            return data, None
        names = sequence_names(data)
        if not names:
            raise SceneError(
                f"Expected a Replica scene in {data}, found no known layout: looked for {EXPECTED}; pass the folder of "
                "one scene."
            )
        for name in (config.train_sequence, config.eval_sequence):
            if name is not None and name not in names:
                raise SceneError(f"Expected a sequence of {data} ({', '.join(names)}), found '{name}'; choose one.")
        train = config.train_sequence or next((name for name in names if name != config.eval_sequence), names[0])
        is_other = config.eval_sequence is not None and config.eval_sequence != train
        return data / train, data / str(config.eval_sequence) if is_other else None


def _read_like(sequence: ReplicaSequence, folder: Path, scene_folder: Path) -> ReplicaSequence:
    """Another sequence of the scene, whose labels must mean the same."""
    other = read_sequence(folder, scene_folder)
    if other.has_instance_ids != sequence.has_instance_ids and any(frame.label for frame in other.frames):
        raise SceneError(
            f"Expected one kind of labels in all sequences, found class ids in one of {sequence.folder} and {folder} "
            "and only instance ids in the other; add semantic_class images to both."
        )
    return other


def _depth_unit(sequence: ReplicaSequence, parameters: CamParams | None) -> tuple[float, str]:
    """Metres per unit of the depth images, and where it comes from, for the announcement."""
    if not any(frame.depth is not None for frame in sequence.frames):
        return MILLIMETRE, ""
    if parameters is not None:
        return 1 / parameters.scale, f", depth 1/{parameters.scale:g} m by {parameters.path}"
    if sequence.layout.depth_metres_per_unit is not None:
        return sequence.layout.depth_metres_per_unit, ""
    unit = guess_depth_unit(sequence.frames)
    return unit, f", depth 1/{1 / unit:g} m by the size of its values"
