"""What lies in the box of a viewer's crop is exported, as if the rest had been cut away afterwards."""

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import OrientedBox

from semantic_ns.cli.export import Mesh, PointCloud
from semantic_ns.errors import SceneError
from semantic_ns.export.crop import Crop, Three
from semantic_ns.export.point_cloud import make_points
from semantic_ns.export.tsdf import TsdfConfig, fuse_depth
from semantic_ns.export.view_votes import Tolerance
from support.box_views import NAMES, box_views
from support.fresh_process import ROOT

TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
SHIFT, SCALE = np.array([0.3, -0.2, 0.5]), 0.4
BOX = (0.1, -0.05, 0.2), (0.4, -0.3, 0.9), (0.5, 0.7, 0.3)
HALF_OF_THE_ROOM = Crop(np.eye(3), np.zeros(3), np.array([100.0, 100.0, 2.5]))


def scene() -> DataparserOutputs:
    """A scene that its dataparser has turned, moved and scaled."""
    return DataparserOutputs(
        [],
        Cameras(torch.eye(4)[None, :3], 1.0, 1.0, 1.0, 1.0, 2, 2),
        dataparser_transform=torch.tensor(np.column_stack([TURN, SHIFT]), dtype=torch.float32),
        dataparser_scale=SCALE,
    )


def test_the_box_holds_the_points_that_nerfstudio_says_lie_in_it() -> None:
    world = np.random.default_rng(0).uniform(-2, 2, (4000, 3))
    in_scene = SCALE * (world @ TURN.T + SHIFT)
    expected = OrientedBox.from_params(*BOX).within(torch.tensor(in_scene)).numpy()
    found = Crop.of_viewer(*BOX, scene()).contains(world)
    assert 20 < expected.sum() < 2000
    assert (found == expected).mean() > 0.999  # a point on a side may fall on either


@pytest.mark.parametrize("wrong", [(BOX[0], BOX[1], (1.0, 0.0, 1.0)), ((np.nan, 0.0, 0.0), BOX[1], BOX[2])])
def test_a_box_without_sides_or_of_no_numbers_is_refused(wrong: tuple[Three, Three, Three]) -> None:
    with pytest.raises(SceneError, match="Export panel"):
        Crop.of_viewer(*wrong, scene())


def test_the_mesh_in_a_box_is_that_of_the_whole_scene_without_what_lies_outside() -> None:
    views, config = box_views(), TsdfConfig(0.1, 0.3)
    whole, part = fuse_depth(views, config), fuse_depth(views, config, crop=HALF_OF_THE_ROOM)
    is_inside = HALF_OF_THE_ROOM.contains(whole.vertices)[whole.faces].all(axis=1)
    expected = {tuple(corners) for corners in whole.vertices[whole.faces[is_inside]].reshape(-1, 9).round(6)}
    found = {tuple(corners) for corners in part.vertices[part.faces].reshape(-1, 9).round(6)}
    assert 0 < is_inside.sum() < len(whole.faces)
    assert found == expected
    assert len(part.vertices) == len(np.unique(part.faces))


def test_all_points_lie_in_the_box_and_they_are_as_many_as_are_wanted() -> None:
    views = box_views()
    points = make_points(views, 2000, len(NAMES), Tolerance(0.03), HALF_OF_THE_ROOM)
    assert HALF_OF_THE_ROOM.contains(points.positions).all()
    assert 1500 < len(points.positions) < 2500


def test_an_empty_box_is_refused_by_points_and_mesh() -> None:
    nowhere = Crop(np.eye(3), np.array([50.0, 0.0, 0.0]), np.ones(3))
    with pytest.raises(SceneError, match=r"found none; it has its middle at \(50, 0, 0\)"):
        make_points(box_views(), 2000, len(NAMES), Tolerance(0.03), nowhere)
    with pytest.raises(SceneError, match="found none"):
        fuse_depth(box_views(), TsdfConfig(0.1, 0.3), crop=nowhere)


@pytest.mark.parametrize("command", [PointCloud, Mesh])
def test_half_a_box_is_refused_before_the_run_is_loaded(command: type[PointCloud] | type[Mesh]) -> None:
    missing = ROOT / "no_such_run" / "config.yml"
    with pytest.raises(SceneError, match="together, found 2 of the three"):
        command(missing, ROOT / "no_such_folder", obb_center=(0.0, 0.0, 0.0), obb_scale=(1.0, 1.0, 1.0)).main()
