"""The files of configuration that lie beside the weights of a network."""

from pathlib import Path
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json
from semantic_ns.prediction.preprocessing import FILE, Preprocessing, read_preprocessing

ASSUMED_COLORS = "nothing says how the network's images were normalised, so ImageNet's mean and deviation are taken"


def read_config(path: Path) -> dict[str, Any]:
    """The content of a `config.json`.

    Raises:
        SceneError: if it cannot be read, or is no object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise SceneError(f"Expected an object in {path}, found {type(content).__name__}; restore the file.")
    return content


def preprocessing_beside(folder: Path) -> tuple[Preprocessing, tuple[str, ...]]:
    """What a folder says that its network expects of an image, and what is assumed where it says nothing.

    Raises:
        SceneError: if the file cannot be understood.
    """
    path = folder / FILE
    if path.is_file():
        return read_preprocessing(path), ()
    return Preprocessing(), (ASSUMED_COLORS,)
