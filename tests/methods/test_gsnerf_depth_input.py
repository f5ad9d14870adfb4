"""Depth of the sources as an input of `gsnerf`: off by default, and a channel of the coarsest volumes."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras
from semantic_ns.methods.gsnerf.encoder import EncodedViews
from semantic_ns.methods.gsnerf.method import gsnerf
from semantic_ns.methods.gsnerf.network import PublishedNetwork, RenderOptions
from semantic_ns.methods.gsnerf.volumes import CascadedVolumes, DepthRange, LinearPlanes, depth_hats
from semantic_ns.multi_view.convolutions import CostRegularizer
from support.ring_of_views import cameras_before_a_wall

BOUNDS = DepthRange(0.5, 4.0)


def encoded_views(count: int, size: tuple[int, int] = (8, 8)) -> EncodedViews:
    generator = torch.Generator().manual_seed(0)
    levels = tuple(
        torch.rand(count, 8 << level, size[0] >> level, size[1] >> level, generator=generator) for level in range(3)
    )
    images, classes = torch.rand(count, 3, *size, generator=generator), torch.rand(count, 5, *size, generator=generator)
    return EncodedViews(images, (levels[0], levels[1], levels[2]), classes, classes)


def hats_slowly(depth: Tensor, first: Tensor, spacing: float, count: int) -> Tensor:
    """For each pixel the plane below its depth and the one above share 1 by how near they are."""
    views, height, width = first.shape
    found = torch.zeros(views, count, height, width)
    for view in range(views):
        for row in range(height):
            for column in range(width):
                rows, columns = depth.shape[1:]
                known = float(
                    depth[view, (2 * row + 1) * rows // (2 * height), (2 * column + 1) * columns // (2 * width)]
                )
                if known == 0:
                    continue
                place = (known - float(first[view, row, column])) / spacing
                below = math.floor(place)
                for plane, share in ((below, below + 1 - place), (below + 1, place - below)):
                    if 0 <= plane < count:
                        found[view, plane, row, column] = share
    return found


def test_known_depth_is_shared_by_the_two_planes_around_it() -> None:
    generator = torch.Generator().manual_seed(1)
    depth = 0.2 + 4.5 * torch.rand(2, 12, 20, generator=generator)
    depth[torch.rand(depth.shape, generator=generator) < 0.3] = 0
    first = 0.5 + 0.3 * torch.rand(2, 3, 5, generator=generator)
    planes = LinearPlanes(first, 0.25, 12)
    found = depth_hats(depth, planes)
    torch.testing.assert_close(found, hats_slowly(depth, first, 0.25, 12), atol=1e-5, rtol=0)
    assert int((found > 0).sum(dim=1).max()) == 2
    known = depth[:, 2::4, 2::4]
    inside = (known > first) & (known < first + planes.extent)
    torch.testing.assert_close(found.sum(dim=1)[inside], torch.ones(int(inside.sum())), atol=1e-5, rtol=0)
    assert not found.sum(dim=1)[known == 0].any()
    # The mean of the planes, weighted by the hat, is the depth itself.
    back = (found * planes.depths()).sum(dim=1)[inside]
    torch.testing.assert_close(back, known[inside], atol=1e-4, rtol=0)


def _first_layer(volumes: CascadedVolumes, level: int) -> nn.Conv3d:
    regularizer = volumes.regularizers[level]
    assert isinstance(regularizer, CostRegularizer)
    layer = regularizer.first[0]
    assert isinstance(layer, nn.Conv3d)
    return layer


def volumes_and_depth() -> tuple[CascadedVolumes, EncodedViews, ViewCameras, Tensor]:
    torch.manual_seed(0)
    depth = 0.6 + 3 * torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(3))
    return CascadedVolumes(takes_depth=True).eval(), encoded_views(2), cameras_before_a_wall(2), depth


@torch.no_grad()
def test_depth_changes_the_geometry_of_its_own_source_and_unknown_depth_is_no_depth() -> None:
    volumes, encoded, cameras, depth = volumes_and_depth()
    without = volumes(encoded, cameras, BOUNDS)
    unknown = volumes(encoded, cameras, BOUNDS, torch.zeros_like(depth))
    assert all(torch.equal(one.depth, other.depth) for one, other in zip(without, unknown, strict=True))
    depth[0] = 0
    found = volumes(encoded, cameras, BOUNDS, depth)
    torch.testing.assert_close(found[2].depth[0], without[2].depth[0], atol=1e-5, rtol=0)
    assert not torch.allclose(found[2].depth[1], without[2].depth[1], atol=1e-3)


def test_the_weights_of_the_channel_are_trained_by_depth_alone() -> None:
    volumes, encoded, cameras, depth = volumes_and_depth()
    first = _first_layer(volumes, 2)
    for given, is_trained in ((depth, True), (None, False)):
        volumes.zero_grad()
        volumes(encoded, cameras, BOUNDS, given)[2].depth.sum().backward()
        assert first.weight.grad is not None
        assert bool(first.weight.grad[:, 8].any()) is is_trained
        assert bool(first.weight.grad[:, :8].any())


def test_the_published_configuration_has_no_depth_input() -> None:
    config = gsnerf.config.pipeline.model
    assert config.depth_input is False  # pyright: ignore[reportAttributeAccessIssue]
    published, with_depth = PublishedNetwork(20), PublishedNetwork(20, RenderOptions(depth_input=True))
    sizes = [sum(parameter.numel() for parameter in one.parameters()) for one in (published, with_depth)]
    assert sizes[0] == 2_127_886
    assert sizes[1] - sizes[0] == 27 * 8
    assert [_first_layer(published.volumes, level).in_channels for level in range(3)] == [8, 8, 8]
    assert [_first_layer(with_depth.volumes, level).in_channels for level in range(3)] == [8, 8, 9]


@torch.no_grad()
def test_without_the_option_depth_is_not_looked_at() -> None:
    torch.manual_seed(0)
    _, encoded, cameras, depth = volumes_and_depth()
    volumes = CascadedVolumes().eval()
    found, expected = volumes(encoded, cameras, BOUNDS, depth), volumes(encoded, cameras, BOUNDS)
    assert all(torch.equal(one.depth, other.depth) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("source", ["scene-or-stereo", "stereo", "none"])
def test_depth_of_another_source_in_training_than_in_scored_scenes_is_refused(source: str) -> None:
    pipeline: Any = copy.deepcopy(gsnerf.config.pipeline)
    pipeline.datamanager.depth = source
    pipeline.settle()
    pipeline.model.depth_input = True
    with pytest.raises(SceneError, match=f"depth scene with .* found {source}"):
        pipeline.settle()
    pipeline.datamanager.depth = "scene"
    pipeline.settle()
