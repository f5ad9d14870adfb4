"""Classes of Gaussians as labels change: the same as if all was computed anew, and less is looked at."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from semantic_ns.splatting.class_updates import ClassUpdates
from semantic_ns.splatting.classes import shares_of
from semantic_ns.splatting.project import PinholeCamera
from semantic_ns.splatting.rasterize import rasterize
from semantic_ns.splatting.votes import VoteCounter, gaussian_votes
from support.random_gaussians import CAMERA, random_gaussians
from support.wall_of_gaussians import views_of_wall, wall

NUM_CLASSES = 4


def cameras(count: int) -> list[PinholeCamera]:
    """Cameras that look at the random Gaussians from places beside each other."""
    return [replace(CAMERA, w2c=CAMERA.w2c + torch.tensor([0.0, 0.0, 0.0, 0.1 * n])) for n in range(count)]


def random_labels(count: int, seed: int = 0, share: float = 0.1) -> list[Tensor]:
    """Labels of a share of the pixels."""
    generator = torch.Generator().manual_seed(seed)
    shape = count, CAMERA.height, CAMERA.width
    labels = torch.randint(0, NUM_CLASSES, shape, generator=generator)
    return list(labels.where(torch.rand(shape, generator=generator) < share, -1).int())


@pytest.mark.parametrize(("is_antialiased", "blur"), [(False, 0.3), (True, 0.3), (False, 0.1)])
def test_votes_of_several_images_are_the_gradient_of_one_hot_images(is_antialiased: bool, blur: float) -> None:
    gaussians = replace(random_gaussians(80)[0], blur=blur)
    labels = [*random_labels(3, share=0.6), torch.full((CAMERA.height, CAMERA.width), -1).int()]
    features = torch.zeros(80, NUM_CLASSES, requires_grad=True)
    for camera, image in zip(cameras(4), labels, strict=True):
        rendered, _, _ = rasterize(gaussians, features, camera, is_antialiased=is_antialiased)
        one_hot = torch.nn.functional.one_hot(image.clamp(min=0).long(), NUM_CLASSES) * (image >= 0)[..., None]
        rendered.backward(one_hot.float())
    votes = gaussian_votes(gaussians, cameras(4), labels, NUM_CLASSES, is_antialiased)
    assert features.grad is not None
    torch.testing.assert_close(votes.counts, features.grad, rtol=1e-4, atol=1e-4)
    assert float(votes.counts.sum()) > 10
    known = sum(int((image >= 0).sum()) for image in labels)
    assert votes.labelled_share == known / (4 * CAMERA.height * CAMERA.width)


def test_only_images_whose_labels_changed_are_looked_at_and_votes_are_those_of_all_to_the_bit() -> None:
    gaussians, _ = random_gaussians(200)
    labels, counter = random_labels(5), VoteCounter(gaussians, cameras(5), NUM_CLASSES)
    counter.count(labels)
    assert counter.num_counted == 5
    labels[2] = labels[2].clone()
    labels[2][3:9, 5:20] = 1
    labels[4] = torch.full_like(labels[4], -1)
    for counted in (6, 6):  # the second time nothing has changed
        found = counter.count([image.clone() for image in labels])
        assert counter.num_counted == counted
        expected = gaussian_votes(gaussians, cameras(5), labels, NUM_CLASSES)
        assert torch.equal(found.counts, expected.counts)
        assert found.labelled_share == expected.labelled_share
    labels[4] = random_labels(5)[4]
    assert torch.equal(counter.count(labels).counts, gaussian_votes(gaussians, cameras(5), labels, NUM_CLASSES).counts)
    assert counter.num_counted == 7


@pytest.mark.parametrize("room", [0, 3_000])
def test_votes_are_the_same_whether_there_is_room_to_keep_them(room: int) -> None:
    gaussians, _ = random_gaussians(200)
    little = VoteCounter(gaussians, cameras(5), NUM_CLASSES, most_kept=room)
    enough = VoteCounter(gaussians, cameras(5), NUM_CLASSES)
    for seed in (0, 1, 0):
        labels = random_labels(5, seed)
        for _ in range(2):
            assert torch.equal(little.count(labels).counts, enough.count(labels).counts)
    assert enough.num_counted == 15
    assert little.num_counted > 15


def test_labels_that_no_gaussian_votes_for_may_change_where_there_is_no_room() -> None:
    gaussians, colors = random_gaussians(5)
    _, _, opacity = rasterize(gaussians, colors, CAMERA)
    counter = VoteCounter(gaussians, [CAMERA], NUM_CLASSES, most_kept=0)
    assert not bool(counter.count([torch.where(opacity == 0, 1, -1)]).counts.any())
    labels = [torch.where(opacity > 0.1, 1, -1)]
    expected = gaussian_votes(gaussians, [CAMERA], labels, NUM_CLASSES).counts
    assert bool(expected.any())
    assert torch.equal(counter.count(labels).counts, expected)


def test_updates_agree_with_classes_that_are_computed_anew_and_without_any_before_to_the_bit() -> None:
    gaussians, _ = wall(900)
    updates, views = ClassUpdates(), views_of_wall(3)

    def anew(labels: list[Tensor], spreads: bool = True, is_antialiased: bool = False) -> Tensor:
        return ClassUpdates().update(gaussians, views, labels, NUM_CLASSES, is_antialiased, spreads)

    def updated(labels: list[Tensor], spreads: bool = True, is_antialiased: bool = False) -> Tensor:
        return updates.update(gaussians, views, labels, NUM_CLASSES, is_antialiased, spreads)

    labels = random_labels(3, share=0.02)
    first = updated(labels)
    assert torch.equal(first, anew(labels))
    assert torch.equal(updated([image.clone() for image in labels]), first)
    assert float((first.sum(dim=1) > 0).float().mean()) > 0.9  # they have spread
    labels[1] = labels[1].clone()
    labels[1][10, 10:14] = 3
    second = updated(labels)
    torch.testing.assert_close(second, anew(labels), rtol=0, atol=0.02)
    assert float((first - second).abs().max()) > 0.1
    assert torch.equal(updated(labels, spreads=False), anew(labels, spreads=False))
    votes = gaussian_votes(gaussians, [view.camera for view in views], labels, NUM_CLASSES).counts
    assert torch.equal(anew(labels, spreads=False), votes / votes.sum(dim=1, keepdim=True).clamp(min=1e-6))
    assert torch.equal(updated(labels, is_antialiased=True), anew(labels, is_antialiased=True))
    wider, seen = replace(gaussians, blur=4.0), [view.camera for view in views]
    found = updates.update(wider, views, labels, NUM_CLASSES, spreads=False)
    assert torch.equal(found, shares_of(gaussian_votes(wider, seen, labels, NUM_CLASSES).counts))
    assert not torch.equal(found, anew(labels, spreads=False))
    # Gaussians that train on in place are others.
    gaussians.means[:, 0] += 0.01
    gaussians.scales.mul_(1.1)
    moved = updated(labels)
    assert torch.equal(moved, anew(labels))
    assert not torch.equal(moved, second)
    views[2] = replace(views[2], camera=CAMERA)
    assert torch.equal(updated(labels), anew(labels))
