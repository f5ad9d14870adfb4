"""Sparse points of nerfstudio's format lie among the cameras of their scene, and are read only where wanted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.dataparsers.sparse_points import PointFile
from semantic_ns.errors import SceneError
from support.hand_made_scene import rewrite, write_scene

AXES = "".join(f"property float {axis}\n" for axis in "xyz")
COLORS = "".join(f"property uchar {color}\n" for color in ("red", "green", "blue"))
TURNED = [[0.0, 1.0, 0.0, 0.5], [1.0, 0.0, 0.0, -0.2], [0.0, 0.0, -1.0, 2.0]]


def write_points(path: Path, rows: list[str], properties: str = AXES + COLORS) -> Path:
    head = f"ply\nformat ascii 1.0\nelement vertex {len(rows)}\n{properties}end_header\n"
    path.write_text(head + "".join(f"{row}\n" for row in rows))
    return path


def outputs_of(scene: Path) -> DataparserOutputs:
    return AutoDataParserConfig(data=scene, split="all").setup().get_dataparser_outputs("train")


@pytest.mark.parametrize(
    "applied", [{}, {"applied_transform": TURNED}, {"applied_transform": TURNED, "applied_scale": 2.0}]
)
def test_points_at_the_cameras_of_the_file_lie_at_the_cameras_of_the_scene(
    applied: dict[str, Any], tmp_path: Path
) -> None:
    scene = write_scene(tmp_path / "scene", 5)
    places: list[str] = []

    def change(content: dict) -> None:
        for frame in content["frames"]:
            x, y, z = np.array(frame["transform_matrix"])[:3, 3]
            places.append(f"{x} {y} {z} 255 0 7")
        content.update(ply_file_path="points.ply", **applied)

    rewrite(scene, change)
    write_points(scene / "points.ply", places)
    outputs = outputs_of(scene)
    assert "points3D_xyz" not in outputs.metadata
    found = outputs.metadata[keys.POINT_FILE].read()
    torch.testing.assert_close(found["points3D_xyz"], outputs.cameras.camera_to_worlds[:, :, 3], atol=1e-5, rtol=1e-5)
    assert found["points3D_rgb"].tolist() == [[255, 0, 7]] * 5


def point_file(path: Path) -> PointFile:
    return PointFile(path, torch.eye(4)[:3], 2.0)


def test_colours_may_be_missing_or_shares(tmp_path: Path) -> None:
    plain = point_file(write_points(tmp_path / "plain.ply", ["1 2 3"], AXES)).read()
    assert plain["points3D_xyz"].tolist() == [[2, 4, 6]]
    assert plain["points3D_rgb"].tolist() == [[128, 128, 128]]
    shares = point_file(
        write_points(tmp_path / "s.ply", ["1 2 3 1.0 0.5 0"], (AXES + COLORS).replace("uchar", "float"))
    )
    assert shares.read()["points3D_rgb"].tolist() == [[255, 127, 0]]
    assert point_file(write_points(tmp_path / "none.ply", [])).read() == {}


def test_a_file_that_is_no_ply_or_has_no_points_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.ply").write_text("these are no points")
    with pytest.raises(SceneError, match=r"text\.ply, found one that cannot be read"):
        point_file(tmp_path / "text.ply").read()
    with pytest.raises(SceneError, match="Expected the coordinates x, y and z"):
        point_file(write_points(tmp_path / "flat.ply", ["1"], "property float x\n")).read()
