"""What `sns-apply` says and stores of a room's scale and of what its sources see, with the weights of the package."""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import tyro
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.configs.method_configs import all_methods

from semantic_ns.cli import apply
from semantic_ns.cli.apply import Apply, next_commands
from semantic_ns.errors import SceneError
from semantic_ns.many_scenes.source_coverage import SourceCoverage, SourceRule
from semantic_ns.methods.applied_run import AppliedRun
from semantic_ns.methods.gsnerf_small.method import gsnerf_small
from semantic_ns.methods.viewseg.method import viewseg
from semantic_ns.runs import load_run
from support.new_rooms import change_transforms, without_depth, without_labels, write_room

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


def applied_run(split: Any, rate: float) -> AppliedRun:
    coverage = SourceCoverage(SourceRule(), ("a",), (1.0,))
    config, room = Path("run/config.yml"), Path("room")
    return AppliedRun(config, "viewseg", room, 5, 0, "a rule", 31, (), (), coverage, split, rate)


def parsed(arguments: list[str]) -> Any:
    """The configuration that ns-train makes of the arguments after its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(all_methods, "viewseg", viewseg.config)
        methods: Any = tyro.extras.subcommand_type_from_defaults({"viewseg": viewseg.config, "other": viewseg.config})
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
