"""The network of `gsnerf-small`: depth of the sources, depth of the target, and what its rays look like.

It is built as the published one: features of each source, how well they agree with the other sources on planes of that
source, its depth, the depth of the target by reprojection, samples around it, attention over the views, colours blended
from the sources, classes at one point of each ray. Three things are different, so that two cores can train it: the
matching costs are regularised by 2D convolutions in place of 3D ones (Sayed et al. 2022), tokens hold how far a sample
lies behind the surface of a source in place of volume features, and a decoder in the image plane of the target
completes what no source sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.backbones import efficientnet_lite
from semantic_ns.geometry.views import SeenAt, ViewCameras, pixel_centres, reproject, sample_images, sweep_matrices
from semantic_ns.methods.gsnerf_small.cost_volume import MATCH_CHANNELS, Planes, WarpedViews, reference_volume
from semantic_ns.multi_view.along_rays import alpha_weights, angle_code
from semantic_ns.multi_view.attention import ViewTransformer
from semantic_ns.multi_view.convolutions import UNet, conv2d
from semantic_ns.multi_view.splatting import fill_holes, splat_depth

_FLOOR = 1e-3
"""Least probability of a class that a source carries over: what it has never seen is not impossible."""
_OCCLUDED = 0.1
"""A source does not see a point that lies behind its surface by more than this share of the depth."""
_DEPTH_CODE = 3
_COST_SCALE = 4.0
_SEEN_SHARE = 0.05
"""A source sees a ray if it sees at least this share of its rendering weights."""


EncoderName = Literal["lite0", "unet"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network.

    Attributes:
        encoder: lite0 is EfficientNet-Lite0, which was trained on photographs, unet a U-Net that was not.
        encoder_widths: channels of the encoder at 1/2 and at 1/4 of the resolution.
        match_channels: features that are compared between views.
        num_planes: planes of a source at 1/4 of the resolution, from near to far.
        depth_widths: channels of the network that regularises matching costs, at 1/4, 1/8, ... of the resolution.
        decoder_widths: channels of the decoder in the image plane of the target, at 1/2, 1/4, ... of the resolution.
        color_width: numbers of a token for colours.
        color_layers: attention layers for colours.
        class_width: numbers of a token for classes.
        class_layers: attention layers for classes.
        num_samples: samples of a ray; a multiple of 8.
        near: nearest plane in metres.
        far: farthest plane in metres.
    """

    encoder: EncoderName = "lite0"
    encoder_widths: tuple[int, int] = (32, 96)
    match_channels: int = 16
    num_planes: int = 32
    depth_widths: tuple[int, ...] = (64, 96, 128)
    decoder_widths: tuple[int, ...] = (32, 64, 96)
    color_width: int = 16
    color_layers: int = 2
    class_width: int = 32
    class_layers: int = 2
    num_samples: int = 8
    near: float = 0.3
    far: float = 8.0


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the encoder makes of V source images by themselves.

    Attributes:
        images: the images, 0..1.
        quarter: features at 1/4 of the resolution.
        half: features at 1/2 of the resolution.
        match: features that are compared between views.
        appearance: features for colours.
        logits: class logits of each image.
    """

    images: Float[Tensor, "views 3 height width"]
    quarter: Float[Tensor, "views wide h4 w4"]
    half: Float[Tensor, "views narrow h2 w2"]
    match: Float[Tensor, "views match h4 w4"]
    appearance: Float[Tensor, "views match h2 w2"]
    logits: Float[Tensor, "views classes h2 w2"]

    @cached_property
    def probabilities(self) -> Float[Tensor, "views classes h2 w2"]:
        """Class probabilities of each image."""
        return self.logits.softmax(dim=1)

    def _parts(self) -> tuple[Tensor, ...]:
        return self.images, self.quarter, self.half, self.match, self.appearance, self.logits

    def __getitem__(self, chosen: Int[Tensor, "chosen"]) -> "Encoded":
        return Encoded(*(part[chosen] for part in self._parts()))

    @classmethod
    def stack(cls, images: Sequence["Encoded"]) -> "Encoded":
        """One list of images out of several."""
        return cls(*(torch.cat(parts) for parts in zip(*(image._parts() for image in images), strict=True)))


@dataclass(frozen=True, eq=False)
class SourceDepth:
    """Depth of K sources.

    Attributes:
        planes: planes at 1/4 of the resolution.
        scores: their scores.
        coarse: depth that the planes give, metres.
        depth: depth at 1/2 of the resolution, metres.
        log_std: what the network takes for the relative error of it, as a logarithm.
    """

    planes: Planes
    scores: Float[Tensor, "views planes h4 w4"]
    coarse: Float[Tensor, "views h4 w4"]
    depth: Float[Tensor, "views h2 w2"]
    log_std: Float[Tensor, "views h2 w2"]


@dataclass(frozen=True, eq=False)
class Sources:
    """K sources of a target: their cameras, features and depth."""

    cameras: ViewCameras
    encoded: Encoded
    depth: SourceDepth

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


@dataclass(frozen=True, eq=False)
class RenderedRays:
    """What R rays of a target show.

    Attributes:
        rgb: colour.
        logits: class logits at the point z.
        carried: logarithm of the class probabilities that the sources by themselves carry over to z.
        z: planar depth of the surface, metres.
        depth: planar depth that the rendered samples give, metres.
        accumulation: opacity of the ray.
        is_seen: which sources see the point z.
    """

    rgb: Float[Tensor, "rays 3"]
    logits: Float[Tensor, "rays classes"]
    carried: Float[Tensor, "rays classes"]
    z: Float[Tensor, "rays"]
    depth: Float[Tensor, "rays"]
    accumulation: Float[Tensor, "rays"]
    is_seen: Bool[Tensor, "views rays"]

    @classmethod
    def stack(cls, parts: Sequence["RenderedRays"]) -> "RenderedRays":
        """Rays of several parts, one after the other."""
        names = ("rgb", "logits", "carried", "z", "depth", "accumulation")
        joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        return cls(**joined, is_seen=torch.cat([part.is_seen for part in parts], dim=1))


def _begin_at_0(layer: nn.Module) -> None:
    """Let a layer change nothing at first."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class PretrainedPyramid(nn.Module):
    """Maps of EfficientNet-Lite0, brought to one width and added up (Lin et al. 2017); its weights are fixed.

    Nothing stands between its maps and the sum but one linear layer each: behind a U-Net with norms, classes took ten
    times the steps to learn.

    Args:
        narrow: channels at 1/2 of the resolution.
        wide: channels at 1/4 of the resolution.
    """

    divisor = efficientnet_lite.DIVISOR

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        first, *others = efficientnet_lite.CHANNELS
        self.trunk = efficientnet_lite.EfficientNetLite0().requires_grad_(False)
        self.lateral = nn.ModuleList(nn.Conv2d(channels, wide, 1) for channels in others)
        self.mix = nn.Sequential(nn.LeakyReLU(0.01), conv2d(wide, wide))
        self.detail = nn.Conv2d(3, narrow, 5, 2, 2)
        self.first, self.down = nn.Conv2d(first, narrow, 1), nn.Conv2d(wide, narrow, 1)
        self.sharpen = nn.Sequential(nn.LeakyReLU(0.01), conv2d(narrow, narrow))

    def forward(self, images: Float[Tensor, "images 3 height width"]) -> tuple[Tensor, Tensor]:
        """Maps of images in 0..1 at 1/2 and at 1/4 of the resolution."""
        with torch.no_grad():
            first, *others = self.trunk(images)
        size = others[0].shape[-2:]
        summed = sum(_resized(lateral(level), size) for lateral, level in zip(self.lateral, others, strict=True))
        quarter = self.mix(summed)
        larger = _resized(self.down(quarter), first.shape[-2:])
        return self.sharpen(self.first(first) + self.detail(images - 0.5) + larger), quarter


class PlainPyramid(nn.Module):
    """The same maps from a U-Net that knows nothing at first."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.unet = UNet(3, (narrow, wide, 96, 128), stem_stride=2)
        self.divisor = self.unet.divisor

    def forward(self, images: Float[Tensor, "images 3 height width"]) -> tuple[Tensor, Tensor]:
        """Maps of images in 0..1 at 1/2 and at 1/4 of the resolution."""
        half, quarter, *_ = self.unet(images - 0.5)
        return half, quarter


def _resized(image: Float[Tensor, "images channels rows columns"], size: Sequence[int]) -> Tensor:
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image, tuple(size), mode="bilinear", align_corners=False)


class Encoder(nn.Module):
    """Features for matching, colours and classes from one image."""

    def __init__(self, sizes: Sizes, num_classes: int) -> None:
        super().__init__()
        narrow, wide = sizes.encoder_widths
        self.pyramid = (PretrainedPyramid if sizes.encoder == "lite0" else PlainPyramid)(narrow, wide)
        self.match = nn.Conv2d(wide, sizes.match_channels, 3, padding=1)
        self.appearance = nn.Conv2d(narrow, sizes.match_channels, 3, padding=1)
        self.coarse_logits, self.fine_logits = nn.Conv2d(wide, num_classes, 1), nn.Conv2d(narrow, num_classes, 1)

    def forward(self, images: Float[Tensor, "views 3 height width"]) -> Encoded:
        """Features of images in 0..1, padded to what the pyramid can halve."""
        half, quarter = self._maps(images)
        return Encoded(images, quarter, half, self.match(quarter), self.appearance(half), self._logits(half, quarter))

    def segment(self, images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views classes h2 w2"]:
        """Class logits of images by themselves, at 1/2 of the resolution."""
        return self._logits(*self._maps(images))

    def _maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        height, width = images.shape[-2:]
        maps = self.pyramid(_padded(images, self.pyramid.divisor))
        half, quarter = (
            level[..., : -(-height // step), : -(-width // step)] for level, step in zip(maps, (2, 4), strict=True)
        )
        return half, quarter

    def _logits(self, half: Tensor, quarter: Tensor) -> Tensor:
        return _resized(self.coarse_logits(quarter), half.shape[-2:]) + self.fine_logits(half)


class DepthNetwork(nn.Module):
    """Depth of a source from its image and from how well the other sources agree with it on planes."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes, (narrow, wide) = sizes, sizes.encoder_widths
        first = sizes.depth_widths[0]
        self.reduce = nn.Sequential(nn.Linear(MATCH_CHANNELS, 16), nn.LeakyReLU(0.01), nn.Linear(16, 1))
        self.unet = UNet(sizes.num_planes + wide, sizes.depth_widths)
        self.scores = nn.Conv2d(first, sizes.num_planes, 3, padding=1)
        self.refine = nn.Sequential(conv2d(first + narrow + 1, 32), conv2d(32, 32), nn.Conv2d(32, 2, 1))
        _begin_at_0(self.refine[-1])

    def forward(self, encoded: Encoded, cameras: ViewCameras) -> SourceDepth:
        """Depth of all sources; each is compared with all others."""
        sizes, count = self.sizes, len(cameras)
        height, width = encoded.match.shape[-2:]
        planes = Planes.between(sizes.near, sizes.far, sizes.num_planes, (count, height, width), encoded.match)
        colors = F.interpolate(encoded.images, (height, width), mode="area")
        depths = planes.logs()[0].exp()
        volumes = []
        for number in range(count):
            others = torch.tensor([other for other in range(count) if other != number], device=encoded.match.device)
            matrices = sweep_matrices(cameras[others], cameras[number : number + 1])
            volume = reference_volume(
                encoded.match[number], colors[number], encoded.match[others], colors[others], matrices, depths
            )
            # Beside features of size 1 the costs must not be small, or depth is guessed from single images alone.
            volumes.append(_COST_SCALE * self.reduce(volume.permute(1, 2, 3, 0))[..., 0])
        inputs = torch.cat([torch.stack(volumes), encoded.quarter], dim=1)
        features = self.unet(_padded(inputs, self.unet.divisor))[0][..., :height, :width]
        scores = self.scores(features)
        coarse = planes.depth(scores).depth
        size = encoded.half.shape[-2:]
        larger = F.interpolate(
            torch.cat([coarse.log()[:, None], features], dim=1), size, mode="bilinear", align_corners=False
        )
        change, log_std = self.refine(torch.cat([larger, encoded.half], dim=1)).unbind(dim=1)
        depth = (larger[:, 0] + torch.tanh(change)).exp()
        return SourceDepth(planes, scores, coarse, depth, log_std - 2)


class ImagePlaneDecoder(nn.Module):
    """A U-Net in the image plane of the target: what no source sees is guessed from what stands beside it."""

    def __init__(self, inputs: int, widths: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.unet = UNet(inputs, widths)
        self.heads = nn.Conv2d(widths[0], 6 + num_classes, 1)
        _begin_at_0(self.heads)

    def forward(self, image: Float[Tensor, "targets inputs height width"]) -> Tensor:
        """Change of log depth, its spread, gate, colour and class logits, [targets, 6 + classes, height, width]."""
        height, width = image.shape[-2:]
        return self.heads(self.unet(_padded(image, self.unet.divisor))[0][..., :height, :width])


class RayDensity(nn.Module):
    """Density of the samples of a ray from their tokens, each of which sees its neighbours along the ray."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.along = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.density = nn.Conv1d(width, 1, 1)

    def forward(self, tokens: Float[Tensor, "rays width samples"]) -> Float[Tensor, "rays samples"]:
        """Densities, 0 or more."""
        for layer in self.along:
            tokens = tokens + F.elu(layer(tokens))
        return F.softplus(self.density(tokens)[:, 0] - 1.0)


class GsnerfNetwork(nn.Module):
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
        _begin_at_0(self.head[-1])

    def sources(self, images: Float[Tensor, "views 3 height width"], cameras: ViewCameras) -> Sources:
        """Sources of a target from their images in 0..1."""
        return self.sources_of(self.encoder(images), cameras)

    def sources_of(self, encoded: Encoded, cameras: ViewCameras) -> Sources:
        """Sources of a target from the features of their images."""
        return Sources(cameras, encoded, self.depth(encoded, cameras))

    def plane(self, sources: Sources, camera: ViewCameras, size: tuple[int, int]) -> TargetPlane:
        """The image plane of a target camera that renders images of a size (height, width)."""
        half = (-(-size[0] // 2), -(-size[1] // 2))
        depths = sources.depth.depth.detach()
        splatted, is_measured = fill_holes(splat_depth(depths, sources.cameras, camera, half), float(depths.median()))
        at = reproject(sweep_matrices(sources.cameras, camera), pixel_centres(*half, splatted.device), splatted)
        is_visible, _ = self._visible(sources, at)
        encoded = sources.encoded
        color, _ = WarpedViews(sample_images(encoded.images, at.xy), is_visible).moments()
        mean, variance = WarpedViews(sample_images(encoded.appearance, at.xy), is_visible).moments()
        classes, _ = WarpedViews(sample_images(self.to_decoder(encoded.quarter), at.xy), is_visible).moments()
        carried = self._carried(encoded, at.xy, is_visible)
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
        return at.is_seen & (behind < _OCCLUDED), behind

    def render(
        self,
        sources: Sources,
        camera: ViewCameras,
        plane: TargetPlane,
        xy: Float[Tensor, "rays 2"],
        decided: "RayDecisions | None" = None,
    ) -> RenderedRays:
        """Rays of a target camera through image coordinates.

        Args:
            sources: the sources.
            camera: the target camera.
            plane: its image plane.
            xy: image coordinates of the rays.
            decided: what is decided for the rays; by default it is found out here.
        """
        decided = self.decide(sources, camera, plane, xy) if decided is None else decided
        z, encoded = _at(plane.depth[None], xy)[0].detach(), sources.encoded
        at = reproject(sweep_matrices(sources.cameras, camera), xy, z)
        is_seen, _ = self._visible(sources, at)
        carried = self._carried(encoded, at.xy, is_seen).mT
        logits = carried + decided.logits.mT + _at(plane.logits, xy).mT
        samples = self._samples(sources, camera, plane, xy, z)
        colors = sample_images(encoded.images, samples.at.xy)
        rgb_of_view, seen_share = samples.mean_of_views(colors, decided.weights.mT)
        is_key = (seen_share > _SEEN_SHARE) | ~(seen_share > _SEEN_SHARE).any(dim=0)
        scores = decided.scores + (seen_share + 1e-3).log()
        shares = scores.masked_fill(~is_key, -1e9).softmax(dim=0)
        gate = _at(plane.gate, xy)[0].sigmoid()[:, None]
        rgb = gate * (shares[:, None] * rgb_of_view).sum(dim=0).mT + (1 - gate) * _at(plane.color, xy).mT
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
        return RenderedRays.stack(found)

    def decide(
        self, sources: Sources, camera: ViewCameras, plane: TargetPlane, xy: Float[Tensor, "rays 2"]
    ) -> "RayDecisions":
        """What the networks decide for rays: where along the ray the surface is, which source shows it, its class."""
        z = _at(plane.depth[None], xy)[0].detach()
        samples = self._samples(sources, camera, plane, xy, z)
        features = sample_images(sources.encoded.appearance, samples.at.xy)
        colors = sample_images(sources.encoded.images, samples.at.xy)
        weights = alpha_weights(self.density(self._agreement(features, colors, samples.is_visible)))
        parts = torch.cat([features, colors, _depth_code(samples.behind).permute(0, 3, 1, 2)], dim=1)
        of_view, seen_share = samples.mean_of_views(parts, weights)
        depth = ((weights * samples.depths).sum(dim=-1) / weights.sum(dim=-1).clamp(min=1e-6)).detach()
        scores = self._blend_scores(sources, camera, xy, depth, of_view, seen_share)
        return RayDecisions(self._class_residual(sources, camera, xy, z), weights.mT, scores)

    def _carried(self, encoded: Encoded, xy: Tensor, is_visible: Tensor) -> Float[Tensor, "classes *points"]:
        """Logarithm of the mean class probabilities of the sources that see a point; of equal ones where none does."""
        mean, _ = WarpedViews(sample_images(encoded.probabilities, xy), is_visible).moments()
        return (mean.where(is_visible.any(dim=0), 1 / self.num_classes) + _FLOOR).log()

    def _samples(
        self, sources: Sources, camera: ViewCameras, plane: TargetPlane, xy: Tensor, z: Tensor
    ) -> "RaySamples":
        depths = samples_around(z, _at(plane.log_std[None], xy)[0].detach(), self.sizes.num_samples)
        at = reproject(sweep_matrices(sources.cameras, camera), xy[:, None].expand(-1, depths.shape[1], -1), depths)
        is_visible, behind = self._visible(sources, at)
        return RaySamples(depths, at, is_visible, behind)

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
        return self.blend(torch.cat([tokens, codes], dim=-1))[..., 0]

    def _class_residual(
        self, sources: Sources, camera: ViewCameras, xy: Tensor, z: Tensor
    ) -> Float[Tensor, "classes rays"]:
        at = reproject(sweep_matrices(sources.cameras, camera), xy, z)
        is_visible, behind = self._visible(sources, at)
        around = sample_images(self.neighbourhood(sources.encoded.quarter), at.xy)
        views = torch.cat([around.mT, _depth_code(behind), is_visible[..., None].float()], dim=-1)
        whole, _ = self.semantics(views, torch.cat(WarpedViews(around, is_visible).moments()).mT, is_visible)
        return self.head(whole).mT


@dataclass(frozen=True, eq=False)
class RaySamples:
    """Samples of R rays as V sources see them.

    Attributes:
        depths: planar depth in metres.
        at: where the sources see them.
        is_visible: which sources see them.
        behind: by how much of its depth each lies behind the surface of a source.
    """

    depths: Float[Tensor, "rays samples"]
    at: SeenAt
    is_visible: Bool[Tensor, "views rays samples"]
    behind: Float[Tensor, "views rays samples"]

    def mean_of_views(
        self, values: Float[Tensor, "views channels rays samples"], weights: Float[Tensor, "rays samples"]
    ) -> tuple[Float[Tensor, "views channels rays"], Float[Tensor, "views rays"]]:
        """What each source shows along a ray, as far as it sees the samples, and the share of the weights it sees.

        What is left of a ray behind its samples shows their mean, not black.
        """
        shares = weights + (1 - weights.sum(dim=-1, keepdim=True)) / weights.shape[1]
        seen = shares * self.is_visible
        total = seen.sum(dim=-1)
        # A source that sees nothing of a ray shows the mean of its samples: it counts little, but it is no NaN.
        normalised = (seen + 1e-4 * shares) / (total + 1e-4)[..., None]
        return (values * normalised[:, None]).sum(dim=-1), total


@dataclass(frozen=True, eq=False)
class RayDecisions:
    """What the networks decide for rays, or images of it.

    Attributes:
        logits: what is added to the classes that the sources carry over.
        weights: rendering weights of the samples.
        scores: score of each source for the colour.
    """

    logits: Float[Tensor, "classes *rays"]
    weights: Float[Tensor, "samples *rays"]
    scores: Float[Tensor, "views *rays"]

    @classmethod
    def stack(cls, parts: Sequence["RayDecisions"]) -> "RayDecisions":
        """Rays of several parts, one after the other."""
        groups = zip(*((part.logits, part.weights, part.scores) for part in parts), strict=True)
        return cls(*(torch.cat(group, dim=1) for group in groups))

    def images(self, size: Sequence[int]) -> "RayDecisions":
        """Images (height, width) of rays that come row by row."""
        return RayDecisions(*(part.unflatten(1, tuple(size)) for part in (self.logits, self.weights, self.scores)))

    def at(self, xy: Float[Tensor, "rays 2"]) -> "RayDecisions":
        """Images at image coordinates."""
        return RayDecisions(*(_at(part, xy) for part in (self.logits, self.weights, self.scores)))


def _depth_code(behind: Float[Tensor, "*points"]) -> Float[Tensor, "*points 3"]:
    """How far a point lies behind the surface of a source, relative to its depth: coarse, fine, and how near to it."""
    return torch.stack([behind.clamp(-1, 1), (20 * behind).clamp(-1, 1), torch.exp(-((20 * behind) ** 2))], dim=-1)


def _padded(image: Float[Tensor, "images channels height width"], divisor: int) -> Tensor:
    height, width = image.shape[-2:]
    if height % divisor == 0 and width % divisor == 0:
        return image
    return F.pad(image, (0, -width % divisor, 0, -height % divisor), mode="replicate")


def samples_around(
    z: Float[Tensor, "rays"], log_std: Float[Tensor, "rays"], count: int
) -> Float[Tensor, "rays samples"]:
    """Depths at quantiles of a normal distribution of log depth around z, ascending; the same in every call.

    Chou et al. (2024, equation (8)) draw them from a normal distribution whose width is a third of the way to the
    nearer end of the ray. Here the width is what the network takes for the relative error of z, between 1 % and 20 %.
    """
    shares = (torch.arange(count, device=z.device, dtype=z.dtype) + 0.5) / count
    steps = torch.erfinv(2 * shares - 1) * 2**0.5
    return z[:, None] * (steps * log_std.exp().clamp(0.01, 0.2)[:, None]).exp()


def _at(
    image: Float[Tensor, "channels height width"], xy: Float[Tensor, "points 2"]
) -> Float[Tensor, "channels points"]:
    return sample_images(image[None], xy[None])[0]
