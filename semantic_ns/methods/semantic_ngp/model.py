"""``semantic-ngp``: the field of ``semantic-nerf``, sampled by an occupancy grid instead of a proposal network."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.model_components.losses import scale_gradients_by_distance_squared
from nerfstudio.models import instant_ngp
from nerfstudio.models.instant_ngp import InstantNGPModelConfig, NGPModel
from torch import Tensor

from semantic_ns.batch import LOGITS, take_targets
from semantic_ns.fields.cpu.network import KernelView
from semantic_ns.fields.semantic_nerf_field import SemanticHeadNames, SemanticNerfField
from semantic_ns.losses import interval_agreements, price_of_distance
from semantic_ns.methods.base import Outputs, SemanticModel, uniform_rays
from semantic_ns.methods.options import HashGridOptions
from semantic_ns.methods.semantic_ngp.occupancy import OccupancyGrid, OccupancySampler, require_nerfacc_kernels
from semantic_ns.methods.semantic_ngp.packed import composite_packed, packed_median_distance, packed_weights
from semantic_ns.methods.semantic_ngp.packed_rendering import (
    KnownDepth,
    packed_densities,
    render_packed,
    render_packed_for_evaluation,
)
from semantic_ns.rendering import head_of_composited
from semantic_ns.shared_cores import leave_cores_to_kernels


@dataclass
class SemanticNgpModelConfig(HashGridOptions, InstantNGPModelConfig):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Options of the semantic-ngp model; the rest are instant-ngp's."""

    _target: type = field(default_factory=lambda: SemanticNgpModel)
    semantic_features: Literal["own", "shared"] = "shared"
    """Features for semantics: a separate hash grid (own; slow, because no fused CPU kernel supports it), or the
    features that colour uses (shared)."""
    pass_semantic_gradients: bool = True
    """Let the semantic loss also train geometry and the features shared with colour."""
    semantic_loss_weight: float = 0.015
    """Weight of the cross-entropy relative to the colour loss. With shared features a larger weight lowers PSNR."""
    opacity_loss_weight: float = 0.0
    """Weight of the loss that drives the accumulated opacity of every ray to 1. A ray that meets no occupied cell
    trains nothing."""
    near_camera_boost: float = 1.0
    """Factor on the near-camera weight at the start of training. Its effect on this method has not been measured."""
    depth_loss_weight: float = 0.0
    """Weight of the loss that makes rays end where the depth images of the training frames say, if the scene has such
    images and they agree with each other. 0 leaves them out of training. Its effect on this method has not been
    measured."""
    depth_loss_boost: float = 1.0
    """Factor on the weight of depth at the start of training. Its effect on this method has not been measured."""
    max_samples_per_ray: int = 32
    """Largest mean number of samples per ray while training on the CPU; beyond it the march takes longer steps."""
    grid_decay: float = 0.95
    """Factor by which the occupancy of a cell decays at each update; short trainings need a smaller one."""
    grid_threshold: float = 0.01
    """Density times step length above which a cell counts as occupied after the warm-up. A higher threshold removes
    thin fog."""
    num_levels: int = 16
    """Number of levels of the hash grid."""
    base_res: int = 16
    """Resolution of the coarsest level of the hash grid, in cells per axis."""
    features_per_level: int = 2
    """Number of features per vertex of the hash grid."""
    hidden_dim: int = 64
    """Width of the density network."""
    hidden_dim_color: int = 64
    """Width of the colour network."""
    fuse_on_cpu: bool = True
    """Render whole rays in fused CPU kernels where the configuration allows it."""
    average_init_density: float = 1.0
    """Mean density at initialisation, per scene unit."""
    appearance_embed_dim: int = 32
    """Size of the appearance embedding of an image."""
    use_average_appearance_embedding: bool = True
    """Render with the mean appearance embedding of the training images instead of zeros."""


@contextmanager
def _field_built_by(build: Any) -> Iterator[None]:
    """Within this context nerfstudio's model takes this field where it builds its own, of fixed sizes."""
    module: Any = instant_ngp
    original, module.NerfactoField = module.NerfactoField, build
    try:
        yield
    finally:
        module.NerfactoField = original


class SemanticNgpModel(SemanticModel, NGPModel):
    """Instant NGP (Mueller et al. 2022) plus class logits, rendered by Zhi et al. 2021, equation (4).

    Samples are packed: N samples of all rays, one ray behind the other. A ray that meets no occupied cell shows the
    background, its depth is 0 and it trains nothing. While training there is also ``num_samples_per_ray`` [rays].

    Raises:
        SceneError: on a CUDA device where nerfacc's kernels are missing and cannot be built.
    """

    config: SemanticNgpModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    field: SemanticNerfField  # pyright: ignore[reportIncompatibleVariableOverride]

    def populate_modules(self) -> None:
        """Build nerfstudio's model around our field, then its grid again, which also works on the CPU."""
        if torch.device(self.kwargs.get("device", "cpu")).type == "cuda":
            require_nerfacc_kernels()
        if self.config.collider_params is None:
            self.config.check_collider()  # an enabled one without numbers could not be built
        with _field_built_by(lambda **_: self._build_field()):
            super().populate_modules()
        self.occupancy_grid = OccupancyGrid(
            roi_aabb=self.scene_aabb,
            resolution=self.config.grid_resolution,
            levels=self.config.grid_levels,
            max_samples_per_ray=self.config.max_samples_per_ray,
            decay=self.config.grid_decay,
            threshold=self.config.grid_threshold,
        )
        self.sampler = OccupancySampler(self.occupancy_grid, self.field.density_fn)
        if str(self.kwargs.get("device")) == "cpu":
            leave_cores_to_kernels()

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Update the grid before each step, as the parent does, by the kernels where they know the field.

        The parent's are not asked for: they would update the grid a second time.
        """
        attributes = training_callback_attributes
        self._remember_cameras(attributes)
        step_size = self.config.render_step_size

        def update(step: int) -> None:
            density: Any = partial(packed_densities, self.field) if self._can_fuse() else self.field.density_fn
            self.occupancy_grid.update_every_n_steps(step, lambda x: density(x) * step_size)

        grid = TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], update, update_every_num_iters=1)
        return [grid, *self._depth_callbacks(attributes), *self._near_camera_callbacks(attributes)]

    def _can_fuse(self) -> bool:
        """Whether the CPU kernels know this configuration."""
        return self.device.type == "cpu" and self.config.fuse_on_cpu and KernelView(self.field).can_fuse_packed

    def _sampling_options(self) -> dict[str, Any]:
        names = ("render_step_size", "alpha_thre", "cone_angle")
        return {name: getattr(self.config, name) for name in names} | self._march_bounds()

    def _march_bounds(self) -> dict[str, float]:
        """Where rays start and end, in training and evaluation; the collider may narrow that, ray by ray."""
        config = self.config
        if config.prefer_scene_bounds and config.near_plane is not None and config.far_plane is not None:
            return {"near_plane": config.near_plane, "far_plane": config.far_plane}  # as its run was trained
        return {"near_plane": self.bounds.near, "far_plane": self.bounds.far}

    def get_outputs(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, ray_bundle: RayBundle
    ) -> Outputs:
        """Render a batch of rays; see :class:`SemanticModel` for the outputs."""
        take_targets(ray_bundle)  # they are of use to a model that knows the losses while it renders
        distances, num_rays = self._take_distances(ray_bundle), len(ray_bundle)
        ray_bundle = self._with_unseen_rays(ray_bundle)
        known = self._known_depth(distances, ray_bundle)
        if self._can_fuse() and not self.config.use_gradient_scaling:
            outputs = self._render_fused(ray_bundle, known)
        else:
            outputs = self._render_samples(ray_bundle, known)
        if self.training:
            num_uniform = 0 if distances is None else len(distances)
            return outputs | self._of_batch(outputs, num_rays) | self._of_known_rays(outputs, num_uniform)
        self._describe_semantics(outputs, ray_bundle)
        return outputs

    def _known_depth(self, distances: Tensor | None, ray_bundle: RayBundle) -> KnownDepth | None:
        """The distances of the first rays as those of all, of which the others are unknown."""
        if distances is None:
            return None
        of_all = distances.new_zeros(len(ray_bundle))
        of_all[: len(distances)] = distances
        return KnownDepth(of_all, self._depth_noise)

    def _render_fused(self, ray_bundle: RayBundle, known: KnownDepth | None) -> Outputs:
        """The fused CPU path: the field is asked on the way, and a ray ends where its light does."""
        march = self.sampler.plan(ray_bundle, **self._sampling_options())
        if self.training:
            rendered = render_packed(self.field, ray_bundle, march, self._near_camera_reach() or 1.0, known)
        else:
            rendered = render_packed_for_evaluation(self.field, ray_bundle, march)
        accumulation = rendered.accumulation
        # The renderer knows the backgrounds: the ray's colour as a sample, and a black one for the rest of the weights.
        colors = torch.stack([rendered.rgb, torch.zeros_like(rendered.rgb)], dim=1)
        weights = torch.stack([torch.ones_like(accumulation), accumulation - 1.0], dim=1)
        outputs: Outputs = {"rgb": self.renderer_rgb(rgb=colors, weights=weights), "accumulation": accumulation}
        if self.config.use_semantics:
            head = self.field.semantic_head
            share = accumulation if self.pass_semantic_gradients else accumulation.detach()
            outputs[LOGITS] = head_of_composited(rendered.features, share, head.weight, head.bias)
        if self.training:
            prices = {"near_camera_prices": rendered.near_camera_prices}
            if known is not None and rendered.depth_agreements is not None:
                outputs |= self._agreement_outputs(rendered.depth_agreements, known.distances)
            return outputs | prices | {"num_samples_per_ray": rendered.num_samples}
        return outputs | {"depth": rendered.median_distance, "expected_depth": rendered.expected_distance}

    def _sample(self, ray_bundle: RayBundle) -> tuple[RaySamples, Tensor]:
        """Samples [N, 1] and the ray of each [N]; at least one, of no length where no cell is occupied."""
        with torch.no_grad():
            samples, rays = self.sampler(ray_bundle=ray_bundle, **self._sampling_options())
        # The field takes the samples of one ray as axis -2.
        return samples[:, None], rays

    def _render_samples(self, ray_bundle: RayBundle, known: KnownDepth | None) -> Outputs:
        """The path that every configuration and device can take: all samples first, then the field at the visible."""
        samples, rays = self._sample(ray_bundle)
        num_rays = len(ray_bundle)
        values: dict[Any, Tensor] = self.field(samples)
        if self.config.use_gradient_scaling:
            values = scale_gradients_by_distance_squared(values, samples)
        frustums = samples.frustums
        lengths = (frustums.ends - frustums.starts)[:, 0, 0]
        weights = packed_weights(lengths, values[FieldHeadNames.DENSITY][:, 0, 0], rays, num_rays)
        accumulation = self.renderer_accumulation(weights=weights[:, None], ray_indices=rays, num_rays=num_rays)
        outputs: Outputs = {
            "rgb": self.renderer_rgb(
                rgb=values[FieldHeadNames.RGB][:, 0].float(),
                weights=weights[:, None],
                ray_indices=rays,
                num_rays=num_rays,
            ),
            "accumulation": accumulation,
        }
        if self.config.use_semantics:
            outputs[LOGITS] = self._render_logits(values, weights, accumulation, rays)
        distances = ((frustums.starts + frustums.ends) / 2)[:, 0]
        if self.training:
            price = price_of_distance(distances, self._near_camera_reach() or 1.0)
            prices = {"near_camera_prices": composite_packed(weights, price, rays, num_rays)[:, 0]}
            if known is not None:
                starts, ends = frustums.starts[:, 0], frustums.ends[:, 0]
                shares = interval_agreements(starts, ends, known.distances[rays, None], known.noise)
                agreements = composite_packed(weights, shares, rays, num_rays)[:, 0]
                outputs |= self._agreement_outputs(agreements, known.distances)
            return outputs | prices | {"num_samples_per_ray": torch.bincount(rays, minlength=num_rays)}
        edges = torch.cat([frustums.starts, frustums.ends], dim=-1)[:, 0]
        median = packed_median_distance(weights, edges, rays, num_rays)
        outputs["depth"] = median * (accumulation > 0)
        expected = composite_packed(weights, distances, rays, num_rays)
        outputs["expected_depth"] = expected / accumulation.clamp(min=1e-10)
        return outputs

    def _render_logits(
        self, values: Mapping[Any, Tensor], weights: Tensor, accumulation: Tensor, rays: Tensor
    ) -> Tensor:
        """The linear last layer once per ray; see ``rendering.composite_logits``."""
        if not self.pass_semantic_gradients:
            weights, accumulation = weights.detach(), accumulation.detach()
        features = values[SemanticHeadNames.SEMANTIC_FEATURES][:, 0].float()
        head, composited = self.field.semantic_head, composite_packed(weights, features, rays, len(accumulation))
        return head_of_composited(composited, accumulation, head.weight, head.bias)

    def get_metrics_dict(self, outputs: Outputs, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """PSNR of the batch and, while training, the number of its samples."""
        if "num_samples_per_ray" in outputs:
            return super().get_metrics_dict(*uniform_rays(outputs, batch))
        metrics = super().get_metrics_dict(outputs | {"num_samples_per_ray": outputs["rgb"].new_zeros(0)}, batch)
        del metrics["num_samples_per_batch"]
        return metrics

    def get_loss_dict(
        self, outputs: Outputs, batch: Mapping[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The colour loss and the weighted cross-entropy."""
        losses = super().get_loss_dict(*uniform_rays(outputs, batch), metrics_dict)
        losses |= self._opacity_loss(outputs, batch) | self._near_camera_loss(outputs)
        losses |= self._depth_loss(outputs)
        return losses | self._semantic_losses(outputs, batch)
