"""Autograd wrapper of the training kernel: rays and their targets in, losses out, the gradients already computed."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semantic_ns.batch import Targets
from semantic_ns.fields.cpu.render import BLOCK, kernel_matrices, transposed_matrices, whole_blocks
from semantic_ns.losses import check_labels


class Intervals(NamedTuple):
    """The intervals of R rays with S samples each, by which they are rendered."""

    lengths: Float[Tensor, "rays samples"]
    """In scene units."""
    spacings: Float[Tensor, "rays samples_plus_one"]
    """Edges as normalised spacings."""
    starts: Float[Tensor, "rays"]
    """Distance of each ray's first edge from its origin, in scene units."""


@dataclass(frozen=True)
class LossWeights:
    """Factors of the losses, and what they are computed with."""

    distortion: float
    semantic: float
    density_scale: float = 1.0
    """Factor of the exponential density activation."""
    pass_semantics: bool = True
    """Whether the semantic loss reaches weights and geometry."""
    opacity: float = 0.0
    near_camera: float = 0.0
    near_camera_reach: float = 1.0
    """Distance from the camera, in scene units, from which on weights have no price."""
    min_light: float = 1e-4
    """Light below which a sample's colour and semantics are not evaluated."""


@dataclass(frozen=True)
class TrainedRays:
    """Losses of a batch, each times its factor, and what was rendered, which has no gradient."""

    colour_loss: Float[Tensor, ""]
    """Mean squared error over rays with a colour target and channels (nerfacto's)."""
    distortion_loss: Float[Tensor, ""]
    """Barron et al. 2022, equation (15), mean over the same rays."""
    opacity_loss: Float[Tensor, ""]
    """``losses.opacity_loss`` over the same rays."""
    near_camera_loss: Float[Tensor, ""]
    """Mean of ``losses.near_camera_prices`` over all rays."""
    semantic_loss: Float[Tensor, ""]
    """Cross-entropy, weighted mean over the labelled rays; 0 without a head."""
    rgb: Float[Tensor, "rays 3"]
    weights: Float[Tensor, "rays samples"]


class _FusedTraining(torch.autograd.Function):
    """Losses of a batch of rays whose gradients come with their values."""

    @staticmethod
    def forward(
        ctx: Any, enc: Tensor, cond: Tensor, constants: tuple[Any, ...], head: Tensor, *network: Tensor
    ) -> tuple[Tensor, ...]:
        from semantic_ns.fields.cpu import train_numba
        from semantic_ns.fields.cpu.render_numba import number_of_threads

        (delta, spacings, starts), targets, options, num_classes = constants
        num_rays, num_samples = delta.shape
        threads = number_of_threads()
        matrices = tuple(m.detach().contiguous() for m in network)
        enc, cond, head = enc.detach().contiguous(), cond.detach().contiguous(), head.detach().contiguous()
        losses, rgb, weights = torch.empty(5, num_rays), torch.empty(num_rays, 3), torch.empty(num_rays, num_samples)
        g_enc, g_cond, g_head = torch.empty_like(enc), torch.empty_like(cond), torch.zeros(threads, *head.shape)
        g_network = tuple(torch.zeros(threads, *m.shape) for m in matrices)
        train_numba.train(
            (enc.numpy(), cond.numpy(), *(edge.contiguous().numpy() for edge in (delta, spacings, starts))),
            tuple(m.numpy() for m in matrices),
            transposed_matrices(matrices),
            (head.numpy(), head.T.contiguous().numpy()),
            options.pass_semantics,
            _target_arrays(targets, options.semantic, num_classes),
            _factors(targets, options),
            losses.numpy(), rgb.numpy(), weights.numpy(), g_enc.numpy(), g_cond.numpy(),
            tuple(g.numpy() for g in g_network), g_head.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(g_enc, g_cond, g_head.sum(dim=0), *(g.sum(dim=0) for g in g_network))
        ctx.mark_non_differentiable(rgb, weights)
        ctx.num_losses = 5 if num_classes else 4
        return *losses.sum(dim=1).unbind(), rgb, weights

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        factor, *others = (float(gradient) for gradient in gradients[: ctx.num_losses])
        if any(other != factor for other in others):
            raise RuntimeError(
                f"Expected the sum of the losses to be differentiated, found the factors {[factor, *others]}; "
                "weigh the losses by the model's options instead, or turn fuse_on_cpu off."
            )
        saved = ctx.saved_tensors if factor == 1.0 else [gradient * factor for gradient in ctx.saved_tensors]
        g_enc, g_cond, *g_matrices = saved
        return g_enc, g_cond, None, *g_matrices


def _target_arrays(targets: Targets, semantic_weight: float, num_classes: int) -> tuple[np.ndarray, ...]:
    soft = targets.soft_labels
    if not num_classes:
        return targets.colour.contiguous().numpy(), *(array.numpy() for array in _no_labels(targets.labels))
    if soft is None:
        check_labels(targets.labels, num_classes)
        soft = torch.empty(0, num_classes)
    elif soft.shape != (num_rays := targets.labels.shape[0], num_classes):
        found = tuple(soft.shape)
        raise ValueError(f"expected distributions ({num_rays}, {num_classes}), found {found}; check the labels")
    arrays = (targets.colour, targets.labels, soft.float(), semantic_weight * targets.label_shares())
    return tuple(array.contiguous().numpy() for array in arrays)


def _no_labels(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty(0, dtype=torch.int64), torch.empty(0, 0), torch.zeros(labels.shape[0])


def _factors(targets: Targets, options: LossWeights) -> tuple[np.float32, ...]:
    num_rays = max(1, targets.colour.shape[0])
    by_ray = (factor / num_rays for factor in (1 / 3, options.distortion, options.opacity))
    near = (options.near_camera / max(1, targets.labels.shape[0]), 1.0 / options.near_camera_reach)
    factors = (options.density_scale, options.min_light, *by_ray, *near)
    return tuple(np.float32(factor) for factor in factors)


def _head_matrix(weight: Tensor, bias: Tensor) -> Tensor:
    """The last semantic layer [F + 8, C] as the kernel wants it: the bias in row F, everything in whole blocks."""
    (num_classes, num_features) = weight.shape
    matrix = F.pad(weight.T, (0, 0, 0, -num_features % BLOCK))
    return F.pad(torch.cat([matrix, bias[None]]), (0, -num_classes % BLOCK, 0, BLOCK - 1))


def train_fused(
    enc: Float[Tensor, "all_samples encoded"],
    cond: Float[Tensor, "rays hidden"],
    edges: Intervals,
    network: tuple[Tensor, ...],
    head: tuple[Float[Tensor, "classes features"], Float[Tensor, "classes"]] | None,
    targets: Targets,
    options: LossWeights,
) -> TrainedRays:
    """Render rays, compare them with their targets and prepare all gradients in one pass over the field.

    Only the sum of the losses can be differentiated, or a multiple of it. Equal to ``render_fused``, followed by the
    losses of ``semantic_ns.losses``.

    Args:
        enc: encoded sample positions, samples of one ray adjacent.
        cond: what is constant along a ray, through the first colour layer, bias included.
        edges: the intervals of the rays.
        network: ``w1 b1 w2 b2 c1 c2 d2 c3 d3 s1 t1`` as described in ``render_numba``; matrices are [in, out].
        head: weight and bias of the last semantic layer; none where ``network`` has no semantic features.
        targets: what the rays should look like.
        options: factors of the losses and of the density.

    Raises:
        ValueError: if a label is no class, or a distribution has another number of classes.
        RuntimeError: in the backward pass, if the losses have different factors.
    """
    num_classes = 0 if head is None else head[0].shape[0]
    matrix = enc.new_zeros(BLOCK, 0) if head is None else _head_matrix(*head)
    losses = _FusedTraining.apply(
        enc, whole_blocks(cond, axes=1), (edges, targets, options, num_classes), matrix,
        *kernel_matrices(network),
    )  # fmt: skip
    return TrainedRays(*losses)
