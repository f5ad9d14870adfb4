"""Rows of the ablation in which depth does not guide what a ray looks up."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.views import pixel_centres
from semantic_ns.methods.gsnerf_small.network import GsnerfSmallNetwork
from semantic_ns.methods.gsnerf_small.ray_samples import samples_between
from semantic_ns.methods.gsnerf_small.sizes import Sizes
from semantic_ns.methods.gsnerf_small.step import LossWeights, RayPixels, step_losses
from support.ring_of_views import sample_of_the_wall

SIZES = Sizes(encoder="unet", encoder_widths=(8, 16), num_planes=12, depth_widths=(8, 16), decoder_widths=(8, 16))
SIZE = (32, 48)
GUIDES = {"both": (True, True), "colors": (True, False), "nothing": (False, False)}


def made(guided: str) -> GsnerfSmallNetwork:
    torch.manual_seed(0)
    colors, classes = GUIDES[guided]
    network = GsnerfSmallNetwork(5, replace(SIZES, guides_colors=colors, guides_classes=classes))
    for parameter in network.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.05)
    return network


@torch.no_grad()
def rendered_at(network: GsnerfSmallNetwork, factor: float) -> tuple[Tensor, Tensor]:
    """Colours and class logits of an image whose predicted depth is a multiple of what it is."""
    sample = sample_of_the_wall(3, SIZE)
    sources = network.sources(sample.sources.images, sample.sources.cameras)
    plane = network.plane(sources, sample.targets.cameras, SIZE)
    plane = replace(plane, depth=factor * plane.depth)
    found = network.render_image(sources, sample.targets.cameras, plane, SIZE, 500)
    return found.rgb, found.logits


@pytest.mark.parametrize(
    ("guided", "colors_follow", "classes_follow"),
    [("both", True, True), ("colors", True, False), ("nothing", False, False)],
)
def test_what_depth_does_not_guide_does_not_change_with_it(
    guided: str, colors_follow: bool, classes_follow: bool
) -> None:
    network = made(guided).eval()
    (rgb, logits), (rgb_farther, logits_farther) = rendered_at(network, 1.0), rendered_at(network, 1.4)
    assert (float((rgb - rgb_farther).abs().max()) > 1e-4) == colors_follow
    assert (float((logits - logits_farther).abs().max()) > 1e-4) == classes_follow


@torch.no_grad()
def test_unguided_classes_are_the_mean_of_those_at_the_samples_by_their_rendering_weights() -> None:
    network = made("nothing").eval()
    sample = sample_of_the_wall(3, SIZE)
    camera = sample.targets.cameras
    sources = network.sources(sample.sources.images, sample.sources.cameras)
    plane = network.plane(sources, camera, SIZE)
    xy = pixel_centres(*SIZE)[::9, ::11].reshape(-1, 2)
    decided = network.decide(sources, camera, plane, xy)
    guided = GsnerfSmallNetwork(5, SIZES).eval()
    guided.load_state_dict(network.state_dict())
    weights, depths = decided.weights.mT, samples_between(SIZES.near, SIZES.far, xy[:, 0], SIZES.num_unguided)
    expected = torch.zeros(len(xy), 5)
    for n in range(SIZES.num_unguided):
        # A plane at the depth of one sample: the guided network gives what the sources say there.
        at = replace(plane, depth=torch.full_like(plane.depth, float(depths[0, n])))
        shown = guided.decide(sources, camera, at, xy)
        carried = guided.render(sources, camera, at, xy, shown).is_seen
        probabilities = torch.zeros(len(xy), 5)
        for ray in range(len(xy)):
            world = camera.centres[0] + camera.ray_directions(xy[None, ray : ray + 1].double())[0, 0] * depths[0, n]
            seen = []
            for view in range(3):
                if not bool(carried[view, ray]):
                    continue
                source = sample.sources.cameras[view : view + 1]
                fx, fy, cx, cy = source.intrinsics[0]
                x, y, z = source.c2w[0, :3, :3].T @ (world - source.centres[0])
                grid = (2 * torch.stack([fx * x / z + cx, fy * y / z + cy]) - 1).float().view(1, 1, 1, 2)
                soft = sources.encoded.logits[view : view + 1].softmax(dim=1)
                seen.append(
                    torch.nn.functional.grid_sample(soft, grid, padding_mode="border", align_corners=False).flatten()
                )
            probabilities[ray] = torch.stack(seen).mean(dim=0) if seen else torch.full((5,), 1 / 5)
        expected += weights[:, n : n + 1] * ((probabilities + 1e-3).log() + shown.logits.mT)
    expected /= weights.sum(dim=1, keepdim=True).clamp(min=1e-6)
    torch.testing.assert_close(decided.logits.mT, expected, rtol=1e-3, atol=1e-3)


def test_unguided_samples_halve_equal_intervals_of_log_depth() -> None:
    found = samples_between(0.5, 8.0, torch.zeros(3), 4)
    expected = [math.exp(math.log(0.5) + (n + 0.5) / 4 * math.log(16)) for n in range(4)]
    torch.testing.assert_close(found, torch.tensor([expected] * 3))


@pytest.mark.parametrize("guided", ["colors", "nothing"])
def test_unguided_networks_train(guided: str) -> None:
    network = made(guided)
    sample = sample_of_the_wall(3, SIZE, 2)
    pixels = RayPixels.draw(sample.targets, 32, torch.Generator().manual_seed(0))
    torch.stack(list(step_losses(network, sample, pixels, LossWeights()).values())).sum().backward()
    for part in (network.semantics, network.head, network.density, network.blend):
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in part.parameters())
