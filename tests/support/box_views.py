"""Views of an empty box room, whose depth, normals and classes are known exactly."""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from semantic_ns.export.surface_views import SurfaceView
from semantic_ns.labels.taxonomy import Taxonomy

Place = Sequence[float] | ndarray
SIZE = np.array([4.0, 3.0, 2.5])
"""The room reaches from the origin to here, metres."""
NAMES = ("west", "east", "south", "north", "floor", "ceiling")
COLORS = ((200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200), (200, 0, 200))
TAXONOMY = Taxonomy((1, 2, 3, 5, 8, 13), NAMES, COLORS, (False,) * 6, 0)


def looking(place: Place, target: Place) -> ndarray:
    """World to camera [3, 4], OpenCV axes, of a camera that looks at a target; z is up."""
    ahead = np.subtract(target, place) / np.linalg.norm(np.subtract(target, place))
    right = np.cross(ahead, (0, 0, 1))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(ahead, right), ahead])
    return np.concatenate([rotation, -rotation @ np.reshape(place, (3, 1))], axis=1).astype(np.float64)


def box_view(place: Place, target: Place, width: int = 64, height: int = 48) -> SurfaceView:
    """What a camera inside the room sees."""
    w2c, lens = looking(place, target), np.array([0.6 * width, 0.6 * width, width / 2, height / 2])
    row, column = np.mgrid[:height, :width]
    rays = np.stack([(column + 0.5 - lens[2]) / lens[0], (row + 0.5 - lens[3]) / lens[1], np.ones(row.shape)], axis=-1)
    along = rays @ w2c[:, :3]
    centre = -w2c[:, :3].T @ w2c[:, 3]
    with np.errstate(divide="ignore"):
        far = np.where(along > 0, (SIZE - centre) / along, -centre / along)  # of each pair of walls the one ahead
    axis = far.argmin(axis=-1)
    wall = 2 * axis + (np.take_along_axis(along, axis[..., None], -1)[..., 0] > 0)
    return SurfaceView(
        w2c,
        lens,
        far.min(axis=-1).astype(np.float32),
        np.array(COLORS, np.uint8)[wall],
        wall.astype(np.int16),
        np.full(wall.shape, 0.9, np.float32),
    )


def box_views() -> list[SurfaceView]:
    """Eight cameras around the middle of the room, which look outwards and a little up and down in turn."""
    middle = SIZE / 2
    turns = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    steps = [np.array([np.cos(turn), np.sin(turn), 0.5 * (-1) ** number]) for number, turn in enumerate(turns)]
    return [box_view(middle - 0.4 * step, middle + step) for step in steps]


def walls() -> ndarray:
    """Normals into the room of the walls in the order of their classes [6, 3]."""
    return np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float64)


def distance_to_walls(points: ndarray) -> ndarray:
    """How far points lie from the nearest wall's plane."""
    return np.minimum(np.abs(points), np.abs(points - SIZE)).min(axis=-1)
