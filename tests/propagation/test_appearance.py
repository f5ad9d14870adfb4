"""What voxels look like: means of features over images, and the classifier that is fitted to the labels."""

import numpy as np
import pytest
import torch

from semantic_ns.propagation.appearance import (
    MAX_FRAMES,
    OF_EACH_CLASS,
    chosen_frames,
    class_prior,
    described,
    fitted_rows,
    mean_features,
    regression_loss,
)
from semantic_ns.propagation.surface_graph import SurfacePoints, build_surface_graph


def test_features_of_a_voxel_are_the_mean_over_the_pixels_that_show_it() -> None:
    g = torch.Generator().manual_seed(0)

    def features_at(image: torch.Tensor, xy: torch.Tensor) -> torch.Tensor:
        return torch.cat([xy, xy * image[0, 0, 0], image[0, :1].expand(len(xy), -1)], dim=1)

    images, pixels = [], []
    for frame in (0.25, 0.5):
        image, xy = torch.full((8, 12, 3), frame), 10 * torch.rand(40, 2, generator=g)
        nodes = torch.randint(-1, 5, (40,), generator=g).numpy().astype(np.int32)
        nodes[nodes == 3] = -1
        images.append((image, xy, nodes))
        for (x, y), node in zip(xy.tolist(), nodes.tolist(), strict=True):
            pixels.append((node, [x, y, x * frame, y * frame, frame, frame, frame]))
    found, is_seen = mean_features(features_at, images, 5)
    for node in range(5):
        of_node = [value for other, value in pixels if other == node]
        assert is_seen[node] == (len(of_node) > 0)
        assert np.allclose(found[node], np.mean(of_node, axis=0) if of_node else 0, atol=1e-5)


def test_images_are_evenly_spread_and_not_too_many() -> None:
    assert chosen_frames(5) == [0, 1, 2, 3, 4]
    many = chosen_frames(3 * MAX_FRAMES)
    assert many == list(range(0, 3 * MAX_FRAMES, 3))


def problem(seed: int, num_nodes: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that tell three of four classes apart, votes for some voxels, and which are seen."""
    g = np.random.default_rng(seed)
    classes = g.integers(0, 3, num_nodes)
    features = g.standard_normal((num_nodes, 6)).astype(np.float32) + 3 * np.eye(6, dtype=np.float32)[classes]
    votes = np.zeros((num_nodes, 4), np.float32)
    labelled = g.choice(num_nodes, 40, replace=False)
    votes[labelled, classes[labelled]] = g.integers(1, 4, 40)
    return features, votes, g.random(num_nodes) < 0.9


def test_the_loss_is_the_mean_cross_entropy_with_a_penalty() -> None:
    g = np.random.default_rng(1)
    weights, bias = g.standard_normal((6, 3)), g.standard_normal(3)
    features, shares = g.standard_normal((7, 6)), g.dirichlet(np.ones(3), 7)
    total = 0.0
    for v in range(7):
        logits = [sum(features[v, k] * weights[k, c] for k in range(6)) + bias[c] for c in range(3)]
        normaliser = np.log(sum(np.exp(logit) for logit in logits))
        total += -sum(shares[v, c] * (logits[c] - normaliser) for c in range(3)) / 7
    w, b, f, y = (torch.from_numpy(x.astype(np.float32)) for x in (weights, bias, features, shares))
    found = regression_loss(w, b, f, y)
    assert float(found) == pytest.approx(total + 0.01 * (weights**2).sum(), rel=1e-4)


def test_the_classifier_is_where_the_loss_is_least_and_finds_the_classes_of_unlabelled_voxels() -> None:
    features, votes, is_seen = problem(2)
    prior = class_prior(features, votes, is_seen)
    labelled = (votes.sum(1) > 0) & is_seen
    shares = torch.from_numpy(votes[labelled][:, :3] / votes[labelled].sum(1, keepdims=True))
    given = torch.from_numpy(features[labelled])
    # Logits of the classifier, up to a constant of each row, from its probabilities; then its coefficients.
    logits = np.log(prior[is_seen][:, :3].astype(np.float64))
    logits -= logits.mean(axis=1, keepdims=True)
    columns = np.c_[features[is_seen], np.ones(int(is_seen.sum()))]
    solution = torch.from_numpy(np.linalg.lstsq(columns, logits, rcond=None)[0].astype(np.float32)).requires_grad_()
    regression_loss(solution[:-1], solution[-1], given, shares).backward()
    assert solution.grad is not None
    assert float(solution.grad.abs().max()) < 2e-3
    truth = np.argmax(features[:, :3], axis=1)
    assert (prior[is_seen].argmax(1) == truth[is_seen]).mean() > 0.85


def test_nothing_is_said_of_unseen_voxels_and_of_classes_without_a_label() -> None:
    features, votes, is_seen = problem(3)
    prior = class_prior(features, votes, is_seen)
    assert (prior[~is_seen] == 0).all()
    assert (prior[:, 3] == 0).all()
    assert np.allclose(prior[is_seen].sum(1), 1, atol=1e-5)
    votes[:, 1:] = 0
    assert not class_prior(features, votes, is_seen).any()


def test_the_classifier_has_the_same_bits_with_any_number_of_threads() -> None:
    features, votes, is_seen = problem(4, 4000)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(class_prior(features, votes, is_seen))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*found)


def test_columns_have_mean_zero_and_deviation_one_over_the_voxels_that_are_seen() -> None:
    g = np.random.default_rng(5)
    points = SurfacePoints(*(g.random((500, 3)).astype(np.float32) for _ in range(3)))
    graph = build_surface_graph(points, 50)
    features = 7 + 3 * g.standard_normal((graph.num_nodes, 2)).astype(np.float32)
    is_seen = g.random(graph.num_nodes) < 0.7
    found = described(graph, features, is_seen)
    assert found.shape == (graph.num_nodes, 2 + 9)
    assert np.allclose(found[is_seen].mean(0), 0, atol=1e-4)
    assert np.allclose(found[is_seen].std(0), 1, atol=1e-3)


def test_a_rare_class_is_among_the_voxels_that_are_drawn_and_no_voxel_is_twice() -> None:
    votes = np.zeros((5000, 3), np.float32)
    votes[:, 0] = 1
    votes[[7, 4000], 1] = 5
    votes[1000:3000, 2] = 1
    rows = fitted_rows(votes, 300)
    assert {7, 4000} <= set(rows.tolist())
    assert len(np.unique(rows)) == len(rows)
    assert 300 <= len(rows) <= 300 + 2 * OF_EACH_CLASS + 2
    assert (votes[rows, 2] > 0).sum() >= OF_EACH_CLASS
    assert np.array_equal(fitted_rows(votes, 5000), np.arange(5000))
