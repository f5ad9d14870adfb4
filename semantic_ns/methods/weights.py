"""Weights of models that know many scenes: where they come from, and whether they fit."""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from semantic_ns.errors import SceneError
from semantic_ns.labels.taxonomy import Taxonomy

BUILT_IN = Path(__file__).parent / "built_in_weights"
"""Folder of the weights that come with the package."""
_LABEL_SPACE = "label_space"
_MODEL = "_model."


def find_weights(path: Path) -> Path:
    """The file of weights that a path means: of a run its newest checkpoint, or built-in weights by their name.

    Raises:
        SceneError: if there are none.
    """
    named = BUILT_IN / f"{path}.pt"
    if not path.exists() and named.is_file():
        return named
    if path.is_file() and path.suffix in (".pt", ".ckpt"):
        return path
    folder = path.parent if path.is_file() else path
    checkpoints = sorted(folder.glob("nerfstudio_models/step-*.ckpt"))
    if not checkpoints:
        built_in = ", ".join(sorted(file.stem for file in BUILT_IN.glob("*.pt"))) or "none"
        raise SceneError(
            f"Expected a run, a file of weights or the name of built-in ones ({built_in}) at {path}, found none; "
            "correct the path of the weights."
        )
    return checkpoints[-1]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The parameters of a model by name, in single precision.

    Args:
        path: see :func:`find_weights`.

    Raises:
        SceneError: if the file is damaged or holds no weights of a model that knows many scenes.
    """
    file = find_weights(path)
    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SceneError(
            f"Expected weights in {file}, found a file that cannot be read as such ({type(error).__name__}); give the "
            "folder of a run."
        ) from error
    if isinstance(state, dict) and "pipeline" in state:
        state = {name.removeprefix(_MODEL): value for name, value in state["pipeline"].items()}
    if not isinstance(state, dict) or _LABEL_SPACE not in state:
        raise SceneError(
            f"Expected the weights of a model that knows many scenes, such as gsnerf-small, in {file}, found others; "
            "give a run of such a method."
        )
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def label_space_of(weights: dict[str, Tensor]) -> Taxonomy:
    """The classes that a model knows."""
    return Taxonomy.from_json(bytes(weights[_LABEL_SPACE].tolist()).decode())


def load_weights(model: nn.Module, path: Path) -> None:
    """Set the parameters of a model.

    Raises:
        SceneError: if the weights are of a network of other sizes or of another label space.
    """
    weights = read_weights(path)
    own = model.state_dict()
    if own[_LABEL_SPACE].tolist() != weights[_LABEL_SPACE].tolist():
        raise SceneError(
            f"Expected weights for the classes of the scenes, found a model that knows "
            f"{', '.join(label_space_of(weights).names)} in {path}; let its classes be the label space of the run."
        )
    other = sorted(
        name for name in own.keys() | weights.keys()
        if name not in own or name not in weights or own[name].shape != weights[name].shape
    )  # fmt: skip
    if other:
        raise SceneError(
            f"Expected weights of a network of the same sizes in {path}, found others ({', '.join(other[:4])}"
            f"{', ...' if len(other) > 4 else ''}); give the options with which it was trained."
        )
    model.load_state_dict(weights)
