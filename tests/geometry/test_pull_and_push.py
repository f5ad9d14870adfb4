"""Holes of images are filled with means over ever larger windows."""

import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.pull_and_push import pull_and_push


def filled_pixel_by_pixel(
    values: list[list[float]], weight: list[list[float]], is_saturated: bool
) -> list[list[float]]:
    """The twin, for square images of 2^n pixels: means of four, and between them by bilinear weights 3/4 and 1/4."""
    size = len(values)
    if size == 1:
        return [[values[0][0] / weight[0][0]]]
    half = range(size // 2)

    def mean(image: list[list[float]], y: int, x: int) -> float:
        return sum(image[2 * y + i][2 * x + j] for i in (0, 1) for j in (0, 1)) / 4

    coarse_weight = [[mean(weight, y, x) for x in half] for y in half]
    coarse = [[mean(values, y, x) for x in half] for y in half]
    if is_saturated:
        coarse = [[coarse[y][x] / max(coarse_weight[y][x], 1e-8) for x in half] for y in half]
        coarse_weight = [[float(coarse_weight[y][x] > 0) for x in half] for y in half]
    if min(min(row) for row in coarse_weight) < 1:
        coarse = filled_pixel_by_pixel(coarse, coarse_weight, is_saturated)

    def at(y: int, x: int) -> float:
        def near(k: int) -> tuple[int, int]:
            own = k // 2
            return own, min(max(own + (1 if k % 2 else -1), 0), size // 2 - 1)

        (y0, y1), (x0, x1) = near(y), near(x)
        rows = [0.75 * coarse[r][x0] + 0.25 * coarse[r][x1] for r in (y0, y1)]
        return 0.75 * rows[0] + 0.25 * rows[1]

    return [[values[y][x] + (1 - weight[y][x]) * at(y, x) for x in range(size)] for y in range(size)]


def some_image(size: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(size, generator=generator) * (torch.rand(size, generator=generator) > 0.6)
    return weight * torch.rand((2, *size), generator=generator), weight


@pytest.mark.parametrize("is_saturated", [True, False])
@pytest.mark.parametrize("size", [2, 4, 8])
def test_holes_are_filled_as_by_a_loop_over_windows(size: int, is_saturated: bool) -> None:
    values, weight = some_image((size, size), seed=size)
    found = pull_and_push(values, weight, is_saturated)
    expected = [filled_pixel_by_pixel(channel.tolist(), weight.tolist(), is_saturated) for channel in values]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_saturated", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 6), (13, 9)])
def test_one_value_fills_an_image_of_any_size_and_known_pixels_stay(size: tuple[int, int], is_saturated: bool) -> None:
    weight = torch.zeros(size)
    weight[-1, -1] = 0.25
    torch.testing.assert_close(pull_and_push(0.7 * weight[None], weight, is_saturated), torch.full((1, *size), 0.7))
    values, weight = some_image(size, seed=3)
    weight[0, 0] = 1.0
    torch.testing.assert_close(pull_and_push(values, weight, is_saturated)[:, 0, 0], values[:, 0, 0])


def test_an_image_of_which_nothing_is_known_stays_empty() -> None:
    assert not bool(pull_and_push(torch.zeros(1, 3, 5), torch.zeros(3, 5), is_saturated=False).any())
