"""The speed benchmark: its arms are what they are called, and its figures are what they claim."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.models.nerfacto import NerfactoModelConfig

from benchmarks.speed.arms import ARMS, Arm, NotMeasuredError, registered
from benchmarks.speed.curve import scored_steps
from benchmarks.speed.models import FoldedClassesDataParserConfig, PerSampleHeadModelConfig, folded
from benchmarks.speed.report import GOALS, encoding_ratio, goal_row, goals_table, number, tables, write_report
from benchmarks.speed.statistics import RATIOS, arm_summaries, paired_summary, seconds_to, summary, turn_ratios
from benchmarks.speed.turn import paired_turns, take_steps, trainer_of
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.labels.taxonomy import VOID, Taxonomy
from support.fresh_process import loaded_after
from support.speed_results import CIRCUMSTANCES

POINTS = [
    {"seconds": 10.0, "miou_present": 0.5},
    {"seconds": 20.0, "miou_present": 0.7},
    {"seconds": 40.0, "miou_present": 0.9},
    {"seconds": 50.0, "miou_present": 0.8},
]


def turn(rays: float, seconds: float = 0.5) -> dict[str, Any]:
    return {
        "training_rays_per_second": rays,
        "rendering_rays_per_second": 2 * rays,
        "seconds_per_frame": seconds,
        "frame_seconds": [seconds],
        "peak_gib_training": 1.0,
        "peak_gib": 1.5,
        "steps": [1, 2],
        "frames": [0, 1],
    }


def curve(points: list[dict[str, float]]) -> dict[str, Any]:
    return {
        "circumstances": CIRCUMSTANCES,
        "num_iterations": 100,
        "default_iterations": 3000,
        "num_test_images": 30,
        "training_seconds": 50.0,
        "seconds_before_first_step": 6.0,
        "first_step_seconds": 0.5,
        "points": [{"step": i, "psnr": 29.0, "depth_l1": 0.2, "num_images": 3, **p} for i, p in enumerate(points)],
        "seconds_to_miou_present": {f"{t:.2f}": seconds_to(points, "miou_present", t) for t in (0.8, 0.9, 0.95)},
        "rendering": {"seconds_per_frame": 0.9},
        "peak_gib": 2.0,
    }


# Arms


def test_the_parent_process_loads_no_torch() -> None:
    # Its memory would count as that of the processes that it starts.
    assert "torch" not in loaded_after("import benchmarks.speed.run")


@pytest.mark.parametrize("name", ["nerfacto-same-sizes", "per-sample-head"])
def test_arms_of_the_same_sizes_share_every_nerfacto_option_with_semantic_nerf(name: str) -> None:
    ours, config = registered("semantic-nerf"), ARMS[name].config()
    names = {option.name for option in fields(NerfactoModelConfig)} - {"_target"}
    assert {"num_levels", "max_res", "proposal_net_args_list", "num_nerf_samples_per_ray", "hidden_dim"} <= names
    for option in names - {"near_plane", "far_plane"}:  # semantic-nerf takes them from the scene
        assert getattr(config.pipeline.model, option) == getattr(ours.pipeline.model, option), option
    assert config.optimizers == ours.optimizers
    rays = config.pipeline.datamanager.train_num_rays_per_batch
    assert rays == ours.pipeline.datamanager.train_num_rays_per_batch
    assert type(config.pipeline.model) is (NerfactoModelConfig if "same" in name else PerSampleHeadModelConfig)


def test_nerfacto_differs_from_its_defaults_in_data_and_implementation_alone() -> None:
    default, config = registered("nerfacto").pipeline, ARMS["nerfacto"].config().pipeline
    assert config.datamanager.train_num_rays_per_batch == default.datamanager.train_num_rays_per_batch
    assert config.model.implementation == "torch"
    config.model.implementation = default.model.implementation
    assert config.model == default.model


def test_an_arm_does_not_change_the_registered_method() -> None:
    ARMS["semantic-nerf-C13"].config()
    assert type(registered("semantic-nerf").pipeline.datamanager.dataparser) is AutoDataParserConfig


def test_the_arm_without_head_has_none() -> None:
    assert registered("semantic-nerf").pipeline.model.use_semantics
    assert not ARMS["semantic-nerf-no-head"].config().pipeline.model.use_semantics


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_cuda_arms_choose_their_back_end(backend: str) -> None:
    arm = ARMS[f"semantic-nerf-{backend}"]
    assert arm.needs_cuda
    assert arm.config().pipeline.model.hash_backend == backend


def test_an_unknown_method_is_not_measured() -> None:
    with pytest.raises(NotMeasuredError, match="no-such-method"):
        registered("no-such-method")


def test_a_scaled_arm_counts_at_least_one_step_and_frame() -> None:
    arm = Arm(dict, steps=(60, 240), frames=(1, 5))
    assert (arm.scaled(0.1).steps, arm.scaled(0.1).frames) == ((6, 24), (0, 1))
    assert arm.scaled(0.0).steps == (0, 1)


# Classes

SCENE = Taxonomy(
    source_ids=(2, 5, 9), names=("a", "b", "c"), colors=((1, 1, 1),) * 3, is_thing=(True,) * 3, void_source_id=0
)


@pytest.mark.parametrize("num_classes", [1, 2, 3, 40])
def test_folded_classes_are_the_scenes_modulo_their_number(num_classes: int) -> None:
    taxonomy = folded(SCENE, num_classes)
    assert taxonomy.num_classes == len(set(taxonomy.source_ids)) == num_classes
    raw = np.array([0, 2, 5, 9])
    assert taxonomy.encode(raw, "image").tolist() == [VOID, *(label % num_classes for label in range(3))]
    assert taxonomy.encode(raw, "image").dtype == np.int16


def test_a_folded_scene_keeps_everything_but_its_taxonomy(replica_scene: Path) -> None:
    made = [config.setup().get_dataparser_outputs("train") for config in (
        AutoDataParserConfig(data=replica_scene), FoldedClassesDataParserConfig(data=replica_scene, num_classes=4)
    )]  # fmt: skip
    plain, changed = (outputs.metadata for outputs in made)
    assert changed.pop(keys.TAXONOMY).num_classes == 4
    assert plain.pop(keys.TAXONOMY).num_classes > 4
    assert plain == changed


# The per-sample head


def test_the_per_sample_head_trains_and_renders_logits_of_each_class(replica_scene: Path) -> None:
    config = ARMS["per-sample-head"].config()
    model_config = config.pipeline.model
    config.pipeline.datamanager.train_num_rays_per_batch = 64
    model_config.log2_hashmap_size, model_config.eval_num_rays_per_chunk = 10, 1 << 9
    with trainer_of(config, replica_scene) as trainer:
        model: Any = trainer.pipeline.model
        head = model.field.field_head_semantics.net.weight
        before = head.detach().clone()
        take_steps(trainer, range(2))
        assert not torch.equal(head.detach(), before)
        model.eval()
        datamanager: Any = trainer.pipeline.datamanager
        camera = datamanager.eval_dataset.cameras[0:1]
        outputs = model.get_outputs_for_camera(camera)
        classes = datamanager.train_dataset.metadata[keys.TAXONOMY].num_classes
        assert outputs["semantics"].shape == (*outputs["rgb"].shape[:2], classes)
        # The sum over samples that nerfstudio's renderer takes is that of a loop.
        logits, weights = model.field.logits, model.weights
        loop = sum(weights[:, i] * logits[:, i] for i in range(logits.shape[1]))
        torch.testing.assert_close(outputs["semantics"].view(-1, classes)[-len(weights) :], loop)


# Statistics


def test_ratios_are_taken_between_turns_of_one_round() -> None:
    turns = {"semantic-nerf": [turn(100), turn(90), turn(400)], "nerfacto": [turn(10), turn(30), turn(20)]}
    ratio = turn_ratios(turns)["training: semantic-nerf / nerfacto"]
    assert ratio == {"median": 10.0, "min": 3.0, "max": 20.0, "turns": [10.0, 3.0, 20.0]}


def test_an_arm_without_measurement_has_no_ratio() -> None:
    turns = {"semantic-nerf": [turn(100)], "nerfacto": [{"not_measured": "a reason"}]}
    assert turn_ratios(turns) == {}
    assert arm_summaries(turns)["nerfacto"] == {"not_measured": "a reason"}


def test_every_ratio_names_arms_that_exist() -> None:
    assert {arm for _, above, below in RATIOS.values() for arm in (above, below)} <= ARMS.keys()


def test_summaries_hold_the_values_of_all_turns() -> None:
    arm = arm_summaries({"a": [turn(3), turn(1), turn(2)]})["a"]
    assert arm["training_rays_per_second"] == summary([3, 1, 2])
    assert (arm["training_rays_per_second"]["median"], arm["steps"]) == (2, [1, 2])


def test_paired_arms_are_compared_turn_by_turn_with_the_first() -> None:
    found = paired_summary({"off": [10.0, 40.0, 20.0], "on": [11.0, 48.0, 20.0]})
    assert found["off"]["over_first"] == 1.0
    assert found["on"]["milliseconds_per_step"] == 20.0
    assert found["on"]["over_first"] == pytest.approx(1.1)
    assert found["on"]["quartiles"] == pytest.approx([1.0, 1.2])
    assert found["on"]["of_sums"] == pytest.approx(79 / 70)


def test_paired_arms_train_in_turn_in_one_process(replica_scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[int, range]] = []

    def noted(trainer: Any, steps: range, callback_offset: int = 0) -> float:
        taken.append((id(trainer), steps))
        return take_steps(trainer, steps, callback_offset)

    monkeypatch.setattr("benchmarks.speed.turn.take_steps", noted)
    arms = {
        name: Arm(ARMS[name].config, steps=(1, 0), frames=(0, 0)) for name in ("semantic-nerf-no-head", "semantic-nerf")
    }
    found = paired_turns(arms, replica_scene, 2, 2)
    assert {name: len(turns) for name, turns in found.items()} == {"semantic-nerf-no-head": 2, "semantic-nerf": 2}
    assert min(min(turns) for turns in found.values()) > 0
    one, other = dict.fromkeys(trainer for trainer, _ in taken)
    assert taken == [(t, s) for s in (range(1), range(1, 3), range(3, 5)) for t in (one, other)]


def test_the_time_to_a_score_is_linear_between_points() -> None:
    assert seconds_to(POINTS, "miou_present", 0.75) == pytest.approx({"seconds": 25.0, "after": 20.0, "before": 40.0})


def test_the_time_to_a_score_is_that_of_its_first_crossing() -> None:
    assert seconds_to(POINTS, "miou_present", 0.9) == pytest.approx({"seconds": 40.0, "after": 20.0, "before": 40.0})


def test_a_score_that_is_never_reached_has_no_time() -> None:
    assert seconds_to(POINTS, "miou_present", 0.91) is None
    assert seconds_to([], "miou_present", 0.5) is None


def test_a_score_reached_before_the_first_point_has_at_most_its_time() -> None:
    assert seconds_to(POINTS, "miou_present", 0.4) == {"seconds": 10.0, "after": 0.0, "before": 10.0}


def test_a_run_is_scored_at_its_end_and_never_after() -> None:
    assert scored_steps([100, 50, 300, 200], 200) == [50, 100, 200]


# Report


def goal(text: str) -> Any:
    (found,) = (goal for goal in GOALS if text in goal.what)
    return found


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(9.0, "missed"), (8.0, "met"), (6.0, "met"), (5.0, "met, stretch too")]
)
def test_the_verdict_compares_the_median_with_bar_and_stretch(seconds: float, verdict: str) -> None:
    assert goal_row({"startup": summary([1.0, seconds, 99.0])}, goal("start of"))[-1] == verdict


@pytest.mark.parametrize(("ratio", "verdict"), [(39.0, "missed"), (40.0, "met"), (60.0, "met, stretch too")])
def test_a_rate_has_to_be_at_least_its_bar(ratio: float, verdict: str) -> None:
    report = {"turns": {"ratios": {"training: semantic-nerf / nerfacto": summary([ratio])}}}
    assert goal_row(report, goal("nerfacto's defaults"))[-1] == verdict


def test_ratios_of_all_turns_count_and_those_of_the_first_come_first() -> None:
    named = {
        name: {"ratios": {"training: semantic-nerf / nerfacto": summary([x])}}
        for name, x in (("turns", 70.0), ("turns slow", 3.0))
    }
    assert goal_row(named, goal("nerfacto's defaults"))[-1] == "met, stretch too"
    del named["turns"]
    assert goal_row(named, goal("nerfacto's defaults"))[-1] == "missed"


def test_what_is_missing_is_said_to_be_not_measured() -> None:
    rows = goals_table({}).splitlines()[2:]
    assert len(rows) == len(GOALS)
    assert all("not measured" in row for row in rows)


def test_a_quality_that_a_run_never_reached_is_missed() -> None:
    assert goal_row({"curve semantic-nerf": curve(POINTS[:2])}, goal(".90"))[-2:] == ("not reached", "missed")


def test_the_encodings_ratio_is_of_speeds() -> None:
    times = {name: {"both": summary([ms])} for name, ms in (("triton", 4.0), ("tinycudann", 3.0))}
    assert encoding_ratio({"milliseconds": times}) == 0.75
    del times["tinycudann"]
    assert encoding_ratio({"milliseconds": times}) is None


def test_numbers_have_three_digits_or_all_before_the_point() -> None:
    assert [number(x) for x in (0.03124, 1.0, 41.49, 512, 26512.4)] == ["0.0312", "1.00", "41.5", "512", "26 512"]


def test_the_page_names_every_arm_and_why_one_was_not_measured(tmp_path: Path) -> None:
    turns = {"semantic-nerf": [turn(100)], "nerfacto": [turn(2)], "semantic-nerf-triton": [{"not_measured": "no GPU"}]}
    report = {
        "turns": {
            "circumstances": CIRCUMSTANCES, "rounds": 1,
            "arms": arm_summaries(turns), "ratios": turn_ratios(turns),
        },
        "turns slow": {
            "circumstances": CIRCUMSTANCES, "rounds": 2,
            "arms": arm_summaries({"semantic-ngp": [turn(7), turn(8)]}), "ratios": {},
        },
        "paired start": {
            "circumstances": CIRCUMSTANCES, "rounds": 2, "steps": 12,
            "arms": paired_summary({"off": [10.0, 20.0], "on": [11.0, 22.0]}),
        },
        "startup": {"circumstances": CIRCUMSTANCES, **summary([5.5])},
        "curve semantic-nerf": curve(POINTS),
    }  # fmt: skip
    page = tables(report)
    assert "| semantic-nerf-triton | not measured: no GPU |" in page
    assert "| training rays/s over nerfacto's defaults | >= 40 | 60 | 50.0 (50.0 to 50.0) | met |" in page
    assert "| semantic-ngp | 7.50 (7.00 to 8.00) |" in page
    assert "| on | 16.5 | 1.100 (1.100 to 1.100) | 1.100 |" in page
    assert "The run is semantic-nerf, 100 steps (default 3000) on room, scored on 3 of 30 test images." in page
    write_report(report, tmp_path)
    assert (tmp_path / "results" / "speed_tables.md").read_text() == page
    assert 0 < (tmp_path / "pictures" / "speed_curve.png").stat().st_size < 300 * 2**10
