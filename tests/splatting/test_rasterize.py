"""Images of Gaussians against a slow twin of one formula, in float64, and against gsplat's own projection."""

from dataclasses import replace

import pytest
import torch
from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci

from semantic_ns.splatting.composite import Tiles
from semantic_ns.splatting.project import Gaussians, project
from semantic_ns.splatting.rasterize import rasterize
from semantic_ns.splatting.tiles_numba import stride
from support.fresh_process import run_python
from support.random_gaussians import CAMERA, composited_pixel_by_pixel, in_doubles, random_gaussians


@pytest.mark.parametrize(
    ("count", "is_antialiased", "blur"),
    [(1, False, 0.3), (7, False, 0.3), (200, False, 0.3), (200, False, 0.1), (7, True, 0.3), (200, True, 0.1)],
)
def test_images_are_a_loop_over_pixels_and_gaussians(count: int, is_antialiased: bool, blur: float) -> None:
    gaussians, features = random_gaussians(max(count, 3))
    gaussians = replace(gaussians, blur=blur)
    features[::3, 1] = 0.0  # as most classes are
    found = rasterize(gaussians, features, CAMERA, is_antialiased=is_antialiased)
    expected = composited_pixel_by_pixel(in_doubles(gaussians), features, CAMERA, is_antialiased)
    for part, twin in zip(found, expected, strict=True):
        torch.testing.assert_close(part.double(), twin, rtol=1e-4, atol=1e-4)
    assert count < 200 or float(found[2].mean()) > 0.2


@pytest.mark.parametrize(
    ("seed", "is_antialiased", "blur"), [(0, False, 0.3), (1, False, 0.1), (0, True, 0.3), (1, True, 0.1)]
)
def test_gradients_are_those_of_the_loop(seed: int, is_antialiased: bool, blur: float) -> None:
    gaussians, features = random_gaussians(60, seed)
    names = ("means", "quats", "scales", "opacities")
    own = [getattr(gaussians, name).clone().requires_grad_() for name in names]
    twin = [getattr(gaussians, name).double().requires_grad_() for name in names]
    own_features, twin_features = features.clone().requires_grad_(), features.double().requires_grad_()
    generator = torch.Generator().manual_seed(seed + 10)
    losses = []
    found = rasterize(Gaussians(*own, blur=blur), own_features, CAMERA, is_antialiased=is_antialiased)
    expected = composited_pixel_by_pixel(Gaussians(*twin, blur=blur), twin_features, CAMERA, is_antialiased)
    for part, of_twin in zip(found, expected, strict=True):
        cotangent = torch.randn(part.shape, generator=generator)
        losses.append(((part * cotangent).sum(), (of_twin * cotangent.double()).sum()))
    sum(loss for loss, _ in losses).backward()  # pyright: ignore[reportAttributeAccessIssue]
    sum(loss for _, loss in losses).backward()  # pyright: ignore[reportAttributeAccessIssue]
    for name, a, b in zip((*names, "features"), [*own, own_features], [*twin, twin_features], strict=True):
        assert a.grad is not None
        assert b.grad is not None
        scale = float(b.grad.abs().max())
        torch.testing.assert_close(
            a.grad.double(), b.grad, rtol=2e-3, atol=2e-4 * scale, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_projection_is_that_of_gsplat() -> None:
    gaussians, _ = random_gaussians(500)
    found = project(gaussians, CAMERA)
    view = torch.eye(4)
    view[:3] = CAMERA.w2c
    fx, fy, cx, cy = (float(value) for value in CAMERA.lens)
    lens = torch.tensor([[[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]])
    covariances, _ = _quat_scale_to_covar_preci(gaussians.quats, gaussians.scales, compute_preci=False)
    assert covariances is not None
    radii, at, depths, conics, _ = _fully_fused_projection(
        gaussians.means, covariances, view[None], lens, CAMERA.width, CAMERA.height
    )
    # gsplat also keeps what is not opaque, and what comes close to the image without reaching it.
    inside = ((at[0] > 0) & (at[0] < torch.tensor([CAMERA.width, CAMERA.height]))).all(dim=1)
    assert bool((found.reach[:, 0] > 0)[(radii[0] > 0) & inside & (gaussians.opacities > 1.01 / 255)].all())
    visible = (found.reach[:, 0] > 0) & (radii[0] > 0)
    assert int(visible.sum()) > 100
    torch.testing.assert_close(found.at[visible], at[0, visible], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.conics[visible], conics[0, visible], rtol=2e-3, atol=1e-4)
    torch.testing.assert_close(found.depths[visible], depths[0, visible])


def test_votes_are_the_gradient_of_one_hot_images() -> None:
    gaussians, _ = random_gaussians(80)
    labels = torch.randint(-1, 4, (CAMERA.height, CAMERA.width), generator=torch.Generator().manual_seed(1))
    features = torch.zeros(80, 4, requires_grad=True)
    image, _, _ = rasterize(gaussians, features, CAMERA)
    one_hot = torch.nn.functional.one_hot(labels.clamp(min=0), 4) * (labels >= 0)[..., None]
    image.backward(one_hot.float())
    tiles = Tiles.of(project(gaussians, CAMERA), CAMERA.height, CAMERA.width)
    votes = torch.zeros(3, 80, 4)
    tiles.add_votes(labels.int(), votes)
    assert features.grad is not None
    torch.testing.assert_close(votes.sum(dim=0), features.grad, rtol=1e-4, atol=1e-4)
    assert float(votes.sum()) > 0


def test_no_visible_gaussian_leaves_an_empty_image_and_no_gradient() -> None:
    gaussians, features = random_gaussians(20)
    behind = replace(gaussians, means=(gaussians.means - torch.tensor([0.0, 0.0, 50.0])).requires_grad_())
    image, depth, opacity = rasterize(behind, features, CAMERA)
    (image.sum() + depth.sum() + opacity.sum()).backward()
    assert behind.means.grad is not None
    assert not bool(image.any() | depth.any() | opacity.any() | behind.means.grad.any())


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("means", torch.nan),
        ("scales", torch.inf),
        ("scales", torch.nan),
        ("quats", torch.nan),
        ("opacities", torch.nan),
    ],
)
def test_a_gaussian_that_is_no_number_is_not_drawn(part: str, value: float) -> None:
    gaussians, features = random_gaussians(50)
    broken = getattr(gaussians, part).clone()
    broken[20] = value
    left_out = torch.arange(50) != 20
    parts = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities)
    expected = rasterize(Gaussians(*(one[left_out] for one in parts)), features[left_out], CAMERA)
    found = rasterize(replace(gaussians, **{part: broken}), features, CAMERA)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_flat_gaussian_of_no_extent_is_drawn_as_its_blur() -> None:
    camera = replace(CAMERA, w2c=torch.eye(4)[:3], lens=torch.tensor([30.0, 30.0, 20.5, 13.5]))
    point = Gaussians(
        torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.zeros(1, 3), torch.tensor([0.9])
    )
    image, depth, opacity = rasterize(point, torch.ones(1, 1), camera)
    assert float(opacity[13, 20]) == pytest.approx(0.9, abs=1e-6)
    assert float(opacity[13, 21]) == pytest.approx(0.9 * torch.exp(torch.tensor(-0.5 / 0.3)).item(), abs=1e-5)
    torch.testing.assert_close(depth, 2 * opacity)
    torch.testing.assert_close(image[..., 0], opacity)


DRAWN_BY_THREADS = """
import sys
import torch
import numba
sys.path[:0] = ["tests"]
from semantic_ns.splatting.rasterize import rasterize
from support.random_gaussians import CAMERA, Gaussians, random_gaussians

gaussians, features = random_gaussians(300)
found = []
for threads in (1, 2):
    numba.set_num_threads(threads)
    means = gaussians.means.clone().requires_grad_()
    parts = Gaussians(means, gaussians.quats, gaussians.scales, gaussians.opacities)
    image, depth, opacity = rasterize(parts, features, CAMERA)
    (image.square().sum() + depth.sum() + opacity.sum()).backward()
    found.append((image.detach(), means.grad))
print(torch.equal(found[0][0], found[1][0]), torch.equal(found[0][1], found[1][1]))
"""


def test_neither_image_nor_gradients_depend_on_how_many_threads_draw() -> None:
    found = run_python(DRAWN_BY_THREADS, NUMBA_NUM_THREADS="2")
    assert found.stdout.split() == ["True", "True"], found.stderr


@pytest.mark.parametrize("count", [1, 2, 3, 12, 255, 300, 301, 1024])
def test_a_stride_meets_each_tile_once_and_no_half_of_the_way_keeps_to_a_part_of_the_image(count: int) -> None:
    way = [place * stride(count) % count for place in range(count)]
    assert sorted(way) == list(range(count))
    size = count // 10
    if size >= 10:
        for half in (way[: count // 2], way[count // 2 :]):
            for start in range(0, count - size + 1, size):
                assert 0.3 * size < sum(start <= tile < start + size for tile in half) < 0.7 * size
