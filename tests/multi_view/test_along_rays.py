"""How far views can be relied on, against the angle written out for each ray."""

import math

import torch

from semantic_ns.geometry.views import pixel_centres
from semantic_ns.multi_view.along_rays import closeness_of_views
from support.ring_of_views import cameras_before_a_wall, world_point


def test_closeness_falls_with_the_square_of_the_angle_between_lines_of_sight() -> None:
    cameras, size = cameras_before_a_wall(4), (3, 4)
    depth = 1 + torch.rand(12, generator=torch.Generator().manual_seed(0))
    found = closeness_of_views(cameras[1:], cameras[:1], pixel_centres(*size).reshape(-1, 2), depth)
    for view in range(3):
        for ray in range(12):
            point = world_point(cameras[:1], ray % 4, ray // 4, float(depth[ray]), size)
            ahead, other = (point - cameras.centres[number] for number in (0, view + 1))
            cosine = float(ahead @ other / (ahead.norm() * other.norm()))
            assert math.isclose(float(found[view, ray]), 1 / (math.acos(cosine) + 0.05) ** 2, rel_tol=1e-3)


def test_a_source_in_the_place_of_the_target_is_relied_on_most_and_its_closeness_is_finite() -> None:
    cameras = cameras_before_a_wall(2)
    found = closeness_of_views(cameras, cameras[:1], torch.tensor([[0.4, 0.6]]), torch.tensor([2.0]))
    torch.testing.assert_close(found[0], torch.tensor([400.0]), rtol=1e-3, atol=0)
    assert float(found[1]) < 399
