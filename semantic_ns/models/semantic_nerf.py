"""``semantic-nerf``: nerfacto with a semantic head, lean and fused enough to train on a CPU."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.field_components.spatial_distortions import SceneContraction
from nerfstudio.fields.density_fields import HashMLPDensityField
from nerfstudio.model_components import renderers
from nerfstudio.model_components.losses import scale_gradients_by_distance_squared
from nerfstudio.model_components.scene_colliders import NearFarCollider
from nerfstudio.models.nerfacto import NerfactoModel, NerfactoModelConfig
from torch import Tensor

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.encodings.hash_grid import Backend, replace_hash_encodings
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.accumulator import SceneAccumulator
from semantic_ns.evaluation.pictures import picture_grid
from semantic_ns.fields.semantic_nerf_field import SemanticHeadNames, SemanticNerfField
from semantic_ns.host import LpipsIfAvailable, leave_cores_to_kernels, without_lpips_download
from semantic_ns.labels.taxonomy import VOID, Taxonomy
from semantic_ns.losses import distortion_loss_cpu, semantic_cross_entropy
from semantic_ns.rendering import composite_logits, confidence, median_distance, normalised_entropy, planar_depth
from semantic_ns.sampling.proposal_sampler import FusedProposalSampler

Outputs = dict[str, Any]


@dataclass
class SemanticNerfModelConfig(NerfactoModelConfig):
    """Options of the semantic-nerf model; the rest are nerfacto's."""

    _target: type = field(default_factory=lambda: SemanticNerfModel)
    implementation: Literal["tcnn", "torch"] = "torch"
    """Networks and hash grids by torch (everywhere) or by tiny-cuda-nn (CUDA, where it is installed)."""
    hash_backend: Backend = "auto"
    """Hash grids of the torch implementation: numba (CPU), torch (slow, everywhere), or what fits the device."""
    fuse_on_cpu: bool = True
    """Sample and render whole rays in fused CPU kernels where the configuration allows it."""
    use_scene_bounds: bool = True
    """Take near and far plane from the data set where it states them in metres (Replica: 0.1 to 10)."""
    semantic_loss_weight: float = 0.04
    """Weight of the cross-entropy beside the colour loss (Zhi et al. 2021, equation (8))."""
    pass_semantic_gradients: bool = True
    """Whether the semantic loss also trains geometry and the features shared with colour."""
    semantic_width: int = 64
    """Width of the semantic hidden layer."""


class SemanticNerfModel(NerfactoModel):
    """Nerfacto plus class logits, rendered by Zhi et al. 2021, equation (4).

    Outputs at evaluation, each [rays, c] float: ``rgb`` 3, ``accumulation`` 1, ``depth`` 1 (median distance along the
    unit ray, scene units), ``expected_depth`` 1, ``semantics_colormap`` 3, ``semantics_overlay`` 3,
    ``semantics_confidence`` 1, ``semantics_entropy`` 1 (divided by ln C). Inside :meth:`raw_outputs` also
    ``semantics_labels`` 1 (int64, 0..C-1) and ``planar_depth`` 1 (scene units).
    """

    config: SemanticNerfModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    lpips: LpipsIfAvailable
    class_source_ids: Tensor

    def populate_modules(self) -> None:
        """Build nerfacto, then its field again with a semantic head, and everything that knows the classes."""
        if self.config.predict_normals:
            raise SceneError("semantic-nerf does not predict normals; leave --pipeline.model.predict-normals out.")
        with without_lpips_download():
            super().populate_modules()
        metadata = self.kwargs["metadata"]
        self.taxonomy: Taxonomy = metadata[keys.TAXONOMY]
        self.metres_per_unit: float = metadata[keys.METRES_PER_UNIT]
        self.register_buffer("class_source_ids", torch.tensor(self.taxonomy.source_ids))
        self.evaluation_state = SceneAccumulator(self.taxonomy.num_classes, self.metres_per_unit)
        self._renders_raw_outputs = False
        self.field = self._build_field()
        for network in self.proposal_networks:
            replace_hash_encodings(network, self.config.hash_backend)
        self.proposal_sampler = self._build_sampler()
        near_far_m = metadata.get(keys.NEAR_FAR_M)
        if self.config.use_scene_bounds and near_far_m is not None:
            near, far = (distance / self.metres_per_unit for distance in near_far_m)
            self.collider = NearFarCollider(near_plane=near, far_plane=far)
        if self._kernels_know_configuration() and str(self.kwargs.get("device")) == "cpu":
            leave_cores_to_kernels()
        # Slow to import, and of use only where there is a model to look at.
        from semantic_ns.viewer.panel import SemanticPanel

        self.panel = SemanticPanel(self.taxonomy)

    def _build_field(self) -> SemanticNerfField:
        config = self.config
        return SemanticNerfField(
            self.scene_box.aabb,
            self.num_train_data,
            num_classes=self.taxonomy.num_classes,
            semantic_width=config.semantic_width,
            pass_semantic_gradients=config.pass_semantic_gradients,
            hash_backend=config.hash_backend,
            hidden_dim=config.hidden_dim,
            num_levels=config.num_levels,
            max_res=config.max_res,
            base_res=config.base_res,
            features_per_level=config.features_per_level,
            log2_hashmap_size=config.log2_hashmap_size,
            hidden_dim_color=config.hidden_dim_color,
            hidden_dim_transient=config.hidden_dim_transient,
            spatial_distortion=None if config.disable_scene_contraction else SceneContraction(order=float("inf")),
            use_average_appearance_embedding=config.use_average_appearance_embedding,
            appearance_embedding_dim=config.appearance_embed_dim if config.use_appearance_embedding else 0,
            average_init_density=config.average_init_density,
            implementation=config.implementation,
        )

    def _build_sampler(self) -> FusedProposalSampler:
        built = self.proposal_sampler
        return FusedProposalSampler(
            piecewise=self.config.proposal_initial_sampler == "piecewise",
            num_proposal_samples_per_ray=built.num_proposal_samples_per_ray,
            num_nerf_samples_per_ray=self.config.num_nerf_samples_per_ray,
            num_proposal_network_iterations=built.num_proposal_network_iterations,
            single_jitter=self.config.use_single_jitter,
            update_sched=built.update_sched,
            initial_sampler=built.initial_sampler,
        )

    # Rendering

    def get_outputs(self, ray_bundle: RayBundle) -> Outputs:
        """Render a batch of rays; see the class for the outputs."""
        if self.training:
            self.camera_optimizer.apply_to_raybundle(ray_bundle)
        outputs = self._render_fused(ray_bundle) if self._can_fuse(ray_bundle) else self._render_samples(ray_bundle)
        if not self.training:
            self._describe_semantics(outputs, ray_bundle)
        return outputs

    def _kernels_know_configuration(self) -> bool:
        config = self.config
        return (
            config.fuse_on_cpu
            and config.num_proposal_iterations == 1
            and not config.use_gradient_scaling
            and config.background_color == "last_sample"
            and self.field.can_fuse
        )

    def _can_fuse(self, ray_bundle: RayBundle) -> bool:
        # The kernels give no gradient in the rays. The viewer's crop sets a background and makes rays without end.
        moves_rays = self.training and self.config.camera_optimizer.mode != "off"
        return (
            not moves_rays
            and renderers.BACKGROUND_COLOR_OVERRIDE is None
            and self._kernels_know_configuration()
            and self.proposal_sampler.can_fuse(ray_bundle, self.proposal_networks)
        )

    def _render_fused(self, ray_bundle: RayBundle) -> Outputs:
        """The fused CPU path: two kernels per batch instead of some hundred small operations."""
        network = self._proposal_network()
        spacings, distances, proposal = self.proposal_sampler.sample_edges(ray_bundle, network)
        rgb, features, weights = self.field.render_rays(ray_bundle, distances)
        head, accumulation = self.field.semantic_head, weights.sum(dim=-1, keepdim=True)
        semantic_accumulation = accumulation if self.config.pass_semantic_gradients else accumulation.detach()
        outputs: Outputs = {
            "rgb": rgb,
            "accumulation": accumulation,
            "semantics": features @ head.weight.T + semantic_accumulation * head.bias,
        }
        if self.training:
            due = self.proposal_sampler.take_turn()
            return outputs | {
                "fused": {"spacings": spacings, "weights": weights, "proposal": proposal if due else None}
            }
        centres = (distances[:, 1:] + distances[:, :-1]) / 2
        outputs["depth"] = median_distance(weights, centres)
        outputs["expected_depth"] = (weights * centres).sum(-1, keepdim=True) / accumulation.clamp(min=1e-10)
        return outputs

    def _proposal_network(self) -> HashMLPDensityField:
        network = self.proposal_networks[0]
        assert isinstance(network, HashMLPDensityField)
        return network

    def _render_samples(self, ray_bundle: RayBundle) -> Outputs:
        """Nerfacto's path, sample by sample: any device, any number of proposal networks."""
        samples, weights_list, samples_list = self.proposal_sampler(ray_bundle, density_fns=self.density_fns)
        values: dict[Any, Tensor] = self.field(samples)
        if self.config.use_gradient_scaling:
            values = scale_gradients_by_distance_squared(values, samples)
        weights = samples.get_weights(values[FieldHeadNames.DENSITY])
        semantic_weights = weights if self.config.pass_semantic_gradients else weights.detach()
        head = self.field.semantic_head
        outputs: Outputs = {
            "rgb": self.renderer_rgb(rgb=values[FieldHeadNames.RGB], weights=weights),
            "accumulation": self.renderer_accumulation(weights=weights),
            "semantics": composite_logits(
                semantic_weights, values[SemanticHeadNames.SEMANTIC_FEATURES].float(), head.weight, head.bias
            ),
        }
        if self.training:
            return outputs | {"weights_list": [*weights_list, weights], "ray_samples_list": [*samples_list, samples]}
        outputs["depth"] = self.renderer_depth(weights=weights, ray_samples=samples)
        outputs["expected_depth"] = self.renderer_expected_depth(weights=weights, ray_samples=samples)
        return outputs

    def _describe_semantics(self, outputs: Outputs, ray_bundle: RayBundle) -> None:
        """Replace logits, which neither viewer nor ns-render can show, by what they can."""
        logits = outputs.pop("semantics")
        labels = logits.argmax(dim=-1, keepdim=True)
        # Where the viewer's crop leaves nothing there is no class either.
        empty = ~(outputs["accumulation"] > 1e-3)
        colormap = self.taxonomy.colorize(labels.masked_fill(empty, VOID)[..., 0])
        outputs["semantics_colormap"] = colormap
        outputs["semantics_overlay"] = self.panel.compose(outputs["rgb"], colormap, labels)
        outputs["semantics_confidence"] = confidence(logits)
        outputs["semantics_entropy"] = normalised_entropy(logits)
        if self._renders_raw_outputs:
            outputs["semantics_labels"] = labels
            outputs["planar_depth"] = planar_depth(outputs["depth"], ray_bundle.metadata["directions_norm"])

    @contextmanager
    def raw_outputs(self) -> Iterator[None]:
        """Inside it the model also renders ``semantics_labels`` and ``planar_depth``."""
        before, self._renders_raw_outputs = self._renders_raw_outputs, True
        try:
            yield
        finally:
            self._renders_raw_outputs = before

    # Losses and metrics

    def get_metrics_dict(self, outputs: Outputs, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """PSNR of the batch and, while training, the distortion."""
        if "fused" not in outputs:
            return super().get_metrics_dict(outputs, batch)
        with torch.no_grad():
            error = (outputs["rgb"] - self.renderer_rgb.blend_background(batch["image"])).square().mean()
        fused = outputs["fused"]
        return {
            "psnr": -10.0 * torch.log10(error),
            "distortion": distortion_loss_cpu(fused["spacings"], fused["weights"]),
        }

    def get_loss_dict(
        self, outputs: Outputs, batch: Mapping[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Nerfacto's losses and the weighted cross-entropy."""
        if "fused" in outputs:
            losses = self._fused_losses(outputs, batch, metrics_dict or {})
        else:
            losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if "semantics" in outputs:  # nerfstudio's evaluation batches are rendered for looking, without logits
            labels = batch["semantics"].to(self.device).reshape(-1)
            cross_entropy = semantic_cross_entropy(outputs["semantics"], labels)
            losses["semantic_loss"] = self.config.semantic_loss_weight * cross_entropy
        return losses

    def _fused_losses(
        self, outputs: Outputs, batch: Mapping[str, Any], metrics: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Nerfacto's colour, distortion and interlevel losses from the edges that the kernels give."""
        config, fused = self.config, outputs["fused"]
        rendered, target = self.renderer_rgb.blend_background_for_loss_computation(
            pred_image=outputs["rgb"], pred_accumulation=outputs["accumulation"], gt_image=batch["image"]
        )
        losses = {
            "rgb_loss": self.rgb_loss(target, rendered),
            "distortion_loss": config.distortion_loss_mult * metrics["distortion"],
        }
        if fused["proposal"] is not None:
            losses["interlevel_loss"] = config.interlevel_loss_mult * self.proposal_sampler.interlevel_loss(
                fused["proposal"], self._proposal_network(), fused["spacings"], fused["weights"]
            )
        return losses

    def get_image_metrics_and_images(
        self, outputs: Outputs, batch: Mapping[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Nerfacto's per-image metrics, our pictures; pooled scores go to ``evaluation_state``."""
        # The parent draws the depth of each proposal network, which the fused path does not render.
        proposals = {f"prop_depth_{i}": outputs["depth"] for i in range(self.config.num_proposal_iterations)}
        metrics, images = super().get_image_metrics_and_images(outputs | proposals, dict(batch))
        images = {name: image for name, image in images.items() if name not in proposals}
        if not self.lpips.available:
            metrics.pop("lpips", None)
        if "semantics_labels" in outputs:
            target, depth_m = batch["semantics"], batch.get("depth_image_m")
            self.evaluation_state.add(outputs["semantics_labels"], target, outputs["planar_depth"], depth_m)
            image = self.renderer_rgb.blend_background(batch["image"].to(self.device))
            self.evaluation_state.add_color(outputs["rgb"], image)
            images |= picture_grid(outputs, image, target, depth_m, self.taxonomy, self.metres_per_unit)
        return metrics, images

    # Checkpoints

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a checkpoint whole; nerfstudio would go on without what does not fit.

        Raises:
            SceneError: if the checkpoint has other parameters, other sizes or other classes than this model.
        """
        stored = state_dict.get("class_source_ids")
        if stored is not None and stored.tolist() != self.class_source_ids.tolist():
            raise SceneError(
                f"The checkpoint was trained on the classes with ids {stored.tolist()}, but the scene has "
                f"{self.class_source_ids.tolist()}; load it with the labels it was trained on, or train again."
            )
        own = self.state_dict()
        missing, unexpected = sorted(own.keys() - state_dict.keys()), sorted(state_dict.keys() - own.keys())
        resized = [k for k in own.keys() & state_dict.keys() if own[k].shape != state_dict[k].shape]
        if missing or unexpected or resized:
            raise SceneError(
                f"The checkpoint does not fit this model (missing: {missing or 'none'}; unexpected: "
                f"{unexpected or 'none'}; of another size: {sorted(resized) or 'none'}); load it with the options it "
                "was trained with, or train again."
            )
        return super().load_state_dict(state_dict, strict=strict, assign=assign)
