"""Hypersim's cameras (Roberts et al. 2021): tilt-shift lenses as ordinary pinholes, and ray distance to planar depth.

V-Ray's cameras may shift and tilt their film. Hypersim describes each by a matrix M_cam_from_uv per scene: the ray of
the image point (u, v) in [-1, 1]^2 (u right, v up) is `M [u, v, 1]` in OpenGL camera axes. Any such linear camera is a
pinhole that is turned by a fixed rotation: with A from pixels (x, y, 1) to (u, v, 1), G = diag(1, -1, -1) to OpenCV
axes and the decomposition G M A = Q T (Q a rotation, T upper triangular with positive diagonal), the intrinsics are
K = T^-1 up to scale, and the camera looks along the nominal one turned by Q (Hartley and Zisserman 2004, section 6.2).
"""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from semantic_ns.dataparsers.posed_scene import Intrinsics
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_text

CAMERA_TABLE = "metadata_camera_parameters.csv"
MAX_SKEW_ERROR = 1e-4
"""Largest error of a ray in radians where the skew of a camera is left out; about a tenth of a pixel."""

_SCENE, _WIDTH, _HEIGHT = "scene_name", "settings_output_img_width", "settings_output_img_height"
_METRES = "settings_units_info_meters_scale"
_OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0])
_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class CameraRow:
    """What the camera table says about a scene.

    Attributes:
        cam_from_uv: ray of the image point (u, v, 1) in OpenGL camera axes; u and v in [-1, 1], v up.
        width: width of the rendered images in pixels; with the height it fixes the used part of the film.
        height: height of the rendered images in pixels.
        metres_per_asset_unit: scale of the positions of the cameras.
        where: names the row in errors.
    """

    cam_from_uv: Float[ndarray, "3 3"]
    width: float
    height: float
    metres_per_asset_unit: float
    where: str


@dataclass(frozen=True)
class Pinhole(Intrinsics):
    """An ordinary camera and how it is turned against the nominal one.

    Attributes:
        skew: entry (0, 1) of K in pixels; rays are computed without it.
        nominal_from_opencv: transform from axes of this camera (OpenCV) to those of the nominal one (OpenGL).
    """

    skew: float
    nominal_from_opencv: Float[ndarray, "3 3"]

    def planar_per_ray_depth(self) -> Float32[ndarray, "height width"]:
        """Planar depth per unit of distance along the ray: z = distance / |K^-1 [x, y, 1]|."""
        width, height = self.size
        x = (np.arange(width) + 0.5 - self.cx) / self.fx
        y = (np.arange(height) + 0.5 - self.cy) / self.fy
        return (1 / np.sqrt(x**2 + y[:, None] ** 2 + 1)).astype(np.float32)

    def skew_error(self) -> float:
        """Upper bound of the error in radians that rays have without the skew."""
        height = self.size[1]
        return abs(self.skew) * max(abs(self.cy), abs(height - self.cy)) / (self.fx * self.fy)


def exact_pinhole(row: CameraRow, size: ImageSize) -> Pinhole:
    """The pinhole with the rays of `row.cam_from_uv`, for images of `size` (width, height).

    Raises:
        SceneError: if the matrix is no camera or has skew that changes rays by more than MAX_SKEW_ERROR, as
            nerfstudio's cameras have none, or if the images are not in the proportion of the rendered ones.
    """
    width, height = size
    if abs(width * row.height / (height * row.width) - 1) > _ASPECT_TOLERANCE:
        raise SceneError(
            f"Expected images in the proportion of {row.width:g}x{row.height:g} for {row.where}, found {width}x"
            f"{height}; resize the rendered images without cutting them."
        )
    uv_from_pixel = np.array([[2 / width, 0, -1], [0, -2 / height, 1], [0, 0, 1]])
    opencv_from_pixel = _OPENCV_FROM_OPENGL @ row.cam_from_uv @ uv_from_pixel
    if not np.isfinite(opencv_from_pixel).all() or not np.linalg.det(opencv_from_pixel) > 0:
        raise SceneError(
            f"Expected a matrix M_cam_from_uv that maps image points to rays at {row.where}, found "
            f"{row.cam_from_uv.round(6).tolist()}; restore the table."
        )
    rotation, triangular = np.linalg.qr(opencv_from_pixel)
    signs = np.sign(np.diag(triangular))
    rotation, triangular = rotation * signs, signs[:, None] * triangular
    k = np.linalg.inv(triangular)
    k /= k[2, 2]
    nominal_from_opencv = _OPENCV_FROM_OPENGL @ rotation
    pinhole = Pinhole(k[0, 0], k[1, 1], k[0, 2], k[1, 2], size, k[0, 1], nominal_from_opencv)
    if pinhole.skew_error() > MAX_SKEW_ERROR:
        raise SceneError(
            f"Expected a camera without skew at {row.where}, found {pinhole.skew:.3g} pixels, which no camera of "
            "nerfstudio has; choose another scene (one in sixteen of Hypersim's has skew)."
        )
    return pinhole


def read_camera_row(table: Path, scene_name: str) -> CameraRow:
    """The row of a scene in Hypersim's `metadata_camera_parameters.csv`.

    Raises:
        SceneError: if the table cannot be read, or has no row for the scene or no usable number in it.
    """
    rows = read_rows(table, _SCENE)
    row = next((row for row in rows if row[_SCENE] == scene_name), None)
    if row is None:
        raise SceneError(
            f"Expected a row for {scene_name} in {table}, found {len(rows)} other scenes; name the folder of the scene "
            "as Hypersim does (ai_001_001)."
        )
    return parse_camera_row(row, f"the row {scene_name} of {table}")


def parse_camera_row(row: Mapping[str, str], where: str) -> CameraRow:
    """A row of the camera table, by column name; `where` names it in errors.

    Raises:
        SceneError: if a column is missing or holds no usable number.
    """
    cam_from_uv = [[_number(row, f"M_cam_from_uv_{i}{j}", where) for j in range(3)] for i in range(3)]
    width, height, metres = (_number(row, column, where) for column in (_WIDTH, _HEIGHT, _METRES))
    for column, value in ((_WIDTH, width), (_HEIGHT, height), (_METRES, metres)):
        if not 0 < value < math.inf:
            raise SceneError(f"Expected {column} above 0 at {where}, found {value}; restore the table.")
    return CameraRow(np.array(cam_from_uv, np.float64), width, height, metres, where)


def read_rows(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a CSV file with a header row; names and values without outer blanks, missing values empty.

    Raises:
        SceneError: if the file cannot be read, or lacks one of the columns.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True)
    try:
        header, *rows = [[value.strip() for value in row] for row in reader if row] or [[]]
    except csv.Error as error:
        raise SceneError(
            f"Expected comma separated values in {path}, found a mistake at line {reader.line_num} ({error}); correct "
            "the line."
        ) from error
    for column in columns:
        if column not in header:
            raise SceneError(
                f"Expected the column {column} at line 1 of {path}, found {', '.join(header)[:120]}; restore the file."
            )
    return [dict.fromkeys(header, "") | dict(zip(header, row, strict=False)) for row in rows]


def _number(row: Mapping[str, str], column: str, where: str) -> float:
    try:
        return float(row[column])
    except (KeyError, ValueError) as error:
        raise SceneError(
            f"Expected a number in the column {column} at {where}, found {row.get(column)!r}; restore the table."
        ) from error
