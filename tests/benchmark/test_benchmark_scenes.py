"""The scoreboard: which trainings it has, what it says of them, and that two machines can share it."""

import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from semantic_ns.benchmark.runner.image_scores import worst_image
from semantic_ns.benchmark.runner.place import commit, processor
from semantic_ns.benchmark.runner.trials import BenchmarkScene, read_trial, trial_folder, write_trial
from semantic_ns.benchmark.scenes import trial as scene_trial
from semantic_ns.benchmark.scenes.plan import HALF_SPLIT, ScenePlan, default_split, scoreboard_scene
from semantic_ns.benchmark.scenes.report import REPORT, SCORES, compared, write_scoreboard
from semantic_ns.benchmark.scenes.summary import is_scoreboard, read_scoreboard, summaries
from semantic_ns.cli import benchmark as cli
from semantic_ns.errors import SceneError
from support.benchmark_trials import train_warm
from support.fresh_process import HIDE_PLUGIN, last_line, run_with_libraries
from support.markdown import rows
from support.scoreboards import outcome, trial, write

SMALL = (
    "--pipeline.model.num-levels", "4", "--pipeline.model.log2-hashmap-size", "8", "--pipeline.model.max-res", "64",
    "--pipeline.datamanager.train-num-rays-per-batch", "256", "--machine.device-type", "cpu",
)  # fmt: skip


# Plan


def test_a_training_has_the_defaults_of_its_method() -> None:
    words = ["semantic-nerf", "--machine.seed", "42", "--data", "/data/room"]
    assert trial().arguments() == words
    assert trial(num_steps=7).arguments() == [words[0], "--max-num-iterations", "7", *words[1:]]
    assert trial(options=("--a", "1")).arguments() == [*words, "--a", "1"]


def test_the_name_of_a_trial_is_the_same_on_every_machine_and_differs_for_different_trainings() -> None:
    one = trial("scene_01")
    assert one.key.startswith("scene_01__semantic-nerf__all__default__seed-42__")
    assert trial("scene_01", folder="/elsewhere").key == one.key
    other_split = replace(one.scene, options=HALF_SPLIT)
    changes = ({"seed": 1}, {"mode": "click"}, {"variant": "new"}, {"num_steps": 5}, {"options": ("--a", "1")},
               {"scene": other_split}, {"score_stride": 2}, {"method": "semantic-ngp"})  # fmt: skip
    keys = {one.key, *(replace(one, **change).key for change in changes)}
    assert len(keys) == 1 + len(changes)


def test_a_trial_is_read_back_by_its_process(tmp_path: Path) -> None:
    one = trial(options=("--a", "b"))
    write_trial(tmp_path, one)
    assert read_trial(tmp_path).arguments() == one.arguments()


def test_a_plan_is_the_product_of_its_parts_seed_by_seed() -> None:
    scenes = tuple(BenchmarkScene(Path("/data") / name, name) for name in "ab")
    trials = ScenePlan(scenes, (1, 2), modes=("all", "click")).trials()
    assert [(each.seed, each.scene.name, each.mode) for each in trials][:5] == [
        (1, "a", "all"), (1, "a", "click"), (1, "b", "all"), (1, "b", "click"), (2, "a", "all"),
    ]  # fmt: skip
    assert len(trials) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenes": ()}, "one scene"), ({"seeds": ()}, "one seed"), ({"modes": ("clack",)}, "found 'clack'"),
        ({"score_stride": 0}, "found 0 and"), ({"num_steps": -1}, "and -1"),
        ({"scenes": (trial().scene, trial(folder="/other").scene)}, "more than once"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SceneError, match=message):
        replace(ScenePlan((trial().scene,)), **change).trials()


def test_captures_of_replica_without_the_published_split_are_halved(
    replica_scene: Path, nerfstudio_scene: Path
) -> None:
    assert default_split(replica_scene) == HALF_SPLIT
    assert default_split(replica_scene / "Sequence_1") == HALF_SPLIT
    assert default_split(nerfstudio_scene) == ()


def test_published_frames_keep_their_split(replica_scene: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(replica_scene, tmp_path / "room"))
    shutil.rmtree(copy / "Sequence_2")
    for path in (copy / "Sequence_1").glob("*/*_*.png"):
        if int(path.stem.rpartition("_")[2]) % 5 not in (0, 2):
            path.unlink()
    assert default_split(copy) == ()


def test_a_scene_has_its_own_split_or_that_of_all_or_the_default(replica_scene: Path) -> None:
    assert scoreboard_scene(str(replica_scene)).options == HALF_SPLIT
    own = scoreboard_scene(f"{replica_scene}::replica-data --split all", "--split fraction")
    assert own.options == ("replica-data", "--split", "all")
    assert scoreboard_scene(str(replica_scene), "--split fraction").options == ("semantic-data", "--split", "fraction")
    assert scoreboard_scene(str(replica_scene), "").options == ()


# Table


def test_a_row_has_the_mean_and_the_worst_of_seeds_and_images(tmp_path: Path) -> None:
    for seed, miou, psnr in ((1, 0.9, (30, 20)), (2, 0.7, (31, 25)), (7, 0.8, (29, 19))):
        write(tmp_path, trial(seed=seed), outcome(miou, psnr, training_seconds=100.0 * seed))
    (row,) = summaries(*read_scoreboard(tmp_path)[:2])
    assert row.seeds == (1, 2, 7)
    assert row.miou_present is not None
    assert row.depth_l1 is not None
    miou = row.miou_present
    assert (miou.mean, miou.worst, miou.worst_seed, miou.spread) == pytest.approx((0.8, 0.7, 2, 0.2))
    assert (row.depth_l1.worst, row.depth_l1.worst_seed) == (pytest.approx(0.3), 2)
    assert row.worst_image == {"image": "1.png", "psnr": 19, "seed": 7}
    assert row.seconds == pytest.approx(1000 / 3)


def test_the_table_of_all_scenes_has_means_of_means_and_the_worst_of_the_worst(tmp_path: Path) -> None:
    write(tmp_path, trial("a"), outcome(0.9))
    write(tmp_path, trial("b", 1), outcome(0.5, (15.0, 25.0)))
    write(tmp_path, trial("b", 2), outcome(0.6))
    write(tmp_path, trial("c"), outcome(0.4, variant="other"))
    text = write_scoreboard(tmp_path).read_text()
    assert [line[0] for line in rows(text)][:4] == ["a", "b", "c", "**3 scenes**"]
    everything = rows(text)[3]
    assert everything[3:6] == [f"{(0.9 + 0.55 + 0.4) / 3:.3f}", "0.400 (42)", "0.100"]
    assert everything[8] == "15.0 (b 0.png, 1)"
    content = json.loads((tmp_path / SCORES).read_text())
    assert [row["scene"] for row in content["rows"]] == ["a", "b", "c"]


def test_a_failed_training_is_a_row_with_its_reason_and_an_open_one_is_named(tmp_path: Path) -> None:
    write(tmp_path, trial("a"), outcome(0.9))
    write(tmp_path, trial("a", 1), "Traceback\nSceneError: no light | no room")
    write(tmp_path, trial("b"), "no luck")
    write(tmp_path, trial("c"), None)
    text = write_scoreboard(tmp_path).read_text()
    assert "failed: SceneError: no light \\| no room" in text
    assert rows(text)[0][2] == "1, 1 failed"
    assert rows(text)[1][:4] == ["b", "all labels", "0, 1 failed", "-"]
    assert "Not finished: c all 42." in text


@pytest.mark.parametrize("change", [{"options": ("--a", "1")}, {"num_steps": 7}])
@pytest.mark.parametrize("found", [outcome(0.8), "no luck"], ids=["done", "failed"])
def test_a_scoreboard_says_defaults_only_where_all_trainings_have_them(
    change: dict[str, Any], found: dict[str, Any] | str, tmp_path: Path
) -> None:
    said = "Every training has the defaults of its method."
    write(tmp_path, trial("a"), outcome(0.9))
    assert said in write_scoreboard(tmp_path).read_text()
    write(tmp_path, trial("a", variant="other", **change), found)
    text = write_scoreboard(tmp_path).read_text()
    assert said not in text
    assert "but for the options and the steps that are listed below" in text
    assert ("options: `--a 1` (other)" in text) == ("options" in change)


def test_scores_that_do_not_exist_are_dashes(tmp_path: Path) -> None:
    write(tmp_path, trial(), outcome(0.9, scores={"test": {"psnr": 30.0, "psnr_std": None}, "train": {}}))
    (first, *_) = rows(write_scoreboard(tmp_path).read_text())
    assert first[3] == first[9] == "-"


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    assert not is_scoreboard(tmp_path)
    with pytest.raises(SceneError, match="sns-benchmark scenes"):
        write_scoreboard(tmp_path)


def test_folders_of_two_machines_are_merged_by_copying(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    write(here, trial("a", 1), outcome(0.9))
    write(here, trial("a", 2), None)
    for seed in (2, 7):
        write(there, trial("a", seed, folder="/elsewhere"), outcome(0.8))
    shutil.copytree(there / "cells", here / "cells", dirs_exist_ok=True)
    (row,) = summaries(*read_scoreboard(here)[:2])
    assert row.seeds == (1, 2, 7)
    assert read_scoreboard(here)[2] == []


def test_results_of_one_name_that_differ_in_their_options_are_refused(tmp_path: Path) -> None:
    write(tmp_path, trial(), outcome(0.9))
    write(tmp_path, trial(seed=1, options=("--a", "1")), outcome(0.8))
    with pytest.raises(SceneError, match="found options"):
        write_scoreboard(tmp_path)


# Before and after


def test_two_scoreboards_are_compared_on_the_seeds_that_both_have(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for seed, miou in ((1, 0.7), (2, 0.5), (7, 0.1)):
        write(before, trial(seed=seed), outcome(miou))
    for seed, miou in ((1, 0.75), (2, 0.65), (42, 0.2)):
        write(after, trial(seed=seed, variant="cure"), outcome(miou))
    write(after, trial("new"), outcome(0.9))
    write(before, trial("old"), outcome(0.9))
    # Two names in one of them: only equal ones belong together.
    with pytest.raises(SceneError, match="found none"):
        compared(before, after)
    shutil.rmtree(trial_folder(after, trial("new")))
    text = compared(before, after)
    (line,) = rows(text)
    assert line[:6] == ["room", "all labels", "2", "0.600 → 0.700 (+0.100)", "0.500 → 0.650 (+0.150)",
                        "0.200 → 0.100 (-0.100)"]  # fmt: skip
    assert f"Only in {before}: old all." in text


def test_the_report_command_writes_one_scoreboard_and_prints_two(tmp_path: Path, capsys: Any) -> None:
    for name, miou in (("before", 0.7), ("after", 0.8)):
        write(tmp_path / name, trial(), outcome(miou))
    cli.Report((tmp_path / "before",)).main()
    assert (tmp_path / "before" / REPORT).exists()
    for command in (
        cli.Report((tmp_path / "before", tmp_path / "after")),
        cli.Report(output=tmp_path / "after", against=tmp_path / "before"),
        cli.Report((tmp_path / "after",), against=tmp_path / "before"),
    ):
        capsys.readouterr()
        command.main()
        assert "0.700 → 0.800 (+0.100)" in capsys.readouterr().out


@pytest.mark.parametrize("command", [cli.Report(), cli.Report(against=Path("x")), cli.Report((Path("x"),) * 3)])
def test_a_report_of_nothing_or_of_three_is_refused(command: cli.Report) -> None:
    with pytest.raises(SceneError, match="or two to compare"):
        command.main()


def test_options_after_two_dashes_are_those_of_a_scoreboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[cli.Scenes] = []

    def note(command: cli.Scenes) -> None:
        seen.append(command)

    monkeypatch.setattr(cli.Scenes, "main", note)
    command = ["sns-benchmark", "scenes", "--data", "a", "b", "--output", str(tmp_path), "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", [*command, "--", "--pipeline.model.near-plane", "0.5"])
    cli.entrypoint()
    assert seen[0].options == ("--pipeline.model.near-plane", "0.5")
    assert (seen[0].data, seen[0].seeds) == (("a", "b"), (1,))
    monkeypatch.setattr(sys, "argv", ["sns-benchmark", "report", str(tmp_path), "--", "--a"])
    with pytest.raises(SystemExit):
        cli.entrypoint()


# A training


def test_a_trial_trains_and_is_scored_image_by_image(replica_scene: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    write_trial(folder, trial(scene=scoreboard_scene(str(replica_scene)), num_steps=2, options=SMALL, score_stride=2))
    train_warm(scene_trial.MODULE, folder)
    result = json.loads((folder / "result.json").read_text())
    assert result["state"] == "done", result["error"]
    images, scores = result["images"], result["scores"]["test"]
    assert [image["image"] for image in images] == [f"rgb_{number}.png" for number in (0, 4, 8)]
    assert scores["psnr"] == pytest.approx(statistics.fmean(image["psnr"] for image in images))
    assert scores["psnr_std"] == pytest.approx(statistics.stdev(image["psnr"] for image in images))
    assert result["worst_image"]["psnr"] == min(image["psnr"] for image in images)
    # Every pixel of the synthetic room has depth, and all images have one size.
    assert scores["depth_l1"] == pytest.approx(statistics.fmean(image["depth_l1"] for image in images))
    assert all(0 <= image["miou_present"] <= 1 for image in images)
    assert result["steps"] == 2
    assert result.keys() >= {"split", "miou_rule", "commit", "processor", "threads", "training_seconds"}
    assert not (folder / "run").exists()


def test_the_time_of_a_step_is_taken_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(0.1 * step for step in range(1000))
    monkeypatch.setattr(scene_trial.time, "perf_counter", lambda: next(seconds))
    trainer = SimpleNamespace(train_iteration=lambda step: step)
    milliseconds = scene_trial._watched_steps(trainer)
    assert [trainer.train_iteration(step) for step in range(50)] == [*range(50)]
    assert milliseconds() == pytest.approx([100.0, 100.0])


def test_what_goes_wrong_in_a_trial_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise SceneError("no chair")

    monkeypatch.setattr(scene_trial, "train_and_score", fail)
    write_trial(tmp_path, trial())
    scene_trial.main(tmp_path, keep_run=False)
    assert json.loads((tmp_path / "result.json").read_text())["error"] == "no chair"


def test_the_worst_image_is_the_first_with_the_lowest_psnr() -> None:
    images = [{"image": name, "psnr": value} for name, value in (("a", None), ("b", 3.0), ("c", 2.0), ("d", 2.0))]
    assert worst_image(images) == images[2]
    assert worst_image(images[:1]) is None


# Place


def test_methods_of_a_package_that_is_not_installed_are_known_to_nerfstudio() -> None:
    code = (
        f"{HIDE_PLUGIN}\n"
        "from semantic_ns.benchmark.runner.place import register_uninstalled\n"
        "register_uninstalled()\n"
        "from nerfstudio.configs.method_configs import all_methods\n"
        "from semantic_ns.benchmark.runner.one_trial import training_config\n"
        "words = ['semantic-nerf', '--data', '/x', 'replica-data', '--split', 'all']\n"
        "print('semantic-ngp' in all_methods, training_config(words).pipeline.datamanager.dataparser.split)"
    )
    assert last_line(code, run_with_libraries) == "True all"


def test_the_commit_of_a_checkout_says_whether_files_were_changed(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        name = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", str(tmp_path), *name, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert commit(tmp_path) is None
    git("init")
    (tmp_path / "file").write_text("a")
    git("add", "file")
    git("commit", "-m", "a")
    assert commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("b")
    assert commit(tmp_path) == git("rev-parse", "HEAD") + "+"


def test_the_processor_has_a_name() -> None:
    assert processor().strip()
