"""The network of `gsnerf-small`: depth of the sources, depth of the target, and what its rays look like.

It is built as the published one: features of each source, how well they agree with the other sources on planes of that
source, its depth, the depth of the target by reprojection, samples around it, attention over the views, colours blended
from the sources, classes at one point of each ray. Three things are different, so that two cores can train it: the
matching costs are regularised by 2D convolutions in place of 3D ones (Sayed et al. 2022), tokens hold how far a sample
lies behind the surface of a source in place of volume features, and a decoder in the image plane of the target
completes what no source sees.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.backbones.pyramids import padded
from semantic_ns.geometry.views import (
    SeenAt,
    ViewCameras,
    are_used,
    pixel_centres,
    reproject,
    sample_images,
    sweep_matrices,
)
from semantic_ns.methods.gsnerf_small.cost_volume import WarpedViews
from semantic_ns.methods.gsnerf_small.encoder import Encoded, Encoder
from semantic_ns.methods.gsnerf_small.ray_samples import (
    RayDecisions,
    RayDensity,
    RaySamples,
    RenderedRays,
    at_points,
    samples_around,
    samples_between,
)
from semantic_ns.methods.gsnerf_small.sizes import Sizes
from semantic_ns.methods.gsnerf_small.source_depth import DepthNetwork, SourceDepth
from semantic_ns.multi_view.along_rays import alpha_weights, angle_code, closeness_of_views
from semantic_ns.multi_view.attention import ViewTransformer
from semantic_ns.multi_view.convolutions import UNet, begin_at_0
from semantic_ns.multi_view.splatting import fill_holes, splat_depth

_FLOOR = 1e-3
"""Least probability of a class that a source carries over: what it has never seen is not impossible."""
_OCCLUDED = 0.1
"""A source does not see a point that lies behind its surface by more than this share of the depth."""
_DEPTH_CODE = 3
_SEEN_SHARE = 0.05
"""A source sees a ray if it sees at least this share of its rendering weights."""


@dataclass(frozen=True, eq=False)
class Sources:
    """K sources of a target: their cameras, features and depth, and which of their pixels are used (None: all)."""

    cameras: ViewCameras
    encoded: Encoded
    depth: SourceDepth
    masks: Bool[Tensor, "views height width"] | None = None

    def __len__(self) -> int:
        return len(self.cameras)


@dataclass(frozen=True, eq=False)
class TargetPlane:
    """The image plane of one target, at 1/2 of the resolution.

    Attributes:
        splatted: depth of the sources, holes filled, metres.
        is_measured: where a source's surface falls.
        depth: depth that the decoder makes of it, metres.
        log_std: logarithm of its relative error.
        carried: logarithm of the class probabilities that the sources by themselves carry over.
        logits: what the decoder adds to it.
        color: colours of the decoder.
        gate: logit of the share of the rendered colour; the rest is the decoder's.
    """

    splatted: Float[Tensor, "h2 w2"]
    is_measured: Bool[Tensor, "h2 w2"]
    depth: Float[Tensor, "h2 w2"]
    log_std: Float[Tensor, "h2 w2"]
    carried: Float[Tensor, "classes h2 w2"]
    logits: Float[Tensor, "classes h2 w2"]
    color: Float[Tensor, "3 h2 w2"]
    gate: Float[Tensor, "1 h2 w2"]


class ImagePlaneDecoder(nn.Module):
    """A U-Net in the image plane of the target: what no source sees is guessed from what stands beside it."""

    def __init__(self, inputs: int, widths: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.unet = UNet(inputs, widths)
        self.heads = nn.Conv2d(widths[0], 6 + num_classes, 1)
        begin_at_0(self.heads)

    def forward(self, image: Float[Tensor, "targets inputs height width"]) -> Tensor:
        """Change of log depth, its spread, gate, colour and class logits, [targets, 6 + classes, height, width]."""
        height, width = image.shape[-2:]
        return self.heads(self.unet(padded(image, self.unet.divisor))[0][..., :height, :width])


class GsnerfSmallNetwork(nn.Module):
    """Depth, colour and classes of target views from the images of K source views, for any K.

    Args:
        num_classes: number of classes, without void.
        sizes: sizes of the network.
    """

    def __init__(self, num_classes: int, sizes: Sizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes = sizes or Sizes()
        self.num_classes = num_classes
        match, width, around = sizes.match_channels, sizes.color_width, sizes.class_width
        self.encoder = Encoder(sizes, num_classes)
        self.depth = DepthNetwork(sizes)
        self.to_decoder = nn.Conv2d(sizes.encoder_widths[1], 24, 1)
        self.decoder = ImagePlaneDecoder(4 + 3 + 2 * match + 24 + num_classes, sizes.decoder_widths, num_classes)
        self.colors = ViewTransformer(match + 3 + _DEPTH_CODE + 1, 2 * match, width, sizes.color_layers)
        self.sample = nn.Conv1d(2 * match + 4, width, 1)
        self.density = RayDensity(width)
        self.blend = nn.Sequential(
            nn.Linear(width + 9, width), nn.ELU(), nn.Linear(width, width // 2), nn.ELU(), nn.Linear(width // 2, 1)
        )
        self.neighbourhood = nn.Conv2d(sizes.encoder_widths[1], around, 3, padding=1)
        self.semantics = ViewTransformer(around + _DEPTH_CODE + 1, 2 * around, around, sizes.class_layers)
        self.head = nn.Sequential(nn.Linear(around, around), nn.ELU(), nn.Linear(around, num_classes))
        begin_at_0(self.head[-1])

    def sources(
        self,
        images: Float[Tensor, "views 3 height width"],
        cameras: ViewCameras,
        masks: Bool[Tensor, "views height width"] | None = None,
    ) -> Sources:
        """Sources of a target from their images in 0..1; what masks leave out is seen by none of them."""
        return self.sources_of(self.encoder(images), cameras, masks)

    def sources_of(
        self, encoded: Encoded, cameras: ViewCameras, masks: Bool[Tensor, "views height width"] | None = None
    ) -> Sources:
        """Sources of a target from the features of their images."""
        return Sources(cameras, encoded, self.depth(encoded, cameras), masks)

    def plane(self, sources: Sources, camera: ViewCameras, size: tuple[int, int]) -> TargetPlane:
        """The image plane of a target camera that renders images of a size (height, width)."""
        half = (-(-size[0] // 2), -(-size[1] // 2))
        depths = sources.depth.depth.detach()
        places = pixel_centres(depths.shape[1], depths.shape[2], depths.device).expand(len(depths), -1, -1, -1)
        used = depths.where(are_used(sources.masks, places), torch.nan)  # falls nowhere
        splatted, is_measured = fill_holes(splat_depth(used, sources.cameras, camera, half), float(depths.median()))
        xy = pixel_centres(*half, splatted.device)
        at = reproject(sweep_matrices(sources.cameras, camera), xy, splatted)
        is_visible, _ = self._visible(sources, at)
        # Sources that look along other lines show the wrong place where depth is wrong; more of them would blur it.
        closeness = closeness_of_views(sources.cameras, camera, xy.flatten(0, 1), splatted.flatten())
        weight = closeness.sqrt().unflatten(1, half)
        encoded = sources.encoded
        color, _ = WarpedViews(sample_images(encoded.images, at.xy), is_visible).moments(weight)
        mean, variance = WarpedViews(sample_images(encoded.appearance, at.xy), is_visible).moments(weight)
        classes, _ = WarpedViews(sample_images(self.to_decoder(encoded.quarter), at.xy), is_visible).moments(weight)
        carried = self._carried(encoded, at.xy, is_visible, weight)
        known = torch.stack(
            [
                splatted.log(),
                is_measured.to(splatted.dtype),
                is_visible.to(splatted.dtype).mean(dim=0),
                is_visible.any(dim=0).to(splatted.dtype),
            ]
        )
        decoded = self.decoder(torch.cat([known, color, mean, variance, classes, carried.exp()])[None])[0]
        change, log_std, gate, red_green_blue, logits = decoded.split([1, 1, 1, 3, self.num_classes])
        depth = splatted * torch.tanh(change[0]).exp()
        return TargetPlane(
            splatted,
            is_measured,
            depth,
            log_std[0] - 2,
            carried,
            logits,
            (color + red_green_blue).clamp(0, 1),
            gate + 2,
        )

    def _visible(self, sources: Sources, at: SeenAt) -> tuple[Tensor, Tensor]:
        """Which sources see points [views, points], and by how much of its depth each lies behind their surface."""
        depths = sample_images(sources.depth.depth.detach()[:, None], at.xy)[:, 0]
        behind = at.depth / depths - 1
        return at.is_seen & are_used(sources.masks, at.xy) & (behind < _OCCLUDED), behind

    def render(
        self,
        sources: Sources,
        camera: ViewCameras,
        plane: TargetPlane,
        xy: Float[Tensor, "rays 2"],
        decided: "RayDecisions | None" = None,
        trains_classes: bool = True,
    ) -> RenderedRays:
        """Rays of a target camera through image coordinates.

        Args:
            sources: the sources.
            camera: the target camera.
            plane: its image plane.
            xy: image coordinates of the rays.
            decided: what is decided for the rays; by default it is found out here.
            trains_classes: whether the class logits have gradients, which take time where no label asks for them.
        """
        decided = self.decide(sources, camera, plane, xy, trains_classes) if decided is None else decided
        z, encoded = at_points(plane.depth[None], xy)[0].detach(), sources.encoded
        at = reproject(sweep_matrices(sources.cameras, camera), xy, z)
        is_seen, _ = self._visible(sources, at)
        closeness = closeness_of_views(sources.cameras, camera, xy, z)
        with torch.set_grad_enabled(trains_classes and torch.is_grad_enabled()):
            carried = self._carried(encoded, at.xy, is_seen, closeness.sqrt()).mT
            logits = decided.logits.mT
            if self.sizes.guides_classes:
                logits = carried + logits + at_points(plane.logits, xy).mT
        samples = self._samples(sources, camera, plane, xy, z)
        colors = sample_images(encoded.images, samples.at.xy)
        rgb_of_view, seen_share = samples.mean_of_views(colors, decided.weights.mT)
        is_key = (seen_share > _SEEN_SHARE) | ~(seen_share > _SEEN_SHARE).any(dim=0)
        scores = decided.scores + (seen_share + 1e-3).log()
        shares = scores.masked_fill(~is_key, -1e9).softmax(dim=0)
        gate = at_points(plane.gate, xy)[0].sigmoid()[:, None] if self.sizes.guides_colors else 1.0
        rgb = gate * (shares[:, None] * rgb_of_view).sum(dim=0).mT + (1 - gate) * at_points(plane.color, xy).mT
        accumulation = decided.weights.sum(dim=0)
        depth = (decided.weights.mT * samples.depths).sum(dim=-1) / accumulation.clamp(min=1e-6)
        return RenderedRays(rgb, logits, carried, z, depth, accumulation, is_seen)

    def render_image(
        self, sources: Sources, camera: ViewCameras, plane: TargetPlane, size: tuple[int, int], chunk: int
    ) -> RenderedRays:
        """All rays of an image (height, width), row by row, so many at a time.

        What needs attention is decided at the resolution of the image plane of the target, half as fine as the image,
        and lies between in between; colours and what the sources see are looked up for every ray.
        """
        device = plane.depth.device
        rows, columns = plane.depth.shape
        coarse = pixel_centres(rows, columns, device).reshape(-1, 2)
        parts = [self.decide(sources, camera, plane, xy) for xy in coarse.split(chunk)]
        decided = RayDecisions.stack(parts).images(plane.depth.shape)
        found = [
            self.render(sources, camera, plane, xy, decided.at(xy))
            for xy in pixel_centres(*size, device).reshape(-1, 2).split(chunk)
        ]
        rays = RenderedRays.stack(found)
        if not self.sizes.guides_classes:
            return rays
        image = rays.rgb.mT.unflatten(1, size)[None]
        logits = self.encoder.with_second_look(rays.logits.mT.unflatten(1, size)[None], image)
        return replace(rays, logits=logits[0].flatten(1).mT)

    def decide(
        self,
        sources: Sources,
        camera: ViewCameras,
        plane: TargetPlane,
        xy: Float[Tensor, "rays 2"],
        trains_classes: bool = True,
    ) -> "RayDecisions":
        """What the networks decide for rays: where along the ray the surface is, which source shows it, its class.

        The class logits have gradients if they train classes.
        """
        z = at_points(plane.depth[None], xy)[0].detach()
        samples = self._samples(sources, camera, plane, xy, z)
        features, colors, weights = self._weighted(sources, samples)
        parts = torch.cat([features, colors, _depth_code(samples.behind).permute(0, 3, 1, 2)], dim=1)
        of_view, seen_share = samples.mean_of_views(parts, weights)
        depth = ((weights * samples.depths).sum(dim=-1) / weights.sum(dim=-1).clamp(min=1e-6)).detach()
        scores = self._blend_scores(sources, camera, xy, depth, of_view, seen_share)
        with torch.set_grad_enabled(trains_classes and torch.is_grad_enabled()):
            if self.sizes.guides_classes:
                logits = self._class_residual(sources, camera, xy, z)
            else:
                logits = self._classes_along(sources, camera, xy, z)
        return RayDecisions(logits, weights.mT, scores)

    def _classes_along(
        self, sources: Sources, camera: ViewCameras, xy: Tensor, z: Tensor
    ) -> Float[Tensor, "classes rays"]:
        """Class logits of samples that no depth guides, volume rendered: row C of Table 3 of Chou et al. (2024)."""
        depths = samples_between(self.sizes.near, self.sizes.far, z, self.sizes.num_unguided)
        samples = self._seen(sources, camera, xy, depths)
        _, _, weights = self._weighted(sources, samples)
        places = xy[:, None].expand(-1, depths.shape[1], -1).reshape(-1, 2)
        residual = self._class_residual(sources, camera, places, depths.reshape(-1)).unflatten(1, depths.shape)
        carried = self._carried(sources.encoded, samples.at.xy, samples.is_visible, torch.ones_like(samples.at.depth))
        shares = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-6)
        return (shares * (carried + residual)).sum(dim=-1)

    def _carried(
        self, encoded: Encoded, xy: Tensor, is_visible: Tensor, weight: Tensor
    ) -> Float[Tensor, "classes *points"]:
        """Logarithm of the mean class probabilities of the sources that see a point; of equal ones where none does."""
        weight = (weight * is_visible)[:, None]
        mean = (weight * sample_images(encoded.probabilities, xy)).sum(dim=0) / weight.sum(dim=0).clamp(min=1e-6)
        return (mean.where(is_visible.any(dim=0), 1 / self.num_classes) + _FLOOR).log()

    def _samples(
        self, sources: Sources, camera: ViewCameras, plane: TargetPlane, xy: Tensor, z: Tensor
    ) -> "RaySamples":
        if self.sizes.guides_colors:
            spread = at_points(plane.log_std[None], xy)[0].detach()
            return self._seen(sources, camera, xy, samples_around(z, spread, self.sizes.num_samples))
        depths = samples_between(self.sizes.near, self.sizes.far, z, self.sizes.num_unguided)
        return self._seen(sources, camera, xy, depths)

    def _seen(self, sources: Sources, camera: ViewCameras, xy: Tensor, depths: Tensor) -> "RaySamples":
        at = reproject(sweep_matrices(sources.cameras, camera), xy[:, None].expand(-1, depths.shape[1], -1), depths)
        is_visible, behind = self._visible(sources, at)
        return RaySamples(depths, at, is_visible, behind)

    def _weighted(self, sources: Sources, samples: "RaySamples") -> tuple[Tensor, Tensor, Tensor]:
        """Features and colours that the sources show at samples, and the rendering weights of the samples."""
        features = sample_images(sources.encoded.appearance, samples.at.xy)
        colors = sample_images(sources.encoded.images, samples.at.xy)
        weights = alpha_weights(self.density(self._agreement(features, colors, samples.is_visible)))
        return features, colors, weights

    def _agreement(self, features: Tensor, colors: Tensor, is_visible: Tensor) -> Float[Tensor, "rays width samples"]:
        """Tokens of samples: what the sources show there, and how far they agree."""
        _, color_variance = WarpedViews(colors, is_visible).moments()
        known = [*WarpedViews(features, is_visible).moments(), color_variance, is_visible.float().mean(dim=0)[None]]
        return F.elu(self.sample(torch.cat(known).transpose(0, 1)))

    def _blend_scores(
        self, sources: Sources, camera: ViewCameras, xy: Tensor, depth: Tensor, views: Tensor, seen_share: Tensor
    ) -> Float[Tensor, "views rays"]:
        is_visible = seen_share > _SEEN_SHARE
        features, rgb, code = views.split([views.shape[1] - 3 - _DEPTH_CODE, 3, _DEPTH_CODE], dim=1)
        mean_rgb, _ = WarpedViews(rgb, is_visible).moments()
        whole = torch.cat(WarpedViews(features, is_visible).moments()).mT
        known = torch.cat([features, rgb - mean_rgb, code, seen_share[:, None]], dim=1).mT
        _, tokens = self.colors(known, whole, is_visible)
        directions = camera.ray_directions(xy[None])[0]
        points = camera.centres.to(xy.dtype) + directions * depth[:, None]
        codes = angle_code(directions, (points - sources.cameras.centres.to(xy.dtype)[:, None])[:, :, None])[:, :, 0]
        # From the view that looks most like the target on, as long as nothing else is known (Buehler et al. 2001).
        prior = closeness_of_views(sources.cameras, camera, xy, depth).log() / 2
        return prior + self.blend(torch.cat([tokens, codes], dim=-1))[..., 0]

    def _class_residual(
        self, sources: Sources, camera: ViewCameras, xy: Tensor, z: Tensor
    ) -> Float[Tensor, "classes rays"]:
        at = reproject(sweep_matrices(sources.cameras, camera), xy, z)
        is_visible, behind = self._visible(sources, at)
        around = sample_images(self.neighbourhood(sources.encoded.quarter), at.xy)
        views = torch.cat([around.mT, _depth_code(behind), is_visible[..., None].float()], dim=-1)
        whole, _ = self.semantics(views, torch.cat(WarpedViews(around, is_visible).moments()).mT, is_visible)
        return self.head(whole).mT


def _depth_code(behind: Float[Tensor, "*points"]) -> Float[Tensor, "*points 3"]:
    """How far a point lies behind the surface of a source, relative to its depth: coarse, fine, and how near to it."""
    return torch.stack([behind.clamp(-1, 1), (20 * behind).clamp(-1, 1), torch.exp(-((20 * behind) ** 2))], dim=-1)
