"""The network of `gsnerf`: from images and cameras of K sources to colour, classes and depth of rays of a target.

Chou, Huang, Liu, Wang: GSNeRF, CVPR 2024; sizes that the paper does not give are those of its released code.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras, sample_images
from semantic_ns.methods.gsnerf.compat import Compat
from semantic_ns.methods.gsnerf.encoder import EncodedViews, Encoder2D
from semantic_ns.methods.gsnerf.norms import use_batch_norm
from semantic_ns.methods.gsnerf.point_features import (
    SourceViews,
    mean_and_variance,
    see_points,
    volume_features,
)
from semantic_ns.methods.gsnerf.ray_samples import SampleRule, place_samples
from semantic_ns.methods.gsnerf.renderer import RAY_DIVISOR, ClassRenderer, ColorRenderer
from semantic_ns.methods.gsnerf.target_plane import TargetDepth, target_depth
from semantic_ns.methods.gsnerf.volumes import CascadedVolumes, DepthRange
from semantic_ns.multi_view.along_rays import alpha_weights, angle_code

_LAST_INTERVAL_M = 1e10


@dataclass(frozen=True)
class RenderOptions:
    """How the network renders.

    Attributes:
        num_samples: samples of a ray, a multiple of 8.
        sample_rule: where they stand, see `place_samples`.
        uses_intervals: whether densities are multiplied by the distance to the next sample, as in equation (3) of the
            paper; the released code leaves it out.
        num_views: number of sources that the weights are made for, if views are concatenated.
        compat: restored defects.
        depth_input: whether known depth of the sources is a channel of their coarsest volumes.
    """

    num_samples: int = 128
    sample_rule: SampleRule = "released"
    uses_intervals: bool = False
    num_views: int = 8
    compat: Compat = field(default_factory=Compat)
    depth_input: bool = False


@dataclass(frozen=True, eq=False)
class RenderedRays:
    """What R rays of a target show.

    Attributes:
        rgb: colour.
        logits: class logits at the surface.
        z: planar depth of the surface, metres.
        depth: planar depth that the samples render, metres: the sum of weights times depths.
        accumulation: sum of the weights.
        is_seen: which sources see the surface.
    """

    rgb: Float[Tensor, "rays 3"]
    logits: Float[Tensor, "rays classes"]
    z: Float[Tensor, "rays"]
    depth: Float[Tensor, "rays"]
    accumulation: Float[Tensor, "rays"]
    is_seen: Bool[Tensor, "views rays"]


class PublishedNetwork(nn.Module):
    """GSNeRF at its published sizes, for any number of sources.

    Args:
        num_classes: number of classes, without void.
        options: how it renders.

    Raises:
        SceneError: if the number of samples is no multiple of 8.
    """

    def __init__(self, num_classes: int, options: RenderOptions | None = None) -> None:
        super().__init__()
        self.options = options = options or RenderOptions()
        if options.num_samples % RAY_DIVISOR:
            raise SceneError(
                f"Expected a multiple of {RAY_DIVISOR} as --pipeline.model.num-samples, found {options.num_samples}; "
                "the network halves the samples of a ray three times."
            )
        self.num_classes, compat = num_classes, options.compat
        self.encoder = Encoder2D(num_classes, normalizes=not compat.raw_images)
        self.volumes = CascadedVolumes(compat, options.depth_input)
        self.colors = ColorRenderer()
        self.classes = ClassRenderer(num_classes, options.num_views, compat)
        if compat.batch_norm:
            use_batch_norm(self)

    def sources(
        self,
        encoded: EncodedViews,
        cameras: ViewCameras,
        bounds: DepthRange,
        masks: Bool[Tensor, "views height width"] | None = None,
        depth: Float[Tensor, "views height width"] | None = None,
    ) -> SourceViews:
        """Sources of a target from the features of their images; what masks leave out is seen by none of them.

        Known depth, in metres and 0 where unknown, is not looked at without the option `depth_input`.

        Raises:
            SceneError: if the weights are made for another number of sources.
        """
        if self.options.compat.concatenated_views and len(cameras) != self.options.num_views:
            raise SceneError(
                f"Expected {self.options.num_views} source frames, found {len(cameras)}; leave out the compat option "
                "concatenated-views, which ties the weights to one number of sources, and train again."
            )
        return SourceViews(cameras, encoded, self.volumes(encoded, cameras, bounds, depth), bounds, masks)

    def target(self, sources: SourceViews, camera: ViewCameras, size: tuple[int, int]) -> TargetDepth:
        """Depth of a target camera that renders images of a size (height, width)."""
        return target_depth(sources.used_depth, sources.cameras, camera, size, sources.bounds, self.options.compat)

    def render(
        self,
        sources: SourceViews,
        camera: ViewCameras,
        target: TargetDepth,
        xy: Float[Tensor, "rays 2"],
        generator: torch.Generator | None = None,
    ) -> RenderedRays:
        """Rays of a target camera.

        Args:
            sources: its sources.
            camera: the camera.
            target: its depth.
            xy: image coordinates of the rays.
            generator: draws the samples; without one they stand at quantiles, unless the released evaluation is asked
                for.
        """
        if generator is None and self.options.compat.random_evaluation:
            generator = torch.default_generator
        z = sample_images(target.depth[None, None], xy[None], mode="nearest")[0, 0]
        is_supported = sample_images(target.is_supported[None, None].to(z.dtype), xy[None], mode="nearest")[0, 0] > 0
        depths = place_samples(
            z, is_supported, sources.bounds, self.options.num_samples, self.options.sample_rule, generator
        )
        logits, is_seen = self._classes(sources, camera, xy, z)
        rgb, weights = self._colors(sources, camera, xy, depths)
        return RenderedRays(rgb, logits, z, (weights * depths).sum(dim=-1), weights.sum(dim=-1), is_seen)

    def _classes(self, sources: SourceViews, camera: ViewCameras, xy: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        points = see_points(sources, camera, xy, z)
        features = sources.encoded.classes
        around = sample_images(features, points.at.xy[:, :, None] + _pixel_steps(features))  # [views, c, rays, 9]
        logits = self.classes(around.permute(0, 1, 3, 2).flatten(1, 2), points.is_inside, points.is_visible)
        return logits, points.is_seen

    def _colors(self, sources: SourceViews, camera: ViewCameras, xy: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
        """Colour [rays, 3] and rendering weights [rays, samples]."""
        points = see_points(sources, camera, xy[:, None].expand(*depths.shape, 2), depths)
        volumes = volume_features(sources, points.at, self.options.compat)
        features = sample_images(sources.encoded.levels[0], points.at.xy)
        views = torch.cat([volumes, points.is_inside[:, None].to(features.dtype), features], dim=1)
        directions = camera.ray_directions(xy[None])[0]
        positions = camera.centres.to(xy.dtype) + directions[:, None] * depths[..., None]
        angles = angle_code(directions, positions - sources.cameras.centres.to(xy.dtype)[:, None, None])
        density, shares = self.colors(views, mean_and_variance(features), angles, points.is_visible)
        if self.options.uses_intervals:
            intervals = F.pad(depths.diff(dim=-1), (0, 1), value=_LAST_INTERVAL_M)
            density = density * intervals * directions.norm(dim=-1, keepdim=True)
        weights = alpha_weights(density)
        colors = sample_images(sources.encoded.images, points.at.xy)  # [views, 3, rays, samples]
        blended = (shares[:, None] * colors).sum(dim=0)
        return (weights * blended).sum(dim=-1).mT, weights


def _pixel_steps(image: Float[Tensor, "views channels height width"]) -> Float[Tensor, "9 2"]:
    """Steps from a pixel to its 3x3 neighbours, in image coordinates."""
    height, width = image.shape[-2:]
    steps = torch.arange(-1, 2, device=image.device, dtype=image.dtype)
    return torch.cartesian_prod(steps, steps).flip(-1) / image.new_tensor([width, height])
