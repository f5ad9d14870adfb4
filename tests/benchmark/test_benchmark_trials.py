"""Benchmarks of labels: which trials there are, and that each is trained once, whatever happens to the others."""

import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.benchmark.labels.published import REFERENCES
from semantic_ns.benchmark.runner.backend import ProcessBackend
from semantic_ns.benchmark.runner.modes import MODES, find_mode
from semantic_ns.benchmark.runner.plan import Plan, make_scene, parse_scene, parse_variant, read_plan
from semantic_ns.benchmark.runner.run import run_trials
from semantic_ns.benchmark.runner.trials import (
    RESULT,
    Trial,
    read_result,
    refuse_mixed,
    state_of,
    trial_folder,
    write_trial,
)
from semantic_ns.errors import SceneError
from semantic_ns.jobs.processes import thread_counts
from semantic_ns.labels.corruption import CorruptionConfig
from support import benchmark_trials
from support.benchmark_trials import FakeBackend, trial

PROGRAM = (benchmark_trials.__file__,)


def nothing(sentence: str) -> None:
    del sentence


def test_modes_name_fields_of_the_corruption() -> None:
    known = {entry.name for entry in fields(CorruptionConfig)}
    assert all(mode.corruption.keys() <= known for mode in MODES.values())
    assert REFERENCES.keys() <= MODES.keys()


@pytest.mark.parametrize("mode", MODES.values(), ids=lambda mode: mode.name)
def test_each_mode_is_a_corruption_within_its_ranges(mode: Any) -> None:
    needs: dict[str, Any] = {"region_classes": ("chair",)} if mode.needs_region_classes else {}
    config = CorruptionConfig(**mode.corruption, **needs)
    config.check()
    assert config.is_clean == (mode.name in {"all", "two-frames"})


def test_noise_is_scored_on_training_poses_and_few_labels_on_test_poses() -> None:
    assert find_mode("click").poses == find_mode("sparse-0.9").poses == find_mode("two-frames").poses == "test"
    assert find_mode("pixel-noise-90%").poses == find_mode("super-dense-8").poses == find_mode("cnn:x").poses == "train"


@pytest.mark.parametrize("name", ["klick", "", "cnn:"])
def test_an_unknown_mode_is_refused(name: str) -> None:
    with pytest.raises(SceneError, match="Expected a mode among all, click"):
        find_mode(name)


def test_arguments_are_a_command_line_of_ns_train_with_the_dataparser_last() -> None:
    options = ("--pipeline.model.use-semantics", "False")
    assert " ".join(trial("5%", 3, options=options).arguments()) == (
        "semantic-nerf --pipeline.datamanager.corruption.propagation 5.0 --pipeline.datamanager.corruption.seed 3 "
        "--max-num-iterations 100 --machine.seed 3 --data /data/room --pipeline.model.use-semantics False "
        "semantic-data --split all"
    )


def test_clean_labels_have_no_corruption_and_those_of_a_network_name_their_folder() -> None:
    assert not any("corruption" in argument for argument in trial("all").arguments())
    arguments = trial("cnn:predicted").arguments()
    assert arguments[1:3] == ["--pipeline.datamanager.train-labels", "predicted"]


def test_corruption_by_a_variant_gets_the_seed_of_the_trial() -> None:
    options = ("--pipeline.datamanager.corruption.pixel-noise", "0.7")
    for mode in ("all", "cnn:predicted", "click"):
        arguments = trial(mode, 5, options=options).arguments()
        place = arguments.index("--pipeline.datamanager.corruption.seed")
        assert arguments[place + 1] == "5"


def test_trials_of_one_name_may_differ_in_their_seeds_alone() -> None:
    refuse_mixed([trial(), trial(seed=1), trial("all", score_stride=2), trial(variant="other", options=("--a", "1"))])
    with pytest.raises(SceneError, match="found score_stride 1 and 2"):
        refuse_mixed([trial(), trial(seed=1, score_stride=2)])
    other = replace(trial().scene, options=("semantic-data", "--split", "fraction"))
    with pytest.raises(SceneError, match="room, click, default that differ in their seeds alone, found scene"):
        refuse_mixed([trial(), trial(scene=other)])


def test_two_frames_are_those_of_the_scene_or_else_those_chosen() -> None:
    named = replace(trial("two-frames").scene, frames=("4", "9"))
    option = "--pipeline.datamanager.corruption.label-frames"
    assert trial("two-frames", scene=named).arguments(["1", "2"])[1:4] == [option, "4", "9"]
    assert trial("two-frames").arguments(["1", "2"])[1:4] == [option, "1", "2"]
    assert option not in trial("click", scene=named).arguments(["1", "2"])


def test_region_noise_needs_classes() -> None:
    scene = replace(trial().scene, region_classes=())
    with pytest.raises(SceneError, match="--region-classes"):
        trial("region-even-30%", scene=scene).arguments()


def test_the_key_is_readable_and_stays_the_same() -> None:
    assert trial().key == "room__semantic-nerf__click__default__steps-100__seed-0__" + trial().key[-8:]
    assert trial().key == Trial.from_json(json.loads(json.dumps(trial().to_json()))).key
    # The name of a folder on disk: a change here has every finished trial trained again.
    assert trial().key.endswith("__029e9c9c")


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "1%"}, {"seed": 1}, {"num_steps": 101}, {"variant": "other"}, {"method": "semantic-ngp"},
        {"options": ("--pipeline.model.use-semantics", "False")},
        {"scene": replace(trial().scene, data=Path("/other/room"))},
        {"scene": replace(trial().scene, options=())},
    ],
)  # fmt: skip
def test_trials_that_differ_in_anything_have_different_keys(change: dict[str, Any]) -> None:
    assert trial(**change).key != trial().key


def test_frames_and_region_classes_change_the_key_of_the_modes_that_use_them_only() -> None:
    other = replace(trial().scene, frames=("1", "2"), region_classes=("table",))
    assert trial("click", scene=other).key == trial("click").key
    assert trial("two-frames", scene=other).key != trial("two-frames").key
    assert trial("region-sort-30%", scene=other).key != trial("region-sort-30%").key


def test_a_trial_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write_trial(tmp_path / "a", trial("region-even-30%", 2, options=("--a", "b")))
    assert benchmark_trials.read_trial(tmp_path / "a") == trial("region-even-30%", 2, options=("--a", "b"))


def test_a_finished_trial_is_not_trained_again(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in range(4)]
    first, second, third = FakeBackend(stop_after=2), FakeBackend(), FakeBackend()
    assert run_trials(trials, tmp_path, first, nothing) == {"done": 2, "open": 2}
    assert run_trials(trials, tmp_path, second, nothing) == {"done": 4}
    assert run_trials(trials, tmp_path, third, nothing) == {"done": 4}
    assert sorted([*first.ran, *second.ran]) == sorted(trial_folder(tmp_path, each) for each in trials)
    assert third.ran == []


def test_a_failed_trial_is_recorded_and_tried_again(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in range(3)]
    said: list[str] = []
    assert run_trials(trials, tmp_path, FakeBackend(failing=[1]), said.append) == {"done": 2, "failed": 1}
    assert "failed: ValueError: no luck" in said[2]
    again = FakeBackend()
    assert run_trials(trials, tmp_path, again, nothing) == {"done": 3}
    assert again.ran == [trial_folder(tmp_path, trials[1])]


def test_a_half_written_result_is_none(tmp_path: Path) -> None:
    folder = trial_folder(tmp_path, trial())
    run_trials([trial()], tmp_path, FakeBackend(), nothing)
    (folder / RESULT).write_text((folder / RESULT).read_text()[:100])
    assert state_of(folder) == "open"
    again = FakeBackend()
    run_trials([trial()], tmp_path, again, nothing)
    assert again.ran == [folder]


def test_a_result_says_how_to_train_the_trial_and_with_what_it_was_made(tmp_path: Path) -> None:
    run_trials([trial()], tmp_path, FakeBackend(), nothing)
    result = read_result(trial_folder(tmp_path, trial()))
    assert result is not None
    assert result["command"].startswith("ns-train semantic-nerf --pipeline")
    assert result["versions"].keys() >= {"python", "torch", "nerfstudio", "semantic-ns"}


def test_a_process_that_dies_is_recorded_with_its_last_words_and_the_others_go_on(tmp_path: Path) -> None:
    trials = [trial(method=method) for method in ("dies", "works", "leaves-nothing")]
    assert run_trials(trials, tmp_path, ProcessBackend(2, PROGRAM), nothing) == {"done": 1, "failed": 2}
    died, _, left = (read_result(trial_folder(tmp_path, each)) for each in trials)
    assert died is not None
    assert "signal 9" in died["error"]
    assert died["error"].endswith("the last words")
    assert left is not None
    assert "status 0 and left no result" in left["error"]


def test_processes_share_the_cores_unless_the_user_says_otherwise(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert thread_counts(3)["OMP_NUM_THREADS"] == "2"
    assert thread_counts(9)["NUMBA_NUM_THREADS"] == "1"
    monkeypatch.setenv("NUMBA_NUM_THREADS", "7")
    run_trials([trial(method="works")], tmp_path, ProcessBackend(2, PROGRAM), nothing)
    assert (trial_folder(tmp_path, trial(method="works")) / "log.txt").read_text() == "7\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_stopping_ends_the_processes_and_leaves_their_trials_open(tmp_path: Path) -> None:
    waiting, working = trial(method="waits"), trial(method="works-when-another-waits")
    folders = [tmp_path / "waiting", tmp_path / "working"]
    for folder, each in zip(folders, (waiting, working), strict=True):
        write_trial(folder, each)
    os.mkfifo(tmp_path / "fifo")
    backend = ProcessBackend(2, PROGRAM)
    ended = iter(backend.run(folders))
    assert next(ended).folder == folders[1]
    (process,) = backend._processes.running
    assert str(process.pid) == (folders[0] / "pid").read_text()
    ended.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert process.returncode == -15
    assert state_of(folders[0]) == "open"


def test_a_plan_is_the_product_of_its_parts_seed_by_seed(tmp_path: Path) -> None:
    scenes = tuple(replace(trial().scene, name=name) for name in "ab")
    plan = Plan(scenes, ("all", "click", "click"), (0, 1), variants={"default": (), "other": ("--x", "1")})
    trials = plan.trials(3000)
    assert len(trials) == 2 * 2 * 2 * 2
    assert [each.seed for each in trials] == [0] * 8 + [1] * 8
    assert {each.num_steps for each in trials} == {3000}
    assert replace(plan, max_num_iterations=7).trials(3000)[0].num_steps == 7
    strided = replace(plan, score_stride=2).trials(3000)
    assert {each.score_stride for each in strided} == {2}
    assert not {each.key for each in strided} & {each.key for each in trials}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenes": ()}, "one scene"), ({"modes": ()}, "one mode"), ({"seeds": ()}, "one seed"),
        ({"modes": ("clack",)}, "found 'clack'"), ({"scenes": (trial().scene,) * 2}, "more than once"),
        ({"score_stride": 0}, "found 0; 1 scores every image"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    plan = Plan((trial().scene,), ("all",), (0,))
    with pytest.raises(SceneError, match=message):
        replace(plan, **change).trials(10)


def test_a_scene_of_the_command_line_may_have_options(tmp_path: Path) -> None:
    scene = parse_scene(f"{tmp_path}::--split interval --eval-interval 2", ["3"], ["chair"])
    assert scene.data == tmp_path.resolve()
    assert scene.name == tmp_path.name
    assert scene.options == ("semantic-data", "--split", "interval", "--eval-interval", "2")
    assert (scene.frames, scene.region_classes) == (("3",), ("chair",))
    assert parse_scene(f"{tmp_path}::replica-data --split all").options == ("replica-data", "--split", "all")
    assert parse_scene(str(tmp_path)).options == ()


def test_a_variant_of_the_command_line_has_a_name_and_options() -> None:
    assert parse_variant("flat=--a.b False --c 1") == ("flat", ("--a.b", "False", "--c", "1"))
    assert parse_variant("default=") == ("default", ())


@pytest.mark.parametrize("text", ["flat", "=--a 1", "--a.b=False"])
def test_a_variant_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(SceneError, match="NAME=OPTIONS"):
        parse_variant(text)


def test_a_plan_file_says_the_same_as_the_options(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "plan.yml").write_text(
        "scenes: [{data: room, options: --split all, frames: [3, 40], region_classes: [chair]}]\n"
        "modes: [click, 1%]\nseeds: [0, 1]\nmax_num_iterations: 50\nscore_stride: 3\n"
        "variants: {default: , flat: --pipeline.model.use-semantics False}\n"
    )
    variants = {"default": (), "flat": ("--pipeline.model.use-semantics", "False")}
    scene = parse_scene(f"{tmp_path / 'room'}::--split all", ["3", "40"], ["chair"])
    expected = Plan((scene,), ("click", "1%"), (0, 1), max_num_iterations=50, variants=variants, score_stride=3)
    assert read_plan(tmp_path / "plan.yml") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "a plan in YAML"), ("hello", "no such entries"), ("sceness: []", "found sceness"),
        ("scenes: [{data: nowhere}]", "found nothing at .*nowhere"), ("scenes: [{dta: x}]", "found dta"),
        ("scenes: [{name: x}]", "found nothing"), ("seeds: 3", "Expected lists"), ("variants: [a]", "Expected lists"),
        ("seeds: [a]", "Expected lists"), ("scenes: [room]", "Expected lists"),
        ("modes: all", "write it as .all."),
    ],
)  # fmt: skip
def test_a_bad_plan_file_is_refused_in_a_sentence(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "plan.yml").write_text(text)
    with pytest.raises(SceneError, match=message):
        read_plan(tmp_path / "plan.yml")


def test_a_scene_that_is_not_there_is_refused() -> None:
    with pytest.raises(SceneError, match="found nothing at /no/where"):
        make_scene({"data": "/no/where"})
