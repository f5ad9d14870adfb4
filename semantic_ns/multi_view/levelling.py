"""Which way is up in an image, and cameras that are turned until their up is that of their images."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.geometry.views import ViewCameras, pixel_centres
from semantic_ns.multi_view.convolutions import conv2d

_WIDTHS = (48, 64, 64)
_LEAST_COSINE = math.cos(math.radians(30))
"""Of the largest turn that is made."""
_LEAST_DOUBT = math.radians(3)
"""About as far as an estimate of up is off by itself."""


def up_of(cameras: ViewCameras, vertical: Float64[Tensor, "3"] | None = None) -> Float64[Tensor, "views 3"]:
    """A direction of the world in the OpenCV axes of each camera; by default the z axis, which is its up."""
    rotations = cameras.c2w[:, :3, :3]
    return rotations[:, 2] if vertical is None else vertical.to(rotations) @ rotations


def levelled(
    cameras: ViewCameras, up: Float[Tensor, "views 3"], vertical: Float64[Tensor, "3"] | None = None
) -> ViewCameras:
    """Cameras in place, turned by the least angle that makes a direction of each the world's up.

    How they are turned about the vertical stays as it was, as nearly as it can. A camera that would be turned by more
    than 30 degrees stays as it is: that is no wrong angle, but a photo that lies on its side, or a mistaken answer.

    Args:
        cameras: cameras whose rotation may be wrong.
        up: unit direction in the OpenCV axes of each camera that is truly up.
        vertical: unit direction of the world that is up; by default its z axis.
    """
    rotations, claimed = cameras.c2w[:, :3, :3], up_of(cameras, vertical)
    # R Q with Q^T (R^T v) = up: Q turns what is truly up into what the camera takes for it.
    turns = _least_rotation(up.to(rotations), claimed)
    is_small = (up.to(rotations) * claimed).sum(dim=-1) > _LEAST_COSINE
    c2w = cameras.c2w.clone()
    c2w[:, :3, :3] = (rotations @ turns).where(is_small[:, None, None], rotations)
    return replace(cameras, c2w=c2w)


def vertical_of(cameras: ViewCameras, up: Float[Tensor, "views 3"]) -> Float64[Tensor, "3"]:
    """Which direction of the world is up, by what the images of its cameras say: z unless they contradict it.

    The z axis of a scene may be off by what its data set, or the mean of its cameras, has for up. Where cameras are
    wrong to neither side more than to the other, the mean of what their images say is not. It counts if it is off z by
    more than twice its standard error, and by 3 degrees.

    Args:
        cameras: cameras of the scene.
        up: unit direction in the OpenCV axes of each camera that is up in its image.
    """
    z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64, device=up.device)
    found = (cameras.c2w[:, :3, :3] @ up.to(cameras.c2w)[..., None])[..., 0]
    mean = F.normalize(found.mean(dim=0), dim=0)
    off = torch.acos((mean * z).sum().clamp(-1, 1))
    # Of one camera nothing says how far it can be trusted.
    error = (found - mean).square().sum(dim=-1).mean().sqrt() / max(len(found) - 1, 1) ** 0.5
    return mean if len(found) > 1 and bool(off > torch.clamp(2 * error, min=_LEAST_DOUBT)) else z


def _least_rotation(start: Float64[Tensor, "views 3"], end: Float64[Tensor, "views 3"]) -> Float64[Tensor, "views 3 3"]:
    """Rotations by the least angle that take unit vectors to others (Rodrigues); those of opposite ones are none."""
    axis, cosine = torch.linalg.cross(start, end), (start * end).sum(dim=-1)
    x, y, z = axis.unbind(dim=-1)
    zero = torch.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    skew = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    share = 1 / (1 + cosine).clamp(min=1e-9)
    identity = torch.eye(3, dtype=start.dtype, device=start.device).expand_as(skew)
    turn = identity + skew + skew @ skew * share[:, None, None]
    return turn.where((cosine > -1 + 1e-6)[:, None, None], identity)


def up_loss(up: Float[Tensor, "views 3"], cameras: ViewCameras) -> Float[Tensor, ""]:
    """Mean squared chord between unit directions and the cameras' up: their squared angle in radians, if small."""
    return (up - up_of(cameras).to(up)).square().sum(dim=-1).mean()


class UpNetwork(nn.Module):
    """Which way is up in images, from features of each and from where its pixels look.

    Args:
        channels: channels of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, *others = _WIDTHS
        layers = [conv2d(channels + 2, first, 3, 2)]
        layers += [conv2d(before, after, 3, 2) for before, after in zip(_WIDTHS, others, strict=False)]
        self.layers, self.direction = nn.Sequential(*layers), nn.Linear(_WIDTHS[-1], 3)
        with torch.no_grad():
            self.direction.weight.zero_()
            # A camera that is held level has up at -y.
            self.direction.bias.copy_(torch.tensor([0.0, -1.0, 0.0]))

    def forward(
        self, features: Float[Tensor, "views channels height width"], cameras: ViewCameras
    ) -> Float[Tensor, "views 3"]:
        """Unit directions in the OpenCV axes of the cameras, of which only the intrinsics are looked at."""
        height, width = features.shape[-2:]
        xy = pixel_centres(height, width, features.device)
        fx, fy, cx, cy = cameras.intrinsics.to(features)[..., None, None].unbind(dim=1)
        looks = torch.stack([(xy[..., 0] - cx) / fx, (xy[..., 1] - cy) / fy], dim=1)
        found = self.layers(torch.cat([features, looks], dim=1)).mean(dim=(2, 3))
        return F.normalize(self.direction(found), dim=-1)
