"""Runs over many rooms, opened after the rooms of their training have changed."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from nerfstudio.scripts.eval import ComputePSNR
from nerfstudio.scripts.render import DatasetRender
from nerfstudio.scripts.train import main as train

from semantic_ns.errors import SceneError
from semantic_ns.methods.gsnerf_small.method import gsnerf_small
from semantic_ns.run_paths import SCENE_VARIABLE
from semantic_ns.runs import load_run
from semantic_ns.trainer import SemanticTrainerConfig
from support.new_rooms import change_transforms, write_room
from support.rooms import class_names


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `rooms` and the `run` that was trained on them."""
    folder = tmp_path_factory.mktemp("home")
    for seed, name in enumerate(("b_room", "c_room")):
        write_room(folder / "rooms" / name, seed)
    config = cast(SemanticTrainerConfig, copy.deepcopy(gsnerf_small.config))
    config.output_dir = tmp_path_factory.mktemp("outputs")  # not among the rooms
    config.timestamp, config.vis, config.max_num_iterations = "run", "tensorboard", 1
    config.machine.device_type = "cpu"
    pipeline = cast(Any, config.pipeline)
    pipeline.datamanager.data, pipeline.eval_images_at_end = folder / "rooms", 0
    pipeline.model.encoder, pipeline.model.rays_per_target = "unet", 16
    train(config)
    shutil.copytree(config.get_base_dir(), folder / "run")  # a log that is open stays where it is
    return folder


def add_room_of_reversed_names(rooms: Path) -> None:
    """A room that comes first, whose ids stand for the same classes from the last one to the first."""

    def reverse(content: dict[str, Any]) -> None:
        entries = content["semantic_classes"]
        names = [entry["name"] for entry in entries]
        for entry, name in zip(entries, reversed(names), strict=True):
            entry["name"] = name

    change_transforms(write_room(rooms / "a_room", 5), reverse)


def change_parser(run: Path, **options: Any) -> None:
    """Change options of the dataparser in the configuration of a run."""
    config = yaml.load((run / "config.yml").read_text(), Loader=yaml.Loader)
    for name, value in options.items():
        setattr(config.pipeline.datamanager.dataparser, name, value)
    (run / "config.yml").write_text(yaml.dump(config))


def forget_label_space(run: Path) -> None:
    """Let a run be as those were whose configuration has no label space."""
    change_parser(run, label_space=None)


def names_of(home: Path) -> tuple[str, ...]:
    return load_run(home / "run/config.yml").model.taxonomy.names


@pytest.fixture
def home(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy whose run reads the copied rooms."""
    copied = Path(shutil.copytree(trained, tmp_path / "home"))
    monkeypatch.setenv(SCENE_VARIABLE, str(copied / "rooms"))
    return copied


def test_classes_of_a_run_keep_their_names_whatever_rooms_come_later(home: Path) -> None:
    before = class_names(home / "rooms/b_room")
    add_room_of_reversed_names(home / "rooms")
    assert list(names_of(home)) == before


def test_a_run_without_a_label_space_opens_over_its_rooms_and_is_refused_where_the_order_of_classes_is_another(
    home: Path,
) -> None:
    def change(content: dict[str, Any]) -> None:
        for number, entry in enumerate(content["semantic_classes"]):
            entry["name"], entry["color"] = entry["name"].upper(), [number, 1, 200]

    forget_label_space(home / "run")
    before = class_names(home / "rooms/b_room")
    change_transforms(home / "rooms/b_room", change)
    assert list(names_of(home)) == [name.upper() for name in before]
    add_room_of_reversed_names(home / "rooms")
    with pytest.raises(SceneError, match=rf"found '{before[-1]}' in place of '{before[0]}' as class 0"):
        names_of(home)


@pytest.mark.parametrize("room", ["rooms/b_room", "rooms/c_room", "new_room"])
def test_a_run_that_held_a_room_out_renders_and_scores_any_room_by_itself(
    room: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_parser(home / "run", held_out_scenes=("c_room",), view_scene="c_room")
    write_room(home / "new_room", 7)
    rendered, path = tmp_path / "rendered", home / "run/config.yml"
    monkeypatch.setenv(SCENE_VARIABLE, str(home / room))
    ComputePSNR(path, tmp_path / "scores.json").main()
    count = json.loads((tmp_path / "scores.json").read_text())["results"]["num_images"]
    DatasetRender(
        path, data=home / room, output_path=rendered, split="test", image_format="png", rendered_output_names=["rgb"]
    ).main()
    assert len(list(rendered.rglob("*.png"))) == count > 0
