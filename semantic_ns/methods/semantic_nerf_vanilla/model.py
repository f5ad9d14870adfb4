"""``semantic-nerf-vanilla``: the network, sampling and losses of Zhi et al. 2021 as published, in metres."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components import renderers
from nerfstudio.model_components.ray_samplers import UniformSampler
from nerfstudio.models.vanilla_nerf import NeRFModel, VanillaModelConfig
from torch import Tensor

from semantic_ns.batch import LOGITS, semantic_loss, take_targets
from semantic_ns.errors import SceneError
from semantic_ns.geometry.world import WORLD_FROM_SCENE
from semantic_ns.methods.base import Outputs, SemanticModel, uniform_rays
from semantic_ns.methods.options import SemanticOptions
from semantic_ns.methods.scene_bounds import BY_DEFAULT, StatedBounds
from semantic_ns.methods.semantic_nerf_vanilla.field import SemanticNerfVanillaField
from semantic_ns.methods.semantic_nerf_vanilla.sampling import PlanarDepthCollider
from semantic_ns.rendering import composite, composite_logits
from semantic_ns.sampling.point_samples import (
    LAST_INTERVAL,
    intervals_between,
    point_weights,
    refined_distances,
)
from semantic_ns.sampling.proposal import edges_of
from semantic_ns.shared_cores import share_cores


def _default_collider_params() -> dict[str, float]:
    return {"near_plane": 0.1, "far_plane": 10.0}


@dataclass
class SemanticNerfVanillaModelConfig(SemanticOptions, VanillaModelConfig):
    """Options of the semantic-nerf-vanilla model; the rest are those of nerfstudio's vanilla-nerf."""

    _target: type = field(default_factory=lambda: SemanticNerfVanillaModel)
    pass_semantic_gradients: bool = True
    """Let the semantic loss also train geometry and the trunk."""
    opacity_loss_weight: float = 0.0
    """Weight of the loss that drives the accumulated opacity of every ray to 1; the paper has no such loss."""
    semantic_width: int = 128
    """Width of the hidden layer of the semantic head."""
    hidden_dim: int = 256
    """Width of the trunk; the colour branch is half as wide."""
    density_noise: float = 1.0
    """Standard deviation of the noise added to raw densities before the ReLU while training."""
    world_metres: bool = True
    """Feed the networks positions in metres in the data set's world frame, as in the paper. Otherwise they receive the
    dataparser's centred and scaled coordinates, which suits scenes far larger than a room."""
    collider_params: dict[str, float] | None = field(default_factory=_default_collider_params)
    """Planar depth of the first and last sample, in metres with world-metres and in scene units without. They apply
    where neither near-plane and far-plane (in scene units) nor the data set state bounds; values other than these
    defaults also override the data set."""
    background_color: Literal["random", "last_sample", "black", "white"] = "black"
    """Background colour of rays that end on no surface."""


@dataclass(frozen=True)
class RenderedPass:
    """What one network renders of R rays."""

    rgb: Float[Tensor, "rays 3"]
    accumulation: Float[Tensor, "rays 1"]
    depth: Float[Tensor, "rays 1"]
    """Sum of w_k times distance, scene units."""
    weights: Float[Tensor, "rays samples 1"]
    logits: Float[Tensor, "rays classes"] | None
    """None without semantics."""


class SemanticNerfVanillaModel(SemanticModel, NeRFModel):
    """Semantic-NeRF: a coarse and a fine network, of which the fine one is seen (Zhi et al. 2021, sections 3.1, 3.2).

    ``depth`` is the paper's sum of w_k t_k, as a distance along the unit ray; ``expected_depth`` is that divided by the
    accumulation. There are also ``rgb_coarse``, ``accumulation_coarse`` and ``depth_coarse``, and while training the
    logits ``semantics_coarse``.

    Of nerfstudio's vanilla-nerf the renderers, the colour losses and the metrics are the same. Its uniform sampler is,
    too, where the edges of its intervals are taken for samples: 63 intervals have 64 edges, jittered between the
    mid-points to their neighbours. Networks and fine samples are not, see
    `SemanticNerfVanillaField` and `refined_distances`.

    Raises:
        SceneError: if an option of vanilla-nerf is set that this network does not have.
    """

    config: SemanticNerfVanillaModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    field_coarse: SemanticNerfVanillaField  # pyright: ignore[reportIncompatibleVariableOverride]
    field_fine: SemanticNerfVanillaField  # pyright: ignore[reportIncompatibleVariableOverride]
    world_from_scene: Tensor

    def populate_modules(self) -> None:
        """Build nerfstudio's model, then the networks, the samples and the bounds of the paper."""
        for name in ("enable_temporal_distortion", "use_gradient_scaling"):
            if getattr(self.config, name):
                option = f"--pipeline.model.{name.replace('_', '-')}"
                raise SceneError(f"semantic-nerf-vanilla has nothing for {option} to act on; leave it out.")
        super().populate_modules()
        self.field_coarse, self.field_fine = self._build_network(), self._build_network()
        self.sampler_uniform = UniformSampler(num_samples=self.config.num_coarse_samples - 1)
        self.register_buffer("world_from_scene", self._world_from_scene(), persistent=False)
        self.collider = PlanarDepthCollider(self.bounds.near, self.bounds.far)
        if str(self.kwargs.get("device")) == "cpu":
            share_cores()

    @property
    def field(self) -> SemanticNerfVanillaField:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The network that is seen."""
        return self.field_fine

    def _networks(self) -> tuple[SemanticNerfVanillaField, ...]:
        return (self.field_coarse, self.field_fine)

    def _build_network(self) -> SemanticNerfVanillaField:
        config = self.config
        return SemanticNerfVanillaField(
            self.taxonomy.num_classes,
            hidden_dim=config.hidden_dim,
            semantic_width=config.semantic_width,
            use_semantics=config.use_semantics,
            pass_semantic_gradients=config.pass_semantic_gradients,
        )

    def _world_from_scene(self) -> Float[Tensor, "3 4"]:
        """From scene units to what the networks see."""
        if not self.config.world_metres:
            return torch.eye(3, 4)
        # Other data managers do not say where the world's origin is.
        return self.kwargs["metadata"].get(WORLD_FROM_SCENE, self.metres_per_unit * torch.eye(3, 4))

    def _option_bounds(self) -> list[StatedBounds]:
        """Those of every model, then `collider_params` where it differs from its default."""
        given, default = self.config.collider_params or {}, _default_collider_params()
        changed = {name: value for name, value in given.items() if value != default.get(name)}
        return [*super()._option_bounds(), self._collider_bounds("given by collider-params", changed)]

    def _default_bounds(self) -> StatedBounds:
        return self._collider_bounds(BY_DEFAULT, _default_collider_params())

    def _collider_bounds(self, source: str, params: Mapping[str, float]) -> StatedBounds:
        unit = self.metres_per_unit if self.config.world_metres else 1.0
        return StatedBounds(source, *(params[n] / unit if n in params else None for n in ("near_plane", "far_plane")))

    # Rendering

    def get_outputs(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, ray_bundle: RayBundle
    ) -> Outputs:
        """Render a batch of rays; see :class:`SemanticModel` for the outputs."""
        take_targets(ray_bundle)  # they are of use to a model that knows the losses while it renders
        distances = edges_of(self.sampler_uniform(ray_bundle)).distances
        coarse = self._render(self.field_coarse, ray_bundle, distances)
        u = self._draws(distances)
        fine = self._render(
            self.field_fine, ray_bundle, refined_distances(distances, coarse.weights.detach()[..., 0], u)
        )
        outputs: Outputs = {
            "rgb": fine.rgb,
            "accumulation": fine.accumulation,
            "rgb_coarse": coarse.rgb,
            "accumulation_coarse": coarse.accumulation,
        }
        if fine.logits is not None:
            outputs[LOGITS] = fine.logits
        if self.training:
            return outputs if coarse.logits is None else outputs | {"semantics_coarse": coarse.logits}
        outputs |= {"depth": fine.depth, "depth_coarse": coarse.depth}
        outputs["expected_depth"] = fine.depth / fine.accumulation.clamp(min=1e-10)
        self._describe_semantics(outputs, ray_bundle)
        return outputs

    def _draws(self, distances: Tensor) -> Float[Tensor, "rays draws"]:
        """Where in the cumulative distribution the fine samples are: anywhere, or evenly spaced at evaluation."""
        shape = (distances.shape[0], self.config.num_importance_samples)
        if self.training:
            return torch.rand(shape, device=distances.device)
        return torch.linspace(0.0, 1.0, shape[1], device=distances.device).expand(shape)

    def _render(
        self, network: SemanticNerfVanillaField, ray_bundle: RayBundle, distances: Float[Tensor, "rays samples"]
    ) -> RenderedPass:
        """Samples at distances along the unit rays (scene units) through one network."""
        linear, offset = self.world_from_scene[:, :3], self.world_from_scene[:, 3]
        # Products by element: those of matrices would be in half precision where a training is mixed.
        origins, along = ((linear * x[:, None]).sum(dim=-1) for x in (ray_bundle.origins, ray_bundle.directions))
        unit = along.norm(dim=-1, keepdim=True)
        values = network((origins + offset)[:, None] + along[:, None] * distances[..., None], along / unit)
        raw = values.raw_density[..., 0]
        if self.training and self.config.density_noise > 0:
            raw = raw + self.config.density_noise * torch.randn_like(raw)
        weights = point_weights(raw, intervals_between(distances, self._last_interval(ray_bundle)) * unit)
        with torch.autocast(raw.device.type, enabled=False):
            return RenderedPass(
                rgb=self.renderer_rgb(rgb=values.rgb, weights=weights),
                accumulation=self.renderer_accumulation(weights=weights),
                depth=composite(weights, distances[..., None]),
                weights=weights,
                logits=self._logits(network, values.semantic_features, weights),
            )

    def _logits(self, network: SemanticNerfVanillaField, features: Tensor | None, weights: Tensor) -> Tensor | None:
        """Rendered logits, the linear last layer once per ray."""
        if features is None:
            return None
        head = network.semantic_head
        semantic_weights = weights if network.pass_semantic_gradients else weights.detach()
        return composite_logits(semantic_weights, features, head.weight, head.bias)

    def _density(self, positions: Tensor) -> Tensor:
        linear, offset = self.world_from_scene[:, :3], self.world_from_scene[:, 3]
        seen = (linear * (positions[:, None])).sum(dim=-1) + offset
        # Of no ray; only colour depends on the direction.
        directions = torch.zeros_like(seen)
        per_unit = linear[0].norm()
        return self.field_fine(seen[:, None], directions).raw_density[:, 0].relu() * per_unit

    def _last_interval(self, ray_bundle: RayBundle) -> Float[Tensor, "rays 1"]:
        """Distance behind the last sample; none of rays that end before the far plane.

        The viewer's crop, which sets a background, makes such rays, and so does whoever asks for a part of a ray.
        """
        norms = ray_bundle.metadata["directions_norm"]
        if renderers.BACKGROUND_COLOR_OVERRIDE is not None:
            return torch.zeros_like(norms)
        assert ray_bundle.fars is not None
        return LAST_INTERVAL * norms * (ray_bundle.fars >= self.bounds.far * norms)

    # Losses and metrics

    def get_metrics_dict(self, outputs: Outputs, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """PSNR of the batch."""
        outputs, batch = uniform_rays(outputs, batch)
        with torch.no_grad():
            target = self.renderer_rgb.blend_background(batch["image"].to(self.device))
            return {"psnr": self.psnr(outputs["rgb"], target)}

    def get_loss_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, outputs: Outputs, batch: Mapping[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Mean squared errors of colour and weighted cross-entropies, of both networks (equations (6) to (8))."""
        passes, colors = {}, dict(batch)
        for name, parts in (("fine", outputs), ("coarse", _of_coarse(outputs))):
            uniform, colors = uniform_rays(parts, batch)
            passes |= {f"rgb_{name}": uniform["rgb"], f"accumulation_{name}": uniform["accumulation"]}
        losses = super().get_loss_dict(passes, colors, metrics_dict)
        losses |= self._opacity_loss(outputs, batch) | self._semantic_losses(outputs, batch)
        if "semantics_coarse" in outputs:
            coarse = semantic_loss(outputs["semantics_coarse"], batch)
            losses["semantic_loss_coarse"] = self.config.semantic_loss_weight * coarse
        return losses

    def get_image_metrics_and_images(
        self, outputs: Outputs, batch: Mapping[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """What every model with classes reports, under the names that other models give it."""
        # The parent draws depth between the planes of the options, which are in the units of the networks.
        unit = self.metres_per_unit if self.config.world_metres else 1.0
        depths = {
            "depth_fine": outputs["depth"] * unit,
            "depth_coarse": outputs["depth_coarse"] * unit,
        }
        fine = {"rgb_fine": outputs["rgb"], "accumulation_fine": outputs["accumulation"]}
        metrics, images = super().get_image_metrics_and_images(outputs | fine | depths, batch)
        metrics["ssim"], lpips = metrics.pop("fine_ssim"), metrics.pop("fine_lpips")
        del metrics["fine_psnr"]  # the same as psnr
        return metrics | ({"lpips": lpips} if self.lpips.available else {}), images


def _of_coarse(outputs: Outputs) -> Outputs:
    """Colour and accumulation of the coarse network under the names of the fine one's."""
    return {name: outputs[f"{name}_coarse"] for name in ("rgb", "accumulation")}


# The names that the configuration files of older runs hold.
PaperModelConfig, PaperModel = SemanticNerfVanillaModelConfig, SemanticNerfVanillaModel
