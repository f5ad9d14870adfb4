from pathlib import Path

import numpy as np
import pytest

from semantic_ns.labelling import solver_numba as kernels
from semantic_ns.labelling.solver import Anchors, ExactSolver, Observation
from semantic_ns.labelling.spreading import split_voxels
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.propagation.clusters import Clusters
from semantic_ns.propagation.config import SpreadingConfig
from semantic_ns.propagation.posterior import (
    LEAST_COUPLING,
    LEAST_NOISE,
    coupling_weight,
    onto_simplex,
    solve_posterior,
    vote_strength,
)
from semantic_ns.propagation.surface_graph import SurfaceGraph
from support.label_surfaces import make_label_surface

CLASSES = 3


@pytest.fixture(scope="module")
def surface(tmp_path_factory: pytest.TempPathFactory) -> LabelSurface:
    return make_label_surface(tmp_path_factory.mktemp("images"), 3)


@pytest.fixture(scope="module")
def solver(surface: LabelSurface) -> ExactSolver:
    return ExactSolver(surface.graph, surface.clusters)


def random_observations(num_voxels: int, number: int, seed: int, most: int = 12) -> list[Observation]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, most + 1, number)
    voxels = [np.sort(rng.choice(num_voxels, size, replace=False)).astype(np.int32) for size in sizes]
    return [Observation(some, int(rng.integers(CLASSES))) for some in voxels]


def dense_solution(
    graph: SurfaceGraph,
    clusters: Clusters,
    observations: list[Observation],
    coupling: float,
    anchors: Anchors | None = None,
) -> np.ndarray:
    """The minimum of the energy in the module's docstring, by a dense matrix [voxels, classes]."""
    num_voxels = graph.num_nodes
    energy = np.zeros((num_voxels, num_voxels))
    for i in range(num_voxels):
        for j, weight in zip(graph.neighbours[i], graph.weights[i].astype(float), strict=True):
            if weight > 0:
                energy[i, i] += weight
                energy[i, j] -= weight
    for numbers in clusters.numbers:
        for cluster in np.unique(numbers):
            members = numbers == cluster
            deviation = np.diag(members.astype(float)) - np.outer(members, members) / members.sum()
            energy += coupling * deviation
    right = np.zeros((num_voxels, CLASSES))
    for observation in observations:
        mean = np.zeros(num_voxels)
        mean[observation.voxels] = 1 / len(observation.voxels)
        weight = vote_strength(LEAST_NOISE) * len(observation.voxels)
        energy += weight * (1 - LEAST_NOISE) * np.outer(mean, mean)
        right += weight * np.outer(mean, np.eye(CLASSES)[observation.label] - LEAST_NOISE / CLASSES)
    if anchors is not None:
        energy += np.diag(anchors.weights)
        right += anchors.weights[:, None] * anchors.shares
    return np.linalg.solve(energy, right)


def random_anchors(num_voxels: int, seed: int) -> Anchors:
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random(num_voxels) < 0.4, 0.03, 0)
    return Anchors(weights, rng.dirichlet(np.ones(CLASSES), num_voxels).astype(np.float32))


@pytest.mark.parametrize(("seed", "number"), [(0, 7), (1, 7), (2, 0)])
def test_classes_with_anchors_beneath_are_those_of_the_dense_system(
    surface: LabelSurface, seed: int, number: int
) -> None:
    anchors = random_anchors(surface.graph.num_nodes, seed)
    observations = random_observations(surface.graph.num_nodes, number, seed)
    x = dense_solution(surface.graph, surface.clusters, observations, LEAST_COUPLING, anchors)
    found = ExactSolver(surface.graph, surface.clusters, anchors).solve(observations, CLASSES, range(CLASSES))
    is_clear = np.diff(np.sort(x, axis=1)[:, -2:], axis=1)[:, 0] > 1e-4
    assert is_clear.mean() > 0.8
    assert (found.labels == x.argmax(axis=1))[is_clear].all()
    expected = onto_simplex(x.astype(np.float32)).max(axis=1)
    assert np.abs(found.probabilities - expected).max() < 1e-4


def test_anchors_of_two_classes_that_are_merged_are_those_of_one(surface: LabelSurface) -> None:
    anchors = random_anchors(surface.graph.num_nodes, 3)
    joined = np.stack([anchors.shares[:, 0] + anchors.shares[:, 2], anchors.shares[:, 1]], axis=1)
    observations = [one for one in random_observations(surface.graph.num_nodes, 7, 3) if one.label < 2]
    first = ExactSolver(surface.graph, surface.clusters, anchors).solve(observations, 2, (0, 1, 0))
    second = ExactSolver(surface.graph, surface.clusters, Anchors(anchors.weights, joined)).solve(
        observations, 2, (0, 1)
    )
    assert np.abs(first.probabilities - second.probabilities).max() < 1e-5


def test_near_an_anchor_alone_the_confidence_is_at_most_a_half(surface: LabelSurface) -> None:
    shares = np.eye(CLASSES, dtype=np.float32)[np.zeros(surface.graph.num_nodes, int)]
    weights = np.zeros(surface.graph.num_nodes)
    weights[3] = 0.03
    solver = ExactSolver(surface.graph, surface.clusters, Anchors(weights, shares))
    found = solver.solve([], CLASSES, range(CLASSES)).confidence
    assert 0.49 <= found[3] <= 0.5
    with_mark = solver.solve([Observation(np.array([3], np.int32), 0)], CLASSES, range(CLASSES)).confidence
    assert with_mark[3] > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_classes_are_those_of_the_dense_system(surface: LabelSurface, solver: ExactSolver, seed: int) -> None:
    observations = random_observations(solver.num_voxels, 7, seed)
    x = dense_solution(surface.graph, surface.clusters, observations, LEAST_COUPLING)
    found = solver.solve(observations, CLASSES)
    is_clear = np.diff(np.sort(x, axis=1)[:, -2:], axis=1)[:, 0] > 1e-4
    assert is_clear.mean() > 0.9
    assert (found.labels == x.argmax(axis=1))[is_clear].all()
    expected = onto_simplex((x / x.sum(axis=1, keepdims=True)).astype(np.float32)).max(axis=1)
    assert np.abs(found.probabilities - expected).max() < 1e-4


def test_marks_of_one_voxel_are_the_votes_of_solve_posterior(
    surface: LabelSurface, solver: ExactSolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    observations = random_observations(solver.num_voxels, 9, 5, most=1)
    votes = np.zeros((solver.num_voxels, CLASSES), np.float32)
    for observation in observations:
        votes[observation.voxels, observation.label] += 1
    assert coupling_weight(np.zeros_like(votes)) == LEAST_COUPLING
    # It grows with the number of votes there, which would change the system with each mark here.
    monkeypatch.setattr("semantic_ns.propagation.posterior.coupling_weight", lambda _: LEAST_COUPLING)
    converged = solve_posterior(surface.graph, votes, 600, 1e-7, SpreadingConfig(noise=False)).probabilities
    found = solver.solve(observations, CLASSES)
    assert np.abs(found.probabilities - converged.max(axis=1)).max() < 1e-2  # of conjugate gradients in 32 bits
    assert (found.labels == converged.argmax(axis=1)).mean() > 0.99


def test_the_order_of_observations_changes_nothing_but_rounding(surface: LabelSurface) -> None:
    observations = random_observations(surface.graph.num_nodes, 12, 1)
    first, second = (ExactSolver(surface.graph, surface.clusters) for _ in range(2))
    one = first.solve(observations, CLASSES)
    for observation in observations[::-1]:
        second.prepare(observation.voxels)
    again, other = (second.solve(some, CLASSES) for some in (observations, observations[6:] + observations[:6]))
    for name in ("labels", "probabilities", "nearness"):  # not a bit follows from when the columns were computed
        assert (getattr(one, name) == getattr(again, name)).all()
    assert (one.nearness == other.nearness).all()
    assert np.abs(one.probabilities - other.probabilities).max() < 1e-5


@pytest.mark.parametrize("is_anchored", [False, True])
def test_what_was_solved_before_changes_no_bit(surface: LabelSurface, is_anchored: bool) -> None:
    """Marks that come, go and change, by more than one block of what is factored together."""
    anchors, classes = (random_anchors(surface.graph.num_nodes, 0), range(CLASSES)) if is_anchored else (None, ())
    observations = random_observations(surface.graph.num_nodes, 150, 3)
    solver = ExactSolver(surface.graph, surface.clusters, anchors)
    for some in (
        observations[:1], observations[:70], observations, observations[:128], observations[:127],
        observations[:20] + observations[30:], observations[5:], observations[:129], observations,
    ):  # fmt: skip
        found = solver.solve(some, CLASSES, classes)
        alone = ExactSolver(surface.graph, surface.clusters, anchors).solve(some, CLASSES, classes)
        for name in ("labels", "probabilities", "nearness"):
            assert (getattr(found, name) == getattr(alone, name)).all()


def test_a_mark_that_comes_last_or_goes_costs_as_much_among_many_as_among_few(surface: LabelSurface) -> None:
    solver = ExactSolver(surface.graph, surface.clusters)
    observations = random_observations(solver.num_voxels, 150, 4)
    most, num_factored = 0, 0
    for number in (*range(1, 151), 149, 150, 149):
        solver.solve(observations[:number], CLASSES)
        most = max(most, solver._small.num_factored - num_factored)
        num_factored = solver._small.num_factored
    assert most <= 64


def test_where_rounding_leaves_no_positive_definite_matrix_the_classes_are_the_same(
    surface: LabelSurface, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: np.ndarray) -> np.ndarray:
        raise np.linalg.LinAlgError

    observations = random_observations(surface.graph.num_nodes, 80, 5)
    expected = ExactSolver(surface.graph, surface.clusters).solve(observations, CLASSES)
    with monkeypatch.context() as context:
        context.setattr(np.linalg, "cholesky", fails)
        found = ExactSolver(surface.graph, surface.clusters).solve(observations, CLASSES)
    assert np.abs(found.probabilities - expected.probabilities).max() < 1e-4


def test_observations_that_were_there_in_between_change_no_bit(surface: LabelSurface) -> None:
    solver = ExactSolver(surface.graph, surface.clusters)
    observations = random_observations(solver.num_voxels, 5, 2)
    before = solver.solve(observations, CLASSES)
    for seed in range(40):  # more columns than are kept of marks that were taken back
        solver.solve(random_observations(solver.num_voxels, 10, 10 + seed), CLASSES)
    after = solver.solve(observations, CLASSES)
    assert (before.labels == after.labels).all()
    assert (before.probabilities == after.probabilities).all()


def test_what_no_mark_is_connected_to_is_not_known(surface: LabelSurface) -> None:
    graph = surface.graph
    cut = graph.centres[:, 0] < 0.5
    is_across = cut[:, None] != cut[graph.neighbours]
    parted = SurfaceGraph(
        graph.voxels, graph.neighbours, np.where(is_across, 0, graph.weights).astype(np.float32), graph.centres,
        graph.colors, graph.normals,
    )  # fmt: skip
    none = Clusters(np.empty((0, graph.num_nodes), np.int32), np.empty((0, 0), np.float32))
    solver = ExactSolver(parted, none)
    left, right = (np.flatnonzero(side)[:1].astype(np.int32) for side in (cut, ~cut))
    found = solver.solve([Observation(left, 1)], CLASSES)
    assert (found.labels == np.where(cut, 1, -1)).all()
    assert (found.confidence[~cut] == 0).all()
    both = solver.solve([Observation(left, 1), Observation(right, 2)], CLASSES)
    assert (both.labels == np.where(cut, 1, 2)).all()
    assert both.probabilities == pytest.approx(1, abs=1e-4)
    one_for_both = solver.solve([Observation(np.sort(np.concatenate([left, right])), 1)], CLASSES)
    assert (one_for_both.labels == 1).all()


def test_nearness_falls_along_the_surface_and_across_borders(surface: LabelSurface, solver: ExactSolver) -> None:
    voxel = np.array([0], np.int32)
    nearness = solver.solve([Observation(voxel, 0)], CLASSES).nearness
    assert nearness[0] == nearness.max() == 255
    same = np.linalg.norm(surface.graph.colors - surface.graph.colors[0], axis=1) < 0.01
    assert nearness[~same].max() < nearness[same].min()


def test_nearness_to_one_voxel_is_the_probability_of_meeting_it(surface: LabelSurface) -> None:
    graph = surface.graph
    solver = ExactSolver(graph, surface.clusters)
    leak = 1e-3 * 60_000 / graph.num_nodes
    system = np.zeros((graph.num_nodes, graph.num_nodes))
    for i in range(graph.num_nodes):
        for j, weight in zip(graph.neighbours[i], graph.weights[i].astype(float), strict=True):
            system[i, j] -= weight if weight > 0 else 0
        system[i, i] += graph.weights[i].sum(dtype=np.float64) + leak
    target = 17
    system[target], right = 0, np.zeros(graph.num_nodes)
    system[target, target] = right[target] = 1
    nearness = solver.solve([Observation(np.array([target], np.int32), 0)], 1).nearness
    meeting = np.linalg.solve(system, right)
    assert ((meeting > 0.05) & (meeting < 0.25)).any()
    assert np.abs(nearness / 255 - np.minimum(meeting / 0.3, 1)).max() < 1 / 255


@pytest.mark.parametrize("is_based", [False, True])
def test_the_kernel_gives_the_largest_entry_of_the_nearest_distribution(is_based: bool) -> None:
    rng = np.random.default_rng(0)
    num_voxels, num_classes = 1100, 5  # more than a block
    columns = rng.normal(size=(4, num_voxels)).astype(np.float32)
    nearness = rng.integers(0, 256, (4, num_voxels), np.uint8)
    places, multipliers = np.array([2, 0, 3]), rng.normal(size=(3, num_classes)).astype(np.float32)
    multipliers -= multipliers.mean(axis=1, keepdims=True)
    levels, pieces = rng.dirichlet(np.ones(num_classes), 3), rng.integers(0, 3, num_voxels)
    labels, probabilities = np.empty(num_voxels, np.int32), np.empty(num_voxels, np.float32)
    nearest, is_seen = np.empty(num_voxels, np.uint8), np.array([True, False, True])
    base = np.ascontiguousarray(rng.dirichlet(np.ones(num_classes), num_voxels).T, np.float32)
    base = base if is_based else base[:0]
    if is_based:
        levels -= 1 / num_classes
    base_nearness = rng.integers(0, 256, num_voxels).astype(np.uint8)
    kernels.most_likely(
        columns, nearness, places, multipliers, levels, pieces, is_seen, base, base_nearness, labels, probabilities,
        nearest,
    )  # fmt: skip
    x = columns[places].T @ multipliers + levels[pieces] + (base.T if is_based else 0)
    expected = onto_simplex(x.astype(np.float32))
    seen = is_seen[pieces]
    assert (labels[seen] == expected.argmax(axis=1)[seen]).all()
    assert np.abs(probabilities - expected.max(axis=1))[seen].max() < 1e-5
    assert (labels[~seen] == -1).all()
    assert (probabilities[~seen] == 0).all()
    assert (nearest == np.maximum(nearness[places].max(axis=0), base_nearness)).all()


def test_the_parts_of_a_mark_are_its_voxels() -> None:
    for number in (1, 64, 65, 200, 5000):
        parts = split_voxels(np.arange(number, dtype=np.int32))
        assert (np.concatenate(parts) == np.arange(number)).all()
        assert len(parts) <= 8
        assert min(map(len, parts)) >= min(number, 32)


def test_no_observation_says_nothing(solver: ExactSolver) -> None:
    found = solver.solve([], 1)
    assert (found.labels == -1).all()
    assert (found.confidence == 0).all()


def test_a_surface_that_was_kept_is_found_again_unless_the_run_went_on(surface: LabelSurface, tmp_path: Path) -> None:
    from semantic_ns.labelling.surface import load_label_surface, save_label_surface, surface_path

    config = tmp_path / "config.yml"
    checkpoint = tmp_path / "nerfstudio_models" / "step-000000009.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"weights")
    assert load_label_surface(config, 200) is None
    save_label_surface(surface, config, 200)
    kept = load_label_surface(config, 200)
    assert kept is not None
    assert (kept.frames, kept.classes, kept.void_id, kept.scene) == (
        surface.frames, surface.classes, surface.void_id, surface.scene,
    )  # fmt: skip
    assert (kept.pixel_voxels == surface.pixel_voxels).all()
    observations = random_observations(surface.graph.num_nodes, 5, 3)
    first, second = (ExactSolver(s.graph, s.clusters).solve(observations, CLASSES) for s in (surface, kept))
    assert (first.probabilities == second.probabilities).all()
    assert load_label_surface(config, 300) is None
    path = surface_path(config, 200)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert load_label_surface(config, 200) is None
    path.write_bytes(whole)
    surface.frames[1].image.parent.rename(tmp_path / "moved")
    assert load_label_surface(config, 200) is None  # the run finds its scene, or says that it does not
    (tmp_path / "moved").rename(surface.frames[1].image.parent)
    assert load_label_surface(config, 200) is not None
    checkpoint.write_bytes(b"other weights")
    assert load_label_surface(config, 200) is None
