"""Colours that are drawn back to those that Gaussians began with."""

from dataclasses import replace

import torch

from semantic_ns.splatting.fit import View, fit
from semantic_ns.splatting.fit_config import FIRST_COLOR_WEIGHT, FitConfig
from semantic_ns.splatting.held_colors import held
from support.random_gaussians import CAMERA, random_gaussians


def test_the_gradient_is_that_of_a_loop_over_what_the_image_shows_and_the_rest_has_none() -> None:
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand((5, 3), generator=generator, dtype=torch.float64).requires_grad_()
    first, weights = torch.rand((2, 5, 3), generator=generator, dtype=torch.float64)
    weights[[1, 4]] = 0  # the image does not show them
    found = held(colors, first, num_pixels=12, num_images=7)
    assert torch.equal(found, colors)
    (found * weights).sum().backward()
    again = colors.detach().clone().requires_grad_()
    expected = (again * weights).sum()
    for row in (0, 2, 3):
        for channel in range(3):
            off = again[row, channel] - first[row, channel]
            expected = expected + FIRST_COLOR_WEIGHT / (12 * 7) * off**2
    expected.backward()
    torch.testing.assert_close(colors.grad, again.grad)
    assert colors.grad is not None
    assert not bool(colors.grad[[1, 4]].any())


def test_of_few_images_colors_stay_nearer_to_the_first_ones_than_of_many() -> None:
    generator = torch.Generator().manual_seed(1)
    gaussians, _ = random_gaussians(60)
    colors = torch.full((len(gaussians), 3), 0.5)
    view = View(CAMERA, torch.rand((CAMERA.height, CAMERA.width, 3), generator=generator))
    config = FitConfig(150, mean_rate=0.0, scale_rate=0.0, quat_rate=0.0, opacity_rate=0.0)

    def off(num_views: int, config: FitConfig) -> float:
        return float((fit(gaussians, colors, [view] * num_views, config)[1] - 0.5).square().mean())

    one, many, free = off(1, config), off(30, config), off(1, replace(config, holds_colors=False))
    assert one < 0.9 * many
    assert many < free
