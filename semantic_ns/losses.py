"""Losses as pure functions.

Symbols: rays are axis 0, classes axis -1; labels are 0..C-1 with void = -1.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from semantic_ns.labels.taxonomy import VOID


def semantic_cross_entropy(
    logits: Float[Tensor, "rays classes"], labels: Int[Tensor, "rays"], weights: Float[Tensor, "rays"] | None = None
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the labelled rays of a batch (Zhi et al. 2021, equation (7), as a mean).

    Void rays neither count nor receive a gradient. A batch without any label gives 0 with gradient 0, where torch's
    own mean would give NaN.

    Args:
        logits: rendered class logits, equation (4).
        labels: class of each ray, -1 for void.
        weights: how much each ray counts, 0 or more; all the same if left out.

    Returns:
        weighted mean over the labelled rays, in nats; see :func:`normalized_label_weights`.
    """
    shares = normalized_label_weights(labels, weights)
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return _cross_entropy_cpu(logits, labels, shares)
    losses = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="none")
    return (shares.to(losses.dtype) * losses).sum()


def soft_cross_entropy(
    logits: Float[Tensor, "rays classes"], targets: Float[Tensor, "rays columns"], weights: Float[Tensor, "rays"]
) -> Float[Tensor, ""]:
    """Weighted mean over rays of the cross-entropy against distributions: - sum_c t_c log p_c.

    Args:
        logits: rendered class logits.
        targets: t of each class, 0 or more; rows need not sum to 1.
        weights: how much each ray counts, 0 or more; without any weight the loss and its gradient are 0.

    Returns:
        sum of weighted losses / sum of weights, in nats.

    Raises:
        ValueError: if the distributions are over other classes than the logits.
    """
    if targets.shape != logits.shape:
        found = tuple(targets.shape)
        raise ValueError(
            f"expected distributions {tuple(logits.shape)} like the logits, found {found}; check the labels"
        )
    shares = _shares(weights)
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return _cross_entropy_cpu(logits, targets.float(), shares)
    losses = F.cross_entropy(logits, targets.to(logits.dtype), reduction="none")
    return (shares.to(losses.dtype) * losses).sum()


def normalized_label_weights(
    labels: Int[Tensor, "rays"], weights: Float[Tensor, "rays"] | None = None
) -> Float[Tensor, "rays"]:
    """What each ray's cross-entropy counts in the mean: 0 where void, sum 1, or all 0 where nothing counts."""
    labelled = (labels != VOID).float()
    return _shares(labelled if weights is None else labelled * weights)


def _shares(weights: Tensor) -> Tensor:
    total = weights.sum()
    return weights / total.masked_fill(total <= 0, 1.0)


def check_labels(labels: Int[Tensor, "rays"], num_classes: int) -> None:
    """Refuse labels that the kernels would read beyond the end of an array.

    Raises:
        ValueError: if a label is neither void nor a class.
    """
    if labels.numel() and not (int(labels.min()) >= VOID and int(labels.max()) < num_classes):
        found = f"{int(labels.min())}..{int(labels.max())}"
        raise ValueError(f"expected labels in {VOID}..{num_classes - 1}, found {found}; check the class table")


def _cross_entropy_cpu(logits: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
    loss = _NumbaCrossEntropy.apply(logits, targets, shares)
    assert isinstance(loss, Tensor)
    return loss


class _NumbaCrossEntropy(torch.autograd.Function):
    """Sum of the rays' cross-entropies times their shares; targets are labels [R] or distributions [R, C]."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
        from semantic_ns import losses_numba as kernels

        if targets.ndim == 1:
            check_labels(targets, logits.shape[1])
        kernel = kernels.cross_entropy if targets.ndim == 1 else kernels.soft_cross_entropy
        losses, gradient = torch.empty(logits.shape[0]), torch.empty(logits.shape)
        kernel(logits.detach().contiguous().numpy(), targets.contiguous().numpy(), losses.numpy(), gradient.numpy())
        ctx.save_for_backward(gradient, shares)
        return (losses * shares).sum()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None]:
        gradient, shares = ctx.saved_tensors
        return gradient * (gradients[0] * shares)[:, None], None, None


class _NumbaDistortion(torch.autograd.Function):
    """Mean distortion over rays by the numba kernel; its gradient is known once the loss is."""

    @staticmethod
    def forward(ctx: Any, edges: Tensor, weights: Tensor) -> Tensor:
        from semantic_ns import losses_numba as kernels

        losses, gradient = torch.empty(weights.shape[0]), torch.empty(weights.shape)
        kernels.distortion(
            edges.detach().contiguous().numpy(), weights.detach().contiguous().numpy(), losses.numpy(), gradient.numpy()
        )
        ctx.save_for_backward(gradient)
        return losses.sum() / max(1, weights.shape[0])

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[None, Tensor]:
        (gradient,) = ctx.saved_tensors
        return None, gradient * (gradients[0] / max(1, gradient.shape[0]))


def distortion_loss_cpu(
    edges: Float[Tensor, "rays samples_plus_one"], weights: Float[Tensor, "rays samples"]
) -> Float[Tensor, ""]:
    """Distortion loss (Barron et al. 2022, equation (15)), mean over rays, for CPU tensors.

    sum_ij w_i w_j |u_i - u_j| + 1/3 sum_i w_i^2 (e_{i+1} - e_i) with interval centres u. Equal to nerfstudio's
    ``distortion_loss``, in linear time.

    Args:
        edges: interval edges as normalised spacings, ascending; they receive no gradient.
        weights: rendering weights.
    """
    loss = _NumbaDistortion.apply(edges, weights)
    assert isinstance(loss, Tensor)
    return loss


def near_camera_prices(
    weights: Float[Tensor, "rays samples"], distances: Float[Tensor, "rays samples"], reach: float
) -> Float[Tensor, "rays"]:
    """sum_k w_k max(0, 1 - t_k / reach) of each ray: what it meets close to its camera has a price.

    Nothing but the colour of one image speaks about the space in front of its own camera, and a plain wall looks the
    same painted on a veil before the lens. The price decides: of two surfaces that explain the images, the farther one
    is taken. It is the occlusion regularisation of Yang et al. 2023 (FreeNeRF, section 3.3) on rendering weights, which
    sum to 1 at most, in place of densities, and with a price that falls to 0 instead of ending at an edge.

    Args:
        weights: rendering weights.
        distances: distances of the samples' centres from the camera, along the unit ray.
        reach: distance from which on nothing has a price, in the units of ``distances``.
    """
    return (weights * price_of_distance(distances, reach)).sum(dim=-1)


def price_of_distance(distances: Float[Tensor, "*samples"], reach: float) -> Float[Tensor, "*samples"]:
    """max(0, 1 - t / reach), what a weight of 1 costs at a distance from the camera."""
    return (1.0 - distances / reach).clamp(min=0.0)


def opacity_loss(accumulation: Float[Tensor, "rays 1"]) -> Float[Tensor, ""]:
    """Mean of -log(accumulation + 0.01): rays that end nowhere cost most, those that end cost nothing."""
    from semantic_ns.losses_numba import OPACITY_OFFSET

    return -(accumulation + OPACITY_OFFSET).log().mean()


class DepthNoise(NamedTuple):
    """Half width at half height of the distances that a depth image gives, around the true ones."""

    constant: float
    """In the units of the distances."""
    relative: float
    """Share of the distance: sensors lose precision with it."""


_LEAST_WIDTH = 1e-6
"""In half widths, from which on an interval is one."""

DEPTH_NOISE_M = DepthNoise(constant=0.01, relative=0.01)
"""In metres: what depth cameras and the poses of their images are usually off by, a centimetre and a percent."""

STEREO_NOISE = DepthNoise(constant=0.0, relative=0.035)
"""In any unit, of depth by stereo between images: half of it is off by less than a percent, a tenth by more than two to
four. Within this width colours, which see single pixels, say where a surface is."""


def depth_agreements(
    weights: Float[Tensor, "rays samples"],
    edges: Float[Tensor, "rays edges"],
    distances: Float[Tensor, "rays"],
    noise: DepthNoise,
) -> Float[Tensor, "rays"]:
    """sum_k w_k g_k of each ray: the share of its light that is stopped where a depth image saw its end, 0 to 1.

    g_k is the mean over interval k of 1 / (1 + ((t - d) / s)^2), with d the distance seen and s its half width. The
    tails of that curve reach light that is stopped far from d; those of a Gaussian would not.

    Args:
        weights: rendering weights.
        edges: distances of the intervals' edges from the camera along the unit ray, ascending; without gradient.
        distances: d, in the same units; 0 is unknown, where the agreement is 0.
        noise: s = constant + relative d.
    """
    shares = interval_agreements(edges[:, :-1], edges[:, 1:], distances[:, None], noise)
    return (weights * shares).sum(dim=-1)


def interval_agreements(
    starts: Float[Tensor, "*samples"], ends: Float[Tensor, "*samples"], distances: Float[Tensor, "*#samples"],
    noise: DepthNoise,
) -> Float[Tensor, "*samples"]:  # fmt: skip
    """g_k of :func:`depth_agreements` for intervals, each beside the d of its ray; 0 where d is unknown (0)."""
    scales = noise.constant + noise.relative * distances
    low, widths = (starts - distances) / scales, (ends - starts) / scales
    # A difference of two arcs would lose its digits far from d. An interval without width is a point.
    arcs = torch.atan2(widths, 1.0 + low * (low + widths)) / widths.clamp(min=_LEAST_WIDTH)
    shares = torch.where(widths > _LEAST_WIDTH, arcs, 1.0 / (1.0 + low.square()))
    return shares * (distances > 0)


def depth_loss(
    agreements: Float[Tensor, "rays"], distances: Float[Tensor, "rays"], num_rays: int | None = None
) -> Float[Tensor, ""]:
    """Minus the logarithm of how probable the distances of a depth image are, if some of its pixels are just wrong.

    Light ends where its ray meets a surface, so that rendering weights are the probabilities of distances (Deng et al.
    2022, DS-NeRF, section 3.2). A pixel shows that distance with the sensor's noise, or anything at all with a small
    probability: -log((a + o) / (e + o)) with the agreement a of :func:`depth_agreements` and the offset o. What is
    left of its gradient in a ray that ends elsewhere is a / (a + o): a pixel that the images contradict is given up.

    Where the agreement is e = 0.4 or more, the loss is 0: the surface stands where it should, and colours make it
    sharp. Were all light to end there, the many rays that pass close to a thin object would clear it away before the
    few that end on it put it there.

    Args:
        agreements: a.
        distances: distances seen, 0 where unknown; these rays have no loss.
        num_rays: number by which the sum is divided; that of the rays, unknown ones included, if left out. Every pixel
            counts the same, however many others are known.
    """
    from semantic_ns.losses_numba import DEPTH_OFFSET, ENOUGH_AGREEMENT

    enough = agreements.masked_fill(distances <= 0, 1.0).clamp(max=ENOUGH_AGREEMENT)
    losses = -((enough + DEPTH_OFFSET) / (ENOUGH_AGREEMENT + DEPTH_OFFSET)).log()
    return losses.sum() / max(1, len(losses) if num_rays is None else num_rays)
