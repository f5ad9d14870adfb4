"""Shares of classes by looks, and a posterior in which classes have about these shares."""

from dataclasses import replace

import numpy as np
import pytest

from semantic_ns.propagation.class_shares import shares_by_looks, shares_of_classes, with_class_shares
from semantic_ns.propagation.posterior import LabelPosterior


def classified(
    seed: int, num_voxels: int, shares: list[float], given: list[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a perfect classifier, fitted where classes have other shares, says of voxels; the shares of both."""
    g = np.random.default_rng(seed)
    looks_of_classes = np.array([[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6]])
    classes = g.choice(3, num_voxels, p=shares)
    looks = np.array([g.choice(3, p=looks_of_classes[c]) for c in classes])
    joint = looks_of_classes.T[looks] * np.array(given)
    prior = (joint / joint.sum(axis=1, keepdims=True)).astype(np.float32)
    return prior, np.bincount(classes, minlength=3) / num_voxels, np.array(given)


def slow_shares(prior: np.ndarray, given: np.ndarray, num_steps: int) -> list[float]:
    shares = list(given)
    for _ in range(num_steps):
        sums, num_known = [0.0] * len(shares), 0
        for row in prior:
            if not any(row):
                continue
            num_known += 1
            weighed = [p * s / g if g > 0 else 0.0 for p, s, g in zip(row, shares, given, strict=True)]
            for c, value in enumerate(weighed):
                sums[c] += value / sum(weighed)
        shares = [value / num_known for value in sums]
    return shares


def test_shares_are_those_of_expectation_and_maximisation() -> None:
    prior, _, given = classified(0, 200, [0.7, 0.2, 0.1], [0.3, 0.3, 0.4])
    prior[::7] = 0
    assert shares_by_looks(prior, given) == pytest.approx(slow_shares(prior, given, 50), abs=1e-5)


def test_a_classifier_that_was_fitted_to_other_shares_finds_those_of_the_surface() -> None:
    prior, shares, given = classified(1, 20_000, [0.85, 0.12, 0.03], [1 / 3, 1 / 3, 1 / 3])
    assert np.abs(prior.mean(axis=0) - shares).max() > 0.15
    assert np.abs(shares_by_looks(prior, given) - shares).max() < 0.03


def test_a_class_that_was_not_fitted_has_no_share_and_nothing_seen_leaves_shares_as_given() -> None:
    prior, _, _ = classified(2, 300, [0.5, 0.3, 0.2], [0.5, 0.5, 1e-12])
    prior[:, 2] = 0
    assert shares_by_looks(prior, np.array([0.5, 0.5, 0.0]))[2] == 0
    assert shares_by_looks(np.zeros((5, 3), np.float32), np.array([0.2, 0.3, 0.5])) == pytest.approx([0.2, 0.3, 0.5])


def test_of_many_voxels_evenly_taken_ones_are_enough() -> None:
    prior, _, given = classified(3, 300, [0.7, 0.2, 0.1], [0.4, 0.3, 0.3])
    assert shares_by_looks(np.repeat(prior, 200, axis=0), given) == pytest.approx(
        shares_by_looks(prior, given), abs=0.02
    )


def problem(seed: int, given: list[int]) -> tuple[LabelPosterior, np.ndarray, np.ndarray]:
    """A posterior with an unknown voxel, so many votes of each class, and what voxels look like."""
    g = np.random.default_rng(seed)
    found = g.dirichlet([4, 2, 1], 60).astype(np.float32)
    found[5] = 0
    votes = np.zeros((60, 3), np.float32)
    rows = iter(range(10, 60))
    for c, count in enumerate(given):
        for _ in range(count):
            votes[next(rows), c] = g.integers(1, 4)
    prior = g.dirichlet([6, 2, 0.3], 60).astype(np.float32)
    prior[:3] = 0
    return LabelPosterior(found, 0.05), votes, prior


def slow_posterior(posterior: LabelPosterior, votes: np.ndarray, prior: np.ndarray) -> np.ndarray:
    found = posterior.probabilities
    labelled = [v for v in range(60) if votes[v].sum() > 0 and prior[v].any()]
    given = np.mean([votes[v] / votes[v].sum() for v in labelled], axis=0)
    mass = found.sum(axis=0) / found.sum()
    shares = slow_shares(prior, given, 50)
    divergence = sum(mass[c] * np.log(mass[c] / given[c]) for c in range(3))
    strength, changed = min(1.0, divergence / 0.3), np.zeros((60, 3))
    for v in range(60):
        for c in range(3):
            count = sum(votes[u, c] > 0 for u in range(60))
            ratio = min(8.0, max(1 / 8, shares[c] / mass[c]))
            changed[v, c] = found[v, c] * ratio ** (strength * count / (count + 10))
        if changed[v].sum() > 0:
            changed[v] /= changed[v].sum()
    return changed


@pytest.mark.parametrize("given", [[1, 1, 20], [8, 10, 12], [3, 9, 4]])
def test_classes_are_multiplied_by_what_their_shares_are_off_by(given: list[int]) -> None:
    posterior, votes, prior = problem(4, given)
    found = with_class_shares(posterior, shares_of_classes(votes, prior))
    assert found.noise_rate == posterior.noise_rate
    assert found.probabilities == pytest.approx(slow_posterior(posterior, votes, prior), abs=2e-5)
    assert np.abs(found.probabilities - posterior.probabilities).max() > 0.01
    assert not found.probabilities[5].any()


def test_labels_that_have_the_shares_of_the_surface_leave_the_posterior_as_it_is() -> None:
    posterior, _, prior = problem(5, [])
    # Each voxel that has a class votes by its probabilities: shares of labels are those of the surface.
    votes = posterior.probabilities * 10
    prior[:] = prior[10]
    found = with_class_shares(posterior, shares_of_classes(votes, prior))
    assert found.probabilities == pytest.approx(posterior.probabilities, abs=1e-6)


def test_noisy_labels_are_not_asked_how_much_there_is_of_each_class() -> None:
    posterior, votes, prior = problem(7, [1, 1, 20])
    noisy = replace(posterior, noise_rate=0.2)
    assert with_class_shares(noisy, shares_of_classes(votes, prior)) is noisy
    assert with_class_shares(posterior, shares_of_classes(votes, prior)) is not posterior


def test_without_labels_that_can_be_seen_nothing_is_changed() -> None:
    posterior, votes, prior = problem(6, [2, 2, 2])
    for known in (shares_of_classes(np.zeros_like(votes), prior), shares_of_classes(votes, np.zeros_like(prior))):
        assert known is None
        assert with_class_shares(posterior, known) is posterior
    nothing = LabelPosterior(np.zeros_like(votes), 0.1)
    assert with_class_shares(nothing, shares_of_classes(votes, prior)) is nothing


def test_a_small_class_keeps_its_labels_and_gives_up_what_only_lies_nearer_to_them() -> None:
    # A switch is 20 voxels of a wall of 320, with as many labels. A walk over the next 100 voxels goes to either.
    switch = np.concatenate([np.ones(20), np.linspace(1, 0, 100), np.zeros(200)]).astype(np.float32)
    posterior = LabelPosterior(np.stack([1 - switch, switch], axis=1), 0.01)
    votes = np.zeros((320, 2), np.float32)
    votes[:20, 1] = votes[-20:, 0] = 3
    looks = np.where(np.arange(320) < 20, 0.98, 0.02).astype(np.float32)
    found = with_class_shares(
        posterior, shares_of_classes(votes, np.stack([1 - looks, looks], axis=1))
    ).probabilities.argmax(axis=1)
    assert posterior.probabilities.argmax(axis=1).sum() == 70
    assert found[:20].all()
    assert found.sum() < 62
