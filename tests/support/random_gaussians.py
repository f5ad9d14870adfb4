"""Random Gaussians before a camera, and their image by one formula, with gsplat's own projection."""

import torch
from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci
from torch import Tensor

from semantic_ns.splatting.project import Gaussians, PinholeCamera

CAMERA = PinholeCamera(
    torch.tensor([[1.0, 0.0, 0.0, 0.1], [0.0, 0.8, -0.6, 0.2], [0.0, 0.6, 0.8, 0.5]]),
    torch.tensor([30.0, 34.0, 19.0, 13.0]),
    height=27,
    width=41,
)


def random_gaussians(count: int, seed: int = 0) -> tuple[Gaussians, Tensor]:
    """Gaussians and features, most of them before the camera, some behind, some beside it, some huge, some thin."""
    generator = torch.Generator().manual_seed(seed)
    means = 4 * torch.rand((count, 3), generator=generator) - torch.tensor([2.0, 2.0, 0.5])
    scales = torch.exp(2 * torch.rand((count, 3), generator=generator) - 3.5)
    quats = torch.randn((count, 4), generator=generator)
    opacities = 0.99 * torch.rand(count, generator=generator)
    opacities[:3] = torch.tensor([0.0, 0.003, 1.0])
    return Gaussians(means, quats, scales, opacities), torch.randn((count, 3), generator=generator)


def in_doubles(gaussians: Gaussians) -> Gaussians:
    return gaussians.each(lambda part: part.double())


def composited_pixel_by_pixel(
    gaussians: Gaussians, features: Tensor, camera: PinholeCamera, is_antialiased: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """The twin: each pixel looks at all Gaussians from near to far; autograd gives its gradients."""
    view = torch.eye(4, dtype=torch.float64)
    view[:3] = camera.w2c.double()
    fx, fy, cx, cy = (float(value) for value in camera.lens)
    lens = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    covariances, _ = _quat_scale_to_covar_preci(gaussians.quats, gaussians.scales, compute_preci=False)
    assert covariances is not None
    _, at, depths, conics, factors = _fully_fused_projection(
        gaussians.means,
        covariances,
        view[None],
        lens[None],
        camera.width,
        camera.height,
        eps2d=gaussians.blur,
        calc_compensations=is_antialiased,
    )
    opacities = gaussians.opacities if factors is None else gaussians.opacities * factors[0]
    order = [int(n) for n in depths[0].detach().argsort(stable=True) if float(depths[0, n].detach()) > 0.01]
    row, column = torch.meshgrid(
        torch.arange(camera.height, dtype=torch.float64) + 0.5,
        torch.arange(camera.width, dtype=torch.float64) + 0.5,
        indexing="ij",
    )
    light = torch.ones_like(row)
    is_live = torch.ones_like(row, dtype=torch.bool)
    image = torch.zeros(camera.height, camera.width, features.shape[1] + 1, dtype=torch.float64)
    for n in order:
        x, y = column - at[0, n, 0], row - at[0, n, 1]
        a, b, c = conics[0, n]
        alpha = (opacities[n] * torch.exp(-0.5 * (a * x * x + c * y * y) - b * x * y)).clamp(max=0.999)
        alpha = alpha.where(alpha >= 1 / 255, 0.0)
        is_live = is_live & ((light * (1 - alpha)).detach() > 1e-4)
        alpha = alpha.where(is_live, 0.0)
        value = torch.cat([features[n].double(), depths[0, n, None]])
        image = image + (alpha * light)[..., None] * value
        light = light * (1 - alpha)
    return image[..., :-1], image[..., -1], 1 - light
