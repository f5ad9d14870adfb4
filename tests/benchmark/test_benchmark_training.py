"""Trials of a benchmark of labels that really train, and the command that runs them."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semantic_ns.benchmark.runner import one_trial
from semantic_ns.benchmark.runner.one_trial import MODULE, checked_trials
from semantic_ns.benchmark.runner.plan import Plan
from semantic_ns.benchmark.runner.results import BASELINES, PREDICTIONS
from semantic_ns.benchmark.runner.scoring import best_pair, chosen_frames, class_counts, input_scores
from semantic_ns.benchmark.runner.trials import BenchmarkScene, Trial, read_result, write_trial
from semantic_ns.cli.benchmark import Labels
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import frame_names
from semantic_ns.errors import SceneError
from support.benchmark_trials import train_warm, trial
from support.fresh_process import ROOT, last_line, run_warm

SMALL = (
    "--pipeline.model.num-levels", "4", "--pipeline.model.log2-hashmap-size", "8", "--pipeline.model.max-res", "64",
    "--pipeline.datamanager.train-num-rays-per-batch", "256", "--machine.device-type", "cpu",
)  # fmt: skip


def dataset(scene: Path) -> SemanticDataset:
    outputs = ReplicaDataParserConfig(data=scene, split="all").setup().get_dataparser_outputs("train")
    return SemanticDataset(outputs)


def trained(one: Trial, folder: Path) -> dict[str, Any]:
    """The result of a trial that was trained in a process of its own."""
    write_trial(folder, one)
    train_warm(MODULE, folder)
    result = read_result(folder)
    assert result is not None
    return result


def test_a_trial_trains_and_is_scored_on_both_poses_against_clean_labels(replica_scene: Path, tmp_path: Path) -> None:
    scene = BenchmarkScene(replica_scene, "room", ("semantic-data", "--split", "interval", "--eval-interval", "3"))
    result = trained(trial("pixel-noise-90%", 1, scene=scene, num_steps=2, options=SMALL, score_stride=2), tmp_path)
    assert result["state"] == "done", result["error"]
    scores = result["scores"]
    assert scores["test"]["num_images"] == 4 / 2
    assert scores["train"]["num_images"] == 8 / 2
    assert "the first of every 2 images" in result["split"]
    for poses in ("test", "train"):
        assert 0 <= scores[poses]["miou_present"] <= 1
        assert scores[poses].keys() >= {"miou", "class_accuracy", "pixel_accuracy", "psnr", "depth_l1"}
    # Of n = C + 1 values: a kept pixel is right, one drawn anew is so with probability 1 / n, and void is not counted.
    num_values = len(dataset(replica_scene).taxonomy.names) + 1
    expected = (0.1 + 0.9 / num_values) / (1 - 0.9 / num_values)
    assert scores["input"]["pixel_accuracy"] == pytest.approx(expected, abs=0.02)
    assert result.keys() >= {"split", "void_rule", "miou_rule", "input_rule", "training_seconds", "threads", "device"}
    assert not (tmp_path / "run").exists()


def test_a_trial_of_predictions_is_scored_beside_their_fusion(replica_scene: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(replica_scene, tmp_path / "room"))
    shutil.copytree(copy / "Sequence_1/semantic_class", copy / "Sequence_1/predicted")
    one = trial("cnn:predicted", scene=BenchmarkScene(copy, "room"), num_steps=2, options=SMALL, score_stride=5)
    result = trained(one, tmp_path / "trial")
    assert result["state"] == "done", result["error"]
    assert result["scores"].keys() == {"test", "train", "input", PREDICTIONS, *BASELINES}
    assert result["scores"][PREDICTIONS]["miou"] == 1
    assert result["scores"]["bayes_given_depth"]["pixel_accuracy"] > 0.9
    assert 0 <= result["scores"]["average_rendered_depth"]["pixel_accuracy"] <= 1


@pytest.mark.parametrize(("error", "start"), [(SceneError("no chair"), "no chair"), (KeyError("x"), "Traceback")])
def test_what_goes_wrong_in_a_trial_is_recorded(
    error: Exception, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(one: Trial, folder: Path) -> None:
        raise error

    monkeypatch.setattr(one_trial, "train_and_score", fail)
    write_trial(tmp_path, trial())
    one_trial.main(tmp_path, keep_run=False)
    result = read_result(tmp_path)
    assert result is not None
    assert result["state"] == "failed"
    assert result["error"].startswith(start)


def test_input_scores_are_perfect_for_clean_labels_and_leave_void_out(replica_scene: Path) -> None:
    clean, given = dataset(replica_scene), dataset(replica_scene)
    assert input_scores(given, clean) == {
        "miou": 1, "miou_present": 1, "class_accuracy": 1, "pixel_accuracy": 1, "labelled_share": 1,
    }  # fmt: skip
    labels = [given.labels_of(index).copy() for index in range(len(given))]
    for index in range(len(labels)):
        labels[index][:, ::2] = -1
    labels[0][labels[0] == 5] = 6
    given.replace_labels(labels)
    wrong = sum(int((clean.labels_of(i) != x)[x >= 0].sum()) for i, x in enumerate(labels))
    scored = sum(int(((clean.labels_of(i) >= 0) & (x >= 0)).sum()) for i, x in enumerate(labels))
    total = sum(int((clean.labels_of(i) >= 0).sum()) for i in range(len(clean)))
    scores = input_scores(given, clean)
    assert scores["pixel_accuracy"] == pytest.approx(1 - wrong / scored)
    assert scores["labelled_share"] == pytest.approx(scored / total)


def test_input_scores_with_a_stride_are_those_of_every_nth_frame(replica_scene: Path) -> None:
    clean, given = dataset(replica_scene), dataset(replica_scene)
    labels = [given.labels_of(index).copy() for index in range(len(given))]
    for index in range(len(labels)):
        labels[index][: index + 3] = 4
    given.replace_labels(labels)
    scored = range(0, len(clean), 3)
    pairs = [(clean.labels_of(i)[clean.labels_of(i) >= 0], labels[i][clean.labels_of(i) >= 0]) for i in scored]
    right = sum(int((a == b).sum()) for a, b in pairs) / sum(len(a) for a, _ in pairs)
    assert input_scores(given, clean, 3)["pixel_accuracy"] == pytest.approx(right)
    assert input_scores(given, clean)["pixel_accuracy"] != pytest.approx(right)


def test_labels_of_nothing_but_void_score_none(replica_scene: Path) -> None:
    given = dataset(replica_scene)
    given.replace_labels([np.full_like(given.labels_of(index), -1) for index in range(len(given))])
    scores = input_scores(given, dataset(replica_scene))
    assert scores["miou"] is None
    assert scores["labelled_share"] == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_best_pair_shows_the_classes_as_well_as_any(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 50, (7, 5))
    counts[:, 0] = 0  # a class in no frame

    def worth(pair: tuple[int, int]) -> float:
        return sum(max(counts[i, c] for i in pair) / max(1, counts[:, c].max()) for c in range(5))

    assert worth(best_pair(counts)) == pytest.approx(max(map(worth, itertools.combinations(range(7), 2))))


def test_the_first_of_equal_pairs_is_chosen() -> None:
    assert best_pair(np.ones((4, 3), np.int64)) == (0, 1)


def test_frames_are_chosen_by_name_from_the_pixels_of_each_class(replica_scene: Path) -> None:
    scene = dataset(replica_scene)
    counts = class_counts(scene)
    for index in range(len(scene)):
        for number in range(counts.shape[1]):
            assert counts[index, number] == int((scene.labels_of(index) == number).sum())
    assert set(chosen_frames(scene)) < set(frame_names(scene))


def test_the_configuration_is_that_of_the_command_line_and_the_steps_those_of_the_method() -> None:
    """In a process without the checks of types, which refuse the integer that a parent has for a decay of 0."""
    said = last_line(
        "import sys; sys.path.insert(0, 'tests')\n"
        "from support.benchmark_trials import trial\n"
        "from semantic_ns.benchmark.runner.one_trial import checked_trials, training_config\n"
        "from semantic_ns.benchmark.runner.plan import Plan\n"
        "steps = checked_trials(Plan((trial().scene,), ('all',), (0,)))[0].num_steps\n"
        "options = ('--pipeline.model.use-semantics', 'False')\n"
        "config = training_config(trial('5%', 3, options=options).arguments())\n"
        "manager = config.pipeline.datamanager\n"
        "print(steps, manager.corruption.propagation, manager.corruption.seed, config.machine.seed, manager.data,\n"
        "      manager.dataparser.split, config.pipeline.model.use_semantics, config.max_num_iterations)",
        run_warm,
    )
    assert said == "2000 5.0 3 3 /data/room all False 100"


def test_options_that_ns_train_refuses_are_refused_before_anything_is_trained() -> None:
    plan = Plan((trial().scene,), ("all",), (0,), variants={"bad": ("--pipeline.model.no-such", "1")})
    with pytest.raises(SceneError, match=r"Expected options that ns-train takes.*no-such") as raised:
        checked_trials(plan)
    assert len(str(raised.value)) < 400


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(SceneError, match="found 'semantic-nurf'"):
        checked_trials(Plan((trial().scene,), ("all",), (0,), "semantic-nurf"))


def test_bad_options_of_the_command_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="--jobs 0"):
        Labels(tmp_path, jobs=0).main()
    for option in ({"data": ("a",)}, {"seeds": (0, 1)}, {"score_stride": 2}):
        with pytest.raises(SceneError, match="both"):
            Labels(tmp_path, plan=tmp_path / "plan.yml", **option).main()  # pyright: ignore[reportArgumentType]
    with pytest.raises(SceneError, match="one scene"):
        Labels(tmp_path).main()


def test_bad_input_ends_the_command_with_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "semantic_ns.cli.benchmark", "report", "--output", str(tmp_path)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("Error: Expected results")
    assert "Traceback" not in ended.stderr


def test_trials_are_plain_json() -> None:
    assert json.loads(json.dumps(trial().to_json()))["scene"]["data"] == "/data/room"
