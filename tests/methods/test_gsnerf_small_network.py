"""What the network of `gsnerf-small` may see, and what it must not depend on."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.views import ViewCameras, pixel_centres
from semantic_ns.many_scenes.samples import Frames, TargetSample
from semantic_ns.methods.gsnerf_small.network import GsnerfSmallNetwork
from semantic_ns.methods.gsnerf_small.ray_samples import RenderedRays
from semantic_ns.methods.gsnerf_small.sizes import Sizes
from semantic_ns.methods.gsnerf_small.step import LossWeights, RayPixels, step_losses
from support.ring_of_views import WALL_M, cameras_before_a_wall, frames_of_the_wall, sample_of_the_wall, without_depth

NUM_CLASSES = 5
SIZES = Sizes(encoder="unet", encoder_widths=(8, 16), num_planes=12, depth_widths=(8, 16), decoder_widths=(8, 16))
SIZE = (32, 48)


@pytest.fixture(scope="module", params=["unet", "lite0"])
def network(request: pytest.FixtureRequest) -> GsnerfSmallNetwork:
    """A network whose last layers are no longer 0, as after some training."""
    torch.manual_seed(0)
    made = GsnerfSmallNetwork(NUM_CLASSES, replace(SIZES, encoder=request.param)).eval()
    for parameter in made.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.05)
    return made


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def rendered(
    network: GsnerfSmallNetwork, sources: Frames, camera: ViewCameras, size: tuple[int, int] = SIZE, chunk: int = 4096
) -> RenderedRays:
    """A whole image."""
    found = network.sources(sources.images, sources.cameras)
    return network.render_image(found, camera, network.plane(found, camera, size), size, chunk)


def assert_same(one: RenderedRays, other: RenderedRays) -> None:
    for name in ("rgb", "logits", "z", "depth"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=2e-3, atol=2e-3)


def test_the_order_of_the_sources_does_not_matter(network: GsnerfSmallNetwork) -> None:
    sample, order = sample_of_the_wall(3, SIZE), torch.tensor([2, 0, 1])
    sources = sample.sources
    assert sources.depths_m is not None
    turned = Frames(sources.images[order], sources.labels[order], sources.depths_m[order], sources.cameras[order])
    assert_same(rendered(network, sources, sample.targets.cameras), rendered(network, turned, sample.targets.cameras))


@torch.no_grad()
def test_an_only_source_has_the_depth_that_it_has_beside_itself(network: GsnerfSmallNetwork) -> None:
    source = sample_of_the_wall(1, SIZE).sources
    alone = network.sources(source.images, source.cameras).depth
    both = torch.tensor([0, 0])
    beside = network.sources(source.images[both], source.cameras[both]).depth
    for name in ("scores", "coarse", "depth", "log_std"):
        torch.testing.assert_close(getattr(alone, name), getattr(beside, name)[:1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_one_network_takes_any_number_of_sources(network: GsnerfSmallNetwork, count: int) -> None:
    sample = sample_of_the_wall(count, SIZE)
    found = rendered(network, sample.sources, sample.targets.cameras)
    assert found.logits.shape == (SIZE[0] * SIZE[1], NUM_CLASSES)
    assert all(bool(part.isfinite().all()) for part in (found.rgb, found.logits, found.z, found.depth))


def test_an_image_is_the_same_in_chunks_of_any_size(network: GsnerfSmallNetwork) -> None:
    sample = sample_of_the_wall(3, SIZE)
    whole = rendered(network, sample.sources, sample.targets.cameras)
    assert_same(whole, rendered(network, sample.sources, sample.targets.cameras, chunk=100))


@pytest.mark.parametrize("size", [(33, 47), (20, 90)])
def test_images_of_odd_sizes_are_rendered(network: GsnerfSmallNetwork, size: tuple[int, int]) -> None:
    cameras = cameras_before_a_wall(4)
    sources = frames_of_the_wall(cameras[:3], (37, 51))
    found = rendered(network, sources, cameras[3:], size)
    assert found.rgb.shape == (size[0] * size[1], 3)


def test_a_target_that_no_source_sees_is_still_rendered(network: GsnerfSmallNetwork) -> None:
    cameras = cameras_before_a_wall(4)
    away = cameras.c2w[3:].clone()
    away[0, :3, :3] = away[0, :3, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64))
    found = rendered(network, frames_of_the_wall(cameras[:3], SIZE), replace(cameras[3:], c2w=away))
    assert not bool(found.is_seen.any())
    assert bool(found.rgb.isfinite().all())
    assert bool(found.logits.isfinite().all())


def losses_of(network: GsnerfSmallNetwork, sample: TargetSample) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixels = RayPixels.draw(sample.targets, 64, generator)
    return step_losses(network, sample, pixels, LossWeights())


def test_image_labels_and_depth_of_the_target_do_not_reach_the_prediction(
    network: GsnerfSmallNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = sample_of_the_wall(3, SIZE)
    truth = sample.targets
    assert truth.depths_m is not None
    poisoned = replace(
        truth, images=1 - truth.images, labels=torch.zeros_like(truth.labels), depths_m=5 * truth.depths_m + 1
    )
    found: list[RenderedRays] = []
    inner = GsnerfSmallNetwork.render

    def remember(self: GsnerfSmallNetwork, *arguments: object, **options: object) -> RenderedRays:
        found.append(inner(self, *arguments, **options))  # pyright: ignore[reportArgumentType]
        return found[-1]

    monkeypatch.setattr(GsnerfSmallNetwork, "render", remember)
    with torch.no_grad():
        clean = losses_of(network, sample)
        other = losses_of(network, TargetSample(sample.sources, poisoned))
    first, second = found
    for name in ("rgb", "logits", "z", "depth", "carried"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=0, atol=0)
    assert float(clean["color_loss"]) != float(other["color_loss"])


@pytest.mark.parametrize("has_depth", [True, False])
def test_every_trained_parameter_gets_a_gradient(has_depth: bool) -> None:
    torch.manual_seed(0)
    made = GsnerfSmallNetwork(NUM_CLASSES, replace(SIZES, encoder="lite0"))
    for parameter in made.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.05)
    sample = sample_of_the_wall(3, SIZE, 2)
    sum(losses_of(made, sample if has_depth else without_depth(sample)).values()).backward()  # pyright: ignore[reportAttributeAccessIssue]
    without = [
        name for name, parameter in made.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    # Without true depth nothing says how wrong a depth is.
    assert without == []
    frozen = {name for name, parameter in made.named_parameters() if not parameter.requires_grad}
    assert frozen
    assert all(".trunk." in name for name in frozen)


def test_losses_are_those_of_the_supervision(network: GsnerfSmallNetwork) -> None:
    sample = sample_of_the_wall(3, SIZE)
    with torch.no_grad():
        with_depth, without = losses_of(network, sample), losses_of(network, without_depth(sample))
    shared = {"color_loss", "fill_loss", "semantic_loss", "source_semantic_loss", "fill_semantic_loss"}
    assert with_depth.keys() - shared == {"plane_loss", "source_depth_loss", "depth_loss", "ray_depth_loss"}
    assert without.keys() - shared == {"reconstruction_loss", "structure_loss", "smoothness_loss"}


def test_without_labels_colours_and_depth_train_as_they_do_beside_classes_and_classes_do_not() -> None:
    sample = sample_of_the_wall(3, SIZE)
    void = TargetSample(
        replace(sample.sources, labels=torch.full_like(sample.sources.labels, -1)),
        replace(sample.targets, labels=torch.full_like(sample.targets.labels, -1)),
    )

    def gradients(of: TargetSample) -> tuple[set[str], dict[str, Tensor | None]]:
        torch.manual_seed(0)
        made = GsnerfSmallNetwork(NUM_CLASSES, SIZES)
        for parameter in made.parameters():
            if not bool(parameter.any()):
                torch.nn.init.normal_(parameter, std=0.05)
        losses = losses_of(made, of)
        sum(loss for name, loss in losses.items() if "semantic" not in name).backward()  # pyright: ignore[reportAttributeAccessIssue]
        return set(losses), {name: parameter.grad for name, parameter in made.named_parameters()}

    labelled_losses, expected = gradients(sample)
    losses, found = gradients(void)
    assert losses == {name for name in labelled_losses if "semantic" not in name}
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=0)
    untrained = {name.partition(".")[0] for name, gradient in found.items() if gradient is None}
    assert untrained == {"neighbourhood", "semantics", "head"}


def test_a_few_steps_learn_a_wall() -> None:
    torch.manual_seed(0)
    made = GsnerfSmallNetwork(NUM_CLASSES, SIZES)
    optimizer = torch.optim.AdamW(made.parameters(), lr=5e-3)
    sample = sample_of_the_wall(3, SIZE, 1)
    before = rendered(made, sample.sources, sample.targets.cameras)
    for _ in range(40):
        optimizer.zero_grad()
        sum(losses_of(made, sample).values()).backward()  # pyright: ignore[reportAttributeAccessIssue]
        optimizer.step()
    after = rendered(made.eval(), sample.sources, sample.targets.cameras)
    assert sample.targets.depths_m is not None
    depth, labels = sample.targets.depths_m[0].flatten(), sample.targets.labels[0].flatten()

    def error(found: RenderedRays) -> float:
        return float((found.z - depth).abs().mean())

    def accuracy(found: RenderedRays) -> float:
        return float((found.logits.argmax(dim=1) == labels)[labels >= 0].float().mean())

    assert float(depth.mean()) == pytest.approx(WALL_M, rel=0.3)
    assert error(after) < 0.5 * error(before)
    assert accuracy(after) > max(0.5, accuracy(before))


def test_decisions_at_the_resolution_of_the_plane_are_those_of_its_pixels(network: GsnerfSmallNetwork) -> None:
    sample = sample_of_the_wall(3, SIZE)
    camera = sample.targets.cameras
    with torch.no_grad():
        sources = network.sources(sample.sources.images, sample.sources.cameras)
        plane = network.plane(sources, camera, SIZE)
        height, width = plane.depth.shape
        xy = pixel_centres(height, width).reshape(-1, 2)
        decided = network.decide(sources, camera, plane, xy)
        again = decided.images(plane.depth.shape).at(xy)
    for name in ("logits", "weights", "scores"):
        torch.testing.assert_close(getattr(decided, name), getattr(again, name), rtol=1e-4, atol=1e-4)


def test_carried_classes_are_a_mean_soft_max_of_the_sources_by_the_angle_of_their_views(
    network: GsnerfSmallNetwork,
) -> None:
    sample = sample_of_the_wall(2, SIZE)
    camera = sample.targets.cameras
    with torch.no_grad():
        sources = network.sources(sample.sources.images, sample.sources.cameras)
        plane = network.plane(sources, camera, SIZE)
        xy = pixel_centres(*SIZE)[::7, ::5].reshape(-1, 2)
        found = network.render(sources, camera, plane, xy)
        soft = F.softmax(sources.encoded.logits, dim=1)
    for ray, point in enumerate(xy):
        world = camera.centres[0] + camera.ray_directions(point[None, None].double())[0, 0] * float(found.z[ray])
        seen, weights = [], []
        for view in range(2):
            source = sample.sources.cameras[view : view + 1]
            fx, fy, cx, cy = source.intrinsics[0]
            x, y, z = source.c2w[0, :3, :3].T @ (world - source.centres[0])
            at = torch.stack([fx * x / z + cx, fy * y / z + cy])
            if bool(found.is_seen[view, ray]):
                grid = (2 * at - 1).float().view(1, 1, 1, 2)
                value = F.grid_sample(soft[view : view + 1], grid, padding_mode="border", align_corners=False)
                seen.append(value.flatten())
                ahead, aside = world - camera.centres[0], world - source.centres[0]
                cosine = float(ahead @ aside / (ahead.norm() * aside.norm()))
                weights.append(1 / (math.acos(min(cosine, 1.0)) + 0.05))
        weighted = sum((w * s for w, s in zip(weights, seen, strict=True)), torch.zeros(NUM_CLASSES))
        expected = weighted / sum(weights) if seen else torch.full((NUM_CLASSES,), 1 / NUM_CLASSES)
        torch.testing.assert_close(found.carried[ray].exp(), expected + 1e-3, rtol=1e-3, atol=1e-3)
