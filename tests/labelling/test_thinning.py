"""A wall that several cameras see, each through discs of its own pixels."""

import math

import numpy as np

from semantic_ns.labelling.thinning import drawn_wider, enough_discs
from semantic_ns.labelling.view import SurfaceDiscs, nearest_discs, without_gaps

SIZE, NEAR, FOV = 24, 0.01, 2 * math.atan(0.5)
FOCAL = 0.5 * SIZE / math.tan(FOV / 2)


def pose(x: float, distance: float) -> np.ndarray:
    """A camera before the wall, which lies in the plane z = 0."""
    return np.array([[1, 0, 0, x], [0, 1, 0, 0], [0, 0, 1, distance]], np.float32)


def discs_of(poses: list[np.ndarray], depth: float = 0.0) -> SurfaceDiscs:
    """A disc for each pixel of each camera, with the radius that `SurfaceBuilder` gives; the wall is so far back."""
    rows, columns = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    positions, radii, pixels = [], [], []
    for frame, c2w in enumerate(poses):
        distance = c2w[2, 3] + depth
        x = c2w[0, 3] + (columns + 0.5 - SIZE / 2) / FOCAL * distance
        y = c2w[1, 3] - (rows + 0.5 - SIZE / 2) / FOCAL * distance
        positions.append(np.stack([x, y, np.full(x.shape, -depth)], axis=-1).reshape(-1, 3))
        radii.append(np.full(SIZE * SIZE, 0.75 * distance / FOCAL))
        pixels.append(np.stack([np.full(rows.shape, frame), rows, columns], axis=-1).reshape(-1, 3))
    count = len(poses) * SIZE * SIZE
    normals = np.tile(np.array([[0, 0, 127]], np.int8), (count, 1))
    return SurfaceDiscs(
        np.concatenate(positions).astype(np.float32),
        normals,
        np.concatenate(radii).astype(np.float32),
        np.concatenate(pixels).astype(np.int32),
        np.zeros((count, 3), np.uint8),
    )


def enough(discs: SurfaceDiscs, poses: list[np.ndarray]) -> np.ndarray:
    return enough_discs(discs, np.stack(poses), [FOV] * len(poses), (SIZE, SIZE), NEAR)


def test_every_camera_still_sees_the_wall_nearly_everywhere_and_no_disc_is_drawn_for_each_camera_anew() -> None:
    poses = [pose(x, distance) for x, distance in ((0.0, 2.0), (0.3, 2.2), (-0.2, 1.9), (0.1, 2.1), (0.0, 1.0))]
    discs = discs_of(poses)
    drawn = enough(discs, poses)
    assert (np.diff(drawn) > 0).all()
    assert len(drawn) < 0.6 * len(discs.positions)
    for c2w in poses:
        seen = without_gaps(nearest_discs(drawn_wider(discs.part(drawn)), c2w, FOV, 50, 50, NEAR))
        assert (seen[1:-1, 1:-1] >= 0).mean() > 0.995


def test_of_two_cameras_in_one_place_one_is_enough() -> None:
    poses = [pose(0.0, 2.0), pose(0.0, 2.0)]
    assert enough(discs_of(poses), poses).tolist() == list(range(SIZE * SIZE))


def test_a_close_view_takes_the_place_of_what_a_far_one_shows_there() -> None:
    poses = [pose(0.0, 3.0), pose(0.0, 1.0)]
    discs = discs_of(poses)
    frames = discs.pixels[enough(discs, poses), 0]
    assert (frames == 1).sum() == SIZE * SIZE  # all that are finer
    # The close view is as wide as a third of the far one, a ninth of its discs, up to those on the border.
    assert (frames == 0).sum() <= SIZE * SIZE * 8 / 9 + 4 * SIZE / 3
    assert (frames == 0).sum() >= SIZE * SIZE * 8 / 9 - 4 * SIZE / 3


def test_a_surface_behind_another_one_is_kept() -> None:
    poses = [pose(0.0, 2.0), pose(0.0, 2.0)]
    before, behind = discs_of(poses[:1]), discs_of(poses[:1], depth=1.0)
    pixels = np.concatenate([before.pixels, behind.pixels + np.array([1, 0, 0])]).astype(np.int32)
    positions, normals, radii = (
        np.concatenate([getattr(before, name), getattr(behind, name)]) for name in ("positions", "normals", "radii")
    )
    discs = SurfaceDiscs(positions, normals, radii, pixels, np.zeros((len(pixels), 3), np.uint8))
    assert len(enough(discs, poses)) == len(pixels)


def test_a_disc_that_is_seen_from_the_side_is_drawn_only_where_its_camera_sees_nothing_else() -> None:
    poses = [pose(0.0, 2.0), pose(0.5, 2.0)]
    discs = discs_of(poses)
    is_turned = (discs.pixels[:, 0] == 1) & (discs.pixels[:, 1] == 7)
    lonely = discs.positions[:, 0] > poses[0][0, 3] + 1.0 + 2 * discs.radii[0]  # outside of the first image
    discs.normals[is_turned] = [127, 0, 0]
    discs.positions[is_turned, 2] += 0.3  # in the air
    rays = discs.positions - np.stack(poses)[discs.pixels[:, 0], :, 3]
    grazes = is_turned & (np.abs(rays[:, 0]) < 0.15 * np.linalg.norm(rays, axis=1))
    drawn = np.isin(np.arange(len(discs.positions)), enough(discs, poses))
    assert (grazes & ~lonely).any()
    assert not drawn[grazes & ~lonely].any()
