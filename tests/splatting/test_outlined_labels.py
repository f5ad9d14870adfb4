"""Labels of all pixels, by which Gaussians are divided and shaped before they train."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from semantic_ns.export.splat import make_splat
from semantic_ns.splatting.first_gaussians import first_gaussians, has_depth
from semantic_ns.splatting.fit import View
from semantic_ns.splatting.fit_config import FitConfig
from semantic_ns.splatting.outlined_labels import are_outlined, outlined_start
from support.views_of_squares import COLORS, views_and_classes


@pytest.fixture(scope="module")
def squares() -> tuple[list[View], list[Tensor]]:
    return views_and_classes(4, (48, 64))


def clicks_on(classes: list[Tensor]) -> list[Tensor]:
    """One pixel of each class in each image."""
    found = []
    for image in classes:
        clicks = torch.full_like(image, -1)
        for number in range(len(COLORS)):
            rows, columns = torch.nonzero(image == number, as_tuple=True)
            if len(rows):
                clicks[rows[len(rows) // 2], columns[len(rows) // 2]] = number
        found.append(clicks)
    return found


def share_right(found: list[Tensor], classes: list[Tensor]) -> float:
    return float(
        torch.cat([(own == image).flatten() for own, image in zip(found, classes, strict=True)]).float().mean()
    )


def spread(views: list[View], labels: list[Tensor]) -> list[Tensor]:
    return list(outlined_start(views, labels, len(COLORS)).labels)


def test_dense_clean_labels_and_no_labels_stay_as_they_are(squares: tuple[list[View], list[Tensor]]) -> None:
    fine, dense = views_and_classes(4, (96, 128))
    start = outlined_start(fine, dense, len(COLORS))
    assert start.labels is dense
    assert start.outlines is not None
    views, classes = squares
    none = [torch.full_like(image, -1) for image in classes]
    start = outlined_start(views, none, len(COLORS))
    assert start.labels is none
    assert start.outlines is None
    assert torch.equal(start.gaussians.means, first_gaussians(views)[0].means)


def test_depth_that_masks_hide_is_none(squares: tuple[list[View], list[Tensor]]) -> None:
    view = squares[0][0]
    assert view.depth is not None
    half = torch.arange(64).expand(48, 64) < 32
    assert has_depth([replace(view, depth=None), view])
    assert not has_depth([replace(view, depth=None), replace(view, depth=torch.zeros(48, 64))])
    assert not has_depth([replace(view, depth=view.depth.where(half, 0.0), mask=~half)])


def test_labels_that_are_wrong_in_whole_regions_become_those_of_most_images() -> None:
    views, classes = views_and_classes(8, (96, 128))
    generator = torch.Generator().manual_seed(0)
    wrong = []
    for image in classes:
        drawn = torch.randint(0, len(COLORS), (4, 6), generator=generator)
        is_drawn = torch.rand((4, 6), generator=generator) < 0.3
        drawn, is_drawn = (each.repeat_interleave(24, 0).repeat_interleave(24, 1) for each in (drawn, is_drawn))
        wrong.append(torch.where(is_drawn[:, :128], drawn[:, :128], image).int())
    assert are_outlined(wrong)
    start = outlined_start(views, wrong, len(COLORS))
    assert share_right(wrong, classes) < 0.87
    assert share_right(list(start.labels), classes) > 0.95
    assert start.outlines is not None


def test_clicks_reach_the_pixels_that_look_like_theirs_and_stay_themselves(
    squares: tuple[list[View], list[Tensor]],
) -> None:
    views, classes = squares
    clicks = clicks_on(classes)
    found = spread(views, clicks)
    assert share_right(found, classes) > 0.95
    for own, given in zip(found, clicks, strict=True):
        assert torch.equal(own[given >= 0], given.short()[given >= 0])


def test_few_labels_that_contradict_each_other_do_not_stay(squares: tuple[list[View], list[Tensor]]) -> None:
    views, classes = squares
    generator = torch.Generator().manual_seed(0)
    few = [image.where(torch.rand(image.shape, generator=generator) < 0.3, -1) for image in classes]
    wrong = [
        torch.where(
            (image >= 0) & (torch.rand(image.shape, generator=generator) < 0.5),
            torch.randint(0, len(COLORS), image.shape, generator=generator),
            image,
        ).int()
        for image in few
    ]
    clean, cleaned = spread(views, few), spread(views, wrong)
    assert all(torch.equal(own[given >= 0], given.short()[given >= 0]) for own, given in zip(clean, few, strict=True))
    assert share_right(cleaned, classes) > 0.95


def test_wrong_labels_become_those_of_most_pixels_around(squares: tuple[list[View], list[Tensor]]) -> None:
    views, classes = squares
    generator = torch.Generator().manual_seed(0)
    noisy = [
        torch.where(
            torch.rand(image.shape, generator=generator) < 0.5,
            torch.randint(0, len(COLORS), image.shape, generator=generator),
            image,
        ).int()
        for image in classes
    ]
    assert not are_outlined(noisy)
    found = spread(views, noisy)
    assert share_right(noisy, classes) < 0.7
    assert share_right(found, classes) > 0.95
    assert are_outlined(found)


def test_masked_pixels_have_no_class(squares: tuple[list[View], list[Tensor]]) -> None:
    views, classes = squares
    used = torch.ones(48, 64, dtype=torch.bool)
    used[:, :20] = False
    masked = [replace(view, mask=used) for view in views]
    clicks = [image.where(used, -1) for image in clicks_on(classes)]
    found = spread(masked, clicks)
    assert all(bool((image[~used] == -1).all()) for image in found)
    assert all(bool((image[used] >= 0).any()) for image in found)


def test_a_splat_of_few_labels_has_the_gaussians_of_labels_that_spread(
    squares: tuple[list[View], list[Tensor]],
) -> None:
    views = squares[0][:1]
    halves = (torch.arange(64).expand(48, 64) >= 32).int()  # across squares of one colour
    few = [halves.where(torch.rand((48, 64), generator=torch.Generator().manual_seed(0)) < 0.1, -1)]
    splat = make_splat(views, few, len(COLORS), FitConfig(steps=0))
    assert torch.equal(splat.gaussians.means, first_gaussians(views, spread(views, few))[0].means)
    assert len(splat.gaussians) > len(first_gaussians(views)[0])
