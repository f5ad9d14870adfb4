"""What a row of a scoreboard averages over: one scene, one set of options and steps, and it says which versions."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.benchmark.labels.report import write_report
from semantic_ns.benchmark.runner import one_trial
from semantic_ns.benchmark.runner import run as runner
from semantic_ns.benchmark.runner.code_versions import code_of, other_code, sentence_about_other_code
from semantic_ns.benchmark.runner.trials import BenchmarkScene, done_trials, trial_folder, write_done, write_trial
from semantic_ns.benchmark.scenes.report import SCORES, compared, write_scoreboard
from semantic_ns.benchmark.scenes.same_scene import is_same_scene, refuse_other_scenes
from semantic_ns.benchmark.scenes.summary import read_scoreboard, summaries
from semantic_ns.cli.benchmark import Scenes
from semantic_ns.errors import SceneError
from support import benchmark_trials
from support.markdown import rows
from support.scoreboards import outcome, trial, write

OPTIONS = ("--pipeline.model.near-plane", "0.5")


def scene_folder(place: Path, content: str = "a") -> Path:
    place.mkdir(parents=True)
    (place / "image.png").write_text(content)
    return place


# Steps


def test_trainings_of_different_numbers_of_steps_are_different_rows(tmp_path: Path) -> None:
    for seed in (42, 1):
        write(tmp_path, trial(seed=seed), outcome(0.9))
        write(tmp_path, trial(seed=seed, num_steps=50), outcome(0.3, steps=50))
    found = summaries(*read_scoreboard(tmp_path)[:2])
    assert [(row.row.num_steps, row.seeds, row.steps) for row in found] == [(0, (1, 42), 2000), (50, (1, 42), 50)]
    assert [row.miou_present and row.miou_present.mean for row in found] == [0.9, 0.3]
    assert [line[0] for line in rows(write_scoreboard(tmp_path).read_text())][:2] == ["room", "room (50 steps)"]


def test_scoreboards_of_one_number_of_steps_each_are_compared(tmp_path: Path) -> None:
    write(tmp_path / "before", trial(num_steps=50), outcome(0.3))
    write(tmp_path / "after", trial(num_steps=100), outcome(0.4))
    assert "0.300 → 0.400" in compared(tmp_path / "before", tmp_path / "after")


# Scenes and options


def test_results_of_another_scene_of_the_same_name_are_refused(tmp_path: Path) -> None:
    here, there = scene_folder(tmp_path / "a/room"), scene_folder(tmp_path / "b/room", "other")
    planned = trial(scene=BenchmarkScene(here, "room"))
    with pytest.raises(SceneError, match=f"scene at {here}, found results of that at {there}, which has other files"):
        refuse_other_scenes([planned], [trial(scene=BenchmarkScene(there, "room"))])
    refuse_other_scenes([planned], [trial("kitchen", scene=BenchmarkScene(there, "kitchen"))])
    refuse_other_scenes([planned], [replace(trial(scene=BenchmarkScene(there, "room")), variant="mended labels")])


def test_a_copy_of_a_scene_and_one_of_another_machine_are_taken_for_the_same(tmp_path: Path) -> None:
    one = scene_folder(tmp_path / "a/room")
    assert is_same_scene(one, scene_folder(tmp_path / "b/room"))
    assert is_same_scene(one, tmp_path / "nowhere/room")
    assert is_same_scene(one / "image.png", tmp_path / "a/../a/room/image.png")
    assert not is_same_scene(one, scene_folder(tmp_path / "c/room", "longer"))
    copy = scene_folder(tmp_path / "d/room")
    (copy / ".DS_Store").write_text("left by a file browser")
    (copy / "sparse.ply").write_text("made later")
    assert is_same_scene(one, copy)


@pytest.mark.parametrize("refused", ["options", "scene"])
def test_what_the_table_would_refuse_is_refused_before_anything_is_trained(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(arguments: Sequence[str]) -> None:
        del arguments

    def train(*_: Any) -> None:
        raise AssertionError("It trains.")

    monkeypatch.setattr(one_trial, "training_config", take)
    monkeypatch.setattr(runner, "run_trials", train)
    here, there = scene_folder(tmp_path / "a/room"), scene_folder(tmp_path / "b/room", "other")
    write(tmp_path / "out", trial(seed=1, scene=BenchmarkScene(here, "room")), outcome(0.9))
    data = here if refused == "options" else there
    options = OPTIONS if refused == "options" else ()
    with pytest.raises(SceneError, match="found options" if refused == "options" else "which has other files"):
        Scenes(tmp_path / "out", (str(data),), seeds=(2,), options=options).main()
    with pytest.raises(AssertionError, match="It trains"):
        Scenes(tmp_path / "out", (str(here),), seeds=(2,)).main()


def test_the_folders_of_a_scene_that_was_in_several_are_named(tmp_path: Path) -> None:
    write(tmp_path, trial(seed=1), outcome(0.9))
    write(tmp_path, trial(seed=2, folder="/elsewhere"), outcome(0.9))
    assert "room was in /data/room and in /elsewhere/room" in write_scoreboard(tmp_path).read_text()


# Versions of the code


def test_rows_that_average_over_commits_name_them_and_their_seeds(tmp_path: Path) -> None:
    for seed, commit in ((1, "abc"), (2, "abc"), (7, "def")):
        write(tmp_path, trial(seed=seed), outcome(0.9, commit=commit))
    write(tmp_path, trial("other"), outcome(0.9, commit="def"))
    text = write_scoreboard(tmp_path).read_text()
    assert "- room, all labels: commit abc (seed 1, 2), commit def (seed 7)" in text
    assert "- other, all labels: " not in text
    found = {row["scene"]: row["code"] for row in json.loads((tmp_path / SCORES).read_text())["rows"]}
    assert found == {"other": ["commit def"], "room": ["commit abc", "commit def"]}


def test_tables_of_labels_name_the_commits_of_a_row_too(tmp_path: Path) -> None:
    for seed, code in ((0, {}), (1, {"commit": "abc"})):
        one = benchmark_trials.trial(seed=seed)
        write_trial(trial_folder(tmp_path, one), one)
        write_done(trial_folder(tmp_path, one), one, benchmark_trials.outcome(0.5) | code, [])
    text = write_report(tmp_path).read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("- room, click, default: ")]
    assert "commit abc (seed 1), semantic-ns " in line
    assert line.endswith(" (seed 0)")
    assert len(done_trials(tmp_path)) == 2


def test_a_folder_with_results_of_other_versions_says_so(tmp_path: Path) -> None:
    assert sentence_about_other_code(tmp_path) == ""
    for seed, name in ((1, "abc"), (2, "def"), (3, None)):
        write(tmp_path, trial(seed=seed), outcome(0.9, commit=name, versions={"semantic-ns": "0.0.1"}))
    assert other_code(tmp_path, "commit abc") == ["commit def", "semantic-ns 0.0.1"]
    assert "holds results of commit abc, commit def, semantic-ns 0.0.1, which" in sentence_about_other_code(tmp_path)
    assert code_of({}) == "semantic-ns of unknown version"


def test_a_trial_says_the_commit_of_the_code_that_trained_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_trial, "commit", lambda: "abc")
    monkeypatch.setattr(one_trial, "train_and_score", lambda *_: (benchmark_trials.outcome(1.0), []))
    write_trial(tmp_path, benchmark_trials.trial())
    one_trial.main(tmp_path, keep_run=True)
    assert json.loads((tmp_path / "result.json").read_text())["commit"] == "abc"
