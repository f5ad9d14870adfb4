"""Hypersim scenes (Roberts et al. 2021): one camera trajectory of one scene, as published; see `hypersim_files`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers import scene
from semantic_ns.dataparsers.hypersim_camera import CAMERA_TABLE, Pinhole, exact_pinhole, read_camera_row
from semantic_ns.dataparsers.hypersim_files import HypersimFolder
from semantic_ns.dataparsers.posed_scene import PosedFrame, PosedScene
from semantic_ns.dataparsers.posed_scene_parser import PosedSceneParser
from semantic_ns.dataparsers.splits import SplitConfig, SplitMethod, split_frames
from semantic_ns.errors import SceneError
from semantic_ns.geometry import poses
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.label_map import LabelMap
from semantic_ns.labels.label_spaces import map_to_space

_UNLABELLED = -1
_VOID_OF_NYU40 = 0


@dataclass
class HypersimDataParserConfig(SplitConfig, DataParserConfig):
    """One camera trajectory of a Hypersim scene, with its NYU40 labels."""

    _target: type = field(default_factory=lambda: HypersimDataParser)
    data: Path = Path()
    """Folder of a scene with its Hypersim name, such as ai_001_001."""
    camera: str | None = None
    """Camera of the scene, such as cam_00; by default the first one. The cameras of one scene hardly overlap."""
    camera_parameters: Path | None = None
    """Hypersim's metadata_camera_parameters.csv, which is in the data set's source repository and not in the archives
    of the scenes. By default it is searched for in the scene's folder and the folders above."""
    color: Literal["hdr", "tonemap", "gamma", "color"] = "hdr"
    """Source of colour: hdr is linear (HDF5), tone-mapped with one exposure for the whole trajectory. The others are
    8-bit previews: tonemap has a different exposure in each image, gamma has a gamma curve alone, and color is linear
    and dark."""
    label_space: str = "native"
    """Label space to train in: native (NYU40), nyu40, nyu13, scannet20, viewseg37, or a class table."""
    split: SplitMethod = "interval"
    """Split into training and test frames: interval, fraction, all, or published (id % 5)."""
    camera_margin: float = 1.0
    """Margin around the camera positions, in metres, that is inside the unit cube of the scene."""
    labels_optional: tyro.conf.Suppress[bool] = False
    """Whether a scene without a label image is read, with no class: for models that bring classes of their own."""


class HypersimDataParser(PosedSceneParser):
    """Reads one camera of a Hypersim scene; world and scene have z up, and the scale is metric.

    Tilt-shift cameras become the pinholes with the same rays, see `hypersim_camera`. Frames whose stored orientation
    is no rotation are left out and counted. Frames without labels train colour only.

    Raises:
        SceneError: on any scene that cannot be used: no camera table, a camera with skew or without images, a frame
            without pose, a damaged file, and see `semantic_ns.dataparsers.scene`.
    """

    config: HypersimDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def _load(self) -> PosedScene:
        config = self.config
        scene.require_folder(config.data)
        folder = HypersimFolder(config.data, config.camera, config.color)
        row = read_camera_row(self._camera_table(), scene.folder_name(config.data))
        pinhole = exact_pinhole(row, scene.common_image_size(list(folder.colors.values())))
        metres_per_asset_unit = folder.metres_per_asset_unit() or row.metres_per_asset_unit
        frames, num_left_out = _with_rotation(folder.frames(pinhole.nominal_from_opencv, metres_per_asset_unit))
        where = f"{config.data}, {folder.camera}"
        split = split_frames([frame.id for frame in frames], config.split_options(), where)
        label_map = _label_map(config.label_space)
        classes = scene.classes_without_labels(frames) if config.labels_optional else None
        classes = classes or scene.read_classes(frames, pinhole.size, label_map.table, config.data, label_map)
        if not config.labels_optional:
            scene.require_training_labels(classes, split.train.tolist(), config.data)
        loaded = PosedScene(
            frames=frames,
            intrinsics=pinhole,
            classes=classes,
            label_map=label_map,
            split=split,
            similarity=poses.centre_and_scale(np.stack([frame.c2w_opencv for frame in frames]), config.camera_margin),
            depth_metres_per_unit=1.0,
            further_metadata=_image_metadata(folder, pinhole),
        )
        left_out = f", {num_left_out} frames left out whose orientation is no rotation" if num_left_out else ""
        scene.announce_scene(
            "hypersim-data", f"{where} ({_camera_sentence(pinhole)}{left_out})", classes, label_map, split.sentence
        )
        return loaded

    def _camera_table(self) -> Path:
        if self.config.camera_parameters is not None:
            return self.config.camera_parameters
        folder = self.config.data
        table = scene.find_upwards(folder, CAMERA_TABLE)
        if table is None:
            raise SceneError(
                f"Expected {CAMERA_TABLE} in {folder} or a folder above, found none; get it from Hypersim's source "
                "repository and put it there or give it by --camera-parameters (an option of hypersim-data), as most "
                "scenes do not have the nominal camera."
            )
        return table


def _with_rotation(frames: Sequence[PosedFrame]) -> tuple[tuple[PosedFrame, ...], int]:
    """The frames whose pose is a rigid motion, and the number of others; if all are, the first one's error.

    Some published trajectories hold a first orientation that is no rotation.
    """
    kept, errors = [], []
    for frame in frames:
        try:
            poses.check_poses(frame.c2w_opencv[None], [frame.pose_name])
            kept.append(frame)
        except SceneError as error:
            errors.append(error)
    if not kept:
        raise errors[0]
    return tuple(kept), len(errors)


def _label_map(space: str) -> LabelMap:
    """From Hypersim's ids, which are NYU40's with -1 for unlabelled pixels, to a label space."""
    table = ClassTable.load("nyu40")
    ids = {entry.id: entry.id for entry in table.entries} | {
        _UNLABELLED: _VOID_OF_NYU40,
        _VOID_OF_NYU40: _VOID_OF_NYU40,
    }
    return LabelMap("Hypersim's ids (NYU40's, -1 is void)", table, ids).then(map_to_space(space, table))


def _image_metadata(folder: HypersimFolder, pinhole: Pinhole) -> keys.Metadata:
    result: keys.Metadata = {keys.PLANAR_PER_RAY_DEPTH: pinhole.planar_per_ray_depth()}
    if folder.is_hdr:
        result[keys.EXPOSURE] = folder.exposure()
    return result


def _camera_sentence(pinhole: Pinhole) -> str:
    # The nominal camera has OpenGL axes; turned back by G, only the tilt is left. trace R = 1 + 2 cos(angle).
    trace = np.trace(poses.opencv_to_opengl(np.eye(4)[None])[0][:3, :3] @ pinhole.nominal_from_opencv)
    tilt = np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
    return f"focal length {pinhole.fx:.1f} pixels, lens tilted by {tilt:.1f} degrees"
