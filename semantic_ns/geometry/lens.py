"""A lens that bends what a camera sees, and its images as a pinhole camera in its place would have taken them.

Apart from `undistortion`, since nothing in here needs torch or nerfstudio.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, Integer, Shaped
from numpy import ndarray

from semantic_ns.errors import SceneError

_FISHEYE = 2
"""nerfstudio's `CameraType.FISHEYE`."""
_LARGEST_SHARE_OUTSIDE = 0.01
_MEND = "undistort the images, for example with COLMAP's image_undistorter."
_LAST_STEP = (3, 50, 1e-9)
"""When OpenCV's iteration ends: after so many steps, or with a step of so little."""
_Places = tuple[Int32[ndarray, "height width"], Int32[ndarray, "height width"]]


@dataclass(frozen=True)
class Lens:
    """A camera with distortion, without its pose.

    Attributes:
        is_fisheye: whether the distortion is OpenCV's of fisheye lenses.
        size: width and height of its image, pixels.
        intrinsics: fx, fy, cx, cy in pixels, from the edges of the image.
        distortion: k1, k2, k3, k4, p1, p2.
    """

    is_fisheye: bool
    size: tuple[int, int]
    intrinsics: tuple[float, ...]
    distortion: tuple[float, ...]

    @classmethod
    def of(cls, cameras: Any, index: int) -> "Lens":
        """That of one of nerfstudio's `Cameras` [N]."""
        parts = (cameras.fx, cameras.fy, cameras.cx, cameras.cy)
        bent = cameras.distortion_params
        return cls(
            bool(cameras.camera_type.flatten()[index] == _FISHEYE),
            (int(cameras.width.flatten()[index]), int(cameras.height.flatten()[index])),
            tuple(float(part.flatten()[index]) for part in parts),
            (0.0,) * 6 if bent is None else tuple(bent[index].tolist()),
        )

    @property
    def is_pinhole(self) -> bool:
        """Whether there is nothing to undistort."""
        return not self.is_fisheye and not any(self.distortion)

    def pinhole(self) -> Float64[ndarray, "4"]:
        """fx, fy, cx, cy of the pinhole camera that takes its place.

        Raises:
            SceneError: if the distortion is of a kind that OpenCV does not have, or too strong.
        """
        if self.is_pinhole:
            return np.array(self.intrinsics)
        import cv2  # slow to load, and few scenes need it

        matrix, distortion = _matrix(self.intrinsics), self._of_opencv()
        if self.is_fisheye:
            new = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(matrix, distortion, self.size, np.eye(3))
        else:
            new, _ = cv2.getOptimalNewCameraMatrix(matrix, distortion, self.size, 0)
        found = np.array([new[0, 0], new[1, 1], new[0, 2] + 0.5, new[1, 2] + 0.5])
        self._check(found)
        return found

    def _of_opencv(self) -> Float64[ndarray, "_parameters"]:
        k1, k2, k3, k4, p1, p2 = self.distortion
        if self.is_fisheye and (p1 or p2):
            raise SceneError(
                f"Expected a fisheye lens without tangential distortion, found p1 {p1:g} and p2 {p2:g}; {_MEND}"
            )
        if not self.is_fisheye and k4:
            raise SceneError(f"Expected a lens distortion of k1, k2, k3, p1 and p2, found k4 {k4:g}; {_MEND}")
        return np.array([k1, k2, k3, k4] if self.is_fisheye else [k1, k2, p1, p2, k3])

    def _check(self, pinhole: Float64[ndarray, "4"]) -> None:
        width, height = self.size
        is_sound = np.isfinite(pinhole).all() and (pinhole[:2] > 0).all()
        if is_sound:
            columns, rows = self.places(pinhole, (height, width))
            outside = (columns < -1) | (columns > width) | (rows < -1) | (rows > height)
            # A polynomial that turns back shows places of the image twice.
            is_growing = (np.diff(columns, axis=1) > 0).all() and (np.diff(rows, axis=0) > 0).all()
            is_sound = is_growing and float(outside.mean()) < _LARGEST_SHARE_OUTSIDE
        if not is_sound:
            listed = ", ".join(f"{value:g}" for value in self.distortion)
            raise SceneError(
                f"Expected a lens distortion that can be undone in all of the image, found k1, k2, k3, k4, p1, p2 of "
                f"{listed}; correct them, or {_MEND}"
            )

    def places(
        self, pinhole: Float64[ndarray, "4"], shape: tuple[int, int]
    ) -> tuple[Float32[ndarray, "height width"], Float32[ndarray, "height width"]]:
        """Column and row of the distorted image that each pixel of the undistorted one shows, 0 at the first centre.

        Args:
            pinhole: fx, fy, cx, cy of the undistorted image at its own size.
            shape: height and width at which both images are given.
        """
        import cv2

        scale = np.array([shape[1] / self.size[0], shape[0] / self.size[1]] * 2)
        matrix, new = _matrix(self.intrinsics * scale), _matrix(pinhole * scale)
        undistort = cv2.fisheye.initUndistortRectifyMap if self.is_fisheye else cv2.initUndistortRectifyMap
        columns, rows = undistort(matrix, self._of_opencv(), np.eye(3), new, shape[::-1], cv2.CV_32FC1)
        return columns, rows

    def nearest_places(
        self, pinhole: Float64[ndarray, "4"], shape: tuple[int, int]
    ) -> tuple[Int64[ndarray, "height width"], Int64[ndarray, "height width"]]:
        """Row and column of the pixel of the distorted image that is nearest to each of `places`."""
        columns, rows = self.places(pinhole, shape)
        height, width = shape
        return rows.round().astype(np.int64).clip(0, height - 1), columns.round().astype(np.int64).clip(0, width - 1)

    def places_in(
        self, pinhole: Float64[ndarray, "4"], shape: tuple[int, int]
    ) -> tuple[Float64[ndarray, "height width"], Float64[ndarray, "height width"]]:
        """Column and row of the undistorted image that each pixel of the distorted one shows; else as `places`."""
        import cv2

        scale = np.array([shape[1] / self.size[0], shape[0] / self.size[1]] * 2)
        matrix, new = _matrix(self.intrinsics * scale), _matrix(pinhole * scale)
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2).astype(np.float64)
        if self.is_fisheye:
            found = cv2.fisheye.undistortPoints(pixels, matrix, self._of_opencv(), np.eye(3), new)
        else:
            found = cv2.undistortPointsIter(pixels, matrix, self._of_opencv(), np.eye(3), new, _LAST_STEP)
        found = found.reshape(*shape, 2)
        return found[..., 0], found[..., 1]


@dataclass(frozen=True)
class Undistortion:
    """A lens, and the pinhole camera whose images of the same size are made of those of the lens.

    Attributes:
        lens: the lens.
        pinhole: fx, fy, cx, cy of the pinhole camera, pixels of its image at the size of that of the lens.
    """

    lens: Lens
    pinhole: tuple[float, ...]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Undistortion":
        """That of `to_json`; raises KeyError, TypeError or ValueError where it is none."""
        lens = Lens(
            bool(values["is_fisheye"]),
            (int(values["size"][0]), int(values["size"][1])),
            tuple(float(value) for value in values["intrinsics"]),
            tuple(float(value) for value in values["distortion"]),
        )
        return cls(lens, tuple(float(value) for value in values["pinhole"]))

    def to_json(self) -> dict[str, Any]:
        """All numbers by name."""
        lens = self.lens
        return {
            "is_fisheye": lens.is_fisheye,
            "size": list(lens.size),
            "intrinsics": list(lens.intrinsics),
            "distortion": list(lens.distortion),
            "pinhole": list(self.pinhole),
        }

    def undistort(
        self, values: Shaped[ndarray, "height width *channels"], is_color: bool = False
    ) -> Shaped[ndarray, "height width *channels"]:
        """An image of the lens as the pinhole camera sees it; by default by nearest neighbours.

        Args:
            values: the image, at any resolution.
            is_color: whether to interpolate between pixels.
        """
        if self.lens.is_pinhole:
            return values
        if not is_color:
            # Types of labels that OpenCV does not know stay as they are.
            return values[_taken_pixels(self, values.shape[:2])]
        import cv2

        shape = values.shape[0], values.shape[1]
        columns, rows = self.lens.places(np.array(self.pinhole), shape)
        result = cv2.remap(
            np.ascontiguousarray(values), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return result.reshape(values.shape)

    def distort(self, values: Shaped[ndarray, "height width *channels"]) -> Shaped[ndarray, "height width *channels"]:
        """An image of the pinhole camera as the lens sees it, by nearest neighbours; 0 where that sees more.

        Args:
            values: the image, at any resolution.
        """
        if self.lens.is_pinhole:
            return values
        rows, columns = _seen_pixels(self, values.shape[:2])
        is_seen = rows >= 0
        result = np.zeros_like(values)
        result[is_seen] = values[rows[is_seen], columns[is_seen]]
        return result

    def undistort_numbers(self, numbers: Integer[ndarray, "height width"]) -> Integer[ndarray, "height width"]:
        """Numbers of the parts of an image, 0 for none, as `undistort` gives them, but so that none gets lost.

        A part of a pixel or two may lie between the pixels that are looked at; it then has the nearest pixels.
        """
        if self.lens.is_pinhole:
            return numbers
        return _with_all(self.undistort(numbers), numbers, _seen_pixels(self, numbers.shape))

    def distort_numbers(self, numbers: Integer[ndarray, "height width"]) -> Integer[ndarray, "height width"]:
        """Numbers of the parts of an image of the pinhole camera as `distort` gives them; see `undistort_numbers`.

        A part that is the whole image stays it, though the lens sees more.
        """
        if self.lens.is_pinhole or numbers.min() == numbers.max():
            return numbers
        return _with_all(self.distort(numbers), numbers, _taken_pixels(self, numbers.shape))


# Most images of a scene have one lens, and finding the places takes far longer than taking the pixels.
@lru_cache(1)
def _taken_pixels(undistortion: Undistortion, shape: tuple[int, ...]) -> _Places:
    """Row and column of the pixel of the lens that each pixel of the pinhole camera shows."""
    height, width = shape
    rows, columns = undistortion.lens.nearest_places(np.array(undistortion.pinhole), (height, width))
    return rows.astype(np.int32), columns.astype(np.int32)


@lru_cache(1)
def _seen_pixels(undistortion: Undistortion, shape: tuple[int, ...]) -> _Places:
    """Row and column of the pixel of the pinhole camera that each pixel of the lens shows, -1 where it shows none."""
    height, width = shape
    columns, rows = undistortion.lens.places_in(np.array(undistortion.pinhole), (height, width))
    column, row = columns.round(), rows.round()
    is_seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return np.where(is_seen, row, -1).astype(np.int32), np.where(is_seen, column, -1).astype(np.int32)


def _with_all(
    found: Integer[ndarray, "height width"], numbers: Integer[ndarray, "height width"], places: _Places
) -> Integer[ndarray, "height width"]:
    """Numbers of parts, with those that got lost at the places that their pixels have."""
    lost = np.setdiff1d(numbers, found)
    is_lost = np.isin(numbers, lost[lost != 0]) & (places[0] >= 0)
    if is_lost.any():
        found = found.copy()
        found[places[0][is_lost], places[1][is_lost]] = numbers[is_lost]
    return found


def _matrix(intrinsics: Float64[ndarray, "4"] | tuple[float, ...]) -> Float64[ndarray, "3 3"]:
    """The camera matrix as OpenCV has it: coordinates are 0 at the centre of the first pixel, not at its edge."""
    fx, fy, cx, cy = intrinsics
    return np.array([[fx, 0.0, cx - 0.5], [0.0, fy, cy - 0.5], [0.0, 0.0, 1.0]])
