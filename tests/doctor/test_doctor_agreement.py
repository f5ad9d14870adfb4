"""Views are compared as the slow, obvious way does it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semantic_ns.doctor.agreement import OF_EACH_IMAGE, Reading, ViewComparison, neighbouring_pairs
from semantic_ns.doctor.mistakes import diagnose, usual_mistakes
from semantic_ns.doctor.views import InspectedScene
from semantic_ns.geometry.pinhole import Pixels, Surface, are_inside_regions, project, rays
from semantic_ns.io.orientation import UPRIGHT, to_upright
from semantic_ns.synthetic_scene import make_trajectory, render
from support.broken_scenes import lengths_of_rays

WIDTH, HEIGHT = 32, 24
INTRINSICS = np.array([16.0, 16.0, 16.0, 12.0])


def views_of(depths, labels, c2w) -> InspectedScene:
    height, width = labels[0].shape
    return InspectedScene(
        images=tuple(Path(f"{i}.png") for i in range(len(c2w))),
        exif_orientations=(UPRIGHT,) * len(c2w),
        c2w=np.stack(c2w),
        intrinsics=np.tile(INTRINSICS, (len(c2w), 1)),
        sizes=((width, height),) * len(c2w),
        read_labels=lambda i: labels[i].astype(np.int16),
        read_depth=lambda i: depths[i].astype(np.float32),
        metres_per_depth_unit=0.001,
        has_opengl_files=False,
    )


@pytest.fixture(scope="module")
def views():
    c2w = make_trajectory(16)[:6]
    rendered = [render(pose, WIDTH, HEIGHT) for pose in c2w]
    return views_of([view.depth_m for view in rendered], [view.labels.astype(int) - 1 for view in rendered], c2w)


def is_plane(depth, row, column):
    """Known depth at the pixel and beside it, and 1 / depth bends by at most 2 %."""
    cross = [depth[row + r, column + c] for r, c in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))]
    if min(cross) <= 0:
        return False
    middle, up, down, left, right = (1 / float(d) for d in cross)
    return abs(up + down - 2 * middle) <= 0.02 * middle and abs(left + right - 2 * middle) <= 0.02 * middle


def is_inside(labels, row, column):
    return len(set(labels[row - 1 : row + 2, column - 1 : column + 2].ravel().tolist())) == 1


def counted(views, pair, pixels):
    """Points seen, hidden, agreeing, labelled and same, away from label edges and then anywhere, one by one."""
    (depth_1, depth_2), (labels_1, labels_2) = (
        [read(i) for i in pair] for read in (views.read_depth, views.read_labels)
    )
    fx, fy, cx, cy = INTRINSICS
    counts = np.zeros(7, int)
    for row, column in pixels:
        if not is_plane(depth_1, row, column):
            continue
        d = float(depth_1[row, column])
        point = [(column + 0.5 - cx) / fx * d, (row + 0.5 - cy) / fy * d, d, 1]
        x, y, z, _ = np.linalg.inv(views.c2w[pair[1]]) @ views.c2w[pair[0]] @ point
        u, v = fx * x / z + cx, fy * y / z + cy
        c, r = math.floor(u), math.floor(v)
        if z <= 0.05 or not (1 <= c < WIDTH - 1 and 1 <= r < HEIGHT - 1) or not is_plane(depth_2, r, c):
            continue
        inverse = 1 / depth_2[r, c]
        inverse += (1 / depth_2[r, c + 1] - 1 / depth_2[r, c - 1]) / 2 * (u - c - 0.5)
        inverse += (1 / depth_2[r + 1, c] - 1 / depth_2[r - 1, c]) / 2 * (v - r - 0.5)
        difference, tolerance = z - 1 / inverse, max(0.02, 0.015 * z)
        agrees = abs(difference) <= tolerance
        labelled = agrees and labels_1[row, column] != -1 and labels_2[r, c] != -1
        inside = is_inside(labels_1, row, column) and is_inside(labels_2, r, c)
        same = labels_1[row, column] == labels_2[r, c]
        counts += [
            True,
            difference > tolerance,
            agrees,
            labelled and inside,
            labelled and inside and same,
            labelled,
            labelled and same,
        ]
    return counts


def test_counts_are_those_of_one_point_after_another(views):
    pairs = [(0, 1), (3, 5), (2, 2)]
    comparison = ViewComparison(views, pairs, num_points=300)
    agreement = comparison.measure(Reading())
    pair, pixels = comparison._drawn(Reading())
    for number in range(len(pairs)):
        mine = pair == number
        expected = counted(views, pairs[number], zip(pixels.row[mine], pixels.column[mine], strict=True))
        names = ("seen", "hidden", "agreeing", "labelled", "same", "labelled_anywhere", "same_anywhere")
        assert [int(getattr(agreement, name)[number]) for name in names] == expected.tolist()
        assert expected[0] > 50
    assert agreement.seen[2] == agreement.agreeing[2]
    assert agreement.residual[2] < 1e-9


def test_the_same_seed_draws_the_same_points(views):
    first, second = (ViewComparison(views, [(0, 1)], 200, seed=3).measure(Reading()) for _ in range(2))
    assert first.seen == second.seen
    assert (first.residual == second.residual).all()


def facing(depth_2, label_2=1):
    """Two views from one place at a wall 2 m away, of which the second one sees something else."""
    shape = (HEIGHT, WIDTH)
    depths = [np.full(shape, 2.0), np.full(shape, depth_2)]
    views = views_of(depths, [np.ones(shape, int), np.full(shape, label_2)], [np.eye(4)] * 2)
    return ViewComparison(views, [(0, 1)], 100).measure(Reading())


@pytest.mark.parametrize(("depth", "hidden", "agreeing"), [(1.0, 100, 0), (1.99, 0, 100), (2.02, 0, 100), (3.0, 0, 0)])
def test_what_lies_behind_is_hidden_and_what_lies_before_contradicts(depth, hidden, agreeing):
    agreement = facing(depth)
    assert (int(agreement.seen[0]), int(agreement.hidden[0]), int(agreement.agreeing[0])) == (100, hidden, agreeing)


def test_shares_are_of_what_can_agree():
    assert facing(3.0).depth_share == 0
    assert math.isnan(facing(1.0).depth_share)
    assert facing(1.0).hidden_share == 1
    assert facing(1.0).score == 0
    assert facing(2.0).label_share == 1
    assert facing(2.0, label_2=0).label_share == 0
    void = facing(2.0, label_2=-1)
    assert math.isnan(void.label_share)
    assert void.score == 1


@pytest.mark.parametrize("step", ["label_step", "depth_step", "pose_step"])
def test_a_step_moves_one_thing_and_leaves_out_what_lacks_it(views, step):
    moved = ViewComparison(views, [(0, 1), (4, 5)], 300).measure(replace(Reading(), **{step: 1}))
    assert moved.seen[1] == 0
    index = [1, 2]
    same = [[0, 1], [0, 1], [0, 1]]
    same[["label_step", "depth_step", "pose_step"].index(step)] = index
    labels, depths, poses = same
    twin = views_of(
        [views.read_depth(i) for i in depths], [views.read_labels(i) for i in labels], [views.c2w[i] for i in poses]
    )
    expected = ViewComparison(twin, [(0, 1), (0, 1)], 300).measure(Reading())
    for name in ("seen", "agreeing", "same_anywhere"):
        assert getattr(moved, name)[0] == getattr(expected, name)[0]


@pytest.mark.parametrize(
    ("orientation", "size"), [(n, (WIDTH, HEIGHT)) for n in (2, 3, 4)] + [(n, (WIDTH, WIDTH)) for n in range(2, 9)]
)
def test_labels_are_found_where_the_orientation_shows_the_pixel(orientation, size):
    width, height = size
    stored = np.arange(3 * width * height).reshape(3, height, width)
    upright = np.stack([to_upright(stored[0], orientation), stored[1], to_upright(stored[2], orientation)])
    image, row, column = (np.array(numbers) for numbers in ([0, 1, 2, 2], [0, 5, 20, 23], [3, 31, 0, 16]))
    pixels, exif = Pixels(image, row, column), np.array([orientation, UPRIGHT, orientation])
    own = Reading(label_orientation=OF_EACH_IMAGE).label_pixels(pixels, size, lambda: exif)
    np.testing.assert_array_equal(own.of(upright), pixels.of(stored))
    chosen = image != 1
    same = Reading(label_orientation=orientation).label_pixels(pixels, size, lambda: exif)
    np.testing.assert_array_equal(same.of(upright)[chosen], pixels.of(stored)[chosen])
    assert Reading().label_pixels(pixels, size, lambda: exif).of(stored).tolist() == pixels.of(stored).tolist()


def test_a_reading_undoes_what_was_done():
    c2w, given = make_trajectory(3), np.tile([16.0, 20.0, 17.0, 12.0], (3, 1))
    flip = np.array([1.0, -1.0, -1.0, 1.0])
    assert Reading(is_inverted=True).poses(np.linalg.inv(c2w)) == pytest.approx(c2w)
    assert Reading(is_flipped=True).poses(c2w * flip) == pytest.approx(c2w)
    assert Reading(is_inverted=True, is_flipped=True).poses(np.linalg.inv(c2w * flip)) == pytest.approx(c2w)
    assert Reading(intrinsics_factor=0.5, pixel_shift=0.5).intrinsics(2 * given - [0, 0, 1, 1]) == pytest.approx(given)
    in_millimetres = c2w * np.array([[1, 1, 1, 1000]] * 3 + [[1] * 4])
    assert Reading(position_factor=0.001).poses(in_millimetres) == pytest.approx(c2w)
    assert Reading(is_swapped=True).intrinsics(given[:, [1, 0, 3, 2]]) == pytest.approx(given)


def test_rendered_depth_has_no_mistake_of_scale(views):
    def names(of):
        return {mistake.name for mistake in usual_mistakes(of)}

    rendered = replace(views, is_depth_rendered=True)
    gone = names(views) - names(rendered)
    assert {"depth scale 5000", "ray distance for planar depth", "camera positions in millimetres"} <= gone
    assert {"camera axes flipped", "labels of the next frame"} <= names(rendered)


@pytest.mark.parametrize(("depth", "positions"), [(1000.0, 1.0), (1.0, 1000.0)])
def test_of_depth_and_positions_that_is_mended_which_is_no_scale_of_a_scene(views, depth, positions):
    c2w = views.c2w * (np.array([[1, 1, 1, positions]] * 3 + [[1] * 4]))
    wrong = replace(views, c2w=c2w, read_depth=lambda i: views.read_depth(i) * np.float32(depth))
    # Images read with 1 unit per metre instead of 1000.
    wrong = replace(wrong, metres_per_depth_unit=1.0 if depth > 1 else 0.001)
    mistake = diagnose(ViewComparison(wrong, neighbouring_pairs(6, 4), 300)).mistake
    assert mistake is not None
    assert mistake.name == ("depth scale 1000" if depth > 1 else "camera positions in millimetres")


def test_the_median_depth_is_that_of_what_is_known(views):
    depths = [np.where(np.arange(WIDTH) < 8, 0, 2.0) * np.ones((HEIGHT, 1)), np.full((HEIGHT, WIDTH), 2.0)]
    labels = [np.ones((HEIGHT, WIDTH), int)] * 2
    assert ViewComparison(views_of(depths, labels, [np.eye(4)] * 2), [(0, 1)]).median_depth() == 2
    nothing = [np.zeros((HEIGHT, WIDTH))] * 2
    assert math.isnan(ViewComparison(views_of(nothing, labels, [np.eye(4)] * 2), [(0, 1)]).median_depth())


def all_pixels(step=1):
    row, column = (a.ravel() for a in np.mgrid[step : HEIGHT - step, step : WIDTH - step].astype(np.int64))
    return Pixels(np.zeros_like(row), row, column)


def test_points_project_back_onto_their_pixels():
    pixels = all_pixels()
    place = project(rays(pixels, INTRINSICS[None]) * 3.7, np.tile(INTRINSICS, (len(pixels.row), 1)))
    assert place == pytest.approx(np.stack([pixels.column, pixels.row], axis=-1) + 0.5)


@pytest.mark.parametrize("step", [1, 3])
def test_the_surface_of_a_plane_is_exact(step):
    normal = np.array([0.3, -0.2, -0.9]) / np.linalg.norm([0.3, -0.2, -0.9])
    pixels = all_pixels(step)
    every = Pixels(*(a.ravel() for a in np.mgrid[:1, :HEIGHT, :WIDTH].astype(np.int64)))
    depth = (-2.0 / (rays(every, INTRINSICS[None]) @ normal)).reshape(1, HEIGHT, WIDTH)
    surface = Surface.at(pixels, depth, INTRINSICS[None], step=step)
    assert surface.is_plane.all()
    assert surface.inverse == pytest.approx(1 / pixels.of(depth))
    assert surface.normals(pixels, INTRINSICS[None]) == pytest.approx(np.tile(normal, (len(pixels.row), 1)))
    # The same from distances along the rays, and in millimetres.
    distance = depth * lengths_of_rays(depth[0]) * 1000
    again = Surface.at(pixels, distance, INTRINSICS[None], factor=0.001, ray_power=-1, step=step)
    assert again.inverse == pytest.approx(surface.inverse)
    assert again.by_row == pytest.approx(surface.by_row)


def test_values_around_pixels_are_those_of_the_pixels_so_many_rows_and_columns_on():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 9, (3, 7, 9))
    mirrored = images[:, :, ::-1]  # not in the order of memory
    pixels = Pixels(rng.integers(0, 3, 50), rng.integers(2, 5, 50), rng.integers(2, 7, 50))
    steps = [(0, 0), (-2, 1), (1, -2), (2, 2)]
    for given in (images, mirrored):
        expected = np.stack([pixels.moved(row, column).of(given) for row, column in steps])
        np.testing.assert_array_equal(pixels.around(given, steps), expected)


def test_edges_and_unknown_depth_are_no_plane():
    depth = np.full((1, HEIGHT, WIDTH), 2.0)
    depth[0, :, 16:] = 4.0
    depth[0, 5, 5] = 0.0
    pixels = all_pixels()
    surface = Surface.at(pixels, depth, INTRINSICS[None])
    expected = [is_plane(depth[0], r, c) for r, c in zip(pixels.row, pixels.column, strict=True)]
    assert surface.is_plane.tolist() == expected
    assert 0 < np.sum(expected) < len(expected)


def test_the_inside_of_a_region_has_one_label_all_round(views):
    labels = np.asarray(views.read_labels(0))
    pixels = all_pixels()
    expected = [is_inside(labels, r, c) for r, c in zip(pixels.row, pixels.column, strict=True)]
    assert are_inside_regions(pixels, labels[None]).tolist() == expected


def test_pairs_stay_among_the_frames():
    pairs = neighbouring_pairs(10, 3)
    assert pairs == [(0, 1), (0, 2), (0, 4), (0, 8), (4, 5), (4, 6), (4, 8)]
    assert neighbouring_pairs(1, 3) == []


def test_views_without_depth_cannot_be_compared(views):
    with pytest.raises(ValueError, match="depth"):
        ViewComparison(replace(views, read_depth=None), [(0, 1)]).measure(Reading())
