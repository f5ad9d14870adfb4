"""Losses as pure functions.

Symbols: rays are axis 0, classes axis -1; labels are 0..C-1 with void = -1.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

VOID = -1
"""Label of a pixel that is neither trained nor scored."""


def semantic_cross_entropy(logits: Float[Tensor, "rays classes"], labels: Int[Tensor, "rays"]) -> Float[Tensor, ""]:
    """Mean cross-entropy over the labelled rays of a batch (Zhi et al. 2021, equation (7), as a mean).

    Void rays neither count nor receive a gradient. A batch without any label gives 0 with gradient 0, where torch's
    own mean would give NaN.

    Args:
        logits: rendered class logits, equation (4).
        labels: class of each ray, -1 for void.

    Returns:
        sum over labelled rays / max(1, number of labelled rays), in nats.
    """
    num_labelled = (labels != VOID).sum().clamp(min=1)
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        loss = _NumbaCrossEntropy.apply(logits, labels, num_labelled)
        assert isinstance(loss, Tensor)
        return loss
    return F.cross_entropy(logits, labels, ignore_index=VOID, reduction="sum") / num_labelled


class _NumbaCrossEntropy(torch.autograd.Function):
    """Cross-entropy of the labelled rays over their number by the numba kernel."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, num_labelled: Tensor) -> Tensor:
        from semantic_ns import losses_numba as kernels

        num_classes = logits.shape[1]
        if labels.numel() and not (int(labels.min()) >= VOID and int(labels.max()) < num_classes):
            found = f"{int(labels.min())}..{int(labels.max())}"
            raise ValueError(f"expected labels in {VOID}..{num_classes - 1}, found {found}; check the class table")
        losses, gradient = torch.empty(logits.shape[0]), torch.empty(logits.shape)
        kernels.cross_entropy(
            logits.detach().contiguous().numpy(), labels.contiguous().numpy(), losses.numpy(), gradient.numpy()
        )
        ctx.save_for_backward(gradient, num_labelled)
        return losses.sum() / num_labelled

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None]:
        gradient, num_labelled = ctx.saved_tensors
        return gradient * (gradients[0] / num_labelled), None, None


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
