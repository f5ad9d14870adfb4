"""Classes of Gaussians under which labels are most likely: each pixel counts for the Gaussians that explain it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from semantic_ns.splatting.class_updates import ClassUpdates
from semantic_ns.splatting.fit import View
from semantic_ns.splatting.likelihood import most_likely_classes, responsibilities
from semantic_ns.splatting.project import Gaussians, PinholeCamera
from semantic_ns.splatting.rasterize import rasterize
from semantic_ns.splatting.votes import gaussian_votes
from support.random_gaussians import CAMERA, composited_pixel_by_pixel, in_doubles, random_gaussians

NUM_CLASSES = 4


def random_probabilities(count: int) -> Tensor:
    found = torch.rand((count, NUM_CLASSES), generator=torch.Generator().manual_seed(1))
    found[::5, 1] = 0
    return found / found.sum(dim=1, keepdim=True)


def random_labels(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, NUM_CLASSES, (CAMERA.height, CAMERA.width), generator=generator, dtype=torch.int32)


def views(count: int) -> list[PinholeCamera]:
    cameras = []
    for number in range(count):
        w2c = CAMERA.w2c.clone()
        w2c[0, 3] += 0.1 * number
        cameras.append(replace(CAMERA, w2c=w2c))
    return cameras


def log_likelihood(gaussians: Gaussians, labels: list[Tensor], probabilities: Tensor) -> float:
    """Mean over labelled pixels that show anything of its class."""
    total, count = 0.0, 0
    for camera, image in zip(views(len(labels)), labels, strict=True):
        shown = rasterize(gaussians, probabilities, camera)[0].gather(2, image.clamp(min=0).long()[..., None])[..., 0]
        is_counted = (image >= 0) & (shown > 0)
        total, count = total + float(shown[is_counted].log().sum()), count + int(is_counted.sum())
    return total / count


@pytest.mark.parametrize("is_antialiased", [False, True])
def test_responsibilities_are_probabilities_times_the_slope_of_the_log_likelihood(is_antialiased: bool) -> None:
    gaussians, _ = random_gaussians(60)
    probabilities, labels = random_probabilities(60), random_labels()
    p = probabilities.double().requires_grad_()
    image, _, _ = composited_pixel_by_pixel(in_doubles(gaussians), p, CAMERA, is_antialiased)
    shown = image.gather(2, labels.clamp(min=0).long()[..., None])[..., 0]
    shown[(labels >= 0) & (shown > 0)].log().sum().backward()
    assert p.grad is not None
    found = responsibilities(gaussians, [CAMERA], [labels], probabilities, is_antialiased)
    torch.testing.assert_close(found.double(), probabilities * p.grad, rtol=2e-3, atol=2e-3)


def test_each_labelled_pixel_that_can_be_explained_is_answered_for_once() -> None:
    gaussians, _ = random_gaussians(60)
    probabilities, labels = random_probabilities(60), [random_labels(seed) for seed in range(2)]
    found = responsibilities(gaussians, views(2), labels, probabilities).sum(dim=0)
    for number in range(NUM_CLASSES):
        shown = [rasterize(gaussians, probabilities, camera)[0][..., number] > 0 for camera in views(2)]
        expected = sum(int(((image == number) & some).sum()) for image, some in zip(labels, shown, strict=True))
        assert float(found[number]) == pytest.approx(expected, rel=1e-4)


def test_each_step_makes_the_labels_more_likely() -> None:
    gaussians, _ = random_gaussians(80)
    labels = [random_labels(seed) for seed in range(3)]
    votes = gaussian_votes(gaussians, views(3), labels, NUM_CLASSES).counts
    classes = votes / votes.sum(dim=1, keepdim=True).clamp(min=1e-6)
    likelihoods = [log_likelihood(gaussians, labels, classes)]
    for _ in range(5):
        classes = most_likely_classes(gaussians, views(3), labels, classes, num_steps=1)
        likelihoods.append(log_likelihood(gaussians, labels, classes))
    assert likelihoods == sorted(likelihoods)
    assert likelihoods[-1] > likelihoods[0] + 0.01


def test_classes_stay_probabilities_and_what_no_label_reaches_stays_as_it_is() -> None:
    gaussians, _ = random_gaussians(60)
    probabilities = random_probabilities(60)
    labels = random_labels()
    labels[:, 12:] = -1
    reached = responsibilities(gaussians, [CAMERA], [labels], probabilities).sum(dim=1) > 1e-6
    assert 0 < int(reached.sum()) < 60
    found = most_likely_classes(gaussians, [CAMERA], [labels], probabilities)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(60))
    assert torch.equal(found[~reached], probabilities[~reached])
    assert not bool(found[probabilities == 0].any())
    void = torch.full_like(labels, -1)
    assert torch.equal(most_likely_classes(gaussians, [CAMERA], [void], probabilities), probabilities)


def test_a_gaussian_across_which_an_outline_seems_to_lie_has_the_class_of_its_own_pixels_in_the_end() -> None:
    """Two opaque squares side by side overlap; votes give each a part of its neighbour's class."""
    camera = PinholeCamera(torch.eye(4)[:3], torch.tensor([40.0, 40.0, 20.0, 10.0]), height=20, width=40)
    gaussians = Gaussians(
        torch.tensor([[-0.5, 0.0, 2.0], [0.5, 0.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 2),
        torch.tensor([[0.4, 0.3, 0.01]] * 2), torch.tensor([0.95, 0.95]),
    )  # fmt: skip
    labels = torch.zeros((20, 40), dtype=torch.int32)
    labels[:, 20:] = 1
    votes = gaussian_votes(gaussians, [camera], [labels], 2).counts
    shares = votes / votes.sum(dim=1, keepdim=True)
    found = most_likely_classes(gaussians, [camera], [labels], shares, num_steps=8)
    wrong = torch.tensor([1, 0])
    assert bool((shares[range(2), wrong] > 0.05).all())
    assert bool((found[range(2), wrong] < 0.5 * shares[range(2), wrong]).all())


def test_classes_of_dense_clean_labels_are_most_likely_ones_and_of_spread_votes_they_are_not() -> None:
    gaussians, _ = random_gaussians(200)
    labels = [torch.zeros((CAMERA.height, CAMERA.width), dtype=torch.int32) for _ in range(2)]
    for image in labels:
        image[:, 20:] = 1
    votes = gaussian_votes(gaussians, views(2), labels, NUM_CLASSES).counts
    shares = votes / votes.sum(dim=1, keepdim=True).clamp(min=1e-6)
    updates, pixels = ClassUpdates(), torch.zeros(CAMERA.height, CAMERA.width, 3)
    images = [View(camera, pixels) for camera in views(2)]
    as_they_are = updates.update(gaussians, images, labels, NUM_CLASSES, spreads=False)
    assert torch.equal(as_they_are, shares)
    found = updates.update(gaussians, images, labels, NUM_CLASSES)
    assert torch.equal(found, most_likely_classes(gaussians, views(2), labels, shares))
    assert log_likelihood(gaussians, labels, found) > log_likelihood(gaussians, labels, shares)
