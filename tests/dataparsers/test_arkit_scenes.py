"""Videos of ARKitScenes are read with the poses, cameras and depth that nerfstudio reads, and with labels."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from nerfstudio.data.dataparsers.arkitscenes_dataparser import ARKitScenesDataParserConfig

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.errors import SceneError
from support.arkit_scene import FIRST_S, as_arkit_scenes
from support.hand_made_scene import FOCAL, WIDTH, load, number_of, write_scene


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene")


@pytest.mark.parametrize("is_raw", [False, True])
def test_a_video_of_arkit_scenes_has_the_poses_that_it_was_written_with(
    scene: Path, tmp_path: Path, is_raw: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    original = load(scene)
    folder = as_arkit_scenes(scene, tmp_path / "41069021", is_raw)
    dataset = load(folder)
    assert "1 of 10 images without a pose are left out" in " ".join(capsys.readouterr().out.split())
    assert len(dataset) == len(original)
    torch.testing.assert_close(dataset.cameras.camera_to_worlds, original.cameras.camera_to_worlds, atol=1e-5, rtol=0)
    assert dataset.cameras.fx.unique().tolist() == [FOCAL]
    assert dataset.cameras.cx.unique().tolist() == [WIDTH / 2]
    for index in range(len(dataset)):
        number = number_of(original, index)
        assert dataset[index]["depth_image_m"].unique().tolist() == pytest.approx([number + 1.0])
        assert torch.equal(dataset[index]["image"], original[index]["image"])
        assert torch.equal(dataset[index]["semantics"], original[index]["semantics"])


def test_arkit_scenes_are_those_of_nerfstudio_up_to_the_direction_of_up(scene: Path, tmp_path: Path) -> None:
    """Its parser exchanges two axes and turns the third; distances between cameras and their relative turns stay."""
    folder = as_arkit_scenes(scene, tmp_path / "41069021")
    (folder / "41069021_frames/lowres_wide" / f"41069021_{FIRST_S + 99:.3f}.png").unlink()
    parser = ARKitScenesDataParserConfig(data=folder, train_split_fraction=1.0, auto_scale_poses=False).setup()
    theirs = parser.get_dataparser_outputs("train").cameras.camera_to_worlds
    outputs = AutoDataParserConfig(data=folder, split="all").setup().get_dataparser_outputs("train")
    ours = outputs.cameras.camera_to_worlds.clone()
    ours[:, :, 3] /= outputs.dataparser_scale
    torch.testing.assert_close(seen_from_the_first(ours), seen_from_the_first(theirs), atol=1e-5, rtol=0)


def seen_from_the_first(poses: torch.Tensor) -> torch.Tensor:
    """The poses [n, 3, 4] in the axes of the first camera."""
    inverse = poses[0, :, :3].T
    return torch.cat([inverse @ poses[:, :, :3], inverse @ (poses[:, :, 3:] - poses[0, :, 3:])], dim=-1)


BAD_VIDEOS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no pose": (lambda v: (v / "lowres_wide.traj").write_text(""), "a line for each pose"),
    "half a pose": (lambda v: (v / "lowres_wide.traj").write_text("1 2 3\n"), "7 finite numbers in line 1"),
    "other times": (lambda v: (v / "lowres_wide.traj").write_text("1 2 3 4 5 6 7\n"), "found none of 10 within 0.005"),
    "no intrinsics": (lambda v: shutil.rmtree(v / "lowres_wide_intrinsics"), "intrinsics of 41069021_1000.500.png"),
    "another image": (lambda v: (v / "lowres_wide/photo.png").touch(), "<video>_<seconds>.png .* found photo.png"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_VIDEOS)
def test_a_damaged_video_of_arkit_scenes_is_told(scene: Path, tmp_path: Path, name: str) -> None:
    change, says = BAD_VIDEOS[name]
    folder = as_arkit_scenes(scene, tmp_path / "41069021")
    change(folder / "41069021_frames")
    with pytest.raises(SceneError, match=says):
        load(folder)
