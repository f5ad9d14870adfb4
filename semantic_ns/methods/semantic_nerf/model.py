"""``semantic-nerf``: nerfacto with a semantic head, lean and fused enough to train on a CPU."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.fields.density_fields import HashMLPDensityField
from nerfstudio.model_components import renderers
from nerfstudio.model_components.losses import scale_gradients_by_distance_squared
from nerfstudio.models.nerfacto import NerfactoModel, NerfactoModelConfig
from torch import Tensor

from semantic_ns.batch import LOGITS, NUM_UNIFORM, Targets, take_targets
from semantic_ns.encodings.hash_grid import replace_hash_encodings
from semantic_ns.errors import SceneError
from semantic_ns.fields.cpu.network import KernelView
from semantic_ns.fields.cpu.render import render_rays
from semantic_ns.fields.cpu.train import LossOptions, LossWeights, TrainedRays, train_rays
from semantic_ns.fields.semantic_nerf_field import SemanticHeadNames, SemanticNerfField
from semantic_ns.interfaces import RenderedIntervals
from semantic_ns.losses import distortion_loss_cpu
from semantic_ns.methods.base import Outputs, SemanticModel, uniform_rays
from semantic_ns.methods.options import HashGridOptions
from semantic_ns.methods.schedules import checked_ramp, ramp
from semantic_ns.rendering import composite_logits, median_distance
from semantic_ns.run_clock import schedule_step_of
from semantic_ns.sampling.proposal import FusedProposalSampler, edges_of
from semantic_ns.shared_cores import leave_cores_to_kernels, share_cores

_TURNS = ("_steps_since_update", "_step")
"""Attributes of nerfstudio's proposal sampler that say when the proposal network trains next."""


def _uniform_samples(outputs: Outputs, batch: Mapping[str, Any]) -> Outputs:
    """Weights and samples of the rays that are uniform over all pixels, on which alone the distortion loss is."""
    count = batch.get(NUM_UNIFORM, len(batch["image"]))
    names = outputs.keys() & {"weights_list", "ray_samples_list"}
    return {name: [of_network[:count] for of_network in outputs[name]] for name in names}


@dataclass
class SemanticNerfModelConfig(HashGridOptions, NerfactoModelConfig):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Options of the semantic-nerf model; the rest are nerfacto's."""

    _target: type = field(default_factory=lambda: SemanticNerfModel)
    fuse_on_cpu: bool = True
    """Sample and render whole rays in fused CPU kernels if the configuration allows it."""
    distortion_ramp: tuple[float, float] = (0.4, 0.8)
    """Fractions of training between which the distortion loss rises from 0 to its full weight. Before the surface is
    found, this loss tends to compact a ray into a floater before the lens. 0 0 applies it in full from the start."""


class SemanticNerfModel(SemanticModel, NerfactoModel):
    """Nerfacto plus class logits, rendered by Zhi et al. 2021, equation (4)."""

    config: SemanticNerfModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    field: SemanticNerfField  # pyright: ignore[reportIncompatibleVariableOverride]
    renders_intervals = True
    supports_active_learning = True

    def populate_modules(self) -> None:
        """Build nerfacto, then its field again with a semantic head, and the sampler with its kernels."""
        if self.config.predict_normals:
            raise SceneError("semantic-nerf does not predict normals; leave --pipeline.model.predict-normals out.")
        super().populate_modules()
        self.field = self._build_field()
        for network in self.proposal_networks:
            replace_hash_encodings(network, self.config.hash_backend)
        self.proposal_sampler = self._build_sampler()
        if str(self.kwargs.get("device")) == "cpu":
            (leave_cores_to_kernels if self._kernels_know_configuration() else share_cores)()

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

    # Schedule

    @property
    def sampling_turns(self) -> Mapping[str, int]:
        """When the proposal network trains next, as nerfstudio's sampler counts it."""
        return {name: getattr(self.proposal_sampler, name) for name in _TURNS}

    @sampling_turns.setter
    def sampling_turns(self, turns: Mapping[str, int]) -> None:
        for name, value in turns.items():
            setattr(self.proposal_sampler, name, value)

    _distortion_ramp = 1.0
    """Share of the distortion loss that counts in this step."""

    def _distortion_loss_mult(self) -> float:
        return self.config.distortion_loss_mult * self._distortion_ramp

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The parent's, and the rise of the distortion loss."""
        callbacks = super().get_training_callbacks(training_callback_attributes)
        trainer = training_callback_attributes.trainer
        if trainer is None:
            return callbacks
        first, last = checked_ramp(self.config.distortion_ramp, "--pipeline.model.distortion-ramp")
        num_steps, at = trainer.config.max_num_iterations, schedule_step_of(trainer)

        def rise(step: int) -> None:
            self._distortion_ramp = ramp(at(step) / num_steps, first, last)

        where = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        return [*callbacks, TrainingCallback(where, rise, update_every_num_iters=1)]

    # Rendering

    def get_outputs(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, ray_bundle: RayBundle
    ) -> Outputs:
        """Render a batch of rays; see :class:`SemanticModel` for the outputs."""
        if self.training:
            self.camera_optimizer.apply_to_raybundle(ray_bundle)
        targets, distances, num_rays = take_targets(ray_bundle), self._take_distances(ray_bundle), len(ray_bundle)
        ray_bundle = self._with_unseen_rays(ray_bundle)
        if not self._can_fuse(ray_bundle):
            outputs = self._sample_outputs(ray_bundle, targets is None or targets.trains_classes, distances)
        elif self.training and targets is not None:
            targets = replace(targets, distances=distances).with_void(len(ray_bundle) - num_rays)
            outputs = self._train_fused(ray_bundle, targets)
        else:
            outputs = self._render_fused(ray_bundle, distances)
        if self.training:
            return outputs | self._of_batch(outputs, num_rays)
        self._describe_semantics(outputs, ray_bundle)
        return outputs

    def _kernels_know_configuration(self) -> bool:
        config = self.config
        return (
            config.fuse_on_cpu
            and config.num_proposal_iterations == 1
            and not config.use_gradient_scaling
            and config.background_color == "last_sample"
            and KernelView(self.field).can_fuse
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

    def render_intervals(self, ray_bundle: RayBundle) -> RenderedIntervals:
        """Render rays [R] whose ends are known, at evaluation, with the intervals that they are made of."""
        if self._can_fuse(ray_bundle):
            edges, _ = self.proposal_sampler.sample_edges(ray_bundle, self._proposal_network())
            rgb, logits, weights = render_rays(self.field, ray_bundle, edges.distances)
            return RenderedIntervals(rgb, logits, weights, edges.distances)
        outputs, samples, weights, _ = self._render_samples(ray_bundle, with_semantics=True)
        return RenderedIntervals(outputs["rgb"], outputs.get(LOGITS), weights[..., 0], edges_of(samples).distances)

    def _render_fused(self, ray_bundle: RayBundle, known: Tensor | None) -> Outputs:
        """The fused CPU path: two kernels per batch instead of some hundred small operations."""
        if not self.training:
            return self._describe_intervals(self.render_intervals(ray_bundle))
        network = self._proposal_network()
        edges, proposal = self.proposal_sampler.sample_edges(ray_bundle, network)
        rgb, logits, weights = render_rays(self.field, ray_bundle, edges.distances)
        outputs: Outputs = {"rgb": rgb, "accumulation": weights.sum(dim=-1, keepdim=True)}
        if logits is not None:
            outputs[LOGITS] = logits
        is_update = self.proposal_sampler.is_update_step()
        fused = {"spacings": edges.spacings, "weights": weights, "proposal": proposal if is_update else None}
        outputs |= self._near_camera_prices(weights, edges.distances)
        return outputs | self._depth_agreements(weights, edges.distances, known) | {"fused": fused}

    @staticmethod
    def _describe_intervals(rendered: RenderedIntervals) -> Outputs:
        """The outputs of rays at evaluation."""
        weights, distances = rendered.weights, rendered.distances
        accumulation = weights.sum(dim=-1, keepdim=True)
        centres = (distances[:, 1:] + distances[:, :-1]) / 2
        outputs: Outputs = {
            "rgb": rendered.rgb,
            "accumulation": accumulation,
            "depth": median_distance(weights, distances),
            "expected_depth": (weights * centres).sum(-1, keepdim=True) / accumulation.clamp(min=1e-10),
        }
        return outputs if rendered.logits is None else outputs | {LOGITS: rendered.logits}

    def _train_fused(self, ray_bundle: RayBundle, targets: Targets) -> Outputs:
        """One step of rays that know their targets: the field is passed once, forward and backward."""
        network, config = self._proposal_network(), self.config
        edges, proposal = self.proposal_sampler.sample_edges(ray_bundle, network)
        loss_weights = LossWeights(
            distortion=self._distortion_loss_mult(),
            semantic=config.semantic_loss_weight,
            opacity=config.opacity_loss_weight,
            near_camera=self._near_camera_weight(),
            depth=self._depth_weight(),
        )
        losses = LossOptions(loss_weights, self._near_camera_reach() or 1.0, self._depth_noise)
        trained = train_rays(self.field, ray_bundle, edges, targets, losses)
        is_update = self.proposal_sampler.is_update_step()
        fused = {
            "spacings": edges.spacings,
            "weights": trained.weights,
            "proposal": proposal if is_update else None,
        }
        return {"rgb": trained.rgb, "trained": trained, "fused": fused, "knows_depth": targets.distances is not None}

    def _proposal_network(self) -> HashMLPDensityField:
        network = self.proposal_networks[0]
        assert isinstance(network, HashMLPDensityField)
        return network

    def _sample_outputs(self, ray_bundle: RayBundle, with_semantics: bool, known: Tensor | None) -> Outputs:
        """The outputs of :meth:`_render_samples`."""
        outputs, samples, weights, proposals = self._render_samples(ray_bundle, with_semantics)
        distances = edges_of(samples).distances
        if self.training:
            outputs |= self._depth_agreements(weights[..., 0], distances, known)
            return outputs | self._near_camera_prices(weights[..., 0], distances) | proposals
        outputs["depth"] = median_distance(weights[..., 0], distances)
        outputs["expected_depth"] = self.renderer_expected_depth(weights=weights, ray_samples=samples)
        return outputs

    def _render_samples(
        self, ray_bundle: RayBundle, with_semantics: bool
    ) -> tuple[Outputs, RaySamples, Tensor, dict[str, list[Any]]]:
        """Nerfacto's path, sample by sample: any device, any number of proposal networks.

        Returns:
            Colour, accumulation and logits; the samples [rays, samples]; their weights [rays, samples, 1]; and the
            weights and samples of all networks for the interlevel loss.
        """
        samples, weights_list, samples_list = self.proposal_sampler(ray_bundle, density_fns=self.density_fns)
        density, embedding = self.field.get_density(samples)
        values: dict[Any, Tensor] = {**self.field.get_outputs(samples, embedding, with_semantics)}
        values[FieldHeadNames.DENSITY] = density
        if self.config.use_gradient_scaling:
            values = scale_gradients_by_distance_squared(values, samples)
        weights = samples.get_weights(values[FieldHeadNames.DENSITY])
        outputs: Outputs = {
            "rgb": self.renderer_rgb(rgb=values[FieldHeadNames.RGB], weights=weights),
            "accumulation": self.renderer_accumulation(weights=weights),
        }
        if self.field.use_semantics and with_semantics:
            semantic_weights = self.field.semantic_weights(weights)
            features, head = values[SemanticHeadNames.SEMANTIC_FEATURES].float(), self.field.semantic_head
            with torch.autocast(features.device.type, enabled=False):  # sums in half precision would lose small weights
                outputs[LOGITS] = composite_logits(semantic_weights, features, head.weight, head.bias)
        proposals = {"weights_list": [*weights_list, weights], "ray_samples_list": [*samples_list, samples]}
        return outputs, samples, weights, proposals

    # Losses and metrics

    def get_metrics_dict(self, outputs: Outputs, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """PSNR of the batch and, while training, the distortion."""
        if "fused" not in outputs:
            return super().get_metrics_dict(*uniform_rays(outputs | _uniform_samples(outputs, batch), batch))
        if "trained" in outputs:
            trained: TrainedRays = outputs["trained"]
            distortion = trained.distortion_loss.detach() / (self._distortion_loss_mult() or 1.0)
            return {"psnr": -10.0 * torch.log10(trained.color_loss.detach()), "distortion": distortion}
        outputs, batch = uniform_rays(outputs, batch)
        with torch.no_grad():
            error = (outputs["rgb"] - self.renderer_rgb.blend_background(batch["image"])).square().mean()
        fused, count = outputs["fused"], len(batch["image"])
        return {
            "psnr": -10.0 * torch.log10(error),
            "distortion": distortion_loss_cpu(fused["spacings"][:count], fused["weights"][:count]),
        }

    def get_loss_dict(
        self, outputs: Outputs, batch: Mapping[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Nerfacto's losses and the weighted cross-entropy."""
        if "trained" in outputs:
            return self._ready_losses(outputs) | self._interlevel_loss(outputs)
        if "fused" in outputs:
            losses = self._fused_losses(*uniform_rays(outputs, batch), metrics_dict or {})
        else:
            losses = super().get_loss_dict(*uniform_rays(outputs, batch), metrics_dict)
            if "distortion_loss" in losses:
                losses["distortion_loss"] = losses["distortion_loss"] * self._distortion_ramp
        losses |= self._opacity_loss(outputs, batch) | self._near_camera_loss(outputs) | self._depth_loss(outputs)
        return losses | self._semantic_losses(outputs, batch)

    def _fused_losses(
        self, outputs: Outputs, batch: Mapping[str, Any], metrics: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Nerfacto's colour, distortion and interlevel losses from the edges that the kernels give."""
        rendered, target = self.renderer_rgb.blend_background_for_loss_computation(
            pred_image=outputs["rgb"], pred_accumulation=outputs["accumulation"], gt_image=batch["image"]
        )
        losses = {
            "rgb_loss": self.rgb_loss(target, rendered),
            "distortion_loss": self._distortion_loss_mult() * metrics["distortion"],
        }
        return losses | self._interlevel_loss(outputs)

    def _ready_losses(self, outputs: Outputs) -> dict[str, Tensor]:
        trained: TrainedRays = outputs["trained"]
        losses = {
            "rgb_loss": trained.color_loss,
            "distortion_loss": trained.distortion_loss,
            "opacity_loss": trained.opacity_loss,
            "near_camera_loss": trained.near_camera_loss,
        }
        losses |= {"depth_loss": trained.depth_loss} if outputs["knows_depth"] else {}
        return losses | ({"semantic_loss": trained.semantic_loss} if self.config.use_semantics else {})

    def _interlevel_loss(self, outputs: Outputs) -> dict[str, Tensor]:
        """The loss of the proposal network, in the steps that train it."""
        fused = outputs["fused"]
        if fused["proposal"] is None:
            return {}
        loss = self.proposal_sampler.interlevel_loss(
            fused["proposal"], self._proposal_network(), fused["spacings"], fused["weights"]
        )
        return {"interlevel_loss": self.config.interlevel_loss_mult * loss}

    def get_image_metrics_and_images(
        self, outputs: Outputs, batch: Mapping[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """What every model with classes reports, without nerfacto's pictures of the proposal networks."""
        # The parent draws the depth of each proposal network, which the fused path does not render.
        proposals = {f"prop_depth_{i}": outputs["depth"] for i in range(self.config.num_proposal_iterations)}
        metrics, images = super().get_image_metrics_and_images(outputs | proposals, batch)
        return metrics, {name: image for name, image in images.items() if name not in proposals}
