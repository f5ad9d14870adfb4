"""The network of `viewseg-small`: classes, depth and colour of a view from one to a few images, seen by them or not.

It is built as the published one (Qian et al. 2021): features of each source, sampled at points of the rays of the
target; residual blocks for each source, the mean over the sources, further blocks; rays rendered in a coarse and a fine
pass. Five things are different, so that two cores can train it: one field serves both passes; it knows how far behind
the guessed surface of each source a point lies; the sources that do not see a point have no part in its mean; features
are rendered in place of classes, one ray for each square of 4x4 pixels; and a decoder in the image plane of the target
turns them into classes, with the classes that the sources by themselves show at the rendered depth. A sixth is for
wrong cameras: it can estimate which way is up in each source, and level its camera.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor, nn

from semantic_ns.backbones.pyramids import padded, resized
from semantic_ns.geometry.views import ViewCameras, are_used, pixel_centres, reproject, sample_images, sweep_matrices
from semantic_ns.methods.viewseg_small.encoder import Encoded, Encoder
from semantic_ns.methods.viewseg_small.field import Field, FieldValues, PointsInViews
from semantic_ns.methods.viewseg_small.rays import RaySamples, coarse_logs, further_logs, log_step
from semantic_ns.methods.viewseg_small.sizes import Sizes
from semantic_ns.multi_view.along_rays import closeness_of_views
from semantic_ns.multi_view.convolutions import UNet, begin_at_0
from semantic_ns.multi_view.levelling import UpNetwork, levelled

_FLOOR = 1e-3
"""Least probability of a class that a source carries over: what it has never seen is not impossible."""
_OCCLUDED = 0.15
"""A source does not see a point that lies behind its guessed surface by more than this share of the depth."""
_NUM_KNOWN = 5
_FROM_HALF, _FROM_QUARTER = 16, 24


@dataclass(frozen=True, eq=False)
class Sources:
    """K sources of a target.

    Attributes:
        cameras: their cameras, levelled if the network does so.
        encoded: features of their images.
        masks: which of their pixels are used; None: all.
        up: which way is up in their images, in the axes of each; None if the network does not ask.
    """

    cameras: ViewCameras
    encoded: Encoded
    masks: Bool[Tensor, "views height width"] | None = None
    up: Float[Tensor, "views 3"] | None = None

    def __len__(self) -> int:
        return len(self.cameras)


@dataclass(frozen=True, eq=False)
class FieldRays:
    """What the field renders of R rays.

    Attributes:
        coarse: the first samples.
        samples: all samples.
        log_depth: logarithm of planar depth in metres.
        log_std: logarithm of its deviation over the samples.
        features: rendered features.
        rgb: colours that follow from them.
        logits: class logits that follow from them.
    """

    coarse: RaySamples
    samples: RaySamples
    log_depth: Float[Tensor, "rays"]
    log_std: Float[Tensor, "rays"]
    features: Float[Tensor, "features rays"]
    rgb: Float[Tensor, "3 rays"]
    logits: Float[Tensor, "classes rays"]


@dataclass(frozen=True, eq=False)
class TargetPlane:
    """The image plane of one target, at 1/2 of the resolution.

    Attributes:
        rays: what the field renders, row by row, at its own resolution.
        depth: planar depth in metres.
        rgb: colours.
        logits: class logits.
        carried: logarithm of the class probabilities that the sources carry over.
        is_seen: which sources see the surface.
    """

    rays: FieldRays
    depth: Float[Tensor, "h2 w2"]
    rgb: Float[Tensor, "3 h2 w2"]
    logits: Float[Tensor, "classes h2 w2"]
    carried: Float[Tensor, "classes h2 w2"]
    is_seen: Bool[Tensor, "views h2 w2"]


class ViewsegSmallNetwork(nn.Module):
    """Classes, depth and colours of target views from the images of K source views, for any K.

    Args:
        num_classes: number of classes, without void.
        sizes: sizes of the network.
    """

    def __init__(self, num_classes: int, sizes: Sizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes = sizes or Sizes()
        self.num_classes = num_classes
        narrow, wide = sizes.encoder_widths
        self.encoder = Encoder(sizes, num_classes)
        self.field = Field(sizes)
        self.color, self.classes = nn.Linear(sizes.features, 3), nn.Linear(sizes.features, num_classes)
        self.from_half, self.from_quarter = nn.Conv2d(narrow, _FROM_HALF, 1), nn.Conv2d(wide, _FROM_QUARTER, 1)
        inputs = sizes.features + _NUM_KNOWN + 3 + _FROM_HALF + _FROM_QUARTER + num_classes
        self.decoder = UNet(inputs, sizes.decoder_widths)
        self.heads = nn.Conv2d(sizes.decoder_widths[0], 4 + num_classes, 1)
        begin_at_0(self.heads)
        self.up = UpNetwork(wide) if sizes.levels_cameras else None

    def sources(
        self,
        images: Float[Tensor, "views 3 height width"],
        cameras: ViewCameras,
        masks: Bool[Tensor, "views height width"] | None = None,
    ) -> Sources:
        """Sources of a target from their images in 0..1; what masks leave out is seen by none of them."""
        return self.sources_of(self.encoder(images), cameras, masks)

    def sources_of(
        self,
        encoded: Encoded,
        cameras: ViewCameras,
        masks: Bool[Tensor, "views height width"] | None = None,
        vertical: Float64[Tensor, "3"] | None = None,
    ) -> Sources:
        """Sources of a target from the features of their images; their cameras are levelled if the network does so.

        Args:
            encoded: the features.
            cameras: their cameras.
            masks: which of their pixels are used; None: all.
            vertical: which direction of the world is up; by default its z axis.
        """
        if self.up is None:
            return Sources(cameras, encoded, masks)
        up = self.up(encoded.quarter, cameras)
        return Sources(levelled(cameras, up.detach(), vertical), encoded, masks, up)

    def render_rays(
        self,
        sources: Sources,
        camera: ViewCameras,
        xy: Float[Tensor, "rays 2"],
        generator: torch.Generator | None = None,
    ) -> FieldRays:
        """Rays of a target camera through image coordinates; a generator places samples at random."""
        sizes = self.sizes
        step = log_step(sizes.near, sizes.far, sizes.num_coarse)
        logs = coarse_logs(sizes.near, sizes.far, len(xy), sizes.num_coarse, generator, xy)
        first = self._at(sources, camera, xy, logs)
        coarse = RaySamples.of(logs, first.density.view_as(logs), step)
        more = further_logs(coarse, sizes.num_fine, generator)
        second = self._at(sources, camera, xy, more)
        together, order = torch.cat([logs, more], dim=1).sort(dim=1)
        density = torch.cat([first.density.view_as(logs), second.density.view_as(more)], dim=1).gather(1, order)
        samples = RaySamples.of(together, density, step)
        # Weights go back to the order of the features, which are many more.
        weights = torch.zeros_like(samples.weights).scatter(1, order, samples.weights)
        features = torch.cat(
            [values.features.unflatten(0, part.shape) for values, part in ((first, logs), (second, more))], dim=1
        )
        rendered = RaySamples(together, weights).render(features)
        mean, deviation = samples.log_depth()
        rgb, logits = self.color(rendered).sigmoid().mT, self.classes(rendered).mT
        return FieldRays(coarse, samples, mean, deviation.log(), rendered.mT, rgb, logits)

    def _at(self, sources: Sources, camera: ViewCameras, xy: Tensor, logs: Tensor) -> FieldValues:
        """The field at samples [rays, samples], one ray after the other."""
        encoded, count = sources.encoded, logs.shape[1]
        at = reproject(sweep_matrices(sources.cameras, camera), xy[:, None].expand(-1, count, -1), logs.exp())
        seen_at = at.xy.flatten(1, 2)
        guesses = sample_images(torch.stack([encoded.log_depth, encoded.log_std], dim=1), seen_at)
        points = PointsInViews(
            seen_at,
            at.depth.flatten(1),
            at.is_seen.flatten(1) & are_used(sources.masks, seen_at),
            sample_images(encoded.field, seen_at).mT.contiguous(),
            guesses[:, 0],
            guesses[:, 1],
            self._directions(sources.cameras, camera, xy, logs),
        )
        return self.field(points, logs.flatten())

    @staticmethod
    def _directions(sources: ViewCameras, camera: ViewCameras, xy: Tensor, logs: Tensor) -> Tensor:
        """Unit direction of the ray in the axes of each source, and its cosine with the source's own ray."""
        rays = camera.ray_directions(xy[None])[0]
        unit = nn.functional.normalize(rays, dim=-1)
        turned = unit @ sources.c2w[:, :3, :3].to(unit.dtype)
        points = camera.centres.to(unit.dtype) + rays[:, None] * logs.exp()[..., None]
        to_points = nn.functional.normalize(points - sources.centres.to(unit.dtype)[:, None, None], dim=-1)
        cosine = (to_points * unit[:, None]).sum(dim=-1)
        directions = torch.cat([turned[:, :, None].expand(*cosine.shape, 3), cosine[..., None]], dim=-1)
        return directions.flatten(1, 2)

    def ray_grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the rays of an image of a size (height, width)."""
        step = self.sizes.ray_step if self.training else self.sizes.shown_ray_step
        rows, columns = (max(2, -(-length // step)) for length in size)
        return rows, columns

    def plane(
        self,
        sources: Sources,
        camera: ViewCameras,
        size: tuple[int, int],
        generator: torch.Generator | None = None,
        chunk: int = 1 << 20,
    ) -> TargetPlane:
        """The image plane of a target camera that renders images of a size (height, width)."""
        rows, columns = self.ray_grid(size)
        xy = pixel_centres(rows, columns, sources.encoded.images.device).reshape(-1, 2)
        parts = [self.render_rays(sources, camera, part, generator) for part in xy.split(chunk)]
        rays = parts[0] if len(parts) == 1 else _joined(parts)
        half = (-(-size[0] // 2), -(-size[1] // 2))
        image = torch.cat([rays.log_depth[None], rays.log_std[None], rays.features, rays.logits])
        image = resized(image.unflatten(1, (rows, columns))[None], half)[0]
        log_depth, log_std, features, logits = image.split([1, 1, self.sizes.features, self.num_classes])
        return self._decoded(sources, camera, rays, (log_depth, log_std, features, logits))

    def _decoded(
        self, sources: Sources, camera: ViewCameras, rays: FieldRays, parts: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> TargetPlane:
        log_depth, log_std, features, logits = parts
        encoded, (rows, columns) = sources.encoded, log_depth.shape[1:]
        # Where the sources show the surface: gradients do not pass through the place.
        depth = log_depth[0].detach().exp()
        xy = pixel_centres(rows, columns, depth.device)
        at = reproject(sweep_matrices(sources.cameras, camera), xy, depth)
        # Sources that look along other lines show the wrong place where depth is wrong; more of them would blur it.
        closeness = closeness_of_views(sources.cameras, camera, xy.flatten(0, 1), depth.flatten())
        weight = closeness.sqrt().unflatten(1, (rows, columns))
        guessed = sample_images(encoded.log_depth.detach()[:, None], at.xy)[:, 0].exp()
        is_inside = at.is_seen & are_used(sources.masks, at.xy)
        is_seen = is_inside & (at.depth < (1 + _OCCLUDED) * guessed)
        color, half, quarter, probabilities = (
            _mean_of_seen(sample_images(image, at.xy), is_seen, weight)
            for image in (
                encoded.images, self.from_half(encoded.half), self.from_quarter(encoded.quarter), encoded.probabilities
            )
        )  # fmt: skip
        is_any = is_seen.any(dim=0)
        carried = (probabilities.where(is_any, 1 / self.num_classes) + _FLOOR).log()
        known = torch.stack(
            [
                is_any.to(depth.dtype),
                is_seen.to(depth.dtype).sum(dim=0) / 4,
                is_inside.to(depth.dtype).sum(dim=0) / 4,
            ]
        )
        inputs = torch.cat([log_depth, log_std, known, features, color, half, quarter, carried.exp()])
        decoded = self.heads(self.decoder(padded(inputs[None], self.decoder.divisor))[0][..., :rows, :columns])[0]
        change, red_green_blue, more = decoded.split([1, 3, self.num_classes])
        return TargetPlane(
            rays,
            (log_depth + torch.tanh(change))[0].exp(),
            (color + red_green_blue).clamp(0, 1),
            carried + logits + more,
            carried,
            is_seen,
        )


def _mean_of_seen(
    values: Float[Tensor, "views channels h2 w2"],
    is_seen: Bool[Tensor, "views h2 w2"],
    weight: Float[Tensor, "views h2 w2"],
) -> Float[Tensor, "channels h2 w2"]:
    """Weighted mean over the sources that see a point; 0 where none does."""
    shares = weight * is_seen
    total = shares.sum(dim=0)
    return ((shares / total.where(total > 0, 1.0))[:, None] * values).sum(dim=0)


def _joined(parts: list[FieldRays]) -> FieldRays:
    """Rays of several parts, one after the other."""

    def samples(name: str) -> RaySamples:
        of_part = [getattr(part, name) for part in parts]
        return RaySamples(torch.cat([one.logs for one in of_part]), torch.cat([one.weights for one in of_part]))

    logs = [torch.cat([getattr(part, name) for part in parts]) for name in ("log_depth", "log_std")]
    images = [torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("features", "rgb", "logits")]
    return FieldRays(samples("coarse"), samples("samples"), *logs, *images)
