"""What a label is worth: scores of pixels, ends of rays, voxels, and points far from each other."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from semantic_ns.active_learning.acquisition import disagreement, margin, mean_by_group, uncertainty
from semantic_ns.active_learning.pool.ray_statistics import distance_spread
from semantic_ns.active_learning.strategies.candidates import Candidates
from semantic_ns.active_learning.strategies.farthest import choose_farthest, pose_places, principal_axes
from semantic_ns.active_learning.strategies.pool_voxels import distinct_pairs, voxelise_pixels


def test_the_margin_is_the_gap_between_the_two_largest_probabilities() -> None:
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    expected = [sorted(row.softmax(0).tolist()) for row in logits]
    assert torch.allclose(margin(logits), torch.tensor([p[-1] - p[-2] for p in expected]), atol=1e-6)


def test_the_margin_of_a_single_class_is_one() -> None:
    assert margin(torch.randn(3, 1)).tolist() == [1, 1, 1]


def test_less_sure_pixels_score_higher() -> None:
    entropy, confidence, gap = (np.array(values, np.float32) for values in ([0.1, 0.9], [0.8, 0.4], [0.7, 0.1]))
    for strategy in ("entropy", "least-confidence", "margin"):
        low, high = uncertainty(strategy, entropy, confidence, gap)
        assert 0 <= low < high <= 1


@pytest.mark.parametrize("shape", [(), (2,), (3, 3)])
def test_the_mean_of_a_group_is_that_of_its_pixels(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    values, groups = generator.random((40, *shape), np.float32), generator.integers(0, 6, 40)
    groups[groups == 4] = 5
    means = mean_by_group(values, groups, 7)
    for group in (0, 1, 2, 3, 5):
        assert np.allclose(means[group], values[groups == group].mean(axis=0))
    assert np.isnan(means[[4, 6]]).all()


def test_the_spread_is_the_scaled_distance_between_the_quartiles_of_the_light() -> None:
    generator = torch.Generator().manual_seed(1)
    edges = torch.rand(4, 6, generator=generator, dtype=torch.float64).cumsum(dim=1)
    weights = torch.rand(4, 5, generator=generator, dtype=torch.float64) / 5
    steps = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    for ray in range(4):
        places = torch.cat([a + (b - a) * steps for a, b in zip(edges[ray, :-1], edges[ray, 1:], strict=True)])
        gone = weights[ray].repeat_interleave(2000).cumsum(0) / (2000 * weights[ray].sum())
        first, third = (places[(gone >= share).nonzero()[0, 0]] for share in (0.25, 0.75))
        assert torch.allclose(distance_spread(weights, edges)[ray], (third - first) / 1.349, rtol=1e-3)


def test_the_spread_of_normal_light_is_its_standard_deviation() -> None:
    edges = torch.linspace(0, 10, 2001, dtype=torch.float64)[None]
    weights = torch.exp(-0.5 * ((edges[:, 1:] - 4) / 0.3) ** 2)
    assert torch.allclose(distance_spread(weights, edges), torch.tensor([0.3], dtype=torch.float64), rtol=1e-3)


def test_a_haze_does_not_widen_the_spread_but_two_surfaces_do_and_no_light_has_none() -> None:
    edges = torch.tensor([[1.0, 1.001, 2.0, 2.001]]).expand(3, -1)
    weights = torch.tensor([[0.1, 0.0, 0.8], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]])
    assert torch.allclose(distance_spread(weights, edges), torch.tensor([0.0, 1.0 / 1.349, 0.0]), atol=2e-3)


def test_unused_pixels_have_no_voxel() -> None:
    points = np.array([[0, 0, 0], [np.nan, 0, 0], [1, 1, 1], [0.01, 0, 0]], np.float32)
    voxels = voxelise_pixels(points, np.isfinite(points).all(axis=1), 0.05)
    assert voxels.of_pixels.tolist() == [0, -1, 1, 0]
    assert voxels.num_frames(np.array([0, 0, 1, 2], np.int32)).tolist() == [2, 1]
    assert np.allclose(voxels.mean(np.array([1, 9, 5, 2], np.float32)), [1.5, 5])
    first, shown = voxels.by_group(np.array([2, 2, 0, 2]), 3)
    assert first.tolist() == [0, 1, 1, 2]
    assert shown.tolist() == [1, 0]


def test_a_pool_without_any_sure_point_has_no_voxels() -> None:
    voxels = voxelise_pixels(np.zeros((2, 3), np.float32), np.zeros(2, bool), 0.05)
    assert len(voxels) == 0
    assert voxels.by_group(np.array([0, 1]), 2)[0].tolist() == [0, 0, 0]
    assert [part.tolist() for part in distinct_pairs(np.empty(0, np.int64), np.empty(0, np.int64))] == [[], []]


def test_creases_are_where_the_surface_turns_by_more_than_30_degrees_whichever_way_normals_point() -> None:
    cells = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [4, 0, 0], [5, 0, 0]])
    angles = np.deg2rad([0, 0, 31, 0, 29])
    normals = np.stack([np.sin(angles), np.cos(angles), 0 * angles], axis=1)
    points, normals = np.repeat((cells + 0.5) * 0.1, 2, axis=0), np.repeat(normals, 2, axis=0)
    normals[1::2] *= -1
    voxels = voxelise_pixels(points.astype(np.float32), np.ones(10, bool), 0.1)
    assert voxels.is_crease(normals.astype(np.float32)).tolist() == [False, True, True, False, False]


def test_disagreement_is_what_the_members_entropies_lack_of_that_of_their_mean() -> None:
    logits = 3 * torch.randn(7, 4, 5, generator=torch.Generator().manual_seed(0))
    found = disagreement(logits)
    for ray in range(7):
        members = [[math.exp(x) / sum(map(math.exp, row)) for x in row] for row in logits[ray].tolist()]
        mean = [sum(column) / 4 for column in zip(*members, strict=True)]
        entropies = [-sum(p * math.log(p) for p in row) for row in (mean, *members)]
        assert float(found[ray]) == pytest.approx((entropies[0] - sum(entropies[1:]) / 4) / math.log(5), abs=1e-5)
    same = logits[:, :1].expand(-1, 4, -1)
    torch.testing.assert_close(disagreement(same), torch.zeros(7), rtol=0, atol=1e-6)
    apart = 50 * torch.eye(4)[None]
    torch.testing.assert_close(disagreement(apart), torch.ones(1))
    assert (disagreement(logits[..., :1]) == 0).all()


def candidates_of(is_open: np.ndarray, budget: float, **changed: Any) -> Candidates:
    count = len(is_open)
    options = {"costs": np.ones(count), "ranks": np.random.default_rng(9).permutation(count)} | changed
    return Candidates(np.empty(0, np.int64), is_open, budget=budget, **options)


def slow_farthest(places: np.ndarray, candidates: Candidates) -> list[int]:
    """Look at all distances each time."""
    centres, order = [int(i) for i in np.flatnonzero(~candidates.is_open)], []
    spent = 0.0
    while len(order) < candidates.is_open.sum():
        if centres:
            distances = np.linalg.norm(places[:, None] - places[centres], axis=-1).min(axis=1)
            distances[~candidates.is_open] = -1
            distances[order] = -1
            chosen = int(np.argmax(distances))
        else:
            chosen = int(np.argmin(candidates.ranks))
        spent += candidates.costs[chosen]
        if spent > candidates.budget:
            break
        order.append(chosen)
        centres.append(chosen)
    return order


@pytest.mark.parametrize(("labelled", "grid", "budget"), product([0, 0.2], [False, True], [17.0, 1e6]))
def test_the_farthest_point_is_always_next(labelled: float, grid: bool, budget: float) -> None:
    generator = np.random.default_rng(5)
    places = generator.integers(0, 4, (120, 3)).astype(float) if grid else generator.normal(size=(120, 3))
    is_open = generator.random(120) >= labelled
    candidates = candidates_of(is_open, budget, costs=generator.uniform(0.5, 1.5, 120))
    choice = choose_farthest(places, candidates)
    assert choice.chosen.tolist() == slow_farthest(places, candidates)
    distances = choice.scores[np.isfinite(choice.scores)]
    assert (np.diff(distances) <= 0).all()


def test_candidates_without_a_place_come_last() -> None:
    places = np.array([[0.0], [np.nan], [5.0], [1.0]])
    choice = choose_farthest(places, candidates_of(np.array([False, True, True, True]), 10.0))
    assert choice.chosen.tolist() == [2, 3, 1]
    assert choose_farthest(places[[1, 1]], candidates_of(np.ones(2, bool), 1.0)).chosen.size == 1


def test_poses_do_not_depend_on_the_unit_of_length() -> None:
    generator = np.random.default_rng(2)
    positions, directions = generator.normal(size=(2, 9, 3)).astype(np.float32)
    near, far = (pose_places(factor * positions + 3, directions) for factor in (np.float32(1), np.float32(100)))
    assert np.allclose(near, far, atol=1e-4)
    assert np.isclose((near[:, :3] ** 2).sum(axis=1).mean(), 1)
    assert np.isfinite(pose_places(positions[:1], directions[:1])).all()


def test_distances_along_principal_axes_are_those_of_features_that_vary_along_few() -> None:
    generator = np.random.default_rng(2)
    features = generator.normal(size=(30, 6)) @ generator.normal(size=(6, 20)) + 7
    axes = principal_axes(features)
    assert axes.shape == (30, 8)
    for i, j in ((0, 1), (4, 20)):
        assert np.isclose(np.linalg.norm(axes[i] - axes[j]), np.linalg.norm(features[i] - features[j]))
    assert principal_axes(features[:, :3]).shape == (30, 3)
