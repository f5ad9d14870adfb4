"""The surface of a scene as points and as a mesh: every step against exact geometry or a slow twin."""

from dataclasses import replace

import numpy as np
import pytest
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.export import view_votes_numba as kernels
from semantic_ns.export.point_cloud import make_points
from semantic_ns.export.surface_files import Precision, with_neighbours, without_vertices
from semantic_ns.export.surface_views import SceneSurface, SurfaceView
from semantic_ns.export.tsdf import Mesh, TsdfConfig, all_around_seen, distinct_rows, fuse_depth, may_see
from semantic_ns.export.view_votes import PointVotes, Tolerance, depth_difference, gather
from support.box_views import NAMES, SIZE, box_view, box_views, distance_to_walls, walls

NUM_CLASSES = len(NAMES)
TOLERANCE = Tolerance(0.03)


@pytest.fixture(scope="module")
def views() -> list[SurfaceView]:
    return box_views()


def with_patch(view: SurfaceView, factor: float) -> SurfaceView:
    """A view in the middle of which depth is wrong by a factor."""
    depth = view.depth.copy()
    depth[18:30, 24:40] *= factor
    return replace(view, depth=depth)


def inside_walls(view: SurfaceView) -> ndarray:
    """Inner pixels that show one wall together with their four neighbours."""
    own, found = view.labels[1:-1, 1:-1], np.zeros(view.depth.shape, bool)
    around = [view.labels[1 + i : 47 + i, 1 + j : 63 + j] for i, j in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    found[1:-1, 1:-1] = np.logical_and.reduce([own == other for other in around])
    return found


# Views


def test_the_point_of_a_pixel_lies_where_its_ray_meets_the_wall(views: list[SurfaceView]) -> None:
    for view in views:
        assert distance_to_walls(view.points()).max() < 1e-5


def test_normals_are_those_of_the_walls_and_lead_to_the_camera(views: list[SurfaceView]) -> None:
    for view in views:
        normals, is_flat = view.normals(), inside_walls(view)
        assert is_flat.mean() > 0.7
        np.testing.assert_allclose(normals[is_flat], walls()[view.labels[is_flat]], atol=2e-4)
        assert (normals[0] == 0).all()


def test_a_slant_turns_less_deep_on_the_ray_into_away_from_the_wall(views: list[SurfaceView]) -> None:
    view = views[3]
    slants, points = view.slants(), view.points()
    nearer = replace(view, depth=view.depth - np.float32(0.01)).points()
    moved = (walls()[view.labels] * (nearer - points)).sum(axis=-1)
    is_flat = inside_walls(view)
    assert slants[is_flat].min() < 0.8
    assert slants[is_flat].max() > 1
    np.testing.assert_allclose(moved[is_flat], 0.01 * slants[is_flat], rtol=2e-3)


def test_without_known_depth_around_there_is_no_normal_and_no_slant(views: list[SurfaceView]) -> None:
    depth = views[0].depth.copy()
    depth[20, 30] = 0
    view = replace(views[0], depth=depth)
    assert (view.normals()[20, 29:32] == 0).all()
    assert (view.slants()[20, 29:32] == 1).all()


# What views say of points


def slow_gather(points: ndarray, views: list[SurfaceView], tolerance: Tolerance) -> tuple[ndarray, ...]:
    """Point by point and view by view."""
    colors, votes = np.zeros((len(points), 4)), np.zeros((len(points), NUM_CLASSES))
    seen, through = np.zeros(len(points), int), np.zeros(len(points), int)
    for number, point in enumerate(points):
        for view in views:
            x, y, z = view.w2c[:, :3] @ point + view.w2c[:, 3]
            if z <= 0:
                continue
            column, row = view.lens[0] * x / z + view.lens[2], view.lens[1] * y / z + view.lens[3]
            height, width = view.depth.shape
            if not (0 <= column < width and 0 <= row < height) or view.depth[int(row), int(column)] <= 0:
                continue
            pixel = int(row), int(column)
            if abs(float(kernels.depth_at(view.depth, row, column)) - z) <= tolerance.at(z):
                colors[number, :3] += view.color[pixel] / z**2
                colors[number, 3] += 1 / z**2
                if view.labels[pixel] >= 0:
                    votes[number, view.labels[pixel]] += view.confidence[pixel] / z**2
                seen[number] += 1
            else:
                around = view.depth[max(0, pixel[0] - 1) : pixel[0] + 2, max(0, pixel[1] - 1) : pixel[1] + 2]
                through[number] += around.size == 9 and around.min() > z + tolerance.at(z)
    return colors[:, :3] / np.maximum(colors[:, 3:], 1e-30), votes, seen, through


def test_what_views_say_of_points_is_the_sum_over_points_and_views(views: list[SurfaceView]) -> None:
    random = np.random.default_rng(0)
    labels = views[1].labels.copy()
    labels[::2] = -1
    some = [views[0], replace(views[1], labels=labels), with_patch(views[2], 0.7), views[5]]
    on_walls = some[0].points().reshape(-1, 3)[random.choice(64 * 48, 150, replace=False)]
    points = np.concatenate([on_walls, random.uniform(-0.2, SIZE + 0.2, (150, 3))])
    found = gather(points, some, NUM_CLASSES, TOLERANCE)
    colors, votes, seen, through = slow_gather(points, some, TOLERANCE)
    np.testing.assert_array_equal(found.seen, seen)
    np.testing.assert_array_equal(found.seen_through, through)
    np.testing.assert_allclose(found.votes, votes, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.colors, colors, rtol=1e-4, atol=1e-3)
    assert seen.max() >= 2
    assert through.max() >= 2


def test_the_class_is_that_of_most_votes_and_void_without_any() -> None:
    votes = np.array([[1, 3, 0], [0, 0, 0]], np.float32)
    found = PointVotes(np.zeros((2, 3), np.float32), votes, np.ones(2, np.int32), np.zeros(2, np.int32))
    assert found.labels.tolist() == [1, -1]
    assert found.confidence.tolist() == [0.75, 0]


def test_depth_between_pixels_is_exact_on_a_plane_and_that_of_the_pixel_at_an_edge() -> None:
    view = box_view([2, 1.5, 1.2], [2, 3, 1.0])
    for row, column in np.random.default_rng(1).uniform([10, 20], [38, 44], (50, 2)):
        ray = np.array([(column - view.lens[2]) / view.lens[0], (row - view.lens[3]) / view.lens[1], 1])
        along = view.w2c[:, :3].T @ ray
        truth = (SIZE[1] - view.centre[1]) / along[1]
        if view.labels[int(row) - 1 : int(row) + 2, int(column) - 1 : int(column) + 2].ptp() == 0:
            assert kernels.depth_at(view.depth, row, column) == pytest.approx(truth, rel=1e-5)
    depth = np.full((4, 4), 1, np.float32)
    depth[:, 2:] = 2
    assert [float(kernels.depth_at(depth, 1.9, column)) for column in (1.9, 2.1)] == [1, 2]
    depth[:, 2:] = 0
    assert kernels.depth_at(depth, 1.9, 1.9) == 1


def test_the_difference_of_exact_views_is_nothing_and_that_of_wrong_ones_their_error(
    views: list[SurfaceView],
) -> None:
    assert depth_difference(views) < 0.002
    wrong = [replace(view, depth=view.depth * np.float32(1.05 if n % 2 else 1)) for n, view in enumerate(views)]
    median = float(np.median(np.concatenate([view.depth.reshape(-1) for view in views])))
    # Half of the pairs are of one kind and agree up to the shift of the place that is looked at.
    assert 0.01 * median < depth_difference(wrong) < 0.08 * median
    assert np.isnan(depth_difference(views[:1]))


def test_a_row_of_sky_does_not_change_how_far_views_differ(views: list[SurfaceView]) -> None:
    wrong = [replace(view, depth=view.depth * np.float32(1.01 if n % 2 else 1)) for n, view in enumerate(views)]
    expected = depth_difference(wrong)
    sky = [replace(view, depth=np.concatenate([np.full_like(view.depth[:2], 3000), view.depth[2:]])) for view in wrong]
    assert depth_difference(sky) == pytest.approx(expected, rel=0.2)


# Points


def test_points_lie_on_the_walls_evenly_with_their_normals_and_classes(views: list[SurfaceView]) -> None:
    found = make_points(views, 3000, NUM_CLASSES, TOLERANCE)
    assert 2000 < len(found.positions) < 4000
    assert distance_to_walls(found.positions).max() < found.spacing
    wall = found.labels
    distance = np.abs(np.where(wall % 2, SIZE[wall // 2], 0) - found.positions[np.arange(len(wall)), wall // 2])
    assert (distance < found.spacing).mean() > 0.99
    is_turned = np.linalg.norm(found.normals, axis=1) > 0
    agreement = (found.normals * walls()[wall]).sum(axis=1)[is_turned]
    assert np.median(agreement) > 0.999
    assert np.linalg.norm(found.normals[is_turned], axis=1) == pytest.approx(1, abs=1e-4)
    assert (found.confidence > 0.5).mean() > 0.99
    assert found.dropped < 0.01


def test_points_that_hang_in_the_air_are_left_out(views: list[SurfaceView]) -> None:
    beside = [box_view([2.0, y, 1.25], [3.5, 1.5, 1.25]) for y in (1.0, 1.5, 2.0)]
    found = make_points([with_patch(beside[0], 0.6), *beside[1:], *views], 3000, NUM_CLASSES, TOLERANCE)
    assert found.dropped > 0.005
    assert (distance_to_walls(found.positions) > 0.1).mean() < 0.002


def test_points_that_no_view_sees_where_they_are_are_refused(views: list[SurfaceView]) -> None:
    with pytest.raises(SceneError, match="views agree about"):
        make_points(views, 100, NUM_CLASSES, Tolerance(-1.0, -1.0))


# Meshes


def slow_integrate(first: ndarray, config: TsdfConfig, view: SurfaceView, shape: tuple[int, int, int]) -> ndarray:
    """Signed distances of one view, voxel by voxel; NaN where nothing is known."""
    found, slants = np.full(shape, np.nan), view.slants()
    for place in np.ndindex(shape):
        x, y, z = view.w2c[:, :3] @ (first + np.array(place) * config.edge) + view.w2c[:, 3]
        if z <= 0:
            continue
        column, row = view.lens[0] * x / z + view.lens[2], view.lens[1] * y / z + view.lens[3]
        if 0 <= column < view.depth.shape[1] and 0 <= row < view.depth.shape[0]:
            depth = float(kernels.depth_at(view.depth, row, column))
            distance = (depth - z) * slants[int(row), int(column)]
            if distance >= -config.truncation:
                found[place] = min(1, distance / config.truncation)
    return found


def test_signed_distances_are_the_weighted_mean_over_views(views: list[SurfaceView]) -> None:
    config, first, shape = TsdfConfig(0.15, 0.4), np.array([2.9, 0.3, 0.4]), (8, 9, 7)
    distances, weights = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    total, weight = np.zeros(shape), np.zeros(shape)
    for view in views[:3]:
        slants = view.slants()
        kernels.integrate(first, 0.15, 0.4, view.w2c, view.lens, view.depth, slants, distances, weights)
        single = slow_integrate(first, config, view, shape)
        own = np.ones(shape, np.float32), np.zeros(shape, np.float32)
        kernels.integrate(first, 0.15, 0.4, view.w2c, view.lens, view.depth, slants, *own)
        np.testing.assert_array_equal(own[1] > 0, ~np.isnan(single))
        np.testing.assert_allclose(own[0][own[1] > 0], single[own[1] > 0], atol=1e-5)
        total, weight = total + np.nan_to_num(single) * own[1], weight + own[1]
    assert (weight > 0).mean() > 0.3
    np.testing.assert_allclose(weights, weight, rtol=1e-5)
    np.testing.assert_allclose(distances[weight > 0], (total / np.maximum(weight, 1e-9))[weight > 0], atol=1e-4)


def test_the_mesh_lies_on_the_walls_and_is_turned_into_the_room(views: list[SurfaceView]) -> None:
    mesh = fuse_depth(views, TsdfConfig(0.05, 0.15))
    distance = distance_to_walls(mesh.vertices)
    assert np.median(distance) < 0.005
    assert distance.max() < 0.1
    corners = mesh.vertices[mesh.faces]
    middles = corners.mean(axis=1)
    wall = np.argmin(np.stack([middles, SIZE - middles], axis=-1).reshape(len(middles), 6), axis=1)
    turned = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
    is_away_from_creases = np.sort(np.minimum(middles, SIZE - middles), axis=1)[:, 1] > 0.2
    agreement = (turned * walls()[wall]).sum(axis=1)[is_away_from_creases]
    assert (agreement > 0.9).mean() > 0.99
    normals = (mesh.normals[mesh.faces].mean(axis=1) * walls()[wall]).sum(axis=1)[is_away_from_creases]
    assert (normals > 0.9).mean() > 0.99


def test_blocks_share_their_vertices_so_that_the_mesh_has_no_seams(views: list[SurfaceView]) -> None:
    config = TsdfConfig(0.05, 0.15)
    mesh = fuse_depth(views, config)
    assert len(np.unique(np.round(mesh.vertices, 5), axis=0)) == len(mesh.vertices)
    edges, counts = np.unique(
        np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0, return_counts=True
    )
    assert (counts > 2).mean() < 1e-3  # where a distance is exactly 0, vertices of several cells meet
    low = np.min([view.points().reshape(-1, 3).min(axis=0) for view in views], axis=0) - config.truncation
    border = mesh.vertices[edges[counts == 1]].mean(axis=1)
    seam = low[0] + 64 * config.edge
    on_ceiling = np.abs(border - [seam, SIZE[1] / 2, SIZE[2]]) < [0.02, 0.4, 0.1]
    assert not on_ceiling.all(axis=1).any()
    assert mesh.vertices[:, 0].max() > seam + 0.3


def test_space_that_no_view_saw_has_no_surface() -> None:
    mesh = fuse_depth([box_view([2, 1.5, 1.2], [4, 1.5, 1.2])], TsdfConfig(0.05, 0.15))
    assert mesh.vertices[:, 0].min() > 2
    assert distance_to_walls(mesh.vertices).max() < 0.1


def test_a_view_that_may_see_none_of_a_box_is_one_whose_pixels_its_corners_miss(views: list[SurfaceView]) -> None:
    random = np.random.default_rng(0)
    num_missed = 0
    for low in random.uniform(-1, SIZE, (60, 3)):
        high = low + 0.3
        inside = random.uniform(low, high, (200, 3))
        for view in views[:4]:
            x, y, z = view.w2c[:, :3] @ inside.T + view.w2c[:, 3:]
            with np.errstate(divide="ignore", invalid="ignore"):
                column, row = view.lens[0] * x / z + view.lens[2], view.lens[1] * y / z + view.lens[3]
            sees_any = ((z > 0) & (column >= 0) & (column < 64) & (row >= 0) & (row < 48)).any()
            assert may_see(view, low, high) or not sees_any
            num_missed += not may_see(view, low, high)
    assert num_missed > 60


def test_voxels_are_safe_if_all_27_of_them_were_seen() -> None:
    is_seen = np.random.default_rng(0).random((6, 7, 8)) < 0.97
    safe = all_around_seen(is_seen)
    for i, j, k in np.ndindex(is_seen.shape):
        around = is_seen[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2, max(0, k - 1) : k + 2]
        assert safe[i, j, k] == (around.size == 27 and around.all())


def test_distinct_rows_are_those_that_a_set_holds_in_their_order() -> None:
    random = np.random.default_rng(0)
    near = random.integers(-3, 4, (500, 3))
    far = near * np.array([10**9, 10**12, 10**7])  # their numbers would not fit into 64 bits
    for rows in (near, near[:1], far):
        assert [*map(tuple, distinct_rows(rows).tolist())] == sorted({*map(tuple, rows.tolist())})


def test_voxels_that_are_far_too_small_are_refused(views: list[SurfaceView]) -> None:
    with pytest.raises(SceneError, match="--voxel-size"):
        fuse_depth(views, TsdfConfig(1e-5, 3e-5))


def test_one_pixel_that_is_far_away_does_not_make_a_scene_too_large(views: list[SurfaceView]) -> None:
    depth = views[0].depth.copy()
    depth[5, 5] = 5000
    mesh = fuse_depth([replace(views[0], depth=depth), *views[1:]], TsdfConfig(0.05, 0.15))
    near = mesh.vertices[(np.abs(mesh.vertices) < 10).all(axis=1)]
    assert len(near) > 10_000
    assert (distance_to_walls(near) < 0.1).mean() > 0.99


def test_triangles_with_a_wrong_vertex_go_and_none_left_is_refused() -> None:
    mesh = Mesh(np.eye(4)[:, :3], np.ones((4, 3), np.float32), np.array([[0, 1, 2], [1, 2, 3]]))
    found, kept = without_vertices(mesh, np.array([True, False, False, False]))
    assert kept.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(found.vertices, mesh.vertices[1:])
    assert found.faces.tolist() == [[0, 1, 2]]
    with pytest.raises(SceneError, match="every triangle"):
        without_vertices(mesh, np.array([False, True, False, False]))


def test_a_point_that_nobody_sees_is_like_the_nearest_that_somebody_sees() -> None:
    positions = np.array([[0.0, 0, 0], [1, 0, 0], [0.9, 0, 0]])
    votes = PointVotes(
        np.array([[1, 2, 3], [4, 5, 6], [0, 0, 0]], np.float32),
        np.array([[1, 0], [0, 2], [0, 0]], np.float32),
        np.array([1, 1, 0], np.int32),
        np.zeros(3, np.int32),
    )
    found = with_neighbours(positions, votes)
    assert found.labels.tolist() == [0, 1, 1]
    assert found.colors[2].tolist() == [4, 5, 6]


def test_a_point_that_views_see_as_void_keeps_its_color_and_stays_void_and_so_do_unseen_ones_beside_it() -> None:
    positions = np.array([[0.0, 0, 0], [9, 0, 0], [8.9, 0, 0]])
    votes = PointVotes(
        np.array([[1, 2, 3], [255, 0, 0], [0, 0, 0]], np.float32),
        np.array([[1, 0], [0, 0], [0, 0]], np.float32),
        np.array([1, 3, 0], np.int32),
        np.zeros(3, np.int32),
    )
    found = with_neighbours(positions, votes)
    assert found.labels.tolist() == [0, -1, -1]
    assert found.colors.tolist() == [[1, 2, 3], [255, 0, 0], [255, 0, 0]]


def test_precision_follows_from_the_pixels_where_the_views_agree(views: list[SurfaceView]) -> None:
    precision = Precision.of(SceneSurface(views, "m", "exact", True))
    sides = [np.median(view.depth) / (0.6 * 64) for view in views]
    assert precision.pixel_side == pytest.approx(np.median(sides))
    assert precision.tolerance.least == pytest.approx(2 * precision.pixel_side)
