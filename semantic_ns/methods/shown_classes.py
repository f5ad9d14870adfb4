"""Pictures of classes: their colours alone, and over the colours of the scene."""

from typing import Any

import torch
from jaxtyping import Int64
from nerfstudio.model_components import renderers
from torch import Tensor

from semantic_ns.batch import meets_nothing
from semantic_ns.labels.taxonomy import VOID, Taxonomy


def show_classes(
    outputs: dict[str, Any], labels: Int64[Tensor, "*pixels 1"], taxonomy: Taxonomy, panel: Any
) -> Int64[Tensor, "*pixels 1"]:
    """Add ``semantics_colormap`` and ``semantics_overlay`` to the outputs of pixels.

    Args:
        outputs: outputs with ``rgb`` and ``accumulation``.
        labels: classes 0..C-1, void -1.
        taxonomy: the classes.
        panel: the :class:`semantic_ns.viewer.panel.SemanticPanel` that says how they are laid over the colours.

    Returns:
        The classes, void where rays meet nothing.
    """
    rgb, is_empty = outputs["rgb"], meets_nothing(outputs["accumulation"])
    seen = labels.masked_fill(is_empty, VOID)
    colormap = taxonomy.colorize(seen[..., 0])
    # Of the background of a viewer's crop; without one, what is no class is black.
    background = renderers.BACKGROUND_COLOR_OVERRIDE
    if background is not None:
        outputs["semantics_colormap"] = torch.where(is_empty, background.to(colormap), colormap)
    else:
        outputs["semantics_colormap"] = colormap
    outputs["semantics_overlay"] = panel.compose(rgb, torch.where(seen == VOID, rgb, colormap), seen)
    return seen
