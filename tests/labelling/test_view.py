import math
from pathlib import Path

import numpy as np
import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.labelling.view import SurfaceDiscs, nearest_discs, without_gaps
from semantic_ns.labelling.view_numba import find_boxes
from support.label_surfaces import make_label_surface

HEIGHT, WIDTH, FOV, NEAR = 37, 45, 1.1, 0.05


def random_discs(number: int, seed: int) -> SurfaceDiscs:
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(number, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return SurfaceDiscs(
        rng.uniform(-1, 1, (number, 3)).astype(np.float32),
        np.round(normals * 127).astype(np.int8),
        rng.uniform(0.001, 0.2, number).astype(np.float32),
        np.zeros((number, 3), np.int32),
        rng.integers(0, 256, (number, 3), np.uint8),
    )


def random_pose(seed: int) -> np.ndarray:
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    return np.concatenate([rotation, rotation[:, 2:] * 1.5], axis=1).astype(np.float32)  # looks at the origin


def drawn_slowly(discs: SurfaceDiscs, c2w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth of each disc along the ray of each pixel, infinite where it is missed; pixels where all is clear."""
    rotation = c2w[:, :3].astype(float) * [1, -1, -1]
    places = (discs.positions - c2w[:, 3]) @ rotation
    normals = discs.normals / 127 @ rotation
    focal = 0.5 * HEIGHT / math.tan(FOV / 2)
    rows, columns = np.meshgrid(np.arange(HEIGHT) + 0.5, np.arange(WIDTH) + 0.5, indexing="ij")
    rays = np.stack([(columns - WIDTH / 2) / focal, (rows - HEIGHT / 2) / focal, np.ones_like(rows)], axis=-1)
    slopes = rays @ normals.T
    lengths = np.linalg.norm(rays, axis=-1, keepdims=True)
    is_grazing = np.abs(slopes) <= 0.15 * lengths
    depths = np.where(is_grazing, places[:, 2], (places * normals).sum(axis=1) / np.where(is_grazing, 1, slopes))
    distance = np.linalg.norm(rays[..., None, :] * depths[..., None] - places, axis=-1)
    with np.errstate(divide="ignore"):
        reach = np.maximum(discs.radii, 0.71 * places[:, 2] / focal)
    is_hit = (distance <= reach) & (depths > NEAR) & (places[:, 2] > NEAR)
    clear = np.minimum(np.abs(distance - reach), np.abs(np.abs(slopes) / lengths - 0.15)).min(axis=-1) > 1e-5
    return np.where(is_hit, depths, np.inf), clear


@pytest.mark.parametrize("seed", range(3))
def test_each_pixel_shows_the_nearest_disc_that_its_ray_meets(seed: int) -> None:
    discs, c2w = random_discs(60, seed), random_pose(seed)
    nearest = nearest_discs(discs, c2w, FOV, HEIGHT, WIDTH, NEAR)
    depths, is_clear = drawn_slowly(discs, c2w)
    expected = np.where(np.isfinite(depths.min(axis=-1)), depths.argmin(axis=-1), -1)
    assert (expected >= 0).mean() > 0.2
    assert is_clear.mean() > 0.9
    assert (nearest == expected)[is_clear].all()


def test_a_training_camera_sees_its_own_image_and_marks_on_the_view_are_marks_on_images(tmp_path: Path) -> None:
    surface = make_label_surface(tmp_path / "images", 2)
    session = LabelSession(surface, tmp_path / "journal")
    for x, class_id in ((2, 3), (20, 7)):
        shape = {"kind": "click", "x": x, "y": 12, "radius": 2}
        session.add_mark(Mark.from_json({"frame": 0, "class_id": class_id, "shape": shape}), "a", x)
    view = session.view(facing(surface), FOV, HEIGHT, WIDTH)
    is_seen = view.pixels[..., 0] >= 0
    assert is_seen.mean() > 0.2
    frames, rows, columns = view.pixels[is_seen].T
    colors = np.stack([session.color(frame) for frame in range(2)])
    labels = np.stack([session.labels(frame) for frame in range(2)])
    confidence = np.stack([session.confidence(frame) for frame in range(2)])
    assert (view.color[is_seen] == colors[frames, rows, columns]).all()
    assert (view.labels[is_seen] == labels[frames, rows, columns]).all()
    assert (view.confidence[is_seen] == confidence[frames, rows, columns]).all()
    assert set(np.unique(view.confidence[is_seen] < 1)) == {False, True}
    assert (view.confidence[~is_seen] == 0).all()
    assert {3, 7} <= set(np.unique(view.labels))
    assert (view.labels[~is_seen] == -1).all()
    session.close()


def test_the_pose_of_a_frame_is_that_of_its_camera(tmp_path: Path) -> None:
    surface = make_label_surface(tmp_path / "images", 2)
    session = LabelSession(surface, tmp_path / "journal")
    c2w, fov = session.pose(1)
    assert (c2w == surface.c2w[1]).all()
    # Half of the height over the focal length.
    assert math.tan(fov / 2) == pytest.approx(surface.frames[1].height / 2 / surface.intrinsics[1, 1])
    session.close()


def facing(surface: LabelSurface) -> np.ndarray:
    """A pose before the wall of the tests, which lies at z = 0.5."""
    middle = surface.positions.mean(axis=0)
    return np.array([[1, 0, 0, middle[0]], [0, 1, 0, middle[1]], [0, 0, 1, 1.2]], np.float32)


@pytest.mark.parametrize(
    ("value", "fov", "height"),
    [(math.nan, FOV, 10), (0.0, 0.0, 10), (0.0, math.nan, 10), (0.0, FOV, 0), (0.0, FOV, 9999)],
)
def test_poses_and_sizes_that_are_none_are_refused(value: float, fov: float, height: int) -> None:
    c2w = random_pose(0)
    c2w[0, 3] += np.float32(value)
    with pytest.raises(SceneError):
        nearest_discs(random_discs(5, 0), c2w, fov, height, 10, NEAR)


def test_nothing_is_seen_behind_the_camera() -> None:
    discs = random_discs(40, 0)
    c2w = np.concatenate([np.eye(3), [[0], [0], [-3]]], axis=1).astype(np.float32)  # looks along -z, away from them
    assert (nearest_discs(discs, c2w, FOV, HEIGHT, WIDTH, NEAR) == -1).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_pixel_takes_the_disc_of_a_neighbour_where_five_of_the_eight_show_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nearest = np.where(rng.random((13, 17)) < 0.35, -1, rng.integers(0, 99, (13, 17))).astype(np.int32)
    filled = without_gaps(nearest)
    for row, column in np.ndindex(13, 17):
        around = nearest[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        shown = around[around >= 0]
        if nearest[row, column] >= 0:
            assert filled[row, column] == nearest[row, column]
        elif len(shown) >= 5:
            assert filled[row, column] in shown
        else:
            assert filled[row, column] == -1
    assert ((nearest < 0) & (filled >= 0)).any()
    assert (filled < 0).any()


@pytest.mark.parametrize("seed", range(3))
def test_a_box_holds_every_pixel_whose_ray_meets_the_ball_and_is_tight(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen = np.zeros((200, 6), np.float32)
    seen[:, :3] = rng.normal(loc=(0, 0, 0.4), scale=(0.6, 0.6, 0.5), size=(200, 3))
    radii = rng.uniform(0.01, 0.3, 200).astype(np.float32)
    focal = 0.5 * HEIGHT / math.tan(FOV / 2)
    boxes = np.empty((200, 4), np.int32)
    find_boxes(seen, radii, np.float32(focal), np.float32(NEAR), HEIGHT, WIDTH, boxes)
    rows, columns = np.meshgrid(np.arange(HEIGHT) + 0.5, np.arange(WIDTH) + 0.5, indexing="ij")
    rays = np.stack([(columns - WIDTH / 2) / focal, (rows - HEIGHT / 2) / focal, np.ones_like(rows)], axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    num_tight = 0
    for place, radius, (top, bottom, left, right) in zip(seen[:, :3].astype(float), radii, boxes.tolist(), strict=True):
        reach = max(radius, 0.71 * place[2] / focal)
        along = np.maximum(rays @ place, 0)  # before the camera alone
        is_met = np.linalg.norm(rays * along[..., None] - place, axis=-1) < reach - 1e-4
        is_met &= place[2] > NEAR
        inside = np.zeros(is_met.shape, np.bool_)
        inside[top:bottom, left:right] = True
        assert not (is_met & ~inside).any()
        if is_met.any() and top > 0 and bottom < HEIGHT and left > 0 and right < WIDTH:
            met_rows, met_columns = is_met.any(axis=1).nonzero()[0], is_met.any(axis=0).nonzero()[0]
            slack = (met_rows[0] - top, bottom - 1 - met_rows[-1], met_columns[0] - left, right - 1 - met_columns[-1])
            assert max(slack) <= 2
            num_tight += 1
    assert num_tight > 10
