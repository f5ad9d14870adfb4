"""The GPU benchmark: what ends one stage ends no other, and its dry run goes through all of them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.field_components.encodings import HashEncoding

from benchmarks.gpu.__main__ import main
from benchmarks.gpu.encoding import roofline
from benchmarks.gpu.report import markdown, write_results
from benchmarks.gpu.rows import Rows, read_rows
from benchmarks.gpu.runner import Outcome, Running, Stage, run_stages
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.stages import GROUPS, STAGES, chosen
from benchmarks.gpu.twins import Grid, twin_of


def stage_of(name: str) -> Stage:
    return Stage(name, f"support.gpu_stages:{name}", 1000.0, "")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Outcome]]:
    """Runs stages of `gpu_stages` and gives their outcomes by name."""

    def run_all(*names: str, device: Any = "cpu", budget: float = 1000.0) -> dict[str, Outcome]:
        settings = Settings(device, True, tmp_path, (tmp_path,))
        stages = [stage_of(name) for name in names]
        return {outcome.stage: outcome for outcome in run_stages(stages, settings, budget)}

    return run_all


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # One that has ended and that nobody has asked about is still listed.
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_stages_that_end_badly_say_why_and_keep_their_rows_and_the_others_run(
    run: Callable[..., dict[str, Outcome]], tmp_path: Path
) -> None:
    outcomes = run("raises", "is_killed", "is_impossible", "has_too_little_memory", "good")
    assert {name: len(outcome.rows) for name, outcome in outcomes.items()} == {
        "good": 1, "raises": 1, "is_killed": 1, "is_impossible": 0, "has_too_little_memory": 2,
    }  # fmt: skip
    reasons = {name: outcome.reason for name, outcome in outcomes.items()}
    assert reasons["good"] is None
    assert reasons["raises"] == "ValueError: the second line"
    assert "killed by SIGKILL" in str(reasons["is_killed"])
    assert reasons["is_impossible"] == "There is no compiler here; install one."
    large, small = outcomes["has_too_little_memory"].rows
    assert large["reason"].startswith("The device's memory is too small: CUDA out of memory")
    assert (small["name"], small["value"], small["seed"]) == ("one", 1.5, 0)
    assert {"device", "torch", "triton", "numpy", "commit"} <= small.keys()
    write_results(tmp_path, list(outcomes.values()))
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == 5


def test_a_stage_beyond_its_seconds_is_ended_with_what_it_started_and_keeps_its_rows(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ready")
    running = Running(stage_of("is_late"), Settings("cpu", True, tmp_path, (tmp_path,)), 1000.0)
    (tmp_path / "ready").read_text()  # waits for the stage
    running.bound = 0.0
    outcome = running.wait()
    assert "ended after its 0 s" in str(outcome.reason)
    (row,) = outcome.rows
    assert not is_running(row["pid"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_a_stage_says_so_in_one_sentence(run: Callable[..., dict[str, Outcome]]) -> None:
    outcome = run("good", device="cuda")["good"]
    assert "give --device cpu" in str(outcome.reason) or "built without CUDA" in str(outcome.reason)
    assert outcome.rows == []


def test_when_the_seconds_of_the_run_are_over_the_other_stages_say_so(run: Callable[..., dict[str, Outcome]]) -> None:
    assert "--budget" in str(run("good", budget=0.0)["good"].reason)


def test_every_row_that_is_whole_is_read_and_reported(tmp_path: Path) -> None:
    settings = Settings("cpu", True, tmp_path, (tmp_path,))
    rows = Rows(settings, "speed")
    rows.add("arm", rays_per_second=2.5e6, milliseconds_per_step=float("nan"), rays_per_step=8)
    with settings.rows_of("speed").open("a") as file:
        file.write('{"stage": "speed", "name": "cut o')
    (row,) = read_rows(settings.rows_of("speed"))
    assert row["milliseconds_per_step"] is None
    text = markdown(tmp_path)
    assert "| arm | 2,500,000 |" in text
    assert "cut off" in text


def test_letters_and_names_choose_stages_in_the_order_of_all() -> None:
    settings = Settings("cuda", False, Path(), (Path(),))
    assert [stage.name for stage in chosen(["paper", "b"], {"speed": 7.0}, settings)] == [
        "speed", "profile", "encoding", "paper",
    ]  # fmt: skip
    assert chosen(["speed"], {"speed": 7.0}, settings)[0].seconds == 7.0
    assert chosen([], {}, settings) == list(STAGES)
    assert {name for group in GROUPS.values() for name in group} == {stage.name for stage in STAGES}


@pytest.mark.parametrize("features", [1, 2])
def test_the_twin_in_double_precision_is_nerfstudios_grid(features: int) -> None:
    torch.manual_seed(0)
    slow = HashEncoding(
        implementation="torch", hash_init_scale=1.0, num_levels=3, min_res=4, max_res=40, log2_hashmap_size=8,
        features_per_level=features,
    )  # fmt: skip
    x, cotangent = torch.rand(50, 3, requires_grad=True), torch.randn(50, 3 * features)
    y = slow(x)
    expected = (y, *torch.autograd.grad(y, [x, slow.hash_table], cotangent))
    grid = Grid(slow.hash_table.detach(), slow.scalings.float(), slow.hash_table_size)
    twin = twin_of(grid, x.detach(), cotangent)
    for found, reference in zip((twin.encoded, twin.position_gradient, twin.table_gradient), expected, strict=True):
        torch.testing.assert_close(found.float(), reference, rtol=1e-3, atol=1e-4)
    assert (twin.table_magnitude >= twin.table_gradient.abs() - 1e-9).all()
    assert (twin.position_magnitude >= twin.position_gradient.abs() - 1e-9).all()


def test_a_kernel_as_fast_as_a_copy_of_what_it_asks_for_is_at_the_roof() -> None:
    grid = {"num_levels": 2, "features_per_level": 2, "log2_hashmap_size": 3}
    points, bandwidth = 10, 1e9
    asked = points * 2 * (3 * 4 + 2 * 4) + 8 * points * 2 * 2 * 4  # positions and results of two levels, eight corners
    milliseconds = {"forward": 1e3 * asked / bandwidth, "backward": 1.0}
    found = roofline(grid, points, milliseconds, bandwidth)
    assert found["bytes_asked_for"]["forward"] == asked
    assert found["share_of_copy"]["forward"] == pytest.approx(1.0)


def test_the_dry_run_goes_through_all_stages_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--tiny", "--budget", "5000", "--output", str(tmp_path)]) == 0, (
        capsys.readouterr().out
    )
    stages = json.loads((tmp_path / "results.json").read_text())["stages"]
    assert {stage["stage"] for stage in stages} == {stage.name for stage in STAGES}
    assert all(stage["rows"] > 0 for stage in stages)
    rows = [row for stage in STAGES for row in read_rows(tmp_path / f"{stage.name}.jsonl")]
    assert all(row["passed"] for row in rows if "passed" in row)
    assert [row["name"] for row in rows if "reason" in row] == ["nerfacto, tiny-cuda-nn"]
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith("|")
    for title in ("Correctness of the kernels", "CPU and device", "Training", "Whole runs", "Hash grids"):
        assert f"### {title}" in printed
