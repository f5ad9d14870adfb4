"""Images of cameras with lens distortion as pinhole cameras would have taken them, and the other way round."""

import numpy as np
import torch
from jaxtyping import Shaped
from nerfstudio.cameras.cameras import Cameras, CameraType
from numpy import ndarray

from semantic_ns.geometry.lens import Lens, Undistortion


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


def undistortion_of(distorted: Cameras, pinholes: Cameras, index: int) -> Undistortion:
    """How images of one of several cameras with distortion become those of a pinhole camera at its place.

    Args:
        distorted: the cameras [N] that have taken the images.
        pinholes: those of `undistorted`.
        index: number of the camera.
    """
    return Undistortion(Lens.of(distorted, index), Lens.of(pinholes, index).intrinsics)


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
    return undistortion_of(distorted, pinholes, index).undistort(values, is_color)


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
    return undistortion_of(distorted, pinholes, index).distort(values)
