"""What the network of `viewseg-small` computes, what it may see, and what it must not depend on."""

import math
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.geometry.views import ViewCameras, pixel_centres
from semantic_ns.many_scenes.samples import Frames, TargetSample
from semantic_ns.methods.viewseg_small.field import POINT_CODE, Field, PointsInViews, masked_moments
from semantic_ns.methods.viewseg_small.method import viewseg_small
from semantic_ns.methods.viewseg_small.network import TargetPlane, ViewsegSmallNetwork
from semantic_ns.methods.viewseg_small.rays import RaySamples, coarse_logs, further_logs, log_step
from semantic_ns.methods.viewseg_small.sizes import Sizes
from semantic_ns.methods.viewseg_small.step import SmallLossWeights, predict, prediction_losses
from support.fresh_process import ROOT
from support.ring_of_views import (
    WALL_M,
    cameras_before_a_wall,
    frames_of_the_wall,
    pixel_of,
    sample_of_the_wall,
    without_depth,
)

CLASSES = 5
SIZES = Sizes(
    encoder="unet", encoder_widths=(8, 16), geometry_widths=(8, 16), width=16, features=8, decoder_widths=(8, 16),
    num_coarse=8, num_fine=4,
)  # fmt: skip
SIZE = (32, 48)


def begun(module: Any) -> Any:
    """A network whose last layers are no longer 0, as after some training."""
    for parameter in module.parameters():
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.05)
    return module


def network_of(**sizes: Any) -> ViewsegSmallNetwork:
    torch.manual_seed(0)
    return begun(ViewsegSmallNetwork(CLASSES, replace(SIZES, **sizes)))


@pytest.fixture(scope="module")
def network() -> ViewsegSmallNetwork:
    return network_of().eval()


@torch.no_grad()
def shown(
    network: ViewsegSmallNetwork, sources: Frames, camera: ViewCameras, size: tuple[int, int] = SIZE, chunk: int = 4096
) -> TargetPlane:
    return network.plane(network.sources(sources.images, sources.cameras), camera, size, chunk=chunk)


def assert_same(one: TargetPlane, other: TargetPlane) -> None:
    for name in ("rgb", "logits", "depth"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=2e-3, atol=2e-3)


def part(frames: Frames, numbers: list[int]) -> Frames:
    assert frames.depths_m is not None
    order = torch.tensor(numbers)
    return Frames(frames.images[order], frames.labels[order], frames.depths_m[order], frames.cameras[order])


def test_the_order_of_the_sources_does_not_matter(network: ViewsegSmallNetwork) -> None:
    sample = sample_of_the_wall(3, SIZE)
    sources, camera = sample.sources, sample.targets.cameras
    assert_same(shown(network, sources, camera), shown(network, part(sources, [2, 0, 1]), camera))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_one_network_takes_any_number_of_sources(network: ViewsegSmallNetwork, count: int) -> None:
    sample = sample_of_the_wall(count, SIZE)
    found = shown(network, sample.sources, sample.targets.cameras)
    assert found.logits.shape == (CLASSES, SIZE[0] // 2, SIZE[1] // 2)
    assert all(bool(image.isfinite().all()) for image in (found.rgb, found.logits, found.depth))


def test_an_image_is_the_same_in_chunks_of_any_size(network: ViewsegSmallNetwork) -> None:
    sample = sample_of_the_wall(2, SIZE)
    sources, camera = sample.sources, sample.targets.cameras
    assert_same(shown(network, sources, camera), shown(network, sources, camera, chunk=20))


@pytest.mark.parametrize("size", [(33, 47), (20, 90)])
def test_images_of_odd_sizes_are_rendered(network: ViewsegSmallNetwork, size: tuple[int, int]) -> None:
    cameras = cameras_before_a_wall(3)
    found = shown(network, frames_of_the_wall(cameras[:2], (37, 51)), cameras[2:], size)
    assert found.rgb.shape == (3, -(-size[0] // 2), -(-size[1] // 2))


def test_a_view_where_no_source_looks_is_answered_in_every_pixel(network: ViewsegSmallNetwork) -> None:
    cameras = cameras_before_a_wall(3)
    away = cameras.c2w[2:].clone()
    away[0, :3, :3] = away[0, :3, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64))
    found = shown(network, frames_of_the_wall(cameras[:2], SIZE), replace(cameras[2:], c2w=away))
    assert not bool(found.is_seen.any())
    assert all(bool(image.isfinite().all()) for image in (found.rgb, found.logits, found.depth))
    # What is carried says nothing there, and the answer is not the same everywhere.
    assert float(found.carried.std()) < 1e-6
    assert float(found.logits.std(dim=(1, 2)).max()) > 1e-4


def losses_of(network: ViewsegSmallNetwork, sample: TargetSample) -> Mapping[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    predicted = predict(network, sample.sources, sample.targets.cameras, sample.targets.size, 16, generator)
    return prediction_losses(network, predicted, sample, SmallLossWeights())


@torch.no_grad()
def test_image_labels_and_depth_of_the_target_do_not_reach_the_prediction(network: ViewsegSmallNetwork) -> None:
    sample = sample_of_the_wall(2, SIZE)
    truth = sample.targets
    assert truth.depths_m is not None
    poisoned = replace(
        truth, images=1 - truth.images, labels=torch.zeros_like(truth.labels), depths_m=5 * truth.depths_m + 1
    )
    planes, losses = [], []
    for targets in (truth, poisoned):
        generator = torch.Generator().manual_seed(0)
        predicted = predict(network, sample.sources, targets.cameras, targets.size, 16, generator)
        planes.append(predicted.planes[0])
        given = TargetSample(sample.sources, targets)
        losses.append(prediction_losses(network, predicted, given, SmallLossWeights()))
    for name in ("rgb", "logits", "depth"):
        assert torch.equal(getattr(planes[0], name), getattr(planes[1], name))
    for name in ("color_loss", "semantic_loss", "depth_loss"):
        assert float(losses[0][name]) != float(losses[1][name])
    changed = replace(sample.sources, images=1 - sample.sources.images)
    assert not torch.equal(
        shown(network, changed, truth.cameras).rgb, shown(network, sample.sources, truth.cameras).rgb
    )


def test_every_trained_parameter_gets_a_gradient_and_the_trunk_none() -> None:
    made = network_of(encoder="lite0").train()
    torch.stack(list(losses_of(made, sample_of_the_wall(2, SIZE, 2)).values())).sum().backward()
    trained = [(name, one) for name, one in made.named_parameters() if one.requires_grad]
    assert [name for name, one in trained if one.grad is None] == []
    frozen = [name for name, one in made.named_parameters() if not one.requires_grad]
    assert frozen
    assert all(".trunk." in name for name in frozen)


@torch.no_grad()
def test_losses_are_those_of_the_supervision(network: ViewsegSmallNetwork) -> None:
    sample = sample_of_the_wall(2, SIZE)
    free = {
        "source_semantic_loss", "semantic_loss", "color_loss", "field_color_loss", "field_semantic_loss",
        "source_view_loss",
    }  # fmt: skip
    of_depth = {"depth_loss", "guess_loss", "field_depth_loss", "field_samples_loss"}
    assert losses_of(network, sample).keys() == free | of_depth
    assert losses_of(network, without_depth(sample)).keys() == free
    void = TargetSample(
        replace(sample.sources, labels=torch.full_like(sample.sources.labels, -1)),
        replace(sample.targets, labels=torch.full_like(sample.targets.labels, -1)),
    )
    assert losses_of(network, void).keys() == {name for name in free | of_depth if "semantic" not in name}


def test_without_labels_colours_and_depth_train_as_they_do_beside_classes() -> None:
    sample = sample_of_the_wall(2, SIZE)
    void = TargetSample(
        replace(sample.sources, labels=torch.full_like(sample.sources.labels, -1)),
        replace(sample.targets, labels=torch.full_like(sample.targets.labels, -1)),
    )

    def gradients(of: TargetSample) -> dict[str, Tensor | None]:
        made = network_of().train()
        losses = losses_of(made, of)
        # The losses of source rays are one sum, in which classes are.
        names = [name for name in losses if "semantic" not in name and name != "source_view_loss"]
        torch.stack([losses[name] for name in names]).sum().backward()
        return {name: parameter.grad for name, parameter in made.named_parameters()}

    expected = gradients(sample)
    for name, gradient in gradients(void).items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=0)


def test_a_few_steps_learn_a_wall() -> None:
    torch.manual_seed(0)
    made = ViewsegSmallNetwork(CLASSES, SIZES)
    optimizer = torch.optim.AdamW(made.parameters(), lr=5e-3)
    sample = sample_of_the_wall(3, SIZE, 1)
    sources, camera = sample.sources, sample.targets.cameras
    before = shown(made.eval(), sources, camera)
    for _ in range(40):
        optimizer.zero_grad()
        torch.stack(list(losses_of(made.train(), sample).values())).sum().backward()
        optimizer.step()
    after = shown(made.eval(), sources, camera)
    assert sample.targets.depths_m is not None
    depth, labels = sample.targets.depths_m[0, ::2, ::2], sample.targets.labels[0, ::2, ::2]

    def accuracy(found: TargetPlane) -> float:
        return float((found.logits.argmax(dim=0) == labels)[labels >= 0].float().mean())

    assert float(depth.mean()) == pytest.approx(WALL_M, rel=0.3)
    assert float((after.depth - depth).abs().mean()) < 0.5 * max(0.2, float((before.depth - depth).abs().mean()))
    assert accuracy(after) > max(0.45, accuracy(before))


def block(module: Any, x: Tensor) -> Tensor:
    hidden = module.first.weight @ x.clamp(min=0) + module.first.bias
    return x + module.second.weight @ hidden.clamp(min=0) + module.second.bias


@torch.no_grad()
@pytest.mark.parametrize("uses_directions", [True, False])
def test_the_field_is_a_loop_over_points_and_the_views_that_see_them(uses_directions: bool) -> None:
    torch.manual_seed(0)
    field: Any = begun(Field(replace(SIZES, uses_directions=uses_directions)))
    is_seen = torch.tensor([[1, 0, 0, 1], [1, 1, 0, 0], [1, 0, 0, 1]]).bool()
    points = PointsInViews(
        torch.rand(3, 4, 2), torch.rand(3, 4) * 3 - 0.5, is_seen, torch.randn(3, 4, 16), torch.randn(3, 4),
        torch.randn(3, 4) - 1, torch.randn(3, 4, 4),
    )  # fmt: skip
    log_depth = torch.randn(4)
    found = field(points, log_depth)
    for point in range(4):
        views = []
        for view in range(3):
            log_z = math.log(max(0.05, float(points.depth[view, point])))
            off = max(-1.5, min(1.5, log_z - float(points.log_depth[view, point])))
            std = float(points.log_std[view, point])
            doubt = max(-4.0, min(4.0, off * math.exp(-std)))
            x, y = (2 * points.xy[view, point] - 1).tolist()
            code = [
                log_z, x, y, off, math.tanh(4 * off), math.tanh(16 * off), doubt, math.exp(-doubt * doubt), std,
                float(points.log_depth[view, point]), float(is_seen[view, point]),
            ]  # fmt: skip
            assert len(code) == POINT_CODE
            code += points.directions[view, point].tolist() if uses_directions else []
            state = field.enter.weight @ torch.tensor(code) + field.enter.bias + points.features[view, point]
            for module in field.of_view:
                state = block(module, state)
            views.append(state)
        counted = [one for one, sees in zip(views, is_seen[:, point].tolist(), strict=True) if sees] or views
        stacked = torch.stack(counted)
        deviation = (stacked.var(dim=0, unbiased=False) + 1e-4).sqrt()
        seen = int(is_seen[:, point].sum())
        known = torch.tensor([seen / 4, float(seen > 0), float(log_depth[point])])
        state = field.fuse.weight @ torch.cat([stacked.mean(dim=0), deviation, known]) + field.fuse.bias
        for module in field.fused:
            state = block(module, state)
        raw = field.leave.weight @ state.clamp(min=0) + field.leave.bias
        torch.testing.assert_close(found.density[point], F.softplus(raw[0] - 1), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.features[point], raw[1:], rtol=1e-3, atol=1e-4)


def test_gradients_of_the_mean_over_views_are_slopes() -> None:
    torch.manual_seed(0)
    values = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    is_seen = torch.tensor([[1, 0], [1, 0], [0, 0]]).bool()
    assert torch.autograd.gradcheck(lambda values: torch.cat(masked_moments(values, is_seen)), values)


@torch.no_grad()
def test_points_behind_a_source_are_not_seen_by_it(network: ViewsegSmallNetwork) -> None:
    cameras = cameras_before_a_wall(2)
    moved = cameras.c2w.clone()
    moved[1, 2, 3] = 9.0  # the second source stands behind all samples and looks away from them
    sources = network.sources(torch.rand(2, 3, *SIZE), ViewCameras(moved, cameras.intrinsics))
    alone = network.sources(sources.encoded.images[:1], cameras[:1])
    xy = pixel_centres(2, 3).reshape(-1, 2)
    both, one = (network.render_rays(given, cameras[:1], xy) for given in (sources, alone))
    torch.testing.assert_close(both.log_depth, one.log_depth)
    torch.testing.assert_close(both.logits, one.logits)


def test_rays_end_on_their_last_sample_and_weights_are_what_is_left_times_what_is_stopped() -> None:
    torch.manual_seed(0)
    logs, density = torch.rand(3, 6).sort(dim=1).values, torch.rand(3, 6)
    samples = RaySamples.of(logs, density, 0.2)
    values = torch.randn(3, 6, 2)
    mean, deviation = samples.log_depth()
    rendered = samples.render(values)
    for ray in range(3):
        left, weights = 1.0, []
        for k in range(6):
            interval = float(logs[ray, k + 1] - logs[ray, k]) / 0.2 if k < 5 else 1e10
            stopped = 1 - math.exp(-float(density[ray, k]) * interval)
            weights.append(left * stopped)
            left *= 1 - stopped
        torch.testing.assert_close(samples.weights[ray], torch.tensor(weights), rtol=1e-4, atol=1e-6)
        expected = sum(w * float(log) for w, log in zip(weights, logs[ray], strict=True))
        spread = sum(w * (float(log) - expected) ** 2 for w, log in zip(weights, logs[ray], strict=True))
        assert float(mean[ray]) == pytest.approx(expected, abs=1e-4)
        assert float(deviation[ray]) == pytest.approx(math.sqrt(spread + 1e-6), abs=1e-3)
        summed = torch.stack([w * v for w, v in zip(weights, values[ray], strict=True)]).sum(dim=0)
        torch.testing.assert_close(rendered[ray], summed, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(samples.weights.sum(dim=1), torch.ones(3))


def test_the_loss_of_weights_counts_samples_the_less_the_farther_they_are_from_the_true_depth() -> None:
    logs = torch.tensor([[0.0, 0.1, 0.3], [0.0, 0.1, 0.3], [0.0, 0.1, 0.3]])
    weights = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [1.0, 0.0, 0.0]])
    depth = torch.tensor([math.exp(0.05), 0.0, math.exp(9.0)])  # between two, unknown, beyond the last sample
    found = RaySamples(logs, weights).depth_loss(depth, 0.2)
    first = 0.2 * (1 - 0.05 / 0.2) + 0.5 * (1 - 0.05 / 0.2)
    assert float(found) == pytest.approx((-math.log(first + 1e-3) - math.log(1e-3)) / 2, rel=1e-4)


def test_coarse_samples_are_equally_spaced_in_log_depth_and_further_ones_stand_where_the_weights_are() -> None:
    like, generator = torch.zeros(1), torch.Generator().manual_seed(0)
    logs = coarse_logs(0.5, 8.0, 2, 4, None, like)
    torch.testing.assert_close(logs[0].exp(), torch.tensor([2**-0.5, 2**0.5, 2**1.5, 2**2.5]))
    assert log_step(0.5, 8.0, 4) == pytest.approx(math.log(2))
    drawn = coarse_logs(0.5, 8.0, 500, 4, generator, like)
    assert bool(((drawn - logs[0]).abs() <= math.log(2) / 2 + 1e-6).all())
    assert float((drawn - logs[0]).mean()) == pytest.approx(0, abs=0.03)
    weights = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    for draws in (None, generator):
        more = further_logs(RaySamples(logs, weights), 3, draws)
        assert bool(((more - logs[0, [1, 2]][:, None]).abs() <= math.log(2) / 2 + 1e-4).all())
        assert bool((more.diff(dim=1) >= 0).all())


@torch.no_grad()
def test_carried_classes_are_a_mean_soft_max_of_the_sources_that_see_a_point_by_the_angle_of_their_views(
    network: ViewsegSmallNetwork,
) -> None:
    sample = sample_of_the_wall(2, SIZE)
    camera = sample.targets.cameras
    sources = network.sources(sample.sources.images, sample.sources.cameras)
    plane = network.plane(sources, camera, SIZE)
    rows, columns = plane.depth.shape
    rays = plane.rays.log_depth.view(1, 1, *network.ray_grid(SIZE))
    depth = F.interpolate(rays, (rows, columns), mode="bilinear")[0, 0].exp()
    directions = camera.ray_directions(pixel_centres(rows, columns)[None].double())[0]
    soft = sources.encoded.probabilities
    num_seen = 0
    for row, column in ((3, 4), (8, 11), (12, 20)):
        point = camera.centres[0] + directions[row, column] * float(depth[row, column])
        found, weights = [], []
        for view in range(2):
            x, y, z = pixel_of(sample.sources.cameras[view : view + 1], point, (1, 1))
            ahead, aside = point - camera.centres[0], point - sample.sources.cameras.centres[view]
            cosine = float(ahead @ aside / (ahead.norm() * aside.norm()))
            is_seen = bool(plane.is_seen[view, row, column])
            grid = torch.tensor([2 * (x + 0.5) - 1, 2 * (y + 0.5) - 1]).view(1, 1, 1, 2)
            guessed = F.grid_sample(
                sources.encoded.log_depth[view, None, None], grid, padding_mode="border", align_corners=False
            ).exp()
            is_inside = z > 1e-3 and -0.5 <= x <= 0.5 and -0.5 <= y <= 0.5
            assert is_seen == (is_inside and z < 1.15 * float(guessed))
            if is_seen:
                found.append(
                    F.grid_sample(soft[view, None], grid, padding_mode="border", align_corners=False).flatten()
                )
                weights.append(1 / (math.acos(min(cosine, 1.0)) + 0.05))
        num_seen += len(found)
        weighted = sum((w * value for w, value in zip(weights, found, strict=True)), torch.zeros(CLASSES))
        expected = weighted / sum(weights) if found else torch.full((CLASSES,), 1 / CLASSES)
        torch.testing.assert_close(plane.carried[:, row, column].exp(), expected + 1e-3, rtol=1e-3, atol=1e-3)
    assert num_seen > 0


def test_viewseg_small_is_registered_for_one_to_four_sources() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("viewseg-small = ")]
    module, _, name = line.partition(" = ")[2].strip('"').partition(":")
    assert getattr(import_module(module), name) is viewseg_small
    manager: Any = viewseg_small.config.pipeline.datamanager
    assert manager.train_sources == (1, 4)
