"""`sns-apply` from trained weights to every command that reads a run, with the training rooms gone."""

import copy
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.scripts.eval import ComputePSNR
from nerfstudio.scripts.render import DatasetRender
from nerfstudio.scripts.train import main as train
from PIL import Image

from semantic_ns.active_learning.config import SelectionConfig
from semantic_ns.cli import apply, export_weights
from semantic_ns.cli.apply import Apply
from semantic_ns.cli.export_labels import ExportLabels
from semantic_ns.cli.export_weights import ExportWeights
from semantic_ns.cli.suggest import Suggest
from semantic_ns.dataparsers.splits import SplitMethod
from semantic_ns.errors import SceneError
from semantic_ns.io.images import read_label_image
from semantic_ns.methods.gsnerf_small.method import gsnerf_small
from semantic_ns.methods.weights import read_origin, read_weights, write_weights
from semantic_ns.runs import load_run
from semantic_ns.trainer import SemanticTrainerConfig
from support.new_rooms import change_transforms, keep_labels, without_depth, without_labels, write_room

NUM_FRAMES = 5


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    """The method has its name in nerfstudio, whatever the metadata of the installation says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(all_methods, "gsnerf-small", gsnerf_small.config)
        yield


def config_of(data: Path, output: Path, **model: Any) -> SemanticTrainerConfig:
    config = cast(SemanticTrainerConfig, copy.deepcopy(gsnerf_small.config))
    config.output_dir, config.timestamp, config.vis, config.max_num_iterations = output, "run", "tensorboard", 1
    config.machine.device_type = "cpu"
    pipeline = cast(Any, config.pipeline)
    pipeline.datamanager.data, pipeline.eval_images_at_end = data, 0
    for name, value in ({"rays_per_target": 16} | model).items():
        setattr(pipeline.model, name, value)
    return config


@dataclass(frozen=True)
class Trained:
    """A run on rooms that are no longer there, and its weights in a file."""

    run: Path
    file: Path
    rooms: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    rooms = folder / "training_rooms"
    for seed in (1, 2):
        write_room(rooms / f"room_{seed}", seed, num_frames=9)
    config = config_of(rooms, folder / "runs")
    train(config)
    shutil.rmtree(rooms)
    run = config.get_base_dir()
    ExportWeights(run, folder / "rooms.pt").main()
    return Trained(run, folder / "rooms.pt", rooms)


@pytest.fixture(scope="module")
def applied(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a room without labels and class table; the training run has been gone since."""
    folder = tmp_path_factory.mktemp("applied")
    copied = Path(shutil.copytree(trained.run, folder / "copied_run"))
    Apply(copied, without_labels(write_room(folder / "new_room", 7)), folder / "run").main()
    shutil.rmtree(copied)
    return folder / "run"


def test_a_run_says_nothing_of_where_it_was_trained(applied: Path, trained: Trained) -> None:
    text = (applied / "config.yml").read_text()
    assert "new_room" in text
    assert trained.rooms.name not in text
    assert "copied_run" not in text
    assert sorted(path.name for path in applied.iterdir()) == [
        "config.yml", "dataparser_transforms.json", "first_view.png", "nerfstudio_models"
    ]  # fmt: skip
    assert [path.name for path in applied.parent.iterdir() if path.name.startswith(".")] == []


def test_a_room_without_labels_is_scored(applied: Path, tmp_path: Path) -> None:
    ComputePSNR(applied / "config.yml", tmp_path / "scores.json").main()
    results = json.loads((tmp_path / "scores.json").read_text())["results"]
    assert results["num_images"] == NUM_FRAMES
    assert results["psnr"] > 5
    assert results["depth_l1"] > 0
    assert results["miou_present"] is None
    assert results["split"].startswith("all (every frame is a source, and is scored from the others)")


def test_a_room_without_labels_is_rendered_in_every_output(applied: Path, tmp_path: Path) -> None:
    DatasetRender(applied / "config.yml", output_path=tmp_path, split="test", image_format="png").main()
    rendered = {path.parent.name for path in tmp_path.rglob("*.png")}
    assert rendered >= {"rgb", "depth", "seen", "semantics_colormap", "semantics_confidence", "semantics_entropy"}


def test_a_room_without_labels_gets_labels_with_the_ids_of_the_weights(
    applied: Path, trained: Trained, tmp_path: Path
) -> None:
    ExportLabels(applied / "config.yml", tmp_path / "labels", "all").main()
    images = sorted((tmp_path / "labels/semantics").glob("*.png"))
    assert len(images) == NUM_FRAMES
    classes = json.loads((tmp_path / "labels/classes.json").read_text())["classes"]
    ids = {entry["id"] for entry in classes}
    assert len(ids) > 5
    assert all(set(np.unique(np.asarray(Image.open(path))).tolist()) <= ids for path in images)


def test_labels_are_suggested_for_a_room_without_any(applied: Path, tmp_path: Path) -> None:
    Suggest(applied / "config.yml", 4, tmp_path / "out", SelectionConfig(region_pixels=100)).main()
    assert len(json.loads((tmp_path / "out/suggestions.json").read_text())["suggestions"]) == 4
    with pytest.raises(SceneError, match="Expected semantic-nerf for a strategy that asks for disagreement"):
        Suggest(applied / "config.yml", 1, tmp_path / "no", SelectionConfig(strategy="disagreement")).main()


def spy_on_sources(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Pairs of the target camera and of the source cameras of each image that the model renders from now on."""
    seen, render = [], model.render_image

    def spied(chosen: Any, camera: Any, size: Any) -> Any:
        seen.append((camera, chosen.cameras))
        return render(chosen, camera, size)

    monkeypatch.setattr(model, "render_image", spied)
    return seen


def test_no_frame_is_a_source_of_itself_in_any_command(
    applied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semantic_ns.active_learning.rounds.suggestions import suggest
    from semantic_ns.export.labels import LabelExporter, choose_frames

    run = load_run(applied / "config.yml")
    seen = spy_on_sources(run.model, monkeypatch)
    cast(Any, run.pipeline).get_average_eval_image_metrics()
    LabelExporter(run.model, tmp_path / "labels", []).export(choose_frames(run.pipeline.datamanager, "train", None))
    suggest(run.pipeline, 1, SelectionConfig(unit="frame"))
    rays = run.pipeline.datamanager.train_dataset.cameras.generate_rays(1)  # as nerfstudio's exporters ask
    cast(Any, run.model).get_outputs_for_camera_ray_bundle(rays)
    assert len(seen) == 3 * NUM_FRAMES + 1
    for target, sources in seen:
        assert len(sources) == 3
        assert float((sources.c2w - target.c2w).abs().amax(dim=(1, 2)).min()) > 1e-3


def test_labels_of_some_frames_are_carried_to_the_others(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = write_room(tmp_path / "room", 7, num_frames=6)
    truth = {number: read_label_image(room / f"semantics/frame_{number:05d}.png") for number in (1, 3, 5)}
    Apply(trained.file, keep_labels(room, 0, 2, 4), tmp_path / "run").main()
    assert "Sources: 6 frames, 3 of them with labels" in capsys.readouterr().out
    run = load_run(tmp_path / "run/config.yml")
    model, dataset = cast(Any, run.model), run.pipeline.datamanager.train_dataset
    assert [path.name for path in dataset.image_filenames] == [f"frame_{number:05d}.png" for number in range(6)]
    right = {}
    for model.config.use_source_labels in (True, False):
        with model.raw_outputs():
            rendered = {
                number: model.get_outputs_for_camera(dataset.cameras[number : number + 1])["semantics_labels"][..., 0]
                for number in truth
            }
        shown = {number: model.taxonomy.decode(labels.numpy()) for number, labels in rendered.items()}
        right[model.config.use_source_labels] = np.mean([(shown[number] == truth[number]).mean() for number in truth])
    assert right[True] > right[False] + 0.2


def test_a_room_in_which_every_frame_has_labels_is_split_so_that_scored_frames_are_no_sources(
    trained: Trained, tmp_path: Path
) -> None:
    room = write_room(tmp_path / "room", 7, num_frames=6)
    cases: tuple[tuple[SplitMethod | None, int], ...] = ((None, 4), ("all", 6))
    for split, num_sources in cases:
        Apply(trained.file, room, tmp_path / f"{split}", split=split, eval_interval=3).main()
        data = load_run(tmp_path / f"{split}/config.yml").pipeline.datamanager
        sources, scored = (
            {path.name for path in found.image_filenames} for found in (data.train_dataset, data.eval_dataset)
        )
        assert len(sources) == num_sources
        assert sources.isdisjoint(scored) == (split is None)


def test_a_run_and_its_room_typed_as_relative_paths_may_move_together(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_room(tmp_path / "home/room", 7)
    monkeypatch.chdir(tmp_path / "home")
    Apply(trained.file, Path("room"), Path("runs/mine"), split="all").main()
    monkeypatch.chdir(tmp_path)
    path = (tmp_path / "home").rename(tmp_path / "moved") / "runs/mine/config.yml"
    assert load_run(path).pipeline.datamanager.train_dataset.image_filenames[0].is_relative_to(tmp_path / "moved/room")
    monkeypatch.setattr(sys, "argv", ["ns-eval", "--load-config", str(path)])
    ComputePSNR(path, tmp_path / "scores.json").main()
    assert json.loads((tmp_path / "scores.json").read_text())["results"]["num_images"] == NUM_FRAMES


def of_frames(room: Path, count: int) -> Path:
    """The first frames alone, without labels."""

    def shorten(content: dict[str, Any]) -> None:
        del content["frames"][count:]

    return without_labels(change_transforms(room, shorten))


def test_two_frames_are_enough_but_named_and_a_camera_that_no_source_sees_is_still_rendered(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = of_frames(write_room(tmp_path / "room", 7, num_frames=12), 2)  # two neighbours of a whole turn
    Apply(trained.file, room, tmp_path / "run").main()
    assert "Coverage: 1 source (coverage, not 3: the scene has no more frames) sees" in capsys.readouterr().out
    run = load_run(tmp_path / "run/config.yml")
    own: Cameras = run.pipeline.datamanager.train_dataset.cameras[:1]
    away = copy.deepcopy(own)
    outwards = own.camera_to_worlds.clone()
    outwards[..., :3, [0, 2]] *= -1  # turned round
    outwards[..., :3, 3] -= 100 * outwards[..., :3, 2]  # and far outside
    away.camera_to_worlds = outwards
    for camera, is_seen in ((own, True), (away, False)):
        outputs = run.model.get_outputs_for_camera(camera)
        assert all(bool(value.isfinite().all()) for value in outputs.values())
        assert bool((outputs["seen"] > 0).any()) == is_seen
    run.model.get_outputs_for_camera(own)
    said = capsys.readouterr().out
    assert said.count("images of room are rendered from 1 source frame, not from 3 as --pipeline.model.num-source") == 1
    assert "images of room are rendered from 2 source frames" not in said  # of one scene once


def test_fine_tuning_starts_from_the_weights_at_step_0_and_needs_them_no_more_afterwards(
    applied: Path, tmp_path: Path
) -> None:
    start = Path(shutil.copytree(applied, tmp_path / "start"))
    room = without_labels(write_room(tmp_path / "room", 8, num_frames=9))
    config = config_of(room, tmp_path / "runs", weights=start)
    trainer = copy.deepcopy(config).setup(local_rank=0, world_size=1)
    trainer.setup()
    given, own = read_weights(start), trainer.pipeline.model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in given.items())
    train(config)
    run = config.get_base_dir()
    assert [path.name for path in (run / "nerfstudio_models").iterdir()] == ["step-000000000.ckpt"]
    after = read_weights(run)
    assert any(not torch.equal(after[name], value) for name, value in given.items())
    shutil.rmtree(start)
    ComputePSNR(run / "config.yml", tmp_path / "scores.json").main()
    assert json.loads((tmp_path / "scores.json").read_text())["results"]["psnr"] > 5


def test_fine_tuning_from_nothing_writes_nothing(tmp_path: Path) -> None:
    config = config_of(write_room(tmp_path / "room", 8), tmp_path / "runs", weights=tmp_path / "nowhere")
    with pytest.raises(SceneError, match="Expected a run, a file of weights or the name of built-in ones"):
        train(config)
    assert not (tmp_path / "runs").exists()


def other_method(folder: Path, trained: Trained) -> Path:
    run = folder / "other_run/nerfstudio_models"
    run.mkdir(parents=True)
    torch.save({"step": 0, "pipeline": {"_model.field.weight": torch.zeros(3)}}, run / "step-000000001.ckpt")
    return run.parent


def other_sizes(folder: Path, trained: Trained) -> Path:
    weights = read_weights(trained.file)
    name = next(name for name, value in weights.items() if value.ndim == 4)
    write_weights(folder / "other.pt", read_origin(trained.file), weights | {name: weights[name][..., :1]})
    return folder / "other.pt"


def unregistered(folder: Path, trained: Trained) -> Path:
    origin = replace(read_origin(trained.file), method="semantic-nerf")
    write_weights(folder / "other.pt", origin, read_weights(trained.file))
    return folder / "other.pt"


def of_strange_classes(room: Path) -> Path:
    def rename(content: dict[str, Any]) -> None:
        for number, entry in enumerate(content["semantic_classes"]):
            entry["name"] = f"strange {number}"

    return change_transforms(room, rename)


def of_one_frame(room: Path) -> Path:
    return of_frames(room, 1)


def two_rooms(room: Path) -> Path:
    write_room(room.parent / "rooms/a", 1)
    write_room(room.parent / "rooms/b", 2)
    return room.parent / "rooms"


def as_it_is(room: Path) -> Path:
    return room


def no_weights(folder: Path, trained: Trained) -> Path:
    return folder / "nowhere"


def the_weights(folder: Path, trained: Trained) -> Path:
    return trained.file


@pytest.mark.parametrize(
    ("make_weights", "make_room", "sentence"),
    [
        (no_weights, as_it_is, "Expected a run, a file of weights or the name of built-in ones"),
        (other_method, as_it_is, "Expected the weights of a model that knows many scenes"),
        (unregistered, as_it_is, "found 'semantic-nerf'"),
        (other_sizes, without_labels, "Expected weights of a network of the same sizes"),
        (the_weights, without_depth, "add --metres-per-unit 1 .*, or --normalize-scale True"),
        (the_weights, of_one_frame, r"Expected at least 2 source frames in .*, found 1; give more frames\.$"),
        (the_weights, of_strange_classes, "Expected at least one class of .* in the label space of the model"),
        (the_weights, two_rooms, "Expected the folder of one scene at .*, found 2 scenes"),
        (the_weights, lambda room: room / "no_room", "Expected a folder of scenes at .*, found nothing"),
    ],
)
def test_bad_input_is_told_in_one_sentence_and_nothing_is_written(
    make_weights: Callable[[Path, Trained], Path],
    make_room: Callable[[Path], Path],
    sentence: str,
    trained: Trained,
    tmp_path: Path,
) -> None:
    weights, room = make_weights(tmp_path, trained), make_room(write_room(tmp_path / "room", 7, num_frames=3))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SceneError, match=sentence):
        Apply(weights, room, tmp_path / "out/run").main()
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_line_takes_a_room_of_unknown_scale_and_prints_commands_that_exist(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    room = without_depth(without_labels(write_room(tmp_path / "my room", 7)))
    options = ["--data", str(room), "--output-dir", str(tmp_path / "run"), "--normalize-scale", "True"]
    monkeypatch.setattr(sys, "argv", ["sns-apply", str(trained.file), *options])
    apply.entrypoint()
    printed = capsys.readouterr().out
    assert "Sources: 5 frames, none of them has labels" in printed
    assert "Coverage: 3 sources (coverage) see" in printed
    assert "No source sees anything of" not in printed
    commands = [shlex.split(line) for line in printed.partition("Next:\n")[2].splitlines()]
    assert [command[0] for command in commands] == [
        "ns-viewer", "ns-eval", "ns-render", "sns-export-labels", "sns-suggest", "ns-train"
    ]  # fmt: skip
    assert all(str(tmp_path / "run/config.yml") in command for command in commands[:-1])
    assert str(room) in commands[-1]
    centres = load_run(tmp_path / "run/config.yml").model.shelf.sources().cameras.centres  # pyright: ignore[reportAttributeAccessIssue]
    distances = (centres[:, None] - centres).norm(dim=-1) + 1e9 * torch.eye(len(centres))
    assert float(distances.min(dim=1).values.median()) == pytest.approx(0.3, rel=1e-4)


def test_the_command_line_of_exported_weights_refuses_an_existing_file(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sns-export-weights", str(trained.run), str(trained.file)])
    with pytest.raises(SystemExit) as caught:
        export_weights.entrypoint()
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("Error: Expected a new file, found that")
    with pytest.raises(SceneError, match=r"ends in .pt"):
        ExportWeights(trained.run, Path("weights.bin")).main()


def test_exported_weights_of_the_small_network_are_small(trained: Trained) -> None:
    assert trained.file.stat().st_size <= 12 * 2**20
