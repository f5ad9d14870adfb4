from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labelling.opening import label_surfaces, open_session
from semantic_ns.labelling.surface import FOLDER, load_label_surface, save_label_surface
from support.fresh_process import loaded_after
from support.label_surfaces import alike, make_label_surface


def test_a_run_with_kept_surfaces_opens_with_the_coarse_one_and_goes_on_with_the_fine_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "run" / "config.yml"
    (config.parent / "nerfstudio_models").mkdir(parents=True)
    (config.parent / "nerfstudio_models" / "step-000000009.ckpt").write_bytes(b"weights")
    config.write_text("")
    for num_voxels in (200, 600):
        save_label_surface(make_label_surface(tmp_path / "images", 2, num_voxels), config, num_voxels)
    monkeypatch.setattr("semantic_ns.labelling.opening.FIRST_NUM_VOXELS", 200)
    session = open_session(config, classes=["chair"], num_voxels=600)
    assert session.wait_for_finer(60.0)
    assert session.progress().num_voxels > 400
    assert [entry.name for entry in session.classes] == ["wall", "lamp", "chair"]
    assert (config.parent / FOLDER / "marks.jsonl").is_file()
    with pytest.raises(SceneError, match="nobody else has open"):
        open_session(config, num_voxels=600)
    session.close()
    coarse = open_session(config, num_voxels=200)
    assert coarse.wait_for_finer(0.0)
    assert coarse.progress().num_voxels <= 250
    coarse.close()


def test_features_are_kept_beside_the_run_and_left_out_where_looks_are_not_to_count(tmp_path: Path) -> None:
    config = tmp_path / "run" / "config.yml"
    (config.parent / "nerfstudio_models").mkdir(parents=True)
    (config.parent / "nerfstudio_models" / "step-000000009.ckpt").write_bytes(b"weights")
    config.write_text("")
    surface = alike(make_label_surface(tmp_path / "images", 2))
    save_label_surface(surface, config, 200)
    for appearance in (True, False):
        session = open_session(config, num_voxels=200, appearance=appearance)
        features = surface.features if appearance else surface.features[:, :0]
        assert np.array_equal(session.surface.features, features)
        session.close()


def test_a_session_inside_the_scene_is_refused_before_anything_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exports would be refused, after hours of work."""
    scene = tmp_path / "scene"
    config = scene / "outputs" / "run" / "config.yml"
    (config.parent / "nerfstudio_models").mkdir(parents=True)
    (config.parent / "nerfstudio_models" / "step-000000009.ckpt").write_bytes(b"weights")
    config.write_text("")
    run = SimpleNamespace(parser_config=SimpleNamespace(data=scene))
    monkeypatch.setattr("semantic_ns.labelling.opening.load_run", lambda _: run)
    with pytest.raises(SceneError, match=r"outside the scene, .*choose another --output-dir"):
        open_session(config, num_voxels=200)
    save_label_surface(make_label_surface(scene, 2, 200), config, 200)
    with pytest.raises(SceneError, match=r"outside the scene, .*choose another --output-dir"):
        open_session(config, num_voxels=200)
    assert not (config.parent / FOLDER / "marks.jsonl").exists()
    open_session(config, tmp_path / "mine", num_voxels=200).close()


def test_a_kept_surface_is_not_that_of_photos_with_each_others_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run" / "config.yml"
    (config.parent / "nerfstudio_models").mkdir(parents=True)
    (config.parent / "nerfstudio_models" / "step-000000009.ckpt").write_bytes(b"weights")
    config.write_text("")
    surface = make_label_surface(tmp_path / "images", 2)
    save_label_surface(surface, config, 200)
    assert load_label_surface(config, 200) is not None
    first, second = (info.image.read_bytes() for info in surface.frames)
    surface.frames[0].image.write_bytes(second)
    surface.frames[1].image.write_bytes(first)
    assert load_label_surface(config, 200) is None
    assert "have each other's names" in " ".join(capsys.readouterr().out.split())


def test_a_surface_whose_images_are_partly_gone_serves_where_it_cannot_be_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run" / "config.yml"
    (config.parent / "nerfstudio_models").mkdir(parents=True)
    (config.parent / "nerfstudio_models" / "step-000000009.ckpt").write_bytes(b"weights")
    config.write_text("")
    surface = make_label_surface(tmp_path / "images", 2)
    save_label_surface(surface, config, 200)
    surface.frames[0].image.unlink()
    asked: list[Path] = []

    def refused(load_config: Path) -> object:
        asked.append(load_config)
        raise SceneError("Expected an image, found none.")

    monkeypatch.setattr("semantic_ns.labelling.opening.load_run", refused)
    (found,) = label_surfaces(config, [200])
    assert (asked, [info.name for info in found.frames]) == ([config], ["frame_0", "frame_1"])
    assert "cannot be built anew: Expected an image, found none." in " ".join(capsys.readouterr().out.split())


def test_a_run_that_there_is_none_of_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="of a training run, found no file"):
        open_session(tmp_path / "config.yml")


def test_labelling_on_a_kept_surface_loads_neither_torch_nor_nerfstudio() -> None:
    loaded = {name.partition(".")[0] for name in loaded_after("import semantic_ns.labelling.opening")}
    assert "numba" in loaded
    assert not {"torch", "nerfstudio"} & loaded
