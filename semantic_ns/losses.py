"""Losses as pure functions.

Symbols: rays are axis 0, classes axis -1; labels are 0..C-1 with void = -1.
"""

from typing import Any

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
