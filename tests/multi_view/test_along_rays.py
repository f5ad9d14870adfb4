"""How far views can be relied on, against the angle written out for each ray."""

import math

import torch

from semantic_ns.multi_view.along_rays import closeness_of_views


def test_closeness_falls_with_the_square_of_the_angle_between_lines_of_sight() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(5, 3, generator=generator)
    depth = 1 + torch.rand(5, generator=generator)
    centre, sources = torch.randn(3, generator=generator), torch.randn(4, 3, generator=generator)
    found = closeness_of_views(directions, depth, centre, sources)
    for view in range(4):
        for ray in range(5):
            ahead = [float(d) * float(depth[ray]) for d in directions[ray]]
            point = [float(c) + a for c, a in zip(centre, ahead, strict=True)]
            other = [p - float(s) for p, s in zip(point, sources[view], strict=True)]
            cosine = sum(a * b for a, b in zip(ahead, other, strict=True)) / (math.hypot(*ahead) * math.hypot(*other))
            truth = 1 / (math.acos(cosine) + 0.05) ** 2
            assert math.isclose(float(found[view, ray]), truth, rel_tol=1e-3)


def test_a_source_in_the_place_of_the_target_is_relied_on_most_and_its_closeness_is_finite() -> None:
    directions, depth, centre = torch.tensor([[0.1, 0.2, 1.0]]), torch.tensor([2.0]), torch.tensor([1.0, 2.0, 3.0])
    found = closeness_of_views(directions, depth, centre, torch.stack([centre, centre + 0.1]))
    torch.testing.assert_close(found[0], torch.tensor([400.0]), rtol=1e-4, atol=0)
    assert float(found[1]) < 400
