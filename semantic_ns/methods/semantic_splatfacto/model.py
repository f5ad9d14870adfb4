"""Splatfacto with classes: nerfstudio's model on CUDA, and kernels of this package on a CPU."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.field_components.spatial_distortions import SceneContraction
from nerfstudio.models.splatfacto import SH2RGB, SplatfactoModel
from torch import Tensor
from torch.nn import Parameter

from semantic_ns.batch import LOGITS
from semantic_ns.errors import SceneError
from semantic_ns.interfaces import RenderedIntervals
from semantic_ns.io.console import announce
from semantic_ns.methods.base import Outputs, SemanticModel
from semantic_ns.methods.scene_bounds import BY_DEFAULT, StatedBounds, resolve_bounds
from semantic_ns.methods.semantic_splatfacto.backgrounds import BackgroundModel
from semantic_ns.methods.semantic_splatfacto.config import SemanticSplatfactoModelConfig
from semantic_ns.methods.semantic_splatfacto.datamanager import TRAINING_VIEWS, VIEW, TrainingViews
from semantic_ns.methods.semantic_splatfacto.device_options import (
    blur_to_go_on_with,
    refuse_nothing_to_keep,
    refuse_optimizers_of_another_device,
    refuse_options_of_device,
    refuse_without_kernels,
)
from semantic_ns.methods.semantic_splatfacto.first_colors import FirstColors
from semantic_ns.methods.semantic_splatfacto.painted_classes import PaintedClasses
from semantic_ns.methods.semantic_splatfacto.pinholes import drawn_as_pinhole
from semantic_ns.methods.semantic_splatfacto.splitting import callbacks_on_cpu, number_of_splits
from semantic_ns.methods.whole_images import WholeImageModel, camera_of_rays
from semantic_ns.shared_cores import leave_cores_to_kernels
from semantic_ns.splatting.fit_config import COMMON_BLUR
from semantic_ns.splatting.frame_memory import FrameMemories
from semantic_ns.viewer.shown_outputs import draw_what_is_shown

if TYPE_CHECKING:  # compile kernels, which registration must not
    from semantic_ns.methods.semantic_splatfacto.start import Start
    from semantic_ns.splatting.class_updates import ClassUpdates
    from semantic_ns.splatting.project import Gaussians

_NEAR, _FAR = 0.01, 1e10  # planar depths in scene units between which gsplat renders for splatfacto
_CONTRACTION = SceneContraction(order=float("inf"))
_BLUR = "pixel_blur"  # in a checkpoint
_PLACEHOLDERS = 4
"""Gaussians of a model whose own ones come from a checkpoint; nerfstudio looks for three neighbours of each."""


@contextmanager
def _configured(model: Any, config: Any) -> Iterator[None]:
    """Within it, the model has another configuration."""
    given, model.config = model.config, config
    try:
        yield
    finally:
        model.config = given


class SemanticSplatfactoModel(SemanticModel, WholeImageModel, BackgroundModel):
    """Gaussians of one scene, and the classes that its labels give them in closed form.

    On CUDA colours train as in splatfacto. On a CPU kernels of this package render and differentiate, Gaussians of
    sparse points are split, and the loss is that of `splatting.fit`. Classes are no parameters: they are computed from
    Gaussians and labels, see :meth:`update_classes`.

    Outputs are those of `SemanticModel`; ``depth`` and ``expected_depth`` are both the mean distance by opacity.
    """

    config: SemanticSplatfactoModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    class_probabilities: Tensor
    """Probabilities of classes [Gaussians, C]; all zero where no label reaches."""
    _class_updates: "ClassUpdates | None" = None
    renders_rays = False
    renders_image_intervals = True
    supports_propagation = False
    supports_geometry_supervision = False
    shows_instances = False
    exports_gaussians = True
    """Whether ns-export gaussian-splat can write it."""
    draws_what_is_shown = True
    """Whether it draws no more than the viewer shows, see `viewer.shown_outputs`."""

    def populate_modules(self) -> None:
        """Build the model around the Gaussians to begin with, or around some that a checkpoint will replace."""
        start, config, views = self._start(), self.config, self._training_views
        if start is None and views is not None and not config.resumes and not self._is_on_cpu:  # begins as its parent
            self.seed_points = None if config.random_init else views.sparse_points()
        else:
            # nerfstudio would put sparse points on CUDA, and look for the neighbours of many that nobody keeps.
            self.seed_points = None
            config = dataclasses.replace(config, random_init=True, num_random=_PLACEHOLDERS)
        if self._is_on_cpu:
            leave_cores_to_kernels()
            draw_what_is_shown()
        else:
            refuse_without_kernels()
        self.frame_memories = FrameMemories()
        with _configured(self, config):
            super().populate_modules()
        if self.has_transparency and config.background_color == "random":
            self.background_color = self.truth_background
        self.register_buffer(_BLUR, torch.tensor(COMMON_BLUR, dtype=torch.float64))
        self.register_buffer("class_probabilities", torch.zeros(self.num_points, self.taxonomy.num_classes))
        self.painted, self.first_colors = PaintedClasses(), FirstColors()
        if start is not None:
            self._take(*start)

    def _populate_scores(self) -> None:
        ssim = self.ssim
        del self.ssim  # a module, in whose place there can be no function
        super()._populate_scores()
        self.ssim = ssim

    def _populate_bounds(self) -> None:
        self.bounds = resolve_bounds([StatedBounds(BY_DEFAULT, _NEAR, _FAR)])
        self.collider = None

    @property
    def _is_on_cpu(self) -> bool:
        return torch.device(self.kwargs.get("device", "cpu")).type == "cpu"

    @property
    def _training_views(self) -> TrainingViews | None:
        """The training images, where a training begins or goes on."""
        return self.kwargs["metadata"].get(TRAINING_VIEWS)

    def _start(self) -> "Start | None":
        """The Gaussians to begin with; None where a checkpoint has them, or nerfstudio chooses them on CUDA."""
        views, config = self._training_views, self.config
        if views is None:
            return None
        refuse_options_of_device(config, self._is_on_cpu)
        views.spreads_labels = views.spreads_labels and self._is_on_cpu  # only there outlines are followed
        views.blur = config.blur if self._is_on_cpu else COMMON_BLUR  # splatfacto asks for no other
        views.use_depth_for(
            config.start_from is None and not (config.resumes and config.depth_loss_weight > 0),
            self._is_on_cpu and config.train_gaussians and config.depth_loss_weight > 0,
            needs_some=self._is_on_cpu and config.start_from is None,
        )
        if config.resumes:
            return None
        refuse_nothing_to_keep(config)
        from semantic_ns.methods.semantic_splatfacto.start import GivenFile, first_of

        given = None if config.start_from is None else GivenFile(config.start_from, config.start_frame)
        start = first_of(views, given, uses_points=self._is_on_cpu)
        if start is None and self._is_on_cpu:
            raise SceneError(
                "Expected depth images, depth by stereo or sparse points, where Gaussians can begin on a CPU, found "
                "none of them; train it with ns-train semantic-nerf, run sns-to-splat on that run, and give "
                "its folder as --pipeline.model.start-from."
            )
        return start

    @torch.no_grad()
    def _take(self, gaussians: "Gaussians", colors: Float[Tensor, "gaussians 3"]) -> None:
        """Hold these Gaussians, of one colour from all sides."""
        from semantic_ns.methods.semantic_splatfacto.start import parameters_of

        self._resize(len(gaussians), self.features_rest.shape[1])
        getattr(self, _BLUR).fill_(gaussians.blur)
        of_harmonics, trains = self.config.sh_degree > 0, self.config.train_gaussians
        for name, value in parameters_of(gaussians, colors, of_harmonics, trains).items():
            self.gauss_params[name].data.copy_(value)
        views = self._training_views
        begins_at_images = self.config.start_from is None and views is not None and views.scene_depths is not None
        if self._is_on_cpu and trains and begins_at_images:
            self.first_colors.begin(colors)
        if self._is_on_cpu and not number_of_splits(self):  # before they are split they lie across outlines
            self.paint_classes()

    @torch.no_grad()
    def paint_classes(self) -> None:
        """Let Gaussians follow from now on the outlines of classes on a CPU, see `TrainingViews.outlined_labels`."""
        config, views = self.config, self._training_views
        paints = config.train_gaussians and config.outline_loss_weight > 0
        if paints and views is not None and views.label_version == 0:
            self.painted.begin(self.gaussians(), views, self.taxonomy.num_classes, self.is_antialiased)

    def _resize(self, count: int, num_rest: int) -> None:
        """Make room for other Gaussians in the same parameters, which optimisers and the viewer hold on to."""
        for name, parameter in self.gauss_params.items():
            rest = (num_rest, 3) if name == "features_rest" else parameter.shape[1:]
            parameter.data = parameter.new_zeros(count, *rest)
        self.class_probabilities = self.class_probabilities.new_zeros(count, self.class_probabilities.shape[1])

    def load_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]  # splatfacto's names it dict
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a checkpoint whole, with however many Gaussians it has.

        Raises:
            SceneError: see `SemanticModel.load_state_dict`.
        """
        state_dict = dict(state_dict)
        if "gauss_params.means" in state_dict:
            self._resize(len(state_dict["gauss_params.means"]), self.features_rest.shape[1])
            self.painted.make_room(state_dict, "painted.")
            self.first_colors.make_room(state_dict, "first_colors.")
            state_dict[_BLUR] = blur_to_go_on_with(state_dict.get(_BLUR), self.config.blur, self._is_on_cpu)
        kept = dict(self.gauss_params.items())
        # nerfstudio puts new parameters in their place, of which optimisers know nothing.
        result = super().load_state_dict(state_dict, strict=strict, assign=assign)
        for name, parameter in kept.items():
            parameter.data = self.gauss_params[name].data
            self.gauss_params[name] = parameter
        return result

    # Training

    @property
    def renders_classes(self) -> bool:
        """Always."""
        return True

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Those of splatfacto."""
        return SplatfactoModel.get_param_groups(self)

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The parent's on CUDA; on a CPU Gaussians are split, none is removed, and rates are counted in their size.

        Raises:
            SceneError: the optimisers are those of another device.
        """
        optimizers = training_callback_attributes.optimizers
        if optimizers is not None:
            refuse_optimizers_of_another_device(optimizers.optimizers, self.gauss_params.keys(), self._is_on_cpu)
        if not self._is_on_cpu:
            return super().get_training_callbacks(training_callback_attributes)
        return callbacks_on_cpu(self, training_callback_attributes)

    def step_post_backward(self, step: int) -> None:
        """The parent's, on CUDA; in step 0 opacities stay, which gsplat resets where it counts from, too."""
        kept = self.opacities.detach().clone() if step == 0 else None
        super().step_post_backward(step)
        if kept is not None:
            self.gauss_params["opacities"].data.copy_(kept)

    def _unit_of_rate(self, name: str) -> float:
        """What a learning rate is counted in: that of the means in the median scale of the Gaussians."""
        if not self.config.train_gaussians:
            return 0.0
        return float(self.scales.detach().exp().median()) if name == "means" else 1.0

    def get_metrics_dict(self, outputs: Outputs, batch: Mapping[str, Any]) -> dict[str, Any]:
        """PSNR of the image, and the number of Gaussians."""
        if not self._is_on_cpu:
            return super().get_metrics_dict(outputs, batch)
        psnr = self.psnr(outputs["rgb"].detach(), self.truth(outputs, batch))
        return {"psnr": psnr, "gaussian_count": self.num_points}

    def get_loss_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, outputs: Outputs, batch: Mapping[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """The parent's on CUDA; on a CPU that of `splatting.fit.fit`."""
        if not self._is_on_cpu:
            return SplatfactoModel.get_loss_dict(self, outputs, batch, metrics_dict)
        from semantic_ns.methods.semantic_splatfacto.rendering import losses_on_cpu

        losses = losses_on_cpu(outputs, self.truth(outputs, batch), batch.get(VIEW), self.config.depth_loss_weight)
        outline = self.painted.loss(outputs, batch, self._training_views)
        return losses if outline is None else losses | {"outline_loss": self.config.outline_loss_weight * outline}

    # Rendering

    @property
    def is_antialiased(self) -> bool:
        """Whether small Gaussians are as faint as gsplat's antialiased mode makes them."""
        return self.config.rasterize_mode == "antialiased"

    @property
    def blur(self) -> float:
        """See `splatting.project.Gaussians`."""
        return float(getattr(self, _BLUR))

    def gaussians(self) -> "Gaussians":
        """The Gaussians, in scene units."""
        from semantic_ns.splatting.project import Gaussians

        return Gaussians(self.means, self.quats, self.scales.exp(), self.opacities.sigmoid()[:, 0], blur=self.blur)

    def gaussians_on_cpu(self) -> "tuple[Gaussians, Float[Tensor, 'gaussians 3']]":
        """The Gaussians in CPU memory, and their colours from no side in particular."""
        from semantic_ns.methods.semantic_splatfacto.rendering import gaussians_on_cpu

        return gaussians_on_cpu(self)

    def unit_positions(self, positions: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 3"]:
        """Positions in scene units, in a unit cube that holds all of space: contracted as in a hash grid's field."""
        return (_CONTRACTION(positions) + 2) / 4

    def seen_colors(self, position: Float[Tensor, "3"], rows: Tensor | None = None) -> Float[Tensor, "gaussians 3"]:
        """Colours of the Gaussians, or some, from a position, as gsplat has them; may be a little outside of 0..1."""

        def of(values: Tensor) -> Tensor:
            return values if rows is None else values.index_select(0, rows)

        degree = self.config.sh_degree
        if degree == 0:
            return of(self.features_dc).sigmoid()
        if self.training:
            degree = min(self.step // self.config.sh_degree_interval, degree)
        if degree == 0 or (not self.training and not bool(self.features_rest.any())):
            return SH2RGB(of(self.features_dc))
        from gsplat.cuda._torch_impl import _spherical_harmonics

        harmonics = torch.cat([of(self.features_dc)[:, None], of(self.features_rest)], dim=1)
        return (_spherical_harmonics(degree, of(self.means.detach()) - position, harmonics) + 0.5).clamp(min=0)

    def get_outputs(self, camera: Any) -> Outputs:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Render one camera [1]: images [H, W, c].

        Raises:
            SceneError: for rays, which this model cannot render one by one, and for cameras that are no pinholes.
        """
        if not isinstance(camera, Cameras):
            raise SceneError(
                "Expected whole images of semantic-splatfacto, found single rays; use ns-render, sns-export-labels or "
                "ns-export gaussian-splat."
            )
        if not self.training:
            self.set_crop(None)  # a viewer's
            with self.scored():  # by the log alone; a viewer asks for a camera
                return {**self._described(camera), "background": self.background()}
        if not self._is_on_cpu:
            return SplatfactoModel.get_outputs(self, camera)
        from semantic_ns.methods.semantic_splatfacto.rendering import trained_on_cpu

        return trained_on_cpu(self, camera)

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> Outputs:
        """Render an image [H, W, c]; of a box only the Gaussians inside are shown."""
        self.set_crop(obb_box)
        if not self._renders_raw_outputs:  # which are compared with images, that another camera has not taken
            camera = drawn_as_pinhole(camera)
        return self._described(camera.to(self.device))

    @torch.no_grad()
    def get_outputs_for_camera_ray_bundle(self, camera_ray_bundle: RayBundle) -> Outputs:
        """Render the camera whose rays [H, W] these are."""
        return self.get_outputs_for_camera(camera_of_rays(camera_ray_bundle))

    @torch.no_grad()
    def render_image_intervals(self, camera: Cameras) -> RenderedIntervals:
        """Render all pixels of a camera, row by row: each is one interval without length, at its mean distance."""
        self.set_crop(None)  # a viewer's
        rendered = self._rendered(camera.to(self.device))
        flat = {name: value.flatten(0, 1) for name, value in rendered.items()}
        return RenderedIntervals(
            flat["rgb"], flat[LOGITS], flat["accumulation"], flat["depth"].expand(-1, 2).contiguous()
        )

    @torch.no_grad()
    def _described(self, camera: Cameras) -> Outputs:
        """What nerfstudio shows."""
        from semantic_ns.methods.semantic_splatfacto.pictures import described

        return described(self, camera, self._is_on_cpu)

    def _rendered(self, camera: Cameras) -> Outputs:
        """Colour, opacity, distances, logits and planar depth [H, W, c] of a camera [1]."""
        from semantic_ns.methods.semantic_splatfacto.rendering import rendered

        return rendered(self, camera, self._is_on_cpu)

    # Classes

    @torch.no_grad()
    def update_classes(self, views: TrainingViews, spreads: bool = True) -> None:
        """Give each Gaussian the classes that the labels of training images say, see `splatting.classes`.

        Args:
            views: the training images.
            spreads: whether labels spread over the surface where they are few or noisy.
        """
        from semantic_ns.splatting.class_updates import ClassUpdates

        gaussians, _ = self.gaussians_on_cpu()
        labels = views.labels
        if not any(bool((image >= 0).any()) for image in labels):
            self.class_probabilities = torch.zeros(len(gaussians), self.taxonomy.num_classes, device=self.device)
            announce("classes", "no training image has a label, so that nothing has a class")
            return
        updates = self._class_updates = self._class_updates or ClassUpdates()
        num_classes = self.taxonomy.num_classes
        found = updates.update(gaussians, views.labelled_views, labels, num_classes, self.is_antialiased, spreads)
        self.class_probabilities = found.to(self.device)
