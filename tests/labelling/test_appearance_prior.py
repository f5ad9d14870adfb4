"""What looks alike: the classifier that is fitted to marks, and what the solver makes of it."""

import numpy as np
import pytest
from scipy.optimize import minimize

from semantic_ns.labelling.appearance_prior import (
    MOST_FITTED,
    PENALTY,
    WEIGHT,
    AppearancePrior,
    Wanted,
    class_shares,
    fitted_voxels,
    is_described,
    regression_loss,
)
from semantic_ns.labelling.solver import Anchors, ExactSolver, Observation
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import FRAMES
from support.label_surfaces import alike, make_label_surface

CLASSES = 3


@pytest.fixture(scope="module")
def surface(tmp_path_factory: pytest.TempPathFactory) -> LabelSurface:
    return alike(make_label_surface(tmp_path_factory.mktemp("images"), FRAMES))


def some_marks(num_voxels: int, seed: int, number: int = 6, num_classes: int = CLASSES) -> list[Observation]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, number)
    voxels = [np.sort(rng.choice(num_voxels, size, replace=False)).astype(np.int32) for size in sizes]
    return [Observation(some, place % num_classes) for place, some in enumerate(voxels)]


def loss_by_loops(table: np.ndarray, features: np.ndarray, labels: list[int]) -> float:
    """The loss of `class_shares` for [channels and one, classes]."""
    total = PENALTY * sum(float(value) ** 2 for value in table[:-1].reshape(-1))
    for row, label in zip(features.astype(float), labels, strict=True):
        scores = [sum(row * table[:-1, c]) + table[-1, c] for c in range(table.shape[1])]
        total += (np.log(sum(np.exp(score) for score in scores)) - scores[label]) / len(labels)
    return total


def test_the_loss_is_the_mean_cross_entropy_with_a_penalty_and_its_gradient_that_of_differences() -> None:
    rng = np.random.default_rng(0)
    table, features = rng.normal(size=(5, CLASSES)), rng.normal(size=(7, 4)).astype(np.float32)
    labels = rng.integers(CLASSES, size=7)
    loss, gradient = regression_loss(table.reshape(-1), features, labels, CLASSES)
    assert loss == pytest.approx(loss_by_loops(table, features, labels.tolist()), rel=1e-5)
    for place in np.ndindex(table.shape):
        step = np.zeros_like(table)
        step[place] = 1e-5
        above, below = (loss_by_loops(table + sign * step, features, labels.tolist()) for sign in (1, -1))
        assert gradient.reshape(table.shape)[place] == pytest.approx((above - below) / 2e-5, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_shares_are_those_where_the_loss_is_least(surface: LabelSurface, seed: int) -> None:
    features, marks = surface.features, some_marks(surface.graph.num_nodes, seed)
    pairs = [(v, one.label) for one in marks for v in one.voxels.tolist() if features[v].any()]
    rows, labels = features[[v for v, _ in pairs]], [label for _, label in pairs]
    shape = features.shape[1] + 1, CLASSES
    least = minimize(lambda x: loss_by_loops(x.reshape(shape), rows, labels), np.zeros(shape[0] * shape[1]))
    table = least.x.reshape(shape)
    scores = np.exp(features.astype(float) @ table[:-1] + table[-1])
    expected = scores / scores.sum(axis=1, keepdims=True)
    found = class_shares(features, marks, CLASSES)
    known = is_described(features)
    assert 0 < known.sum() < len(known)
    assert np.abs(found - expected)[known].max() < 1e-2
    assert (found[~known] == 0).all()


def test_one_class_alone_is_certain_and_marks_on_unseen_voxels_alone_say_nothing(surface: LabelSurface) -> None:
    known = is_described(surface.features)
    found = class_shares(surface.features, some_marks(surface.graph.num_nodes, 0, num_classes=1), 1)
    assert (found[:, 0] == known).all()
    unseen = [Observation(np.array([place], np.int32), c) for c, place in enumerate(np.flatnonzero(~known)[:2])]
    assert np.allclose(class_shares(surface.features, unseen, 2), 0.5 * known[:, None])


@pytest.mark.parametrize(("sizes", "expected"), [((3, 1), 4), ((6 * MOST_FITTED, 1), 1 + MOST_FITTED // 2)])
def test_each_part_of_a_mark_gives_some_voxels_and_none_too_many(sizes: tuple[int, ...], expected: int) -> None:
    marks = [Observation(np.arange(size, dtype=np.int32), label) for label, size in enumerate(sizes)]
    voxels, labels = fitted_voxels(marks)
    assert len(voxels) == expected
    for one in marks:
        own = voxels[labels == one.label]
        assert set(own.tolist()) <= set(one.voxels.tolist())
        assert own.max() >= 0.9 * one.voxels[-1]


def test_many_marks_give_at_least_one_voxel_of_each_part() -> None:
    marks = [Observation(np.array([place, place + 1], np.int32), 0) for place in range(2 * MOST_FITTED)]
    assert (fitted_voxels(marks)[0] == np.arange(2 * MOST_FITTED)).all()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_with_another_base_a_solver_has_the_bits_of_one_that_began_with_it(
    surface: LabelSurface, order: tuple[int, int]
) -> None:
    num_voxels = surface.graph.num_nodes
    anchors = AppearancePrior(surface.features).anchors
    solver = ExactSolver(surface.graph, surface.clusters, anchors)
    all_marks = [some_marks(num_voxels, seed) for seed in (0, 1)]
    for place in order:
        shares = class_shares(surface.features, all_marks[place], CLASSES)
        solver.take_base(solver.base_of(shares))
        found = solver.solve(all_marks[place], CLASSES, range(CLASSES))
        fresh = ExactSolver(surface.graph, surface.clusters, Anchors(anchors.weights, shares, 0.0))
        expected = fresh.solve(all_marks[place], CLASSES, range(CLASSES))
        assert (found.labels == expected.labels).all()
        assert (found.probabilities == expected.probabilities).all()
        assert (found.nearness == expected.nearness).all()


def test_only_voxels_with_features_are_drawn_and_nearness_is_that_of_marks_alone(surface: LabelSurface) -> None:
    known = is_described(surface.features)
    anchors = AppearancePrior(surface.features).anchors
    assert (anchors.weights == WEIGHT * known).all()
    marks = some_marks(surface.graph.num_nodes, 2)
    solver = ExactSolver(surface.graph, surface.clusters, anchors)
    solver.take_base(solver.base_of(class_shares(surface.features, marks, CLASSES)))
    found = solver.solve(marks, CLASSES, range(CLASSES))
    plain = ExactSolver(surface.graph, surface.clusters).solve(marks, CLASSES)
    assert (found.nearness == plain.nearness).all()


def test_classifiers_are_found_for_their_own_marks_alone_and_the_last_ones_are_kept(surface: LabelSurface) -> None:
    prior = AppearancePrior(surface.features)
    solver = ExactSolver(surface.graph, surface.clusters, prior.anchors)
    one = np.array([1], np.int32)
    wanted = [Wanted([Observation(one, 0)], (number,)) for number in range(12)]
    others = Wanted([Observation(one, 0), Observation(one + 1, 0)], (0,)), Wanted([Observation(one + 1, 0)], (0,))
    assert len({each.key for each in (*wanted, *others)}) == 14
    for each in wanted:
        assert prior.find(each) is None
        prior.keep(prior.fit(each, solver))
        found = prior.find(wanted[0])
        assert found is not None
        assert found.class_ids == (0,)
    assert prior.find(wanted[1]) is None
    assert prior.find(Wanted([], ())) is not None
