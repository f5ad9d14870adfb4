"""ScanNet scans (Dai et al. 2017) with their published 2D labels, from exported folders or the `.sens` file.

`scannet_frames` says where the files lie. The world has z up and is metric, poses are OpenCV camera to world, and depth
is planar in millimetres. Label images hold raw ids, which ScanNet's own table leads to NYU40 (`scannet_labels`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import Float64, Int64
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig
from numpy import ndarray

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers import scannet_frames, scene
from semantic_ns.dataparsers.frame_cache import (
    cache_folder,
    four_thirds_color,
    four_thirds_labels,
    rows_to_four_thirds,
)
from semantic_ns.dataparsers.posed_scene import Intrinsics, PosedFrame, PosedScene
from semantic_ns.dataparsers.posed_scene_parser import PosedSceneParser
from semantic_ns.dataparsers.scannet_camera import color_intrinsics, resized
from semantic_ns.dataparsers.scannet_labels import (
    NYU40,
    TABLE_NAME,
    UNLABELLED,
    classes_in_space,
    find_label_table,
)
from semantic_ns.dataparsers.sens_export import DEPTH_UNITS_PER_METRE
from semantic_ns.dataparsers.splits import Split, SplitConfig, SplitMethod, split_frames
from semantic_ns.errors import SceneError
from semantic_ns.geometry import poses
from semantic_ns.io.console import announce
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.label_map import LabelMap, void_id_of
from semantic_ns.labels.label_spaces import NATIVE, map_to_space

_NEAR_FAR_M = (0.1, 10.0)
_PAPER_SIZE = (320, 240)
_PAPER_CACHE = "frames_320x240"


@dataclass
class ScanNetDataParserConfig(SplitConfig, DataParserConfig):
    """A ScanNet scan with labels: exported folders (color, depth, pose, intrinsic, label-filt) or its .sens file."""

    _target: type = field(default_factory=lambda: ScanNetDataParser)
    data: Path = Path()
    """Folder of a scan, such as scans/scene0000_00."""
    label_space: str | None = None
    """Label space to train in: nyu40, nyu13, scannet20, viewseg37, a class table (.csv or .json), or native for the ids
    in the images. The default is nyu40, or native with --classes."""
    label_table: Path | None = None
    """ScanNet's scannetv2-labels.combined.tsv; by default it is searched for in the scan's folder and the folders
    above."""
    classes: Path | None = None
    """Class table for label images that hold no raw ids: CSV (id,name[,r,g,b][,is_thing]), JSON, or nyu40."""
    num_frames: int = 300
    """Number of training frames, evenly spaced over those with a pose (split published), or of all frames (other
    splits). All are used if there are fewer."""
    split: SplitMethod = "auto"
    """Split into training and test frames: published (num-frames train, the frames halfway between are scored),
    interval, fraction, or all. auto takes the published split if there are enough frames, else interval."""
    paper_size: bool = False
    """Resize images as Semantic-NeRF does: two black, void rows are added above and below (968 become 972 rows, 4:3),
    then 320x240. The copies are kept in a folder frames_320x240."""
    camera_margin: float = 1.0
    """Margin around the camera positions, in metres, that is inside the unit cube of the scene."""
    labels_optional: tyro.conf.Suppress[bool] = False
    """Whether a scene without a label image is read, with no class: for models that bring classes of their own."""


class ScanNetDataParser(PosedSceneParser):
    """Reads a ScanNet scan; world and scene have z up, and the scale is metric.

    Frames without a finite pose (tracking was lost) are dropped first, then frames are chosen and split. Classes,
    centre and scale come from the chosen frames of all splits. The scene's axis alignment is not applied.

    Raises:
        SceneError: on any scan that cannot be used, see `semantic_ns.dataparsers.scene`; ScanNet's label table is
            needed unless `classes` says what the ids mean.
    """

    config: ScanNetDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def _load(self) -> PosedScene:
        config = self.config
        source = _find_source(config.data)
        table, label_map = self._classes()
        c2w_of, num_dropped = _finite_poses(source)
        numbers, split = self._choose(np.array(list(c2w_of)))
        c2w = np.stack([c2w_of[number] for number in numbers])
        names = [f"frame {number} of {source.path}" for number in numbers]
        poses.check_poses(c2w, names)
        folder = source.provide(set(numbers))
        frames = tuple(
            PosedFrame(**vars(files), id=number, pose_name=name, c2w_opencv=pose)
            for files, number, name, pose in zip(_files(folder, config.data, numbers), numbers, names, c2w, strict=True)
        )
        if config.classes is None:
            scannet_frames.require_raw_ids(frame.label for frame in frames if frame.label is not None)
        size = scene.common_image_size([frame.image for frame in frames])
        camera, camera_sentence = color_intrinsics(folder, config.data, size)
        if config.paper_size:
            frames, camera = _in_paper_size(frames, camera, config.data, self._void_id())
        classes = scene.classes_without_labels(frames) if config.labels_optional else None
        if classes is None:
            classes = scene.read_classes(frames, camera.size, table, config.data, label_map, any_label_size=True)
        if not config.labels_optional:
            scene.require_training_labels(classes, split.train.tolist(), config.data)
        announce(
            scannet_frames.PARSER_NAME,
            f"{source.path}, {len(c2w_of)} frames with a finite pose ({num_dropped} without dropped), "
            f"{camera_sentence}, {classes.taxonomy.num_classes} classes of "
            f"{table.name if label_map is None else label_map.name}, split {split.sentence}",
        )
        return PosedScene(
            frames=frames,
            intrinsics=camera,
            classes=classes,
            label_map=label_map,
            split=split,
            similarity=poses.centre_and_scale(c2w, config.camera_margin),
            depth_metres_per_unit=1 / DEPTH_UNITS_PER_METRE,
            further_metadata={keys.NEAR_FAR_M: _NEAR_FAR_M},
        )

    def _classes(self) -> tuple[ClassTable, LabelMap | None]:
        config = self.config
        if config.classes is not None:
            if config.label_table is not None:
                raise SceneError(
                    "Expected either --classes, for ids of your own, or --label-table, for ScanNet's raw ids, found "
                    f"{config.classes} and {config.label_table}; leave out one."
                )
            table = ClassTable.load(config.classes)
            label_map = map_to_space(config.label_space or NATIVE, table)
            return (table if label_map is None else label_map.table), label_map
        label_table = config.label_table or scene.find_upwards(config.data, TABLE_NAME)
        if label_table is None and config.labels_optional:
            return ClassTable("no class table", (), frozenset({UNLABELLED})), None
        return classes_in_space(label_table or find_label_table(config.data), config.label_space or NYU40)

    def _void_id(self) -> int:
        """The id that means void in the label images, not in the label space."""
        return UNLABELLED if self.config.classes is None else void_id_of(ClassTable.load(self.config.classes))

    def _choose(self, numbers: Int64[ndarray, "numbers"]) -> tuple[list[int], Split]:
        """The frames to use, ascending, and which of them train and which are scored."""
        config, count = self.config, self.config.num_frames
        if count < 2:
            raise SceneError(f"Expected --num-frames of 2 or more, found {count}; raise it.")
        method = config.split
        if method == "auto":
            method = "published" if len(numbers) >= 2 * count else "interval"
        if method == "published":
            return _published(numbers, count, config.data)
        kept = numbers[_evenly(len(numbers), count)].tolist()
        return kept, split_frames(kept, config.split_options(method), str(config.data))


def _find_source(data: Path) -> scannet_frames.ExportedFrames | scannet_frames.SensFrames:
    scene.require_folder(data)
    source = scannet_frames.find_frames(data)
    if source is None:
        raise SceneError(
            f"Expected a ScanNet scan in {data}, found neither folders color and pose (there, in frames or in "
            "renders) nor a .sens file; pass the folder of one scan."
        )
    return source


def _finite_poses(
    source: scannet_frames.ExportedFrames | scannet_frames.SensFrames,
) -> tuple[dict[int, Float64[ndarray, "4 4"]], int]:
    """The finite poses by frame number, ascending, and how many are not finite."""
    everything = source.poses()
    finite = {number: pose for number, pose in everything.items() if np.isfinite(pose).all()}
    if not finite:
        raise SceneError(
            f"Expected frames with colour and a finite pose in {source.path}, found none among {len(everything)}; "
            "export the scan again."
        )
    return finite, len(everything) - len(finite)


def _evenly(total: int, count: int, is_half_way: bool = False) -> Int64[ndarray, "count"]:
    """`count` indices into `total` items (all if there are fewer): i total / count, or half a step on, rounded down."""
    count = min(total, count)
    return (2 * np.arange(count) + is_half_way) * total // (2 * count)


def _published(numbers: Int64[ndarray, "numbers"], count: int, data: Path) -> tuple[list[int], Split]:
    """As in the paper (Zhi et al. 2021): about 300 frames train; as in its code, those half-way between are scored."""
    if len(numbers) < 2 * count:
        raise SceneError(
            f"Expected {2 * count} frames or more in {data} for --split published with --num-frames {count}, found "
            f"{len(numbers)}; choose another --split, or lower --num-frames (an option of scannet-semantic-data)."
        )
    train, evaluation = (_evenly(len(numbers), count, is_half_way) for is_half_way in (False, True))
    used = np.union1d(train, evaluation)
    sentence = (
        f"published ({count} of {len(numbers)} frames, evenly spread, train, those half-way between are scored): "
        f"{count} train, {count} test images"
    )
    split = Split(np.searchsorted(used, train), np.searchsorted(used, evaluation), sentence)
    return numbers[used].tolist(), split


def _files(folder: Path, data: Path, numbers: Sequence[int]) -> list[scene.FrameFiles]:
    colors, depths = scannet_frames.color_and_depth(folder)
    label_folder = scannet_frames.label_folder(data)
    labels = scannet_frames.numbered_files(label_folder, (".png",))
    return [
        scene.FrameFiles(
            image=colors[number],
            label=labels.get(number),
            depth=depths.get(number),
            label_export_name=labels.get(number, label_folder / f"{number}.png").relative_to(data).as_posix(),
        )
        for number in numbers
    ]


def _in_paper_size(
    frames: Sequence[PosedFrame], camera: Intrinsics, data: Path, void: int
) -> tuple[tuple[PosedFrame, ...], Intrinsics]:
    """Copies of colour and labels with rows added to 4:3, at 320x240, and their camera; depth stays as it is.

    Semantic-NeRF takes depth, which is 4:3, to show what the image with its rows shows, and so does this.
    """
    cache = cache_folder(data, _PAPER_CACHE)
    rows = rows_to_four_thirds(camera.size, frames[0].image)

    def copied(frame: PosedFrame) -> PosedFrame:
        image = four_thirds_color(frame.image, cache / "color" / f"{frame.id}.png", _PAPER_SIZE)
        label = frame.label and four_thirds_labels(
            frame.label, cache / f"{frame.label.parent.name}_void_{void}" / f"{frame.id}.png", _PAPER_SIZE, void
        )
        return replace(frame, image=image, label=label)

    return tuple(map(copied, frames)), resized(camera, _PAPER_SIZE, rows)
