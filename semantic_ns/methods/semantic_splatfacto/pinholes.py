"""Cameras of a viewer or of a path that are no pinholes, of which Gaussians know nothing."""

from functools import cache

from nerfstudio.cameras.cameras import Cameras, CameraType

from semantic_ns.io.console import announce


def drawn_as_pinhole(camera: Cameras) -> Cameras:
    """The pinhole of the same place and focal lengths, as splatfacto draws any camera [1]; itself if it is one."""
    kind = CameraType(int(camera.camera_type[0]))
    distortion = camera.distortion_params
    if kind == CameraType.PERSPECTIVE and (distortion is None or not bool(distortion.any())):
        return camera
    _say_once("a lens with distortion" if kind == CameraType.PERSPECTIVE else kind.name.lower().replace("_", " "))
    return Cameras(
        camera.camera_to_worlds, camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height,
        camera_type=CameraType.PERSPECTIVE, times=camera.times, metadata=camera.metadata,
    )  # fmt: skip


@cache
def _say_once(kind: str) -> None:
    announce(
        "camera",
        f"Gaussians are drawn through pinholes alone; {kind} is drawn as the pinhole of the same focal lengths. Choose "
        "perspective in the viewer or for the camera path",
    )
