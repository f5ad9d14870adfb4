"""Loading a trained run: one sentence for each mistake, whichever command asks."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.runs import load_run, refuse_missing_run


class Renders:
    """A model that renders images."""

    taxonomy, device, gives_raw_outputs = None, "cpu", True

    def raw_outputs(self) -> Any:
        raise NotImplementedError

    def get_outputs_for_camera(self, camera: Any) -> dict[str, Any]:
        raise NotImplementedError


class RendersIntervals(Renders):
    renders_intervals = True


class Other:
    """A model of another package."""


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    folder = tmp_path / "scene"
    folder.mkdir()
    return folder


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yml"
    path.touch()
    return path


def host_gives(monkeypatch: pytest.MonkeyPatch, model: object, scene: Path) -> Any:
    """Let nerfstudio load a run of this model on this scene; its pipeline."""
    pipeline = SimpleNamespace(model=model)
    datamanager = SimpleNamespace(dataparser=SimpleNamespace(data=scene))
    config = SimpleNamespace(pipeline=SimpleNamespace(datamanager=datamanager))
    host = SimpleNamespace(eval_setup=lambda path, **options: (config, pipeline, path, 0))
    monkeypatch.setitem(sys.modules, "nerfstudio.utils.eval_utils", cast(Any, host))
    return pipeline


@pytest.mark.parametrize("option", ["--load-config", "--trained"])
def test_a_missing_run_is_told_by_its_path_and_option_before_anything_is_loaded(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nerfstudio.utils.eval_utils", cast(Any, None))  # its import fails
    path = tmp_path / "config.yml"
    with pytest.raises(SceneError) as alone:
        refuse_missing_run(path, option)
    with pytest.raises(SceneError) as loading:
        load_run(path, option=option)
    assert str(alone.value) == str(loading.value)
    assert str(alone.value).startswith(f"Expected the config.yml of a training run, found no file {path}; ")
    assert option in str(alone.value)


def test_a_run_gives_what_its_parts_are(run_file: Path, scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = host_gives(monkeypatch, Renders(), scene)
    run = load_run(run_file)
    assert run.load_config == run_file
    assert run.pipeline is pipeline
    assert run.model is pipeline.model
    assert cast(Any, run.parser_config).data == scene


@pytest.mark.parametrize("model", [Other(), None])
def test_a_run_of_another_method_is_refused(
    model: object, run_file: Path, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_gives(monkeypatch, model, scene)
    sentence = rf"one of this package's methods, found a {type(model).__name__}, .* in .*config\.yml; train with"
    with pytest.raises(SceneError, match=sentence):
        load_run(run_file, scene)


def test_a_run_of_another_scene_is_refused_whichever_way_the_same_one_is_written(
    run_file: Path, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_gives(monkeypatch, Renders(), scene)
    with pytest.raises(SceneError, match=r"Expected a run of the scene .*other, found one of .*choose a run"):
        load_run(run_file, scene.with_name("other"))
    for same in (scene, scene / ".." / scene.name, None):
        assert cast(Any, load_run(run_file, same).parser_config).data == scene


def test_intervals_are_refused_only_where_they_are_needed_and_missing(
    run_file: Path, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_gives(monkeypatch, Renders(), scene)
    load_run(run_file)
    with pytest.raises(SceneError, match=r"a run of semantic-nerf, found a Renders, .* in .*config\.yml; train"):
        load_run(run_file, needs="intervals")
    host_gives(monkeypatch, RendersIntervals(), scene)
    load_run(run_file, needs="intervals")
