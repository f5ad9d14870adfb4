"""Panoptic quality against its definition, segment by segment, and against torchmetrics where both say the same."""

import numpy as np
import pytest
import torch

from semantic_ns.evaluation.panoptic import PanopticCounts, Segments, match_segments

IS_THING = (True, False, True, False)


def slow_counts(prediction: Segments, truth: Segments) -> list[tuple[float, int, int, int]]:
    """Sum of IoU, matches, surplus and missed segments of each class, with sets of pixels."""

    def segments(pixels: Segments, number: int) -> list[set[int]]:
        of_class = {i for i in range(len(pixels.classes)) if pixels.classes[i] == number}
        if not IS_THING[number]:
            return [of_class] if of_class else []
        ids = {int(pixels.instances[i]) for i in of_class} - {0}
        return [{i for i in of_class if pixels.instances[i] == instance} for instance in ids]

    def is_void(i: int) -> bool:
        return truth.classes[i] == -1 or (IS_THING[truth.classes[i]] and truth.instances[i] == 0)

    void = {i for i in range(len(truth.classes)) if is_void(i)}
    rows = []
    for number in range(len(IS_THING)):
        found, true = segments(prediction, number), segments(truth, number)
        pairs = [(a, b, len(a & b) / len((a - void) | b)) for a in found for b in true]
        matches = [(a, b, iou) for a, b, iou in pairs if iou > 0.5]
        surplus = [a for a in found if a not in [m[0] for m in matches] and len(a & void) <= len(a) / 2]
        missed = [b for b in true if b not in [m[1] for m in matches]]
        rows.append((sum(m[2] for m in matches), len(matches), len(surplus), len(missed)))
    return rows


def random_segments(rng: np.random.Generator, num_pixels: int) -> tuple[Segments, Segments]:
    """A truth of runs with some void, and a prediction that is wrong at random places."""
    lengths = rng.integers(1, 12, num_pixels)
    classes = np.repeat(rng.integers(-1, 4, num_pixels), lengths)[:num_pixels].astype(np.int16)
    instances = np.repeat(rng.integers(0, 3, num_pixels), lengths)[:num_pixels].astype(np.int32)
    is_wrong = rng.random(num_pixels) < 0.2
    guess = np.where(is_wrong, rng.integers(-1, 4, num_pixels), classes).astype(np.int16)
    other = np.where(rng.random(num_pixels) < 0.2, rng.integers(0, 4, num_pixels), instances + 5)
    return Segments(guess, other.astype(np.int32)), Segments(classes, instances)


@pytest.mark.parametrize("seed", range(8))
def test_counts_are_those_of_sets_of_pixels(seed: int) -> None:
    prediction, truth = random_segments(np.random.default_rng(seed), 40 + 25 * seed)
    found = match_segments(prediction, truth, IS_THING)
    expected = slow_counts(prediction, truth)
    np.testing.assert_allclose(found.iou, [row[0] for row in expected], rtol=1e-12)
    for values, place in ((found.matched, 1), (found.surplus, 2), (found.missed, 3)):
        np.testing.assert_array_equal(values, [row[place] for row in expected])
    assert sum(row[1] for row in expected) > 0


def test_quality_is_that_of_torchmetrics_without_void() -> None:
    from torchmetrics.detection import PanopticQuality

    rng = np.random.default_rng(3)
    truth = Segments(rng.integers(0, 4, 90), rng.integers(1, 3, 90))
    wrong = rng.random(90) < 0.2
    prediction = Segments(np.where(wrong, 1, truth.classes), truth.instances + 1)
    metric = PanopticQuality(things={0, 2}, stuffs={1, 3}, return_sq_and_rq=True)
    pairs = [torch.from_numpy(np.stack([part.classes, part.instances], -1))[None] for part in (prediction, truth)]
    pq, sq, rq = metric(*pairs).tolist()
    found = match_segments(prediction, truth, IS_THING).scores()
    np.testing.assert_allclose((found.pq, found.sq, found.rq), (pq, sq, rq), rtol=1e-5)
    assert 0 < found.pq < 1


def test_quality_does_not_depend_on_the_numbers_of_instances_but_on_whether_they_hold_in_every_image() -> None:
    truth = Segments(np.zeros(40, np.int16), np.repeat([1, 2, 1, 2], 10))
    renumbered = Segments(truth.classes, np.repeat([9, 4, 9, 4], 10))
    swapped = Segments(truth.classes, np.repeat([1, 2, 2, 1], 10))
    assert match_segments(renumbered, truth, IS_THING).scores().pq == 1
    assert match_segments(swapped, truth, IS_THING).scores().pq == 0

    def image(pixels: Segments, number: int) -> Segments:
        part = slice(20 * number, 20 * number + 20)
        return Segments(pixels.classes[part], pixels.instances[part])

    halves = [match_segments(image(swapped, n), image(truth, n), IS_THING) for n in range(2)]
    total: PanopticCounts = halves[0] + halves[1]
    assert total.scores().pq == 1
    assert total.scores().matched == 4


def test_a_segment_that_is_mostly_void_is_neither_right_nor_surplus_and_void_is_taken_out_of_unions() -> None:
    truth = Segments(np.array([0] * 4 + [-1] * 6), np.array([1] * 4 + [0] * 6))
    over_void = Segments(np.zeros(10, int), np.array([1] * 4 + [2] * 6))
    whole = Segments(np.zeros(10, int), np.ones(10, int))
    for prediction in (over_void, whole):
        found = match_segments(prediction, truth, IS_THING).things
        assert (found.pq, found.matched, found.surplus, found.missed) == (1, 1, 0, 0)


def test_stuff_is_one_segment_whatever_its_ids_and_things_have_a_score_of_their_own() -> None:
    truth = Segments(np.array([1, 1, 0, 0]), np.array([1, 2, 3, 3]))
    prediction = Segments(np.array([1, 1, 0, 0]), np.array([7, 7, 1, 2]))
    found = match_segments(prediction, truth, IS_THING)
    assert found.scores(~np.array(IS_THING)).pq == 1
    assert found.things.pq == 0
    assert found.scores().pq == 0.5


def test_without_segments_there_is_no_score() -> None:
    nothing = Segments(np.full(5, -1), np.zeros(5, int))
    assert np.isnan(match_segments(nothing, nothing, IS_THING).scores().pq)
