"""The sweep over the training poses, and the maps of what it has shown."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle

from semantic_ns.datasets.training_depth import TrainingDepth
from semantic_ns.geometry.rays import FastRayGenerator
from semantic_ns.surface.maps import SurfaceMaps, maps_of_known_depth, render_maps, share_of_known
from semantic_ns.surface.sweep import normals_of, sweep, sweep_stride

SIZES = [(7, 9), (12, 5), (1, 4)]


def cameras_of(sizes: list[tuple[int, int]], seed: int = 0) -> Cameras:
    """Cameras anywhere that look anywhere, with images of these heights and widths."""
    g = torch.Generator().manual_seed(seed)
    turns = torch.linalg.qr(torch.randn(len(sizes), 3, 3, generator=g))[0]
    poses = torch.cat([turns, torch.randn(len(sizes), 3, 1, generator=g)], dim=-1)
    heights, widths = (torch.tensor(lengths) for lengths in zip(*sizes, strict=True))
    return Cameras(poses, 8.0, 8.0, widths / 2, heights / 2, widths[:, None], heights[:, None])


class Floor(torch.nn.Module):
    """Shows the plane z = -3 in the colours of its points, and cannot be asked while it trains."""

    def get_outputs_for_camera_ray_bundle(self, rays: RayBundle) -> dict[str, torch.Tensor]:
        assert not self.training
        depth = (-3 - rays.origins[..., 2:]) / rays.directions[..., 2:]
        return {"depth": depth, "rgb": rays.origins + rays.directions * depth}


FLOOR: Any = Floor()
"""As a model: it can be asked for no more than a sweep asks for."""


def swept(sizes: list[tuple[int, int]], num_rays: int, describe: Any, model: Any = None) -> tuple[int, list[Any]]:
    cameras = cameras_of(sizes)
    return sweep(FLOOR if model is None else model, FastRayGenerator(cameras), cameras, num_rays, describe)


@pytest.mark.parametrize("num_rays", [1, 5, 30, 126, 127, 10_000])
def test_the_stride_is_the_smallest_that_leaves_no_more_rays_than_asked_for(num_rays: int) -> None:
    total = sum(height * width for height, width in SIZES)
    enough = [n for n in range(1, 20) if total / n**2 <= num_rays]
    assert sweep_stride(SIZES, num_rays) == min(enough)


@pytest.mark.parametrize("num_rays", [15, 40, 500])
def test_a_sweep_goes_through_every_nth_row_and_column_of_images_of_any_size(num_rays: int) -> None:
    stride, pixels = swept(SIZES, num_rays, lambda pixels, rays: pixels.tolist())
    assert stride == sweep_stride(SIZES, num_rays)
    for frame, (height, width) in enumerate(SIZES):
        expected = [[[frame, r, c] for c in range(0, width, stride)] for r in range(0, height, stride)]
        assert pixels[frame] == expected


def test_the_rays_of_a_sweep_are_those_of_its_pixels() -> None:
    cameras = cameras_of(SIZES)
    _, frames = sweep(FLOOR, FastRayGenerator(cameras), cameras, 40, lambda pixels, rays: (pixels, rays))
    for frame, (pixels, rays) in enumerate(frames):
        assert rays.shape == pixels.shape[:2]
        all_rays = cameras[frame : frame + 1].generate_rays(camera_indices=0)
        at_pixels = all_rays.directions[pixels[..., 1], pixels[..., 2]]
        torch.testing.assert_close(rays.directions, at_pixels)


@pytest.mark.parametrize("training", [True, False])
def test_a_sweep_leaves_the_model_in_its_mode_and_gradients_on_even_if_it_fails(training: bool) -> None:
    model = Floor().train(training)

    def describe(pixels: Any, rays: Any) -> None:
        assert not model.training
        assert not torch.is_grad_enabled()
        if len(modes) == 1:
            raise RuntimeError

    modes = []
    for _ in range(2):
        try:
            swept(SIZES, 40, describe, model)
            modes.append("done")
        except RuntimeError:
            modes.append("failed")
        assert model.training == training
        assert torch.is_grad_enabled()
    assert modes == ["done", "failed"]


def test_maps_show_where_rays_end_and_how_the_surface_is_turned() -> None:
    cameras = cameras_of([(12, 16)] * 3)
    generator = FastRayGenerator(cameras)
    maps = render_maps(FLOOR, generator, cameras, 3 * 12 * 16 // 4)
    assert maps.stride == 2
    assert maps.depths.shape == (3, 6, 8)
    pixels = maps.pixels_of(np.arange(maps.depths.size))
    assert pixels.tolist() == [[f, r, c] for f in range(3) for r in range(0, 12, 2) for c in range(0, 16, 2)]
    assert maps.pixels_of(np.array([50])).tolist() == [pixels[50].tolist()]
    rays = generator(torch.from_numpy(pixels))
    ends = (rays.origins + rays.directions * torch.from_numpy(maps.depths).view(-1, 1)).numpy()
    np.testing.assert_allclose(ends[:, 2], -3, atol=1e-4)
    np.testing.assert_allclose(maps.colors.reshape(-1, 3), ends, rtol=1e-4, atol=1e-4)
    shown = normals_of(torch.from_numpy(maps.colors[0])).numpy()
    np.testing.assert_allclose(maps.normals[0], shown, atol=1e-5)


def test_known_depth_stands_in_for_the_rendered_one_and_turns_the_normals() -> None:
    cameras = cameras_of([(6, 8)])
    rays = FastRayGenerator(cameras)
    rendered = render_maps(FLOOR, rays, cameras, 48)
    behind = torch.from_numpy(rendered.depths[0]) + 1.0  # a surface that is turned otherwise
    behind[0, 0] = 0.0
    everywhere = torch.ones(behind.numel(), dtype=torch.bool)
    known = TrainingDepth(behind.reshape(-1), everywhere, torch.tensor([0]), torch.tensor([8]))
    maps = render_maps(FLOOR, rays, cameras, 48, known)
    expected = behind.clone()
    expected[0, 0] = float(rendered.depths[0, 0, 0])
    torch.testing.assert_close(torch.from_numpy(maps.depths[0]), expected)
    np.testing.assert_array_equal(maps.colors, rendered.colors)
    assert not np.allclose(maps.normals, rendered.normals, atol=1e-2)


@pytest.mark.parametrize(("unknown", "stride"), [(0.0, 1), (0.3, 1), (0.6, 2), (1.0, 2)])
def test_of_known_depth_only_the_unknown_pixels_are_rendered_and_colours_are_those_of_the_images(
    unknown: float, stride: int
) -> None:
    cameras = cameras_of([(24, 32)] * 2)
    rays = FastRayGenerator(cameras)
    rendered = render_maps(FLOOR, rays, cameras, 2 * 24 * 32)
    images, g = torch.rand(2, 24, 32, 3), torch.Generator().manual_seed(0)
    depths = torch.from_numpy(rendered.depths).abs() + 1.0
    # Blocks of 8 x 8 pixels: the share is told by every eighth pixel.
    blocks = torch.rand(2, 3, 4, generator=g).flatten().argsort().reshape(2, 3, 4) < round(unknown * 24)
    is_unknown = blocks.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    everywhere = torch.ones(depths.numel(), dtype=torch.bool)
    values = depths.masked_fill(is_unknown, 0).reshape(-1)
    known = TrainingDepth(values, everywhere, torch.tensor([0, 24 * 32]), torch.tensor([32, 32]))
    assert share_of_known(known, cameras) == pytest.approx(1 - round(unknown * 24) / 24)
    asked: list[int] = []

    def counted(bundle: RayBundle) -> dict[str, torch.Tensor]:
        asked.append(bundle.origins[..., 0].numel())
        return FLOOR.get_outputs_for_camera_ray_bundle(bundle)

    model: Any = SimpleNamespace(
        training=True, eval=FLOOR.eval, train=FLOOR.train, get_outputs_for_camera_ray_bundle=counted
    )
    # Half of the pixels may be rendered: up to a half may be unknown before fewer pixels are looked at.
    maps = maps_of_known_depth(model, rays, cameras, 24 * 32, known, lambda frame: images[frame])
    assert maps.stride == stride
    here = slice(None), slice(None, None, stride), slice(None, None, stride)
    assert sum(asked) == int(is_unknown[here].sum())
    expected = torch.where(is_unknown, torch.from_numpy(rendered.depths), depths)[here]
    torch.testing.assert_close(torch.from_numpy(maps.depths), expected)
    np.testing.assert_array_equal(maps.colors, images[here].numpy())
    assert maps.normals.shape == maps.colors.shape
    np.testing.assert_allclose(np.linalg.norm(maps.normals, axis=-1), 1, atol=1e-5)


def test_normals_of_a_tilted_plane_are_those_of_the_plane() -> None:
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    points = torch.stack([columns, rows, 0.5 * columns - 0.25 * rows], dim=-1)
    expected = torch.nn.functional.normalize(torch.tensor([-0.5, 0.25, 1.0]), dim=0)
    assert torch.allclose(normals_of(points).abs(), expected.abs().expand(5, 6, 3), atol=1e-5)


def maps_of_two_colors() -> SurfaceMaps:
    """A frame of 4x4 map pixels, left half near and dark, right half far and bright."""
    left = np.arange(4) < 2
    depths = np.where(left, 1.0, 3.0)[None, None].repeat(4, 1).astype(np.float32)
    colors = np.where(left, 0.1, 0.9)[None, None, :, None].repeat(4, 1).repeat(3, 3).astype(np.float32)
    return SurfaceMaps(2, depths, colors, np.tile(np.array([0, 0, 1], np.float32), (1, 4, 4, 1)))


def test_a_pixel_on_an_edge_takes_the_depth_of_the_side_it_looks_like() -> None:
    maps = maps_of_two_colors()
    pixels = np.array([[0, 3, 3], [0, 3, 3], [0, 0, 0], [0, 7, 7]])
    colors = np.array([[0.2] * 3, [0.8] * 3, [0.1] * 3, [0.9] * 3], np.float32)
    depths, normals = maps.at(pixels, colors)
    assert depths.tolist() == [1, 3, 1, 3]
    assert normals.shape == (4, 3)


def test_the_pixel_of_the_maps_is_that_of_the_four_around_whose_colour_and_place_are_nearest() -> None:
    g, stride = np.random.default_rng(1), 3
    depths = np.arange(2 * 4 * 5, dtype=np.float32).reshape(2, 4, 5)  # each its own number
    maps = SurfaceMaps(stride, depths, g.random((2, 4, 5, 3), np.float32), np.zeros((2, 4, 5, 3), np.float32))
    pixels = np.stack([g.integers(0, 2, 200), g.integers(0, 12, 200), g.integers(0, 15, 200)], axis=-1)
    colors = g.random((200, 3), np.float32)
    found = maps.at(pixels, colors)[0]
    for (frame, row, column), color, depth in zip(pixels, colors, found, strict=True):
        scores = {}
        for r, c in np.ndindex(4, 5):
            if r - row // stride in (0, 1) and c - column // stride in (0, 1):
                away = ((r * stride - row) ** 2 + (c * stride - column) ** 2) / stride**2
                scores[depths[frame, r, c]] = 1e-3 * away + ((maps.colors[frame, r, c] - color) ** 2).sum()
        assert depth == min(scores, key=lambda place: scores[place])
