"""Losses of GSNeRF at its published sizes: supervised ones, and those of geometry without true depth."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.views import ViewCameras, pixel_centres, reproject, sample_images, sweep_matrices

LEVEL_WEIGHTS = (2.0, 1.0, 0.5)
"""Weights of losses at 1, 1/2 and 1/4 of the resolution."""
_RECONSTRUCTION, _STRUCTURE, _SMOOTHNESS = 12.0, 6.0, 0.18
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2
_NUM_STRUCTURE_VIEWS = 2
_SAME_COLOR, _TEXTURED = 0.02, 0.05
_OUTSIDE = 1e4


def masked_mean(values: Float[Tensor, "*points"], counts: Bool[Tensor, "*points"]) -> Float[Tensor, ""]:
    """Mean of the values that count; 0 if none does."""
    return values.where(counts, 0.0).sum() / counts.sum().clamp(min=1)


def depth_loss(
    depth: Float[Tensor, "*pixels"], truth: Float[Tensor, "*pixels"], over_all: bool = False
) -> Float[Tensor, ""]:
    """Smooth L1 of depth in metres (Chou et al. 2024, equation (6)).

    Args:
        depth: predicted depth.
        truth: true depth, 0 where unknown.
        over_all: divide the sum by the number of all pixels, not of those with known depth.
    """
    errors = F.smooth_l1_loss(depth, truth, reduction="none")
    mean = masked_mean(errors, truth > 0)
    return mean * (truth > 0).sum() / truth.numel() if over_all else mean


def balanced_class_loss(
    logits: Float[Tensor, "pixels classes"],
    labels: Int64[Tensor, "pixels"],
    class_weights: Float[Tensor, "classes"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy over the pixels that are not void; 0 if all are (Chou et al. 2024, equation (15)).

    Args:
        logits: class logits.
        labels: classes, void -1.
        class_weights: how much each class counts; all count 1 by default.
    """
    is_labelled = labels >= 0
    weights = logits.new_ones(logits.shape[-1]) if class_weights is None else class_weights.to(logits)
    weight = weights[labels.clamp(min=0)] * is_labelled
    losses = F.cross_entropy(logits, labels.clamp(min=0), reduction="none")
    return (weight * losses).sum() / weight.sum().clamp(min=1e-8)


@dataclass(frozen=True, eq=False)
class TargetPoints:
    """Points of rays of a target, at their rendered depth, in its sources; gradients do not pass.

    Attributes:
        rgb: rendered colours of the rays.
        xy: where the sources see the points.
        depth: planar depth in the sources, metres.
        is_seen: whether a point lies in the image of a source.
    """

    rgb: Float[Tensor, "rays 3"]
    xy: Float[Tensor, "views rays 2"]
    depth: Float[Tensor, "views rays"]
    is_seen: Bool[Tensor, "views rays"]

    @classmethod
    def of(
        cls,
        sources: ViewCameras,
        camera: ViewCameras,
        xy: Float[Tensor, "rays 2"],
        rgb: Float[Tensor, "rays 3"],
        depth: Float[Tensor, "rays"],
    ) -> "TargetPoints":
        """Points of rays through image coordinates `xy` of a target camera, with their colours and planar depths."""
        at = reproject(sweep_matrices(sources, camera), xy, depth.detach())
        return cls(rgb.detach(), at.xy, at.depth, at.is_seen)


def pseudo_depth_loss(
    depths: Float[Tensor, "views height width"],
    points: TargetPoints,
    truth: Float[Tensor, "rays 3"],
    warped: Float[Tensor, "views rays 3"],
    is_textured: Bool[Tensor, "rays"],
) -> Float[Tensor, ""]:
    """Rendered depth of the target as truth for the depth of the sources (Johari et al. 2022, GeoNeRF).

    Smooth L1 in metres between the depth of a source where it sees the point of a ray and the depth of the point. It
    counts where the ray has the right colour, the source shows the same, and there is texture.

    Args:
        depths: depth of the sources at one resolution.
        points: points of rays at the rendered depth.
        truth: true colours of the rays.
        warped: colours that the sources show at the points.
        is_textured: whether the target has texture around the rays.
    """
    predicted = sample_images(depths[:, None], points.xy)[:, 0]
    is_right = (points.rgb - truth).abs().mean(dim=-1) < _SAME_COLOR
    is_same = (warped - truth).abs().mean(dim=-1) < _SAME_COLOR
    errors = F.smooth_l1_loss(predicted, points.depth, reduction="none")
    return masked_mean(errors, points.is_seen & is_right & is_same & is_textured)


def is_textured(image: Float[Tensor, "3 height width"]) -> Bool[Tensor, "height width"]:
    """Whether grey values of the 5x5 pixels around a pixel have a standard deviation above 0.05."""
    grey = image.mean(dim=0)[None, None]
    windows = F.unfold(F.pad(grey, (2, 2, 2, 2), mode="reflect"), 5)[0]
    return (windows.std(dim=0, correction=0) > _TEXTURED).view(image.shape[1:])


def unsupervised_depth_loss(
    depths: Float[Tensor, "views height width"],
    images: Float[Tensor, "views 3 height width"],
    cameras: ViewCameras,
    scalar: bool = False,
) -> Float[Tensor, ""]:
    """Other views, warped to a view by its depth, look like it (Chang et al. 2022, RC-MVSNet; weights 12, 6, 0.18).

    Each view in turn is compared with all others; the mean over the views.

    Args:
        depths: depth of each view, metres.
        images: colours at the resolution of the depth.
        cameras: cameras.
        scalar: whether the reconstruction error is one number for each pair of views, as in the released code.
    """
    height, width = depths.shape[-2:]
    xy = pixel_centres(height, width, depths.device)
    losses = []
    for number, (depth, image) in enumerate(zip(depths, images, strict=True)):
        others = _others_by_distance(cameras, number)
        at = reproject(sweep_matrices(cameras[others], cameras[number : number + 1]), xy, depth)
        warped = sample_images(images[others], at.xy)
        reconstruct = scalar_reconstruction_loss if scalar else reconstruction_loss
        losses.append(
            _RECONSTRUCTION * reconstruct(warped, at.is_seen, image)
            + _STRUCTURE * structure_loss(warped, at.is_seen, image)
            + _SMOOTHNESS * smoothness_loss(depth, image)
        )
    return torch.stack(losses).mean()


def _others_by_distance(cameras: ViewCameras, number: int) -> Int64[Tensor, "others"]:
    order = (cameras.centres - cameras.centres[number]).norm(dim=-1).argsort(stable=True)
    return order[order != number]


def _slopes(images: Float[Tensor, "*images height width"]) -> tuple[Tensor, Tensor]:
    """Differences to the right and to the lower neighbour; 0 at the border."""
    right = F.pad(images[..., 1:] - images[..., :-1], (0, 1))
    return right, F.pad(images[..., 1:, :] - images[..., :-1, :], (0, 0, 0, 1))


def _reconstruction_errors(
    warped: Float[Tensor, "views 3 height width"],
    is_seen: Bool[Tensor, "views height width"],
    image: Float[Tensor, "3 height width"],
) -> Float[Tensor, "views height width"]:
    """Half the smooth L1 of masked colours and half that of their slopes in both directions."""
    mask = is_seen[:, None].to(image.dtype)
    first, second = warped * mask, image * mask
    pairs = [(first, second), *zip(_slopes(first), _slopes(second), strict=True)]
    return 0.5 * torch.stack([F.smooth_l1_loss(a, b, reduction="none").mean(dim=1) for a, b in pairs]).sum(dim=0)


def reconstruction_loss(
    warped: Float[Tensor, "views 3 height width"],
    is_seen: Bool[Tensor, "views height width"],
    image: Float[Tensor, "3 height width"],
) -> Float[Tensor, ""]:
    """Error of colours and their slopes; per pixel that of the view that agrees best, over pixels that a view sees.

    Args:
        warped: colours of the other views at the points of a view.
        is_seen: whether they see the point.
        image: true colours of the view.
    """
    errors = _reconstruction_errors(warped, is_seen, image).masked_fill(~is_seen, torch.inf)
    best = errors.min(dim=0).values
    return masked_mean(best, best.isfinite())


def scalar_reconstruction_loss(
    warped: Float[Tensor, "views 3 height width"],
    is_seen: Bool[Tensor, "views height width"],
    image: Float[Tensor, "3 height width"],
) -> Float[Tensor, ""]:
    """The same with one error for each view, its mean over the image; pixels that no view sees count 0."""
    errors = _reconstruction_errors(warped, is_seen, image).mean(dim=(1, 2), keepdim=True)
    best = (errors + _OUTSIDE * ~is_seen).min(dim=0).values
    return best.where(best < _OUTSIDE, 0.0).mean()


def structure_loss(
    warped: Float[Tensor, "views 3 height width"],
    is_seen: Bool[Tensor, "views height width"],
    image: Float[Tensor, "3 height width"],
) -> Float[Tensor, ""]:
    """(1 - SSIM) / 2 over windows of 3x3 pixels (Wang et al. 2004), summed over the first two views.

    Args:
        warped: colours of the other views, the nearest first.
        is_seen: whether they see the point.
        image: true colours of the view.
    """
    total = image.new_zeros(())
    for colors, seen in zip(warped[:_NUM_STRUCTURE_VIEWS], is_seen[:_NUM_STRUCTURE_VIEWS], strict=True):
        total = total + masked_mean(((1 - ssim(colors, image)) / 2).clamp(0, 1).mean(dim=0), seen)
    return total


def ssim(x: Float[Tensor, "3 height width"], y: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Structural similarity of the windows of 3x3 pixels around each pixel."""
    mean_x, mean_y = _box(x), _box(y)
    variance_x, variance_y = _box(x * x) - mean_x**2, _box(y * y) - mean_y**2
    covariance = _box(x * y) - mean_x * mean_y
    return ((2 * mean_x * mean_y + _SSIM_C1) * (2 * covariance + _SSIM_C2)) / (
        (mean_x**2 + mean_y**2 + _SSIM_C1) * (variance_x + variance_y + _SSIM_C2)
    )


def _box(image: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(image[None], (1, 1, 1, 1), mode="reflect"), 3, 1)[0]


def smoothness_loss(depth: Float[Tensor, "height width"], image: Float[Tensor, "3 height width"]) -> Float[Tensor, ""]:
    """|gradient of depth| exp(-|gradient of colour|), the sum of the means of both directions (Chang et al. 2022)."""
    across, down = (
        (slope.abs() * torch.exp(-edge.abs().mean(dim=0))).mean()
        for slope, edge in zip(_slopes(depth), _slopes(image), strict=True)
    )
    return across + down
