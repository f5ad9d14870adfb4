"""Gaussians that are trained on images, and take classes from labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.export.splat import (
    Splat,
    in_world,
    make_splat,
    score_splat,
    used_labels,
)
from semantic_ns.geometry.views import ViewCameras
from semantic_ns.splatting import fit_numba
from semantic_ns.splatting.class_updates import ClassUpdates
from semantic_ns.splatting.classes import are_dense_and_clean, without_traces
from semantic_ns.splatting.first_gaussians import first_gaussians
from semantic_ns.splatting.fit import View, fit
from semantic_ns.splatting.fit_config import FitConfig
from semantic_ns.splatting.likelihood import most_likely_classes
from semantic_ns.splatting.outlined_labels import are_outlined
from semantic_ns.splatting.project import Gaussians, PinholeCamera
from semantic_ns.splatting.rasterize import fill_light, rasterize
from semantic_ns.splatting.votes import gaussian_votes
from support.ring_of_views import cameras_before_a_wall, frames_of_the_wall

SIZE = (36, 48)


def pinhole(cameras: ViewCameras, index: int, size: tuple[int, int] = SIZE) -> PinholeCamera:
    w2c = torch.linalg.inv(cameras.c2w[index])[:3].float()
    lens = (cameras.intrinsics[index] * torch.tensor([size[1], size[0], size[1], size[0]])).float()
    return PinholeCamera(w2c, lens, *size)


def wall(count: int, size: tuple[int, int] = SIZE) -> tuple[list[View], list[Tensor]]:
    """Views of a wall, and their labels."""
    cameras = cameras_before_a_wall(count)
    frames = frames_of_the_wall(cameras, size)
    assert frames.depths_m is not None
    views = [
        View(pinhole(cameras, n, size), frames.images[n].permute(1, 2, 0).contiguous(), frames.depths_m[n])
        for n in range(count)
    ]
    return views, [label.int() for label in frames.labels]


def psnr(gaussians: Gaussians, colors: Tensor, view: View, where: Tensor) -> float:
    image, _, _ = rasterize(gaussians, colors, view.camera)
    return float(-10 * (image - view.color)[where].square().mean().log10())


def with_alpha(color: Tensor, alpha: Tensor) -> Tensor:
    return torch.cat([color, alpha[..., None]], dim=-1)


def test_training_makes_an_image_that_was_not_trained_on_better_where_others_see_it() -> None:
    views, _ = wall(7)
    begin = first_gaussians(views[:6])
    where = rasterize(*begin, views[6].camera)[2] > 0.9
    assert float(where.float().mean()) > 0.3
    after = fit(*begin, views[:6], FitConfig(steps=60))
    assert psnr(*after, views[6], where) > psnr(*begin, views[6], where) + 3


def test_leaves_are_twice_as_large_again_and_again_until_there_are_no_more_gaussians_than_asked_for() -> None:
    views, _ = wall(3)
    fine, _ = first_gaussians(views)
    same, _ = first_gaussians(views, most=len(fine))
    assert torch.equal(same.means, fine.means)
    some, _ = first_gaussians(views, most=len(fine) - 1)
    few, _ = first_gaussians(views, most=len(fine) // 20)
    assert len(few) <= len(fine) // 20 < len(some) < len(fine)
    assert len(first_gaussians(views, most=1)[0]) == 1


def test_the_same_seed_gives_the_same_gaussians_and_another_one_others() -> None:
    views, _ = wall(3)
    begin = first_gaussians(views)
    one, again, other = (fit(*begin, views, FitConfig(steps=5, seed=seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one.means, again.means)
    assert not torch.equal(one.means, other.means)


def test_what_a_mask_leaves_out_trains_nothing() -> None:
    views, _ = wall(2)
    mask = torch.ones(SIZE, dtype=torch.bool)
    mask[:, 20:] = False
    begin = first_gaussians(views)
    results = []
    for value in (0.0, 1.0):
        color = views[0].color.clone()
        color[:, 20:] = value
        results.append(fit(*begin, [View(views[0].camera, color, views[0].depth, mask)], FitConfig(steps=3))[1])
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_what_is_transparent_stays_empty_whatever_its_color() -> None:
    views, labels = wall(1)
    alpha = torch.ones(SIZE)
    alpha[:, 24:] = 0.0
    found = []
    for value in (0.0, 1.0):
        seen = [
            replace(v, pixels=with_alpha(v.color.where(alpha[..., None] > 0, value), alpha), depth=v.depth * alpha)
            for v in views[:1]  # others see there what is transparent here
            if v.depth is not None
        ]
        found.append(fit(*first_gaussians(seen), seen, FitConfig(steps=8)))
    torch.testing.assert_close(found[0][1], found[1][1], rtol=0, atol=0)
    background = torch.tensor([0.2, 0.4, 0.6])
    shown = seen[0].before(background)
    torch.testing.assert_close(shown[:, :24], views[0].color[:, :24])
    torch.testing.assert_close(shown[:, 24:], background.expand(36, 24, 3))
    assert set(used_labels(seen, labels)[0][:, 24:].unique().tolist()) == {-1}
    gaussians, colors = found[0]
    splat = Splat(gaussians, colors, torch.full((len(gaussians), 5), 0.2))
    assert score_splat(splat, seen, labels, 1.0).psnr > 20


@pytest.mark.parametrize("has_alpha", [False, True])
def test_bytes_train_to_the_bit_as_the_floats_that_they_stand_for(has_alpha: bool) -> None:
    given, _ = wall(3)
    generator = torch.Generator().manual_seed(0)
    stored = [(view.color * 255).round().to(torch.uint8) for view in given]
    if has_alpha:
        alpha = torch.randint(0, 256, SIZE, generator=generator).to(torch.uint8)
        stored = [with_alpha(image, alpha) for image in stored]
    in_bytes = [replace(view, pixels=image) for view, image in zip(given, stored, strict=True)]
    in_floats = [replace(view, pixels=image.float() / 255) for view, image in zip(given, stored, strict=True)]
    results = []
    for views in (in_bytes, in_floats):
        gaussians, colors = fit(*first_gaussians(views), views, FitConfig(steps=7))
        results.append((gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, colors))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(in_bytes[0].in_floats().pixels, in_floats[0].pixels)


def test_no_image_to_train_on_is_an_error() -> None:
    views, _ = wall(2)
    with pytest.raises(SceneError, match="Expected images"):
        fit(*first_gaussians(views), [])


def test_steps_of_sparse_adam_are_those_of_torch_where_a_row_is_visible() -> None:
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn((6, 3), generator=generator), torch.randn((4, 6, 3), generator=generator)
    ours, mean, square = start.clone(), torch.zeros(6, 3), torch.zeros(6, 3)
    turns = np.zeros(6, np.float32)
    for gradient, visible in zip(gradients, ([0, 2, 5], [0, 5], [2], [0, 2, 5]), strict=True):
        turns[visible] += 1
        fit_numba.sparse_adam(
            np.array(visible, np.int32), turns, ours.numpy(), gradient.numpy(), mean.numpy(), square.numpy(),
            np.float32(0.1), np.float32(0.9), np.float32(0.99), np.float32(1e-15),
        )  # fmt: skip
    for row, steps in {0: (0, 1, 3), 1: (), 2: (0, 2, 3), 5: (0, 1, 3)}.items():
        twin = start[row].clone().requires_grad_()
        optimizer = torch.optim.Adam([twin], lr=0.1, betas=(0.9, 0.99), eps=1e-15)
        for step in steps:
            twin.grad = gradients[step, row]
            optimizer.step()
        torch.testing.assert_close(ours[row], twin.detach(), rtol=1e-5, atol=1e-5)


def test_holes_show_what_lies_around_and_opaque_pixels_stay() -> None:
    image, opacity = torch.zeros(8, 12, 2), torch.zeros(8, 12)
    image[2:6, 3:5], opacity[2:6, 3:5] = torch.tensor([0.25, 0.75]), 1.0
    filled = fill_light(image, opacity)
    torch.testing.assert_close(filled, torch.tensor([0.25, 0.75]).expand(8, 12, 2))
    image[0, 11], opacity[0, 11] = torch.tensor([1.0, 0.0]), 1.0
    filled = fill_light(image, opacity)
    torch.testing.assert_close(filled[opacity == 1], image[opacity == 1])
    assert float(filled[1, 11, 0]) > float(filled[5, 0, 0])
    assert not bool(fill_light(torch.zeros(3, 5, 1), torch.zeros(3, 5)).any())


def test_classes_of_complete_labels_are_those_of_the_wall() -> None:
    views, labels = wall(7, (72, 96))
    splat = make_splat(views[:6], labels[:6], 5, FitConfig(steps=20))
    where = rasterize(splat.gaussians, splat.colors, views[6].camera)[2] > 0.9
    scores = score_splat(splat, [replace(views[6], mask=where)], labels[6:], metres_per_unit=2.0)
    assert scores.classes is not None
    assert scores.classes.pixel_accuracy > 0.85
    assert scores.depth_l1_m is not None
    assert scores.depth_l1_m < 0.1
    assert scores.num_images == 1


def test_traces_of_classes_are_left_out_and_the_rest_adds_up_to_the_same() -> None:
    given = torch.tensor([[0.5, 0.4995, 0.0005], [0.2, 0.3, 0.5], [0.0, 0.0, 0.0], [0.9, 0.0002, 0.0]])
    found = without_traces(given)
    expected = torch.tensor([[0.5 / 0.9995, 0.4995 / 0.9995, 0.0], [0.2, 0.3, 0.5], [0, 0, 0], [0.9002, 0, 0]])
    torch.testing.assert_close(found, expected)


def test_masked_labels_give_no_votes() -> None:
    views, labels = wall(3)
    mask = torch.ones(SIZE, dtype=torch.bool)
    mask[:, :24] = False
    masked = [replace(view, mask=mask) for view in views]
    wrong = [torch.where(mask, label, 4) for label in labels]
    right = [torch.where(mask, label, -1) for label in labels]
    found, expected = (make_splat(masked, used, 5, FitConfig(steps=2)).probabilities for used in (wrong, right))
    assert torch.equal(found, expected)


def test_dense_clean_labels_stand_and_noisy_ones_do_not() -> None:
    views, labels = wall(5, (72, 96))
    gaussians, _ = first_gaussians(views, labels)
    cameras = [view.camera for view in views]
    complete = [label.clamp(min=0) for label in labels]
    votes = gaussian_votes(gaussians, cameras, complete, 5)
    own = votes.counts / votes.counts.sum(dim=1, keepdim=True).clamp(min=1e-6)
    found = ClassUpdates().update(gaussians, views, complete, 5)
    assert torch.equal(found, most_likely_classes(gaussians, cameras, complete, own))
    generator = torch.Generator().manual_seed(0)
    noisy = []
    for label in complete:
        other = torch.randint(0, 5, label.shape, generator=generator)
        noisy.append(torch.where(torch.rand(label.shape, generator=generator) < 0.8, other, label).int())
    of_noise = gaussian_votes(gaussians, cameras, noisy, 5)
    assert not are_dense_and_clean(of_noise)
    found = ClassUpdates().update(gaussians, views, noisy, 5)
    by_own, by_spread = ((some.argmax(dim=1) == own.argmax(dim=1)).float().mean() for some in (of_noise.counts, found))
    assert float(by_spread) > float(by_own) + 0.05


def test_no_label_and_no_used_pixel_are_one_sentence() -> None:
    views, labels = wall(2)
    with pytest.raises(SceneError, match="Expected labels"):
        make_splat(views, [torch.full_like(label, -1) for label in labels], 5, FitConfig(steps=1))
    splat = make_splat(views, labels, 5, FitConfig(steps=1))
    nothing = [replace(view, mask=torch.zeros(SIZE, dtype=torch.bool)) for view in views]
    with pytest.raises(SceneError, match="Expected a used pixel"):
        score_splat(splat, nothing, labels, 1.0)
    one = score_splat(splat, [views[0], nothing[1]], labels, 1.0)
    assert one.num_images == 1
    assert np.isfinite(one.psnr)


@pytest.mark.parametrize("spoilt", [1, 2])
def test_the_worst_image_is_counted_among_all_views_also_those_without_a_used_pixel(spoilt: int) -> None:
    views, labels = wall(3)
    gaussians, colors = first_gaussians(views)
    splat = Splat(gaussians, colors, torch.full((len(gaussians), 5), 0.2))
    views[0] = replace(views[0], mask=torch.zeros(SIZE, dtype=torch.bool))
    views[spoilt] = replace(views[spoilt], pixels=1 - views[spoilt].color)
    scores = score_splat(splat, views, labels, 1.0)
    assert scores.worst_image == spoilt
    alone = [score_splat(splat, [views[number]], labels[:1], 1.0).psnr for number in (1, 2)]
    assert scores.worst_psnr == min(alone) == alone[spoilt - 1]


def test_labels_have_outlines_and_noise_has_none() -> None:
    _, labels = wall(2, (72, 96))
    assert are_outlined([label.clamp(min=0) for label in labels])
    noise = torch.randint(0, 5, SIZE, generator=torch.Generator().manual_seed(0))
    assert not are_outlined([noise])
    alone = torch.full(SIZE, -1)
    alone[::2, ::2] = 1
    assert not are_outlined([alone])


def test_a_similarity_moves_the_gaussians_and_not_their_images() -> None:
    views, _ = wall(1)
    gaussians, colors = first_gaussians(views)
    angle = torch.tensor(0.7, dtype=torch.float64)
    turn = torch.eye(3, dtype=torch.float64)
    turn[0, 0] = turn[1, 1] = angle.cos()
    turn[1, 0], turn[0, 1] = angle.sin(), -angle.sin()
    turn = turn @ torch.tensor([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]], dtype=torch.float64)
    similarity = torch.cat([2.5 * turn, torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)], dim=1).float()
    moved = in_world(gaussians, similarity)
    camera = views[0].camera
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3] = camera.w2c.double()
    whole = torch.eye(4, dtype=torch.float64)
    whole[:3] = similarity.double()
    back = (w2c @ torch.linalg.inv(whole))[:3] * 2.5  # of a camera that is scaled with the world
    image, depth, opacity = rasterize(gaussians, colors, camera)
    turned = PinholeCamera(back.float(), camera.lens, camera.height, camera.width)
    found = rasterize(moved, colors, turned)
    torch.testing.assert_close(found[0], image, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[1], 2.5 * depth, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(found[2], opacity, rtol=1e-3, atol=1e-3)
