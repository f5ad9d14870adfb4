"""What the methods for many rooms that two cores can train share: a trained encoder, and balanced classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Float
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from torch import Tensor
from torch.nn import Parameter

from semantic_ns.backbones import efficientnet_lite
from semantic_ns.backbones.pyramids import EncoderName, PretrainedPyramid, PyramidSegmenter
from semantic_ns.io.console import announce
from semantic_ns.methods.class_teacher import ClassTeacher
from semantic_ns.methods.source_views import SourceViewsConfig, SourceViewsModel


def default_encoder() -> EncoderName:
    """The best encoder for which everything is installed."""
    return "lite0" if efficientnet_lite.has_imagenet_weights() else "unet"


@dataclass
class SmallRoomsConfig(SourceViewsConfig):
    """Options of models for many rooms that two cores can train."""

    encoder: EncoderName = field(default_factory=default_encoder)
    """Network that gives features of an image: lite0 is EfficientNet-Lite0, trained on photographs, and needs the extra
    semantic-ns[pretrained] to begin with; unet is a U-Net that knows nothing at first. By default lite0 where the extra
    is installed."""
    class_balance: float = 0.3
    """Exponent of the balance of classes: a class that covers a share f of all labels counts f^-balance in the
    cross-entropy. 0 lets all pixels count alike."""


class SmallRoomsModel(SourceViewsModel):
    """A model whose network has an `encoder` that is a `PyramidSegmenter`, and whose options have `loss_weights`."""

    config: SmallRoomsConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    _class_weights: Tensor | None = None
    teacher: ClassTeacher | None = None
    """The segmenter of the weights that the training began with; None without any."""

    @property
    def _segmenter(self) -> PyramidSegmenter:
        return cast(Any, self.network).encoder

    def _load_pretrained(self) -> None:
        """Let a new network begin with the weights of photographs."""
        pyramid = self._segmenter.pyramid
        if (
            isinstance(pyramid, PretrainedPyramid)
            and self.config.weights is None
            and efficientnet_lite.has_imagenet_weights()
        ):
            pyramid.trunk.load_imagenet_weights()

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """All parameters that are trained, in one group."""
        return {"network": [parameter for parameter in self.parameters() if parameter.requires_grad]}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The parent's; the model now learns how frequent each class is."""
        trainer: Any = training_callback_attributes.trainer
        is_beginning = (
            trainer is not None and trainer.config.load_dir is None and trainer.config.load_checkpoint is None
        )
        if is_beginning and self.config.weights is None:
            self._check_encoder()
        datamanager: Any = getattr(training_callback_attributes.pipeline, "datamanager", None)
        if is_beginning and self.config.weights is not None and cast(Any, self.config).loss_weights.distillation > 0:
            self.teacher = ClassTeacher(self._segmenter)
        if datamanager is not None:
            share = datamanager.class_frequencies()
            if self.config.class_balance > 0:
                share = share.clamp(min=1e-4)
                weights = share**-self.config.class_balance
                self._class_weights = (weights / (weights * share).sum()).to(self.device)
        return super().get_training_callbacks(training_callback_attributes)

    def _check_encoder(self) -> None:
        """Ask for the weights of photographs where a training begins with them, or say that it could.

        A run that is only looked at brings its own weights, and does not need these.
        """
        if self.config.encoder == "lite0":
            efficientnet_lite.require_imagenet_weights()
        elif not efficientnet_lite.has_imagenet_weights():
            announce(
                "encoder",
                "images are encoded by a U-Net that knows nothing at first; EfficientNet-Lite0, which was trained on "
                "photographs, needs the extra semantic-ns[pretrained], which is not installed",
            )

    @property
    def teacher_state(self) -> dict[str, Tensor]:
        """Parameters of the teacher, which a resumed training needs as well; empty without one."""
        return {} if self.teacher is None else self.teacher.state()

    @teacher_state.setter
    def teacher_state(self, state: Mapping[str, Tensor]) -> None:
        self.teacher = ClassTeacher(self._segmenter) if state else None
        if self.teacher is not None:
            self.teacher.load_state(state)

    @torch.no_grad()
    def segment(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images classes rows columns"]:
        """Class logits that the encoder gives images by themselves, at half of their resolution."""
        return self._segmenter.segment(images.to(self.device))
