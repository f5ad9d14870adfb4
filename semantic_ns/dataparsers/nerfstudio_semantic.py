"""Scenes in nerfstudio's formats with labels: nerfstudio's own dataparser, extended.

The frames are in a `transforms.json`, in a file per split (`transforms_train.json`, ...) or in a COLMAP model. Keys of
the json file beyond nerfstudio's:

- `semantic_classes` (top level): list of names, whose ids are 0, 1, 2, ... in order, or list of
  `{"id": 3, "name": "chair", "color": [r, g, b], "is_thing": true}` (the last two are optional), or a dictionary of
  names by id or of ids by name. A class named `void`, `unlabeled`, `unlabelled`, `ignore`, `ignored` or `unknown` is
  none. Without the key, the classes are those of a file `classes.csv`, `classes.json` or `classes.txt` beside it, and
  without this the ids in the label images, named `class_<id>`.
- `semantic_void_id` (top level, optional): id, or list of ids, that means void. Without it and without a class named
  so, 255 and 0 are void where no class has them; see `semantic_ns.labels.mask_values` for masks of 0 and 255.
- `semantic_has_unknown_scale` (top level, optional): true if no unit of the poses is known although there is depth,
  which is in thousandths of this unit then.
- `semantics_path` (per frame, optional): label image with one channel of ids, relative to `transforms.json`. Without
  it the one in a folder `semantics` is taken that is named like the image, see `frame_paths`; a frame without either
  trains colour only.

Depth is nerfstudio's `depth_file_path`. Depth and masks may be there for some frames only.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio, NerfstudioDataParserConfig

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers import scene
from semantic_ns.dataparsers.frame_cameras import with_cameras
from semantic_ns.dataparsers.frame_paths import SEMANTICS_FOLDER, LabelFinder, find_file, frame_files
from semantic_ns.dataparsers.scene_labels import SceneLabels, read_scene_labels
from semantic_ns.dataparsers.scene_scale import are_in_one_place, places_of, scale_by_depth
from semantic_ns.dataparsers.scene_source import TRANSFORMS, SceneSource, class_table_of, find_class_table, find_source
from semantic_ns.dataparsers.sparse_points import sparse_points_of
from semantic_ns.dataparsers.transforms_file import SPLITS, UNKNOWN_SCALE, read_frames, with_split_lists
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.images import holds_metres
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.label_map import LabelMap
from semantic_ns.labels.label_spaces import NATIVE

__all__ = [
    "SEMANTICS_FOLDER",
    "TRANSFORMS",
    "NerfstudioSemanticDataParser",
    "NerfstudioSemanticDataParserConfig",
    "frame_entries",
    "frame_files",
    "require_source",
    "transforms_path",
]

_NAME = "nerfstudio-semantic-data"
_MILLIMETRES = 1e-3


@dataclass
class NerfstudioSemanticDataParserConfig(NerfstudioDataParserConfig):
    """nerfstudio's format or a COLMAP model with labels: `semantics_path` per frame or a folder `semantics`."""

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
    """Class table, as CSV (id,name[,r,g,b][,is_thing]), JSON or text; by default semantic_classes of the JSON file, or
    classes.csv, .json or .txt beside it."""
    label_space: str = NATIVE
    """Label space to train in: native (the scene's), nyu40, nyu13, scannet20, viewseg37, or a class table (.csv or
    .json) that maps classes by its names and its column from."""
    all_classes: bool = False
    """Keep every class of the table, including those that no label image shows yet; for scenes still to be labelled
    (active learning with a folder). No label image is needed."""
    labels_optional: tyro.conf.Suppress[bool] = False
    """Whether a scene without a label image is read, with no class: for models that bring classes of their own."""
    scales_by_depth: tyro.conf.Suppress[bool] = True
    """Whether depth images set the scale of a scene whose cameras stand in nearly one place."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the configuration; a run from before `scales_by_depth` is shown as it was trained."""
        self.__dict__.update({"scales_by_depth": False} | state)


@dataclass(frozen=True)
class _Scene:
    """Everything that the splits share.

    Attributes:
        source: where the frames are.
        meta: content of the scene's file in the form that the parent reads, with absolute paths.
        files_of_image: files of each frame by the absolute path of its image.
        masks: mask of each frame, by the same path; empty where the scene has none.
        classes: classes of the scene.
        label_map: map from the ids in the label images to those of the classes.
        has_alpha: whether any image has an alpha channel.
        has_numbered_classes: whether classes have no names but `class_<id>`.
        notes: what was read otherwise than it stands in the files, as sentences.
    """

    source: SceneSource
    meta: dict[str, Any]
    files_of_image: dict[Path, scene.FrameFiles]
    masks: dict[Path, Path | None]
    classes: scene.SceneClasses
    label_map: LabelMap | None
    has_alpha: bool
    has_numbered_classes: bool
    notes: tuple[str, ...]


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
        outputs = self._parent_outputs(split, loaded)
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
            **scene.frame_metadata(
                frames, scene.frame_names(loaded.files_of_image.values()), self.config.depth_unit_scale_factor
            ),
        }
        if loaded.meta.get(UNKNOWN_SCALE) is True or all(
            frame.depth is None for frame in loaded.files_of_image.values()
        ):
            metadata[keys.HAS_UNKNOWN_SCALE] = True
        if loaded.has_numbered_classes:
            metadata[keys.HAS_NUMBERED_CLASSES] = True
        if loaded.has_alpha:
            metadata[keys.HAS_ALPHA] = True
        if loaded.notes:
            metadata[keys.NOTES] = loaded.notes
        if loaded.masks:
            metadata[keys.MASK_FILENAMES] = [loaded.masks[path] for path in outputs.image_filenames]
        metadata |= sparse_points_of(loaded.source, loaded.meta, outputs)
        outputs.metadata = metadata
        outputs.image_filenames = [frame.image for frame in frames]
        if loaded.source.has_white_background:
            outputs.alpha_color = metadata[keys.ALPHA_COLOR] = torch.ones(3)
        return outputs

    def _load(self) -> _Scene:
        source = require_source(self.config.data)
        path = source.path
        if self.config.downscale_factor not in (None, 1):
            raise SceneError(
                f"Expected --downscale-factor 1 for {path}, found {self.config.downscale_factor}; labels have the size "
                "of the full images, so leave it out."
            )
        # Images above 1600 pixels must not make the parent look for images_2.
        self.downscale_factor = 1
        meta = source.read()
        found = read_frames(meta, path, source.further_folders)
        num_of_stem = Counter(Path(entry["file_path"]).stem for entry in found.entries)
        finder = LabelFinder(source.folder, num_of_stem)
        frames = [frame_files(entry, num_of_stem, source.folder, finder) for entry in found.entries]
        # Before the images: a scene without its classes is of no use, however large.
        table = self._class_table(source, meta, frames)
        headers = scene.image_headers([frame.image for frame in frames])
        sizes = [header.size for header in headers]
        meta, camera_notes = with_cameras(meta, found.entries, sizes, path)
        meta = with_split_lists(meta, found.entries, path)
        labels = self._labels(frames, sizes, table, source.folder)
        num_converted = sum(not header.is_plain for header in headers)
        num_with_alpha = sum(header.has_alpha for header in headers)
        depths = [frame.depth for frame in frames if frame.depth is not None]
        if depths and self.config.depth_unit_scale_factor == _MILLIMETRES and holds_metres(depths[0]):
            self._set(depth_unit_scale_factor=1.0)
            announce(_NAME, f"depth is read in metres, since {depths[0]} holds fractions")
        self._adapt_to(meta, [frame.depth for frame in frames])
        of_images = []
        if num_converted:
            of_images.append(f"{num_converted} of {len(frames)} images are converted to 8 bit grey or RGB")
        if 0 < num_with_alpha < len(frames):
            of_images.append(f"{num_with_alpha} of {len(frames)} images have an alpha channel; the others are opaque")
        notes = (*found.notes, *camera_notes, *of_images, *labels.notes)
        for note in (*notes, *labels.doubts):
            announce(_NAME, note)
        return _Scene(
            source=source,
            meta=_for_the_parent(meta, source),
            files_of_image={frame.image.absolute(): frame for frame in frames},
            masks=_masks(found.entries, source),
            classes=labels.classes,
            label_map=labels.label_map,
            has_alpha=num_with_alpha > 0,
            has_numbered_classes=labels.are_numbered,
            notes=notes if labels.rule is None else (*notes, labels.rule),
        )

    def _class_table(self, source: SceneSource, meta: Any, frames: Sequence[scene.FrameFiles]) -> ClassTable | None:
        """The class table of the scene; None where it needs none, or has label images and no names of their ids."""
        is_unlabelled = scene.classes_without_labels(frames) is not None
        if self.config.labels_optional and is_unlabelled:
            return None
        # Who says what is void has classes in mind, whose names are then missing.
        needs_names = is_unlabelled or self.config.all_classes or "semantic_void_id" in meta
        return (class_table_of if needs_names else find_class_table)(source, self.config.classes, meta)

    def _labels(
        self,
        frames: Sequence[scene.FrameFiles],
        sizes: Sequence[scene.ImageSize],
        table: ClassTable | None,
        folder: Path,
    ) -> SceneLabels:
        without = scene.classes_without_labels(frames)
        if table is None and without is not None:
            return SceneLabels(without, None, ())
        return read_scene_labels(frames, sizes, table, folder, self.config.label_space, self.config.all_classes)

    def _adapt_to(self, meta: Mapping[str, Any], depths: Sequence[Path | None]) -> None:
        """Change what the parent cannot do for a scene: scale cameras of one place, or split a single frame."""
        changes: dict[str, Any] = {}
        config, entries = self.config, meta["frames"]
        if are_in_one_place(places_of(entries), at_origin=config.center_method == "none"):
            changes["auto_scale_poses"] = False  # the parent would divide by how far they lie apart
        scales = config.scales_by_depth and config.auto_scale_poses
        if scales and (scale := scale_by_depth(entries, meta, depths, config.depth_unit_scale_factor)) is not None:
            changes |= {"auto_scale_poses": False, "scale_factor": scale * config.scale_factor}
            announce(
                _NAME,
                f"cameras stand in nearly one place and see {1 / scale:.3g} m far by the depth images, which are the "
                "unit now; nerfstudio-semantic-data --auto-scale-poses False leaves the poses as they are",
            )
        if len(entries) == 1:
            changes["eval_mode"] = "all"
        self._set(**changes)

    def _set(self, **changes: Any) -> None:
        config = replace(self.config, **changes)
        self.config = config  # pyright: ignore[reportIncompatibleVariableOverride]

    def _parent_outputs(self, split: str, loaded: _Scene) -> DataparserOutputs:
        """The parent's outputs of a split; where the file lists only one of val and test, both mean this one."""
        listed = [name for name in SPLITS if f"{name}_filenames" in loaded.meta]
        if listed and split not in listed and split != "train":
            split = next((name for name in ("val", "test") if name in listed), split)
        try:
            outputs = self._read_by_the_parent(split, loaded.meta)
        except (AssertionError, ArithmeticError, RuntimeError, KeyError, ValueError, IndexError, OSError) as error:
            raise SceneError(
                f"Expected a scene in nerfstudio's format in {self.config.data}, found that nerfstudio cannot read its "
                f"split {split} ({' '.join(str(error).split()) or type(error).__name__}); correct {loaded.source.path}."
            ) from error
        if not outputs.image_filenames:
            raise SceneError(
                f"Expected images in the split {split} of {self.config.data}, found none; choose another --eval-mode, "
                "--eval-interval or --train-split-fraction."
            )
        return outputs

    def _read_by_the_parent(self, split: str, meta: dict[str, Any]) -> DataparserOutputs:
        given = self.config
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / TRANSFORMS
            path.write_text(json.dumps(meta), "utf8")
            try:
                self.config = replace(given, data=path)  # pyright: ignore[reportIncompatibleVariableOverride]
                return super()._generate_dataparser_outputs(split)
            finally:
                self.config = given  # pyright: ignore[reportIncompatibleVariableOverride]

    def _describe_split(self, split: str, outputs: DataparserOutputs, loaded: _Scene) -> str:
        other = self._parent_outputs("val" if split == "train" else "train", loaded)
        train, evaluation = (outputs, other) if split == "train" else (other, outputs)
        place_of_image = {image: place for place, image in enumerate(loaded.files_of_image)}
        if not (self.config.all_classes or self.config.labels_optional):
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
        is_listed = any(f"{name}_filenames" in loaded.meta for name in SPLITS)
        rule = f"lists of file names in {loaded.source.path.name}" if is_listed else rules[config.eval_mode]
        sentence = f"{rule}: {len(train.image_filenames)} train, {len(evaluation.image_filenames)} test images"
        scene.announce_scene(_NAME, str(config.data), loaded.classes, loaded.label_map, sentence)
        return sentence


def require_source(data: Path) -> SceneSource:
    """Where the frames of a scene are.

    Raises:
        SceneError: if the folder is missing, or holds neither json files of nerfstudio's nor a COLMAP model.
    """
    source = find_source(data)
    if source is None:
        raise SceneError(
            f"Expected {TRANSFORMS} in {data}, found none, and neither transforms_train.json nor a COLMAP model; pass "
            "the folder of a scene in nerfstudio's format."
        )
    return source


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
    """The frames of the json file in their order, checked, see `transforms_file.read_frames`.

    Args:
        meta: the content of the file.
        path: the file, for errors.

    Raises:
        SceneError: if there is no frame, a frame has no image path or no such pose, or two frames of one image
            differ.
    """
    return read_frames(meta, path).entries


def _masks(entries: Sequence[Mapping[str, Any]], source: SceneSource) -> dict[Path, Path | None]:
    """The mask of each frame by the absolute path of its image; nothing where no frame has one."""
    named = {Path(entry["file_path"]).absolute(): entry.get("mask_path") for entry in entries}
    if not any(named.values()):
        return {}
    return {
        image: find_file(mask, source.folder, source.mask_folders) if mask else None for image, mask in named.items()
    }


def _for_the_parent(meta: Mapping[str, Any], source: SceneSource) -> dict[str, Any]:
    """The content with absolute paths, and without what this package reads itself."""
    own = ("mask_path", "depth_file_path", "depth_path", "semantics_path")
    frames = [
        {key: value for key, value in entry.items() if key not in own}
        | {"file_path": Path(entry["file_path"]).absolute().as_posix()}
        for entry in meta["frames"]
    ]
    lists = {
        key: [Path(path).absolute().as_posix() for path in meta[key]]
        for key in (f"{split}_filenames" for split in SPLITS)
        if key in meta
    }
    points = meta.get("ply_file_path")
    ply = {"ply_file_path": find_file(points, source.folder).absolute().as_posix()} if points else {}
    return {**meta, **lists, **ply, "frames": frames}
