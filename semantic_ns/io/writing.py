"""Files that are written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy import ndarray
from PIL import Image

from semantic_ns.errors import SceneError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what was written there takes the name `path` when the block ends well.

    A block that raises leaves the old file as it was, and no temporary file. Folders are made as needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_png(path: Path, image: ndarray) -> None:
    """Write an image as PNG: uint8 [H, W], uint16 [H, W] or uint8 [H, W, 3]."""
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary as indented JSON in UTF-8; NaN is refused, since JSON has none."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", "utf8")


@contextmanager
def told_if_not_writable(place: Path) -> Iterator[None]:
    """Turn what a full disk or missing rights raise inside into a SceneError that names the file or folder."""
    try:
        yield
    except OSError as error:
        raise SceneError(
            f"Expected to write to {place}, found that it cannot be written ({error.strerror or error}); make room, "
            "change its rights or choose another place."
        ) from error
