"""What every model with classes shares: its field, the description of its outputs, its scores and its checkpoints."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.field_components.spatial_distortions import SceneContraction
from nerfstudio.model_components.renderers import RGBRenderer
from nerfstudio.model_components.scene_colliders import NearFarCollider
from torch import Tensor
from torch.nn import Parameter

from semantic_ns.batch import (
    CLASSLESS,
    DEPTH_M,
    LABELS,
    LOGITS,
    MASK,
    NORMALS,
    NUM_UNIFORM,
    PLANAR_DEPTH,
    RENDERED_LABELS,
    semantic_loss,
)
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.encodings.hash_grid import HashGrid
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.accumulator import SceneAccumulator
from semantic_ns.evaluation.color import PeakSignalNoiseRatio, structural_similarity
from semantic_ns.evaluation.pictures import picture_grid
from semantic_ns.fields.feature_grid import SemanticGrid
from semantic_ns.fields.semantic_nerf_field import SemanticNerfField
from semantic_ns.geometry.normals import normals_of_rays
from semantic_ns.geometry.rays import are_simple, rays_of_image
from semantic_ns.host import LpipsIfAvailable, draw_labels_in_class_colors, without_lpips_download
from semantic_ns.interfaces import RenderedIntervals
from semantic_ns.io.console import announce
from semantic_ns.labels.taxonomy import VOID, Taxonomy
from semantic_ns.losses import opacity_loss
from semantic_ns.methods.depth_supervision import DepthSupervisedModel
from semantic_ns.methods.near_camera import NearCameraPriceModel
from semantic_ns.methods.point_cloud import IS_IN_CROP_BOX, EmptyRays
from semantic_ns.methods.scene_bounds import BY_DEFAULT, BY_OPTION, SceneBounds, StatedBounds, resolve_bounds
from semantic_ns.methods.shown_classes import show_classes
from semantic_ns.rendering import describe_logits, planar_depth

if TYPE_CHECKING:  # of use only where instances are shown
    from semantic_ns.viewer.instances import InstanceColors

Outputs = dict[str, Any]
INSTANCES = "instances"


def uniform_rays(outputs: Outputs, batch: Mapping[str, Any]) -> tuple[Outputs, dict[str, Any]]:
    """Colour of the rays that are uniform over all pixels; the further, labelled ones would bias it."""
    count = batch.get(NUM_UNIFORM)  # absent in evaluation
    if count is None:
        return outputs, dict(batch)
    color = {name: outputs[name][:count] for name in ("rgb", "accumulation") if name in outputs}
    return outputs | color, {**batch, "image": batch["image"][:count]}


class SemanticModel(NearCameraPriceModel, DepthSupervisedModel):
    """Adds classes to a model of nerfstudio; to be listed before it as a base class.

    The model renders ``rgb``, ``accumulation``, ``semantics`` (logits) and, at evaluation, ``depth`` and
    ``expected_depth``, and then calls :meth:`_describe_semantics`.

    Outputs at evaluation, each [rays, c] float: ``rgb`` 3, ``accumulation`` 1, ``depth`` 1 (median distance along the
    unit ray, scene units), ``expected_depth`` 1, ``semantics_colormap`` 3, ``semantics_overlay`` 3,
    ``semantics_confidence`` 1, ``semantics_entropy`` 1 (divided by ln C). Inside :meth:`raw_outputs` also
    ``semantics_labels`` 1 (int64, 0..C-1, or -1 where a surface has no class) and ``planar_depth`` 1 (scene units).
    Where a ray meets nothing (see :func:`meets_nothing`) the pictures of classes show the background. Single rays, not
    those of an image, also have ``normals`` 3: unit normals n in scene axes, as (n + 1) / 2.
    """

    config: Any
    """``SemanticOptions`` beside nerfstudio's; sizes of the field under the names that nerfacto gives them."""
    lpips: LpipsIfAvailable
    field: SemanticNerfField
    renderer_rgb: RGBRenderer
    class_source_ids: Tensor
    renders_rays = True
    """Whether the model can be called with single rays."""
    renders_intervals = False
    """Whether the model has :meth:`render_intervals`."""
    renders_image_intervals = False
    """Whether the model has :meth:`render_image_intervals`."""
    renders_from_sources = False
    """Whether the model renders from source frames."""
    gives_raw_outputs = True
    """Whether the model has :meth:`raw_outputs`."""
    supports_propagation = True
    """Whether labels can spread over its surface: it renders images, and its field has ``unit_positions``."""
    shows_surface = True
    """Whether its images show one surface, of which :meth:`unit_positions` makes voxels."""
    supports_active_learning = False
    """Whether it can be asked which labels are worth most: it renders intervals, and its field has a ``head``."""
    supports_geometry_supervision = True
    """Whether :attr:`pass_semantic_gradients` can be set while the model trains."""
    shows_instances = True
    """Whether :attr:`instances` are shown."""
    instances: "InstanceColors | None" = None
    """Exported instances, to be shown as the output ``instances`` of pictures."""
    bounds: SceneBounds
    """Where rays start and end; some models let rays start at the camera at evaluation."""

    def populate_modules(self) -> None:
        """Build nerfstudio's model without a download, and everything that knows the classes but the field."""
        # Before nerfstudio's model, which may build the field.
        self.taxonomy: Taxonomy = self.kwargs["metadata"][keys.TAXONOMY]
        with without_lpips_download():
            super().populate_modules()
        self._populate_scores()
        self._populate_bounds()

    def _populate_scores(self) -> None:
        """What knows the classes of the scene: scores, pictures and the panel of the viewer."""
        self.psnr = PeakSignalNoiseRatio()
        self.ssim = structural_similarity
        self.metres_per_unit: float = self.kwargs["metadata"][keys.METRES_PER_UNIT]
        self.register_buffer("class_source_ids", torch.tensor(self.taxonomy.source_ids))
        self.evaluation_state = SceneAccumulator(self.taxonomy.num_classes, self.metres_per_unit)
        self._renders_raw_outputs = False
        self._renders_image = False
        self._empty_rays = EmptyRays()
        # Slow to import, and of use only where there is a model to look at.
        from semantic_ns.viewer.panel import SemanticPanel

        self.panel = SemanticPanel(self.taxonomy)
        draw_labels_in_class_colors(self.taxonomy.colorize)

    def _populate_bounds(self) -> None:
        """Where rays start and end."""
        self.bounds = resolve_bounds(self._stated_bounds())
        # Nerfstudio lets rays start at the camera at evaluation, lest something close to a new view be cut off. Where a
        # person has said that nothing is that close, those rays would render what no training ray has crossed.
        is_given = self.bounds.near_source == BY_OPTION and not self.config.prefer_scene_bounds
        self.collider = NearFarCollider(self.bounds.near, self.bounds.far, reset_near_plane=not is_given)
        is_metric = not self.kwargs["metadata"].get(keys.HAS_UNKNOWN_SCALE, False)
        announce("bounds", self.bounds.sentence(self.metres_per_unit if is_metric else None))
        if (doubt := self.doubt_of_box()) is not None:
            announce("bounds", doubt)

    def doubt_of_box(self) -> str | None:
        """One sentence if rays start beyond the scene box, else nothing."""
        lower, upper = self.scene_box.aabb.float()
        return self.bounds.doubt(float((upper - lower).norm()))

    def _stated_bounds(self) -> list[StatedBounds]:
        """The sources of near and far plane, the one that wins first."""
        options, known = self._option_bounds(), self.kwargs["metadata"].get(keys.NEAR_FAR_M)
        if known is None or not self.config.use_scene_bounds:
            return [*options, self._default_bounds()]
        scene = StatedBounds("stated by the data set", *(plane / self.metres_per_unit for plane in known))
        return [scene] if self.config.prefer_scene_bounds else [*options, scene]

    def _option_bounds(self) -> list[StatedBounds]:
        return [StatedBounds(BY_OPTION, self.config.near_plane, self.config.far_plane)]

    def _default_bounds(self) -> StatedBounds:
        """What nerfstudio has for nerfacto and instant-ngp."""
        return StatedBounds(BY_DEFAULT, 0.05, 1000.0)

    def _build_semantic_grid(self) -> SemanticGrid | None:
        config = self.config
        if config.semantic_features == "shared":
            return None
        sizes = (config.semantic_levels, config.base_res, config.semantic_max_res, config.log2_hashmap_size)
        return SemanticGrid(*sizes, config.semantic_width, config.hash_backend)

    def _build_field(self) -> SemanticNerfField:
        config = self.config
        return SemanticNerfField(
            self.scene_box.aabb,
            self.num_train_data,
            num_classes=self.taxonomy.num_classes,
            semantic_width=config.semantic_width,
            use_semantics=config.use_semantics,
            pass_semantic_gradients=config.pass_semantic_gradients,
            semantic_grid=self._build_semantic_grid(),
            hash_backend=config.hash_backend,
            hidden_dim=config.hidden_dim,
            num_levels=config.num_levels,
            max_res=config.max_res,
            base_res=config.base_res,
            features_per_level=config.features_per_level,
            log2_hashmap_size=config.log2_hashmap_size,
            hidden_dim_color=config.hidden_dim_color,
            spatial_distortion=None if config.disable_scene_contraction else SceneContraction(order=float("inf")),
            use_average_appearance_embedding=config.use_average_appearance_embedding,
            appearance_embedding_dim=config.appearance_embed_dim if config.use_appearance_embedding else 0,
            average_init_density=config.average_init_density,
            implementation=config.implementation,
        )

    @property
    def sampling_turns(self) -> Mapping[str, int]:
        """What sampling counts from step to step, by name; setting it goes back to an earlier state.

        Raises:
            ValueError: when it is set to counts that this model's sampling does not have.
        """
        return {}

    @sampling_turns.setter
    def sampling_turns(self, turns: Mapping[str, int]) -> None:
        if turns:
            raise ValueError(f"Expected no counts for a sampling that has none, found {sorted(turns)}.")

    @property
    def renders_classes(self) -> bool:
        """Whether the model trains and renders classes."""
        return self.config.use_semantics

    @property
    def pass_semantic_gradients(self) -> bool:
        """Whether the semantic loss now trains geometry; set it to change that, in every network of the model.

        It does not in a model that cannot change it: nerfstudio's viewer reads this property of every model.
        """
        return any(network.pass_semantic_gradients for network in self._networks())

    @pass_semantic_gradients.setter
    def pass_semantic_gradients(self, passes: bool) -> None:
        for network in self._networks():
            network.pass_semantic_gradients = passes

    def _networks(self) -> tuple[Any, ...]:
        """The fields of the model, each with a switch `pass_semantic_gradients`."""
        return (self.field,) if self.supports_geometry_supervision else ()

    def unit_positions(self, positions: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 3"]:
        """Positions in scene units, in the unit cube of the hash grid."""
        return self.field.unit_positions(positions)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The parent's groups, with the tables of the field's hash grids in a group of their own: they alone decay."""
        groups = super().get_param_groups()
        grids = [module for module in self.field.modules() if isinstance(module, HashGrid)]
        tables = [cast(Parameter, grid.hash_table) for grid in grids]
        is_table = {id(table) for table in tables}
        groups["fields"] = [parameter for parameter in groups["fields"] if id(parameter) not in is_table]
        return groups | ({"grids": tables} if tables else {})

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> Outputs:
        """Render an image [H, W, c]; rays of simple cameras come from one kernel."""
        if obb_box is None and are_simple(camera):
            return self.get_outputs_for_camera_ray_bundle(rays_of_image(camera))
        rays = camera.generate_rays(camera_indices=0, keep_shape=True, obb_box=obb_box)
        if rays.nears is not None and rays.fars is not None:
            # A ray past the box begins and ends at 1e10, which in single precision is endless to the samplers.
            meets = rays.nears < rays.fars
            rays.nears, rays.fars = rays.nears.where(meets, 1.0), rays.fars.where(meets, 1.0)
        return self.get_outputs_for_camera_ray_bundle(rays)

    @torch.no_grad()
    def get_outputs_for_camera_ray_bundle(self, camera_ray_bundle: RayBundle) -> Outputs:
        """Render the rays [H, W] of an image, as the parent does, without normals, 30 to 55 % of its time."""
        before, self._renders_image = self._renders_image, True
        try:
            return super().get_outputs_for_camera_ray_bundle(camera_ray_bundle)
        finally:
            self._renders_image = before

    @torch.no_grad()
    def get_rgba_image(self, outputs: Outputs, output_name: str = "rgb") -> Tensor:
        """The parent's colours and opacities [..., 4], of an image or, for point clouds, of single rays [R].

        Raises:
            SceneError: if so many single rays one after the other give no point that no point cloud will come of them.
        """
        rgba = super().get_rgba_image(outputs, output_name)
        if rgba.ndim == 2:
            self._empty_rays.count(rgba[:, -1], outputs.get(IS_IN_CROP_BOX))
        return rgba

    def _describe_semantics(self, outputs: Outputs, ray_bundle: RayBundle) -> None:
        """Replace logits, which neither viewer nor ns-render can show, by what they can; single rays get normals."""
        if self._renders_raw_outputs:
            outputs[PLANAR_DEPTH] = planar_depth(outputs["depth"], ray_bundle.metadata["directions_norm"])
        if not self._renders_image:
            outputs[NORMALS] = (normals_of_rays(self._density, ray_bundle, outputs["depth"]) + 1) / 2
            outputs.update(self._empty_rays.described(outputs["depth"], ray_bundle))
        seen = self._describe_classes(outputs)
        if self.instances is not None and seen is not None and not self._renders_raw_outputs:
            ends = ray_bundle.origins + ray_bundle.directions * outputs["depth"]
            outputs[INSTANCES] = self.instances.at(ends, seen[..., 0])

    def _describe_classes(self, outputs: Outputs) -> Tensor | None:
        """Replace logits; the classes [rays, 1] where rays meet something, void elsewhere."""
        if LOGITS not in outputs:
            return None
        logits, is_classless = outputs.pop(LOGITS), outputs.pop(CLASSLESS, None)
        labels, confidence, entropy = describe_logits(logits)
        if is_classless is not None:
            labels, confidence = labels.masked_fill(is_classless, VOID), confidence.masked_fill(is_classless, 0.0)
        seen = show_classes(outputs, labels, self.taxonomy, self.panel)
        outputs["semantics_confidence"] = confidence
        outputs["semantics_entropy"] = entropy
        if self._renders_raw_outputs:
            outputs[RENDERED_LABELS] = labels
        return seen

    def _density(self, positions: Tensor) -> Tensor:
        """Density [points, 1] per scene unit at positions [points, 3], scene units."""
        return self.field.density_fn(positions)

    def render_intervals(self, ray_bundle: RayBundle) -> RenderedIntervals:
        """Render rays [R] whose ends are known, at evaluation, with the intervals that they are made of."""
        raise NotImplementedError(f"A {type(self).__name__} has no intervals that all rays share in number.")

    def render_image_intervals(self, camera: Cameras) -> RenderedIntervals:
        """Render all pixels of a camera, row by row, at evaluation, with the intervals that they are made of."""
        raise NotImplementedError(f"A {type(self).__name__} renders rays, see `render_intervals`.")

    @contextmanager
    def raw_outputs(self) -> Iterator[None]:
        """Inside it the model also renders ``semantics_labels`` and ``planar_depth``."""
        before, self._renders_raw_outputs = self._renders_raw_outputs, True
        try:
            yield
        finally:
            self._renders_raw_outputs = before

    def _opacity_loss(self, outputs: Outputs, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        # Nerfstudio lets the last sample's colour go on behind it, and so paints a plain wall without there being one.
        if self.config.opacity_loss_weight == 0 or batch["image"].shape[-1] == 4:
            return {}
        accumulation = uniform_rays(outputs, batch)[0]["accumulation"]
        return {"opacity_loss": self.config.opacity_loss_weight * opacity_loss(accumulation)}

    def _semantic_losses(self, outputs: Outputs, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The weighted cross-entropy; nothing for nerfstudio's evaluation batches, which have no logits."""
        if LOGITS not in outputs:
            return {}
        return {"semantic_loss": self.config.semantic_loss_weight * semantic_loss(outputs[LOGITS], batch)}

    def get_image_metrics_and_images(
        self, outputs: Outputs, batch: Mapping[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """The parent's per-image metrics, our pictures; pooled scores go to ``evaluation_state``."""
        metrics, images = super().get_image_metrics_and_images(outputs, dict(batch))
        if not self.lpips.available:
            metrics.pop("lpips", None)
        if PLANAR_DEPTH in outputs:
            depth_m, target, mask = batch.get(DEPTH_M), batch[LABELS], batch.get(MASK)
            image = self.renderer_rgb.blend_background(batch["image"].to(self.device))
            colors = (outputs["rgb"], image)
            if mask is not None:
                depth_m = None if depth_m is None else depth_m * mask.to(depth_m.device)
                target = target.masked_fill(~mask.to(target.device), VOID)
                colors = tuple(color[mask[..., 0].to(color.device)][None] for color in colors)
            if depth_m is not None:
                self.evaluation_state.add_depth(outputs[PLANAR_DEPTH], depth_m)
            self.evaluation_state.add_color(*colors)
            if RENDERED_LABELS in outputs:
                self.evaluation_state.add_labels(outputs[RENDERED_LABELS], target, outputs["semantics_confidence"])
                images |= picture_grid(outputs, image, target, depth_m, self.taxonomy, self.metres_per_unit)
        return metrics, images

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
