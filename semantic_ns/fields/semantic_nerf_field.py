"""Nerfacto's field with a view-independent semantic head."""

from dataclasses import replace
from enum import Enum
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.field_components.activations import trunc_exp
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.fields.base_field import get_normalized_directions
from nerfstudio.fields.nerfacto_field import NerfactoField
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.batch import Targets
from semantic_ns.encodings.hash_grid import Backend, HashGrid, replace_hash_encodings
from semantic_ns.encodings.spherical_harmonics import SphericalHarmonics
from semantic_ns.fields.cpu.render import render_fused
from semantic_ns.fields.cpu.train import Intervals, LossWeights, TrainedRays, train_fused
from semantic_ns.fields.feature_grid import SemanticGrid, have_a_say
from semantic_ns.fields.semantic_head import SemanticHead
from semantic_ns.rendering import head_of_composited
from semantic_ns.sampling.proposal import is_infinity_contraction, scene_to_unit_box


class SemanticHeadNames(Enum):
    """Field outputs beyond nerfstudio's ``FieldHeadNames``, an enumeration that cannot be extended."""

    SEMANTIC_FEATURES = "semantic_features"


def _linears(network: nn.Module) -> list[nn.Linear]:
    """Layers of one of nerfstudio's torch networks."""
    return list(cast(nn.ModuleList, network.layers))  # pyright: ignore[reportReturnType]


class SemanticNerfField(NerfactoField):
    """Density, colour and class logits of one scene (Zhi et al. 2021, equation (3), on a hash grid).

    Logits depend on position only. The head is split at its last, linear layer: the field returns the features before
    it, the renderer composites them and applies ``semantic_head`` once per ray, which is exact.

    Args:
        aabb: scene box [2, 3] in scene units.
        num_images: training images, for appearance embeddings.
        num_classes: classes C without void.
        semantic_width: width of the semantic hidden layer.
        use_semantics: whether samples get semantic features; the head is there either way.
        pass_semantic_gradients: whether the semantic loss reaches the density and the features shared with colour.
        semantic_grid: gives the semantic features; none: a layer on what the density network hands to colour.
        hash_backend: back end of the hash grid.
        kwargs: further arguments of nerfacto's field.
    """

    def __init__(  # noqa: PLR0913  -- nerfstudio's field takes its options one by one
        self,
        aabb: Tensor,
        num_images: int,
        *,
        num_classes: int,
        semantic_width: int = 64,
        use_semantics: bool = True,
        pass_semantic_gradients: bool = True,
        semantic_grid: SemanticGrid | None = None,
        hash_backend: Backend = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(aabb, num_images, pass_semantic_gradients=pass_semantic_gradients, **kwargs)
        replace_hash_encodings(self, hash_backend)
        if self.direction_encoding.tcnn_encoding is None:
            self.direction_encoding = SphericalHarmonics()
        self.use_semantics = use_semantics
        self.semantic_grid = semantic_grid
        if semantic_grid is None:
            self.semantic_trunk = nn.Sequential(nn.Linear(self.geo_feat_dim, semantic_width), nn.ReLU())
        self.semantic_head = nn.Linear(semantic_width, num_classes)

    @property
    def head(self) -> SemanticHead:
        """What classes are made of; set it to have another linear layer in the place of the last one."""
        trunk = self.semantic_trunk if self.semantic_grid is None else None
        return SemanticHead(self.semantic_grid, trunk, self.semantic_head)

    @head.setter
    def head(self, head: SemanticHead) -> None:
        self.semantic_head = head.linear

    def unit_positions(self, positions: Float[Tensor, "*bs 3"]) -> Float[Tensor, "*bs 3"]:
        """Positions in scene units to the unit cube of the hash grid."""
        if self.spatial_distortion is not None:
            return (self.spatial_distortion(positions) + 2.0) / 4.0
        return SceneBox.get_normalized_positions(positions, self.aabb)

    def get_density(self, ray_samples: RaySamples) -> tuple[Float[Tensor, "*bs 1"], Float[Tensor, "*bs features"]]:
        """Density per scene unit and the geometry features, without asking for position gradients."""
        positions = self.unit_positions(ray_samples.frustums.get_positions())
        inside = ((positions > 0.0) & (positions < 1.0)).all(dim=-1, keepdim=True)
        # tiny-cuda-nn takes rows and gives half precision.
        hidden = self.mlp_base((positions * inside).view(-1, 3)).view(*positions.shape[:-1], -1).to(positions)
        raw_density, features = torch.split(hidden, [1, self.geo_feat_dim], dim=-1)
        return self.average_init_density * trunc_exp(raw_density) * inside, features

    def get_outputs(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, ray_samples: RaySamples, density_embedding: Tensor | None = None, with_semantics: bool = True
    ) -> dict[FieldHeadNames | SemanticHeadNames, Tensor]:
        """Colour [*bs, 3] and, where wanted and there, semantic features [*bs, semantic_width] of every sample."""
        assert density_embedding is not None
        outputs: dict[FieldHeadNames | SemanticHeadNames, Tensor] = {
            FieldHeadNames.RGB: self._colour(ray_samples, density_embedding)
        }
        if self.use_semantics and with_semantics:
            outputs[SemanticHeadNames.SEMANTIC_FEATURES] = self._semantic_features(ray_samples, density_embedding)
        return outputs

    def _semantic_features(self, ray_samples: RaySamples, density_embedding: Tensor) -> Tensor:
        if self.semantic_grid is None:
            return self.semantic_trunk(
                density_embedding if self.pass_semantic_gradients else density_embedding.detach()
            )
        with torch.no_grad():
            positions = self.unit_positions(ray_samples.frustums.get_positions()).clamp(0.0, 1.0)
        return self.semantic_grid(positions)

    @property
    def _shares_features(self) -> bool:
        """Whether the kernels evaluate semantic features, out of what the density network hands to colour."""
        return self.use_semantics and self.semantic_grid is None

    def semantic_weights(self, weights: Tensor) -> Tensor:
        """Rendering weights [*rays, samples, 1] with which semantic features are composited."""
        if self.semantic_grid is not None:
            weights = weights * have_a_say(weights.detach()[..., 0])[..., None]
        return self._pass_semantics(weights)

    def _pass_semantics(self, values: Tensor) -> Tensor:
        return values if self.pass_semantic_gradients else values.detach()

    def _split_first_colour_layer(self) -> tuple[Tensor, Tensor]:
        """The colour net's first matrix, split into what belongs to the ray and to the geometry features.

        Nerfacto's columns are direction, geometry features, appearance.
        """
        weight = _linears(self.mlp_head)[0].weight
        first = cast(int, self.direction_encoding.get_out_dim())
        last = first + self.geo_feat_dim
        return torch.cat([weight[:, :first], weight[:, last:]], dim=1), weight[:, first:last]

    def _colour(self, ray_samples: RaySamples, features: Tensor) -> Tensor:
        """Nerfacto's colour head; what is constant along a ray enters its first layer once per ray."""
        if self.mlp_head.tcnn_encoding is not None:
            return super().get_outputs(ray_samples, features)[FieldHeadNames.RGB]
        first, *others = _linears(self.mlp_head)
        by_ray, by_features = self._split_first_colour_layer()
        cameras = None if ray_samples.camera_indices is None else ray_samples.camera_indices[..., :1, :]
        per_ray = self.ray_conditioning(ray_samples.frustums.directions[..., :1, :], cameras)
        x = F.linear(features, by_features) + F.linear(per_ray, by_ray, first.bias)
        for layer in others:
            x = layer(F.relu(x))
        return torch.sigmoid(x)

    def ray_conditioning(
        self, directions: Float[Tensor, "*rays 3"], camera_indices: Int[Tensor, "*rays 1"] | None
    ) -> Float[Tensor, "*rays channels"]:
        """Encoded direction and appearance of each ray."""
        encoded = self.direction_encoding(get_normalized_directions(directions))
        if self.embedding_appearance is None:
            return encoded
        if self.training:
            assert camera_indices is not None
            appearance = self.embedding_appearance(camera_indices[..., 0])
        elif self.use_average_appearance_embedding:
            appearance = self.embedding_appearance.mean(dim=0).expand(*encoded.shape[:-1], -1)
        else:
            appearance = encoded.new_zeros(*encoded.shape[:-1], self.appearance_embedding_dim)
        return torch.cat([encoded, appearance], dim=-1)

    @property
    def can_fuse(self) -> bool:
        """Whether the CPU kernel knows this field: torch networks of nerfacto's depth over a numba hash grid."""
        base = getattr(self.mlp_base, "model", None)
        if not isinstance(base, nn.Sequential) or self.mlp_head.tcnn_encoding is not None:
            return False
        grid, density, colour = base[0], _linears(base[1]), _linears(self.mlp_head)
        return (
            isinstance(grid, HashGrid)
            and grid.backend in ("auto", "numba")
            and len(density) == 2
            and len(colour) == 3
            # The kernel sizes its buffers by one width.
            and density[0].out_features == colour[0].out_features == colour[1].out_features
            and is_infinity_contraction(self.spatial_distortion)
        )

    def render_rays(
        self, ray_bundle: RayBundle, t_edges: Tensor
    ) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, "rays classes"] | None, Float[Tensor, "rays samples"]]:
        """Colour, class logits (none without semantics) and weights by the CPU kernels.

        Equal to evaluating every sample and compositing, except where less than 1e-4 of the light arrives.
        """
        enc, cond, delta, x = self._kernel_inputs(ray_bundle, t_edges)
        network = self._kernel_matrices()
        rgb, features, weights = render_fused(
            enc, cond, delta, network, self.average_init_density, self.pass_semantic_gradients
        )
        return rgb, self._logits(x, features, weights) if self.use_semantics else None, weights

    def _logits(self, x: Tensor, features: Tensor, weights: Tensor) -> Tensor:
        """Logits [rays, classes] of shared features that the kernel composited, or of the semantic grid."""
        weights = self._pass_semantics(weights)
        accumulation = weights.sum(dim=-1, keepdim=True)
        if self.semantic_grid is not None:
            features, accumulation = self.semantic_grid.composite(x, weights)
        return head_of_composited(features, accumulation, self.semantic_head.weight, self.semantic_head.bias)

    def train_rays(
        self, ray_bundle: RayBundle, edges: tuple[Tensor, Tensor], targets: Targets, weights: LossWeights
    ) -> TrainedRays:
        """Losses of rays that know their targets, by one pass of the CPU kernel; see ``train_fused``.

        Args:
            ray_bundle: rays [rays].
            edges: interval edges [rays, samples + 1] as normalised spacings, and as distances in scene units.
            targets: what the rays should look like.
            weights: factors of the losses; how the density is scaled and what semantics train is the field's to say.
        """
        spacings, distances = edges
        enc, cond, delta, x = self._kernel_inputs(ray_bundle, distances)
        head = (self.semantic_head.weight, self.semantic_head.bias) if self._shares_features else None
        options = replace(weights, density_scale=self.average_init_density, pass_semantics=self.pass_semantic_gradients)
        intervals = Intervals(delta, spacings, distances[:, 0])
        trained = train_fused(enc, cond, intervals, self._kernel_matrices(), head, targets, options)
        if not self.use_semantics or self.semantic_grid is None:
            return trained
        return replace(trained, semantic_loss=weights.semantic * self._loss_of_grid(x, trained.weights, targets))

    def _loss_of_grid(self, x: Tensor, weights: Tensor, targets: Targets) -> Tensor:
        """Cross-entropy of the rays that count; the samples of others are left out, and without any all are."""
        has_say = targets.label_shares() > 0
        if not has_say.any():
            return weights.new_zeros(())
        counted = weights * has_say[:, None]
        return targets.semantic_loss(self._logits(x, counted, counted))

    @property
    def can_fuse_packed(self) -> bool:
        """Whether the CPU kernels for packed samples know this field: they have no second grid."""
        return self.can_fuse and (self._shares_features or not self.use_semantics)

    def can_train_fused(self, targets: Targets) -> bool:
        """Whether one pass gives all gradients: a grid of its own cannot reach the weights in that pass."""
        has_own_path = self.use_semantics and self.semantic_grid is not None and self.pass_semantic_gradients
        return not (has_own_path and bool((targets.label_shares() > 0).any()))

    def _kernel_inputs(self, ray_bundle: RayBundle, t_edges: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encoded samples, what is constant along a ray after the first colour layer, lengths of intervals, positions.

        Positions [all samples, 3] are in the unit cube.
        """
        from semantic_ns.sampling.proposal_numba import unit_positions

        x = torch.empty(t_edges.shape[0] * (t_edges.shape[1] - 1), 3)
        unit_positions(
            ray_bundle.origins.detach().contiguous().numpy(), ray_bundle.directions.detach().contiguous().numpy(),
            t_edges.numpy(), *scene_to_unit_box(self), x.numpy(),
        )  # fmt: skip
        by_ray, _ = self._split_first_colour_layer()
        bias = _linears(self.mlp_head)[0].bias
        cond = F.linear(self.ray_conditioning(ray_bundle.directions, ray_bundle.camera_indices), by_ray, bias)
        return self.mlp_base.model[0](x), cond, t_edges[:, 1:] - t_edges[:, :-1], x

    def _kernel_matrices(self) -> tuple[Tensor, ...]:
        """``w1 b1 w2 b2 c1 c2 d2 c3 d3 s1 t1`` as described in ``render_numba``."""
        density, (_, second, third) = _linears(self.mlp_base.model[1]), _linears(self.mlp_head)
        _, by_features = self._split_first_colour_layer()
        raw_row = by_features.new_zeros(1, by_features.shape[0])
        weight, bias = raw_row.new_zeros(0, self.geo_feat_dim), raw_row.new_zeros(0)
        if self._shares_features:
            weight, bias = cast(nn.Linear, self.semantic_trunk[0]).parameters()
        semantic_matrix = torch.cat([weight.new_zeros(1, len(weight)), weight.T])
        return (
            density[0].weight.T, density[0].bias, density[1].weight.T, density[1].bias,
            torch.cat([raw_row, by_features.T]), second.weight.T, second.bias, third.weight.T, third.bias,
            semantic_matrix, bias,
        )  # fmt: skip
