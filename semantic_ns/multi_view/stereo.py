"""Depth of the frames of a scene from their colours alone, by multi-view stereo.

Frames are swept over planes (Collins 1996), costs are aggregated by semi-global matching (Hirschmueller 2008), and
depth counts only where other frames confirm it. What is left teaches geometry where a scene has no depth images.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.views import (
    NEAREST_M,
    ViewCameras,
    pixel_centres,
    reproject,
    sample_images,
    sweep_matrices,
)
from semantic_ns.many_scenes.scene_frames import AnyViews, SceneFrames
from semantic_ns.many_scenes.source_selection import are_same_image, seen_probes
from semantic_ns.many_scenes.views import SceneViews

DepthSource = Literal["scene-or-stereo", "scene", "stereo", "none"]
"""Where the depth that trains geometry comes from."""
_MOST_PLANES = 256
"""Each costs as much time and memory as the others."""


@dataclass(frozen=True)
class StereoSettings:
    """Settings of multi-view stereo.

    Attributes:
        width: images are made smaller to this width, in pixels.
        num_neighbours: frames with which a frame is compared.
        num_planes: planes, equally spaced in inverse depth.
        near: nearest plane in metres.
        far: farthest plane in metres.
        color_weight: weight of differences of colour, beside those of gradients.
        largest_cost: at this cost differences are cut off, as those of occluded points.
        small_step: cost of a neighbour that lies one plane away.
        large_step: cost of a neighbour that lies farther away, where colours do not change.
        edge: change of colour that halves the cost of a large step.
        tolerance: depth is confirmed by a frame that has the same depth there, up to this share.
        num_confirming: frames that must confirm a depth.
    """

    width: int = 96
    num_neighbours: int = 16
    num_planes: int = 64
    near: float = 0.35
    far: float = 8.0
    color_weight: float = 1.0
    largest_cost: float = 0.15
    small_step: float = 0.005
    large_step: float = 0.12
    edge: float = 0.05
    tolerance: float = 0.05
    num_confirming: int = 2

    def within(self, near: float, far: float) -> "StereoSettings":
        """The settings for other depths, in metres.

        Planes are as close as before, in inverse depth, or closer, as far as 256 of them are enough.
        """
        share = (1 / near - 1 / far) / (1 / self.near - 1 / self.far)
        needed = 1 + math.ceil(share * (self.num_planes - 1) - 1e-6)
        return replace(self, near=near, far=far, num_planes=max(self.num_planes, min(needed, _MOST_PLANES)))

    def depths(self, device: torch.device | str = "cpu") -> Float32[Tensor, "planes"]:
        """Depth of the planes in metres, from near to far."""
        shares = torch.linspace(0, 1, self.num_planes, device=device)
        return 1 / ((1 - shares) / self.near + shares / self.far)


def neighbours(cameras: ViewCameras, settings: StereoSettings) -> list[Int64[Tensor, "chosen"]]:
    """Frames with which each frame is compared: those that see most of it, from more than a hair's breadth away.

    The share of probe points that a frame sees counts, times a factor that falls from 1 where the lines of sight to a
    point at 2.5 m differ by less than 2 degrees (no parallax) or more than 30 degrees (another appearance).
    """
    chosen = []
    for number in range(len(cameras)):
        camera = cameras[number : number + 1]
        seen = seen_probes(camera, cameras, settings.near, settings.far).float().mean(dim=1).double()
        angle = torch.rad2deg((cameras.centres - camera.centres).norm(dim=-1) / 2.5)
        score = seen * torch.exp(-(((angle - 10) / 12) ** 2)).where(angle > 2, angle / 4)
        score[are_same_image(camera, cameras)] = -1
        best = score.argsort(descending=True, stable=True)[: settings.num_neighbours]
        chosen.append(best[score[best] > 0])
    return chosen


def matching_costs(
    maps: Float[Tensor, "frames channels height width"],
    cameras: ViewCameras,
    number: int,
    others: Int64[Tensor, "others"],
    settings: StereoSettings,
) -> Float[Tensor, "planes height width"]:
    """How much the other frames disagree with one frame on each plane.

    Of the frames that see a point the better half counts, the others may be occluded there (Kang et al. 2001). Where no
    frame sees the point, it costs as much as a disagreement.

    Args:
        maps: what is compared, see :func:`compared_maps`.
        cameras: cameras of the frames.
        number: the frame.
        others: the frames with which it is compared.
        settings: settings of stereo.
    """
    depths = settings.depths(maps.device)
    height, width = maps.shape[-2:]
    xy = pixel_centres(height, width, maps.device)[None].expand(len(depths), -1, -1, -1)
    matrices = sweep_matrices(cameras[others], cameras[number : number + 1])
    at = reproject(matrices, xy, depths[:, None, None].expand(-1, height, width))
    warped = sample_images(maps[others], at.xy)
    difference = (warped - maps[number][:, None]).abs().mean(dim=1).clamp(max=settings.largest_cost)
    ranked = difference.masked_fill(~at.is_seen, torch.inf).sort(dim=0).values
    counted = (at.is_seen.sum(dim=0) + 1) // 2
    is_counted = torch.arange(len(others), device=maps.device)[:, None, None, None] < counted
    total = ranked.where(is_counted, 0.0).sum(dim=0)
    return (total / counted.clamp(min=1)).where(counted > 0, settings.largest_cost)


def compared_maps(
    images: Float[Tensor, "frames 3 height width"], color_weight: float
) -> Float[Tensor, "frames 5 height width"]:
    """What is compared between frames: weighted colours, and the gradients of grey along x and y."""
    grey = F.pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    along_x = (grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]) / 2
    along_y = (grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]) / 2
    return torch.cat([color_weight * images, along_x, along_y], dim=1)


def aggregated(
    costs: Float[Tensor, "frames planes height width"],
    images: Float[Tensor, "frames 3 height width"],
    settings: StereoSettings,
) -> Float[Tensor, "frames planes height width"]:
    """Costs along paths from the left, the right, above and below, summed (Hirschmueller 2008, equation 13).

    A step to the next plane costs `small_step`, a larger one `large_step`, less where colours change.
    """
    total = torch.zeros_like(costs)
    for axis in (2, 3):
        # [length, frames, across, planes]: a path goes along the first axis.
        cost = costs.movedim(axis, 0).movedim(2, -1).contiguous()
        colors = images.movedim(axis, 0)
        change = (colors[1:] - colors[:-1]).abs().mean(dim=2)
        large = (settings.large_step / (1 + change / settings.edge)).clamp(min=settings.small_step)[..., None]
        paths = _along(cost, large, settings.small_step) + _along(
            cost.flip(0), large.flip(0), settings.small_step
        ).flip(0)
        total += paths.movedim(-1, 2).movedim(0, axis)
    return total


def _along(
    cost: Float[Tensor, "length frames across planes"],
    large: Float[Tensor, "steps frames across 1"],
    small: float,
) -> Float[Tensor, "length frames across planes"]:
    paths = torch.empty_like(cost)
    paths[0] = cost[0]
    for place in range(1, len(cost)):
        before = paths[place - 1]
        least = before.amin(dim=-1, keepdim=True)
        best = torch.minimum(before, least + large[place - 1])
        best[..., 1:] = torch.minimum(best[..., 1:], before[..., :-1] + small)
        best[..., :-1] = torch.minimum(best[..., :-1], before[..., 1:] + small)
        paths[place] = cost[place] + best - least
    return paths


def best_depth(
    costs: Float[Tensor, "*frames planes height width"], settings: StereoSettings
) -> Float[Tensor, "*frames height width"]:
    """Depth of the cheapest plane; between planes by a parabola through the costs of its neighbours."""
    return best_depth_between(costs, settings, 0)


def best_depth_between(
    costs: Float[Tensor, "*frames planes height width"],
    settings: StereoSettings,
    first: int | Int64[Tensor, "height width"],
) -> Float[Tensor, "*frames height width"]:
    """The same where the costs are those of some planes, from the first one of each pixel on."""
    place = costs.argmin(dim=-3, keepdim=True).clamp(1, costs.shape[-3] - 2)
    before, at, after = (costs.gather(-3, place + step)[..., 0, :, :] for step in (-1, 0, 1))
    shift = (0.5 * (before - after) / (before - 2 * at + after).clamp(min=1e-9)).clamp(-0.5, 0.5)
    share = (first + place[..., 0, :, :] + shift) / (settings.num_planes - 1)
    return 1 / ((1 - share) / settings.near + share / settings.far)


def agreement(
    depths: Float[Tensor, "frames height width"],
    cameras: ViewCameras,
    number: int,
    others: Int64[Tensor, "others"],
    tolerance: float,
) -> tuple[Float[Tensor, "others height width"], Bool[Tensor, "others height width"]]:
    """What other frames say of the depth of a frame.

    Returns:
        The depth of each other frame where it should see the points of the frame, over that which they should have in
        it, and whether it agrees: up to a share of the latter; 0 is no depth.
    """
    height, width = depths.shape[1:]
    matrices = sweep_matrices(cameras[others], cameras[number : number + 1])
    at = reproject(matrices, pixel_centres(height, width, depths.device), depths[number])
    found = sample_images(depths[others][:, None], at.xy, mode="nearest")[:, 0]
    agrees = (found > 0) & ((found - at.depth).abs() <= tolerance * at.depth) & at.is_seen
    return found / at.depth.where(at.is_seen, 1.0), agrees


def num_confirming(
    depths: Float[Tensor, "frames height width"],
    cameras: ViewCameras,
    number: int,
    others: Int64[Tensor, "others"],
    tolerance: float,
) -> Int64[Tensor, "height width"]:
    """How many of the other frames have the depth that the points of a frame should have in them; 0 is no depth."""
    return agreement(depths, cameras, number, others, tolerance)[1].sum(dim=0)


def _frame_costs(
    maps: Float[Tensor, "frames channels height width"],
    images: Float[Tensor, "frames 3 height width"],
    cameras: ViewCameras,
    number: int,
    others: Int64[Tensor, "others"],
    settings: StereoSettings,
) -> Float[Tensor, "planes height width"]:
    """Aggregated costs of one frame."""
    image = images[number : number + 1]
    if not len(others):
        return image.new_full((settings.num_planes, *image.shape[-2:]), settings.largest_cost)
    if maps.is_cuda:
        costs = matching_costs(maps, cameras, number, others, settings)
        return aggregated(costs[None], image, settings)[0]
    from semantic_ns.multi_view import stereo_numba as kernels

    cost = np.empty((*image.shape[-2:], settings.num_planes), np.float32)
    matrices = sweep_matrices(cameras[others], cameras[number : number + 1]).float().numpy()
    by_pixel = maps.permute(0, 2, 3, 1).contiguous().numpy()
    largest, nearest = np.float32(settings.largest_cost), np.float32(NEAREST_M)
    first = np.zeros(cost.shape[:2], np.int64)
    kernels.swept(by_pixel, number, others.numpy(), matrices, settings.depths().numpy(), first, nearest, largest, cost)
    total = np.zeros_like(cost)
    colors = image[0].permute(1, 2, 0).contiguous().numpy()
    large, small, edge = (np.float32(value) for value in (settings.large_step, settings.small_step, settings.edge))
    kernels.aggregate(cost, colors, large, small, edge, total)
    return torch.from_numpy(total).permute(2, 0, 1)


def are_confirmed(
    depths: Float[Tensor, "frames height width"],
    cameras: ViewCameras,
    around: Sequence[Int64[Tensor, "_others"]],
    tolerance: float,
    least: int,
) -> Bool[Tensor, "frames height width"]:
    """Where so many others of the frames around each one have its depth, see :func:`num_confirming`."""
    counts = [num_confirming(depths, cameras, number, others, tolerance) for number, others in enumerate(around)]
    return (torch.stack(counts) >= least) & (depths > 0)


@torch.no_grad()
def searched_depth(
    images: Float[Tensor, "frames 3 height width"],
    cameras: ViewCameras,
    around: Sequence[Int64[Tensor, "_others"]],
    settings: StereoSettings,
) -> Float[Tensor, "frames height width"]:
    """Planar depth of frames in metres, whether others confirm it or not; 0 beyond the planes.

    Args:
        images: colours 0..1.
        cameras: cameras in metres.
        around: frames with which each frame is compared.
        settings: settings of stereo; the size of the images is taken as it is.
    """
    maps = compared_maps(images, settings.color_weight)
    found = []
    for number, others in enumerate(around):
        costs = _frame_costs(maps, images, cameras, number, others, settings)
        best = costs.argmin(dim=0)
        # What lies beyond the planes has the depth of the first or last one in all frames, which would confirm it.
        is_between = (best > 0) & (best < settings.num_planes - 1)
        found.append(best_depth(costs, settings).where(is_between, 0.0))
    return torch.stack(found)


@torch.no_grad()
def stereo_depth(
    images: Float[Tensor, "frames 3 height width"],
    cameras: ViewCameras,
    settings: StereoSettings | None = None,
    masks: Bool[Tensor, "frames height width"] | None = None,
) -> tuple[Float[Tensor, "frames height width"], Bool[Tensor, "frames height width"]]:
    """Planar depth of frames in metres, and where enough other frames confirm it.

    Args:
        images: colours 0..1.
        cameras: cameras in metres.
        settings: settings of stereo; the size of the images is taken as it is.
        masks: which pixels have a depth and confirm that of others; None for all.
    """
    settings = settings or StereoSettings()
    around = neighbours(cameras, settings)
    depths = searched_depth(images, cameras, around, settings)
    if masks is not None:
        depths = depths.where(masks, 0.0)
    return depths, are_confirmed(depths, cameras, around, settings.tolerance, settings.num_confirming)


def confirmed_depth(views: AnyViews, settings: StereoSettings) -> Float32[Tensor, "frames rows columns"]:
    """Depth by stereo of all frames of a scene, at the width of the settings; 0 where it is not confirmed."""
    size = stereo_size(views.size, settings)
    # One by one: a long scene at its full size takes gigabytes.
    numbers = torch.arange(len(views)).split(1)
    images = torch.cat([F.interpolate(views.colors(number), size, mode="area") for number in numbers])
    found = [views.masks_of(number, "cpu") for number in numbers]
    used = [F.interpolate(mask[:, None].float(), size, mode="area")[:, 0] == 1 for mask in found if mask is not None]
    depths, is_confirmed = stereo_depth(images, views.cameras, settings, torch.cat(used) if used else None)
    return depths.where(is_confirmed, 0.0)


def stereo_size(size: tuple[int, int], settings: StereoSettings) -> tuple[int, int]:
    """Height and width at which stereo sees images of a size."""
    height, width = size
    factor = min(1.0, settings.width / width)
    return max(1, round(height * factor)), round(width * factor)


def enlarged_depth(
    depths: Float32[Tensor, "frames rows columns"], size: tuple[int, int]
) -> Float32[Tensor, "frames height width"]:
    """Depth by stereo at the size of the images."""
    return F.interpolate(depths[:, None], size, mode="nearest-exact")[:, 0]


def with_stereo_depth(views: SceneViews, settings: StereoSettings | None = None) -> SceneViews:
    """The frames of a scene with depth by stereo, 0 where it is not confirmed."""
    depths = confirmed_depth(views, settings or StereoSettings())
    found = replace(views, depths_m=enlarged_depth(depths, views.size))
    return found if views.masks is None else found.masked(views.masks)


def needs_stereo(views: AnyViews, source: DepthSource) -> bool:
    """Whether depth from a source is that of stereo."""
    return source == "stereo" or (source == "scene-or-stereo" and not views.has_depth)


def with_depth_from(
    frames: SceneFrames,
    source: DepthSource,
    by_stereo: Callable[[SceneFrames], Callable[[int], Tensor]],
) -> SceneFrames:
    """The frames of a scene with depth from a source.

    Args:
        frames: the frames with the depth of the scene.
        source: the source.
        by_stereo: what reads the depth by stereo of a frame of a scene, in metres, by its number.
    """
    if source == "none":
        return replace(frames, read_depth=None)
    return replace(frames, read_depth=by_stereo(frames)) if needs_stereo(frames, source) else frames
