"""Near and far plane of methods for many rooms are metres, whatever unit the rooms that they meet are stored in."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from nerfstudio.configs.method_configs import all_methods

from semantic_ns.cli.export_weights import ExportWeights
from semantic_ns.methods.applied_run import RoomOptions, apply_weights
from semantic_ns.methods.weights import Origin, options_of, read_origin, write_weights
from semantic_ns.runs import load_run
from support.new_rooms import change_transforms, without_depth, write_room
from support.registered import METHODS, SMALL

FROM_SOURCES = ("gsnerf", "gsnerf-small", "viewseg", "viewseg-small")
METRES, CENTIMETRES = {"metres_per_unit": 1.0}, {"metres_per_unit": 0.01}
"""Options of the dataparser for a room of unknown scale, by the unit of its positions."""


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    """The methods have their names in nerfstudio, whatever the metadata of the installation says."""
    with pytest.MonkeyPatch.context() as patch:
        for name in FROM_SOURCES:
            patch.setitem(all_methods, name, METHODS[name].config)
        yield


def stretched(room: Path, factor: float) -> Path:
    """Put the cameras of a room so many times as far from the origin."""

    def change(content: dict[str, Any]) -> None:
        for frame in content["frames"]:
            for row in frame["transform_matrix"][:3]:
                row[3] *= factor

    return change_transforms(room, change)


@pytest.fixture(scope="module")
def one_room(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A room of unknown scale, once with its positions in metres and once in centimetres."""
    folder = tmp_path_factory.mktemp("one_room")
    in_metres, changed = (without_depth(write_room(folder / name, 3)) for name in ("metres", "centimetres"))
    return {"metres": in_metres, "centimetres": stretched(changed, 100.0)}


@pytest.fixture(scope="module")
def two_rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rooms whose scene units differ, since nerfstudio scales each by how far its cameras lie apart."""
    folder = tmp_path_factory.mktemp("two_rooms")
    write_room(folder / "first", 1)
    stretched(write_room(folder / "second", 2), 2.0)  # its depth, of the room as it was, only says that it is in metres
    return folder


def pipeline_of(method: str, data: Path, parser: dict[str, Any] | None = None, **model: Any) -> Any:
    config: Any = copy.deepcopy(METHODS[method].config.pipeline)
    config.datamanager.data = data
    for target, options in ((config.datamanager.dataparser, parser or {}), (config.model, SMALL[method] | model)):
        for name, value in options.items():
            assert hasattr(target, name)
            setattr(target, name, value)
    torch.manual_seed(0)  # all models of a method have the same weights
    return config.setup(device="cpu", test_mode="val")


def planes_of(model: Any) -> tuple[float, float]:
    """Near and far plane that the network of a model computes with."""
    if hasattr(model, "_bounds_m"):
        return model._bounds_m.near, model._bounds_m.far
    options = getattr(model.network, "sizes", None) or model.network.options
    return options.near, options.far


def depth_m(model: Any, camera: Any) -> Any:
    """Planar depth of an image in metres; that of a model is in the unit of the room that is shown first."""
    with torch.no_grad(), model.eval().raw_outputs():
        return model.get_outputs_for_camera(camera)["planar_depth"] * model.metres_per_unit


def changed_by(units: list[float], first: float) -> float:
    """A plane that is another number after a division by any of some units and a multiplication by it."""
    candidates = (first + number / 128 for number in range(1000))
    return next(plane for plane in candidates if all(plane / unit * unit != plane for unit in units))


@pytest.mark.parametrize("method", FROM_SOURCES)
def test_planes_are_to_the_last_bit_those_of_the_options_whichever_room_is_shown(method: str, two_rooms: Path) -> None:
    shown = [{"view_scene": name} for name in ("first", "second")]
    units = [pipeline_of(method, two_rooms, parser).model.metres_per_unit for parser in shown]
    assert units[0] != pytest.approx(units[1], rel=0.5)
    near, far = changed_by(units, 0.2), changed_by(units, 5.0)
    for parser in shown:
        pipeline = pipeline_of(method, two_rooms, parser, near_plane=near, far_plane=far)
        rule = pipeline.model.source_rule
        assert planes_of(pipeline.model) == (rule.near, rule.far) == pipeline.datamanager.range_m == (near, far)


@pytest.mark.parametrize("method", FROM_SOURCES)
def test_a_room_renders_alike_whichever_unit_its_positions_are_in(method: str, one_room: dict[str, Path]) -> None:
    in_metres, in_centimetres = (
        pipeline_of(method, one_room[name], options, near_plane=0.5, far_plane=4.0)
        for name, options in (("metres", METRES), ("centimetres", CENTIMETRES))
    )
    first, second = (
        depth_m(pipeline.model, pipeline.datamanager.eval_dataset.cameras[:1])
        for pipeline in (in_metres, in_centimetres)
    )
    assert 0.5 < float(first.max()) < 4.01
    # Positions differ in their last bits, by which a sample may fall on the other side of an edge.
    assert float((second - first).abs().quantile(0.99)) < 0.01


@pytest.mark.parametrize("method", FROM_SOURCES)
def test_a_room_looks_in_the_menu_of_the_viewer_as_where_it_is_shown_first(method: str, two_rooms: Path) -> None:
    alone = pipeline_of(method, two_rooms, {"view_scene": "second"}, near_plane=0.4, far_plane=4.5)
    model = pipeline_of(method, two_rooms, {"view_scene": "first"}, near_plane=0.4, far_plane=4.5).model
    camera = alone.datamanager.eval_dataset.cameras[:1]
    before = depth_m(model, camera)
    model.scene_menu.menu.default_value = "second"
    found, expected = depth_m(model, camera), depth_m(alone.model, camera)
    torch.testing.assert_close(found, expected)
    assert float((found - before).abs().max()) > 0.001


@pytest.mark.parametrize("method", FROM_SOURCES)
def test_planes_of_weights_are_those_of_a_room_in_centimetres_to_which_they_are_applied_or_which_trains_on(
    method: str, one_room: dict[str, Path], two_rooms: Path, tmp_path: Path
) -> None:
    given = {"near_plane": 0.35, "far_plane": 5.35}
    trained = pipeline_of(method, two_rooms, None, **given)
    file = tmp_path / "weights.pt"
    origin = Origin(method, options_of(trained.model.config), trained.datamanager.config.max_image_width)
    write_weights(file, origin, trained.model.state_dict())

    options = RoomOptions(num_source_views=2, metres_per_unit=0.01)
    applied = apply_weights(file, one_room["centimetres"], tmp_path / "run", options)
    assert (applied.coverage.rule.near, applied.coverage.rule.far) == (0.35, 5.35)
    opened = cast(Any, load_run(applied.config).pipeline)
    going_on = pipeline_of(method, one_room["centimetres"], CENTIMETRES, weights=file)
    for pipeline in (opened, going_on):
        assert planes_of(pipeline.model) == pipeline.datamanager.range_m == (0.35, 5.35)
        assert pipeline.model.metres_per_unit != pytest.approx(1.0)
    ExportWeights(tmp_path / "run", tmp_path / "handed_on.pt").main()
    handed_on = read_origin(tmp_path / "handed_on.pt").options
    assert {name: handed_on[name] for name in given} == given
