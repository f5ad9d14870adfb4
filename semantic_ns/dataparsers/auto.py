"""The default dataparser: recognises the layout of a scene folder and hands over to the parser of that layout."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs

from semantic_ns.dataparsers import scene
from semantic_ns.dataparsers.nerfstudio_semantic import TRANSFORMS, NerfstudioSemanticDataParserConfig
from semantic_ns.dataparsers.replica import (
    SEQUENCE_PATTERN,
    TRAJECTORY,
    ReplicaDataParserConfig,
    is_sequence,
    sequence_names,
)
from semantic_ns.dataparsers.splits import SplitMethod
from semantic_ns.errors import SceneError

_NUM_NAMES_SHOWN = 6


@dataclass
class AutoDataParserConfig(DataParserConfig):
    """A labelled scene of any known layout; to set more options name its parser instead, for example replica-data."""

    _target: type = field(default_factory=lambda: AutoDataParser)
    data: Path = Path()
    """Folder of the scene."""
    train_sequence: str | None = None
    """Sequence to train on, for example Sequence_1 (Replica); the first one if not given."""
    eval_sequence: str | None = None
    """Sequence to score, all of it, while all of train-sequence trains (Replica)."""
    split: SplitMethod = "auto"
    """Which frames train and which are scored: published (Replica), interval, fraction, all; auto: published for
    Replica captures that look like the published ones, else interval."""
    eval_interval: int = 8
    """Every how many frames one is scored (split interval)."""
    train_fraction: float = 0.9
    """Share of the frames that trains (split fraction)."""
    classes: Path | None = None
    """Own class table, CSV (id,name[,r,g,b][,is_thing]) or JSON; else the one that belongs to the scene."""


class AutoDataParser(DataParser):
    """Recognises Replica's layout and nerfstudio's and reads the scene with the parser for it.

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
            scene.announce("semantic-data", f"found {found} in {self.config.data}")
            self._parser = cast(DataParser, parser_config.setup())
        return self._parser.get_dataparser_outputs(split, **kwargs)

    def choose(self) -> tuple[DataParserConfig, str]:
        """The configuration of the parser for this scene, and what it was recognised by.

        Raises:
            SceneError: if the layout is not known, or an option does not exist in it.
        """
        data = self.config.data
        if data.suffix == ".json" and data.is_file():
            return self._nerfstudio_config(), "a json file, which replaces transforms.json (nerfstudio-semantic-data)"
        scene.require_folder(data)
        if is_sequence(data):
            return self._replica_config(), f"rgb/ and {TRAJECTORY} (replica-data)"
        if sequence_names(data):
            return self._replica_config(), f"{', '.join(sequence_names(data))} (replica-data)"
        if (data / TRANSFORMS).is_file():
            return self._nerfstudio_config(), f"{TRANSFORMS} (nerfstudio-semantic-data)"
        raise SceneError(
            f"Expected a scene in {data}, found no known layout: looked for {SEQUENCE_PATTERN}/rgb or rgb with "
            f"{TRAJECTORY} (Replica) and for {TRANSFORMS} (nerfstudio), and it holds {_content(data)}; pass the folder "
            "of one scene."
        )

    def _replica_config(self) -> ReplicaDataParserConfig:
        config = self.config
        return ReplicaDataParserConfig(
            data=config.data,
            train_sequence=config.train_sequence,
            eval_sequence=config.eval_sequence,
            split=config.split,
            eval_interval=config.eval_interval,
            train_fraction=config.train_fraction,
            classes=config.classes,
        )

    def _nerfstudio_config(self) -> NerfstudioSemanticDataParserConfig:
        config = self.config
        if config.train_sequence or config.eval_sequence:
            raise SceneError(
                "Expected a scene with sequences (Replica) for --train-sequence and --eval-sequence, found "
                f"nerfstudio's format in {config.data}; list its train_filenames and test_filenames instead."
            )
        if config.split == "published":
            raise SceneError(
                f"Expected numbered Replica frames for --split published, found nerfstudio's format in {config.data}; "
                "choose interval, fraction or all."
            )
        return NerfstudioSemanticDataParserConfig(
            data=config.data,
            eval_mode="interval" if config.split == "auto" else config.split,
            eval_interval=config.eval_interval,
            train_split_fraction=config.train_fraction,
            classes=config.classes,
        )


def _content(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return "nothing"
    return ", ".join(names[:_NUM_NAMES_SHOWN]) + (", ..." if len(names) > _NUM_NAMES_SHOWN else "")
