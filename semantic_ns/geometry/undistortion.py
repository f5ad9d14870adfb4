"""Images of cameras with lens distortion as pinhole cameras would have taken them, and the other way round."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, Shaped
from nerfstudio.cameras.cameras import Cameras, CameraType
from numpy import ndarray

from semantic_ns.errors import SceneError

_LARGEST_SHARE_OUTSIDE = 0.01
_MEND = "undistort the images, for example with COLMAP's image_undistorter."
_LAST_STEP = (3, 50, 1e-9)
"""When OpenCV's iteration ends: after so many steps, or with a step of so little."""


def can_be_undistorted(cameras: Cameras) -> bool:
    """Whether some of the cameras [N] have a distortion that `undistorted` takes away: OpenCV's, or its fisheye's."""
    kinds = {CameraType.PERSPECTIVE.value, CameraType.FISHEYE.value}
    if not set(cameras.camera_type.flatten().tolist()) <= kinds:
        return False
    is_bent = cameras.distortion_params is not None and bool((cameras.distortion_params != 0).any())
    return is_bent or bool((cameras.camera_type == CameraType.FISHEYE.value).any())


def undistorted(cameras: Cameras) -> Cameras:
    """Pinhole cameras [N] at the places of others, whose images, of the same size, show what all of theirs is seen in.

    The new focal lengths and principal points are those of OpenCV that leave no pixel without a colour. Cameras without
    distortion stay as they are.

    Args:
        cameras: perspective or fisheye cameras with the distortion (k1, k2, k3, k4, p1, p2) of nerfstudio.

    Raises:
        SceneError: if a distortion is of another kind, or too strong.
    """
    lenses = [Lens.of(cameras, index) for index in range(len(cameras))]
    found = {lens: lens.pinhole() for lens in set(lenses)}
    intrinsics = torch.tensor(np.stack([found[lens] for lens in lenses]), dtype=torch.float32)
    return Cameras(
        camera_to_worlds=cameras.camera_to_worlds,
        fx=intrinsics[:, 0:1],
        fy=intrinsics[:, 1:2],
        cx=intrinsics[:, 2:3],
        cy=intrinsics[:, 3:4],
        width=cameras.width,
        height=cameras.height,
        camera_type=CameraType.PERSPECTIVE,
        times=cameras.times,
        metadata=cameras.metadata,
    )


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
    def of(cls, cameras: Cameras, index: int) -> "Lens":
        """That of one of the cameras [N]."""
        parts = (cameras.fx, cameras.fy, cameras.cx, cameras.cy)
        bent = cameras.distortion_params
        return cls(
            bool(cameras.camera_type.flatten()[index] == CameraType.FISHEYE.value),
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


def undistort(
    values: Shaped[ndarray, "height width *channels"],
    distorted: Cameras,
    pinholes: Cameras,
    index: int,
    is_color: bool = False,
) -> Shaped[ndarray, "height width *channels"]:
    """An image of one of several cameras with distortion, as a pinhole camera at its place sees it.

    Args:
        values: the image, at any resolution.
        distorted: the cameras [N] that have taken the images.
        pinholes: those of `undistorted`.
        index: number of the camera.
        is_color: whether to interpolate between pixels; by default the nearest one is taken, as labels, depth and masks
            have it.
    """
    lens = Lens.of(distorted, index)
    if lens.is_pinhole:
        return values
    pinhole, shape = np.array(Lens.of(pinholes, index).intrinsics), (values.shape[0], values.shape[1])
    if not is_color:
        # Types of labels that OpenCV does not know stay as they are.
        return values[lens.nearest_places(pinhole, shape)]
    import cv2

    columns, rows = lens.places(pinhole, shape)
    result = cv2.remap(np.ascontiguousarray(values), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return result.reshape(values.shape)


def distort(
    values: Shaped[ndarray, "height width *channels"], distorted: Cameras, pinholes: Cameras, index: int
) -> Shaped[ndarray, "height width *channels"]:
    """An image of one of several pinhole cameras, as a camera with distortion at its place sees it.

    Each pixel has the value of the nearest one, or 0 where the pinhole camera does not see it.

    Args:
        values: the image, at any resolution.
        distorted: the cameras [N] with distortion.
        pinholes: those of `undistorted`.
        index: number of the camera.
    """
    lens = Lens.of(distorted, index)
    if lens.is_pinhole:
        return values
    height, width = values.shape[:2]
    columns, rows = lens.places_in(np.array(Lens.of(pinholes, index).intrinsics), (height, width))
    column, row = columns.round(), rows.round()
    is_seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    result = np.zeros_like(values)
    result[is_seen] = values[row[is_seen].astype(np.int64), column[is_seen].astype(np.int64)]
    return result


def _matrix(intrinsics: Float64[ndarray, "4"] | tuple[float, ...]) -> Float64[ndarray, "3 3"]:
    """The camera matrix as OpenCV has it: coordinates are 0 at the centre of the first pixel, not at its edge."""
    fx, fy, cx, cy = intrinsics
    return np.array([[fx, 0.0, cx - 0.5], [0.0, fy, cy - 0.5], [0.0, 0.0, 1.0]])
