"""What `sns-apply` says and stores of a room's scale and of what its sources see, with the weights of the package."""

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import tyro
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.scripts.train import main as train
from PIL import Image

from semantic_ns.cli import apply
from semantic_ns.cli.apply import Apply, next_commands, report
from semantic_ns.cli.audit_labels import AuditLabels
from semantic_ns.errors import SceneError
from semantic_ns.many_scenes.source_coverage import SourceCoverage, SourceRule
from semantic_ns.methods.applied_run import AppliedRun, FirstView, RoomOptions, apply_weights
from semantic_ns.methods.gsnerf_small.method import gsnerf_small
from semantic_ns.methods.viewseg.method import viewseg
from semantic_ns.methods.weights import read_origin, read_weights, write_weights
from semantic_ns.runs import load_run
from support.new_rooms import change_transforms, keep_labels, without_depth, without_labels, write_room

WEIGHTS = Path("rooms-small")


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    """The method has its name in nerfstudio, whatever the metadata of the installation says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(all_methods, "gsnerf-small", gsnerf_small.config)
        yield


def test_a_frame_of_which_no_source_sees_anything_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def turn(content: dict[str, Any]) -> None:
        for row in content["frames"][2]["transform_matrix"][:3]:
            row[3] += 1000

    room = change_transforms(without_labels(write_room(tmp_path / "room", 7)), turn)
    Apply(WEIGHTS, room, tmp_path / "run").main()
    assert "No source sees anything of frame_00002.png: what is rendered there is a guess" in capsys.readouterr().out


def test_a_stated_unit_is_stored_with_the_run_whose_depth_stays_in_scene_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    room = without_depth(without_labels(write_room(tmp_path / "room", 7)))
    options = ["--data", str(room), "--output-dir", str(tmp_path / "run"), "--metres-per-unit", "2"]
    monkeypatch.setattr(sys, "argv", ["sns-apply", str(WEIGHTS), *options])
    apply.entrypoint()
    training = capsys.readouterr().out.splitlines()[-1]
    assert "--optimizers.network.optimizer.lr 0.001" in training  # half of 2e-3
    assert "--pipeline.datamanager.dataparser.split all --pipeline.datamanager.dataparser.metres-per-unit 2" in training
    model = cast(Any, load_run(tmp_path / "run/config.yml").model)
    content = json.loads((room / "transforms.json").read_text())
    stored = torch.tensor([frame["transform_matrix"] for frame in content["frames"]])[:, :3, 3].double()
    centres = model.shelf.sources().cameras.centres
    torch.testing.assert_close(torch.cdist(centres, centres), 2 * torch.cdist(stored, stored), rtol=1e-4, atol=1e-4)
    cameras = Cameras(torch.eye(4)[None, :3], fx=40.0, fy=40.0, cx=24.0, cy=18.0, width=48, height=36)
    with model.raw_outputs():
        planar = model.get_outputs_for_camera(cameras)["planar_depth"][..., 0]
    scale = float(json.loads((tmp_path / "run/dataparser_transforms.json").read_text())["scale"])
    torch.testing.assert_close(planar * 2 / scale, model._rendered(cameras)[0].depth_m, rtol=1e-4, atol=1e-5)


def applied_run(split: Any = "auto", rate: float = 2e-3, num_labelled: int = 0, is_source: bool = True) -> AppliedRun:
    """A run of five sources."""
    coverage, first = (
        SourceCoverage(SourceRule(), ("a",), (1.0,)),
        FirstView("b.png", is_source, np.zeros((1, 1, 3), np.uint8)),
    )
    config, room = Path("run/config.yml"), Path("room")
    return AppliedRun(config, "viewseg", room, 5, num_labelled, "a rule", 31, (), (), coverage, split, rate, first)


@pytest.mark.parametrize(
    ("num_labelled", "use", "sentence", "carries"),
    [
        (0, True, "5 frames, none of them has labels; a frame is never", False),
        (3, True, "5 frames, 3 of them with labels, which are carried over to what they see; a frame", True),
        (3, False, "3 of them with labels, which are not carried over (--use-source-labels False); a frame", False),
    ],
)
def test_the_report_says_whether_labels_of_sources_are_carried_over(
    num_labelled: int, use: bool, sentence: str, carries: bool
) -> None:
    command = Apply(WEIGHTS, Path("room"), Path("run"), use_source_labels=use)
    said = report(applied_run(num_labelled=num_labelled), command)
    assert sentence in said
    assert ("carried over to" in said) == carries
    assert ("classes, which are the carried labels where a source has some: run/first_view.png" in said) == carries


def test_the_report_names_the_limits_of_the_weights_of_the_package_and_of_no_others(tmp_path: Path) -> None:
    built_in, own = (report(applied_run(), Apply(path, Path("room"), Path("run"))) for path in (WEIGHTS, tmp_path))
    assert "Limits: the weights rooms-small know 31 classes and have seen rendered rooms alone" in built_in
    assert "Limits" not in own


@pytest.mark.parametrize(
    ("num_labelled", "commands"),
    [(0, ["sns-suggest"]), (3, ["sns-audit-labels", "sns-suggest"]), (5, ["sns-audit-labels"])],
)
def test_labels_are_suggested_where_some_are_missing_and_audited_where_there_are_some(
    num_labelled: int, commands: list[str]
) -> None:
    printed = next_commands(applied_run(num_labelled=num_labelled), Apply(WEIGHTS, Path("room"), Path("run")))
    names = [line.split()[0] for line in printed[1:]]
    assert names == ["ns-viewer", "ns-eval", "ns-render", "sns-export-labels", *commands, "ns-train"]


def test_labels_of_some_frames_of_an_applied_run_are_audited(tmp_path: Path) -> None:
    Apply(WEIGHTS, keep_labels(write_room(tmp_path / "room", 7), 0, 2, 4), tmp_path / "run").main()
    AuditLabels(tmp_path / "run/config.yml", tmp_path / "audit").main()
    assert (tmp_path / "audit/audit.csv").is_file()


@pytest.mark.parametrize("split", ["interval", "all"])
def test_the_first_view_is_the_middle_scored_frame_if_that_is_no_source(
    split: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = write_room(tmp_path / "room", 7, num_frames=9)
    applied = apply_weights(WEIGHTS, room, tmp_path / "run", RoomOptions(split, 3))
    run = load_run(tmp_path / "run/config.yml")
    data: Any = run.pipeline.datamanager
    sources, scored = ([path.name for path in one.image_filenames] for one in (data.train_dataset, data.eval_dataset))
    assert applied.first.is_source == (split == "all")
    shown = data.train_dataset if split == "all" else data.eval_dataset
    number = len(shown) // 2
    assert applied.first.frame == (sources if split == "all" else scored)[number]
    rgb = cast(Any, run.model).get_outputs_for_camera(shown.cameras[number : number + 1])["rgb"]
    picture = np.asarray(Image.open(applied.first_view))
    height, width = rgb.shape[:2]
    np.testing.assert_allclose(picture[:height, :width] / 255, rgb.numpy(), atol=0.51 / 255)
    said = report(applied, Apply(WEIGHTS, room, tmp_path / "run", split=split))
    kind = "a source, seen from the others" if split == "all" else "scored, no source"
    assert f"First view of {applied.first.frame} ({kind}): colour, depth, classes" in said


def test_weights_of_scenes_scaled_by_their_cameras_stay_known_as_such_whatever_room_they_are_applied_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    origin = replace(read_origin(WEIGHTS), normalizes_scale=True)
    write_weights(tmp_path / "scaled.pt", origin, read_weights(WEIGHTS))
    room = without_labels(write_room(tmp_path / "room", 7))
    for weights, output in ((tmp_path / "scaled.pt", "first"), (tmp_path / "first", "second")):
        Apply(weights, room, tmp_path / output).main()
        assert "Scale: the weights were trained with --normalize-scale True" in capsys.readouterr().out
        assert read_origin(tmp_path / output).normalizes_scale is True
    Apply(WEIGHTS, without_depth(room), tmp_path / "plain", normalize_scale=True).main()
    assert "Scale:" not in capsys.readouterr().out
    assert read_origin(tmp_path / "plain").normalizes_scale is None


@pytest.mark.parametrize("num_frames", [2, 3])
def test_the_printed_training_of_a_room_of_few_frames_trains_and_says_once_from_how_few_sources(
    num_frames: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shorten(content: dict[str, Any]) -> None:
        del content["frames"][num_frames:]

    room = change_transforms(without_labels(write_room(tmp_path / "room", 7, num_frames=24)), shorten)
    command = Apply(WEIGHTS, room, tmp_path / "run")
    command.main()
    arguments = shlex.split(capsys.readouterr().out.splitlines()[-1])[1:]
    config = parsed([*arguments, "--pipeline.model.rays-per-target", "16"], gsnerf_small.config)
    config.output_dir, config.timestamp, config.vis, config.max_num_iterations = (
        tmp_path / "out",
        "run",
        "tensorboard",
        3,
    )
    config.machine.device_type, config.pipeline.eval_images_at_end = "cpu", 0
    config.pipeline.datamanager.train_sources = (3, 3)
    train(config)
    sources = "1 source frame" if num_frames == 2 else "2 source frames"
    assert capsys.readouterr().out.count(f"targets of training are rendered from {sources}, not from 3 or more") == 1
    assert read_origin(config.get_base_dir()).method == "gsnerf-small"


def parsed(arguments: list[str], config: Any = viewseg.config) -> Any:
    """The configuration that ns-train makes of the arguments after its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(all_methods, config.method_name, config)
        methods: Any = tyro.extras.subcommand_type_from_defaults({config.method_name: config, "other": config})
        return tyro.cli(methods, args=arguments, config=(tyro.conf.FlagConversionOff,))


def test_the_printed_training_reads_the_room_as_the_applied_run_does_at_half_of_the_rate_of_its_method() -> None:
    command = Apply(
        WEIGHTS, Path("room"), Path("run"), eval_interval=5, num_source_views=2, use_source_labels=False,
        normalize_scale=True,
    )  # fmt: skip
    name, *arguments = shlex.split(next_commands(applied_run("interval", 5e-4), command)[-1])
    assert name == "ns-train"
    config = parsed(arguments)
    assert config.optimizers["network"]["optimizer"].lr == 2.5e-4
    parser = config.pipeline.datamanager.dataparser
    assert (parser.split, parser.eval_interval, parser.normalize_scale) == ("interval", 5, True)
    assert (config.pipeline.model.num_source_views, config.pipeline.model.use_source_labels) == (2, False)


def test_the_printed_training_names_no_option_that_is_as_by_default() -> None:
    command = next_commands(applied_run("auto", 2e-3), Apply(WEIGHTS, Path("room"), Path("run")))[-1]
    assert command.split() == [
        "ns-train", "viewseg", "--data", "room", "--pipeline.model.weights", "run", "--max-seconds", "120",
        "--optimizers.network.optimizer.lr", "0.001",
    ]  # fmt: skip


def test_a_used_output_folder_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").touch()
    with pytest.raises(SceneError, match="choose another --output-dir"):
        Apply(Path("no run"), Path("no room"), tmp_path / "used").main()
    with pytest.raises(SceneError, match="--num-source-views of at least 1, found 0"):
        Apply(Path("no run"), Path("no room"), tmp_path / "new", num_source_views=0).main()
