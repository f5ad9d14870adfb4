"""A map of an image that is constant over large areas, which take no room."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int32
from numpy import ndarray

_TILE = 32
"""Side of the parts in which the map is kept, pixels."""

Box = tuple[int, int, int, int]
"""First row, first column, and the row and the column behind the last ones."""


@dataclass(frozen=True, eq=False)
class OwnerMap:
    """Which mark each pixel of an image belongs to, 0 or more, in tiles; nothing changes it.

    Attributes:
        height: The height of the image, pixels.
        width: Its width, pixels.
        tiles: Of each tile the number that all of it has, or else -1 - its place among the mixed ones.
        mixed: The tiles that have several numbers.
    """

    height: int
    width: int
    tiles: Int32[ndarray, "rows columns"]
    mixed: Int32[ndarray, "mixed side side"]

    @classmethod
    def empty(cls, height: int, width: int) -> "OwnerMap":
        """The map of an image without marks."""
        shape = -(-height // _TILE), -(-width // _TILE)
        return cls(height, width, np.zeros(shape, np.int32), np.empty((0, _TILE, _TILE), np.int32))

    @classmethod
    def of(cls, numbers: Int32[ndarray, "height width"]) -> "OwnerMap":
        """The map with these numbers."""
        height, width = numbers.shape
        return cls.empty(height, width).with_box((0, 0, height, width), numbers)

    def all(self) -> Int32[ndarray, "height width"]:
        """The number of each pixel."""
        return self.box((0, 0, self.height, self.width))

    def box(self, box: Box) -> Int32[ndarray, "_height _width"]:
        """The numbers of the pixels of a box."""
        (top, left, bottom, right), (first_row, first_column, last_row, last_column) = box, _tiles_of(box)
        found = self._whole_tiles(first_row, first_column, last_row, last_column)
        down, over = first_row * _TILE, first_column * _TILE
        return found[top - down : bottom - down, left - over : right - over]

    def at(self, rows: Int[ndarray, "*pixels"], columns: Int[ndarray, "*pixels"]) -> Int32[ndarray, "*pixels"]:
        """The numbers of single pixels."""
        numbers = self.tiles[rows // _TILE, columns // _TILE]
        is_mixed = numbers < 0
        if is_mixed.any():
            numbers[is_mixed] = self.mixed[-1 - numbers[is_mixed], rows[is_mixed] % _TILE, columns[is_mixed] % _TILE]
        return numbers

    def every(self, step: int) -> Int32[ndarray, "rows columns"]:
        """The numbers of every n-th pixel along rows and columns."""
        return self.at(*np.mgrid[0 : self.height : step, 0 : self.width : step])

    def with_box(self, box: Box, numbers: Int32[ndarray, "_height _width"]) -> "OwnerMap":
        """The map with other numbers in a box."""
        (top, left, bottom, right), (first_row, first_column, last_row, last_column) = box, _tiles_of(box)
        num_rows, num_columns = last_row - first_row, last_column - first_column
        block = self._whole_tiles(first_row, first_column, last_row, last_column)
        down, over = first_row * _TILE, first_column * _TILE
        block[top - down : bottom - down, left - over : right - over] = numbers
        # What lies outside the image is no reason to keep a tile.
        end_row, end_column = min(self.height - down, len(block)), min(self.width - over, block.shape[1])
        block[end_row:] = block[end_row - 1]
        block[:, end_column:] = block[:, [end_column - 1]]
        of_tiles = block.reshape(num_rows, _TILE, num_columns, _TILE).swapaxes(1, 2).reshape(-1, _TILE, _TILE)
        flat = of_tiles.reshape(len(of_tiles), -1)
        is_mixed = (flat != flat[:, :1]).any(axis=1)
        tiles = self.tiles.copy()
        inside = np.s_[first_row:last_row, first_column:last_column]
        tiles[inside] = 0
        kept = tiles < 0
        mixed = np.concatenate([self.mixed[-1 - tiles[kept]], of_tiles[is_mixed]])
        num_kept = int(kept.sum())
        tiles[kept] = -1 - np.arange(num_kept)
        new = np.where(is_mixed, -num_kept - np.cumsum(is_mixed), flat[:, 0])
        tiles[inside] = new.reshape(num_rows, num_columns)
        return OwnerMap(self.height, self.width, tiles, mixed)

    def _whole_tiles(self, first_row: int, first_column: int, last_row: int, last_column: int) -> ndarray:
        """The numbers of a rectangle of tiles, to write on."""
        tiles = self.tiles[first_row:last_row, first_column:last_column]
        found = tiles.repeat(_TILE, axis=0).repeat(_TILE, axis=1)
        by_tile = found.reshape(tiles.shape[0], _TILE, tiles.shape[1], _TILE).swapaxes(1, 2)
        rows, columns = np.nonzero(tiles < 0)
        by_tile[rows, columns] = self.mixed[-1 - tiles[rows, columns]]
        return found


def _tiles_of(box: Box) -> Box:
    top, left, bottom, right = box
    return top // _TILE, left // _TILE, -(-bottom // _TILE), -(-right // _TILE)
