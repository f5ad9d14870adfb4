"""Gaussians in space, a pinhole camera, and where the camera sees them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_ns.splatting import project_numba
from semantic_ns.splatting.fit_config import COMMON_BLUR
from semantic_ns.splatting.frame_memory import FrameMemory

NEAR = 0.01
"""Gaussians whose planar depth is below this are not visible (gsplat's default)."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """N Gaussians of the world.

    Attributes:
        means: their centres.
        quats: their axes, as quaternions w, x, y, z of any length above 0.
        scales: standard deviations along the axes.
        opacities: alpha at the centre, in 0..1.
        blur: variance that images add to their 2D covariances, pixels²; they look right with that which they were
            trained with.
    """

    means: Float[Tensor, "gaussians 3"]
    quats: Float[Tensor, "gaussians 4"]
    scales: Float[Tensor, "gaussians 3"]
    opacities: Float[Tensor, "gaussians"]
    blur: float = field(default=COMMON_BLUR, kw_only=True)

    def __len__(self) -> int:
        return len(self.means)

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All tensors, in the order of the attributes."""
        return self.means, self.quats, self.scales, self.opacities

    def each(self, change: Callable[[Tensor], Tensor]) -> "Gaussians":
        """Gaussians of the same blur whose tensors are changed alike, such as some of these."""
        return Gaussians(*map(change, self.parts), blur=self.blur)


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
        conics: a, b, c of the inverse [[a, b], [b, c]] of their 2D covariances, to which the blur is added.
        depths: planar depth.
        reach: half the width and height in pixels in which alpha can be 1/255 or more.
        opacities: alpha at the centre, as the image shows it.
        is_antialiased: whether these are fainter than those of the Gaussians, see :func:`project`.
    """

    at: Float[Tensor, "gaussians 2"]
    conics: Float[Tensor, "gaussians 3"]
    depths: Float[Tensor, "gaussians"]
    reach: Float[Tensor, "gaussians 2"]
    opacities: Float[Tensor, "gaussians"]
    is_antialiased: bool = False


def every_nth(camera: PinholeCamera, stride: int) -> PinholeCamera:
    """The camera whose pixels look where every n-th one along rows and columns of another does."""
    fx, fy, cx, cy = camera.lens
    lens = torch.stack([fx / stride, fy / stride, (cx - 0.5) / stride + 0.5, (cy - 0.5) / stride + 0.5])
    return replace(camera, lens=lens, height=-(-camera.height // stride), width=-(-camera.width // stride))


def project(
    gaussians: Gaussians,
    camera: PinholeCamera,
    near: float = NEAR,
    is_antialiased: bool = False,
    memory: FrameMemory | None = None,
) -> Projected:
    """Project Gaussians by the local affine map of Zwicker et al. (2001, equations (26) to (31)).

    Gaussians are visible if they lie ahead of `near`, if their alpha reaches 1/255 somewhere in the image, and if their
    covariance is a number. gsplat cuts them off at three standard deviations; here they end where alpha is 1/255.

    In gsplat's antialiased mode, where the 2D covariance S of a Gaussian grows by the blur b to S + b I, its opacity
    is multiplied by the root of det S / det (S + b I), so that a small one stops no more light than before (Yu et al.
    2024).

    Args:
        gaussians: the Gaussians.
        camera: the camera.
        near: planar depth below which nothing is visible.
        is_antialiased: whether it is this mode.
        memory: where the result lies; None for memory of its own.
    """
    count, memory = len(gaussians), memory or FrameMemory()
    opacities = gaussians.opacities.detach().contiguous()
    found = Projected(
        memory.take("at", count, 2),
        memory.take("conics", count, 3),
        memory.take("depths", count),
        memory.take("reach", count, 2),
        memory.take("shown", count) if is_antialiased else opacities,
        is_antialiased,
    )
    project_numba.project(
        as_array(gaussians.means), as_array(gaussians.quats), as_array(gaussians.scales), as_array(opacities),
        as_array(camera.w2c), as_array(camera.lens), camera.width, camera.height, near, np.float32(gaussians.blur),
        as_array(found.at), as_array(found.conics), as_array(found.depths), as_array(found.reach),
        as_array(found.opacities[: count if is_antialiased else 0]),
    )  # fmt: skip
    return found


def project_backward(
    gaussians: Gaussians,
    camera: PinholeCamera,
    projected: Projected,
    visible: Int[Tensor, "visible"],
    gradients: "ProjectedGradients",
) -> Gaussians:
    """Gradients in Gaussians from those in what :func:`project` gives."""
    found = Gaussians(
        torch.zeros_like(gaussians.means),
        torch.zeros_like(gaussians.quats),
        torch.zeros_like(gaussians.scales),
        torch.zeros_like(gaussians.opacities) if projected.is_antialiased else gradients.opacities,
    )
    count = len(gaussians) if projected.is_antialiased else 0
    project_numba.project_backward(
        as_array(gaussians.means), as_array(gaussians.quats), as_array(gaussians.scales),
        as_array(gaussians.opacities), as_array(camera.w2c), as_array(camera.lens), camera.width, camera.height,
        np.float32(gaussians.blur), as_array(visible), as_array(projected.conics), as_array(gradients.at),
        as_array(gradients.conics), as_array(gradients.depths), as_array(gradients.opacities[:count]),
        as_array(found.means), as_array(found.quats), as_array(found.scales), as_array(found.opacities[:count]),
    )  # fmt: skip
    return found


@dataclass(frozen=True, eq=False)
class ProjectedGradients:
    """Gradients in the parts of projected Gaussians."""

    at: Float[Tensor, "gaussians 2"]
    conics: Float[Tensor, "gaussians 3"]
    depths: Float[Tensor, "gaussians"]
    opacities: Float[Tensor, "gaussians"]


def axes_of(quats: Float[Tensor, "gaussians 4"]) -> Float[Tensor, "gaussians 3 3"]:
    """The axes of Gaussians in the world, [gaussians, axis, xyz]: the columns of their rotations."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    return torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], dim=-1),
            torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], dim=-1),
            torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=-1),
        ],
        dim=1,
    )


def as_array(tensor: Tensor) -> Any:
    """A tensor as the array that kernels take, contiguous and without gradients."""
    return tensor.detach().contiguous().numpy()
