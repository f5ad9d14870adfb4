"""Labels of all pixels, by which Gaussians are divided and shaped before they train."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from semantic_ns.export.splat import make_splat
from semantic_ns.splatting.first_gaussians import first_gaussians
from semantic_ns.splatting.fit import View
from semantic_ns.splatting.fit_config import FitConfig
from semantic_ns.splatting.outlined_labels import are_outlined, outlined_labels
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


def test_dense_clean_labels_no_labels_and_labels_without_depth_stay_as_they_are(
    squares: tuple[list[View], list[Tensor]],
) -> None:
    views, classes = squares
    assert outlined_labels(views, classes, len(COLORS)) is classes
    none = [torch.full_like(image, -1) for image in classes]
    assert outlined_labels(views, none, len(COLORS)) is none
    clicks = clicks_on(classes)
    for depth in (None, torch.zeros(48, 64)):
        flat = [replace(view, depth=depth) for view in views]
        assert outlined_labels(flat, clicks, len(COLORS)) is clicks


def test_clicks_reach_the_pixels_that_look_like_theirs_and_stay_themselves(
    squares: tuple[list[View], list[Tensor]],
) -> None:
    views, classes = squares
    clicks = clicks_on(classes)
    found = list(outlined_labels(views, clicks, len(COLORS)))
    assert share_right(found, classes) > 0.95
    for own, given in zip(found, clicks, strict=True):
        assert torch.equal(own[given >= 0], given[given >= 0])
    # A label that is alone among others stays, too: few labels are trusted.
    clicks[0][classes[0] == 0] = torch.where(torch.arange(int((classes[0] == 0).sum())) == 7, 1, -1).int()
    other = list(outlined_labels(views, clicks, len(COLORS)))
    assert int(other[0][classes[0] == 0][7]) == 1


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
    found = list(outlined_labels(views, noisy, len(COLORS)))
    assert share_right(noisy, classes) < 0.7
    assert share_right(found, classes) > 0.95
    assert are_outlined(found)


def test_masked_pixels_have_no_class(squares: tuple[list[View], list[Tensor]]) -> None:
    views, classes = squares
    used = torch.ones(48, 64, dtype=torch.bool)
    used[:, :20] = False
    masked = [replace(view, mask=used) for view in views]
    clicks = [image.where(used, -1) for image in clicks_on(classes)]
    found = outlined_labels(masked, clicks, len(COLORS))
    assert all(bool((image[~used] == -1).all()) for image in found)
    assert all(bool((image[used] >= 0).any()) for image in found)


def test_a_splat_of_clicks_has_the_gaussians_of_labels_that_spread(squares: tuple[list[View], list[Tensor]]) -> None:
    views, classes = squares
    clicks = clicks_on(classes)
    spread = outlined_labels(views, clicks, len(COLORS))
    splat = make_splat(views, clicks, len(COLORS), FitConfig(steps=0))
    assert torch.equal(splat.gaussians.means, first_gaussians(views, spread)[0].means)
    assert len(splat.gaussians) > len(first_gaussians(views, None)[0])
