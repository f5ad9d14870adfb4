"""What nerfstudio's commands cannot do with a run of this package is one sentence, and all else is let through."""

import errno
import os
from pathlib import Path

import pytest

from semantic_ns.cli.main import run_command
from semantic_ns.commands import (
    crop_box_of_export,
    refuse_impossible,
    sentence_about_missing_run,
    sentence_about_unwritable_place,
)
from semantic_ns.errors import SceneError


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("ns-export marching-cubes --output-dir x", r"it needs a signed distance field.*; ns-export tsdf or poisson"),
        ("exporter.py gaussian-splat", r"it needs Gaussians.*; ns-export pointcloud"),
        ("/bin/ns-eval --output-path scores.txt", r"ending \.json for --output-path, found scores\.txt"),
        ("ns-eval --output_path=scores", r"ending \.json"),
        ("ns-render dataset --downscale-factor 2", r"found --downscale-factor; leave it out"),
        ("ns-render dataset --rendered-output-names rgb rgba", r"Expected --image-format png for the output rgba"),
        ("ns-render dataset --rendered-output-names rgba --image-format jpeg", r"--image-format png"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_that_says_what_can(command: str, sentence: str) -> None:
    with pytest.raises(SceneError, match=sentence) as refused:
        refuse_impossible(command.split())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "ns-export pointcloud --output-dir marching-cubes",
        "ns-eval --output-path a/scores.json",
        "ns-eval",
        "ns-render dataset --rendered-output-names rgba --image-format png --downscale-factor 1.0",
        "ns-render spiral --downscale-factor 2",
        "ns-train semantic-nerf --output-path x",
    ],
)
def test_everything_else_is_let_through(command: str) -> None:
    refuse_impossible(command.split())


BOX = "--obb-center 1 -2 3 --obb_rotation 0 0 1.5 --obb-scale 1e0 2 3"


@pytest.mark.parametrize(
    ("command", "box"),
    [
        (f"ns-export pointcloud {BOX}", ((1, -2, 3), (0, 0, 1.5), (1, 2, 3))),
        (f"ns-export pointcloud {BOX} --obb-center 7 7 7", ((7, 7, 7), (0, 0, 1.5), (1, 2, 3))),
        ("ns-export pointcloud --obb-center 1 -2 3 --obb-scale 1 2 3", None),
        ("ns-export pointcloud --obb-center 1 -2 --obb-rotation 0 0 0 --obb-scale 1 2 3", None),
        (f"ns-viewer {BOX}", None),
        ("", None),
    ],
)
def test_the_crop_box_of_an_export_is_that_of_its_command_line(command: str, box: object) -> None:
    assert crop_box_of_export(command.split()) == box


def test_a_run_that_is_not_there_is_told_by_its_path_and_a_folder_by_the_file_in_it(tmp_path: Path) -> None:
    missing = tmp_path / "outputs//run/config.yml"
    with pytest.raises(FileNotFoundError) as error:
        missing.read_text()
    arguments = ["ns-viewer", "--load-config", f"{tmp_path}/outputs//run/config.yml"]
    said = sentence_about_missing_run(error.value, arguments)
    assert said is not None
    assert said.startswith("Expected the config.yml of a training run, found no file")
    (tmp_path / "config.yml").touch()
    with pytest.raises(IsADirectoryError) as error:
        tmp_path.read_text()
    said = sentence_about_missing_run(error.value, ["ns-eval", f"--load-config={tmp_path}"])
    assert said is not None
    assert said.endswith(f"found its folder; give {tmp_path / 'config.yml'}.")


def test_other_faults_keep_their_traceback(tmp_path: Path) -> None:
    config = str(tmp_path / "config.yml")
    for error, arguments in (
        (FileNotFoundError(2, "", str(tmp_path / "image.png")), ["ns-eval", "--load-config", config]),
        (FileNotFoundError("no name"), ["ns-eval", "--load-config", config]),
        (FileNotFoundError(2, "", config), ["ns-eval"]),
        (AssertionError(config), ["ns-eval", "--load-config", config]),
    ):
        assert sentence_about_missing_run(error, arguments) is None


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_place_that_cannot_be_written_is_told_in_one_sentence(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write() -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "scores.json"))

    with pytest.raises(SystemExit):
        run_command(write)
    told = capsys.readouterr().err
    assert told.startswith(f"Error: Expected to write to {tmp_path / 'scores.json'}, found that this cannot be done (")
    assert told.count("\n") == 1


def test_other_faults_of_files_keep_their_traceback() -> None:
    def read() -> None:
        raise FileNotFoundError(errno.ENOENT, "no such file", "x")

    assert sentence_about_unwritable_place(OSError("nothing is known of it")) is None
    assert sentence_about_unwritable_place(ValueError()) is None
    with pytest.raises(FileNotFoundError):
        run_command(read)
