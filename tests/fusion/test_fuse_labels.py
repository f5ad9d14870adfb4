"""`sns-fuse-labels`: what is read, fused, written and told."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image

from semantic_ns.benchmark.runner.fusion_baselines import baseline_scores, scores_or_reason
from semantic_ns.benchmark.runner.results import BASELINES, PREDICTIONS, baseline_name
from semantic_ns.cli.fuse_labels import FuseLabels, entrypoint
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.fusion.label_fusion import Rule, most_likely
from semantic_ns.fusion.predictions import find_predictions
from semantic_ns.fusion.views import SceneView, read_views
from semantic_ns.synthetic_scene import write_replica_scene

WIDTH, HEIGHT, FRAMES = 32, 24, 24
FOREIGN_ID = 12


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_replica_scene(tmp_path_factory.mktemp("fusing") / "room", FRAMES, WIDTH, HEIGHT)


def true_labels(room: Path) -> list[ndarray]:
    folder = room / "Sequence_1/semantic_class"
    return [np.asarray(Image.open(folder / f"semantic_class_{i}.png")) for i in range(FRAMES)]


def write_labels(folder: Path, images: list[ndarray]) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"semantic_class_{index}.png")
    return folder


@pytest.fixture(scope="module")
def noisy(room: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of which 30 % are another class, one of them unknown to the scene, or void."""
    generator = np.random.default_rng(0)
    ids = np.array([0, 20, 31, 40, 93, FOREIGN_ID], np.uint8)
    images = [
        np.where(generator.random((HEIGHT, WIDTH)) < 0.3, generator.choice(ids, (HEIGHT, WIDTH)), image)
        for image in true_labels(room)
    ]
    return write_labels(tmp_path_factory.mktemp("noisy") / "labels", images)


def written(folder: Path) -> dict[str, ndarray]:
    return {path.stem: np.asarray(Image.open(path)) for path in folder.glob("*.png")}


@pytest.mark.parametrize("rule", ["bayes", "average"])
def test_fused_labels_are_better_and_in_the_ids_and_names_of_the_scene(
    rule: Any, room: Path, noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FuseLabels(room, noisy, tmp_path / "out", rule, score=True).main()
    images = written(tmp_path / "out")
    assert sorted(images) == sorted(f"semantic_class_{i}" for i in range(FRAMES))
    assert all(image.dtype == np.uint8 and image.shape == (HEIGHT, WIDTH) for image in images.values())
    parameters = json.loads((tmp_path / "out/fusion.json").read_text("utf8"))
    assert (parameters["rule"], parameters["by_distance"]) == (rule, False)
    assert parameters["ids_of_predictions_only"] == [FOREIGN_ID]
    assert parameters["label_confidence"] == 0.9
    assert set(parameters["classes"]) == {str(i) for i in np.unique(true_labels(room)) if i != 0}
    before, after = parameters["scores"]["predictions"], parameters["scores"]["fused"]
    assert after["pixel_accuracy"] > before["pixel_accuracy"] + 0.05
    # A class that only the predictions have counts 0 in the one mean and not in the other.
    assert before["miou"] < before["miou_present"]
    assert before["coverage"] < after["coverage"] <= 1
    told = capsys.readouterr().out
    assert f"{after['miou']:.4f}" in told
    assert "split: " in told
    assert "void (id 0)" in told


def test_near_views_count_more_only_where_that_is_asked_for(
    room: Path, noisy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FuseLabels(room, noisy, tmp_path / "alike", by_distance=False).main()
    for name, words in (("default", []), ("asked", ["--by-distance"])):
        options = ["--data", room, "--labels", noisy, "--output", tmp_path / name, *words]
        monkeypatch.setattr(sys, "argv", ["sns-fuse-labels", *map(str, options)])
        entrypoint()
        parameters = json.loads((tmp_path / name / "fusion.json").read_text("utf8"))
        assert parameters["by_distance"] == bool(words)
    alike, default, asked = (written(tmp_path / name) for name in ("alike", "default", "asked"))
    assert all((default[name] == alike[name]).all() for name in alike)
    assert any((asked[name] != alike[name]).any() for name in alike)


def test_scores_are_those_of_the_files(room: Path, noisy: Path, tmp_path: Path) -> None:
    FuseLabels(room, noisy, tmp_path / "out", score=True).main()
    scores = json.loads((tmp_path / "out/fusion.json").read_text("utf8"))["scores"]
    for name, folder in (("predictions", noisy), ("fused", tmp_path / "out")):
        images = written(folder)
        pairs = [(images[f"semantic_class_{i}"], truth) for i, truth in enumerate(true_labels(room))]
        truth = np.concatenate([t.ravel() for _, t in pairs])
        predicted = np.concatenate([p.ravel() for p, _ in pairs])
        is_scored = (truth != 0) & (predicted != 0)
        assert scores[name]["pixel_accuracy"] == pytest.approx(np.mean((predicted == truth)[is_scored]))
        assert scores[name]["coverage"] == pytest.approx(is_scored.sum() / (truth != 0).sum())


def test_the_baselines_of_a_benchmark_are_what_the_command_gives_on_the_scored_frames(
    room: Path, noisy: Path, tmp_path: Path
) -> None:
    parser: Any = AutoDataParserConfig(data=room, split="interval", eval_interval=3).setup()
    clean = SemanticDataset(parser.get_dataparser_outputs("train"))
    model: Any = FakeModel(tuple(read_views(AutoDataParserConfig(data=room), "all").views))
    every = baseline_scores(str(noisy), clean, room, model, 1)
    assert every.keys() == {PREDICTIONS, *BASELINES}
    for rule in get_args(Rule):
        command = FuseLabels(room, noisy, tmp_path / rule, rule, frames="train", split="interval", eval_interval=3)
        replace(command, score=True).main()
        scores = json.loads((tmp_path / rule / "fusion.json").read_text("utf8"))["scores"]
        assert every[PREDICTIONS] == pytest.approx(scores["predictions"], nan_ok=True)
        assert every[baseline_name(rule, "given")] == pytest.approx(scores["fused"], nan_ok=True)
        rendered = every[baseline_name(rule, "rendered")]["pixel_accuracy"]
        assert rendered == pytest.approx(scores["fused"]["pixel_accuracy"], abs=0.01)
    right = scored = 0
    for index in range(0, len(clean), 4):  # fused by all views, scored on some
        stem = Path(clean.metadata["label_export_names"][index]).stem
        fused = np.asarray(Image.open(tmp_path / f"bayes/{stem}.png")).astype(int)
        truth = clean.taxonomy.decode(clean.labels_of(index))
        is_scored = (truth != 0) & (fused != 0)
        right, scored = right + int((fused == truth)[is_scored].sum()), scored + int(is_scored.sum())
    some = baseline_scores(str(noisy), clean, room, model, 4)
    assert some["bayes_given_depth"]["pixel_accuracy"] == pytest.approx(right / scored)


def test_labels_that_cannot_be_fused_leave_a_reason_in_place_of_baselines(room: Path, tmp_path: Path) -> None:
    parser: Any = AutoDataParserConfig(data=room).setup()
    clean = SemanticDataset(parser.get_dataparser_outputs("train"))
    folder = tmp_path / "by_number"
    folder.mkdir()
    Image.fromarray(true_labels(room)[0]).save(folder / "predicted_0.png")  # trains frame 0, but has no frame's name
    scores, reason = scores_or_reason(str(folder), clean, room, cast(Any, FakeModel(())), 1)
    assert scores == {}
    assert reason is not None
    assert "none that has the name of a frame" in reason


def test_only_the_chosen_frames_are_fused(room: Path, noisy: Path, tmp_path: Path) -> None:
    FuseLabels(room, noisy, tmp_path / "out", frames="train", split="interval", eval_interval=2).main()
    test = read_views(AutoDataParserConfig(data=room, split="interval", eval_interval=2), "test")
    left_out = {view.label_stem for view in test.views}
    assert left_out
    assert set(written(tmp_path / "out")) == {f"semantic_class_{i}" for i in range(FRAMES)} - left_out


def test_probabilities_say_the_same_as_labels(room: Path, noisy: Path, tmp_path: Path) -> None:
    scene = read_views(AutoDataParserConfig(data=room), "all")
    hard = find_predictions(noisy, scene, 0.7)
    soft = tmp_path / "soft"
    soft.mkdir()
    for index, view in enumerate(scene.views):
        votes = hard.votes(index)
        probabilities = votes.table[votes.choice] * (votes.choice >= 0)[..., None]
        np.savez(soft / f"{view.image.stem}.npz", probabilities=probabilities, ids=hard.taxonomy.source_ids)
    FuseLabels(room, noisy, tmp_path / "from_labels", confidence=0.7).main()
    FuseLabels(room, soft, tmp_path / "from_probabilities").main()
    first, second = written(tmp_path / "from_labels"), written(tmp_path / "from_probabilities")
    assert all((first[name] == second[name]).all() for name in first)


def test_an_array_without_ids_holds_the_classes_of_the_scene(room: Path, tmp_path: Path) -> None:
    scene = read_views(AutoDataParserConfig(data=room), "all")
    folder = tmp_path / "soft"
    folder.mkdir()
    for view in scene.views:
        one_hot = np.eye(scene.taxonomy.num_classes, dtype=np.float16)[view.labels]
        np.save(folder / f"{view.label_stem}.npy", one_hot * (view.labels >= 0)[..., None])
    predictions = find_predictions(folder, scene, 0.9)
    for index, view in enumerate(scene.views):
        votes = predictions.votes(index)
        own = votes.table[votes.choice] * (votes.choice >= 0)[..., None]
        assert (most_likely(own) == view.labels).all()


def test_ids_mean_what_those_of_the_label_images_of_the_scene_mean(room: Path) -> None:
    scene = read_views(AutoDataParserConfig(data=room, label_space="nyu40"), "all")
    predictions = find_predictions(room / "Sequence_1/semantic_class", scene, 0.9)
    assert predictions.taxonomy == scene.taxonomy
    for index, view in enumerate(scene.views):
        assert (view.labels == predictions.votes(index).choice).all()


def test_a_frame_without_a_prediction_is_labelled_by_the_others(room: Path, tmp_path: Path) -> None:
    truth = true_labels(room)
    labels = write_labels(tmp_path / "labels", truth)
    (labels / "semantic_class_3.png").unlink()
    FuseLabels(room, labels, tmp_path / "out").main()
    image = written(tmp_path / "out")["semantic_class_3"]
    is_labelled = (image != 0) & (truth[3] != 0)
    assert is_labelled.mean() > 0.3
    # Not all: at edges the nearest pixel of another view may show the thing beside.
    assert np.mean((image == truth[3])[is_labelled]) > 0.9
    assert json.loads((tmp_path / "out/fusion.json").read_text("utf8"))["frames_without_prediction"] == [
        "semantic_class_3"
    ]


def test_fusing_may_be_repeated_but_never_replaces_other_files(room: Path, noisy: Path, tmp_path: Path) -> None:
    FuseLabels(room, noisy, tmp_path / "out").main()
    before = written(tmp_path / "out")
    FuseLabels(room, noisy, tmp_path / "out").main()
    after = written(tmp_path / "out")
    assert all((before[name] == after[name]).all() for name in before)
    with pytest.raises(SceneError, match="choose another --output"):
        FuseLabels(room, noisy, noisy).main()


class FakeModel:
    """Renders the depth of the scene's files, in scene units."""

    gives_raw_outputs = True
    device = "cpu"
    taxonomy = None

    def __init__(self, views: tuple[SceneView, ...]) -> None:
        self.views = views
        self.is_raw = False

    @contextmanager
    def raw_outputs(self) -> Iterator[None]:
        self.is_raw = True
        yield
        self.is_raw = False

    def get_outputs_for_camera(self, camera: Any) -> dict[str, torch.Tensor]:
        assert self.is_raw
        (view,) = (v for v in self.views if torch.equal(v.camera.camera_to_worlds, camera.camera_to_worlds))
        depth = torch.from_numpy(view.given_depth())[..., None]
        return {"planar_depth": depth / view.dataset.metadata["metres_per_unit"]}


def test_rendered_depth_serves_as_given_depth_does(
    room: Path, noisy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = AutoDataParserConfig(data=room)
    model: Any = FakeModel(tuple(read_views(config, "all").views))
    run = SimpleNamespace(model=model, parser_config=config)
    monkeypatch.setattr("semantic_ns.cli.fuse_labels.load_run", lambda path, scene: run)
    FuseLabels(room, noisy, tmp_path / "given").main()
    FuseLabels(room, noisy, tmp_path / "rendered", depth="rendered", load_config=Path("config.yml")).main()
    given, rendered = written(tmp_path / "given"), written(tmp_path / "rendered")
    assert np.mean([given[name] == rendered[name] for name in given]) > 0.999
    assert "config.yml" in json.loads((tmp_path / "rendered/fusion.json").read_text("utf8"))["depth"]


def test_with_given_depth_a_run_says_how_the_scene_is_read(
    room: Path, noisy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = AutoDataParserConfig(data=room, split="interval", eval_interval=3)
    run = SimpleNamespace(model=None, parser_config=config)
    monkeypatch.setattr("semantic_ns.cli.fuse_labels.load_run", lambda path, scene: run)
    FuseLabels(room, noisy, tmp_path / "run", load_config=Path("config.yml"), frames="train").main()
    FuseLabels(room, noisy, tmp_path / "options", frames="train", split="interval", eval_interval=3).main()
    run, options = (json.loads((tmp_path / name / "fusion.json").read_text("utf8")) for name in ("run", "options"))
    assert run == options
    by_run, by_options = written(tmp_path / "run"), written(tmp_path / "options")
    assert by_run.keys() == by_options.keys()
    assert all((by_run[name] == by_options[name]).all() for name in by_run)


@pytest.mark.parametrize(
    "options",
    [
        {"depth": "rendered"},
        {"load_config": Path("config.yml"), "split": "all"},
        {"depth": "rendered", "load_config": Path("config.yml"), "eval_interval": 2},
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, Any], room: Path, noisy: Path, tmp_path: Path
) -> None:
    with pytest.raises(SceneError, match="--load-config"):
        FuseLabels(room, noisy, tmp_path / "out", **options).main()
    assert not (tmp_path / "out").exists()


def rgb_image(path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)).save(path.with_suffix(".png"))


def array(shape: tuple[int, ...], value: float, dtype: Any = np.float32) -> Callable[[Path], None]:
    return lambda path: np.save(path.with_suffix(".npy"), np.full(shape, value, dtype))


def arrays(**content: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path.with_suffix(".npz"), **content)


EVEN = np.full((HEIGHT, WIDTH, 2), 0.5, np.float32)
BAD_FILES = {
    "colours": (rgb_image, "one channel"),
    "size": (lambda path: Image.new("L", (5, 4), 40).save(path.with_suffix(".png")), "5x4"),
    "soft size": (arrays(probabilities=EVEN[:5], ids=[40, 93]), "resize"),
    "channels": (array((HEIGHT, WIDTH, 3), 1 / 3), "one channel per class"),
    "whole numbers": (array((HEIGHT, WIDTH, 10), 0, np.int64), "as floats"),
    "logits": (arrays(probabilities=EVEN * 7, ids=[40, 93]), "soft-max"),
    "negative": (arrays(probabilities=EVEN + np.array([-1, 1]), ids=[40, 93]), "soft-max"),
    "not finite": (arrays(probabilities=EVEN * np.nan, ids=[40, 93]), "soft-max"),
    "no ids": (arrays(probabilities=EVEN), "'ids'"),
    "void id": (arrays(probabilities=EVEN, ids=[0, 93]), "none of them void"),
    "one id twice": (arrays(probabilities=EVEN, ids=[93, 93]), "each once"),
    "text": (lambda path: path.with_suffix(".npz").write_text("no archive"), "damaged"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_prediction_is_named(kind: str, room: Path, tmp_path: Path) -> None:
    write, words = BAD_FILES[kind]
    write(tmp_path / "semantic_class_4")
    scene = read_views(AutoDataParserConfig(data=room), "all")
    index = [view.label_stem for view in scene.views].index("semantic_class_4")
    with pytest.raises(SceneError, match=r"semantic_class_4") as caught:
        find_predictions(tmp_path, scene, 0.9).votes(index)
    assert words in str(caught.value)


def test_folders_without_the_right_files_are_refused(room: Path, tmp_path: Path) -> None:
    scene = read_views(AutoDataParserConfig(data=room), "all")
    with pytest.raises(SceneError, match="check --labels"):
        find_predictions(tmp_path / "missing", scene, 0.9)
    with pytest.raises(SceneError, match="rename the files"):
        find_predictions(tmp_path, scene, 0.9)
    Image.new("L", (WIDTH, HEIGHT), 40).save(tmp_path / "semantic_class_0.png")
    with pytest.raises(SceneError, match="--confidence"):
        find_predictions(tmp_path, scene, 0.05)
    np.save(tmp_path / "semantic_class_0.npy", np.zeros(1))
    with pytest.raises(SceneError, match="keep one"):
        find_predictions(tmp_path, scene, 0.9)


def test_two_sequences_with_the_same_names_are_fused_one_at_a_time(replica_scene: Path, noisy: Path) -> None:
    config = AutoDataParserConfig(data=replica_scene, train_sequence="Sequence_1", eval_sequence="Sequence_2")
    with pytest.raises(SceneError, match="one sequence at a time"):
        find_predictions(noisy, read_views(config, "all"), 0.9)


def test_files_named_with_their_folders_tell_two_sequences_apart(replica_scene: Path, tmp_path: Path) -> None:
    config = AutoDataParserConfig(data=replica_scene, train_sequence="Sequence_1", eval_sequence="Sequence_2")
    scene = read_views(config, "all")
    for view in scene.views:
        Image.new("L", (view.size[1], view.size[0]), 40).save(tmp_path / f"{view.label_stem}.png")
    assert len(list(tmp_path.iterdir())) == len(scene.views)
    files = find_predictions(tmp_path, scene, 0.9).files
    expected = [f"{view.image.parent.parent.name}_{view.image.parent.name}_{view.image.name}" for view in scene.views]
    assert [path and path.name for path in files] == expected


def test_a_scene_without_depth_is_told_of_rendered_depth(room: Path, copy_scene: Any, noisy: Path) -> None:
    folder = copy_scene(room)
    for path in (folder / "Sequence_1/depth").iterdir():
        path.unlink()
    view = read_views(AutoDataParserConfig(data=folder), "all").views[0]
    with pytest.raises(SceneError, match="--depth rendered"):
        view.given_depth()


def test_lens_distortion_that_cannot_be_undone_is_refused(nerfstudio_scene: Path, copy_scene: Any) -> None:
    folder = copy_scene(nerfstudio_scene)
    content = json.loads((folder / "transforms.json").read_text("utf8"))
    (folder / "transforms.json").write_text(json.dumps({**content, "k1": 0.1, "k4": 0.1}), "utf8")
    with pytest.raises(SceneError, match="undistort"):
        read_views(AutoDataParserConfig(data=folder), "all")


def test_bad_input_ends_the_command_with_one_sentence(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(room), "--labels", str(tmp_path / "none"), "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["sns-fuse-labels", *options])
    with pytest.raises(SystemExit) as ended:
        entrypoint()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("Error: Expected a folder of predictions")
