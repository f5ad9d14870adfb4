"""What a scene is made of, in a few letters: what was computed from it is found again, and not taken for another's."""

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.geometry.views import ViewCameras
from semantic_ns.io.images import told_as_scene_error

_CHUNK = 1 << 20


def content_of(dataset: SemanticDataset, cameras: ViewCameras, size: tuple[int, int]) -> str:
    """A text that differs between scenes whose colours, masks or cameras differ.

    The files of colours and masks are read, but not decoded. Their names, places and times do not count, so that a
    copied or moved scene is the same one.

    Args:
        dataset: the scene.
        cameras: its cameras in metres.
        size: height and width to which its images are brought.

    Raises:
        SceneError: if a file is missing.
    """
    digest = hashlib.sha256()
    distorted: Any = dataset.metadata.get(keys.DISTORTED_CAMERAS)
    parts = [cameras.c2w, cameras.intrinsics]
    if distorted is not None:
        parts += [distorted.fx, distorted.fy, distorted.cx, distorted.cy, distorted.camera_type]
        parts += [distorted.distortion_params]
    background: Any = dataset._dataparser_outputs.alpha_color
    stated = (size, dataset.scale_factor, dataset.metadata.get(keys.EXPOSURE), dataset.metadata.get(keys.HAS_ALPHA))
    digest.update(repr(stated).encode())
    for part in [*parts, background]:
        digest.update(b"none" if part is None else _bytes_of(part))
    for path in dataset.image_filenames:
        _add_file(digest, path, "colour image")
    for path in dataset.metadata.get(keys.MASK_FILENAMES) or ():
        _add_file(digest, path, "mask")
    return digest.hexdigest()


def _bytes_of(values: Tensor) -> bytes:
    return repr((tuple(values.shape), values.dtype)).encode() + values.cpu().contiguous().numpy().tobytes()


def _add_file(digest: Any, path: Path | None, kind: str) -> None:
    if path is None:
        digest.update(b"none")
        return
    with told_as_scene_error(path, kind), path.open("rb") as file:
        of_file = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            of_file.update(chunk)
    digest.update(of_file.digest())
