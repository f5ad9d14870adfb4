"""Label images of many frames, of which only one at a time takes the room of its pixels."""

import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int16
from numpy import ndarray

_FAST = 1
"""Level of zlib. Label images are constant over large areas: higher levels cost time and save little."""
_DTYPE = np.dtype("<i2")
_VERSION = (1, 0)


@dataclass(frozen=True, eq=False)
class PackedLabels:
    """Label images of one size, each compressed on its own.

    Attributes:
        height: Their height, pixels.
        width: Their width, pixels.
        packed: Their ids, row by row.
    """

    height: int
    width: int
    packed: tuple[bytes, ...]

    @classmethod
    def of(cls, images: Iterable[Int16[ndarray, "height width"]], height: int, width: int) -> "PackedLabels":
        """Pack images as they come."""
        return cls(height, width, tuple(zlib.compress(image.astype(_DTYPE).tobytes(), _FAST) for image in images))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of images, height and width."""
        return len(self.packed), self.height, self.width

    def __iter__(self) -> Iterator[Int16[ndarray, "height width"]]:
        """The images, one after the other."""
        for content in self.packed:
            image = np.frombuffer(zlib.decompress(content), _DTYPE)
            yield image.reshape(self.height, self.width).astype(np.int16, copy=False)

    def write(self, archive: zipfile.ZipFile, name: str) -> None:
        """Write them into an archive as `np.savez_compressed` writes the array of all images."""
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            header = {"descr": _DTYPE.str, "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(file, header)  # pyright: ignore[reportArgumentType]
            for image in self:
                file.write(image.astype(_DTYPE).tobytes())

    @classmethod
    def read(cls, archive: zipfile.ZipFile, name: str) -> "PackedLabels":
        """Read what `write` wrote.

        Raises:
            ValueError: if it is something else.
        """
        with archive.open(f"{name}.npy") as file:
            if np.lib.format.read_magic(file) != _VERSION:
                raise ValueError("it has another version of the array format")
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if is_fortran or dtype != _DTYPE or len(shape) != 3 or min(shape) < 1:
                raise ValueError("it is no array of label images")
            num_images, height, width = shape
            return cls.of(_images(file.read, num_images, height, width), height, width)


def _images(
    read: Callable[[int], bytes], num_images: int, height: int, width: int
) -> Iterator[Int16[ndarray, "height width"]]:
    size = height * width * _DTYPE.itemsize
    for _ in range(num_images):
        content = read(size)
        if len(content) < size:
            raise ValueError("it ends early")
        yield np.frombuffer(content, _DTYPE).reshape(height, width)
    if read(1):  # which also compares the check sum of the archive
        raise ValueError("it goes on behind its last image")
