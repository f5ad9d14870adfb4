"""The menu of scenes says from which scene views are rendered."""

import copy
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.methods.gsnerf_small.method import gsnerf_small
from semantic_ns.viewer.scene_menu import SceneMenu
from support.registered import SMALL, configured


def test_the_chosen_scene_is_the_one_of_its_name() -> None:
    menu = SceneMenu(["kitchen", "office"], 1)
    assert menu.number == 1
    assert menu.menu is not None
    menu.menu.default_value = "kitchen"
    assert menu.number == 0


@pytest.mark.parametrize(("names", "shown"), [(["kitchen"], 0), (["kitchen", "office"], None)])
def test_there_is_no_menu_where_there_is_nothing_to_choose(names: list[str], shown: int | None) -> None:
    menu = SceneMenu(names, shown)
    assert menu.menu is None
    assert menu.number == shown


def test_a_view_is_rendered_from_the_frames_of_the_chosen_scene(rooms: Path, tmp_path: Path) -> None:
    config = configured(gsnerf_small, rooms, tmp_path, 1, **SMALL["gsnerf-small"])
    pipeline: Any = copy.deepcopy(config.pipeline).setup(device="cpu", test_mode="val", world_size=1, local_rank=0)
    model = pipeline.model.eval()
    assert model.shelf.scored_names == ("replica", "studio")
    camera = pipeline.datamanager.eval_dataset.cameras[:1]
    before = model.get_outputs_for_camera(camera)["rgb"]
    model.scene_menu.menu.default_value = "studio"
    assert model._scene_of(camera) == 1
    assert not bool((model.get_outputs_for_camera(camera)["rgb"] - before).abs().max() < 1e-3)
