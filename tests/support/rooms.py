"""Small folders of scenes in different layouts."""

import json
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.dataparsers.many_scenes import ManyScenesDataParser, ManyScenesDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.synthetic_scene import write_nerfstudio_scene, write_replica_scene
from support.hand_made_scene import rewrite

SIZES = {"replica": (24, 18), "studio": (32, 24)}
"""Width and height of the images of the scenes of `write_rooms`."""
NUM_FRAMES = {"replica": 9, "studio": 6}


def write_rooms(folder: Path) -> Path:
    """Write `replica` in Replica's layout, `studio` in nerfstudio's, and a folder `notes` that is no scene."""
    write_replica_scene(folder / "replica", NUM_FRAMES["replica"], *SIZES["replica"], seed=1)
    write_nerfstudio_scene(folder / "studio", NUM_FRAMES["studio"], *SIZES["studio"], seed=2)
    (folder / "notes").mkdir()
    (folder / "notes" / "readme.txt").write_text("kitchen to be recorded again")
    return folder


def rename_classes(folder: Path, names: dict[str, str]) -> None:
    """Give classes in a scene's `transforms.json` other names; `names` has the new name by the old one."""

    def change(content: dict[str, Any]) -> None:
        for entry in content["semantic_classes"]:
            entry["name"] = names.get(entry["name"], entry["name"])

    rewrite(folder, change)


def class_names(folder: Path) -> list[str]:
    """Names of the classes in a scene's `transforms.json`."""
    return [entry["name"] for entry in json.loads((folder / "transforms.json").read_text())["semantic_classes"]]


def parser_of(data: Path, **options: Any) -> ManyScenesDataParser:
    """A parser of many scenes."""
    parser = ManyScenesDataParserConfig(data=data, **options).setup()
    assert isinstance(parser, ManyScenesDataParser)
    return parser


def note_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A list to which colour images are added in the order in which they are read from now on."""
    found: list[Path] = []
    original = SemanticDataset.get_numpy_image

    def noted(dataset: SemanticDataset, image_idx: int) -> Any:
        found.append(dataset.image_filenames[image_idx])
        return original(dataset, image_idx)

    monkeypatch.setattr(SemanticDataset, "get_numpy_image", noted)
    return found


def read_everything(data: Path, **options: Any) -> None:
    parser = parser_of(data, **options)
    for scene in parser.training_scenes:
        parser.training_outputs(scene)
    parser.get_dataparser_outputs("train")


def expect_one_sentence(data: Path, message: str, **options: Any) -> None:
    with pytest.raises(SceneError, match=message) as raised:
        read_everything(data, **options)
    assert "\n" not in str(raised.value)
