"""The network of `viewseg`: from images and cameras of K sources to colour, classes and depth of rays of a target.

Qian, Kirillov, Ravi, Chaplot, Johnson, Fouhey, Gkioxari: Recognizing Scenes from Novel Viewpoints, arXiv 2112.01520;
sizes that the paper does not give are those of its released code.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.geometry.views import NEAREST_M, SeenAt, ViewCameras, are_used
from semantic_ns.methods.viewseg.compat import Compat
from semantic_ns.methods.viewseg.encoder import DeepLabEncoder
from semantic_ns.methods.viewseg.field import FieldValues, PointInputs, ViewsegField, position_code
from semantic_ns.rendering import composite
from semantic_ns.sampling.point_samples import LAST_INTERVAL, intervals_between, point_weights, refined_distances


@dataclass(frozen=True)
class RenderOptions:
    """How the network renders.

    Attributes:
        near: planar depth of the first sample in metres.
        far: planar depth of the last sample in metres.
        num_coarse: samples of the coarse pass.
        num_fine: samples that the fine pass adds.
        uses_directions: whether the field knows the direction of the ray.
        compat: restored defects.
    """

    near: float = 0.1
    far: float = 20.0
    num_coarse: int = 64
    num_fine: int = 128
    uses_directions: bool = True
    compat: Compat = field(default_factory=Compat)

    @property
    def num_added(self) -> int:
        """Samples that the fine pass really adds."""
        return self.num_coarse if self.compat.fewer_fine_samples else self.num_fine


@dataclass(frozen=True, eq=False)
class Sources:
    """K sources of a target.

    Attributes:
        cameras: their cameras.
        coarse: feature maps as the coarse field reads them.
        fine: feature maps as the fine field reads them.
        masks: which pixels of the sources are used; None for all.
    """

    cameras: ViewCameras
    coarse: Float[Tensor, "views projected h4 w4"]
    fine: Float[Tensor, "views projected h4 w4"]
    masks: Bool[Tensor, "views height width"] | None = None


@dataclass(frozen=True, eq=False)
class RenderedRays:
    """What R rays of a target show in one pass.

    Attributes:
        rgb: colour.
        logits: class logits.
        depth: planar depth, metres.
        weights: rendering weights.
        depths: planar depth of the samples, metres.
    """

    rgb: Float[Tensor, "rays 3"]
    logits: Float[Tensor, "rays classes"]
    depth: Float[Tensor, "rays"]
    weights: Float[Tensor, "rays samples"]
    depths: Float[Tensor, "rays samples"]


def points_in_views(
    cameras: ViewCameras, points: Float[Tensor, "*points 3"]
) -> tuple[Float[Tensor, "views *points 3"], SeenAt]:
    """Points of the world in the axes of each camera, and where its image has them.

    Behind a camera image coordinates are those of the mirrored point, which the released code reads; the denominator
    alone is kept from 0.
    """
    views = [1] * (points.dim() - 1)
    to_view = torch.linalg.inv(cameras.c2w).to(points.dtype)
    rotations = to_view[:, :3, :3].mT.reshape(-1, *views[1:], 3, 3) if len(views) > 1 else to_view[:, :3, :3].mT
    local = points @ rotations + to_view[:, :3, 3].reshape(-1, *views, 3)
    z = local[..., 2]
    fx, fy, cx, cy = (part.reshape(-1, *views) for part in cameras.intrinsics.to(points.dtype).unbind(-1))
    divisor = torch.where(z.abs() < NEAREST_M, NEAREST_M, z)
    xy = torch.stack([fx * local[..., 0] / divisor + cx, fy * local[..., 1] / divisor + cy], dim=-1)
    is_inside = ((xy >= 0) & (xy <= 1)).all(dim=-1)
    return local, SeenAt(xy, z, (z > NEAREST_M) & is_inside)


def read_maps(
    maps: Float[Tensor, "views channels height width"], xy: Float[Tensor, "views points 2"], is_aligned: bool = False
) -> Float[Tensor, "views points channels"]:
    """Maps at image coordinates, bilinear; 0 outside.

    Args:
        maps: maps of each view.
        xy: image coordinates in each.
        is_aligned: whether the first and the last pixel centre are taken for the edges of the image.
    """
    # Far outside, coordinates can be so large that their fractions are lost.
    grid = (2 * xy - 1).clamp(-4, 4)[:, None]
    return F.grid_sample(maps, grid, padding_mode="zeros", align_corners=is_aligned)[:, :, 0].mT


class ViewsegNetwork(nn.Module):
    """ViewSeg at its published sizes, for any number of sources.

    Args:
        num_classes: number of classes, without void.
        options: how it renders.
        is_frozen: whether batch norms of the encoder keep their statistics.
    """

    def __init__(self, num_classes: int, options: RenderOptions | None = None, is_frozen: bool = False) -> None:
        super().__init__()
        self.options = options = options or RenderOptions()
        self.num_classes, compat = num_classes, options.compat
        self.encoder = DeepLabEncoder(is_frozen)
        self.coarse, self.fine = (
            ViewsegField(num_classes, options.uses_directions, compat.released_wiring, not compat.unmasked_views)
            for _ in range(2)
        )

    def sources(
        self,
        maps: Float[Tensor, "views 256 h4 w4"],
        cameras: ViewCameras,
        masks: Bool[Tensor, "views height width"] | None = None,
    ) -> Sources:
        """Sources of a target from the features of their images; what masks leave out is seen by none of them."""
        return Sources(cameras, self.coarse.project(maps), self.fine.project(maps), masks)

    def render(
        self,
        sources: Sources,
        camera: ViewCameras,
        xy: Float[Tensor, "rays 2"],
        generator: torch.Generator | None = None,
    ) -> tuple[RenderedRays, RenderedRays]:
        """Rays of a target camera in the coarse and in the fine pass.

        Args:
            sources: its sources.
            camera: the camera.
            xy: image coordinates of the rays.
            generator: draws the samples; without one they stand in the middle of their parts, and at quantiles.
        """
        options = self.options

        def places(count: int) -> Tensor:
            middles = torch.full((len(xy), count), 0.5)
            inside = middles if generator is None else torch.rand((len(xy), count), generator=generator)
            return ((torch.arange(count) + inside) / count).to(xy)

        depths = options.near + (options.far - options.near) * places(options.num_coarse)
        coarse = self._pass(self.coarse, sources, sources.coarse, camera, xy, depths)
        more = refined_distances(depths, coarse.weights.detach(), places(options.num_added))
        return coarse, self._pass(self.fine, sources, sources.fine, camera, xy, more)

    def _pass(
        self,
        field: ViewsegField,
        sources: Sources,
        maps: Tensor,
        camera: ViewCameras,
        xy: Float[Tensor, "rays 2"],
        depths: Float[Tensor, "rays samples"],
    ) -> RenderedRays:
        directions = camera.ray_directions(xy[None])[0]
        points = camera.centres.to(xy.dtype) + directions[:, None] * depths[..., None]
        values = self._at(field, sources, maps, points.flatten(0, 1), directions.repeat_interleave(depths.shape[1], 0))
        density, rgb, logits = (
            part.unflatten(0, depths.shape) for part in (values.raw_density, values.rgb, values.logits)
        )
        last = torch.full_like(depths[:, :1], LAST_INTERVAL)
        weights = point_weights(density, intervals_between(depths, last))
        depth = composite(weights, depths[..., None])[:, 0]
        return RenderedRays(composite(weights, rgb), composite(weights, logits), depth, weights[..., 0], depths)

    def _at(
        self,
        field: ViewsegField,
        sources: Sources,
        maps: Tensor,
        points: Float[Tensor, "points 3"],
        directions: Float[Tensor, "points 3"],
    ) -> FieldValues:
        cameras = sources.cameras
        local, at = points_in_views(cameras, points)
        code = position_code(local)
        if self.options.uses_directions:
            code = torch.cat([code, directions @ cameras.c2w[:, :3, :3].to(points.dtype)], dim=-1)
        features = read_maps(maps, at.xy, self.options.compat.aligned_corners)
        return field(PointInputs(code, features, at.is_seen & are_used(sources.masks, at.xy)))
