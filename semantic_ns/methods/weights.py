"""Weights of models that know many scenes: where they come from, whether they fit, and how they are handed on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
import yaml
from nerfstudio.models.base_model import ModelConfig
from torch import Tensor, nn

from semantic_ns.backbones.room_features import BUILT_IN
from semantic_ns.dataparsers.common_label_space import key_of
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.writing import replacing
from semantic_ns.labels.taxonomy import Taxonomy

FORMAT = "semantic_ns weights 1"
"""What a file of weights says of itself under `format`."""
_LABEL_SPACE = "label_space"
_SCALE = "normalizes_scale"
_PARTS = {"method", "options", "max_image_width", _LABEL_SPACE, "state"}
_MODEL = "_model."
_DEVICE = "device_indicator_param"
"""An empty parameter that nerfstudio adds to every model after it was built, which is after weights are loaded."""
_OF_THE_USER = ("weights", "use_source_labels")
"""Options that are no property of trained weights."""
_OF_THE_NETWORK = frozenset(
    {
        "compat",
        "depth_guided",
        "depth_input",
        "encoder",
        "far_plane",
        "levels_cameras",
        "near_plane",
        "use_directions",
        "use_intervals",
    }
)
"""Options that decide what the network computes, though the sizes of its parameters need not tell."""
_CONFIG = "config.yml"

_LIMITS = {
    "rooms-small": "know 31 classes and have seen rendered rooms alone, with surfaces up to 8 m away; what they call "
    "things in photographs was not measured"
}
"""What built-in weights know, by their name."""

Options = dict[str, Any]
"""Options of a model by name: numbers, texts, tuples of them, and dictionaries for what is a dataclass."""

_RETIRED = frozenset({"use_depth"})
"""Options that weights may still bear; where depth comes from is now said to the data manager."""


@dataclass(frozen=True)
class Origin:
    """What trained weights are of.

    Attributes:
        method: name of the method.
        options: options of its model, see `options_of`.
        max_image_width: width to which wider source images were made smaller, pixels.
        normalizes_scale: whether scenes of unknown scale were scaled by the distances between their cameras in the
            training, so that what the model takes for a metre need not be one; None where it is not known.
    """

    method: str
    options: Options
    max_image_width: int
    normalizes_scale: bool | None = None


def built_in_limits(path: Path) -> str | None:
    """What weights that come with the package know, as a sentence about them goes on; None for others."""
    return None if path.exists() else _LIMITS.get(str(path))


def find_weights(path: Path) -> Path:
    """The file of weights that a path means: of a run its newest checkpoint, or built-in weights by their name.

    Args:
        path: folder or config.yml of a run, one of its checkpoints, a file of weights, or a name of built-in ones.

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
        built_in = ", ".join(sorted(file.stem for file in BUILT_IN.glob("*.pt"))) or "there are none"
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
    content = _content(file)
    state: Any = content
    if _is_handed_on(content):
        text = content[_LABEL_SPACE].encode()
        state = content["state"] | {_LABEL_SPACE: torch.tensor(list(text), dtype=torch.uint8)}
    elif isinstance(content, dict) and "pipeline" in content:
        # A checkpoint also has what a resumed run takes up, which is no part of the model.
        own = {name: value for name, value in content["pipeline"].items() if name.startswith(_MODEL)}
        state = {name.removeprefix(_MODEL): value for name, value in own.items()}
    if not isinstance(state, dict) or _LABEL_SPACE not in state:
        raise _is_of_another_method(file)
    return {
        name: value.float() if value.is_floating_point() else value for name, value in state.items() if name != _DEVICE
    }


def _content(file: Path) -> Any:
    try:
        # Only tensors and plain values: a file of weights may come from anybody.
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SceneError(
            f"Expected weights in {file}, found a file that cannot be read as such ({type(error).__name__}); give the "
            "folder of a run."
        ) from error


def _is_handed_on(content: Any) -> bool:
    """Whether this is what `write_weights` writes; a run's checkpoint has other keys."""
    return isinstance(content, dict) and content.get("format") == FORMAT and content.keys() >= _PARTS


def _is_of_another_method(file: Path) -> SceneError:
    return SceneError(
        f"Expected the weights of a model that knows many scenes, such as gsnerf-small, in {file}, found others; "
        "give a run of such a method."
    )


def read_origin(path: Path) -> Origin:
    """Method and options of the model of trained weights.

    Args:
        path: see :func:`find_weights`; a checkpoint alone, without its run, does not say them.

    Raises:
        SceneError: if there are no weights, or it is not known what they are of.
    """
    read_weights(path)  # refuses those of other methods
    file = find_weights(path)
    content = _content(file)
    if _is_handed_on(content):
        return Origin(content["method"], content["options"], content["max_image_width"], content.get(_SCALE))
    config_file = file.parent.parent / _CONFIG
    if not config_file.is_file():
        raise SceneError(
            f"Expected the {_CONFIG} of a run at {config_file}, found none; give the whole folder of a run, or a file "
            "that sns-export-weights has written."
        )
    # As every ns-* command reads it: it names classes, so it has to be of somebody who is trusted.
    config = yaml.load(config_file.read_text("utf8"), Loader=yaml.Loader)
    model, data = config.pipeline.model, config.pipeline.datamanager
    # Runs of former versions do not say it.
    scale = getattr(config.pipeline, "weights_normalize_scale", None)
    return Origin(config.method_name, options_of(model), data.max_image_width, scale)


def options_of(config: ModelConfig) -> Options:
    """The options with which a model was trained, beyond those of every model of nerfstudio."""
    common = {entry.name for entry in fields(ModelConfig)} | set(_OF_THE_USER)
    return {name: value for name, value in _plain(config).items() if name not in common}


def _plain(config: Any) -> Options:
    found = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_dataclass(value) and not isinstance(value, type):
            found[entry.name] = _plain(value)
        elif isinstance(value, bool | int | float | str | tuple | None):
            found[entry.name] = value
    return found


def set_options(config: Any, options: Mapping[str, Any]) -> None:
    """Set options of a configuration to those of :func:`options_of`.

    Raises:
        SceneError: if it has no such option.
    """
    for name, value in options.items():
        if name in _RETIRED:
            if value is False:
                announce("weights", "they were trained without depth, as --pipeline.datamanager.depth none does now")
            continue
        if not hasattr(config, name):
            raise SceneError(
                f"Expected weights with options that this version has, found '{name}', which {type(config).__name__} "
                "has not; use the version with which the weights were trained, or train again."
            )
        if isinstance(value, dict):
            set_options(getattr(config, name), value)
        else:
            setattr(config, name, value)


def take_over_options(config: ModelConfig, options: Mapping[str, Any], path: Path) -> None:
    """Set the options of a model that nobody has changed to those with which weights were trained, and say so.

    Args:
        config: the configuration of the model.
        options: those of the weights, see :func:`options_of`.
        path: the weights.

    Raises:
        SceneError: if the weights have an option that the configuration has not, or if a person has given another
            network than theirs.
    """
    taken, contrary = _taken_over(config, options, type(config)())
    for name, (own, trained) in contrary.items():
        if name in _OF_THE_NETWORK:
            raise SceneError(
                f"Expected {_spelled(name, trained)}, with which the weights {path} were trained, found {_said(own)}; "
                "leave the option out, which takes theirs over, or train without --pipeline.model.weights."
            )
    if taken:
        announce("weights", f"taken over from {path}: {', '.join(_spelled(name, taken[name]) for name in taken)}")
    if contrary:
        told = ", ".join(
            f"{_spelled(name, own)} (theirs: {_said(trained)})" for name, (own, trained) in contrary.items()
        )
        announce("weights", f"this run goes on with other options than those of {path}: {told}")


def _taken_over(config: Any, options: Mapping[str, Any], usual: Any) -> tuple[Options, dict[str, tuple[Any, Any]]]:
    """Options that have changed, and those that a person has given otherwise with the value of the weights, by name."""
    taken: Options = {}
    contrary = {}
    for name, value in options.items():
        own, default = getattr(config, name, value), getattr(usual, name, None)
        if isinstance(value, dict) and hasattr(config, name):
            parts = _taken_over(own, value, default)
            taken |= {f"{name}.{part}": changed for part, changed in parts[0].items()}
            contrary |= {f"{name}.{part}": both for part, both in parts[1].items()}
        elif own in (value, default):
            set_options(config, {name: value})
            taken |= {} if own == value else {name: value}
        else:
            contrary[name] = (own, value)
    return taken, contrary


def _spelled(option: str, value: Any) -> str:
    """An option of a model as it is typed."""
    typed = f"--pipeline.model.{option.replace('_', '-')}"
    return f"the default of {typed}" if value is None else f"{typed} {value}"


def _said(value: Any) -> str:
    return "the default" if value is None else str(value)


def write_weights(path: Path, origin: Origin, weights: Mapping[str, Tensor]) -> None:
    """Write weights to hand on, in half precision: a file that `read_weights` reads and that needs no run beside it.

    The file is a dictionary for `torch.load` with `weights_only=True`: `format`, `method`, `options`,
    `max_image_width`, `normalizes_scale`, `label_space` (the classes as JSON) and `state` (tensors by name). A tensor
    with a number too large for half precision stays as it is.

    Args:
        path: the new file.
        origin: what the weights are of.
        weights: see `read_weights`.
    """
    content = {
        "format": FORMAT,
        "method": origin.method,
        "options": origin.options,
        "max_image_width": origin.max_image_width,
        _SCALE: origin.normalizes_scale,
        _LABEL_SPACE: bytes(weights[_LABEL_SPACE].tolist()).decode(),
        "state": {name: _halved(value) for name, value in weights.items() if name != _LABEL_SPACE},
    }
    with replacing(path) as temporary:
        torch.save(content, temporary)


def _halved(values: Tensor) -> Tensor:
    values = values.detach().cpu().contiguous().clone()  # not the whole storage that it may be a view of
    if not values.is_floating_point():
        return values
    half = values.half()
    return half if bool(half.isfinite().all()) else values


def label_space_of(weights: Mapping[str, Tensor]) -> Taxonomy:
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


def check_classes(trained: Sequence[str], found: Sequence[str]) -> None:
    """Check that the classes of a checkpoint are those of the scenes, class by class.

    Raises:
        SceneError: if one is not.
    """
    for number, (one, other) in enumerate(zip_longest(trained, found, fillvalue="")):
        if key_of(one) != key_of(other):
            raise SceneError(
                f"Expected the {len(trained)} classes of the checkpoint in their order in the scenes of the run, found "
                f"{repr(other) if other else 'none'} in place of {repr(one) if one else 'none'} as class {number}: "
                "their class tables, or the scenes in the folder, are no longer those of the training; restore them, "
                "or train again."
            )
