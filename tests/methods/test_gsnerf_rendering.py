"""The renderer of `gsnerf`: layers against loops, composition of rays, any number and order of views."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras, pixel_centres
from semantic_ns.methods.gsnerf.compat import Compat
from semantic_ns.methods.gsnerf.network import PublishedNetwork, RenderedRays, RenderOptions
from semantic_ns.methods.gsnerf.point_features import SourceViews, mean_and_variance, see_points
from semantic_ns.methods.gsnerf.renderer import ClassRenderer, ColorRenderer, RayAutoEncoder, start_positive
from semantic_ns.methods.gsnerf.volumes import DepthRange
from support.ring_of_views import bilinear, pixel_of, sample_of_the_wall, world_point

BOUNDS = DepthRange(0.5, 4.5)
SIZE = (16, 32)


def elu(x: float) -> float:
    return x if x > 0 else math.expm1(x)


def conv_by_loops(signal: Tensor, layer: nn.Conv1d) -> Tensor:
    weight, bias, length = layer.weight, layer.bias, signal.shape[1]
    assert bias is not None
    result = bias[:, None].repeat(1, length)
    for place in range(length):
        for tap in range(3):
            if 0 <= place + tap - 1 < length:
                result[:, place] += weight[:, :, tap] @ signal[:, place + tap - 1]
    return result


def transposed_by_loops(signal: Tensor, layer: nn.ConvTranspose1d) -> Tensor:
    """Each place of the signal adds four values, two places apart from those of the next one."""
    assert layer.bias is not None
    length = 2 * signal.shape[1]
    result = layer.bias[:, None].repeat(1, length)
    for place in range(signal.shape[1]):
        for tap in range(4):
            if 0 <= 2 * place + tap - 1 < length:
                result[:, 2 * place + tap - 1] += layer.weight[:, :, tap].T @ signal[:, place]
    return result


def elus(values: Tensor) -> Tensor:
    return torch.tensor([[elu(value) for value in row] for row in values.tolist()])


@torch.no_grad()
def test_the_ray_auto_encoder_is_its_layers_written_out() -> None:
    torch.manual_seed(0)
    network, tokens = RayAutoEncoder(), torch.randn(2, 16, 32)
    found = network(tokens)
    for ray, expected in zip(tokens, found, strict=True):
        maps = [ray.T]
        for layer in network.down:
            assert isinstance(layer, nn.Conv1d)
            full = elus(conv_by_loops(maps[-1], layer))
            maps.append(torch.stack([full[:, i : i + 2].max(dim=1).values for i in range(0, full.shape[1], 2)], dim=1))
        up = [layer for layer in network.up if isinstance(layer, nn.ConvTranspose1d)]
        current = torch.cat([maps[2], elus(transposed_by_loops(maps[3], up[0]))])  # 128 + 128
        current = torch.cat([maps[1], elus(transposed_by_loops(current, up[1]))])  # 64 + 64
        current = torch.cat([maps[0], elus(transposed_by_loops(current, up[2]))])  # 32 + 32
        values = elus(conv_by_loops(current, network.last)).T
        for layer in (network.density[0], network.density[2]):
            values = elus(values @ layer.weight.T + layer.bias)  # pyright: ignore[reportOperatorIssue, reportArgumentType, reportCallIssue, reportAttributeAccessIssue]
        last = network.density[4]
        density = (values @ last.weight.T + last.bias)[:, 0].clamp(min=0)  # pyright: ignore[reportOperatorIssue, reportArgumentType, reportCallIssue, reportAttributeAccessIssue]
        torch.testing.assert_close(expected, density, atol=1e-4, rtol=1e-4)
    assert found.shape == (2, 16)


def test_heads_start_with_positive_biases() -> None:
    torch.manual_seed(0)
    for network in (RayAutoEncoder().density, ColorRenderer().blend):
        for layer in network:
            if isinstance(layer, nn.Linear):
                bound = 1 / math.sqrt(layer.in_features)
                assert bool((layer.bias == torch.tensor(bound)).all())
                assert 0.7 * bound < float(layer.weight.detach().abs().max()) <= bound
    layer = nn.Linear(4, 400)
    start_positive(layer)
    assert float(layer.weight.detach().std()) == pytest.approx(0.5 / math.sqrt(3), rel=0.1)


def color_inputs(num_views: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(num_views, 33, 2, 8, generator=generator),
        torch.randn(16, 2, 8, generator=generator),
        torch.randn(num_views, 2, 8, 9, generator=generator),
    )


def test_shares_of_colour_sum_to_1_over_the_views_that_see_a_sample() -> None:
    torch.manual_seed(0)
    is_visible = torch.rand(4, 2, 8) < 0.6
    is_visible |= ~is_visible.any(dim=0)
    density, shares = ColorRenderer()(*color_inputs(4), is_visible)
    torch.testing.assert_close(shares.sum(dim=0), torch.ones(2, 8))
    assert bool((shares[~is_visible] == 0).all())
    assert bool((density >= 0).all())


def test_a_view_that_does_not_see_a_sample_has_no_say_in_it() -> None:
    torch.manual_seed(0)
    renderer, (views, moments, angles) = ColorRenderer(), color_inputs(3)
    is_visible = torch.ones(3, 2, 8, dtype=torch.bool)
    is_visible[1] = False
    density, shares = renderer(views, moments, angles, is_visible)
    others = torch.tensor([0, 2])
    fewer, their_shares = renderer(views[others], moments, angles[others], is_visible[others])
    torch.testing.assert_close(density, fewer, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(shares[others], their_shares, atol=1e-5, rtol=1e-4)


def class_inputs(num_views: int, num_classes: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    around = torch.randn(num_views, 9 * num_classes, 5, generator=torch.Generator().manual_seed(1))
    return around, torch.ones(num_views, 5, dtype=torch.bool), torch.ones(num_views, 5, dtype=torch.bool)


@pytest.mark.parametrize("is_released", [False, True])
def test_the_order_of_views_matters_to_the_classes_only_as_released(is_released: bool) -> None:
    torch.manual_seed(0)
    renderer = ClassRenderer(3, 4, Compat(concatenated_views=is_released))
    inputs = class_inputs(4)
    order = torch.tensor([2, 0, 3, 1])
    same = torch.allclose(renderer(*inputs), renderer(*(part[order] for part in inputs)), atol=1e-5)
    assert same != is_released


def test_the_class_head_takes_any_number_of_views_and_leaves_out_those_that_see_nothing() -> None:
    torch.manual_seed(0)
    renderer = ClassRenderer(3)
    for count in (1, 2, 9):
        assert renderer(*class_inputs(count)).shape == (5, 3)
    around, is_inside, is_visible = class_inputs(3)
    is_visible = is_visible.clone()
    is_visible[2] = False
    logits, changed = renderer(around, is_inside, is_visible), around.clone()
    changed[2] += 1
    kept = renderer.views(
        torch.cat([changed, is_inside[:, None].float()], dim=1).mT,
        mean_and_variance(around).mT,
        is_visible,
    )
    first = renderer.views(
        torch.cat([around, is_inside[:, None].float()], dim=1).mT,
        mean_and_variance(around).mT,
        is_visible,
    )
    torch.testing.assert_close(kept[0], first[0])
    torch.testing.assert_close(kept[1][:2], first[1][:2])
    assert not torch.allclose(kept[1][2], first[1][2])
    by_hand = renderer.head(torch.cat([first[0], first[1][:2].mean(dim=0)], dim=-1))
    torch.testing.assert_close(logits, by_hand, atol=1e-5, rtol=1e-4)


def test_logits_are_0_or_more_only_as_released() -> None:
    torch.manual_seed(0)
    ours, released = ClassRenderer(3), ClassRenderer(3, compat=Compat(relu_logits=True))
    released.load_state_dict(ours.state_dict())
    logits = ours(*class_inputs(2))
    assert bool((logits < 0).any())
    torch.testing.assert_close(released(*class_inputs(2)), logits.clamp(min=0))


def test_moments_are_mean_and_variance_over_the_views() -> None:
    features = torch.randn(3, 2, 4)
    moments = mean_and_variance(features)
    for channel in range(2):
        for point in range(4):
            values = features[:, channel, point].tolist()
            mean = sum(values) / 3
            assert float(moments[channel, point]) == pytest.approx(mean, abs=1e-6)
            variance = sum((value - mean) ** 2 for value in values) / 3
            assert float(moments[2 + channel, point]) == pytest.approx(variance, abs=1e-6)


class Fixed(nn.Module):
    """In place of a part of the network: gives what it is told, and keeps what it is given."""

    def __init__(self, *results: Tensor) -> None:
        super().__init__()
        self.results: tuple[Tensor, ...] = results
        self.given: tuple[Tensor, ...] = ()

    def forward(self, *given: Tensor) -> Tensor | tuple[Tensor, ...]:
        self.given = given
        first, *others = self.results
        return (first, *others) if others else first


def prepared(
    num_views: int, options: RenderOptions, seed: int = 0
) -> tuple[PublishedNetwork, SourceViews, ViewCameras]:
    torch.manual_seed(seed)
    network = PublishedNetwork(3, options)
    sample = sample_of_the_wall(num_views, SIZE)
    sources = network.sources(network.encoder(sample.sources.images), sample.sources.cameras, BOUNDS)
    return network, sources, sample.targets.cameras


@pytest.mark.parametrize("uses_intervals", [False, True])
@torch.no_grad()
def test_a_ray_is_composed_of_its_samples_as_a_loop_says(uses_intervals: bool) -> None:
    network, sources, camera = prepared(2, RenderOptions(num_samples=8, uses_intervals=uses_intervals))
    density, shares = 0.3 * torch.rand(3, 8), torch.rand(2, 3, 8).softmax(dim=0)
    network.colors = fixed = Fixed(density, shares)  # pyright: ignore[reportAttributeAccessIssue]
    target = network.target(sources, camera, SIZE)
    pixels = torch.tensor([50, 130, 251])
    xy = pixel_centres(*SIZE).reshape(-1, 2)[pixels]
    rays = network.render(sources, camera, target, xy)
    views, moments, angles, is_visible = fixed.given
    for ray, pixel in enumerate(pixels.tolist()):
        row, column = divmod(pixel, SIZE[1])
        z = float(target.depth[row, column])
        assert float(rays.z[ray]) == pytest.approx(z)
        normal = torch.distributions.Normal(z, 0.5)
        depths = sorted([z, *torch.linspace(0.5, 4.5, 6).tolist(), float(normal.icdf(torch.tensor(0.5)))])
        length = float(camera.ray_directions(xy[None])[0, ray].norm())
        passed, rgb, depth, total = 1.0, torch.zeros(3).double(), 0.0, 0.0
        for number, at in enumerate(depths):
            interval = 1.0
            if uses_intervals:
                interval = (depths[number + 1] - at) * length if number < 7 else 1e10
            alpha = 1 - math.exp(-float(density[ray, number]) * interval)
            point = world_point(camera, column, row, at, SIZE)
            for view in range(2):
                x, y, far = pixel_of(sources.cameras[view : view + 1], point, SIZE)
                place = min(max(x, 0), SIZE[1] - 1), min(max(y, 0), SIZE[0] - 1)
                color = bilinear(sources.encoded.images[view], *place)
                rgb += passed * alpha * float(shares[view, ray, number]) * color
                check_angle(angles[view, ray, number], point, camera, sources.cameras[view : view + 1])
                feature = bilinear(sources.encoded.levels[0][view], *place)
                torch.testing.assert_close(views[view, 25:, ray, number].double(), feature, atol=1e-3, rtol=1e-2)
                assert far > 0
            depth, total = depth + passed * alpha * at, total + passed * alpha
            passed *= 1 - alpha
        torch.testing.assert_close(rays.rgb[ray].double(), rgb, atol=1e-3, rtol=1e-3)
        assert float(rays.depth[ray]) == pytest.approx(depth, rel=1e-3)
        assert float(rays.accumulation[ray]) == pytest.approx(total, rel=1e-3)
    assert moments.shape == (16, 3, 8)
    assert is_visible.shape == (2, 3, 8)


def check_angle(code: Tensor, point: Tensor, camera: ViewCameras, source: ViewCameras) -> None:
    """a = sqrt(|1 - cos^2|) between the ray and the way from the source to the point, and its code."""
    first, second = point - camera.centres[0], point - source.centres[0]
    cosine = float(first @ second) / float(first.norm() * second.norm())
    a = math.sqrt(abs(1 - cosine**2))
    expected = [a, *(math.sin(2**i * a) for i in range(4)), *(math.cos(2**i * a) for i in range(4))]
    assert code.tolist() == pytest.approx(expected, abs=5e-3)


@torch.no_grad()
def test_classes_see_the_3x3_pixels_around_the_surface_of_a_ray_and_nothing_else_of_it() -> None:
    network, sources, camera = prepared(2, RenderOptions(num_samples=8))
    target = network.target(sources, camera, SIZE)
    xy = pixel_centres(*SIZE).reshape(-1, 2)[[130, 200]]
    logits = network.render(sources, camera, target, xy).logits
    network.classes = fixed = Fixed(logits)  # pyright: ignore[reportAttributeAccessIssue]
    rays = network.render(sources, camera, target, xy)
    around = fixed.given[0]
    for ray, pixel in enumerate((130, 200)):
        row, column = divmod(pixel, SIZE[1])
        point = world_point(camera, column, row, float(rays.z[ray]), SIZE)
        for view in range(2):
            x, y, _ = pixel_of(sources.cameras[view : view + 1], point, SIZE)
            for number in range(9):
                down, across = divmod(number, 3)
                place = min(max(x + across - 1, 0), SIZE[1] - 1), min(max(y + down - 1, 0), SIZE[0] - 1)
                feature = bilinear(sources.encoded.classes[view], *place)
                torch.testing.assert_close(around[view, number::9, ray].double(), feature, atol=1e-3, rtol=1e-2)


def rendered(network: PublishedNetwork, sources: SourceViews, camera: ViewCameras, step: int = 29) -> RenderedRays:
    xy = pixel_centres(*SIZE).reshape(-1, 2)[::step]
    return network.render(sources, camera, network.target(sources, camera, SIZE), xy)


@torch.no_grad()
def test_the_order_of_the_sources_does_not_matter() -> None:
    network, sources, camera = prepared(4, RenderOptions(num_samples=16))
    order = torch.tensor([2, 0, 3, 1])
    other = network.sources(sources.encoded[order], sources.cameras[order], BOUNDS)
    torch.testing.assert_close(other.depth, sources.depth[order], atol=1e-4, rtol=1e-4)
    for name in ("rgb", "logits", "depth", "z"):
        one, two = (getattr(rendered(network, each, camera), name) for each in (sources, other))
        torch.testing.assert_close(one, two, atol=2e-3, rtol=1e-3)


@torch.no_grad()
def test_one_network_takes_any_number_of_sources() -> None:
    network, sources, camera = prepared(5, RenderOptions(num_samples=8))
    for count in (1, 2, 3, 5):
        chosen = torch.arange(count)
        fewer = network.sources(sources.encoded[chosen], sources.cameras[chosen], BOUNDS)
        rays = rendered(network, fewer, camera, 97)
        assert bool(torch.isfinite(torch.cat([rays.rgb, rays.logits, rays.depth[:, None]], dim=1)).all())


def test_concatenated_views_need_the_number_of_sources_that_the_weights_have() -> None:
    with pytest.raises(SceneError, match="Expected 3 source frames, found 2"):
        prepared(2, RenderOptions(num_views=3, compat=Compat(concatenated_views=True)))


@torch.no_grad()
def test_evaluation_is_random_only_as_released() -> None:
    for is_released in (False, True):
        options = RenderOptions(num_samples=16, compat=Compat(random_evaluation=is_released))
        network, sources, camera = prepared(2, options)
        first, second = (rendered(network, sources, camera, 97) for _ in range(2))
        assert torch.equal(first.rgb, second.rgb) != is_released
        assert torch.equal(first.logits, second.logits)


@torch.no_grad()
def test_every_defect_alone_and_all_together_render() -> None:
    for name in (*Compat.of(("all",)).names(), "all"):
        options = RenderOptions(num_samples=8, num_views=2, compat=Compat.of((name,)))  # pyright: ignore[reportArgumentType]
        network, sources, camera = prepared(2, options)
        rays = rendered(network, sources, camera, 97)
        assert bool(torch.isfinite(torch.cat([rays.rgb, rays.logits], dim=1)).all())


def assert_gradients_are_slopes(loss: Callable[[], Tensor], parameters: list[nn.Parameter]) -> None:
    """Along a random direction in all parameters, in double precision."""
    directions = [torch.randn_like(parameter) for parameter in parameters]
    gradients = torch.autograd.grad(loss(), parameters)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    step, values = 1e-8, []  # along hundreds of thousands of parameters
    for sign in (1, -2):
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(direction, alpha=sign * step)
            values.append(float(loss()))
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3)


def test_gradients_of_rays_and_of_the_coarsest_depth_are_slopes() -> None:
    """No gradient passes through the depth of the target, nor through the planes of the finer levels."""
    torch.manual_seed(0)
    network = PublishedNetwork(3, RenderOptions(num_samples=8)).double()
    sample = sample_of_the_wall(2, SIZE)
    images, cameras = sample.sources.images.double(), sample.sources.cameras
    with torch.no_grad():
        fixed = network.sources(network.encoder(images), cameras, BOUNDS)
        target = network.target(fixed, sample.targets.cameras, SIZE)
    xy = pixel_centres(*SIZE).reshape(-1, 2)[::97].double()

    def of_rays() -> Tensor:
        rays = network.render(fixed, sample.targets.cameras, target, xy)
        return rays.rgb.sum() + rays.logits.sum() + rays.depth.sum()

    def of_depth() -> Tensor:
        encoded = network.encoder(images)
        return network.volumes(encoded, cameras, BOUNDS)[2].depth.square().mean() + encoded.logits.square().mean()

    assert_gradients_are_slopes(of_rays, [*network.colors.parameters(), *network.classes.parameters()])
    depends = [*network.encoder.unet.parameters(), *network.encoder.classes.parameters()]
    depends += [*network.encoder.pyramid.lateral[2].parameters(), *network.volumes.regularizers[2].first.parameters()]  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    assert_gradients_are_slopes(of_depth, depends)


def test_every_parameter_of_the_renderer_and_the_encoder_gets_a_gradient() -> None:
    network, sources, camera = prepared(2, RenderOptions(num_samples=8))
    rays = rendered(network, sources, camera)
    depths = torch.cat([level.depth.flatten() for level in sources.geometry])
    (rays.rgb.sum() + rays.logits.sum() + rays.depth.sum() + depths.sum() + sources.encoded.logits.sum()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_points_before_a_camera_are_told_from_those_behind_it() -> None:
    _, sources, camera = prepared(2, RenderOptions(num_samples=8))
    points = see_points(sources, camera, torch.full((2, 2), 0.5), torch.tensor([2.0, -2.0]))
    assert points.at.is_seen[:, 0].all()
    assert not points.at.is_seen[:, 1].any()
