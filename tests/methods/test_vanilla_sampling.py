"""Samples and weights of the paper's network against loops, and batches of one image."""

import math
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.model_components.ray_samplers import UniformSampler
from torch import Tensor

from semantic_ns.datamanagers.labelled_pixel_sampler import LabelledPixelSamplerConfig
from semantic_ns.geometry.world import poses_in_world, world_from_scene
from semantic_ns.methods.semantic_nerf_vanilla.datamanager import OneImagePixelSampler
from semantic_ns.methods.semantic_nerf_vanilla.sampling import PlanarDepthCollider
from semantic_ns.sampling.point_samples import (
    intervals_between,
    inverse_cdf,
    point_weights,
    refined_distances,
)
from semantic_ns.sampling.proposal import edges_of
from support.image_batches import images
from support.ray_batches import rays
from support.reference import slow_refined

RAYS = 50


def slow_weights(raw: list[float], intervals: list[float]) -> list[float]:
    light, found = 1.0, []
    for density, length in zip(raw, intervals, strict=True):
        alpha = 1 - math.exp(-max(0.0, density) * length)
        found.append(light * alpha)
        light *= 1 - alpha + 1e-10
    return found


def histogram(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Distances and weights [6, 9] of coarse samples; the weights of one ray are 0, those of another are in one bin."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(6, 9, generator=generator) ** 4
    weights[1], weights[2], weights[2, 4] = 0, 0, 0.9
    return torch.rand(6, 9, generator=generator).sort(dim=-1).values * 9 + 0.1, weights


# Coarse samples


def coarse(training: bool, num: int = 64) -> Tensor:
    bundle = PlanarDepthCollider(0.1, 10.0)(rays())
    sampler = UniformSampler(num_samples=num - 1).train(training)
    return edges_of(sampler(bundle)).distances / bundle.metadata["directions_norm"]


def test_coarse_samples_at_evaluation_are_linear_in_planar_depth_with_both_ends() -> None:
    expected = torch.tensor([0.1 + k * 9.9 / 63 for k in range(64)])
    torch.testing.assert_close(coarse(training=False), expected.expand(RAYS, 64))


def test_coarse_samples_in_training_are_drawn_between_the_mid_points_to_their_neighbours() -> None:
    torch.manual_seed(0)
    drawn = coarse(training=True)
    torch.manual_seed(0)
    uniform = torch.rand(RAYS, 64)
    even = [0.1 + k * 9.9 / 63 for k in range(64)]
    for ray in range(0, RAYS, 10):
        for k in range(64):
            low = (even[k - 1] + even[k]) / 2 if k > 0 else even[0]
            high = (even[k] + even[k + 1]) / 2 if k < 63 else even[-1]
            expected = low + (high - low) * uniform[ray, k].item()
            assert drawn[ray, k].item() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("training", [True, False])
def test_rays_start_at_the_near_plane_in_training_and_evaluation(training: bool) -> None:
    bundle = PlanarDepthCollider(0.1, 10.0).train(training)(rays())
    assert bundle.nears is not None
    assert bundle.fars is not None
    torch.testing.assert_close(bundle.nears, torch.full((RAYS, 1), 0.125))
    torch.testing.assert_close(bundle.fars, torch.full((RAYS, 1), 12.5))


def test_bounds_that_a_ray_has_are_kept() -> None:
    bundle = rays()
    bundle.nears, bundle.fars = torch.full((RAYS, 1), 2.0), torch.full((RAYS, 1), 3.0)
    kept = PlanarDepthCollider(0.1, 10.0)(bundle)
    assert kept.nears is not None
    assert kept.nears.unique().tolist() == [2.0]


# Fine samples


def test_fine_samples_equal_those_of_a_loop() -> None:
    distances, weights = histogram()
    u = torch.cat([torch.rand(6, 20, generator=torch.Generator().manual_seed(1)), torch.tensor([[0.0, 1]] * 6)], -1)
    found = refined_distances(distances, weights, u)
    for ray in range(6):
        expected = slow_refined(*(x[ray].double().tolist() for x in (distances, weights, u)))
        torch.testing.assert_close(found[ray], torch.tensor(expected), rtol=1e-4, atol=2e-4)


def test_draws_follow_the_inner_weights_and_lie_between_the_mid_points() -> None:
    distances, weights = histogram(2)
    u = torch.rand(6, 20_000, generator=torch.Generator().manual_seed(3))
    middles = (distances[:, 1:] + distances[:, :-1]) / 2
    inner = weights[:, 1:-1] + 1e-5
    drawn = inverse_cdf(middles, inner, u)
    for ray in range(6):
        counts = torch.histogram(drawn[ray].double(), middles[ray].double()).hist
        assert counts.sum() == 20_000
        torch.testing.assert_close(counts.float() / 20_000, inner[ray] / inner[ray].sum(), rtol=0, atol=0.02)


def test_fine_samples_hold_the_coarse_ones_ascend_and_have_no_gradient() -> None:
    distances, weights = histogram()
    weights.requires_grad_()
    found = refined_distances(distances, weights, torch.rand(6, 20))
    assert found.shape == (6, 29)
    assert (found.diff(dim=-1) >= 0).all()
    assert not found.requires_grad
    for ray in range(6):
        assert set(distances[ray].tolist()) <= set(found[ray].tolist())


# Weights


def test_weights_and_their_gradients_equal_those_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    raw = (3 * torch.randn(5, 7, generator=generator, dtype=torch.float64)).requires_grad_()
    intervals = intervals_between(torch.rand(5, 7, generator=generator).double().sort().values, torch.ones(5, 1) * 1e10)
    weights = point_weights(raw, intervals)
    factors = torch.rand(5, 7, 1, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * factors).sum(), raw)
    for ray in range(5):
        values, lengths = raw[ray].tolist(), intervals[ray].tolist()
        assert weights[ray, :, 0].tolist() == pytest.approx(slow_weights(values, lengths), abs=1e-12)
        for k in range(6):  # the last interval has no end: its weight is a step
            sides = []
            for step in (1e-6, -1e-6):
                moved = slow_weights([*values[:k], values[k] + step, *values[k + 1 :]], lengths)
                sides.append(sum(f * w for f, w in zip(factors[ray, :, 0].tolist(), moved, strict=True)))
            assert gradient[ray, k].item() == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-4, abs=1e-7)


def test_a_ray_with_density_at_its_last_sample_ends_there_and_one_without_any_has_no_weight() -> None:
    intervals = intervals_between(torch.tensor([[1.0, 2, 3], [1, 2, 3]]), torch.full((2, 1), 1e10))
    weights = point_weights(torch.tensor([[-1.0, 0.0, 0.5], [-1, -2, -3]]), intervals)
    torch.testing.assert_close(weights[..., 0], torch.tensor([[0.0, 0, 1], [0, 0, 0]]))


# The world


def test_scene_positions_become_metres_in_the_world_of_the_files() -> None:
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    transform, scale = torch.cat([turn, torch.tensor([[1.0], [-2.0], [3.0]])], dim=-1), 0.25
    cameras = Cameras(torch.eye(3, 4)[None], 1.0, 1.0, 0.5, 0.5)
    outputs = DataparserOutputs([], cameras, dataparser_transform=transform, dataparser_scale=scale)
    world = torch.randn(10, 3, generator=torch.Generator().manual_seed(1))
    scene = scale * (world @ transform[:, :3].T + transform[:, 3])
    matrix = world_from_scene(outputs)
    torch.testing.assert_close(scene @ matrix[:, :3].T + matrix[:, 3], world, rtol=1e-4, atol=1e-5)


def test_a_camera_pose_becomes_the_rigid_pose_whose_points_are_metres_in_the_world() -> None:
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    transform, scale = torch.cat([turn, torch.tensor([[1.0], [-2.0], [3.0]])], dim=-1), 0.25
    outputs = DataparserOutputs(
        [], Cameras(torch.eye(3, 4)[None], 1.0, 1.0, 0.5, 0.5), dataparser_transform=transform, dataparser_scale=scale
    )
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator).double())[0]
    c2w = torch.cat([rotation, torch.tensor([[0.5], [0.1], [-0.2]], dtype=torch.float64)], dim=-1)
    points_m = torch.randn(10, 3, generator=generator).double()  # in the camera's frame
    in_scene = scale * points_m @ rotation.T + c2w[:, 3]
    (pose,) = torch.from_numpy(poses_in_world(outputs, c2w[None].numpy()))
    in_world = points_m @ pose[:3, :3].T + pose[:3, 3]
    torch.testing.assert_close(
        scale * (in_world @ transform[:, :3].double().T + transform[:, 3].double()), in_scene, rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(pose[:3, :3].T @ pose[:3, :3], torch.eye(3).double(), rtol=1e-6, atol=1e-6)


# Batches


def sampler(**options: Any) -> OneImagePixelSampler:
    return OneImagePixelSampler(LabelledPixelSamplerConfig(**options), num_rays_per_batch=40)


def test_all_rays_of_a_batch_are_of_one_image_and_all_images_come() -> None:
    torch.manual_seed(0)
    seen = set()
    for _ in range(30):
        batch = sampler().sample(images())
        cameras = set(batch["indices"][:, 0].tolist())
        assert len(cameras) == 1
        seen |= cameras
    assert seen == {3, 5, 7}


def test_every_ray_has_the_colour_and_the_label_of_its_pixel() -> None:
    torch.manual_seed(1)
    given = images()
    batch = sampler().sample(given)
    place = {7: 0, 3: 1, 5: 2}
    for index, (camera, row, column) in enumerate(batch["indices"].tolist()):
        assert torch.equal(batch["image"][index], given["image"][place[camera], row, column])
        assert batch["semantics"][index] == given["semantics"][place[camera], row, column]


def test_pixels_are_uniform_over_the_image() -> None:
    torch.manual_seed(2)
    one = sampler()
    indices = torch.cat([one.sample_method(54, 1, 6, 9) for _ in range(400)])
    counts = torch.zeros(6, 9).index_put_((indices[:, 1], indices[:, 2]), torch.ones(len(indices)), accumulate=True)
    assert (counts - 400).abs().max() < 100  # five standard deviations


def test_masked_pixels_and_wholly_masked_images_are_never_drawn() -> None:
    torch.manual_seed(3)
    mask = torch.zeros(3, 6, 9, 1, dtype=torch.bool)
    mask[0, 1, 2], mask[2, 3:, 4] = True, True
    allowed = {(7, 1, 2), (5, 3, 4), (5, 4, 4), (5, 5, 4)}
    drawn = set()
    for _ in range(20):
        drawn |= {tuple(index) for index in sampler().sample(images(mask=mask))["indices"].tolist()}
    assert drawn == allowed


def test_an_ignored_mask_is_ignored() -> None:
    torch.manual_seed(4)
    mask = torch.zeros(3, 6, 9, 1, dtype=torch.bool)
    assert len(sampler(ignore_mask=True).sample(images(mask=mask))["indices"].unique(dim=0)) > 10
