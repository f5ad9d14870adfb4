"""Marks on a picture of the surface, as marks on the training images that show the same place."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import encode_coco
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.labelling.thinning import shown_at


class PixelBlocks:
    """The pixels of a training image that each disc of a surface stands for.

    They are those that are nearer to its pixel than to that of any other disc.

    Args:
        surface: The surface, whose discs lie on a grid of pixels.
    """

    def __init__(self, surface: LabelSurface) -> None:
        self._surface = surface
        _, rows, columns = surface.discs.pixels.T
        self._rows, self._columns = np.unique(rows), np.unique(columns)

    def mask(self, pixels: Int32[ndarray, "discs 2"]) -> Bool[ndarray, "height width"]:
        """The pixels that the discs of some pixels (row, column) stand for."""
        grid = np.zeros((len(self._rows), len(self._columns)), np.bool_)
        grid[np.searchsorted(self._rows, pixels[:, 0]), np.searchsorted(self._columns, pixels[:, 1])] = True
        return grid[self._of_rows][:, self._of_columns]

    @cached_property
    def _of_rows(self) -> ndarray:
        return _nearest_of(self._rows, self._surface.frames[0].height)

    @cached_property
    def _of_columns(self) -> ndarray:
        return _nearest_of(self._columns, self._surface.frames[0].width)


class PlaceOnView:
    """The place on the surface that some pixels of a picture of it show.

    Args:
        surface: The surface.
        nearest: The number of the drawn disc that each pixel shows, -1 for none.
        mask: The pixels.
        c2w: The pose of the picture's camera (OpenGL axes), scene units.
        vertical_fov: Its vertical angle of view, radians.
    """

    def __init__(
        self,
        surface: LabelSurface,
        nearest: Int32[ndarray, "height width"],
        mask: Bool[ndarray, "height width"],
        c2w: Float32[ndarray, "3 4"],
        vertical_fov: float,
    ) -> None:
        self._surface, self._c2w, self._vertical_fov = surface, c2w, vertical_fov
        self._shown = np.where(mask, nearest, np.int32(-1))
        self._numbers = np.unique(nearest[mask & (nearest >= 0)])
        self._first = np.searchsorted(surface.discs.pixels[:, 0], np.arange(len(surface.frames) + 1))

    def shown_pixels(self) -> dict[int, Int32[ndarray, "discs 2"]]:
        """By frame, row and column of the training pixels that are shown there."""
        pixels = self._surface.drawn_discs.pixels[self._numbers]
        return {int(frame): pixels[pixels[:, 0] == frame, 1:] for frame in np.unique(pixels[:, 0])}

    def pixels_of(self, frame: int, reach: int) -> Int32[ndarray, "discs 2"]:
        """Row and column of all pixels of a frame that have a disc and see the place, whether they are drawn or not.

        Args:
            frame: The frame.
            reach: Voxels by which the point of a pixel may lie before or behind what is shown, beside those that touch
                it: depths of images differ where they look along a surface.
        """
        surface, drawn = self._surface, self._surface.drawn_discs
        discs = surface.discs
        own = np.arange(self._first[frame], self._first[frame + 1])
        found = shown_at(self._shown, discs.positions[own], self._c2w, self._vertical_fov)
        own, found = own[found >= 0], found[found >= 0]
        apart = np.linalg.norm(discs.positions[own] - drawn.positions[found], axis=1)
        touches = apart <= discs.radii[own] + drawn.radii[found]
        voxels, others = surface.disc_voxels[own], surface.drawn_voxels[found]
        steps = np.abs(_places_of(surface, voxels) - _places_of(surface, others)).max(axis=1, initial=0)
        is_there = touches | ((voxels >= 0) & (others >= 0) & (steps <= reach))
        return discs.pixels[own[is_there], 1:]


def covered(mark: Mark, height: int, width: int) -> Bool[ndarray, "height width"]:
    """The pixels of a picture of the surface that a mark covers.

    Raises:
        SceneError: it is made of regions or of masks of images, which a picture does not have, or covers no pixel.
    """
    if mark.shape["kind"] in {"region", "masks"}:
        raise SceneError(
            f"Expected a point, a stroke or a polygon in the free view, found {mark.shape['kind']}; use the brush."
        )
    return mark.mask(height, width, lambda: np.zeros((height, width), np.int32))


def with_masks(mark: Mark, masks: Mapping[int, Bool[ndarray, "height width"]]) -> Mark:
    """What a mark says, said of pixels of some training images.

    Raises:
        SceneError: there are none, or they are too ragged to be written down.
    """
    counts = {frame: int(mask.sum()) for frame, mask in masks.items()}
    frames = sorted(frame for frame, count in counts.items() if count)
    if not frames:
        raise SceneError("Expected a mark on the surface, found one where no training image sees any; mark elsewhere.")
    runs = {str(frame): encode_coco(np.ascontiguousarray(masks[frame]))["counts"] for frame in frames}
    frame = max(frames, key=lambda one: counts[one])
    shape = {"kind": "masks", "runs": runs} if len(runs) > 1 else {"kind": "mask", "runs": runs[str(frame)]}
    return Mark.from_json({**mark.to_json(), "frame": frame, "shape": shape})


def _places_of(surface: LabelSurface, voxels: Int32[ndarray, "voxels"]) -> Int64[ndarray, "voxels 3"]:
    """The numbers of voxels along x, y and z, see `VoxelGrid`."""
    return (surface.graph.voxels.keys[voxels][:, None] >> np.array([42, 21, 0])) & (2**21 - 1)


def _nearest_of(places: ndarray, length: int) -> ndarray:
    """For each of some pixels in a line, the number of the nearest place, ascending pixels; the lower one of two."""
    return np.searchsorted((places[1:] + places[:-1]) / 2, np.arange(length))
