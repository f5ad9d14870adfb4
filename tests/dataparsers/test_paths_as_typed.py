"""A scene is the same however its path is typed, and images with and without alpha train together."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from PIL import Image

from support.hand_made_scene import HEIGHT, check_labels, each_file, load, write_scene
from support.tiny_training import tiny_config


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "my rooms" / "my scene")


def as_link(scene: Path) -> Path:
    link = scene.parent.parent / "link"
    link.symlink_to(scene)
    return link


TYPED: dict[str, Callable[[Path], str | Path]] = {
    "absolute": lambda scene: scene,
    "with a slash at its end": lambda scene: f"{scene}/",
    "relative": os.path.relpath,
    "the file": lambda scene: os.path.relpath(scene / "transforms.json"),
    "over the folder above": lambda scene: f"{scene}/images/../../{scene.name}",
    "relative over a folder above": lambda scene: os.path.relpath(scene.parent / "." / scene.name, scene.parent),
    "a link": as_link,
}


@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED)
def test_a_scene_is_read_however_its_path_is_typed(
    typed: Callable[[Path], str | Path], scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scene.parent)
    dataset = load(Path(typed(scene)))
    assert len(dataset) == 7
    assert dataset.get_image_float32(0).shape[0] == HEIGHT
    check_labels(dataset)


def test_a_scene_is_read_from_inside_its_folder(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scene)
    check_labels(load(Path()))


def test_the_home_folder_is_understood_where_the_shell_left_its_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    pipeline = VanillaPipelineConfig(datamanager=VanillaDataManagerConfig(data=Path("~/scene")))
    config = tiny_config(tmp_path, pipeline=pipeline)
    config.save_config()
    assert config.pipeline.datamanager.data == tmp_path / "scene"


def with_alpha(path: Path) -> None:
    """Every second image becomes RGBA, transparent in its upper rows."""
    if int(path.stem.rpartition("_")[2]) % 2:
        colors = np.array(Image.open(path))
        alpha = np.full(colors.shape[:2], 255, np.uint8)
        alpha[:4] = 0
        Image.fromarray(np.dstack([colors, alpha])).save(path)


def test_images_without_alpha_are_opaque_beside_those_that_have_it(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [load(scene).get_image_float32(index) for index in range(7)]
    each_file(scene, "images", with_alpha)
    dataset = load(scene)
    for index, path in enumerate(dataset.image_filenames):
        image = dataset.get_image_float32(index)
        is_odd = int(path.stem.rpartition("_")[2]) % 2 == 1
        assert image.shape[-1] == 4
        assert np.array_equal(image[..., :3], before[index])
        assert (image[:4, :, 3] == (0 if is_odd else 1)).all()
        assert (image[4:, :, 3] == 1).all()
    assert "4 of 9 images have an alpha channel; the others are opaque" in " ".join(capsys.readouterr().out.split())


def test_images_without_alpha_alone_stay_of_three_channels(scene: Path) -> None:
    assert load(scene).get_image_float32(0).shape[-1] == 3
