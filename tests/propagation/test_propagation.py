"""Labels spread over the surface: the graph, its posterior, and what pixels are taught from it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float32
from numpy import ndarray

from semantic_ns.propagation.clusters import find_clusters
from semantic_ns.propagation.config import SpreadingConfig
from semantic_ns.propagation.posterior import (
    count_votes,
    coupling_weight,
    label_reachability,
    noise_rate,
    onto_simplex,
    prior_weight,
    share_of_voxels,
    solve_posterior,
)
from semantic_ns.propagation.surface_graph import (
    SHARP_EDGES,
    SOFT_EDGES,
    EdgeWeights,
    build_surface_graph,
)
from semantic_ns.propagation.targets import PropagatedLabels, sharpened, supervision_weights, with_own_labels
from semantic_ns.surface.maps import SurfaceMaps
from support.dense_surface import cluster_laplacian, laplacian, random_points
from support.voxel_cells import cells_of_keys


def test_voxels_are_those_that_points_lie_in_and_their_means_are_those_of_the_points() -> None:
    points = random_points(0)
    graph = build_surface_graph(points, 200)
    cells = np.floor(points.positions * np.float32(graph.resolution)).astype(np.int64)
    occupied, nodes = np.unique(cells, axis=0, return_inverse=True)
    assert np.array_equal(cells_of_keys(graph.voxels.keys), occupied)
    assert np.array_equal(graph.voxels.at(points.positions), nodes.reshape(-1))
    for node in range(0, graph.num_nodes, 17):
        inside = (cells == occupied[node]).all(axis=1)
        assert np.allclose(graph.centres[node], points.positions[inside].mean(0), atol=1e-5)
        assert np.allclose(graph.colors[node], points.colors[inside].mean(0), atol=1e-5)


@pytest.mark.parametrize("wanted", [60, 400])
def test_the_number_of_voxels_is_about_the_one_asked_for(wanted: int) -> None:
    found = build_surface_graph(random_points(1, 20000), wanted).num_nodes
    assert 0.6 * wanted < found < 1.6 * wanted


@pytest.mark.parametrize("form", [SOFT_EDGES, SHARP_EDGES], ids=["soft", "sharp"])
def test_edges_join_touching_voxels_symmetrically_by_how_alike_they_look(form: EdgeWeights) -> None:
    graph = build_surface_graph(random_points(2), 150, form)
    cells = [tuple(cell) for cell in cells_of_keys(graph.voxels.keys).tolist()]
    place = {cell: i for i, cell in enumerate(cells)}
    offsets = list(itertools.product((-1, 0, 1), repeat=3))
    power = 2 if form.is_squared else 1
    for i, (x, y, z) in enumerate(cells):
        for e, (dx, dy, dz) in enumerate(offsets):
            j = place.get((x + dx, y + dy, z + dz), -1)
            assert graph.neighbours[i, e] == j
            if j < 0 or j == i:
                assert graph.weights[i, e] == 0
                continue
            change = graph.colors[i] - graph.colors[j]
            color = np.linalg.norm(change - change.mean() + form.brightness * change.mean()) ** power
            crease = np.linalg.norm(graph.normals[i] - graph.normals[j]) ** power
            expected = np.exp(-form.color_slope * color - form.normal_slope * crease)
            expected = expected / np.sqrt(abs(dx) + abs(dy) + abs(dz)) + form.floor
            assert graph.weights[i, e] == pytest.approx(expected, rel=2e-3)
            assert graph.weights[j, 26 - e] == pytest.approx(graph.weights[i, e], rel=1e-4)


def test_without_slopes_all_touching_voxels_are_alike() -> None:
    graph = build_surface_graph(random_points(2), 150, replace(SOFT_EDGES, color_slope=0.0, normal_slope=0.0))
    steps = np.array([sum(map(abs, offset)) for offset in itertools.product((-1, 0, 1), repeat=3)])
    expected = np.where(graph.neighbours >= 0, 1 / np.sqrt(np.maximum(steps, 1)) + 3e-3, 0)
    expected[:, 13] = 0
    assert np.allclose(graph.weights, expected, rtol=1e-4)


def test_points_outside_the_cube_belong_to_no_voxel() -> None:
    points = random_points(3)
    points.positions[:7] = [
        [-0.1, 0.5, 0.5],
        [1.0, 0, 0],
        [0, 1.5, 0],
        [0, 0, -1e-6],
        [np.nan, 0, 0],
        [9, 9, 9],
        [0, 0, 1],
    ]
    graph = build_surface_graph(points, 100)
    assert (graph.voxels.at(points.positions[:7]) == -1).all()
    cells = cells_of_keys(graph.voxels.keys)
    assert ((cells >= 0) & (cells < graph.resolution)).all()


def test_looks_count_more_the_more_voxels_have_votes() -> None:
    votes = np.zeros((10, 3), np.float32)
    assert prior_weight(votes) == pytest.approx(0.002)
    votes[:4, 1] = 7
    assert prior_weight(votes) == pytest.approx(0.002 + 0.3 * 0.4)


@pytest.mark.parametrize("has_prior", [False, True])
@pytest.mark.parametrize(
    "spreading", [SpreadingConfig(), SpreadingConfig(clusters=False), SpreadingConfig(noise=False)], ids=str
)
def test_the_posterior_solves_the_normal_equations(spreading: SpreadingConfig, has_prior: bool) -> None:
    graph = build_surface_graph(random_points(4), 120)
    g = np.random.default_rng(4)
    votes = g.integers(0, 3, (graph.num_nodes, 5)).astype(np.float32) * (g.random((graph.num_nodes, 1)) < 0.3)
    prior = g.dirichlet(np.ones(5), graph.num_nodes) * (has_prior & (g.random((graph.num_nodes, 1)) < 0.6))
    eta = noise_rate(votes) if spreading.noise else 0.01
    strength, counts, weight = (1 - eta) / (eta + 0.02), votes.sum(1), prior_weight(votes)
    matrix = (
        laplacian(graph)
        + spreading.clusters * coupling_weight(votes) * cluster_laplacian(find_clusters(graph))
        + np.diag(strength * (1 - eta) * counts + 1e-9 + weight * prior.sum(1))
    )
    x = np.linalg.solve(matrix, strength * (votes - eta / 5 * counts[:, None]) + weight * prior)
    expected = onto_simplex((x / x.sum(1, keepdims=True)).astype(np.float32))
    given = prior.astype(np.float32) if has_prior else None
    found = solve_posterior(graph, votes.astype(np.float32), 500, 1e-6, spreading, given).probabilities
    # A voxel that hangs on the weakest of edges is solved less exactly by 32 bits, the less the more votes weigh.
    joined = np.diag(matrix) > 1e-2
    assert joined.mean() > 0.8
    assert np.abs(found - expected)[joined].max() < 1e-3
    assert np.abs(found - expected).max() < (1e-2 if spreading.noise else 3e-2)


def test_no_distribution_is_nearer_than_the_projection_onto_the_simplex() -> None:
    g = np.random.default_rng(11)
    rows = np.concatenate([g.normal(0.2, 0.4, (200, 6)), np.eye(6), np.full((1, 6), -3.0)]).astype(np.float32)
    found = onto_simplex(rows)
    assert (found >= 0).all()
    assert np.allclose(found.sum(1), 1, atol=1e-5)
    # The slow twin: tau by bisection on the sum, which falls as tau grows.
    low, high = np.full(len(rows), -10.0), np.full(len(rows), 10.0)
    for _ in range(60):
        tau = (low + high) / 2
        above = np.maximum(rows - tau[:, None], 0).sum(1) > 1
        low, high = np.where(above, tau, low), np.where(above, high, tau)
    assert np.allclose(found, np.maximum(rows - low[:, None], 0), atol=1e-5)
    # And to the bit tau as the mean of the largest values, all of them sorted.
    descending = -np.sort(-rows, axis=1)
    taus = (np.cumsum(descending, axis=1, dtype=np.float64) - 1) / np.arange(1, 7)
    support = (descending > taus).sum(axis=1)
    tau = np.take_along_axis(taus, support[:, None] - 1, axis=1)
    assert np.array_equal(found, np.maximum(rows - tau, 0).astype(np.float32))
    others = g.dirichlet(np.ones(6), 500)
    distance = ((rows - found) ** 2).sum(1)
    assert (((rows[:, None] - others) ** 2).sum(2) >= distance[:, None] - 1e-5).all()


def test_clusters_are_the_cells_of_shifted_grids_over_position_colour_and_normal() -> None:
    graph = build_surface_graph(random_points(12), 300)
    found = find_clusters(graph)
    assert found.numbers.shape == (4, graph.num_nodes)
    apart = 0
    for numbers, sizes in zip(found.numbers, found.sizes, strict=True):
        for cluster in range(numbers.max() + 1):
            members = numbers == cluster
            assert members.sum() == sizes[cluster] > 0
            assert (np.ptp(graph.centres[members], axis=0) * graph.resolution <= graph.num_nodes**0.5 / 12 + 1e-3).all()
            assert (np.ptp(graph.colors[members], axis=0) <= 1 / 28 + 1e-6).all()
            assert (np.ptp(graph.normals[members], axis=0) <= 1 + 1e-6).all()
        apart += (numbers != found.numbers[0]).any()
    assert apart == 3
    assert (find_clusters(graph).numbers == found.numbers).all()


def test_clusters_hold_together_the_more_the_more_voxels_have_votes() -> None:
    votes = np.zeros((40, 3), np.float32)
    weights = [coupling_weight(votes)]
    for known in (1, 20, 40):
        votes[:known, 1] = 5
        weights.append(coupling_weight(votes))
    assert weights == pytest.approx([0.003, 0.003 + 0.5 / 40, 0.253, 0.503])
    assert coupling_weight(np.zeros((0, 3), np.float32)) == 0.003


def test_one_click_on_each_plane_labels_both_planes() -> None:
    points = random_points(5)
    graph = build_surface_graph(points, 300)
    votes = np.zeros((graph.num_nodes, 2), np.float32)
    is_floor = graph.normals[:, 2] > 0.9
    is_wall = graph.normals[:, 0] > 0.9
    for label, side in enumerate((is_floor, is_wall)):
        away = np.abs(graph.centres - graph.centres[side].mean(0)).sum(1)
        votes[np.argmin(np.where(side, away, np.inf)), label] = 1
    classes = solve_posterior(graph, votes, max_iterations=400).probabilities.argmax(1)
    assert (classes[is_floor] == 0).mean() > 0.97
    assert (classes[is_wall] == 1).mean() > 0.97


def test_permuting_classes_permutes_the_posterior() -> None:
    graph = build_surface_graph(random_points(6), 100)
    votes = np.random.default_rng(6).integers(0, 3, (graph.num_nodes, 4)).astype(np.float32)
    order = [2, 0, 3, 1]
    found = solve_posterior(graph, votes).probabilities
    permuted = solve_posterior(graph, np.ascontiguousarray(votes[:, order])).probabilities
    assert np.abs(found[:, order] - permuted).max() < 1e-4


@pytest.mark.parametrize("leak", [0.01, 0.1, 1.0])
def test_reach_is_the_probability_that_a_walk_meets_a_label_before_it_dies(leak: float) -> None:
    graph = build_surface_graph(random_points(5), 300)
    has_label = np.random.default_rng(0).random(graph.num_nodes) < 0.05
    matrix = laplacian(graph) + leak * np.eye(graph.num_nodes)
    free = ~has_label
    expected = np.ones(graph.num_nodes)
    expected[free] = np.linalg.solve(matrix[np.ix_(free, free)], -matrix[np.ix_(free, has_label)].sum(axis=1))
    np.testing.assert_allclose(label_reachability(graph, has_label, leak, tolerance=1e-5), expected, atol=5e-3)


def test_no_label_reaches_nothing_and_labels_everywhere_reach_all() -> None:
    graph = build_surface_graph(random_points(5), 300)
    assert not label_reachability(graph, np.zeros(graph.num_nodes, bool)).any()
    assert (label_reachability(graph, np.ones(graph.num_nodes, bool)) == 1).all()


def test_without_a_vote_nothing_is_known() -> None:
    graph = build_surface_graph(random_points(7), 50)
    posterior = solve_posterior(graph, np.zeros((graph.num_nodes, 3), np.float32))
    assert not posterior.probabilities.any()


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("num_classes", [4, 24])
def test_the_noise_rate_of_random_replacement_is_found(rate: float, num_classes: int) -> None:
    g = np.random.default_rng(8)
    nodes = np.repeat(np.arange(2000, dtype=np.int32), 40)
    labels = np.repeat(g.integers(0, num_classes, 2000), 40)
    noisy = g.random(len(labels)) < rate
    labels[noisy] = g.integers(0, num_classes, noisy.sum())
    assert noise_rate(count_votes(nodes, labels, 2000, num_classes)) == pytest.approx(rate, abs=0.02)


def test_few_labels_count_as_clean() -> None:
    assert noise_rate(count_votes(np.arange(30, dtype=np.int32), np.zeros(30, np.int64), 100, 5)) == 0.01


def test_votes_are_counts_and_void_or_lost_pixels_have_none() -> None:
    nodes, labels = np.array([0, 0, 1, -1, 2, 2], np.int32), np.array([1, 1, 0, 1, -1, 2])
    assert count_votes(nodes, labels, 3, 3).tolist() == [[0, 2, 0], [1, 0, 0], [0, 0, 1]]


def test_a_label_and_a_prior_combine_by_bayes() -> None:
    g = torch.Generator().manual_seed(0)
    prior = torch.rand(50, 6, generator=g)
    prior = prior / prior.sum(1, keepdim=True)
    labels, eta = torch.randint(-1, 6, (50,), generator=g), 0.3
    found = with_own_labels(prior, labels, eta)
    for row, label in enumerate(labels.tolist()):
        expected = prior[row].clone()
        if label >= 0:
            for t in range(6):
                expected[t] *= (1 - eta) * (t == label) + eta / 6
            expected = expected / expected.sum()
        assert torch.allclose(found[row], expected, atol=1e-6)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_sharpened_distributions_are_powers_of_the_same_sum_and_nothing_stays_nothing(power: int) -> None:
    rows = np.random.default_rng(power).dirichlet(np.ones(4), 20).astype(np.float32)
    rows[::2] *= 0.6
    found = sharpened(torch.from_numpy(np.concatenate([rows, np.zeros((1, 4), np.float32)])), power).numpy()
    for row, given in zip(found[:-1], rows, strict=True):
        total = sum(float(p) ** power for p in given)
        assert row == pytest.approx([given.sum() * float(p) ** power / total for p in given], abs=1e-5)
    assert not found[-1].any()


def test_a_ray_of_which_nothing_is_known_takes_its_label_and_without_one_teaches_nothing() -> None:
    found = with_own_labels(torch.zeros(2, 3), torch.tensor([2, -1]), 0.01)
    assert found[0].argmax() == 2
    assert found[0].sum() == pytest.approx(1)
    assert not found[1].any()


def test_rays_of_which_anything_is_known_count_alike_and_others_not_at_all() -> None:
    unsure, sure = torch.full((3,), 1 / 3), torch.tensor([0.0, 1.0, 0.0])
    weights = supervision_weights(torch.stack([unsure, sure, torch.zeros(3)]))
    assert weights.tolist() == pytest.approx([1, 1, 0])


def test_targets_are_means_over_voxels_weighted_by_nearness_colour_and_normal() -> None:
    points = random_points(9)
    graph = build_surface_graph(points, 150)
    votes = np.random.default_rng(9).integers(0, 4, (graph.num_nodes, 3)).astype(np.float32)
    posterior = solve_posterior(graph, votes)
    # Each "pixel" looks at a point of its own: one row of maps, rays from the origin.
    chosen = np.arange(0, 4000, 97)
    distance = np.linalg.norm(points.positions[chosen], axis=1)
    maps = SurfaceMaps(
        1,
        distance[None, None].astype(np.float32),
        points.colors[chosen][None, None],
        points.normals[chosen][None, None],
    )
    directions = torch.from_numpy(points.positions[chosen] / distance[:, None])
    pixels = torch.stack([torch.zeros(len(chosen)), torch.zeros(len(chosen)), torch.arange(len(chosen))], 1).long()
    propagated = PropagatedLabels(maps, graph, posterior, lambda positions: positions)
    found = propagated.targets(
        (torch.zeros(len(chosen), 3), directions), pixels, torch.from_numpy(points.colors[chosen]),
        torch.full((len(chosen),), -1),
    )  # fmt: skip
    sharper = replace(propagated, sharpness=3).targets(
        (torch.zeros(len(chosen), 3), directions), pixels, torch.from_numpy(points.colors[chosen]),
        torch.full((len(chosen),), -1),
    )  # fmt: skip
    torch.testing.assert_close(sharper, sharpened(found, 3))
    for row, index in enumerate(chosen):
        node = graph.voxels.at(points.positions[index : index + 1])[0]
        around = [j for j in graph.neighbours[node] if j >= 0]
        weights = []
        for j in around:
            away = ((points.positions[index] - graph.centres[j]) ** 2).sum() * graph.resolution**2 / (2 * 0.8**2)
            unlike = 200 * ((points.colors[index] - graph.colors[j]) ** 2).sum()
            tilted = 4 * (1 - points.normals[index] @ graph.normals[j])
            weights.append(np.exp(-away - unlike - tilted))
        expected = np.average(posterior.probabilities[around], axis=0, weights=weights)
        assert np.allclose(found[row].numpy(), expected, atol=1e-3)


@pytest.mark.parametrize(("noise", "votes_per_voxel"), [(0.0, 1), (0.5, 4), (0.9, 20), (0.9, 200), (0.97, 3)])
def test_voxels_are_as_many_as_the_evidence_of_their_votes_allows(noise: float, votes_per_voxel: int) -> None:
    votes = noisy_votes(noise, votes_per_voxel, voxels=3000, classes=6)
    true_votes = votes_per_voxel * (1 - noise_rate(votes)) ** 2  # squared, over what scatters
    assert share_of_voxels(votes) == pytest.approx(min(1.0, max(1 / 16, true_votes / 0.6)))


def test_voxels_without_a_vote_do_not_make_the_others_coarser() -> None:
    votes = noisy_votes(0.9, 20, voxels=300, classes=6)
    with_empty = np.concatenate([votes, np.zeros((5000, 6), np.float32)])
    assert share_of_voxels(with_empty) == share_of_voxels(votes)
    assert share_of_voxels(with_empty[300:]) == 1


def test_more_noise_never_asks_for_more_voxels() -> None:
    shares = [share_of_voxels(noisy_votes(noise, 30, 2000, 5)) for noise in (0.0, 0.5, 0.8, 0.9, 0.95)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1
    assert shares[-1] < 0.5


def noisy_votes(noise: float, votes_per_voxel: int, voxels: int, classes: int) -> Float32[ndarray, "nodes classes"]:
    """Each voxel has one class, and each of its votes is another with the probability of noise."""
    g = np.random.default_rng(3)
    labels = np.repeat(g.integers(0, classes, voxels), votes_per_voxel)
    labels = np.where(g.random(len(labels)) < noise, g.integers(0, classes, len(labels)), labels)
    nodes = np.repeat(np.arange(voxels), votes_per_voxel).astype(np.int32)
    return count_votes(nodes, labels, voxels, classes)
