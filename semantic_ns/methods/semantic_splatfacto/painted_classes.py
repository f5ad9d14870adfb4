"""The colours of classes that Gaussians keep while they train on a CPU, see `splatting.outlines`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from semantic_ns.methods.semantic_splatfacto.datamanager import TrainingViews

if TYPE_CHECKING:  # compiles kernels, which registration must not
    from semantic_ns.splatting.project import Gaussians

SUMMED_PAINT = "summed_paint"
"""Output while training on a CPU: colours of classes [H, W, 3], summed by rendering weight."""


class PaintedClasses(nn.Module):
    """What a checkpoint keeps of them, so that a training that goes on follows the same outlines; zeros for none."""

    of_gaussians: Float[Tensor, "gaussians 3"]
    of_classes: Float[Tensor, "classes 3"]
    _labels: list[Tensor] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("of_gaussians", torch.zeros(0, 3))
        self.register_buffer("of_classes", torch.zeros(0, 3))

    def begin(self, gaussians: "Gaussians", views: TrainingViews, num_classes: int, is_antialiased: bool) -> None:
        """Paint the Gaussians to begin with, where labels are dense and clean, or depth lets others spread."""
        from semantic_ns.splatting.classes import outlines_of

        cameras = [view.camera for view in views.views]
        outlines = outlines_of(gaussians, cameras, views.outlined_labels, num_classes, is_antialiased)
        if outlines is not None:
            self.of_gaussians, self.of_classes = outlines.of_gaussians, outlines.of_classes

    @property
    def features(self) -> list[Tensor]:
        """What is to be composited beside colours: one part, or none where nothing is painted."""
        return [self.of_gaussians] if len(self.of_classes) else []

    def loss(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Any], views: TrainingViews | None
    ) -> Tensor | None:
        """The error of a training image; None where nothing is painted, or labels have changed since.

        Args:
            outputs: what was rendered.
            batch: the training image.
            views: all of them.
        """
        if SUMMED_PAINT not in outputs or views is None or views.label_version > 0:
            return None
        from semantic_ns.splatting.outlines import outline_loss

        if self._labels is None:
            self._labels = views.outlined_labels
        labels = self._labels[batch["image_idx"]]
        return outline_loss(outputs[SUMMED_PAINT], outputs["accumulation"][..., 0], labels, self.of_classes)

    def split(self, rows: Int[Tensor, "rows"]) -> None:
        """Give the second halves of Gaussians, which come after all others, the paint of the first."""
        if self.features:
            self.of_gaussians = torch.cat([self.of_gaussians, self.of_gaussians[rows]])

    def make_room(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Take on the sizes that a checkpoint has; one of before has none, and gets them.

        Args:
            state_dict: all of the checkpoint.
            prefix: what names begin with there, such as ``painted.``.
        """
        for name in ("of_gaussians", "of_classes"):
            given = state_dict.setdefault(prefix + name, torch.zeros(0, 3))
            setattr(self, name, given.new_zeros(given.shape))
