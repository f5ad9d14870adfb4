"""What lies behind Gaussians: a viewer's colour, or what the images that scores compare with lie on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.models.splatfacto import SplatfactoModel
from torch import Tensor

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.methods.semantic_splatfacto.datamanager import VIEW


class BackgroundModel(SplatfactoModel):
    """Splatfacto that renders images to be scored before the background of their truth."""

    _is_scored = False
    _renders_raw_outputs: bool
    """Whether whoever scores, exports or audits asks, see `SemanticModel.raw_outputs`."""

    @property
    def has_transparency(self) -> bool:
        """Whether images of the scene have an alpha channel, so that what no Gaussian covers is no hole."""
        return bool(self.kwargs["metadata"].get(keys.HAS_ALPHA, False))

    @property
    def truth_background(self) -> Float[Tensor, "3"]:
        """What transparent pixels of the images that scores compare with lie on: black, unless the scene says it."""
        color = self.kwargs["metadata"].get(keys.ALPHA_COLOR)
        return torch.zeros(3) if color is None else color.float()

    @contextmanager
    def scored(self) -> Iterator[None]:
        """Within it, images of scenes with transparency are rendered before the background of their truth."""
        before, self._is_scored = self._is_scored, True
        try:
            yield
        finally:
            self._is_scored = before

    def background(self) -> Float[Tensor, "3"]:
        """What lies behind the Gaussians of the next image."""
        return self._get_background_color()

    def _get_background_color(self) -> Tensor:
        # A viewer may have set a colour of its own, and an option another one to train before.
        if self.has_transparency and not self.training and (self._is_scored or self._renders_raw_outputs):
            return self.truth_background.to(self.device)
        return super()._get_background_color()

    def truth(self, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Float[Tensor, "height width 3"]:
        """The image of a batch, a training or a scored one, before the background of the outputs."""
        view, background = batch.get(VIEW), outputs["background"]
        if view is not None:
            return view.before(background)
        return self.composite_with_background(batch["image"].to(self.device), background)
