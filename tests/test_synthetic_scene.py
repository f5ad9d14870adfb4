import math

import numpy as np
import pytest

from semantic_ns.synthetic_scene import (
    ROOM_HALF_SIZE,
    Box,
    Content,
    Room,
    Sphere,
    Texture,
    make_objects,
    make_trajectory,
    render,
    render_content,
)

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


def test_the_furnished_room_is_content_like_any_other():
    view = render_content(Content(make_objects()), POSES[0], *SIZE)
    for name in ("rgb", "depth_m", "labels", "instances"):
        np.testing.assert_array_equal(getattr(view, name), getattr(VIEWS[0], name))


def test_colour_is_the_mean_over_a_pixel_and_all_else_that_of_its_centre():
    content = Content(make_objects())
    fine, coarse = render(POSES[0], 96, 72), render_content(content, POSES[0], *SIZE, rays_per_side=3)
    mean = fine.rgb.reshape(24, 3, 32, 3, 3).mean(axis=(1, 3))
    assert np.abs(coarse.rgb - mean).max() <= 1, "both are rounded"
    for name in ("depth_m", "labels", "instances"):
        np.testing.assert_array_equal(getattr(coarse, name), getattr(VIEWS[0], name))
    with pytest.raises(ValueError, match="odd number"):
        render_content(content, POSES[0], *SIZE, rays_per_side=2)


def test_a_plain_wall_has_one_colour_and_more_waves_more_colours():
    numbers = []
    for texture in (Texture(strength=0.0), Texture(), Texture(num_waves=3)):
        view = render_content(Content((), Room(textures=(texture,) * 6)), POSES[0], *SIZE)
        of_wall = view.rgb[view.instances == np.bincount(view.instances.ravel()).argmax()]
        numbers.append(len(np.unique(of_wall, axis=0)))
    assert numbers[0] == 1 < numbers[1] < numbers[2]
