import math

import numpy as np
import pytest

from semantic_ns.synthetic_scene import ROOM_HALF_SIZE, Box, Sphere, make_objects, make_trajectory, render

SIZE = (32, 24)
POSES = make_trajectory(6, seed=1)
VIEWS = [render(pose, *SIZE) for pose in POSES]


def unproject(pose, depth):
    """World point of every pixel, one at a time."""
    width, height = SIZE
    focal = width / 2
    points = np.empty((height, width, 3))
    for row in range(height):
        for column in range(width):
            z = depth[row, column]
            point = np.array([(column + 0.5 - width / 2) * z / focal, (row + 0.5 - height / 2) * z / focal, z, 1])
            points[row, column] = (pose @ point)[:3]
    return points


def distance_to(thing, point):
    """Distance of a point to the surface of an object."""
    if isinstance(thing, Sphere):
        return abs(math.dist(point, thing.centre) - thing.radius)
    outside = [abs(p - c) - h for p, c, h in zip(point, thing.centre, thing.half_size, strict=True)]
    return abs(max(outside))


@pytest.mark.parametrize("index", range(len(POSES)))
def test_every_pixel_lies_on_the_surface_of_its_object(index):
    view, objects = VIEWS[index], make_objects()
    for point, instance, label in zip(
        unproject(POSES[index], view.depth_m).reshape(-1, 3), view.instances.ravel(), view.labels.ravel(), strict=True
    ):
        if instance > 6:
            thing = objects[instance - 7]
            assert label == thing.class_id
        else:
            thing = Box(0, (0.0, 0.0, 0.0), (0.0, 0.0, ROOM_HALF_SIZE[2]), ROOM_HALF_SIZE)
            assert label == {5: 40, 6: 31}.get(int(instance), 93)
        assert distance_to(thing, point) < 1e-5


def test_nothing_lies_between_camera_and_surface():
    pose, view = POSES[0], VIEWS[0]
    solids = [thing for thing in make_objects() if isinstance(thing, Box)]
    points = unproject(pose, view.depth_m).reshape(-1, 3)
    for share in np.linspace(0, 0.99, 50):
        between = pose[:3, 3] + share * (points - pose[:3, 3])
        for box in solids:
            assert not (np.abs(between - box.centre) < np.array(box.half_size) - 1e-3).all(axis=1).any()


def test_trajectory_is_rigid_upright_and_inside_the_room():
    rotations = POSES[:, :3, :3]
    np.testing.assert_allclose(rotations.transpose(0, 2, 1) @ rotations, np.tile(np.eye(3), (6, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    assert (POSES[:, 2, 1] < -0.5).all(), "the camera's y axis points down"
    assert (np.abs(POSES[:, :2, 3]) < 1).all()


def test_views_are_deterministic_and_depend_on_the_seed():
    again, other = render(POSES[0], *SIZE), render(POSES[0], *SIZE, seed=1)
    np.testing.assert_array_equal(again.rgb, VIEWS[0].rgb)
    assert (other.labels != VIEWS[0].labels).any()


def test_the_room_shows_void_things_and_stuff():
    labels = set(np.concatenate([view.labels.ravel() for view in VIEWS]).tolist())
    assert {0, 31, 40, 93, 80, 18, 76} <= labels


def test_colour_of_a_surface_point_is_the_same_from_two_pixel_sizes():
    fine, coarse = render(POSES[0], 96, 72), VIEWS[0]
    np.testing.assert_array_equal(fine.rgb[1::3, 1::3], coarse.rgb)
