"""The pipeline of methods that learn from many scenes: given weights decide the label space before scenes are read.

A run keeps its label space in its configuration, so that it can be opened when the training scenes have changed.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import tyro
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from torch import Tensor
from torch.cuda.amp.grad_scaler import GradScaler

from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManager
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.methods.weights import label_space_of, read_origin, read_weights, take_over_options
from semantic_ns.pipeline import SemanticPipeline, SemanticPipelineConfig

if TYPE_CHECKING:
    from semantic_ns.run_snapshot import RunSnapshot

_KEPT = "no training frame has a label, so that the encoder is held to the classes that {} give each image"
_LOST = (
    "no training frame has a label, so that this training makes colours and depth better and the classes that the "
    "weights know worse; take classes from {} itself, or label some frames"
)


@dataclass
class ManyScenesPipelineConfig(SemanticPipelineConfig):
    """Configuration of `ManyScenesPipeline`."""

    _target: type = field(default_factory=lambda: ManyScenesPipeline)
    warn_of_veils: tyro.conf.Suppress[bool] = False  # its models render no single rays
    weights_normalize_scale: tyro.conf.Suppress[bool | None] = None
    """Whether scenes of unknown scale were scaled by their cameras where the weights were trained, also those to begin
    with; None where that is not known."""

    def settle(self) -> None:
        """Check the options, and take label space and options of the weights, if some are given.

        config.yml then holds them, and the weights may go.

        Raises:
            SceneError: if there are no weights where they should be, if they are of another method or of a network that
                the options do not make, if a number of frames is out of its range, or if the depth of sources that a
                network reads would come from elsewhere in training than in scored scenes.
        """
        self._check_depth_input()
        self._check_numbers()
        model, parser = cast(Any, self.model), cast(Any, self.datamanager).dataparser
        if parser.label_space is not None:  # settled before
            return
        if model.weights is None:
            self.weights_normalize_scale = parser.normalize_scale
            if getattr(model, "levels_cameras", False) is None:
                model.levels_cameras = cast(Any, self.datamanager).train_camera_noise > 0
        else:
            nobody_asked = getattr(model, "levels_cameras", False) is None
            self._take_over(model.weights)
            if nobody_asked:
                model.levels_cameras = bool(model.levels_cameras)  # weights of before do not say it
                if cast(Any, self.datamanager).train_camera_noise > 0 and not model.levels_cameras:
                    announce(
                        "cameras",
                        f"they are turned in training, and not levelled, since {model.weights} does not level them",
                    )
            parser.label_space = label_space_of(read_weights(model.weights)).to_json()

    def _check_depth_input(self) -> None:
        depth = cast(Any, self.datamanager).depth
        if getattr(self.model, "depth_input", False) and depth != "scene":
            raise SceneError(
                "Expected --pipeline.datamanager.depth scene with --pipeline.model.depth-input True, for scored scenes "
                f"give the network their depth images, found {depth}; change one of them."
            )

    def _check_numbers(self) -> None:
        """Check how many frames a training step and an image are made of."""
        manager, model = cast(Any, self.datamanager), cast(Any, self.model)
        for option, value in (
            ("datamanager.targets-per-step", manager.targets_per_step),
            ("model.num-source-views", model.num_source_views),
        ):
            if value is not None and value < 1:
                raise SceneError(f"Expected at least 1 for --pipeline.{option}, found {value}; correct it.")
        if manager.train_sources is None:
            return
        least, largest = manager.train_sources
        if not 1 <= least <= largest:
            raise SceneError(
                "Expected the least and the largest number of sources, at least 1 and in this order, for "
                f"--pipeline.datamanager.train-sources, found {least} {largest}; give, for example, 2 5."
            )

    def _take_over(self, path: Path) -> None:
        """Take over the options of weights where a person has left them as they are by default."""
        from nerfstudio.configs.method_configs import all_methods  # imports all methods, and so this module

        origin, model, manager = read_origin(path), cast(Any, self.model), cast(Any, self.datamanager)
        registered = all_methods.get(origin.method)
        method: Any = self if registered is None else registered.pipeline
        if type(method.model) is not type(model):
            raise SceneError(
                f"Expected weights of the method of this run at {path}, found those of {origin.method}; start the "
                f"training by ns-train {origin.method}, or give other weights."
            )
        options = dict(origin.options)
        if options.get("levels_cameras", False) is None:
            options["levels_cameras"] = False  # of runs in which the data manager did not say it
        take_over_options(model, options, path)
        self.weights_normalize_scale = manager.dataparser.normalize_scale or origin.normalizes_scale
        width, default = origin.max_image_width, type(manager)() if registered is None else method.datamanager
        if manager.max_image_width in (width, default.max_image_width):
            manager.max_image_width = width
        else:
            announce(
                "weights",
                f"they were trained on images {width} pixels wide, and this run goes on with "
                f"--pipeline.datamanager.max-image-width {manager.max_image_width}",
            )

    def for_resume(self) -> "ManyScenesPipelineConfig":
        """The configuration without the weights to begin with: a checkpoint holds later ones."""
        return replace(self, model=replace(cast(Any, self.model), weights=None))


class ManyScenesPipeline(SemanticPipeline):
    """A `SemanticPipeline` whose scenes are read in the label space of the model's weights, if some are given."""

    def __init__(
        self,
        config: ManyScenesPipelineConfig,
        device: str | torch.device,
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: GradScaler | None = None,
    ) -> None:
        if test_mode == "val":
            config.settle()
        else:
            # A checkpoint is loaded next, into a network that was settled when it was trained.
            config = config.for_resume()
        super().__init__(config, device, test_mode, world_size, local_rank, grad_scaler)
        self._samples.num_source_views = cast(Any, self.model.config).num_source_views
        if test_mode == "val":
            # The trainer writes it down: the folder of the scenes may change, and with it the order of their classes.
            parser = self._samples.dataparser
            parser.config.label_space = parser.taxonomy.to_json()
        self._samples.range_m = self._given_range_m

    def _snapshot(self) -> "RunSnapshot":
        from semantic_ns.methods.taught_snapshot import TaughtRunSnapshot  # compiles kernels

        return TaughtRunSnapshot(cast(Any, self.model))

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The parent's; a training that nothing holds to the classes of its weights says so."""
        callbacks = super().get_training_callbacks(training_callback_attributes)
        trainer, weights = training_callback_attributes.trainer, cast(Any, self.model.config).weights
        if trainer is None or weights is None or trainer.config.load_dir or trainer.config.load_checkpoint:
            return callbacks
        if not bool(self._samples.class_frequencies().any()):
            taught = getattr(self.model, "teacher", None) is not None
            announce("classes", _KEPT.format(weights) if taught else _LOST.format(weights))
        return callbacks

    def numbered_losses(self, number: int, samples_per_step: int) -> dict[str, Tensor]:
        """Losses of a sample of the stream by its number, which with that of its step decides what is drawn for it.

        So they do not depend on which process takes it, nor on what that has done before.
        """
        sample, batch, seed = self._samples.numbered_sample(number, samples_per_step)
        torch.manual_seed(seed)
        return cast(Any, self.model).get_loss_dict(self.model(cast(Any, sample)), batch)

    @property
    def _given_range_m(self) -> tuple[float, float] | None:
        """Near and far plane in metres if an option gives at least one of them."""
        model: Any = self.model
        is_default = model.config.near_plane is model.config.far_plane is None
        return None if is_default else model.range_m

    @property
    def _samples(self) -> ManyScenesDataManager:
        return cast(ManyScenesDataManager, self.datamanager)
