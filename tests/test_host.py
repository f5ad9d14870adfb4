import inspect
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.image import lpip
from torchvision.models import alexnet

from semantic_ns import host
from semantic_ns.host import LpipsIfAvailable, without_lpips_download
from support.fresh_process import run_with_libraries

SMALL = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub folder and no network: every attempt to download fails the test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path


# LPIPS


def test_a_model_that_asks_for_lpips_gets_it_without_a_download(torch_home: Path) -> None:
    real = lpip.LearnedPerceptualImagePatchSimilarity
    with without_lpips_download():
        metric: Any = lpip.LearnedPerceptualImagePatchSimilarity(normalize=True)
    assert isinstance(metric, LpipsIfAvailable)
    assert lpip.LearnedPerceptualImagePatchSimilarity is real


def test_the_real_lpips_comes_back_after_an_error() -> None:
    real = lpip.LearnedPerceptualImagePatchSimilarity
    with pytest.raises(RuntimeError), without_lpips_download():
        raise RuntimeError
    assert lpip.LearnedPerceptualImagePatchSimilarity is real


def test_the_fixture_catches_a_download(torch_home: Path) -> None:
    with pytest.raises(AssertionError, match="a download was tried"):
        lpip.LearnedPerceptualImagePatchSimilarity()


def test_missing_lpips_is_said_once_and_is_no_number(torch_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metric = LpipsIfAvailable(normalize=True)
    assert not metric.available
    assert not metric.available
    assert torch.isnan(metric(SMALL, SMALL))
    assert capsys.readouterr().out.count("LPIPS is left out") == 1


def test_lpips_is_computed_with_weights_at_hand(torch_home: Path) -> None:
    weights = torch_home / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    weights.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(alexnet().state_dict(), weights)  # torchvision takes a cached file for what its name says
    metric = LpipsIfAvailable(normalize=True)
    assert metric.available
    assert float(metric(SMALL, SMALL)) == pytest.approx(0.0, abs=1e-6)
    assert float(metric(SMALL, 1 - SMALL)) > 1e-6


def test_weights_that_were_cut_off_count_as_missing(torch_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = torch_home / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"PK half of a file")
    assert not LpipsIfAvailable().available
    assert str(weights) in capsys.readouterr().out.replace("\n", "")


def test_lpips_adds_no_weights_to_a_checkpoint(torch_home: Path) -> None:
    model = torch.nn.Linear(2, 2)
    setattr(model, "lpips", LpipsIfAvailable())  # noqa: B010 (as a model assigns it, but out of the types' sight)
    assert set(model.state_dict()) == {"weight", "bias"}


# Checkpoints


def test_learning_rates_as_numpy_scalars_load_safely(tmp_path: Path) -> None:
    rates = {"f8": np.float64(0.5), "f4": np.float32(0.25), "i8": np.int64(3), "i4": np.int32(4), "b1": np.bool_(True)}
    torch.save(rates, tmp_path / "rates.pt")
    host.allow_numpy_scalars_in_checkpoints()
    assert torch.load(tmp_path / "rates.pt", weights_only=True) == rates


def test_other_objects_in_a_checkpoint_are_still_refused(tmp_path: Path) -> None:
    torch.save({"path": Path("x")}, tmp_path / "other.pt")
    host.allow_numpy_scalars_in_checkpoints()
    with pytest.raises(Exception, match="weights_only"):
        torch.load(tmp_path / "other.pt", weights_only=True)


# Errors


def test_a_scene_error_ends_a_command_with_its_sentence_alone() -> None:
    sentence = "Expected a label image of 640x480 in [a/very/long/path" + "/on" * 60 + "], found 3x3."
    code = (
        "from semantic_ns.host import show_scene_errors_as_one_sentence as show\n"
        "from semantic_ns.errors import SceneError\n"
        f"show(); show(); raise SceneError({sentence!r})"
    )
    result = run_with_libraries(code)
    assert result.returncode == 1
    assert result.stderr == sentence + "\n"
    assert result.stdout == ""


def test_other_errors_keep_their_traceback() -> None:
    result = run_with_libraries("from semantic_ns.host import prepare; prepare(); raise ValueError('mine')")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "ValueError: mine" in result.stderr


# ffmpeg


def test_ffmpeg_is_found_where_the_machine_has_none(tmp_path: Path) -> None:
    code = (
        "import shutil, subprocess; from semantic_ns.host import put_ffmpeg_on_path as put; put(); put();"
        "print(subprocess.run([shutil.which('ffmpeg'), '-version'], capture_output=True, text=True).stdout)"
    )
    result = run_with_libraries(code, PATH=str(tmp_path / "empty"), XDG_CACHE_HOME=str(tmp_path))
    assert result.stdout.startswith("ffmpeg version"), result.stderr


def test_an_ffmpeg_of_the_machine_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    host.put_ffmpeg_on_path()
    assert os.environ["PATH"] == str(tmp_path)


def test_a_home_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    host.put_ffmpeg_on_path()
    assert os.environ["PATH"] == str(tmp_path)


def test_a_missing_imageio_ffmpeg_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # what find_spec sees of a package that is blocked
    host.put_ffmpeg_on_path()
    assert os.environ["PATH"] == str(tmp_path)


# Devices


@pytest.mark.parametrize(("available", "device"), [(True, "cuda"), (False, "cpu")])
def test_the_default_device_is_what_is_there(available: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert host.default_device() == device


# inspect


class _Watched(ModuleType):
    """A module that knows when somebody looks where it lies."""

    looks = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "__file__":
            _Watched.looks += 1
        return super().__getattribute__(name)


def test_frames_of_the_import_system_are_found_without_a_look_at_every_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "watched", _Watched("watched"))
    names: dict[str, Any] = {}

    def frame_of(file: str) -> Any:
        exec(compile("import sys; frame = sys._getframe()", file, "exec"), names)
        return names["frame"]

    host.prepare()
    _Watched.looks = 0
    found = inspect.getframeinfo(frame_of("<frozen importlib._bootstrap>"))
    assert (found.filename, _Watched.looks) == ("<frozen importlib._bootstrap>", 0)
    inspect.getframeinfo(frame_of("<frozen nobody>"))
    assert _Watched.looks > 0
