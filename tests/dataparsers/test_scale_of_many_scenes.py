"""Scenes of a run with many are in metres, or are scaled by the distances between their cameras if the user says so."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from support.hand_made_scene import each_frame, rewrite, write_scene
from support.rooms import expect_one_sentence, parser_of


@pytest.mark.parametrize("name", ["replica", "studio"])
def test_a_scene_with_a_known_scale_keeps_it_whatever_the_option(name: str, rooms: Path) -> None:
    expected = AutoDataParserConfig(data=rooms / name).setup().get_dataparser_outputs("train")
    for normalize_scale in (False, True):
        outputs = parser_of(rooms / name, normalize_scale=normalize_scale).get_dataparser_outputs("train")
        assert outputs.metadata[keys.METRES_PER_UNIT] == expected.metadata[keys.METRES_PER_UNIT]


def test_a_scene_of_unknown_scale_is_told_with_the_option_that_accepts_it(tmp_path: Path) -> None:
    write_scene(tmp_path / "rooms/first")
    message = (
        r"scale is known in metres at .*first, found neither .*; add --metres-per-unit 1 .* --normalize-scale True"
    )
    expect_one_sentence(tmp_path / "rooms", message)


def metres_between(outputs: DataparserOutputs) -> list[float]:
    """For each camera the distance to the nearest other one, in metres."""
    positions = outputs.cameras.camera_to_worlds[:, :3, 3].double() * outputs.metadata[keys.METRES_PER_UNIT]
    return [min(float((a - b).norm()) for j, b in enumerate(positions) if j != i) for i, a in enumerate(positions)]


def scaled(factor: float) -> Any:
    def change(_index: int, entry: dict[str, Any]) -> None:
        for row in entry["transform_matrix"][:3]:
            row[3] *= factor

    return change


@pytest.mark.parametrize("factor", [1.0, 1000.0, 0.001])
def test_normalised_cameras_have_their_neighbours_at_30_centimetres_in_whatever_unit_they_were(
    factor: float, tmp_path: Path
) -> None:
    each_frame(write_scene(tmp_path / "scene"), scaled(factor))
    outputs = parser_of(tmp_path / "scene", normalize_scale=True, split="all").get_dataparser_outputs("train")
    assert np.median(metres_between(outputs)) == pytest.approx(0.3, rel=1e-4)


@pytest.mark.parametrize("metres", [1.0, 0.01, 0.3048])
def test_a_stated_unit_is_that_of_the_positions_in_the_file(metres: float, tmp_path: Path) -> None:
    """Whatever nerfstudio scales them by: cameras stand 2 units from the middle of their circle."""
    parser = parser_of(write_scene(tmp_path / "scene"), metres_per_unit=metres, split="all")
    outputs = parser.get_dataparser_outputs("train")
    positions = outputs.cameras.camera_to_worlds[:, :3, 3].double() * outputs.metadata[keys.METRES_PER_UNIT]
    content = json.loads((tmp_path / "scene/transforms.json").read_text())
    stored = torch.tensor([entry["transform_matrix"] for entry in content["frames"]])[:, :3, 3].double()
    torch.testing.assert_close(
        torch.cdist(positions, positions), metres * torch.cdist(stored, stored), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["replica", "studio"])
def test_a_scene_with_a_known_scale_keeps_it_whatever_unit_is_stated(name: str, rooms: Path) -> None:
    expected = AutoDataParserConfig(data=rooms / name).setup().get_dataparser_outputs("train")
    outputs = parser_of(rooms / name, metres_per_unit=7.0).get_dataparser_outputs("train")
    assert outputs.metadata[keys.METRES_PER_UNIT] == expected.metadata[keys.METRES_PER_UNIT]


def test_depth_in_a_unit_that_is_not_known_needs_one_and_follows_it(rooms: Path, tmp_path: Path) -> None:
    scene = Path(shutil.copytree(rooms / "studio", tmp_path / "scene"))
    rewrite(scene, lambda content: content.update(semantic_has_unknown_scale=True))
    expect_one_sentence(scene, r"scale is known in metres at .*scene, found neither")
    metric = parser_of(rooms / "studio").get_dataparser_outputs("train")
    stated = parser_of(scene, metres_per_unit=0.01).get_dataparser_outputs("train")
    found, expected = SemanticDataset(stated).depth_of(0), SemanticDataset(metric).depth_of(0)
    assert found is not None
    assert expected is not None
    np.testing.assert_allclose(found, 0.01 * expected, rtol=1e-5)
    ratio = stated.metadata[keys.METRES_PER_UNIT] / metric.metadata[keys.METRES_PER_UNIT]
    assert ratio == pytest.approx(0.01)


@pytest.mark.parametrize("unit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_unit_that_is_no_length_is_told(unit: float, tmp_path: Path) -> None:
    message = r"Expected a finite number above 0 for --metres-per-unit, found "
    expect_one_sentence(write_scene(tmp_path / "scene"), message, metres_per_unit=unit)


def test_two_scales_are_one_too_many(tmp_path: Path) -> None:
    message = r"Expected --metres-per-unit or --normalize-scale True, found both; leave one out"
    expect_one_sentence(write_scene(tmp_path / "scene"), message, metres_per_unit=1.0, normalize_scale=True)


def test_sources_and_scored_frames_of_a_normalised_scene_have_one_scale(tmp_path: Path) -> None:
    """Scored cameras alone lie farther apart than source cameras."""
    parser = parser_of(write_scene(tmp_path / "scene"), normalize_scale=True, eval_interval=3)
    scales = {
        method: parser.scored_outputs(parser.scenes[0], split).metadata[keys.METRES_PER_UNIT]
        for method, split in (("sources", "train"), ("scored", "test"), ("validation", "val"))
    }
    assert len(set(scales.values())) == 1
    every = parser_of(tmp_path / "scene", normalize_scale=True, split="all").get_dataparser_outputs("train")
    assert scales["scored"] == pytest.approx(every.metadata[keys.METRES_PER_UNIT], rel=1e-5)


def test_depth_of_the_scored_frames_alone_makes_the_scale_of_the_sources_known(tmp_path: Path, rooms: Path) -> None:
    shutil.copytree(rooms / "studio", tmp_path / "scene")
    each_frame(tmp_path / "scene", lambda index, entry: None if index % 3 == 0 else entry.pop("depth_file_path"))
    parser = parser_of(tmp_path / "scene", split="interval", eval_interval=3)
    assert keys.DEPTH_FILENAMES not in parser.get_dataparser_outputs("train").metadata
    assert keys.DEPTH_FILENAMES in parser.get_dataparser_outputs("test").metadata


def test_several_cameras_of_one_place_do_not_make_the_scale_zero(tmp_path: Path) -> None:
    """As panoramas cut into pictures have them."""
    scene = write_scene(tmp_path / "scene")
    content = json.loads((scene / "transforms.json").read_text())
    first = [entry["transform_matrix"] for entry in content["frames"]]

    def change(index: int, entry: dict[str, Any]) -> None:
        for row, position in zip(entry["transform_matrix"][:3], first[index // 3][:3], strict=True):
            row[3] = position[3]

    each_frame(scene, change)
    outputs = parser_of(scene, normalize_scale=True, split="all").get_dataparser_outputs("train")
    positions = outputs.cameras.camera_to_worlds[::3, :3, 3].double() * outputs.metadata[keys.METRES_PER_UNIT]
    nearest = torch.cdist(positions, positions).fill_diagonal_(torch.inf).min(dim=1).values
    assert float(nearest.median()) == pytest.approx(0.3, rel=1e-4)


def test_one_camera_position_gives_no_scale(tmp_path: Path) -> None:
    def change(_index: int, entry: dict[str, Any]) -> None:
        for row, value in zip(entry["transform_matrix"][:3], (3.0, 4.0, 5.0), strict=True):
            row[3] = value

    each_frame(write_scene(tmp_path / "scene"), change)
    message = r"Expected cameras at different positions in .*scene to find its scale by, found one position; give"
    expect_one_sentence(tmp_path / "scene", message, normalize_scale=True)
