"""Scores from one confusion matrix: each against a slow twin, and the theorems that follow from the definitions."""

import math
import statistics

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from semantic_ns.evaluation.accumulator import SceneAccumulator
from semantic_ns.evaluation.metrics import SegmentationScores, confusion_matrix, segmentation_scores

CLASSES = 5
VOID = -1
MEANS = ("miou", "miou_present", "class_accuracy", "pixel_accuracy", "fwiou")


def random_labels(seed: int, height: int = 9, width: int = 7) -> tuple[Tensor, Tensor]:
    """Prediction and target [H, W, 1]; class 4 is only predicted, class 3 only in the target, some pixels are void."""
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randint(0, CLASSES, (height, width, 1), generator=generator)
    prediction[prediction == 3] = 4
    target = torch.randint(VOID, CLASSES - 1, (height, width, 1), generator=generator)
    target[0, 0, 0], target[0, 1, 0], prediction[0, 2, 0] = VOID, 3, 4
    target[0, 2, 0] = 0
    return prediction, target


def counts_by_loop(prediction: Tensor, target: Tensor) -> list[list[int]]:
    counts = [[0] * CLASSES for _ in range(CLASSES)]
    for predicted, true in zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True):
        if true != VOID:
            counts[true][predicted] += 1
    return counts


def scores_by_loop(prediction: Tensor, target: Tensor) -> dict[str, float]:
    """Straight from the definitions over sets of pixels, without a matrix."""
    pixels = [
        (p, t) for p, t in zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True) if t != VOID
    ]
    iou: dict[int, float] = {}
    recall: dict[int, float] = {}
    weighted = 0.0
    for c in range(CLASSES):
        predicted = {i for i, (p, _) in enumerate(pixels) if p == c}
        true = {i for i, (_, t) in enumerate(pixels) if t == c}
        if predicted | true:
            iou[c] = len(predicted & true) / len(predicted | true)
        if true:
            recall[c] = len(predicted & true) / len(true)
            weighted += len(true) / len(pixels) * iou[c]
    return {
        "miou": statistics.mean(iou.values()),
        "miou_present": statistics.mean(iou[c] for c in recall),
        "class_accuracy": statistics.mean(recall.values()),
        "pixel_accuracy": sum(p == t for p, t in pixels) / len(pixels),
        "fwiou": weighted,
    }


def scores_of(prediction: Tensor, target: Tensor) -> SegmentationScores:
    return segmentation_scores(confusion_matrix(prediction, target, CLASSES))


@pytest.mark.parametrize("seed", range(5))
def test_confusion_matrix_counts_as_a_loop_over_pixels_does(seed: int) -> None:
    prediction, target = random_labels(seed)
    assert confusion_matrix(prediction, target, CLASSES).tolist() == counts_by_loop(prediction, target)


@pytest.mark.parametrize("seed", range(5))
def test_confusion_matrix_equals_torchmetrics(seed: int) -> None:
    prediction, target = random_labels(seed)
    theirs = multiclass_confusion_matrix(prediction, target, CLASSES, ignore_index=VOID)
    torch.testing.assert_close(confusion_matrix(prediction, target, CLASSES), theirs, check_dtype=False)


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_their_definitions_over_sets_of_pixels(seed: int) -> None:
    prediction, target = random_labels(seed)
    scores = scores_of(prediction, target)
    for name, value in scores_by_loop(prediction, target).items():
        assert getattr(scores, name) == pytest.approx(value, abs=1e-12), name


def test_rows_are_ground_truth() -> None:
    matrix = confusion_matrix(torch.tensor([2]), torch.tensor([1]), CLASSES)
    assert matrix[1, 2] == 1
    assert matrix.sum() == 1


def test_a_perfect_prediction_scores_one() -> None:
    target = torch.tensor([0, 1, 1, 3, VOID])
    scores = scores_of(target.clamp(min=0), target)
    assert [getattr(scores, name) for name in MEANS] == [1.0] * len(MEANS)


def test_void_pixels_never_change_a_score() -> None:
    prediction, target = random_labels(0)
    other = torch.where(target == VOID, (prediction + 1) % CLASSES, prediction)
    assert not torch.equal(other, prediction)
    assert confusion_matrix(other, target, CLASSES).equal(confusion_matrix(prediction, target, CLASSES))


def test_void_pixels_may_hold_any_prediction() -> None:
    assert confusion_matrix(torch.tensor([VOID, 99, 0]), torch.tensor([VOID, VOID, 0]), CLASSES).sum() == 1


def test_permuting_classes_permutes_the_ious_and_keeps_the_means() -> None:
    prediction, target = random_labels(1)
    permutation = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(3))
    moved_target = torch.where(target == VOID, VOID, permutation[target.clamp(min=0)])
    before, after = scores_of(prediction, target), scores_of(permutation[prediction], moved_target)
    for c in range(CLASSES):
        assert after.class_iou[int(permutation[c])] == pytest.approx(before.class_iou[c], nan_ok=True)
    for name in MEANS:
        assert getattr(after, name) == pytest.approx(getattr(before, name)), name


def test_a_class_that_is_only_predicted_lowers_miou_but_not_miou_present() -> None:
    scores = scores_of(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 1, 1]))
    assert scores.miou_present == pytest.approx((1 + 2 / 3) / 2)
    assert scores.miou == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_iou_of_an_absent_class_is_nan_and_of_a_missed_one_zero() -> None:
    class_iou = scores_of(torch.tensor([0, 0]), torch.tensor([0, 1])).class_iou
    assert class_iou[:2] == (0.5, 0.0)
    assert all(math.isnan(value) for value in class_iou[2:])


def test_all_void_gives_nan_for_every_score() -> None:
    scores = scores_of(torch.tensor([0, 1]), torch.tensor([VOID, VOID]))
    assert all(math.isnan(value) for value in (*(getattr(scores, name) for name in MEANS), *scores.class_iou))


def test_frequency_weighted_iou_is_never_larger_than_pixel_accuracy() -> None:
    for seed in range(20):
        scores = scores_of(*random_labels(seed))
        assert scores.fwiou <= scores.pixel_accuracy


@pytest.mark.parametrize(
    ("prediction", "target", "which"), [(5, 0, "prediction"), (VOID, 0, "prediction"), (0, 7, "target")]
)
def test_a_class_outside_the_table_is_refused(prediction: int, target: int, which: str) -> None:
    with pytest.raises(ValueError, match=rf"expected {which} classes in 0\.\.4"):
        confusion_matrix(torch.tensor([prediction]), torch.tensor([target]), CLASSES)


def test_pooled_scores_are_those_of_all_images_as_one_and_not_the_mean_of_each() -> None:
    accumulator = SceneAccumulator(CLASSES, metres_per_unit=1.0)
    images = [random_labels(seed, height=4 + seed) for seed in range(3)]
    for prediction, target in images:
        accumulator.add_labels(prediction, target)
    together = scores_by_loop(torch.cat([p for p, _ in images]), torch.cat([t for _, t in images]))
    names = [f"class {c}" for c in range(CLASSES)]
    result = accumulator.result(names)
    assert {name: result[name] for name in MEANS} == pytest.approx(together)
    assert result["miou"] != pytest.approx(statistics.mean(scores_by_loop(*image)["miou"] for image in images))


def test_miou_per_image_is_the_mean_of_what_a_loop_over_the_pixels_of_each_image_finds() -> None:
    accumulator, mious = SceneAccumulator(CLASSES, metres_per_unit=1.0), []
    for seed in range(4):
        prediction, target = random_labels(seed, height=4 + seed)
        prediction[1, seed, 0] = VOID  # wrong, and no other class's pixel
        target[1, seed, 0] = seed % 2  # an image of fewer classes
        if seed == 3:
            target[target == 2] = VOID
        accumulator.add_labels(prediction, target)
        ious = []
        for c in set(target.flatten().tolist()) - {VOID}:
            pixels = zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True)
            both = either = 0
            for found, true in pixels:
                both += found == true == c
                either += true != VOID and c in (found, true)
            ious.append(both / either)
        mious.append(statistics.mean(ious))
    result = accumulator.result([""] * CLASSES)
    assert result["miou_per_image"] == pytest.approx(statistics.mean(mious))
    assert result["miou_per_image"] != pytest.approx(result["miou_present"])
    accumulator.reset()
    accumulator.add_labels(*random_labels(0))
    alone = accumulator.result([""] * CLASSES)
    assert alone["miou_per_image"] == alone["miou_present"]


def test_an_image_without_a_scored_pixel_is_left_out_of_miou_per_image() -> None:
    accumulator = SceneAccumulator(2, metres_per_unit=1.0)
    void = torch.full((2, 2, 1), VOID)
    accumulator.add_labels(void.clamp(min=0), void)
    assert math.isnan(accumulator.result(["a", "b"])["miou_per_image"])
    accumulator.add_labels(void.clamp(min=0), torch.zeros_like(void))
    assert accumulator.result(["a", "b"])["miou_per_image"] == 1


def test_class_ious_are_reported_by_name_and_only_for_classes_that_occur() -> None:
    accumulator = SceneAccumulator(3, metres_per_unit=1.0)
    accumulator.add_labels(torch.tensor([[[0], [0]]]), torch.tensor([[[0], [2]]]))
    result = accumulator.result(["wall", "lamp", "door"])
    assert {name: value for name, value in result.items() if name.startswith("iou/")} == {
        "iou/wall": 0.5,
        "iou/door": 0.0,
    }


def test_reset_forgets_all_images() -> None:
    accumulator = SceneAccumulator(CLASSES, metres_per_unit=1.0)
    accumulator.add_labels(*random_labels(0))
    accumulator.add_color(torch.zeros(2, 2, 3), torch.ones(2, 2, 3))
    accumulator.reset()
    assert accumulator.result([""] * CLASSES) == {}
    accumulator.add_labels(*random_labels(1))
    assert accumulator.result([""] * CLASSES)["miou"] == scores_by_loop(*random_labels(1))["miou"]


def test_pooled_psnr_is_that_of_all_pixels() -> None:
    accumulator = SceneAccumulator(CLASSES, metres_per_unit=1.0)
    generator = torch.Generator().manual_seed(0)
    pairs = [(torch.rand(h, 3, 3, generator=generator), torch.rand(h, 3, 3, generator=generator)) for h in (2, 5)]
    for rendered, target in pairs:
        accumulator.add_color(rendered, target)
    errors = [(a - b) ** 2 for r, t in pairs for a, b in zip(r.flatten().tolist(), t.flatten().tolist(), strict=True)]
    expected = -10 * math.log10(statistics.mean(errors))
    assert accumulator.result([""] * CLASSES)["psnr_pooled"] == pytest.approx(expected)


def test_pooled_psnr_of_equal_pictures_is_infinite() -> None:
    accumulator = SceneAccumulator(CLASSES, metres_per_unit=1.0)
    accumulator.add_color(torch.ones(2, 2, 3), torch.ones(2, 2, 3))
    assert accumulator.result([""] * CLASSES)["psnr_pooled"] == math.inf


def test_a_pixel_without_a_predicted_class_is_wrong_and_no_pixel_of_another_class() -> None:
    target = torch.tensor([0, 0, 1, VOID])[:, None, None]
    sums = SceneAccumulator(2, 1.0)
    sums.add_labels(torch.tensor([0, VOID, 1, VOID])[:, None, None], target)
    scores = sums.result(["a", "b"])
    assert (scores["iou/a"], scores["iou/b"]) == (0.5, 1.0)
    assert scores["pixel_accuracy"] == pytest.approx(2 / 3)
    assert scores["class_accuracy"] == pytest.approx(0.75)
    pooled = SceneAccumulator(2, 1.0)
    pooled.pool([sums, sums])
    assert pooled.result(["a", "b"]) == scores
