"""Parts of `gsnerf-small` against loops over pixels."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semantic_ns.geometry.views import ViewCameras, sweep_matrices
from semantic_ns.methods.gsnerf_small.cost_volume import Planes, WarpedViews, reference_volume
from semantic_ns.methods.gsnerf_small.ray_samples import samples_around
from semantic_ns.multi_view.along_rays import alpha_weights, angle_code
from semantic_ns.multi_view.attention import NUM_HEADS, ViewAttention, ViewTransformer
from semantic_ns.multi_view.splatting import fill_holes, splat_depth
from support.ring_of_views import bilinear, cameras_before_a_wall, frames_of_the_wall, pixel_of, world_point


def test_planes_are_equally_spaced_in_log_depth_from_near_to_far() -> None:
    planes = Planes.between(0.5, 8.0, 5, (1, 1, 2), torch.zeros(1))
    torch.testing.assert_close(planes.logs().exp()[0, :, 0, 1], torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0]))
    around = Planes.around(torch.full((1, 1, 1), 2.0), math.log(2), 3)
    torch.testing.assert_close(around.logs().exp()[0, :, 0, 0], torch.tensor([1.0, 2.0, 4.0]))


def test_depth_is_the_exponential_of_the_mean_log_depth_over_the_soft_max() -> None:
    torch.manual_seed(0)
    planes, scores = Planes.between(0.5, 8.0, 5, (1, 2, 3), torch.zeros(1)), torch.randn(1, 5, 2, 3)
    found = planes.depth(scores)
    for row in range(2):
        for column in range(3):
            weights = [math.exp(value) for value in scores[0, :, row, column].tolist()]
            logs = [math.log(0.5 * 2**number) for number in range(5)]
            mean = sum(w * log for w, log in zip(weights, logs, strict=True)) / sum(weights)
            spread = sum(w * (log - mean) ** 2 for w, log in zip(weights, logs, strict=True)) / sum(weights)
            assert float(found.depth[0, row, column]) == pytest.approx(math.exp(mean), rel=1e-5)
            assert float(found.log_std[0, row, column]) == pytest.approx(math.sqrt(spread), rel=1e-3)


def test_cross_entropy_shares_a_pixel_between_the_two_planes_beside_its_depth() -> None:
    torch.manual_seed(0)
    planes, scores = Planes.between(0.5, 8.0, 5, (1, 1, 5), torch.zeros(1)), torch.randn(1, 5, 1, 5)
    # Unknown, on a plane, between two, just outside the range, and far outside of it, which does not count.
    depth = torch.tensor([[[0.0, 2.0, 3.0, 0.4, 40.0]]])
    log_probabilities = scores[0, :, 0].log_softmax(dim=0)
    share = math.log2(3.0 / 2.0)
    expected = -(
        log_probabilities[2, 1]
        + (1 - share) * log_probabilities[2, 2]
        + share * log_probabilities[3, 2]
        + log_probabilities[0, 3]
    )
    torch.testing.assert_close(planes.cross_entropy(scores, depth), expected / 3)


def test_moments_with_weights_are_those_of_views_that_are_there_several_times() -> None:
    torch.manual_seed(0)
    features, is_seen = torch.randn(3, 2, 6), torch.rand(3, 6) < 0.6
    is_seen[:, 0] = False
    weights = torch.randint(1, 4, (3, 6)).float()
    mean, variance = WarpedViews(features, is_seen).moments(0.01 * weights)
    for point in range(6):
        times = [view for view in range(3) for _ in range(int(weights[view, point])) if is_seen[view, point]]
        values = features[times, :, point] if times else torch.zeros(1, 2)
        torch.testing.assert_close(mean[:, point], values.mean(dim=0))
        torch.testing.assert_close(variance[:, point], values.var(dim=0, correction=0), rtol=1e-4, atol=1e-5)


def test_moments_are_those_of_the_views_that_see_a_point() -> None:
    torch.manual_seed(0)
    features, is_seen = torch.randn(4, 3, 5), torch.rand(4, 5) < 0.6
    is_seen[:, 0] = False
    mean, variance = WarpedViews(features, is_seen).moments()
    for point in range(5):
        seen = features[is_seen[:, point], :, point]
        expected = seen.mean(dim=0) if len(seen) else torch.zeros(3)
        spread = seen.var(dim=0, unbiased=False) if len(seen) else torch.zeros(3)
        torch.testing.assert_close(mean[:, point], expected)
        torch.testing.assert_close(variance[:, point], spread, rtol=1e-4, atol=1e-6)


def volume_by_loops(features: Tensor, colors: Tensor, cameras: ViewCameras, depths: Tensor) -> Tensor:
    """Agreement of the first camera with the others, pixel by pixel."""
    planes, height, width = depths.shape
    volume = torch.zeros(10, planes, height, width, dtype=torch.float64)
    for plane in range(planes):
        for row in range(height):
            for column in range(width):
                point = world_point(cameras[:1], column, row, float(depths[plane, row, column]), (height, width))
                warped, differences = [], [1.0]
                for number in range(1, len(cameras)):
                    x, y, z = pixel_of(cameras[number : number + 1], point, (height, width))
                    if z > 0 and -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5:
                        x, y = (
                            min(max(x, 0), width - 1),
                            min(max(y, 0), height - 1),
                        )  # beyond centres the border goes on
                        warped.append(bilinear(features[number], x, y))
                        difference = bilinear(colors[number], x, y) - colors[0, :, row, column]
                        differences.append(float(difference.abs().mean()))
                if warped:
                    product = torch.stack(warped).mean(dim=0) * features[0, :, row, column]
                    volume[:8, plane, row, column] = product.unflatten(0, (8, -1)).mean(dim=1)
                volume[8, plane, row, column] = min(differences)
                volume[9, plane, row, column] = len(warped) / (len(cameras) - 1)
    return volume


def test_the_volume_of_a_source_is_a_loop_over_planes_pixels_and_neighbours() -> None:
    torch.manual_seed(0)
    cameras = cameras_before_a_wall(3, turn=0.2)
    features, colors = torch.randn(3, 16, 4, 6), torch.rand(3, 3, 4, 6)
    depths = torch.tensor([0.7, 1.6, 3.0])[:, None, None].expand(-1, 4, 6).contiguous()
    matrices = sweep_matrices(cameras[1:], cameras[:1])
    found = reference_volume(features[0], colors[0], features[1:], colors[1:], matrices, depths)
    expected = volume_by_loops(features, colors, cameras, depths)
    assert 0 < float((expected[9] > 0).float().mean()) < 1
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4)


def test_the_volume_does_not_depend_on_the_order_of_the_neighbours() -> None:
    torch.manual_seed(0)
    cameras = cameras_before_a_wall(4)
    features, colors, depths = torch.randn(4, 16, 5, 7), torch.rand(4, 3, 5, 7), torch.rand(3, 5, 7) + 1

    def volume(order: list[int]) -> Tensor:
        matrices = sweep_matrices(cameras[torch.tensor(order)], cameras[:1])
        return reference_volume(features[0], colors[0], features[order], colors[order], matrices, depths)

    torch.testing.assert_close(volume([1, 2, 3]), volume([3, 1, 2]))


def test_gradients_of_the_volume_are_slopes() -> None:
    torch.manual_seed(0)
    cameras = cameras_before_a_wall(3)
    features = torch.randn(3, 8, 3, 4, dtype=torch.float64, requires_grad=True)
    colors, depths = torch.rand(3, 3, 3, 4, dtype=torch.float64), torch.rand(2, 3, 4, dtype=torch.float64) + 1.5
    matrices = sweep_matrices(cameras[1:], cameras[:1])
    assert torch.autograd.gradcheck(
        lambda features: reference_volume(features[0], colors[0], features[1:], colors[1:], matrices, depths)[:8],
        features,
        fast_mode=True,
    )


def depth_at_front(points: Sequence[tuple[float, float]]) -> float:
    """Mean over (weight, depth) of the nearest surface of a pixel that has a twentieth of the weights."""
    left, near = list(points), list(points)
    for _ in range(4):  # after three faint surfaces the next one counts, whatever its weight
        nearest = min(z for _, z in left)
        near = [(weight, z) for weight, z in left if z <= nearest * 1.05]
        if sum(weight for weight, _ in near) >= 0.05 * sum(weight for weight, _ in points):
            break
        left = [(weight, z) for weight, z in left if z > nearest * 1.05]
    return sum(weight * z for weight, z in near) / sum(weight for weight, _ in near)


def splat_by_loops(depths: Tensor, sources: ViewCameras, target: ViewCameras, size: tuple[int, int]) -> Tensor:
    """Each point covers its own pixel, as large as it is in the target, and counts by its angle."""
    height, width = size
    points: dict[tuple[int, int], list[tuple[float, float]]] = {}
    target_centre = target.c2w[0, :3, 3].numpy()
    for number, depth in enumerate(depths):
        rows, columns = depth.shape
        for row in range(rows):
            for column in range(columns):
                far = float(depth[row, column])
                point = world_point(sources[number : number + 1], column, row, far, (rows, columns))
                x, y, z = pixel_of(target, point, size)
                if z <= 0 or not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
                    continue
                fx, fy = (float(focal) for focal in sources.intrinsics[number, :2])
                gx, gy = (float(focal) for focal in target.intrinsics[0, :2])
                side = far / z * (gx * width / (fx * columns) + gy * height / (fy * rows)) / 2
                around = depth[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].log()
                is_smooth = (
                    float((around.max() - depth[row, column].log()) + (depth[row, column].log() - around.min())) < 0.1
                )
                radius = min(max(0.6 * side, 1.0), 4.0) if is_smooth else 1.0
                lines = [np.asarray(point) - centre for centre in (target_centre, sources.c2w[number, :3, 3].numpy())]
                cosine = lines[0] @ lines[1] / np.linalg.norm(lines[0]) / np.linalg.norm(lines[1])
                trust = 1 / (math.acos(min(cosine, 1.0)) + 0.05)
                for r in range(height):
                    for c in range(width):
                        weight = max(0.0, 1 - abs(x - c) / radius) * max(0.0, 1 - abs(y - r) / radius)
                        if weight > 1e-3:
                            points.setdefault((r, c), []).append((weight * trust, z))
    result = torch.zeros(height, width)
    for (row, column), found in points.items():
        result[row, column] = depth_at_front(found)
    return result


@pytest.mark.parametrize("size", [(5, 6), (9, 11), (40, 44)])
def test_splatted_depth_is_a_loop_over_points(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    cameras = cameras_before_a_wall(3, turn=0.1)
    depths = torch.rand(2, 6, 8) * 2 + 1
    depths[:, :, 4:] = depths[:, :1, 4:5] * (1 + 0.03 * torch.rand(2, 6, 4))  # edges and smooth parts
    found = splat_depth(depths, cameras[:2], cameras[2:], size)
    expected = splat_by_loops(depths, cameras[:2], cameras[2:], size)
    assert 0 < int((expected > 0).sum()) < expected.numel()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_camera_that_stands_close_to_a_wall_does_not_look_through_the_points_of_a_far_one() -> None:
    cameras = cameras_before_a_wall(2)
    frames = frames_of_the_wall(cameras, (30, 40))
    assert frames.depths_m is not None
    near = ViewCameras(cameras.c2w[:1].clone(), cameras.intrinsics[:1])
    near.c2w[0, :3, 3] += near.c2w[0, :3, 2] * 0.75 * frames.depths_m[0].min().double()
    found = splat_depth(frames.depths_m[:1], cameras[:1], near, (30, 40))
    inner = found[3:-3, 3:-3]
    assert bool((inner > 0).all())
    behind = 3.0 * frames.depths_m[:1]
    both = splat_depth(torch.cat([frames.depths_m[:1], behind]), cameras[:1][torch.tensor([0, 0])], near, (30, 40))
    torch.testing.assert_close(both[3:-3, 3:-3], inner)


def test_single_wrong_points_in_front_of_a_surface_are_no_surface() -> None:
    cameras = cameras_before_a_wall(4)
    depths = frames_of_the_wall(cameras, (30, 40)).depths_m
    assert depths is not None
    clean = splat_depth(depths[:3], cameras[:3], cameras[3:], (15, 20))
    # A pixel of one source is wrong, where every pixel of the target has the points of three sources, each about four.
    wrong = depths[:3].clone()
    wrong[0, 15, 20] *= 0.5
    found = splat_depth(wrong, cameras[:3], cameras[3:], (15, 20))
    assert float((found / clean - 1).abs()[clean > 0].max()) < 0.05
    # A whole source says that something stands there: it has a third of the weights, and is believed.
    wrong[0] = depths[0] * 0.5
    found = splat_depth(wrong, cameras[:3], cameras[3:], (15, 20))
    assert float((found / clean)[6:9, 8:12].max()) < 0.6


def test_points_count_by_the_angle_between_the_lines_of_sight() -> None:
    cameras = cameras_before_a_wall(3)
    depths = frames_of_the_wall(cameras, (30, 40)).depths_m
    assert depths is not None
    # Two sources differ by less than the depth of a surface; the target stands where the first one does.
    both = torch.stack([depths[0], depths[1] * 1.04])
    found = splat_depth(both, cameras[:2], cameras[:1], (30, 40))
    shares = ((found / depths[0] - 1) / 0.04)[found > 0]
    assert 0 < float(shares.median()) < 0.4


def test_true_depth_of_the_sources_splats_to_the_true_depth_of_a_wall() -> None:
    cameras = cameras_before_a_wall(4)
    frames = frames_of_the_wall(cameras, (30, 40))
    assert frames.depths_m is not None
    found = splat_depth(frames.depths_m[:3], cameras[:3], cameras[3:], (30, 40))
    is_hit = found > 0
    assert float(is_hit.float().mean()) > 0.8
    assert float(((found / frames.depths_m[3]).log().abs())[is_hit].max()) < 0.01


def test_holes_take_the_mean_log_depth_around_them_and_nothing_else_changes() -> None:
    depth = torch.tensor([[2.0, 0.0], [0.0, 8.0]])
    filled, is_measured = fill_holes(depth, 3.0)
    torch.testing.assert_close(filled, torch.tensor([[2.0, 4.0], [4.0, 8.0]]))
    assert is_measured.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (12, 9)])
def test_a_single_point_fills_an_image_and_none_leaves_the_fallback(size: tuple[int, int]) -> None:
    depth = torch.zeros(size)
    torch.testing.assert_close(fill_holes(depth, 3.0)[0], torch.full(size, 3.0))
    depth[-1, 0] = 2.0
    torch.testing.assert_close(fill_holes(depth, 3.0)[0], torch.full(size, 2.0))


def attention_by_loops(layer: ViewAttention, tokens: Tensor, is_key: Tensor) -> Tensor:
    """One point, [tokens, width], head by head."""
    count, width = tokens.shape
    size = width // NUM_HEADS
    attended = torch.zeros(count, width)
    query, key, value = (linear(tokens) for linear in (layer.query, layer.key, layer.value))
    for head in range(NUM_HEADS):
        part = slice(head * size, (head + 1) * size)
        for i in range(count):
            scores = [
                math.exp(float(query[i, part] @ key[j, part]) / math.sqrt(size)) if is_key[j] else 0.0
                for j in range(count)
            ]
            for j in range(count):
                attended[i, part] += scores[j] / sum(scores) * value[j, part]
    normal = nn.functional.layer_norm
    tokens = normal(tokens + layer.output(attended), (width,), *layer.attention_norm.parameters(), eps=1e-6)
    return normal(tokens + layer.perceptron(tokens), (width,), *layer.perceptron_norm.parameters(), eps=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("count", [4, 9])
def test_attention_is_a_loop_over_points_heads_and_tokens(count: int) -> None:
    torch.manual_seed(0)
    layer, tokens = ViewAttention(16), torch.randn(count, 3, 16)
    is_key = torch.rand(count, 3) < 0.6
    is_key[0] = True
    found = layer(tokens, is_key)
    for point in range(3):
        expected = attention_by_loops(layer, tokens[:, point], is_key[:, point])
        torch.testing.assert_close(found[:, point], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_views_that_do_not_see_a_point_have_no_say_unless_none_does() -> None:
    torch.manual_seed(0)
    network = ViewTransformer(6, 4, 16, 2)
    views, whole, is_seen = torch.randn(3, 2, 6), torch.randn(2, 4), torch.ones(3, 2, dtype=torch.bool)
    is_seen[1, 0], is_seen[:, 1] = False, False
    before, _ = network(views, whole, is_seen)
    views[1] += 5
    after, _ = network(views, whole, is_seen)
    torch.testing.assert_close(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


@torch.no_grad()
def test_tokens_follow_their_views_and_the_global_one_does_not_care_for_their_order() -> None:
    torch.manual_seed(0)
    network, order = ViewTransformer(6, 4, 16, 2), [2, 0, 1]
    views, whole, is_seen = torch.randn(3, 5, 6), torch.randn(5, 4), torch.rand(3, 5) < 0.7
    one, tokens = network(views, whole, is_seen)
    other, changed = network(views[order], whole, is_seen[order])
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens[order], changed, rtol=1e-4, atol=1e-5)


def test_alpha_weights_are_what_is_left_of_the_ray_times_what_a_sample_stops() -> None:
    torch.manual_seed(0)
    density = torch.rand(3, 5)
    weights = alpha_weights(density)
    for ray in range(3):
        left = 1.0
        for sample in range(5):
            stopped = 1 - math.exp(-float(density[ray, sample]))
            assert float(weights[ray, sample]) == pytest.approx(left * stopped, rel=1e-4)
            left *= 1 - stopped


def test_angle_code_is_that_of_the_sine_between_two_rays() -> None:
    torch.manual_seed(0)
    rays, to_points = torch.randn(3, 3), torch.randn(2, 3, 4, 3)
    found = angle_code(rays, to_points)
    for view in range(2):
        for ray in range(3):
            for sample in range(4):
                a, b = rays[ray], to_points[view, ray, sample]
                sine = float(torch.linalg.cross(a, b).norm() / (a.norm() * b.norm()))
                expected = [
                    sine,
                    *(math.sin(2**i * sine) for i in range(4)),
                    *(math.cos(2**i * sine) for i in range(4)),
                ]
                torch.testing.assert_close(found[view, ray, sample], torch.tensor(expected), rtol=1e-3, atol=1e-3)


def test_samples_are_quantiles_of_a_normal_distribution_of_log_depth() -> None:
    normal = torch.distributions.Normal(math.log(2.0), 0.1)
    found = samples_around(torch.tensor([2.0]), torch.tensor([math.log(0.1)]), 8)
    torch.testing.assert_close(normal.cdf(found[0].log()), (torch.arange(8) + 0.5) / 8)


@pytest.mark.parametrize(("log_std", "width"), [(-20.0, 0.01), (3.0, 0.2)])
def test_samples_never_fall_together_nor_leave_the_surface(log_std: float, width: float) -> None:
    found = samples_around(torch.tensor([2.0]), torch.tensor([log_std]), 8)
    outermost = float(torch.distributions.Normal(0, 1).icdf(torch.tensor(15 / 16)))
    assert float(found[0, -1].log() - math.log(2)) == pytest.approx(width * outermost, rel=1e-4)
    assert bool((found[0, 1:] > found[0, :-1]).all())
