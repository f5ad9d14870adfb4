"""The posterior of a surface whose votes change: as near to the exact one as that which is computed anew."""

import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from semantic_ns.propagation.clusters import Clusters, find_clusters
from semantic_ns.propagation.conjugate_gradients import LinearSystem, solve_from
from semantic_ns.propagation.pieces import SurfacePieces
from semantic_ns.propagation.posterior import coupling_weight, noise_rate, onto_simplex, solve_posterior
from semantic_ns.propagation.posterior_updates import PosteriorUpdates
from semantic_ns.propagation.surface_graph import SurfaceGraph, SurfacePoints, build_surface_graph
from support.dense_surface import cluster_laplacian, laplacian, random_points

CLASSES = 11


def surface(num_voxels: int = 300, seed: int = 0) -> tuple[SurfaceGraph, Clusters]:
    """Two planes that an edge joins, weakly."""
    graph = build_surface_graph(random_points(seed), num_voxels)
    return graph, find_clusters(graph)


def surface_in_two_parts() -> tuple[SurfaceGraph, Clusters, ndarray]:
    """Two patches far apart, and which voxels are of the second one."""
    g = np.random.default_rng(3)
    positions = np.concatenate([0.3 * g.random((2000, 3)), 0.7 + 0.29 * g.random((2000, 3))]).astype(np.float32)
    positions[:, 2] = np.where(positions[:, 0] > 0.5, 0.9, 0.1)
    normals = np.tile(np.array([0, 0, 1], np.float32), (4000, 1))
    graph = build_surface_graph(SurfacePoints(positions, np.full((4000, 3), 0.5, np.float32), normals), 200)
    return graph, find_clusters(graph), graph.centres[:, 0] > 0.5


def exactly(graph: SurfaceGraph, clusters: Clusters, votes: ndarray) -> ndarray:
    """The posterior by its normal equations, of a surface in one part that has votes."""
    eta, counts = noise_rate(votes), votes.sum(1).astype(np.float64)
    strength = (1 - eta) / (eta + 0.02)
    matrix = laplacian(graph) + coupling_weight(votes) * cluster_laplacian(clusters)
    matrix += np.diag(strength * (1 - eta) * counts + 1e-9)
    x = np.linalg.solve(matrix, strength * (votes - eta / votes.shape[1] * counts[:, None]))
    return onto_simplex((x / x.sum(1, keepdims=True)).astype(np.float32))


def changed(votes: Float32[ndarray, "nodes classes"], g: np.random.Generator) -> Float32[ndarray, "nodes classes"]:
    """A label more, one less, all of one class gone, one of another class, or many more and all of them gone."""
    votes, known = votes.copy(), np.flatnonzero(votes.any(axis=1))
    kind = g.integers(6)
    node = g.integers(len(votes))
    if kind == 0 or len(known) < 3:
        votes[node, g.integers(CLASSES)] += np.float32(g.random() * 5)
    elif kind == 1:
        votes[g.choice(known)] = 0
    elif kind == 2:
        gone = votes[g.choice(known)].argmax()
        votes[:, gone] = 0
        votes[node, (gone + 1) % CLASSES] += 1
    elif kind == 3:
        place = g.choice(known)
        votes[place] = np.roll(votes[place], 1)
    elif kind == 4:
        places = g.integers(0, len(votes), 30)
        votes[places, g.integers(0, CLASSES, 30)] += 2
    else:
        votes[:] = 0
        votes[g.integers(0, len(votes), 3), g.integers(0, CLASSES, 3)] = 1
    return votes


@pytest.mark.parametrize("seed", range(6))
def test_after_any_sequence_of_changes_the_posterior_is_near_the_exact_one(seed: int) -> None:
    graph, clusters = surface(300, seed)
    g = np.random.default_rng(seed)
    updates, votes = PosteriorUpdates(graph, clusters), np.zeros((graph.num_nodes, CLASSES), np.float32)
    votes[g.integers(0, graph.num_nodes, 4), g.integers(0, CLASSES, 4)] = 1
    updates.solve(votes)
    farthest, farthest_anew = 0.0, 0.0
    for _ in range(25):
        votes = changed(votes, g)
        found, expected = updates.solve(votes), exactly(graph, clusters, votes)
        farthest = max(farthest, float(np.abs(found.probabilities - expected).max()))
        anew = solve_posterior(graph, votes, clusters=clusters).probabilities
        farthest_anew = max(farthest_anew, float(np.abs(anew - expected).max()))
        assert found.noise_rate == noise_rate(votes)
        np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    assert farthest < 0.03
    # Voxels that hang on weak edges, which these surfaces have many of.
    assert farthest < farthest_anew


def test_the_first_posterior_is_to_the_bit_the_one_computed_anew_and_stays_while_votes_do() -> None:
    graph, clusters = surface()
    g = np.random.default_rng(0)
    updates, votes = PosteriorUpdates(graph, clusters), np.zeros((graph.num_nodes, CLASSES), np.float32)
    votes[g.integers(0, graph.num_nodes, 9), g.integers(0, CLASSES, 9)] = 1
    expected = solve_posterior(graph, votes, clusters=clusters)
    for _ in range(2):
        found = updates.solve(votes.copy())
        assert np.array_equal(found.probabilities, expected.probabilities)
        assert found.noise_rate == expected.noise_rate
    # Votes that are changed in place are others, and so are those of more classes.
    votes[5] = 3
    assert not np.array_equal(updates.solve(votes).probabilities, expected.probabilities)
    more = np.concatenate([votes, votes[:, :2]], axis=1)
    assert np.array_equal(updates.solve(more).probabilities, solve_posterior(graph, more).probabilities)


def test_a_part_of_the_surface_is_void_while_it_has_no_votes_whatever_it_had_before() -> None:
    graph, clusters, is_second = surface_in_two_parts()
    assert 20 < is_second.sum() < graph.num_nodes - 20
    first, second = int(np.flatnonzero(~is_second)[7]), int(np.flatnonzero(is_second)[7])
    updates, votes = PosteriorUpdates(graph, clusters), np.zeros((graph.num_nodes, 3), np.float32)
    votes[first, 0] = 100
    updates.solve(votes)
    # Beside a hundred votes for one class a thousandth of one is hardly seen, and yet all that its part knows.
    for weight, label in ((1e-3, 1), (0.0, 0), (2.0, 2), (1.0, 0), (0.0, 0), (1e-3, 0)):
        votes[second] = 0
        votes[second, label] = weight
        found = updates.solve(votes).probabilities
        assert (found[~is_second].argmax(axis=1) == 0).all()
        assert found[~is_second, 0].min() > 0.95
        if weight == 0:
            assert not found[is_second].any()
        else:
            assert found[is_second, label].min() > 0.95
    assert not updates.solve(np.zeros_like(votes)).probabilities.any()


def system_of(graph: SurfaceGraph, clusters: Clusters, coupling: float) -> tuple[LinearSystem, ndarray]:
    """A system that a few votes hold, and its matrix."""
    held = np.random.default_rng(0).random(graph.num_nodes).astype(np.float32)
    held *= held > 0.9
    diagonal = graph.weights.sum(axis=1) + held + np.float32(coupling * len(clusters.numbers))
    matrix = laplacian(graph) + coupling * cluster_laplacian(clusters) + np.diag(held.astype(np.float64))
    return LinearSystem(graph.edges, clusters, coupling, diagonal, held), matrix


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3])
def test_columns_are_solved_to_the_tolerance_and_rest_where_they_are_solved(tolerance: float) -> None:
    graph, clusters = surface()
    system, matrix = system_of(graph, clusters, 0.05)
    target = np.random.default_rng(1).random((graph.num_nodes, 19)).astype(np.float32)
    solution = np.linalg.solve(matrix, target.astype(np.float64))
    start = solution.astype(np.float32)
    start[:, 3:7] = 0
    given = start.copy()
    found = solve_from(system, start, target, 500, tolerance)
    residual = target - matrix @ found
    sizes = [np.sqrt((part**2 / np.diag(matrix)[:, None]).sum(axis=0)) for part in (residual, target)]
    assert (sizes[0] <= 1.05 * tolerance * sizes[1]).all()
    rests = (found == given).all(axis=0)
    # Those that were open fill what eight have room for.
    assert rests.sum() >= 19 - 8 - 8
    assert not rests[3:7].any()


def test_the_diagonal_and_the_residual_are_those_of_the_matrix() -> None:
    graph, clusters = surface()
    system, matrix = system_of(graph, clusters, 0.05)
    np.testing.assert_allclose(system.own_diagonal, np.diag(matrix), rtol=1e-5)
    g = np.random.default_rng(1)
    x, target = (g.random((graph.num_nodes, 5)).astype(np.float32) for _ in range(2))
    found = system.residual(x, target, system.workspace(5))
    np.testing.assert_allclose(found, target - matrix @ x, atol=1e-5)


def test_edges_are_the_neighbours_that_have_a_weight_row_by_row() -> None:
    graph, _ = surface()
    starts, others, weights = graph.edges
    for voxel in range(graph.num_nodes):
        is_edge = graph.weights[voxel] > 0
        place = slice(starts[voxel], starts[voxel + 1])
        assert others[place].tolist() == graph.neighbours[voxel][is_edge].tolist()
        assert weights[place].tolist() == graph.weights[voxel][is_edge].tolist()


def test_levels_of_pieces_are_corrected_by_what_no_other_levels_do_better() -> None:
    graph, clusters = surface()
    system, matrix = system_of(graph, clusters, 0.05)
    pieces = SurfacePieces(graph.edges, clusters)
    members = np.eye(pieces.numbers.max() + 1)[pieces.numbers]
    assert 1 < members.shape[1] < graph.num_nodes
    joined = (matrix < -0.2) & (np.ones_like(matrix) > np.eye(len(matrix)))
    assert (pieces.numbers[joined.nonzero()[0]] == pieces.numbers[joined.nonzero()[1]]).all()
    g = np.random.default_rng(1)
    x, target = (g.random((graph.num_nodes, 5)).astype(np.float32) for _ in range(2))
    residual = (target - matrix @ x).astype(np.float32)
    expected = x + members @ np.linalg.solve(members.T @ matrix @ members, members.T @ residual)
    pieces.correct(x, residual, pieces.factor(system))
    np.testing.assert_allclose(x, expected, rtol=1e-3, atol=1e-3)
