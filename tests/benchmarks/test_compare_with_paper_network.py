"""The comparison with the paper's network: what it measures of a trial, and what it says of the results."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.paper_network import trial as paper_network_trial
from benchmarks.paper_network.report import finished, page, write_report
from benchmarks.paper_network.run import NUM_STEPS, one_trial_command, parse_arguments, planned_trials
from benchmarks.paper_network.trial import marks_until
from benchmarks.speed.arms import registered
from semantic_ns.benchmark.runner.trials import BenchmarkScene, read_result, trial_folder, write_done, write_trial
from semantic_ns.evaluation.accumulator import SceneAccumulator
from support.benchmark_trials import train_warm, trial
from support.fresh_process import loaded_after
from support.speed_results import CIRCUMSTANCES

SMALL = ("--pipeline.model.hidden-dim", "16", "--pipeline.model.num-coarse-samples", "8",
         "--pipeline.model.num-importance-samples", "8", "--machine.device-type", "cpu")  # fmt: skip


def outcome(seconds: list[float], mious: list[float]) -> dict[str, Any]:
    points = [
        {"step": 10 * n + 1, "seconds": s, "miou_present": m, "psnr_pooled": 20 * m}
        for n, (s, m) in enumerate(zip(seconds, mious, strict=True))
    ]
    return {
        "scores": {"test": points[-1], "train": {}}, "points": points, "num_steps_taken": points[-1]["step"],
        "training_seconds": seconds[-1], "training_rays_per_second": 1234.0, "peak_gib_training": 2.5,
        "num_test_images": 12, "stride": 4, "threads": 2, "circumstances": CIRCUMSTANCES,
    }  # fmt: skip


def write_results(output: Path) -> None:
    arguments = parse_arguments(["--scene", "/data/room", "--output", str(output)])
    for one in planned_trials(arguments):
        is_fast = one.method == "semantic-nerf"
        told = outcome([10.0, 30.0], [0.2, 0.8]) if is_fast else outcome([20.0, 1200.0], [0.1, 0.5])
        write_trial(trial_folder(output, one), one)
        write_done(trial_folder(output, one), one, told, one.arguments())


def test_the_parent_process_loads_no_torch() -> None:
    # Its memory would count as that of the processes that it starts.
    assert "torch" not in loaded_after("import benchmarks.paper_network.run")


@pytest.mark.parametrize("method", NUM_STEPS)
def test_runs_are_as_long_as_the_methods_own(method: str) -> None:
    assert NUM_STEPS[method] == registered(method).max_num_iterations


def test_what_is_measured_otherwise_is_another_trial() -> None:
    plans = [
        planned_trials(parse_arguments(["--scene", "/data/room", *options]))
        for options in ([], ["--minutes", "5"], ["--whole-schedule"], ["--images", "3"], ["--stride", "2"])
    ]
    keys = {one.key for plan in plans for one in plan}
    assert len(keys) == 5 * 4
    assert {(one.method, one.mode) for one in plans[0]} == {(m, s) for m in NUM_STEPS for s in ("click", "all")}


def test_the_whole_schedule_has_no_budget() -> None:
    assert "--minutes" not in one_trial_command(parse_arguments(["--scene", "/s", "--whole-schedule"]))
    assert one_trial_command(parse_arguments(["--scene", "/s"]))[-2:] == ("--minutes", "20.0")


@pytest.mark.parametrize("budget", [3.0, 100.0, 1200.0, 5000.0, math.inf])
def test_marks_ascend_to_the_budget(budget: float) -> None:
    marks = marks_until(budget)
    assert marks[-1] == budget
    assert marks == sorted(set(marks))


def test_a_trial_is_trained_in_a_process_of_its_own_and_scored_once_for_each_step_count(
    replica_scene: Path, tmp_path: Path
) -> None:
    scene = BenchmarkScene(replica_scene, "room")
    one = trial("click", scene=scene, method="semantic-nerf-vanilla", options=SMALL, num_steps=3)
    write_trial(tmp_path, one)
    chosen = ["--scene", str(replica_scene), "--whole-schedule", "--images", "2", "--stride", "6"]
    train_warm(one_trial_command(parse_arguments(chosen)), tmp_path)
    result = read_result(tmp_path)
    assert result is not None
    assert result["state"] == "done", result["error"]
    # Its three steps end before the first mark, and later marks pass without further ones.
    assert [point["step"] for point in result["points"]] == [3]
    assert result["points"][0]["seconds"] == result["training_seconds"]
    assert result["points"][0]["num_images"] == 2
    rate = 2 * 1024 / (result["training_seconds"] - result["first_step_seconds"])
    assert result["training_rays_per_second"] == pytest.approx(rate)
    assert result["scores"]["test"].keys() >= {"miou_present", "psnr_pooled", "depth_l1"}


class CoordinateModel:
    """Renders the place of each pixel, given away by its ray, and class 1 everywhere."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.evaluation_state = SceneAccumulator(3, 1.0)

    def get_outputs_for_camera_ray_bundle(self, rays: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"rgb": rays, "semantics_labels": torch.ones(*rays.shape[:2], 1, dtype=torch.long)}


def test_scored_pixels_are_compared_with_their_own_ground_truth() -> None:
    places = torch.stack(torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij"), dim=-1)
    image = torch.cat([places / 20, torch.zeros(12, 16, 1)], dim=-1)

    class Cameras:
        def __getitem__(self, key: Any) -> "Cameras":
            return self

        def to(self, device: Any) -> "Cameras":
            return self

        def generate_rays(self, camera_indices: int, keep_shape: bool) -> torch.Tensor:
            return image

    class Dataset:
        cameras = Cameras()

        def __getitem__(self, index: int) -> dict[str, Any]:
            labels = torch.zeros(12, 16, 1, dtype=torch.long)
            labels[2::4, 2::4] = 1
            return {"image": image, "semantics": labels, "image_idx": index}

    model = CoordinateModel()
    paper_network_trial._score_image(model, Dataset(), 0, slice(2, None, 4))
    found = model.evaluation_state.result(("a", "b", "c"))
    assert found["psnr_pooled"] == math.inf
    assert found["miou_present"] == 1.0


def test_the_page_says_when_the_fast_method_had_the_papers_quality(tmp_path: Path) -> None:
    write_results(tmp_path)
    text = page(finished(tmp_path))
    # Linear between 0.2 at 10 s and 0.8 at 30 s.
    assert "| all labels | mIoU (present classes) | 0.500 | 1 200 s | 20.0 s |" in text
    assert "| one click per class and frame | PSNR (dB) | 10.0 | 1 200 s | 20.0 s |" in text
    assert "/data/room" not in text
    assert "whole schedule on CUDA | whole-schedule | not measured |" in text


def test_page_and_plot_are_written(tmp_path: Path) -> None:
    write_results(tmp_path)
    write_report(tmp_path, tmp_path / "docs")
    assert (tmp_path / "docs" / "results" / "vanilla.md").read_text().startswith("# The paper's own network")
    assert 0 < (tmp_path / "docs" / "pictures" / "vanilla_curve.png").stat().st_size < 300 * 2**10


def test_without_results_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is done"):
        write_report(tmp_path, tmp_path)


def test_a_trial_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_trial(tmp_path, trial())
    monkeypatch.setattr("sys.argv", ["trial", "--images", "1", "--stride", "1", "--minutes", "1", str(tmp_path)])
    paper_network_trial.main()
    result = read_result(tmp_path)
    assert result is not None
    assert result["state"] == "failed"
    assert "Traceback" in result["error"]
