"""The semantic field as the CPU kernels see it: its matrices, what is constant along a ray, and its options.

Symbols: R rays, S samples per ray, E encoded features, H hidden width, G = 1 + geometry features, F semantic width, C
classes. The kernels take the named tuples of this module with NumPy arrays in the place of tensors. Gradients of the
matrices are such a tuple, too, with one slice per slot as first axis (``zeros_per_slot``).
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn

from semantic_ns.encodings.hash_grid import HashGrid
from semantic_ns.fields.semantic_nerf_field import SemanticNerfField
from semantic_ns.kernels.layers import INPUT_BLOCK, linear_layers, whole_blocks
from semantic_ns.sampling.proposal import is_infinity_contraction, scene_to_unit_box


class TransposedNetwork(NamedTuple):
    """Matrices [out, in] of a :class:`Network` in whole blocks, for the way back; its biases are not needed there."""

    w1: Float[Tensor, "hidden encoded"]
    w2: Float[Tensor, "outputs hidden"]
    c1: Float[Tensor, "hidden outputs"]
    c2: Float[Tensor, "hidden hidden"]
    c3: Float[Tensor, "3 hidden"]
    """Only the rows that belong to the colours."""
    s1: Float[Tensor, "features outputs"]


class Network(NamedTuple):
    """Matrices [in, out] and biases of the density, the colour and the semantic network."""

    w1: Float[Tensor, "encoded hidden"]
    b1: Float[Tensor, "hidden"]
    w2: Float[Tensor, "hidden outputs"]
    """The outputs G of the density network are the raw density and the geometry features."""
    b2: Float[Tensor, "outputs"]
    c1: Float[Tensor, "outputs hidden"]
    """Row 0, that of the raw density, is zero; what is constant along a ray has a matrix of its own."""
    c2: Float[Tensor, "hidden hidden"]
    d2: Float[Tensor, "hidden"]
    c3: Float[Tensor, "hidden 3"]
    d3: Float[Tensor, "3"]
    s1: Float[Tensor, "outputs features"]
    """Row 0 is zero as well; there are no features where the field has no classes or a grid for them."""
    t1: Float[Tensor, "features"]

    def in_whole_blocks(self) -> "Network":
        """The matrices in the sizes that the kernels want: zeros are appended up to whole blocks."""
        first, *others = self
        return Network(whole_blocks(first, rows=INPUT_BLOCK), *(whole_blocks(matrix) for matrix in others))

    def transposed(self) -> TransposedNetwork:
        """The matrices of a network in whole blocks, the other way round."""
        return TransposedNetwork(
            whole_blocks(self.w1.T), self.w2.T, self.c1.T, self.c2.T, self.c3.T[:3], self.s1.T
        )  # fmt: skip


class EncodedRays(NamedTuple):
    """What the networks take of R rays."""

    enc: Float[Tensor, "all_samples encoded"]
    """Encoded positions of the samples, those of one ray adjacent."""
    conditioning: Float[Tensor, "rays hidden"]
    """What is constant along a ray, through the first colour layer, bias included."""


@dataclass(frozen=True)
class RenderOptions:
    """How networks become weights and colours."""

    density_scale: float = 1.0
    """Factor of the exponential density activation."""
    pass_semantics: bool = True
    """Whether the gradient of semantic features reaches weights and geometry."""
    min_transmittance: float = 1e-4
    """Light below which a sample's colour and semantics are not evaluated."""


@dataclass(frozen=True)
class KernelView:
    """A field for the kernels; nothing is kept, so that it follows every change of the field."""

    field: SemanticNerfField

    @property
    def can_fuse(self) -> bool:
        """Whether the kernels know this field: torch networks of nerfacto's depth over a numba hash grid."""
        field = self.field
        base = getattr(field.mlp_base, "model", None)
        if not isinstance(base, nn.Sequential) or field.mlp_head.tcnn_encoding is not None:
            return False
        grid, density, color = base[0], linear_layers(base[1]), linear_layers(field.mlp_head)
        return (
            isinstance(grid, HashGrid)
            and grid.backend in ("auto", "numba")
            and len(density) == 2
            and len(color) == 3
            # The kernel sizes its buffers by one width.
            and density[0].out_features == color[0].out_features == color[1].out_features
            and is_infinity_contraction(field.spatial_distortion)
        )

    @property
    def can_fuse_packed(self) -> bool:
        """Whether the kernels for packed samples know this field: they have no second grid."""
        return self.can_fuse and (self.has_shared_features or not self.field.use_semantics)

    @property
    def has_shared_features(self) -> bool:
        """Whether the kernels evaluate semantic features, out of what the density network hands to colour."""
        return self.field.use_semantics and self.field.semantic_grid is None

    @property
    def grid(self) -> HashGrid:
        """The hash grid of the density network."""
        return cast(HashGrid, self.field.mlp_base.model[0])

    @property
    def options(self) -> RenderOptions:
        """What the field says of its rendering."""
        return RenderOptions(self.field.average_init_density, self.field.pass_semantic_gradients)

    def network(self) -> Network:
        """The matrices, differentiable in the field's parameters."""
        field = self.field
        density, (_, second, third) = linear_layers(field.mlp_base.model[1]), linear_layers(field.mlp_head)
        by_features = field.color_by_features()
        raw_row = by_features.new_zeros(1, by_features.shape[0])
        weight, bias = raw_row.new_zeros(0, field.geo_feat_dim), raw_row.new_zeros(0)
        if self.has_shared_features:
            weight, bias = cast(nn.Linear, field.semantic_trunk[0]).parameters()
        return Network(
            w1=density[0].weight.T, b1=density[0].bias, w2=density[1].weight.T, b2=density[1].bias,
            c1=torch.cat([raw_row, by_features.T]), c2=second.weight.T, d2=second.bias,
            c3=third.weight.T, d3=third.bias,
            s1=torch.cat([weight.new_zeros(1, len(weight)), weight.T]), t1=bias,
        )  # fmt: skip

    def conditioning(self, ray_bundle: RayBundle) -> Float[Tensor, "rays hidden"]:
        """What is constant along a ray, as :class:`EncodedRays` has it, with gradients."""
        return self.field.color_conditioning(ray_bundle.directions, ray_bundle.camera_indices)

    def unit_positions(
        self, ray_bundle: RayBundle, distances: Float[Tensor, "rays edges"]
    ) -> Float[Tensor, "all_samples 3"]:
        """Centres of the intervals between the distances, in the unit cube; without gradients."""
        from semantic_ns.sampling.proposal_numba import unit_positions

        x = torch.empty(distances.shape[0] * (distances.shape[1] - 1), 3)
        unit_positions(
            ray_bundle.origins.detach().contiguous().numpy(), ray_bundle.directions.detach().contiguous().numpy(),
            distances.numpy(), scene_to_unit_box(self.field), x.numpy(),
        )  # fmt: skip
        return x

    def encode(self, ray_bundle: RayBundle, positions: Float[Tensor, "all_samples 3"]) -> EncodedRays:
        """What the networks take of the rays whose samples are at these positions in the unit cube."""
        return EncodedRays(self.grid(positions), self.conditioning(ray_bundle))
