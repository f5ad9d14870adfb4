"""Cameras of several images at once, and how the pixels of one are seen by another. OpenCV axes, metres.

Image coordinates are (x, y) in 0..1: from the left and upper edge of an image to its right and lower edge, whatever
its resolution. A pixel centre of an image W wide is at (column + 0.5) / W, so coordinates are right at every level of a
feature pyramid, without an offset of half a pixel.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor
from torch.nn import functional as F

NEAREST_M = 1e-3
"""Points closer to the plane of a camera than this, or behind it, are not seen by it."""


@dataclass(frozen=True, eq=False)
class ViewCameras:
    """Pinhole cameras of V images.

    Attributes:
        c2w: camera to world, OpenCV axes, metres.
        intrinsics: fx / W, fy / H, cx / W, cy / H: pinhole intrinsics in image coordinates.
    """

    c2w: Float64[Tensor, "views 4 4"]
    intrinsics: Float64[Tensor, "views 4"]

    def __len__(self) -> int:
        return len(self.c2w)

    def __getitem__(self, chosen: Int[Tensor, "chosen"] | slice) -> "ViewCameras":
        return ViewCameras(self.c2w[chosen], self.intrinsics[chosen])

    def to(self, device: torch.device | str) -> "ViewCameras":
        """The same cameras on a device."""
        return ViewCameras(self.c2w.to(device), self.intrinsics.to(device))

    @property
    def centres(self) -> Float64[Tensor, "views 3"]:
        """Positions in the world."""
        return self.c2w[:, :3, 3]

    def matrices(self) -> Float64[Tensor, "views 3 3"]:
        """Intrinsics as matrices: camera coordinates with z = 1 to homogeneous image coordinates."""
        fx, fy, cx, cy = self.intrinsics.unbind(-1)
        zero, one = torch.zeros_like(fx), torch.ones_like(fx)
        rows = [torch.stack(row, -1) for row in ((fx, zero, cx), (zero, fy, cy), (zero, zero, one))]
        return torch.stack(rows, dim=-2)

    def ray_directions(self, xy: Float[Tensor, "views *pixels 2"]) -> Float[Tensor, "views *pixels 3"]:
        """Directions in the world of the rays through image coordinates; their component along the optical axis is 1.

        A direction times a planar depth leads from the centre of the camera to the point.
        """
        shape = xy.shape[:-1]
        flat = F.pad(xy.reshape(len(self), -1, 2), (0, 1), value=1.0).double()
        to_world = self.c2w[:, :3, :3] @ torch.linalg.inv(self.matrices())
        return (flat @ to_world.mT).to(xy.dtype).reshape(*shape, 3)


def stack_views(cameras: list[ViewCameras]) -> ViewCameras:
    """One list of cameras out of several."""
    return ViewCameras(
        torch.cat([camera.c2w for camera in cameras]), torch.cat([camera.intrinsics for camera in cameras])
    )


def pixel_centres(height: int, width: int, device: torch.device | str = "cpu") -> Float[Tensor, "height width 2"]:
    """Image coordinates (x, y) of the pixel centres of an image."""
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def sweep_matrices(sources: ViewCameras, target: ViewCameras) -> Float64[Tensor, "sources 3 4"]:
    """From (x d, y d, d, 1) of one target camera to homogeneous image coordinates of each source.

    (x, y) are image coordinates of the target, and d is planar depth in metres. The third component of the result is
    the planar depth in the source.
    """
    from_target = torch.linalg.inv(sources.c2w) @ target.c2w
    lifted = from_target[:, :3, :3] @ torch.linalg.inv(target.matrices())
    return sources.matrices() @ torch.cat([lifted, from_target[:, :3, 3:]], dim=-1)


@dataclass(frozen=True, eq=False)
class SeenAt:
    """Where V sources see points.

    Attributes:
        xy: image coordinates; without meaning behind a camera.
        depth: planar depth in the sources, metres.
        is_seen: whether a point lies before the camera and inside its image.
    """

    xy: Float[Tensor, "sources *points 2"]
    depth: Float[Tensor, "sources *points"]
    is_seen: Bool[Tensor, "sources *points"]


def reproject(
    matrices: Float64[Tensor, "sources 3 4"],
    xy: Float[Tensor, "*points 2"],
    depth: Float[Tensor, "*points"],
) -> SeenAt:
    """Where sources see points of a target camera.

    Args:
        matrices: those of :func:`sweep_matrices`.
        xy: image coordinates in the target.
        depth: planar depth in the target, metres.
    """
    matrices = matrices.to(xy.dtype)
    lifted = F.pad(xy, (0, 1), value=1.0) @ matrices[:, :, :3].mT.reshape(-1, *[1] * (xy.dim() - 2), 3, 3)
    points = lifted * depth[..., None] + matrices[:, :, 3].reshape(-1, *[1] * (xy.dim() - 1), 3)
    z = points[..., 2]
    is_before = z > NEAREST_M
    seen_at = points[..., :2] / z.where(is_before, 1.0)[..., None]
    is_inside = ((seen_at >= 0) & (seen_at <= 1)).all(dim=-1)
    return SeenAt(seen_at, z, is_before & is_inside)


def sample_images(
    images: Float[Tensor, "sources channels height width"],
    xy: Float[Tensor, "sources *points 2"],
    mode: str = "bilinear",
    padding: str = "border",
) -> Float[Tensor, "sources channels *points"]:
    """Images at image coordinates; outside they go on as their border does, or with padding `zeros` are 0."""
    shape = xy.shape[1:-1]
    # Far outside, coordinates can be so large that their fractions are lost; the border is the same.
    grid = (2 * xy - 1).clamp(-4, 4).reshape(len(xy), 1, shape.numel(), 2)
    sampled = F.grid_sample(images, grid, mode=mode, padding_mode=padding, align_corners=False)
    return sampled.reshape(len(xy), images.shape[1], *shape)


def are_used(
    masks: Bool[Tensor, "sources height width"] | None, xy: Float[Tensor, "sources *points 2"]
) -> Bool[Tensor, "sources *points"]:
    """Whether the pixels of sources at image coordinates are used: those in which their masks are true.

    Args:
        masks: masks of the sources, at any resolution; without them every pixel is used.
        xy: image coordinates in the sources; beyond a border they are those of the border.
    """
    if masks is None:
        return torch.ones(xy.shape[:-1], dtype=torch.bool, device=xy.device)
    return sample_images(masks[:, None].to(xy.dtype), xy, mode="nearest")[:, 0] > 0.5
