"""Fused training on the CPU: rays and their targets in, losses out, the gradients already computed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.autograd.function import once_differentiable

from semantic_ns.batch import Targets
from semantic_ns.fields.cpu.network import EncodedRays, KernelView, Network, RenderOptions
from semantic_ns.fields.cpu.render import logits_of, render_weights
from semantic_ns.fields.semantic_nerf_field import SemanticNerfField
from semantic_ns.kernels.layers import BLOCK, as_arrays, whole_blocks, zeros_per_slot
from semantic_ns.losses import DEPTH_NOISE_M, DepthNoise, check_labels
from semantic_ns.sampling.proposal import Edges


class Intervals(NamedTuple):
    """The intervals of R rays with S samples each, by which they are rendered."""

    spacings: Float[Tensor, "rays edges"]
    """Those of the edges, as :class:`Edges` has them."""
    starts: Float[Tensor, "rays"]
    """Distance of each ray's first edge from its origin, in scene units."""
    lengths: Float[Tensor, "rays samples"]
    """In scene units."""

    @classmethod
    def between(cls, edges: Edges) -> "Intervals":
        """The intervals between edges."""
        spacings, distances = edges
        return cls(spacings, starts=distances[:, 0], lengths=distances[:, 1:] - distances[:, :-1])


class Head(NamedTuple):
    """The last semantic layer."""

    weight: Float[Tensor, "classes features"]
    bias: Float[Tensor, "classes"]


@dataclass(frozen=True)
class KnownLoss:
    """The loss of classes whose features the kernel does not know, with its gradients."""

    value: Float[Tensor, ""]
    """Without gradients of its own."""
    in_weights: Float[Tensor, "rays samples"]
    """Its gradient in the rendering weights."""
    parameters: Sequence[Tensor]
    in_parameters: Sequence[Tensor]
    """Its gradients in them."""


@dataclass(frozen=True)
class LossWeights:
    """What each loss counts in the total beside the colours', which counts 1."""

    distortion: float
    semantic: float
    opacity: float = 0.0
    near_camera: float = 0.0
    depth: float = 0.0


@dataclass(frozen=True)
class LossOptions:
    """How the losses are computed."""

    weights: LossWeights
    near_camera_reach: float = 1.0
    """Distance from the camera, in scene units, from which on rendering weights have no price."""
    depth_noise: DepthNoise = DEPTH_NOISE_M
    """Of the distances in the targets, in scene units."""


@dataclass(frozen=True)
class TrainedRays:
    """Losses of a batch, each times its factor, and what was rendered, which has no gradient."""

    color_loss: Float[Tensor, ""]
    """Mean squared error over rays with a colour target and channels (nerfacto's)."""
    distortion_loss: Float[Tensor, ""]
    """Barron et al. 2022, equation (15), mean over the same rays."""
    opacity_loss: Float[Tensor, ""]
    """``losses.opacity_loss`` over the same rays."""
    near_camera_loss: Float[Tensor, ""]
    """Mean of ``losses.near_camera_prices`` over all rays."""
    depth_loss: Float[Tensor, ""]
    """``losses.depth_loss`` over rays with a colour target; 0 where their distances are unknown."""
    semantic_loss: Float[Tensor, ""]
    """Cross-entropy, weighted mean over the labelled rays; 0 without a head."""
    rgb: Float[Tensor, "rays 3"]
    """0 for rays without a colour target."""
    weights: Float[Tensor, "rays samples"]


class TargetArrays(NamedTuple):
    """What R rays should look like, as the kernel takes it, with NumPy arrays in the place of tensors."""

    colors: Float[Tensor, "uniform_rays 3"]
    """Of the first rays; later ones train no colour."""
    labels: Int64[Tensor, "rays"]
    distributions: Float[Tensor, "rays classes"]
    """None [0, C] where labels count."""
    shares: Float[Tensor, "rays"]
    """What each ray's cross-entropy counts in the total."""
    distances: Float[Tensor, "uniform_rays"]
    """Of the first rays, 0 where unknown; none [0] if all are."""


class LossFactors(NamedTuple):
    """Single-precision factors of each ray's losses in the total."""

    color: np.float32
    """Of a squared error of a channel."""
    distortion: np.float32
    opacity: np.float32
    """Of minus the logarithm of what a ray's weights sum to."""
    near_camera: np.float32
    per_reach: np.float32
    """1 / the reach of the loss near the camera, in scene units."""
    depth: np.float32
    depth_constant: np.float32
    """Of the half width of a distance, in scene units."""
    depth_relative: np.float32


@dataclass(frozen=True)
class _Constants:
    """What no gradient reaches."""

    intervals: Intervals
    targets: Targets
    losses: LossOptions
    options: RenderOptions
    num_classes: int
    known: KnownLoss | None


class _FusedTraining(torch.autograd.Function):
    """Losses of a batch of rays whose gradients come with their values."""

    @staticmethod
    def forward(
        ctx: Any, enc: Tensor, conditioning: Tensor, constants: _Constants, head: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        """Of the parameters the first are the network's matrices, and the others those of the known loss."""
        from semantic_ns.fields.cpu import train_numba

        intervals, options, num_classes = constants.intervals, constants.options, constants.num_classes
        known = constants.known
        further = torch.empty(0, 0) if known is None else known.in_weights.contiguous()
        num_rays, num_samples = intervals.lengths.shape
        network = Network(*(matrix.detach().contiguous() for matrix in parameters[: len(Network._fields)]))
        enc, conditioning, head = (
            enc.detach().contiguous(),
            conditioning.detach().contiguous(),
            head.detach().contiguous(),
        )
        losses, rgb, weights = torch.empty(6, num_rays), torch.empty(num_rays, 3), torch.empty(num_rays, num_samples)
        g_enc, g_conditioning = torch.empty_like(enc), torch.empty_like(conditioning)
        g_network, (g_head,) = zeros_per_slot(network), zeros_per_slot([head])
        train_numba.train(
            enc.numpy(), conditioning.numpy(), as_arrays(intervals), as_arrays(network),
            as_arrays(network.transposed()), head.numpy(), head.T.contiguous().numpy(),
            np.float32(options.density_scale), np.float32(options.min_transmittance), options.pass_semantics,
            _target_arrays(constants.targets, constants.losses.weights.semantic, num_classes),
            _factors(constants.targets, constants.losses),
            further.numpy(),
            losses.numpy(), rgb.numpy(), weights.numpy(), g_enc.numpy(), g_conditioning.numpy(),
            as_arrays(g_network), g_head.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(g_enc, g_conditioning, g_head.sum(dim=0), *(g.sum(dim=0) for g in g_network))
        ctx.mark_non_differentiable(rgb, weights)
        # Of those without a target a caller may know nothing.
        has_depth, has_classes = constants.targets.distances is not None, bool(num_classes or known)
        ctx.counted = [0, 1, 2, 3, *([4] if has_depth else []), *([5] if has_classes else [])]
        ctx.in_parameters = () if known is None else known.in_parameters
        sums = list(losses.sum(dim=1).unbind())
        if known is not None:
            sums[5] = known.value.clone()
        return *sums, rgb, weights

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        factor, *other_factors = (float(gradients[number]) for number in ctx.counted)
        if any(other != factor for other in other_factors):
            raise RuntimeError(
                f"Expected the sum of the losses to be differentiated, found the factors {[factor, *other_factors]}; "
                "weigh the losses by the model's options instead, or turn fuse_on_cpu off."
            )
        if ctx.in_parameters is None:
            raise RuntimeError(
                "Expected one backward pass through a step that trains classes, found a second one; sum the losses "
                "first, or turn fuse_on_cpu off."
            )
        prepared = [*ctx.saved_tensors, *ctx.in_parameters]
        if ctx.in_parameters:
            # Kept no longer: gradients that nobody else holds are taken as they are, and tables are large.
            ctx.in_parameters = None
        scaled = prepared if factor == 1.0 else [gradient * factor for gradient in prepared]
        g_enc, g_conditioning, *others = scaled
        return g_enc, g_conditioning, None, *others


def _target_arrays(targets: Targets, semantic_weight: float, num_classes: int) -> TargetArrays:
    soft = targets.soft_labels
    distances = torch.empty(0) if targets.distances is None else targets.distances.float()
    if not num_classes:
        labels, none = torch.empty(0, dtype=torch.int64), torch.empty(0, 0)
        return as_arrays(TargetArrays(targets.color, labels, none, torch.zeros(targets.labels.shape[0]), distances))
    if soft is None:
        check_labels(targets.labels, num_classes)
        soft = torch.empty(0, num_classes)
    elif soft.shape != (num_rays := targets.labels.shape[0], num_classes):
        found = tuple(soft.shape)
        raise ValueError(f"expected distributions ({num_rays}, {num_classes}), found {found}; check the labels")
    shares = semantic_weight * targets.normalized_label_weights()
    return as_arrays(TargetArrays(targets.color, targets.labels, soft.float(), shares, distances))


def _factors(targets: Targets, losses: LossOptions) -> LossFactors:
    num_uniform, num_rays = max(1, targets.color.shape[0]), max(1, targets.labels.shape[0])
    weights = losses.weights
    return LossFactors(
        color=np.float32(1 / 3 / num_uniform),
        distortion=np.float32(weights.distortion / num_uniform),
        opacity=np.float32(weights.opacity / num_uniform),
        near_camera=np.float32(weights.near_camera / num_rays),
        per_reach=np.float32(1.0 / losses.near_camera_reach),
        depth=np.float32(weights.depth / num_uniform),
        depth_constant=np.float32(losses.depth_noise.constant),
        depth_relative=np.float32(losses.depth_noise.relative),
    )


def _head_matrix(head: Head) -> Tensor:
    """The last semantic layer [F + 8, C] as the kernel wants it: the bias in row F, everything in whole blocks."""
    return torch.cat([whole_blocks(head.weight.T), whole_blocks(head.bias[None])])


def train_fused(
    rays: EncodedRays,
    intervals: Intervals,
    network: Network,
    head: Head | KnownLoss | None,
    targets: Targets,
    losses: LossOptions,
    options: RenderOptions,
) -> TrainedRays:
    """Render rays, compare them with their targets and prepare all gradients in one pass over the field.

    Only the sum of the losses can be differentiated, or a multiple of it. Equal to ``render_fused``, followed by the
    losses of ``semantic_ns.losses``.

    Args:
        rays: what the networks take.
        intervals: those by which the rays are rendered.
        network: matrices of any size, see ``render_numba``.
        head: last semantic layer; where ``network`` has no semantic features a loss that is known already, or none.
        targets: what the rays should look like.
        losses: weights of the losses, and how far one of them reaches.
        options: the density's factor, the gradients of features, and the least light.

    Raises:
        ValueError: if a label is no class, or a distribution has another number of classes.
        RuntimeError: in the backward pass, if the losses have different factors.
    """
    known = head if isinstance(head, KnownLoss) else None
    num_classes, matrix = 0, rays.enc.new_zeros(BLOCK, 0)
    if isinstance(head, Head):
        num_classes, matrix = head.weight.shape[0], _head_matrix(head)
    constants = _Constants(intervals, targets, losses, options, num_classes, known)
    results = _FusedTraining.apply(
        rays.enc, whole_blocks(rays.conditioning, axes=1), constants, matrix, *network.in_whole_blocks(),
        *(() if known is None else known.parameters),
    )  # fmt: skip
    return TrainedRays(*results)


def train_rays(
    field: SemanticNerfField, ray_bundle: RayBundle, edges: Edges, targets: Targets, losses: LossOptions
) -> TrainedRays:
    """Losses of rays that know their targets, by one pass of the CPU kernel; see ``train_fused``.

    Args:
        field: a field that the kernels know (``KernelView.can_fuse``).
        ray_bundle: rays [rays].
        edges: edges of the intervals.
        targets: what the rays should look like.
        losses: weights of the losses, and how far one of them reaches.
    """
    view = KernelView(field)
    positions, network, options = view.unit_positions(ray_bundle, edges.distances), view.network(), view.options
    rays, intervals = view.encode(ray_bundle, positions), Intervals.between(edges)
    if view.has_shared_features:
        head = Head(field.semantic_head.weight, field.semantic_head.bias)
        return train_fused(rays, intervals, network, head, targets, losses, options)
    is_labelled = targets.normalized_label_weights() > 0
    if not field.use_semantics or not is_labelled.any():
        return train_fused(rays, intervals, network, None, targets, losses, options)

    def loss_of_grid(weights: Tensor) -> Tensor:
        # The samples of rays that do not count are left out.
        counted = weights * is_labelled[:, None]
        return losses.weights.semantic * targets.semantic_loss(logits_of(field, positions, counted, counted))

    if not field.pass_semantic_gradients or not torch.is_grad_enabled():
        trained = train_fused(rays, intervals, network, None, targets, losses, options)
        return replace(trained, semantic_loss=loss_of_grid(trained.weights))
    # The gradient in the weights has to be there before the pass that carries all gradients on to the geometry.
    weights = render_weights(rays.enc, intervals.lengths, network, options).requires_grad_()
    known = _differentiated(loss_of_grid(weights), weights, list(field.head.parameters_of_classes()))
    return train_fused(rays, intervals, network, known, targets, losses, options)


def _differentiated(
    loss: Float[Tensor, ""], weights: Float[Tensor, "rays samples"], parameters: Sequence[Tensor]
) -> KnownLoss:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    in_weights, *in_parameters = torch.autograd.grad(loss, [weights, *trained])
    return KnownLoss(loss.detach(), in_weights, trained, in_parameters)
