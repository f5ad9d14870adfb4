"""What nerfstudio shows of Gaussians: all outputs, or those alone that its viewer is about to show."""

from typing import TYPE_CHECKING

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from semantic_ns.batch import PLANAR_DEPTH
from semantic_ns.methods.base import Outputs
from semantic_ns.methods.semantic_splatfacto.rendering import most_likely_classes, on_cpu, seen_by
from semantic_ns.methods.shown_classes import show_classes
from semantic_ns.splatting.memory import memory_errors_as_scene_error
from semantic_ns.viewer.shown_outputs import shown_outputs

if TYPE_CHECKING:
    from semantic_ns.methods.semantic_splatfacto.model import SemanticSplatfactoModel

OUTPUTS = {
    "rgb": 3, "accumulation": 1, "depth": 1, "expected_depth": 1, "semantics_colormap": 3, "semantics_overlay": 3,
    "semantics_confidence": 1, "semantics_entropy": 1,
}  # fmt: skip
"""Channels of what the viewer offers."""
_OF_CLASSES = frozenset({"semantics_colormap", "semantics_overlay"})
_AT_ONCE = frozenset({"rgb", "accumulation", "depth", "expected_depth"}) | _OF_CLASSES
"""What can be had without the probabilities of all classes."""


def described(model: "SemanticSplatfactoModel", camera: Cameras, is_on_cpu: bool) -> Outputs:
    """Images [H, W, c] of a camera [1]; what a viewer does not show may be zeros.

    Raises:
        SceneError: they do not fit into memory.
    """
    names = shown_outputs() if is_on_cpu and not model._renders_raw_outputs else None
    if names is not None and names <= _AT_ONCE:
        return _shown(model, camera, names)
    outputs = model._rendered(camera)
    size = outputs["rgb"].shape[:2]
    flat = {name: value.flatten(0, 1) for name, value in outputs.items()}
    if not model._renders_raw_outputs:
        flat.pop(PLANAR_DEPTH)
    model._describe_classes(flat)
    return {name: value.unflatten(0, size) for name, value in flat.items()}


@memory_errors_as_scene_error("an image of the Gaussians")
def _shown(model: "SemanticSplatfactoModel", camera: Cameras, names: frozenset[str]) -> Outputs:
    """Some outputs as they are without a viewer, and zeros, which take no memory, for the others."""
    with model.frame_memories.lent() as memory:
        image = on_cpu(model, camera, memory, "likeliest" if names & _OF_CLASSES else "none")
        outputs = seen_by(image, camera)
        if names & _OF_CLASSES:
            show_classes(outputs, most_likely_classes(image)[..., None], model.taxonomy, model.panel)
    return {name: outputs.get(name, _zeros(image.opacity, channels)) for name, channels in OUTPUTS.items()}


def _zeros(opacity: Tensor, channels: int) -> Tensor:
    return torch.zeros(()).expand(*opacity.shape, channels)
