"""`viewseg` carries labels only to points that the source truly sees: inside its image, used, and not hidden."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras, pixel_centres
from semantic_ns.many_scenes.views import SceneViews
from semantic_ns.methods.source_views import ChosenSources
from semantic_ns.methods.viewseg.method import viewseg
from support.ring_of_views import bilinear, pixel_of, world_point

SOURCES = torch.tensor([0, 2])
HIDDEN = 1.15
"""A point is hidden behind the surface from this multiple of its depth on."""


@pytest.fixture(scope="module")
def model(nerfstudio_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Without training: its depth is a guess, before and behind the surfaces of the sources."""
    config: Any = copy.deepcopy(viewseg.config)
    config.output_dir, config.vis, config.machine.device_type = tmp_path_factory.mktemp("run"), "tensorboard", "cpu"
    config.pipeline.datamanager.data, config.pipeline.datamanager.max_image_width = nerfstudio_scene, 16
    options = config.pipeline.model
    options.num_coarse_samples, options.num_fine_samples = 6, 4
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer.pipeline.model.eval()


def render(model: Any, views: SceneViews, carries: bool = True) -> Any:
    model.config.use_source_labels = carries
    with torch.no_grad():
        return model.render_image(ChosenSources(None, views, SOURCES), views.cameras[1:2], views.size)


def nearest_depth(surface: Tensor, x: float, y: float) -> float:
    """Depth of the pixel in which image coordinates lie."""
    rows, columns = surface.shape
    return float(surface[min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)])


def smooth_depth(surface: Tensor, x: float, y: float) -> float:
    """Depth between pixel centres at image coordinates; beyond the last ones as there."""
    rows, columns = surface.shape
    column, row = min(max(x * columns - 0.5, 0), columns - 1), min(max(y * rows - 0.5, 0), rows - 1)
    return float(bilinear(surface[None], column, row)[0])


def seen_slowly(
    views: SceneViews, depth: Tensor, surfaces: Tensor, depth_at: Callable[[Tensor, float, float], float]
) -> tuple[Tensor, Tensor]:
    """Which sources see the pixels of a target, and which have them in their image, hidden or not; point by point."""
    size, target = views.size, views.cameras[1:2]
    seen = torch.zeros(len(SOURCES), *size, dtype=torch.bool)
    inside = torch.zeros_like(seen)
    for number, frame in enumerate(SOURCES.tolist()):
        camera = views.cameras[frame : frame + 1]
        for row in range(size[0]):
            for column in range(size[1]):
                point = world_point(target, column, row, float(depth[row, column]), size)
                at_column, at_row, z = pixel_of(camera, point, size)
                x, y = (at_column + 0.5) / size[1], (at_row + 0.5) / size[0]
                if z > 1e-3 and 0 <= x <= 1 and 0 <= y <= 1:
                    inside[number, row, column] = True
                    seen[number, row, column] = z < HIDDEN * depth_at(surfaces[number], x, y)
    return seen, inside


def assert_labels_are_carried_where(model: Any, views: SceneViews, seen: Tensor) -> None:
    """Logits are those of the network wherever no source with a label sees the point, and others elsewhere."""
    own, carried = render(model, views, carries=False), render(model, views)
    assert bool((own.is_seen.bool() == seen.any(dim=0)).float().mean() > 0.98)  # rounding at the edges of pixels
    changed = (own.logits != carried.logits).any(dim=-1)
    assert not bool((changed & ~own.is_seen.bool()).any())
    assert bool(changed.any())


def test_a_label_does_not_pass_through_the_surface_of_a_depth_image(model: Any) -> None:
    views = model.shelf.sources().whole()
    assert views.depths_m is not None
    seen, inside = seen_slowly(views, render(model, views).depth_m, views.depths_m[SOURCES], nearest_depth)
    assert 0 < int(seen.sum()) < int(inside.sum())
    assert_labels_are_carried_where(model, views, seen)


def test_without_depth_images_a_label_does_not_pass_through_what_is_rendered_of_the_source(model: Any) -> None:
    views = replace(model.shelf.sources().whole(), depths_m=None)
    seen, inside = seen_slowly(views, render(model, views).depth_m, rendered_surfaces(model, views), smooth_depth)
    assert 0 < int(seen.sum()) < int(inside.sum())
    assert_labels_are_carried_where(model, views, seen)


def rendered_surfaces(model: Any, views: SceneViews) -> Tensor:
    """Depth of the sources by the network, at a quarter of their resolution."""
    frames = views.colors(SOURCES)
    cameras: ViewCameras = views.cameras[SOURCES]
    rows, columns = (length // 4 for length in views.size)
    xy = pixel_centres(rows, columns).reshape(-1, 2)
    with torch.no_grad():
        network = model.network
        maps = torch.cat([network.encoder(frame[None]) for frame in frames])
        sources = network.sources(maps, cameras)
        depths = [network.render(sources, cameras[n : n + 1], xy)[1].depth for n in range(len(SOURCES))]
    return torch.stack(depths).view(len(SOURCES), rows, columns)


def test_a_label_under_a_mask_is_carried_nowhere(model: Any) -> None:
    views = model.shelf.sources().whole()
    masked = replace(views, masks=torch.zeros_like(views.labels, dtype=torch.bool))
    own, carried = render(model, masked, carries=False), render(model, masked)
    assert not bool(own.is_seen.any())
    assert torch.equal(own.logits, carried.logits)
