"""Nerfacto's field with a view-independent semantic head."""

from enum import Enum
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.rays import RaySamples
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.field_components.activations import trunc_exp
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.fields.base_field import get_normalized_directions
from nerfstudio.fields.nerfacto_field import NerfactoField
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.encodings.hash_grid import Backend, replace_hash_encodings
from semantic_ns.encodings.spherical_harmonics import SphericalHarmonics
from semantic_ns.fields.feature_grid import SemanticGrid, contributes
from semantic_ns.fields.semantic_head import SemanticHead
from semantic_ns.kernels.layers import linear_layers


class SemanticHeadNames(Enum):
    """Field outputs beyond nerfstudio's ``FieldHeadNames``, an enumeration that cannot be extended."""

    SEMANTIC_FEATURES = "semantic_features"


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
        semantic_grid: separate grid for semantic features; without one they come from the density network's output.
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
            FieldHeadNames.RGB: self._color(ray_samples, density_embedding)
        }
        if self.use_semantics and with_semantics:
            outputs[SemanticHeadNames.SEMANTIC_FEATURES] = self._semantic_features(ray_samples, density_embedding)
        return outputs

    def _semantic_features(self, ray_samples: RaySamples, density_embedding: Tensor) -> Tensor:
        if self.semantic_grid is None:
            return self.semantic_trunk(self.pass_semantics(density_embedding))
        with torch.no_grad():
            positions = self.unit_positions(ray_samples.frustums.get_positions()).clamp(0.0, 1.0)
        return self.semantic_grid(positions)

    def semantic_weights(self, weights: Tensor) -> Tensor:
        """Rendering weights [*rays, samples, 1] with which semantic features are composited."""
        if self.semantic_grid is not None:
            weights = weights * contributes(weights.detach()[..., 0])[..., None]
        return self.pass_semantics(weights)

    def pass_semantics(self, values: Tensor) -> Tensor:
        """The values, cut from the gradients of the semantic loss if it is not to train geometry."""
        return values if self.pass_semantic_gradients else values.detach()

    def color_by_features(self) -> Float[Tensor, "hidden features"]:
        """The columns of the colour network's first matrix that take the geometry features."""
        first, last = self._columns_of_features()
        return linear_layers(self.mlp_head)[0].weight[:, first:last]

    def _columns_of_features(self) -> tuple[int, int]:
        """First and last column, exclusive; nerfacto's order is direction, geometry features, appearance."""
        first = cast(int, self.direction_encoding.get_out_dim())
        return first, first + self.geo_feat_dim

    def _color(self, ray_samples: RaySamples, features: Tensor) -> Tensor:
        """Nerfacto's colour head; what is constant along a ray enters its first layer once per ray."""
        if self.mlp_head.tcnn_encoding is not None:
            return super().get_outputs(ray_samples, features)[FieldHeadNames.RGB]
        _, *others = linear_layers(self.mlp_head)
        cameras = None if ray_samples.camera_indices is None else ray_samples.camera_indices[..., :1, :]
        per_ray = self.color_conditioning(ray_samples.frustums.directions[..., :1, :], cameras)
        x = F.linear(features, self.color_by_features()) + per_ray
        for layer in others:
            x = layer(F.relu(x))
        return torch.sigmoid(x)

    def color_conditioning(
        self, directions: Float[Tensor, "*rays 3"], camera_indices: Int[Tensor, "*rays 1"] | None
    ) -> Float[Tensor, "*rays hidden"]:
        """What is constant along a ray, through the colour network's first layer, bias included."""
        layer, (first, last) = linear_layers(self.mlp_head)[0], self._columns_of_features()
        by_ray = torch.cat([layer.weight[:, :first], layer.weight[:, last:]], dim=1)
        return F.linear(self._ray_conditioning(directions, camera_indices), by_ray, layer.bias)

    def _ray_conditioning(
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
