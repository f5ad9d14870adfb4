"""Gaussians in space, a pinhole camera, and where the camera sees them."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_ns.splatting import project_numba

NEAR = 0.01
"""Gaussians whose planar depth is below this are not visible (gsplat's default)."""
_BLUR = 0.3
"""Pixels² that :func:`project` adds to 2D covariances."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """N Gaussians of the world.

    Attributes:
        means: their centres.
        quats: their axes, as quaternions w, x, y, z of any length above 0.
        scales: standard deviations along the axes.
        opacities: alpha at the centre, in 0..1.
    """

    means: Float[Tensor, "gaussians 3"]
    quats: Float[Tensor, "gaussians 4"]
    scales: Float[Tensor, "gaussians 3"]
    opacities: Float[Tensor, "gaussians"]

    def __len__(self) -> int:
        return len(self.means)


@dataclass(frozen=True, eq=False)
class PinholeCamera:
    """One camera, with the axes of OpenCV: x right, y down, z ahead.

    Attributes:
        w2c: world to camera.
        lens: fx, fy, cx, cy in pixels; the centre of the first pixel is at (0.5, 0.5).
        height: rows of the image.
        width: columns of the image.
    """

    w2c: Float[Tensor, "3 4"]
    lens: Float[Tensor, "4"]
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Projected:
    """Gaussians as one camera sees them; what is not visible has reach 0, and all else of it is undefined.

    Attributes:
        at: projected means in pixels.
        conics: a, b, c of the inverse [[a, b], [b, c]] of their 2D covariances, to which 0.3 pixels² are added.
        depths: planar depth.
        reach: half the width and height in pixels in which alpha can be 1/255 or more.
    """

    at: Float[Tensor, "gaussians 2"]
    conics: Float[Tensor, "gaussians 3"]
    depths: Float[Tensor, "gaussians"]
    reach: Float[Tensor, "gaussians 2"]


def every_nth(camera: PinholeCamera, stride: int) -> PinholeCamera:
    """The camera whose pixels look where every n-th one along rows and columns of another does."""
    fx, fy, cx, cy = camera.lens
    lens = torch.stack([fx / stride, fy / stride, (cx - 0.5) / stride + 0.5, (cy - 0.5) / stride + 0.5])
    return replace(camera, lens=lens, height=-(-camera.height // stride), width=-(-camera.width // stride))


def project(gaussians: Gaussians, camera: PinholeCamera, near: float = NEAR) -> Projected:
    """Project Gaussians by the local affine map of Zwicker et al. (2001, equations (26) to (31)).

    Gaussians are visible if they lie ahead of `near`, if their alpha reaches 1/255 somewhere in the image, and if their
    covariance is a number. gsplat cuts them off at three standard deviations; here they end where alpha is 1/255.
    """
    count, like = len(gaussians), gaussians.means
    found = Projected(
        like.new_empty(count, 2), like.new_empty(count, 3), like.new_empty(count), like.new_empty(count, 2)
    )
    project_numba.project(
        as_array(gaussians.means), as_array(gaussians.quats), as_array(gaussians.scales), as_array(gaussians.opacities),
        as_array(camera.w2c), as_array(camera.lens), camera.width, camera.height, near,
        as_array(found.at), as_array(found.conics), as_array(found.depths), as_array(found.reach),
    )  # fmt: skip
    return found


@torch.no_grad()
def antialiased(gaussians: Gaussians, camera: PinholeCamera) -> Gaussians:
    """The Gaussians that one camera sees with the opacities of gsplat's antialiased mode.

    Where the 2D covariance S of a Gaussian grows to S + 0.3 I its opacity is multiplied by the root of
    det S / det (S + 0.3 I), so that a small one stops no more light than before (Yu et al. 2024). No gradient passes.

    Args:
        gaussians: the Gaussians.
        camera: the camera.
    """
    projected = project(gaussians, camera)
    a, b, c = projected.conics.double().unbind(dim=1)
    det = 1 / (a * c - b * b)  # of the inverse of the conic, which is [[c, -b], [-b, a]] times it
    before = (c * det - _BLUR) * (a * det - _BLUR) - (b * det) ** 2
    factor = (before / det).clamp(0, 1).sqrt().float()
    opacities = gaussians.opacities * torch.where(projected.reach[:, 0] > 0, factor, 1.0)
    return replace(gaussians, opacities=opacities)


def project_backward(
    gaussians: Gaussians,
    camera: PinholeCamera,
    projected: Projected,
    visible: Int[Tensor, "visible"],
    g_at: Float[Tensor, "gaussians 2"],
    g_conics: Float[Tensor, "gaussians 3"],
    g_depths: Float[Tensor, "gaussians"],
) -> tuple[Float[Tensor, "gaussians 3"], Float[Tensor, "gaussians 4"], Float[Tensor, "gaussians 3"]]:
    """Gradients in means, quaternions and scales from those in what :func:`project` gives."""
    means, quats, scales = (torch.zeros_like(part) for part in (gaussians.means, gaussians.quats, gaussians.scales))
    project_numba.project_backward(
        as_array(gaussians.means), as_array(gaussians.quats), as_array(gaussians.scales),
        as_array(camera.w2c), as_array(camera.lens), camera.width, camera.height, as_array(visible),
        as_array(projected.conics), as_array(g_at), as_array(g_conics), as_array(g_depths),
        as_array(means), as_array(quats), as_array(scales),
    )  # fmt: skip
    return means, quats, scales


def as_array(tensor: Tensor) -> Any:
    """A tensor as the array that kernels take, contiguous and without gradients."""
    return tensor.detach().contiguous().numpy()
