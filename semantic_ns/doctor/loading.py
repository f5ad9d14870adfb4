"""A scene as its dataparser reads it, and, where the dataparser refuses ids of its labels, with these as classes."""

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int16, Int64
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from numpy import ndarray

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParser, AutoDataParserConfig
from semantic_ns.dataparsers.hypersim import HypersimDataParserConfig
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig, require_source
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.dataparsers.replica_labels import scene_class_table
from semantic_ns.dataparsers.replica_layouts import layout_of, sequence_names
from semantic_ns.dataparsers.scannet import ScanNetDataParserConfig
from semantic_ns.dataparsers.scannet_labels import classes_in_space, find_label_table
from semantic_ns.dataparsers.scene_source import find_class_table
from semantic_ns.datasets.semantic_dataset import PinholeDataset, SemanticDataset
from semantic_ns.doctor.views import InspectedScene
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.unsure_surface import UnsureSurface
from semantic_ns.evaluation.veil import Veils
from semantic_ns.geometry import poses
from semantic_ns.geometry.world import poses_in_world
from semantic_ns.io.orientation import exif_orientation
from semantic_ns.labels.class_table import MAX_ID, ClassTable
from semantic_ns.labels.label_map import LabelMap
from semantic_ns.labels.label_spaces import NATIVE
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.many_scenes.source_coverage import SourceCoverage

_PARSERS = {
    "semantic-data": AutoDataParserConfig,
    "replica-data": ReplicaDataParserConfig,
    "nerfstudio-semantic-data": NerfstudioSemanticDataParserConfig,
    "scannet-semantic-data": ScanNetDataParserConfig,
    "hypersim-data": HypersimDataParserConfig,
}
_CONFIGS_WITH_OPENGL_FILES = (NerfstudioSemanticDataParserConfig, HypersimDataParserConfig)
_MANY_IDS = 4095
"""More than the largest id of the data sets that are common."""


@dataclass(frozen=True)
class IdMeanings:
    """What the ids in the label images mean: the name of each class, and the ids that mean void."""

    names: Mapping[int, str]
    void_ids: frozenset[int]

    @classmethod
    def of(cls, table: ClassTable, label_map: LabelMap | None) -> "IdMeanings":
        """Those of a class table, or of the ids that lead to one."""
        names = {entry.id: entry.name for entry in table.entries}
        if label_map is None:
            return cls(names, table.void_ids)
        return cls(
            {raw: names[number] for raw, number in label_map.ids.items() if number in names},
            frozenset(raw for raw, number in label_map.ids.items() if number in label_map.table.void_ids),
        )


@dataclass(frozen=True)
class LoadedScene:
    """A parsed scene.

    Attributes:
        layout: what it was recognised as, and by which dataparser.
        refusal: what the dataparser says against the ids of the labels; None if nothing.
        views: every frame once, by name.
        taxonomy: the classes.
        meanings: meanings of the ids in the label images.
        label_files: label image of each frame.
        has_depth: whether each frame has a depth image.
        has_distortion: whether the cameras have lens distortion that cannot be undone, which the comparison of views
            leaves out.
        has_known_camera: whether the camera comes from a table of the data set, where it may be far off-centre.
        split: sentence that says which frames train and which are scored.
        places: data set, and index in it, of each frame.
        find_veils: looks for veils before the cameras of a trained scene, or says why not, in words that follow
            "because"; None where nothing was trained.
        find_unsure_surface: looks where the surface of a trained scene is unsure, or says why not, likewise.
        find_coverage: says how much of each frame the sources of a trained scene see; None where the model has none.
        has_metric_format: whether poses of this format are in metres by its definition.
        notes: what was read otherwise than it stands in the files, as sentences.
    """

    layout: str
    refusal: str | None
    views: InspectedScene
    taxonomy: Taxonomy
    meanings: IdMeanings
    label_files: tuple[Path | None, ...]
    has_depth: tuple[bool, ...]
    has_distortion: bool
    has_known_camera: bool
    split: str
    places: tuple[tuple[SemanticDataset, int], ...]
    find_veils: Callable[[], Veils | str] | None = None
    find_unsure_surface: Callable[[], UnsureSurface | str] | None = None
    find_coverage: Callable[[], SourceCoverage] | None = None
    has_metric_format: bool = True
    notes: tuple[str, ...] = ()

    @property
    def is_metric(self) -> bool:
        """Whether something says how long a unit is: depth, or a format whose poses are in metres."""
        says_unknown = self.places[0][0].metadata.get(keys.HAS_UNKNOWN_SCALE, False)
        return self.has_metric_format or (any(self.has_depth) and not says_unknown)

    def read_ids(self, index: int) -> Int64[ndarray, "rows columns"] | None:
        """The ids in the label image of a frame at the size of its image, as training reads them; None without one."""
        path = self.label_files[index]
        dataset, place = self.places[index]
        return None if path is None else dataset.read_ids(path, place)

    def of_commonest_size(self) -> "LoadedScene":
        """The same with only the frames whose images have the commonest size."""
        sizes = self.views.sizes
        size = max(dict.fromkeys(sizes), key=sizes.count)
        chosen = [index for index, other in enumerate(sizes) if other == size]
        if len(chosen) == len(sizes):
            return self
        return replace(
            self,
            views=self.views.of_frames(chosen),
            label_files=tuple(self.label_files[index] for index in chosen),
            has_depth=tuple(self.has_depth[index] for index in chosen),
            places=tuple(self.places[index] for index in chosen),
        )

    def read_color(self, index: int) -> Float[ndarray, "height width 3"]:
        """The colour image in [0, 1]."""
        dataset, place = self.places[index]
        return dataset.color_of(place).double().numpy()

    def camera(self, index: int) -> Cameras:
        """A batch of the one camera of a frame, in scene units."""
        dataset, place = self.places[index]
        return dataset.cameras[place : place + 1]

    def cameras(self) -> Cameras:
        """A batch of the cameras of all frames, in scene units."""
        each = [self.camera(index) for index in range(len(self.places))]
        names = ("camera_to_worlds", "fx", "fy", "cx", "cy", "width", "height", "camera_type")
        values: dict[str, Any] = {name: torch.cat([getattr(camera, name) for camera in each]) for name in names}
        if all(camera.distortion_params is not None for camera in each):
            values["distortion_params"] = torch.cat([cast(torch.Tensor, camera.distortion_params) for camera in each])
        return Cameras(**values)


def parser_config(parser_name: str, data: Path) -> DataParserConfig:
    """The default configuration of one of this package's dataparsers, by the name that the command line has."""
    return _PARSERS[parser_name](data=data)


def load_scene(config: DataParserConfig, options: Mapping[str, str | Path] | None = None) -> LoadedScene:
    """Read a scene with the dataparser that `config` names.

    Args:
        config: configuration of a dataparser; that of `semantic-data` becomes that of the layout.
        options: fields to set in the configuration of the layout.

    Raises:
        SceneError: if the dataparser has no such option, or refuses the scene for another reason than the ids in its
            label images.
    """
    name = next((name for name, kind in _PARSERS.items() if type(config) is kind), None)
    layout = f"read as {name}" if name else "read as in the run"
    if isinstance(config, AutoDataParserConfig):
        config, layout = AutoDataParser(config).choose()
    config = _with_options(config, options or {}, layout)
    try:
        return _load(config, config, layout)
    except SceneError as error:
        refusal = error
    table = None
    with contextlib.suppress(SceneError):
        table = _own_table(config)
    if table is None:
        raise refusal
    # Large ids are rare, and a table of all of them takes seconds.
    for largest_id in (255, _MANY_IDS, MAX_ID):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "any_id.json"
            path.write_text(json.dumps(_with_every_id(table, largest_id)), "utf8")
            try:
                return replace(_load(_with_classes(config, path), config, layout), refusal=str(refusal))
            except SceneError as error:
                if str(error) == str(refusal):
                    break  # A refusal of ids names the table, so this one is of something else.
    raise refusal


def _with_options(config: DataParserConfig, options: Mapping[str, str | Path], layout: str) -> DataParserConfig:
    for name in options:
        if not hasattr(config, name):
            raise SceneError(
                f"Expected an option of the dataparser of {config.data} ({layout}), found --{name.replace('_', '-')}, "
                "which it does not have; leave it out."
            )
    return cast(Any, replace)(config, **options)


def _with_classes(config: DataParserConfig, path: Path) -> DataParserConfig:
    # ScanNet's parser takes one of the two tables, and other label spaces would make the unknown ids void.
    others = {"label_table": None, "label_space": NATIVE} if isinstance(config, ScanNetDataParserConfig) else {}
    return cast(Any, replace)(config, classes=path, **others)


def _load(config: DataParserConfig, original: DataParserConfig, layout: str) -> LoadedScene:
    """Read with `config`, and name the ids as `original` says."""
    parser = cast(DataParser, config.setup())
    parts = [parser.get_dataparser_outputs(split) for split in ("train", "val")]
    datasets = [_as_pinholes_see_it(SemanticDataset(part)) for part in parts]
    place_of_image = {image: (dataset, i) for dataset in datasets for i, image in enumerate(dataset.image_filenames)}
    images = sorted(place_of_image, key=_natural)
    places = tuple(place_of_image[image] for image in images)
    metadata = parts[0].metadata
    label_map: LabelMap | None = metadata[keys.LABEL_MAP]
    table = label_map.table if label_map is not None else _own_table(original)
    has_depth = [
        (dataset.metadata.get(keys.DEPTH_FILENAMES) or [None] * len(dataset))[i] is not None for dataset, i in places
    ]
    return LoadedScene(
        layout=layout,
        has_metric_format=not isinstance(config, NerfstudioSemanticDataParserConfig),
        refusal=None,
        views=_views(images, places, parts, isinstance(config, _CONFIGS_WITH_OPENGL_FILES)),
        taxonomy=metadata[keys.TAXONOMY],
        meanings=_meanings(table, label_map, metadata[keys.TAXONOMY]),
        label_files=tuple(dataset.metadata[keys.LABEL_FILENAMES][i] for dataset, i in places),
        has_depth=tuple(has_depth),
        has_distortion=any(_has_distortion(dataset.cameras) for dataset in datasets),
        has_known_camera=isinstance(config, HypersimDataParserConfig),
        split=metadata[keys.SPLIT],
        places=places,
        notes=metadata.get(keys.NOTES, ()),
    )


def _meanings(table: ClassTable | None, label_map: LabelMap | None, taxonomy: Taxonomy) -> IdMeanings:
    if table is None:
        names = dict(zip(taxonomy.source_ids, taxonomy.names, strict=True))
        return IdMeanings(names, frozenset(taxonomy.void_source_ids))
    return IdMeanings.of(table, label_map)


def _views(
    images: Sequence[Path],
    places: Sequence[tuple[SemanticDataset, int]],
    parts: Sequence[DataparserOutputs],
    has_opengl_files: bool,
) -> InspectedScene:
    with_depth = [part for part in parts if keys.DEPTH_FILENAMES in part.metadata]
    cameras = [dataset.cameras[i] for dataset, i in places]
    sizes = tuple((int(camera.width), int(camera.height)) for camera in cameras)
    c2w = poses_in_world(parts[0], np.stack([camera.camera_to_worlds.double().numpy() for camera in cameras]))
    intrinsics = [[float(getattr(camera, name)) for name in ("fx", "fy", "cx", "cy")] for camera in cameras]

    def read_labels(index: int) -> Int16[ndarray, "height width"]:
        dataset, place = places[index]
        return dataset.labels_of(place)

    def read_depth(index: int) -> Float32[ndarray, "height width"]:
        dataset, place = places[index]
        depth_m = dataset.depth_of(place)
        return np.zeros(sizes[index][::-1], np.float32) if depth_m is None else depth_m

    return InspectedScene(
        images=tuple(images),
        exif_orientations=tuple(exif_orientation(path) for path in images),
        c2w=poses.opencv_to_opengl(c2w),  # its own inverse
        intrinsics=np.array(intrinsics, np.float64),
        sizes=sizes,
        read_labels=read_labels,
        read_depth=read_depth if with_depth else None,
        metres_per_depth_unit=with_depth[0].metadata[keys.DEPTH_METRES_PER_UNIT] if with_depth else 1.0,
        has_opengl_files=has_opengl_files,
    )


def _as_pinholes_see_it(dataset: SemanticDataset) -> SemanticDataset:
    """The images without lens distortion, by which views are compared; as they are where it cannot be undone."""
    try:
        return PinholeDataset.of(dataset)
    except SceneError:
        return dataset


def _has_distortion(cameras: Cameras) -> bool:
    parameters = cameras.distortion_params
    return parameters is not None and bool((parameters != 0).any())


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Key by which frame_9 comes before frame_10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", str(path))]


def _own_table(config: DataParserConfig) -> ClassTable | None:
    """The class table that a scene is read with, None where the parser takes no other."""
    if isinstance(config, ReplicaDataParserConfig):
        names = sequence_names(config.data)
        is_sequence = layout_of(config.data) is not None or not names
        return scene_class_table(config.data if is_sequence else config.data / names[0], config.classes)
    if isinstance(config, ScanNetDataParserConfig):
        if config.classes is not None:
            return ClassTable.load(config.classes)
        return classes_in_space(config.label_table or find_label_table(config.data), NATIVE)[0]
    if isinstance(config, NerfstudioSemanticDataParserConfig):
        return find_class_table(require_source(config.data), config.classes)
    return None


def _with_every_id(table: ClassTable, largest_id: int) -> dict[str, Any]:
    """A class table as JSON in which every other id up to the largest is a class of its own."""
    known = {entry.id for entry in table.entries} | table.void_ids
    entries = [{"id": entry.id, "name": entry.name, "color": list(entry.color)} for entry in table.entries]
    others = [{"id": i, "name": f"id {i} (not in the class table)"} for i in range(largest_id + 1) if i not in known]
    return {"classes": entries + others, "void_id": sorted(table.void_ids)}
