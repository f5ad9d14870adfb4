"""Files of Gaussians."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch

from semantic_ns.errors import SceneError
from semantic_ns.splatting.fit_config import COMMON_BLUR
from semantic_ns.splatting.ply import read_splat, write_splat
from semantic_ns.splatting.project import Gaussians


def some_gaussians(count: int = 20) -> tuple[Gaussians, torch.Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    means, quats, scales = (torch.rand((count, width), generator=generator) + 0.01 for width in (3, 4, 3))
    gaussians = Gaussians(means, quats, scales, 0.05 + 0.9 * torch.rand(count, generator=generator))
    return gaussians, torch.rand((count, 3), generator=generator), np.arange(-1, count - 1, dtype=np.int32)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    gaussians, colors, classes = some_gaussians()
    write_splat(tmp_path / "new" / "splat.ply", gaussians, colors, classes)
    found, found_colors, found_classes = read_splat(tmp_path / "new" / "splat.ply")
    torch.testing.assert_close(found.means, gaussians.means)
    torch.testing.assert_close(found.scales, gaussians.scales)
    torch.testing.assert_close(found.opacities, gaussians.opacities)
    torch.testing.assert_close(found.quats, torch.nn.functional.normalize(gaussians.quats, dim=1))
    torch.testing.assert_close(found_colors, colors)
    assert found_classes.tolist() == classes.tolist()


@pytest.mark.parametrize("blur", [0.1, 0.3, 0.123456789, 10.0])
def test_gaussians_keep_their_blur(blur: float, tmp_path: Path) -> None:
    gaussians, colors, classes = some_gaussians()
    write_splat(tmp_path / "splat.ply", replace(gaussians, blur=blur), colors, classes)
    assert read_splat(tmp_path / "splat.ply")[0].blur == blur


@pytest.mark.parametrize(
    "comment", ["none", "blur", "blur wide", "blur -1", "blur nan", "blur inf", "blur 0.02", "blurred 0.1"]
)
def test_a_file_that_states_no_blur_has_that_of_other_programs(comment: str, tmp_path: Path) -> None:
    gaussians, colors, classes = some_gaussians()
    write_splat(tmp_path / "splat.ply", replace(gaussians, blur=0.1), colors, classes)
    content = (tmp_path / "splat.ply").read_bytes()
    (tmp_path / "other.ply").write_bytes(content.replace(b"comment blur 0.1\n", f"comment {comment}\n".encode()))
    assert read_splat(tmp_path / "other.ply")[0].blur == COMMON_BLUR


def test_the_properties_are_those_that_viewers_of_splats_expect(tmp_path: Path) -> None:
    write_splat(tmp_path / "splat.ply", *some_gaussians())
    names = plyfile.PlyData.read(str(tmp_path / "splat.ply"))["vertex"].data.dtype.names
    assert names == (
        "x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity",
        "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3", "class_id",
    )  # fmt: skip


def test_harmonics_of_higher_degree_and_missing_classes_and_normals_are_no_error(tmp_path: Path) -> None:
    write_splat(tmp_path / "splat.ply", *some_gaussians())
    vertex = plyfile.PlyData.read(str(tmp_path / "splat.ply"))["vertex"].data
    kept = [name for name in vertex.dtype.names if name not in ("class_id", "nx", "ny", "nz")]
    fields = [(name, "<f4") for name in (*kept, *(f"f_rest_{n}" for n in range(45)))]
    other = np.zeros(len(vertex), fields)
    for name in kept:
        other[name] = vertex[name]
    plyfile.PlyData([plyfile.PlyElement.describe(other, "vertex")]).write(str(tmp_path / "other.ply"))
    found, colors, classes = read_splat(tmp_path / "other.ply")
    expected, expected_colors, _ = some_gaussians()
    torch.testing.assert_close(found.means, expected.means)
    torch.testing.assert_close(colors, expected_colors)
    assert set(classes) == {-1}


def test_gaussians_that_are_no_numbers_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gaussians, colors, classes = some_gaussians()
    gaussians.means[4, 1] = torch.nan
    write_splat(tmp_path / "splat.ply", gaussians, colors, classes)
    found, _, found_classes = read_splat(tmp_path / "splat.ply")
    assert len(found) == 19
    assert 3 not in found_classes
    assert "1 of 20 Gaussians of" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"ply\n", b"no ply", b"ply\nformat ascii 1.0\nelement face 0\nend_header\n"])
def test_other_files_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "splat.ply"
    path.write_bytes(content)
    with pytest.raises(SceneError, match="Expected a PLY file of Gaussians"):
        read_splat(path)


def test_a_cut_off_file_and_a_missing_one_are_one_sentence(tmp_path: Path) -> None:
    write_splat(tmp_path / "splat.ply", *some_gaussians())
    path = tmp_path / "splat.ply"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SceneError, match="Expected a PLY file of Gaussians"):
        read_splat(path)
    with pytest.raises(SceneError, match="Expected a PLY file of Gaussians"):
        read_splat(tmp_path / "missing.ply")
