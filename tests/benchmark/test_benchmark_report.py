"""The report of a benchmark of labels: its figures are those of the results, beside those of the paper."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from semantic_ns.benchmark.labels.plots import sparsity_points
from semantic_ns.benchmark.labels.report import base_variant, write_report
from semantic_ns.benchmark.labels.tables import SHAPES, ablation_table, paper_table, semantics_table
from semantic_ns.benchmark.runner.results import Result, Spread, mean_over_scenes, own_score, read_results, spread
from semantic_ns.benchmark.runner.trials import trial_folder, write_done, write_failed, write_trial
from semantic_ns.errors import SceneError
from support.benchmark_trials import outcome, trial
from support.markdown import rows


def result(miou: float, mode: str = "click", seed: int = 0, scene: str = "room", **changes: Any) -> Result:
    found = trial(mode, seed, **changes)
    content = outcome(miou, versions={"torch": "2"}, semantics=changes.get("variant") != "flat")
    return Result(replace(found, scene=replace(found.scene, name=scene)), content["scores"], content)


def written(results: Sequence[Result], output: Path) -> None:
    for each in results:
        folder = trial_folder(output, each.trial)
        write_trial(folder, each.trial)
        write_done(folder, each.trial, each.content, [])


def test_spread_is_the_mean_and_the_sample_deviation_of_what_there_is() -> None:
    values = [0.5, 0.7, 0.9]
    found = spread([0.5, None, 0.7, 0.9])
    assert found is not None
    assert found.mean == pytest.approx(statistics.mean(values))
    assert found.deviation == pytest.approx(statistics.stdev(values))
    assert found.text() == "0.700 ± 0.200"
    assert spread([0.5]) == Spread(0.5, 0.0, 1)
    assert Spread(0.5, 0.0, 1).text() == "0.500"
    assert spread([None]) is None


def test_a_mode_is_scored_on_its_own_poses() -> None:
    assert own_score([result(0.5, "click")]) == Spread(0.5, 0.0, 1)
    assert own_score([result(0.5, "pixel-noise-50%")]) == Spread(0.55, 0.0, 1)


def test_propagation_has_our_figures_beside_those_of_the_paper() -> None:
    seeds = [result(0.6, "1%", 0), result(0.7, "1%", 1), result(0.5, "click")]
    click, one = rows(paper_table(SHAPES[1], seeds))
    assert click[:3] == ["single click", "test poses", "0.500"]
    assert one[:3] == ["1 %", "test poses", "0.650 ± 0.071"]
    assert one[6:] == ["0.700 ± 0.071", "0.020 ± 0.000", "0.706", "0.934", "0.944", ">= 0.75", "10 ± 0", "2"]


def test_noise_has_the_labels_that_were_given_and_the_trained_ones() -> None:
    given, trained = rows(paper_table(SHAPES[3], [result(0.5, "region-even-30%")]))
    assert given[:3] == ["even, 30 %", "input labels", "0.250"]
    assert given[8] == "0.741"
    assert trained[:3] == ["even, 30 %", "training poses", "0.550"]
    assert trained[6:9] == ["0.500", "0.020", "0.796"]
    assert trained[11] == ">= input + 0.055"


def test_labels_of_a_network_of_any_folder_are_in_one_table() -> None:
    found = rows(paper_table(SHAPES[5], [result(0.5, "cnn:a"), result(0.6, "cnn:b"), result(0.6, "all")]))
    assert [row[0] for row in found] == ["labels of a"] * 2 + ["labels of b"] * 2
    assert found[1][8] == "0.680"


def test_fusion_of_the_same_predictions_stands_between_input_and_field() -> None:
    fused = {"miou_present": 0.45, "miou": 0.4, "class_accuracy": 0.5, "pixel_accuracy": 0.6, "ece": 0.03}
    trained = result(0.5, "cnn:a")
    names = ("predictions", "bayes_given_depth", "average_rendered_depth")
    found = rows(paper_table(SHAPES[5], [replace(trained, scores=trained.scores | dict.fromkeys(names, fused))]))
    assert [row[1] for row in found] == [
        "input labels", "predictions, all pixels", "fused: bayes given depth", "fused: average rendered depth",
        "training poses",
    ]  # fmt: skip
    assert found[2][2:8] == ["0.450", "0.400", "0.500", "0.600", "", "0.030"]
    assert len({len(row) for row in found}) == 1


def test_every_mode_is_in_one_table_only() -> None:
    from semantic_ns.benchmark.runner.modes import MODES

    named = [mode for shape in SHAPES for mode in shape.modes]
    assert sorted(named) == sorted([*MODES, "cnn:"])


def test_a_table_without_results_is_left_out() -> None:
    assert paper_table(SHAPES[2], [result(0.5, "click")]) == ""


def test_variants_are_rows_and_modes_are_columns() -> None:
    assert ablation_table([result(0.5), result(0.6, "all")]) == ""
    table = ablation_table([result(0.6, "click"), result(0.5, "all"), result(0.4, "click", variant="bare")])
    assert "| variant | all labels | single click |" in table
    assert rows(table) == [["default", "0.500", "0.600"], ["bare", "-", "0.400"]]


def test_a_training_without_classes_stands_beside_its_mode_or_else_beside_all_of_them() -> None:
    assert semantics_table([result(0.5)], "default") == ""
    found = rows(semantics_table([result(0.6, "click"), result(0.5, "all"), result(0.4, variant="flat")], "default"))
    assert found[0] == ["flat", "all labels", "single click", "30.50", "30.40", "+0.10", "0.100", "0.100", "+0.000"]
    assert found[1][:6] == ["flat", "single click", "single click", "30.60", "30.40", "+0.20"]


def test_trainings_with_and_without_classes_are_compared_seed_by_seed_within_a_mode() -> None:
    trained = [result(0.5, seed=0), result(0.9, seed=1), result(0.6, "all", seed=0)]
    plain = [result(0.1, seed=0, variant="flat"), result(0.3, "all", seed=0, variant="flat")]
    found = rows(semantics_table([*trained, *plain], "default"))
    assert [row[:6] for row in found] == [
        ["flat", "all labels", "all labels", "30.60", "30.30", "+0.30"],
        ["flat", "single click", "single click", "30.50", "30.10", "+0.40"],
    ]


@pytest.mark.parametrize("change", [{"score_stride": 3}, {"options": ("--pipeline.model.semantic-loss-weight", "1")}])
def test_results_that_differ_in_more_than_their_seeds_are_not_averaged(tmp_path: Path, change: dict[str, Any]) -> None:
    written([result(0.5, seed=0), result(0.6, seed=1, **change)], tmp_path)
    with pytest.raises(SceneError, match=f"seeds alone, found {next(iter(change))}"):
        write_report(tmp_path)


def test_the_mean_of_scenes_is_taken_seed_by_seed_over_those_that_all_have() -> None:
    both = [result(0.5, seed=0), result(0.7, seed=0, scene="b"), result(0.6, seed=1), result(0.9, seed=1, scene="b")]
    found = mean_over_scenes([*both, result(0.9, "all")], "mean")
    assert [each.trial.scene.name for each in found] == ["mean", "mean"]
    assert [each.scores["test"]["miou_present"] for each in found] == pytest.approx([0.6, 0.75])


def test_the_curve_goes_from_all_labels_to_two_frames() -> None:
    modes = ("two-frames", "sparse-0.9", "all", "click", "sparse-0.5")
    points = sparsity_points([result(0.9 - 0.1 * place, mode) for place, mode in enumerate(modes)])
    assert [sparsity for sparsity, _ in points] == [0, 0.5, 0.9, 1 - 2 / 60]
    assert [value.mean for _, value in points] == pytest.approx([0.7, 0.5, 0.8, 0.9])


def test_the_tables_are_those_of_the_default_or_of_the_first_with_classes() -> None:
    assert base_variant([result(0.5, variant="a"), result(0.5)]) == "default"
    assert base_variant([result(0.5, variant="flat"), result(0.5, variant="b")]) == "b"


def test_a_report_has_every_table_its_pictures_and_the_failures(tmp_path: Path) -> None:
    modes = ("all", "sparse-0.9", "click", "pixel-noise-50%", "super-dense-8", "cnn:a")
    results = [result(0.5, mode, seed) for mode in modes for seed in (0, 1)]
    written([*results, result(0.4, variant="flat"), result(0.4, variant="bare")], tmp_path)
    failed = trial("5%")
    write_failed(trial_folder(tmp_path, failed), failed, "Traceback\nValueError: a | b")
    text = write_report(tmp_path).read_text()
    assert "# semantic-nerf, 100 steps" in text
    for title in ("Fig. 4", "Table 3", "Table 1", "Table 2", "Table 4", "Variants", "With and without", "# Failed"):
        assert title in text, title
    assert f"| `{failed.key}` | ValueError: a \\| b |" in text
    pictures = re.findall(r"\((pictures/\S+)\)", text)
    assert len(pictures) == 2
    for picture in pictures:
        assert Image.open(tmp_path / picture).size[0] > 300


def test_a_report_says_of_which_scenes_depth_images_trained_beside_the_figures_of_the_paper(tmp_path: Path) -> None:
    results = [result(0.5), result(0.6, scene="other"), result(0.4, variant="bare"), result(0.4, scene="third")]
    for each, has_depth in zip(results, (True, True, False, None), strict=True):
        each.content.update({} if has_depth is None else {"trains_with_depth": has_depth})
    written(results, tmp_path)
    lines = write_report(tmp_path).read_text().splitlines()
    variants = {line.split("`")[1]: line for line in lines if line.startswith("- variant")}
    assert "depth images of other, room, while the paper's trainings had none" in variants["default"]
    assert variants["bare"] == "- variant `bare`: no options"


def test_results_of_two_scenes_have_a_mean_and_half_written_ones_are_passed_over(tmp_path: Path) -> None:
    written([result(0.5), result(0.7, scene="other")], tmp_path)
    write_trial(trial_folder(tmp_path, trial("all")), trial("all"))
    assert "## mean of 2 scenes" in write_report(tmp_path).read_text()
    done, failed = read_results(tmp_path)
    assert (len(done), failed) == (2, [])


def test_scores_that_do_not_exist_are_dashes(tmp_path: Path) -> None:
    bare = result(0.5)
    bare.content["scores"] = {"test": {"psnr": 30.0}, "train": {"num_images": 3.0}, "input": {"miou": None}}
    bare.content["semantics"] = False
    written([bare], tmp_path)
    assert "| single click | test poses | - | - |" in write_report(tmp_path).read_text()


def test_a_report_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="found none"):
        write_report(tmp_path)
