"""Fusion of predictions over views: against a loop over pixels, and the theorems that follow from the definitions."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy import ndarray

from semantic_ns.fusion.label_fusion import PixelDistributions, Rule, View, fuse, label_votes, most_likely, soft_votes
from semantic_ns.synthetic_scene import make_trajectory, render

WIDTH, HEIGHT, CLASSES = 20, 14, 4
INTRINSICS = np.array([10.0, 10.0, 10.0, 7.0])
RULES: tuple[Rule, ...] = ("bayes", "average")
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def room(num_views: int) -> list[View]:
    """Neighbouring views of the synthetic room; some depth of the first one is unknown."""
    views = []
    for pose in make_trajectory(20)[:num_views]:
        depth = render(pose, WIDTH, HEIGHT).depth_m.astype(np.float32)
        views.append(View(depth, pose @ FLIP, INTRINSICS))
    views[0].depth_m[:3, :3] = 0
    return views


def random_probabilities(seed: int) -> ndarray:
    """Distributions, some of them sharp, with some pixels that abstain."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(HEIGHT, WIDTH, CLASSES)) * generator.choice([0.5, 4.0, 30.0], (HEIGHT, WIDTH, 1))
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    p[generator.random((HEIGHT, WIDTH)) < 0.1] = 0
    return p.astype(np.float32)


def fused(
    views: Sequence[View], probabilities: Sequence[ndarray], rule: Rule, by_distance: bool = False
) -> list[ndarray]:
    return list(fuse(views, lambda i: soft_votes(probabilities[i]), CLASSES, rule, by_distance))


def seen_at(target: View, row: int, column: int, source: View) -> tuple[int, int, float] | None:
    """Row, column and depth in the source of what a pixel of the target shows; straight from the rule, in OpenGL
    axes."""
    d = float(target.depth_m[row, column])
    if d == 0:
        return None
    fx, fy, cx, cy = target.intrinsics
    in_camera = [(column + 0.5 - cx) / fx * d, -(row + 0.5 - cy) / fy * d, -d, 1.0]
    x, y, z, _ = np.linalg.inv(source.c2w) @ (target.c2w @ in_camera)
    if -z <= 0:
        return None
    gx, gy, px, py = source.intrinsics
    u, v = math.floor(gx * x / -z + px), math.floor(-gy * y / -z + py)
    if not (0 <= u < WIDTH and 0 <= v < HEIGHT):
        return None
    there = float(source.depth_m[v, u])
    return (v, u, -z) if there > 0 and abs(-z - there) < max(0.05, 0.02 * -z) else None


def fused_by_loop(
    views: Sequence[View], probabilities: Sequence[ndarray], target: int, rule: Rule, by_distance: bool
) -> ndarray:
    result = np.zeros((HEIGHT, WIDTH, CLASSES))
    for row in range(HEIGHT):
        for column in range(WIDTH):
            votes, weights, d = [], [], float(views[target].depth_m[row, column])
            for source in range(len(views)):
                is_own = source == target
                place = (row, column, d) if is_own else seen_at(views[target], row, column, views[source])
                if place is not None and probabilities[source][place[:2]].any():
                    votes.append(probabilities[source][place[:2]].astype(np.float64))
                    weights.append(1.0 if is_own or not by_distance else max(d, 0.3) / max(place[2], 0.3))
            if votes and rule == "average":
                result[row, column] = np.average(votes, axis=0, weights=weights)
            elif votes:
                powers = [np.maximum(vote, 1e-6) ** weight for vote, weight in zip(votes, weights, strict=True)]
                product = np.prod(powers, axis=0)
                result[row, column] = product / product.sum()
    return result


@pytest.mark.parametrize("by_distance", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_fusion_is_that_of_one_pixel_after_another(rule: Rule, by_distance: bool) -> None:
    views, probabilities = room(5), [random_probabilities(seed) for seed in range(5)]
    results = fused(views, probabilities, rule, by_distance)
    for target, result in enumerate(results):
        assert result == pytest.approx(fused_by_loop(views, probabilities, target, rule, by_distance), abs=2e-5)
    # Not because nobody votes: most pixels are not what they were.
    assert np.mean(np.abs(results[2] - probabilities[2]).max(axis=-1) > 1e-3) > 0.5


def test_blocks_of_targets_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    views, probabilities = room(5), [random_probabilities(seed) for seed in range(5)]
    at_once = fused(views, probabilities, "bayes")
    monkeypatch.setattr("semantic_ns.fusion.label_fusion._BLOCK_BYTES", 2 * HEIGHT * WIDTH * CLASSES * 4)
    reads: list[int] = []

    def read(index: int) -> PixelDistributions:
        reads.append(index)
        return soft_votes(probabilities[index])

    in_blocks = list(fuse(views, read, CLASSES, "bayes"))
    assert len(reads) == 3 * 5
    assert all((a == b).all() for a, b in zip(at_once, in_blocks, strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_one_view_gives_that_view(rule: Rule) -> None:
    probabilities = random_probabilities(0)
    (result,) = fused(room(1), [probabilities], rule)
    assert result == pytest.approx(probabilities, abs=CLASSES * 1e-6)
    assert (most_likely(result) == most_likely(probabilities)).all()


def test_the_average_of_equal_views_is_the_identity() -> None:
    probabilities = random_probabilities(1)
    for result in fused([room(1)[0]] * 4, [probabilities] * 4, "average"):
        assert result == pytest.approx(probabilities, abs=1e-6)


def test_bayesian_fusion_of_equal_views_sharpens_and_leaves_the_labels() -> None:
    views, probabilities = [room(1)[0]] * 3, random_probabilities(2)
    results = fused(views, [probabilities] * 3, "bayes")
    is_known = (views[0].depth_m > 0) & probabilities.any(axis=-1)
    for result in results:
        assert (most_likely(result) == most_likely(probabilities)).all()
        expected = np.maximum(probabilities.astype(np.float64), 1e-6)[is_known] ** 3
        expected /= expected.sum(axis=-1, keepdims=True)
        assert result[is_known] == pytest.approx(expected, abs=1e-4)
        soft = is_known & (probabilities.max(axis=-1) < 0.99)
        assert (result.max(axis=-1)[soft] > probabilities.max(axis=-1)[soft]).all()
        # Where depth is unknown each view is alone.
        alone = (views[0].depth_m == 0) & probabilities.any(axis=-1)
        assert result[alone] == pytest.approx(probabilities[alone], abs=CLASSES * 1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_views_changes_nothing(rule: Rule) -> None:
    views, probabilities = room(5), [random_probabilities(seed) for seed in range(5)]
    order = [3, 0, 4, 2, 1]
    results = fused(views, probabilities, rule)
    permuted = fused([views[i] for i in order], [probabilities[i] for i in order], rule)
    for place, index in enumerate(order):
        assert permuted[place] == pytest.approx(results[index], abs=1e-5)


def certain(label: int) -> ndarray:
    p = np.full((HEIGHT, WIDTH, CLASSES), 0.1 / (CLASSES - 1), np.float32)
    p[..., label] = 0.9
    return p


def facing(depth_m: float, forward: float = 0.0) -> View:
    """A wall at one depth, seen from so many metres further on."""
    c2w = np.eye(4)
    c2w[2, 3] = -forward  # OpenGL cameras look along -z
    return View(np.full((HEIGHT, WIDTH), depth_m, np.float32), c2w, INTRINSICS)


@pytest.mark.parametrize("rule", RULES)
def test_by_distance_one_near_view_outweighs_two_of_twice_the_distance(rule: Rule) -> None:
    near, far = facing(1.0, forward=1.5), facing(2.5)
    views, probabilities = [far, far, near], [certain(0), certain(0), certain(1)]
    middle = HEIGHT // 2, WIDTH // 2
    for result in fused(views, probabilities, rule, by_distance=True):
        assert most_likely(result)[middle] == 1
    for result in fused(views, probabilities, rule):
        assert most_likely(result)[middle] == 0


@pytest.mark.parametrize("rule", RULES)
def test_by_distance_views_of_one_distance_count_alike(rule: Rule) -> None:
    views, probabilities = [facing(2.0)] * 3, [random_probabilities(seed) for seed in range(3)]
    pairs = zip(fused(views, probabilities, rule, True), fused(views, probabilities, rule), strict=True)
    assert all(weighted == pytest.approx(equal, abs=1e-6) for weighted, equal in pairs)


def test_by_distance_a_view_nearer_than_thirty_centimetres_counts_no_more_than_one_at_thirty() -> None:
    views = [facing(0.3), facing(0.2, forward=0.1)]
    result, _ = fused(views, [certain(0), certain(1)], "average", by_distance=True)
    assert result[HEIGHT // 2, WIDTH // 2, 1] == pytest.approx(np.mean([0.1 / 3, 0.9]))


@pytest.mark.parametrize(
    ("depth_there", "votes"),
    [(2.0, True), (2.04, True), (1.96, True), (2.06, False), (1.0, False), (3.0, False), (0.0, False)],
)
def test_a_view_votes_for_what_it_sees_and_not_for_what_is_hidden_from_it(depth_there: float, votes: bool) -> None:
    result, _ = fused([facing(2.0), facing(depth_there)], [certain(0), certain(1)], "average")
    assert result[5, 5, 1] == pytest.approx(np.mean([0.1 / 3, 0.9]) if votes else 0.1 / 3)


@pytest.mark.parametrize(("error", "votes"), [(0.19, True), (0.21, False)])
def test_the_tolerance_grows_with_depth_beyond_two_and_a_half_metres(error: float, votes: bool) -> None:
    result, _ = fused([facing(10.0), facing(10.0 + error)], [certain(0), certain(1)], "average")
    assert (result[5, 5, 1] > 0.4) == votes


def test_what_lies_behind_a_camera_gets_no_vote_from_it() -> None:
    result, _ = fused([facing(2.0), facing(1.0, forward=3.0)], [certain(0), certain(1)], "average")
    assert result == pytest.approx(certain(0))


def test_a_view_from_nearer_sees_the_middle_only() -> None:
    result, _ = fused([facing(2.0), facing(1.2, forward=0.8)], [certain(0), certain(1)], "average")
    is_voted = result[..., 1] > 0.4
    rows, columns = np.nonzero(is_voted)
    # At 0.6 of the distance it shows 0.6 of the width and of the height.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 10, 4, 15)
    assert is_voted.sum() == 8 * 12


def test_void_abstains_and_is_filled_by_other_views() -> None:
    labels = np.zeros((HEIGHT, WIDTH), np.int64)
    labels[:, :5] = -1
    votes = [label_votes(labels, CLASSES, 0.9), label_votes(np.full_like(labels, 2), CLASSES, 0.6)]
    first, second = fuse([facing(2.0)] * 2, lambda i: votes[i], CLASSES, "bayes")
    assert (most_likely(first) == np.where(labels == -1, 2, 0)).all()
    assert (first == second).all()


def test_nobody_votes_where_all_abstain() -> None:
    nothing = np.zeros((HEIGHT, WIDTH, CLASSES), np.float32)
    for rule in RULES:
        for result in fused([facing(2.0)] * 2, [nothing] * 2, rule):
            assert (result == 0).all()
            assert (most_likely(result) == -1).all()


def test_a_label_is_as_likely_as_said_and_the_others_share_the_rest() -> None:
    votes = label_votes(np.array([[2, -1]]), 5, 0.8)
    assert votes.table[votes.choice[0, 0]].tolist() == pytest.approx([0.05, 0.05, 0.8, 0.05, 0.05])
    assert votes.choice[0, 1] < 0
    assert label_votes(np.array([[0]]), 1, 0.9).table.tolist() == [[1.0]]


@pytest.mark.parametrize("confidence", [0.2, 0.0, 1.01])
def test_a_confidence_by_which_the_label_is_not_the_likeliest_class_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        label_votes(np.array([[0]]), 5, confidence)


def test_independent_errors_are_outvoted() -> None:
    truth = np.ones((HEIGHT, WIDTH), np.int64)
    generator = np.random.default_rng(0)
    noisy = [
        np.where(generator.random(truth.shape) < 0.4, generator.integers(0, CLASSES, truth.shape), truth)
        for _ in range(9)
    ]
    for rule in RULES:
        results = list(fuse([facing(2.0)] * 9, lambda i: label_votes(noisy[i], CLASSES, 0.7), CLASSES, rule))
        assert np.mean(noisy[0] == truth) < 0.75
        assert np.mean(most_likely(results[0]) == truth) > 0.95
