"""What the masks of sources leave out is no evidence of a target, and what that of a target leaves out is no loss."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.backbones.pyramids import resized
from semantic_ns.geometry.views import are_used, pixel_centres, reproject, sweep_matrices
from semantic_ns.many_scenes.samples import TargetSample
from semantic_ns.methods.gsnerf.encoder import EncodedViews
from semantic_ns.methods.gsnerf.point_features import SourceViews, see_points
from semantic_ns.methods.gsnerf.target_plane import target_depth
from semantic_ns.methods.gsnerf.volumes import DepthRange, LevelGeometry, LinearPlanes
from semantic_ns.methods.gsnerf_small.network import GsnerfSmallNetwork
from semantic_ns.methods.gsnerf_small.sizes import Sizes
from semantic_ns.methods.gsnerf_small.step import LossWeights, RayPixels, step_losses
from semantic_ns.methods.viewseg.network import RenderOptions, ViewsegNetwork
from semantic_ns.methods.viewseg_small.network import Sources as SmallSources
from semantic_ns.methods.viewseg_small.network import ViewsegSmallNetwork
from semantic_ns.methods.viewseg_small.sizes import Sizes as ViewsegSizes
from semantic_ns.methods.viewseg_small.step import SmallLossWeights, predict, prediction_losses
from semantic_ns.multi_view.supervised_losses import image_color_loss
from support.ring_of_views import sample_of_the_wall

SIZE = (32, 48)
BOUNDS = DepthRange(0.5, 4.0)
SIZES = Sizes(encoder="unet", encoder_widths=(8, 16), num_planes=12, depth_widths=(8, 16), decoder_widths=(8, 16))

VIEWSEG_SIZES = ViewsegSizes(
    encoder="unet", encoder_widths=(8, 16), geometry_widths=(8, 16), width=16, features=8, decoder_widths=(8, 16),
    num_coarse=8, num_fine=4,
)  # fmt: skip


def random_masks(count: int) -> Tensor:
    blocks = torch.rand(count, 4, 6, generator=torch.Generator().manual_seed(5)) < 0.6
    return blocks.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)


def mask_slowly(masks: Tensor, xy: Tensor) -> Tensor:
    """For each source and point the mask at the pixel in which it lies; the border goes on."""
    found = torch.zeros(xy.shape[:2], dtype=torch.bool)
    for source in range(xy.shape[0]):
        for point in range(xy.shape[1]):
            x, y = xy[source, point].tolist()
            column = min(max(int(x * masks.shape[2] // 1), 0), masks.shape[2] - 1)
            row = min(max(int(y * masks.shape[1] // 1), 0), masks.shape[1] - 1)
            found[source, point] = masks[source, row, column]
    return found


def test_a_mask_at_image_coordinates_is_that_of_the_pixel_in_which_they_lie() -> None:
    masks = torch.rand(3, 7, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    xy = 1.4 * torch.rand(3, 200, 2, generator=torch.Generator().manual_seed(1)) - 0.2
    assert torch.equal(are_used(masks, xy), mask_slowly(masks, xy))
    assert bool(are_used(None, xy).all())


@pytest.fixture(scope="module")
def network() -> GsnerfSmallNetwork:
    torch.manual_seed(0)
    return GsnerfSmallNetwork(5, SIZES).eval()


def seen_by_small(network: GsnerfSmallNetwork, sample: TargetSample, masks: Tensor | None) -> tuple[Tensor, Tensor]:
    camera = sample.targets.cameras
    sources = network.sources(sample.sources.images, sample.sources.cameras, masks)
    at = reproject(
        sweep_matrices(sources.cameras, camera), pixel_centres(*SIZE).reshape(-1, 2), torch.full((1536,), 1.2)
    )
    return network._visible(sources, at)[0], at.xy


def published_sources(sample: TargetSample, masks: Tensor | None) -> SourceViews:
    depths = sample.sources.depths_m
    assert depths is not None
    planes = LinearPlanes(depths - 0.1, 0.05, 8)
    geometry = (LevelGeometry(planes, depths, torch.zeros(len(depths), 8, 8, *SIZE)),)
    encoded: Any = EncodedViews.__new__(EncodedViews)
    return SourceViews(sample.sources.cameras, encoded, geometry, BOUNDS, masks)


def seen_by_published(_network: Any, sample: TargetSample, masks: Tensor | None) -> tuple[Tensor, Tensor]:
    xy = pixel_centres(*SIZE).reshape(-1, 2)
    points = see_points(published_sources(sample, masks), sample.targets.cameras, xy, torch.full((1536,), 1.2))
    return points.is_seen, points.at.xy


@pytest.mark.parametrize("see", [seen_by_small, seen_by_published])
@torch.no_grad()
def test_a_source_sees_a_point_if_it_did_without_masks_and_uses_its_pixel(
    see: Callable[[GsnerfSmallNetwork, TargetSample, Tensor | None], tuple[Tensor, Tensor]], network: GsnerfSmallNetwork
) -> None:
    sample, masks = sample_of_the_wall(3, SIZE), random_masks(3)
    without, xy = see(network, sample, None)
    found, _ = see(network, sample, masks)
    assert torch.equal(found, without & mask_slowly(masks, xy))
    assert 0 < int(found.sum()) < int(without.sum())


@torch.no_grad()
def test_depth_of_pixels_that_are_not_used_falls_nowhere() -> None:
    """As if the source whose mask is black were not there."""
    sample = sample_of_the_wall(3, SIZE)
    masks = torch.ones(3, *SIZE, dtype=torch.bool)
    masks[1] = False
    sources, camera = published_sources(sample, masks), sample.targets.cameras
    others = torch.tensor([0, 2])
    found = target_depth(sources.used_depth, sources.cameras, camera, SIZE, BOUNDS)
    expected = target_depth(sources.depth[others], sources.cameras[others], camera, SIZE, BOUNDS)
    assert torch.equal(found.depth, expected.depth)
    assert torch.equal(found.is_supported, expected.is_supported)


@torch.no_grad()
def test_a_plane_of_a_target_measures_nothing_where_no_source_is_used(network: GsnerfSmallNetwork) -> None:
    sample = sample_of_the_wall(3, SIZE)
    frames, camera = sample.sources, sample.targets.cameras
    none = torch.zeros(3, *SIZE, dtype=torch.bool)
    encoded = network.encoder(frames.images)
    assert not network.plane(network.sources_of(encoded, frames.cameras, none), camera, SIZE).is_measured.any()
    assert network.plane(network.sources_of(encoded, frames.cameras), camera, SIZE).is_measured.any()


@torch.no_grad()
def test_colours_that_the_mask_of_a_target_leaves_out_are_no_loss(network: GsnerfSmallNetwork) -> None:
    sample, masks = sample_of_the_wall(3, SIZE), random_masks(1)
    targets = replace(sample.targets, masks=masks, labels=sample.targets.labels.masked_fill(~masks, -1))

    def losses(images: Tensor) -> dict[str, Tensor]:
        changed = TargetSample(sample.sources, replace(targets, images=images))
        pixels = RayPixels.draw(changed.targets, 64, torch.Generator().manual_seed(0))
        found = step_losses(network, changed, pixels, LossWeights())
        # What the encoder says of the image itself sees around the edge of a mask.
        return {name: loss for name, loss in found.items() if name != "source_semantic_loss"}

    images = sample.targets.images
    before = losses(images)
    assert losses(torch.where(masks[:, None], images, 1 - images)) == before
    inside = losses(torch.where(masks[:, None], 1 - images, images))
    assert all(inside[name] != before[name] for name in ("fill_loss", "color_loss"))


@pytest.fixture(scope="module")
def viewseg_small_network() -> ViewsegSmallNetwork:
    torch.manual_seed(0)
    made = ViewsegSmallNetwork(5, VIEWSEG_SIZES).eval()
    for parameter in made.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.05)
    return made


@torch.no_grad()
def test_what_viewseg_small_shows_of_a_source_is_what_its_mask_leaves(
    viewseg_small_network: ViewsegSmallNetwork,
) -> None:
    sample, masks = sample_of_the_wall(3, SIZE), random_masks(3)
    frames, camera = sample.sources, sample.targets.cameras
    encoded = viewseg_small_network.encoder(frames.images)
    found = viewseg_small_network.plane(SmallSources(frames.cameras, encoded, masks), camera, SIZE)
    matrices = sweep_matrices(frames.cameras, camera)
    # The surface that the field renders, at half of the resolution, where sources are looked up.
    rows, columns = found.depth.shape
    log_depth = resized(found.rays.log_depth.view(1, 1, *viewseg_small_network.ray_grid(SIZE)), (rows, columns))
    at = reproject(matrices, pixel_centres(rows, columns), log_depth[0, 0].exp())
    assert not bool((found.is_seen & ~mask_slowly(masks, at.xy.flatten(1, 2)).view_as(found.is_seen)).any())
    assert bool(found.is_seen.any())
    none = viewseg_small_network.plane(SmallSources(frames.cameras, encoded, torch.zeros_like(masks)), camera, SIZE)
    assert not bool(none.is_seen.any())


@torch.no_grad()
def test_viewseg_takes_no_mean_over_a_source_whose_mask_is_black() -> None:
    """As if the source were not there, wherever another one sees the point."""
    torch.manual_seed(0)
    network = ViewsegNetwork(3, RenderOptions(0.5, 3.0, 4, 4))
    sample = sample_of_the_wall(2, SIZE)
    cameras = sample.sources.cameras
    maps = torch.randn(2, 256, 8, 12)
    masks = torch.ones(2, *SIZE, dtype=torch.bool)
    masks[1] = False
    xy = pixel_centres(3, 4).reshape(-1, 2)
    # A target in the place of the first source, so that this one sees every point of its rays.
    found = network.render(network.sources(maps, cameras, masks), cameras[:1], xy)[1]
    alone = network.render(network.sources(maps[:1], cameras[:1]), cameras[:1], xy)[1]
    both = network.render(network.sources(maps, cameras), cameras[:1], xy)[1]
    torch.testing.assert_close(found.logits, alone.logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(both.logits, alone.logits, rtol=1e-3)


def test_colours_that_masks_leave_out_are_no_loss_of_viewseg_small(viewseg_small_network: ViewsegSmallNetwork) -> None:
    sample, masks = sample_of_the_wall(3, SIZE), random_masks(4)
    sources = replace(sample.sources, masks=masks[:3])
    targets = replace(sample.targets, masks=masks[3:], labels=sample.targets.labels.masked_fill(~masks[3:], -1))
    generator = torch.Generator().manual_seed(0)
    predicted = predict(viewseg_small_network, sources, targets.cameras, SIZE, 16, generator)

    def losses(images: Tensor) -> dict[str, float]:
        changed = TargetSample(sources, replace(targets, images=images))
        found = prediction_losses(viewseg_small_network, predicted, changed, SmallLossWeights())
        # What the encoder says of the image itself sees around the edge of a mask.
        return {name: float(loss.detach()) for name, loss in found.items() if name != "source_semantic_loss"}

    # Rays blend four pixels, so that one at the edge of a mask reads beyond it.
    inner = F.max_pool2d((~masks[3:]).float(), 3, 1, 1) == 0
    outer = F.max_pool2d(masks[3:].float(), 3, 1, 1) == 0
    images = targets.images
    before = losses(images)
    assert losses(torch.where(outer[:, None], 1 - images, images)) == before
    inside = losses(torch.where(inner[:, None], 1 - images, images))
    assert all(inside[name] != before[name] for name in ("color_loss", "field_color_loss"))


def test_the_error_of_colours_is_a_mean_over_pixels_of_which_all_parts_are_used() -> None:
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand(2, 3, 4, 6, generator=generator, requires_grad=True)
    frames, masks = sample_of_the_wall(2, SIZE).sources, random_masks(2)
    masks[0, 3, 5] = False
    errors = []
    for image in range(2):
        for row in range(4):
            for column in range(6):
                block = (image, slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8))
                if bool(masks[block].all()):
                    truth = frames.images[image][:, block[1], block[2]].mean(dim=(1, 2))
                    errors.append((colors[image, :, row, column] - truth).square().mean())
    expected = torch.stack(errors).mean()
    found = image_color_loss(colors, replace(frames, masks=masks))
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(loss, colors, retain_graph=True)[0] for loss in (found, expected)]
    torch.testing.assert_close(*slopes)
    torch.testing.assert_close(
        image_color_loss(colors, frames), image_color_loss(colors, replace(frames, masks=masks | True))
    )
