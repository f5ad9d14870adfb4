"""Segmentation networks of torchvision, with weights from a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from semantic_ns.errors import SceneError
from semantic_ns.prediction.class_names import ClassNames
from semantic_ns.prediction.preprocessing import NetworkSize, Preprocessing
from semantic_ns.prediction.segmenter import Segmenter, run_module, softmax_of_logits

_LAST_LAYERS = ("classifier.4.weight", "classifier.low_classifier.weight")
_PUBLISHED_SIZE = 520
"""Length of the shorter side in torchvision's own evaluation."""
ASSUMED_SIZE = f"the network sees images whose shorter side is {_PUBLISHED_SIZE} pixels, as torchvision's own do"


@dataclass(frozen=True, eq=False, kw_only=True)
class TorchvisionSegmenter(Segmenter):
    """A network of `torchvision.models.segmentation`, see `Segmenter`."""

    module: nn.Module

    def probabilities(self, pixels: Float32[Tensor, "1 3 height width"]) -> Float32[Tensor, "classes height width"]:
        """The soft-max of the network's logits."""
        output: Any = run_module(self.module, pixels, self.path)
        height, width = pixels.shape[-2:]
        return softmax_of_logits(output["out"], (height, width), self.num_classes, self.path)


def architectures() -> list[str]:
    """Names of torchvision's segmentation networks."""
    from torchvision.models import list_models, segmentation

    return list_models(module=segmentation)


def load_torchvision(path: Path, architecture: str | None, device: str) -> TorchvisionSegmenter:
    """Load weights that hold tensors alone; no code in the file is run.

    Args:
        path: weights (.pth or .pt, or .safetensors), as a dictionary of tensors.
        architecture: name of `architectures`; None takes the one with which the name of the file begins.
        device: where the network runs.

    Raises:
        SceneError: if the file is damaged, is no dictionary of tensors, or belongs to another architecture.
    """
    known = architectures()
    if architecture is None:
        architecture = next((name for name in known if path.name.startswith(name)), None)
    if architecture not in known:
        raise SceneError(
            f"Expected the name of the network whose weights {path} holds, found {architecture or 'none'}; name it by "
            f"--architecture: {', '.join(known)}."
        )
    state = _read_weights(path)
    last = next((state[name] for name in _LAST_LAYERS if name in state), None)
    if last is None:
        raise SceneError(
            f"Expected weights of torchvision's {architecture} in {path}, found none of its last layer "
            f"({' or '.join(_LAST_LAYERS)}); choose another --architecture."
        )
    num_classes = len(last)
    from torchvision.models import get_model, get_model_weights

    has_auxiliary = any(name.startswith("aux_classifier.") for name in state)
    options = {"aux_loss": True} if has_auxiliary else {}
    module = get_model(architecture, weights=None, weights_backbone=None, num_classes=num_classes, **options)
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        raise SceneError(
            f"Expected weights of torchvision's {architecture} in {path}, found others "
            f"({' '.join(str(error).split())[:150]}); choose another --architecture."
        ) from error
    published: Any = get_model_weights(architecture)
    names = next((tuple(one.meta["categories"]) for one in published if one.url.rpartition("/")[2] == path.name), None)
    return TorchvisionSegmenter(
        path=path,
        classes=None if names is None else ClassNames(f"the published weights {path.name}", names, names),
        num_classes=num_classes,
        preprocessing=Preprocessing(size=NetworkSize(shorter=_PUBLISHED_SIZE)),
        notes=(ASSUMED_SIZE,),
        module=module.eval().to(device),
    )


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        from semantic_ns.prediction.missing import missing_package

        raise missing_package("safetensors", path) from error
    except Exception as error:  # the readers raise whatever a damaged file leads to
        raise SceneError(
            f"Expected weights at {path}, found a file that cannot be read as tensors alone "
            f"({' '.join(str(error).split())[:150]}); save the network's state_dict() by torch.save, or as safetensors."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]  # as torchvision's own training saves it
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise SceneError(
            f"Expected a dictionary of tensors in {path}, found {type(state).__name__}; save the network's "
            "state_dict() by torch.save."
        )
    return state
