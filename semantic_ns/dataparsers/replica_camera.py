"""The camera of a Replica sequence: `cam_params.json`, or a horizontal field of view round the image centre."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_ns.dataparsers.posed_scene import Intrinsics
from semantic_ns.dataparsers.replica_layouts import ReplicaSequence
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json

CAM_PARAMS = "cam_params.json"
_KEYS = ("w", "h", "fx", "fy", "cx", "cy", "scale")
_HFOV_DEGREES = 90.0
_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class CamParams:
    """`cam_params.json` of the NICE-SLAM layout, as it is written there: the centre of the first pixel is at 0."""

    path: Path
    w: float
    h: float
    fx: float
    fy: float
    cx: float
    cy: float
    scale: float
    """Units of the depth images per metre."""

    def intrinsics(self, size: ImageSize) -> Intrinsics:
        """Those of images of another resolution, `size` = (width, height), with the same aspect.

        Raises:
            SceneError: if the aspect differs.
        """
        by_x, by_y = size[0] / self.w, size[1] / self.h
        if abs(by_x / by_y - 1) > _ASPECT_TOLERANCE:
            raise SceneError(
                f"Expected images of {self.w:g}x{self.h:g}, or of that aspect, as {self.path} states, found "
                f"{size[0]}x{size[1]}; correct the file."
            )
        return Intrinsics(self.fx * by_x, self.fy * by_y, (self.cx + 0.5) * by_x, (self.cy + 0.5) * by_y, size)


def read_cam_params(sequence: ReplicaSequence) -> CamParams | None:
    """The `cam_params.json` that belongs to a sequence: in its folder or, in the NICE-SLAM layout, one level up.

    Raises:
        SceneError: if the file cannot be read, or a number is missing or not positive.
    """
    folder = sequence.folder.resolve()
    for place in (folder, folder.parent)[: sequence.layout.num_parameter_folders]:
        path = place / CAM_PARAMS
        if path.is_file():
            content = read_json(path)
            values = content.get("camera", content) if isinstance(content, dict) else {}
            return CamParams(path, **{key: _positive(values, key, path) for key in _KEYS})
    return None


def _positive(values: Any, key: str, path: Path) -> float:
    value = values.get(key) if isinstance(values, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise SceneError(
            f"Expected a positive number {key} (of {', '.join(_KEYS)}) in {path}, found {value!r}; add it."
        )
    return float(value)


def intrinsics_of(size: ImageSize, parameters: CamParams | None, hfov_degrees: float | None) -> Intrinsics:
    """Those of a sequence: the field of view if given, else the file's, else 90 degrees.

    Args:
        size: width and height of the images.
        parameters: camera parameters of the sequence.
        hfov_degrees: horizontal; pixels are square and the principal point is the image centre.

    Raises:
        SceneError: if the field of view is out of range, or the images have another aspect than the file says.
    """
    if hfov_degrees is None and parameters is not None:
        return parameters.intrinsics(size)
    hfov = _HFOV_DEGREES if hfov_degrees is None else hfov_degrees
    if not 0 < hfov < 180:
        raise SceneError(f"Expected --hfov between 0 and 180 degrees, found {hfov}; correct it.")
    width, height = size
    focal = width / 2 / math.tan(math.radians(hfov) / 2)
    return Intrinsics(focal, focal, width / 2, height / 2, size)
