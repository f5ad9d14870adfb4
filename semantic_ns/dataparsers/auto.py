"""The default dataparser: recognises the layout of a scene folder and hands over to the parser of that layout."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import tyro
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs

from semantic_ns.dataparsers import scene
from semantic_ns.dataparsers.hypersim import HypersimDataParserConfig
from semantic_ns.dataparsers.nerfstudio_semantic import TRANSFORMS, NerfstudioSemanticDataParserConfig
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.dataparsers.replica_layouts import EXPECTED, layout_of, sequence_names
from semantic_ns.dataparsers.scannet import ScanNetDataParserConfig
from semantic_ns.dataparsers.scannet_frames import find_frames
from semantic_ns.dataparsers.scene_source import find_source
from semantic_ns.dataparsers.splits import SplitConfig, SplitMethod
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.labels.label_spaces import NATIVE

_HYPERSIM_IMAGES = "images/scene_cam_*"
_NUM_NAMES_SHOWN = 6


@dataclass
class AutoDataParserConfig(SplitConfig, DataParserConfig):
    """A labelled scene of any known layout; to set more options name its parser instead, for example replica-data."""

    _target: type = field(default_factory=lambda: AutoDataParser)
    data: Path = Path()
    """Folder of the scene."""
    train_sequence: str | None = None
    """Sequence to train on, such as Sequence_1 (Replica); by default the first one."""
    eval_sequence: str | None = None
    """Sequence of which every frame is scored, while every frame of train-sequence trains (Replica)."""
    split: SplitMethod = "auto"
    """Split into training and test frames: published (not in nerfstudio's format), interval, fraction, or all. auto
    takes the published split for Replica and ScanNet captures that match it, else interval."""
    classes: Path | None = None
    """Class table, as CSV (id,name[,r,g,b][,is_thing]) or JSON; by default the one that belongs to the scene."""
    label_space: str | None = None
    """Label space to train in: native (the scene's), nyu40, nyu13, scannet20, viewseg37, or a class table (.csv or
    .json) that maps classes by its names and its column from. The default is nyu40 for ScanNet and native otherwise.
    The mapping from Replica to NYU40 is this project's proposal."""
    all_classes: bool = False
    """Keep every class of the table, including those that no label image shows yet; for scenes still to be labelled
    (nerfstudio's format only)."""
    labels_optional: tyro.conf.Suppress[bool] = False
    """Whether a scene without a label image is read, with no class: for models that bring classes of their own."""
    scales_by_depth: tyro.conf.Suppress[bool] = True
    """Whether depth images set the scale of a scene whose cameras stand in nearly one place."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the configuration; a run from before `scales_by_depth` is shown as it was trained."""
        self.__dict__.update({"scales_by_depth": False} | state)


class AutoDataParser(DataParser):
    """Recognises Replica's layouts, nerfstudio's, Hypersim's, ScanNet's and COLMAP's, and hands over to their parsers.

    Raises:
        SceneError: if the folder has no known layout (says what was looked for), and whatever the parser raises.
    """

    config: AutoDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: AutoDataParserConfig) -> None:
        super().__init__(config)
        self._parser: DataParser | None = None

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        if self._parser is None:
            parser_config, found = self.choose()
            announce("semantic-data", f"found {found} in {self.config.data}", is_routine=True)
            self._parser = cast(DataParser, parser_config.setup())
        return self._parser.get_dataparser_outputs(split, **kwargs)

    def choose(self) -> tuple[DataParserConfig, str]:
        """The configuration of the parser for this scene, and what it was recognised by.

        Raises:
            SceneError: if the layout is not known, or an option does not exist in it.
        """
        chosen = self._choose()
        if self.config.all_classes and not isinstance(chosen[0], NerfstudioSemanticDataParserConfig):
            raise SceneError(
                f"Expected a scene in nerfstudio's format for --all-classes, found {chosen[1]} in {self.config.data}; "
                "leave it out."
            )
        return chosen

    def _choose(self) -> tuple[DataParserConfig, str]:
        data = self.config.data
        if data.suffix == ".json" and data.is_file():
            return self._nerfstudio_config(), "a json file, which replaces transforms.json (nerfstudio-semantic-data)"
        scene.require_folder(data)
        layout = layout_of(data)
        # Scenes in nerfstudio's format may keep their images in rgb/ too.
        is_nerfstudio = (data / TRANSFORMS).is_file() and not (layout and (data / layout.trajectory).is_file())
        if layout and not is_nerfstudio:
            files = f"{Path(layout.image).parent}/ and {layout.trajectory}"
            return self._replica_config(), f"{files} of {layout.name} (replica-data)"
        if sequence_names(data):
            return self._replica_config(), f"{', '.join(sequence_names(data))} (replica-data)"
        if is_nerfstudio:
            return self._nerfstudio_config(), f"{TRANSFORMS} (nerfstudio-semantic-data)"
        return self._choose_further()

    def _choose_further(self) -> tuple[DataParserConfig, str]:
        data = self.config.data
        if any(data.glob(_HYPERSIM_IMAGES)):
            return self._hypersim_config(), f"{_HYPERSIM_IMAGES} (hypersim-data)"
        if frames := find_frames(data):
            return self._scannet_config(), f"{frames.path} with ScanNet's frames (scannet-semantic-data)"
        if source := find_source(data):
            return self._nerfstudio_config(), f"{source.found} (nerfstudio-semantic-data)"
        raise SceneError(
            f"Expected a scene in {data}, found no known layout: looked for {EXPECTED}, for {TRANSFORMS} (nerfstudio), "
            "transforms_train.json (nerf_synthetic), sparse/0 (COLMAP), lowres_wide.traj (ARKitScenes), "
            f"{_HYPERSIM_IMAGES} (Hypersim), and color with pose or a .sens file (ScanNet), and it holds "
            f"{_content(data)}; pass the folder of one scene."
        )

    def _replica_config(self) -> ReplicaDataParserConfig:
        config = self.config
        return ReplicaDataParserConfig(
            data=config.data,
            train_sequence=config.train_sequence,
            eval_sequence=config.eval_sequence,
            **self._split(),
            classes=config.classes,
            label_space=config.label_space or NATIVE,
            labels_optional=config.labels_optional,
        )

    def _nerfstudio_config(self) -> NerfstudioSemanticDataParserConfig:
        config = self.config
        self._refuse_sequences("nerfstudio's format", "list its train_filenames and test_filenames instead")
        if config.split == "published":
            raise SceneError(
                f"Expected numbered frames for --split published, found nerfstudio's format in {config.data}; choose "
                "interval, fraction or all."
            )
        return NerfstudioSemanticDataParserConfig(
            data=config.data,
            eval_mode="interval" if config.split == "auto" else config.split,
            eval_interval=config.eval_interval,
            train_split_fraction=config.train_fraction,
            classes=config.classes,
            label_space=config.label_space or NATIVE,
            all_classes=config.all_classes,
            labels_optional=config.labels_optional,
            scales_by_depth=config.scales_by_depth,
        )

    def _hypersim_config(self) -> HypersimDataParserConfig:
        config = self.config
        self._refuse_sequences("a Hypersim scene", "name a camera with hypersim-data --camera instead")
        if config.classes is not None:
            raise SceneError(
                "Expected a scene with ids of its own for --classes, found a Hypersim scene, whose ids are NYU40's, "
                f"in {config.data}; pass the table by --label-space instead."
            )
        return HypersimDataParserConfig(
            data=config.data,
            **self._split(auto="interval"),
            label_space=config.label_space or NATIVE,
            labels_optional=config.labels_optional,
        )

    def _scannet_config(self) -> ScanNetDataParserConfig:
        config = self.config
        self._refuse_sequences("a ScanNet scan", "leave them out")
        return ScanNetDataParserConfig(
            data=config.data,
            **self._split(),
            classes=config.classes,
            label_space=config.label_space,
            labels_optional=config.labels_optional,
        )

    def _split(self, auto: SplitMethod = "auto") -> dict[str, Any]:
        """The options of the split, by name; `auto` becomes the given method."""
        method = auto if self.config.split == "auto" else self.config.split
        return {entry.name: getattr(self.config, entry.name) for entry in fields(SplitConfig)} | {"split": method}

    def _refuse_sequences(self, found: str, remedy: str) -> None:
        config = self.config
        if config.train_sequence or config.eval_sequence:
            raise SceneError(
                "Expected a scene with sequences (Replica) for --train-sequence and --eval-sequence, found "
                f"{found} in {config.data}; {remedy}."
            )


def _content(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return "nothing"
    return ", ".join(names[:_NUM_NAMES_SHOWN]) + (", ..." if len(names) > _NUM_NAMES_SHOWN else "")
