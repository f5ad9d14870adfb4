"""ScanNet's `.sens` files (Dai et al. 2017), version 4: colour and depth video with poses, read piece by piece.

Little endian, without padding: version (uint32, 4); name (uint64 length, bytes); intrinsic_color, extrinsic_color,
intrinsic_depth, extrinsic_depth (16 float32 each, row by row); colour and depth compression (int32 each); width and
height of colour and of depth (uint32 each); depth_shift (float32, units per metre); number of frames (uint64). Each
frame holds camera_to_world (16 float32), two timestamps in microseconds, the sizes of colour and depth in bytes (uint64
each), then these bytes. IMU readings follow, which nothing here needs.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float64, UInt8, UInt16
from numpy import ndarray
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.io.images import told_as_scene_error

VERSION = 4
RAW_COLOR, PNG_COLOR, JPEG_COLOR = 0, 1, 2
RAW_DEPTH, ZLIB_DEPTH = 0, 1
_COLOR_NAMES = {RAW_COLOR: "raw", PNG_COLOR: "png", JPEG_COLOR: "jpeg"}
_DEPTH_NAMES = {RAW_DEPTH: "raw", ZLIB_DEPTH: "zlib"}
_MATRIX = struct.Struct("<16f")
_FRAME = struct.Struct("<16f4Q")
_MAX_SIDE = 65536
_AGAIN = "copy or download the file again"


@dataclass(frozen=True)
class SensHeader:
    """What holds for every frame.

    Attributes:
        intrinsic_color, intrinsic_depth: 4x4, pixels, integer pixel centres (the middle of the first pixel is 0).
        extrinsic_color, extrinsic_depth: 4x4; colour and depth are registered already, so nothing here applies them.
        color_size, depth_size: width, height.
        units_per_metre: units of the depth images in a metre, 1000 in ScanNet.
    """

    name: str
    intrinsic_color: Float64[ndarray, "4 4"]
    extrinsic_color: Float64[ndarray, "4 4"]
    intrinsic_depth: Float64[ndarray, "4 4"]
    extrinsic_depth: Float64[ndarray, "4 4"]
    color_compression: int
    depth_compression: int
    color_size: tuple[int, int]
    depth_size: tuple[int, int]
    units_per_metre: float
    num_frames: int


@dataclass(frozen=True)
class SensFrame:
    """Where a frame lies in the file, and its pose (OpenCV camera to world, metres; -inf where tracking was lost)."""

    number: int
    c2w_opencv: Float64[ndarray, "4 4"]
    color_offset: int
    color_bytes: int
    depth_bytes: int


class SensFile:
    """An open `.sens` file; memory holds one frame at a time. A context manager.

    Raises:
        SceneError: on a missing, truncated or damaged file, another version, or a compression that is not supported;
            the sentence names the byte where reading stopped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with told_as_scene_error(path, ".sens file"):
            self._size = path.stat().st_size
            self._file: BinaryIO = path.open("rb")
        try:
            self.header = self._read_header()
            self._first_frame = self._file.tell()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "SensFile":  # noqa: PYI034 - typing.Self came with Python 3.11
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[SensFrame]:
        """Frames start, start + stride, ... below stop, without their images; images between are skipped unread.

        Raises:
            SceneError: at the first frame, up to the last one asked for, that does not lie in the file as a whole.
        """
        if start < 0 or stride < 1 or (stop is not None and stop < 0):
            raise SceneError(
                f"Expected --start and --stop of 0 or more and --stride of 1 or more for {self.path}, found "
                f"{start}, {stop} and {stride}; correct them."
            )
        wanted = range(start, self.header.num_frames if stop is None else min(stop, self.header.num_frames), stride)
        offset = self._first_frame
        for number in range(wanted[-1] + 1 if wanted else 0):
            self._file.seek(offset)
            *pose, _, _, color_bytes, depth_bytes = self._unpack(_FRAME, f"the header of frame {number}")
            offset += _FRAME.size
            self._require(offset, color_bytes + depth_bytes, f"the images of frame {number}")
            if number in wanted:
                c2w = np.array(pose, np.float64).reshape(4, 4)
                yield SensFrame(number, c2w, offset, color_bytes, depth_bytes)
            offset += color_bytes + depth_bytes

    def encoded_color(self, frame: SensFrame) -> tuple[bytes, str]:
        """The colour image as a file: content and suffix; JPEG and PNG are as in the file, raw becomes PNG.

        Raises:
            SceneError: if the bytes are no image of the size that the header states.
        """
        where = f"the colour image of frame {frame.number}"
        content = self._bytes_at(frame.color_offset, frame.color_bytes, where)
        width, height = self.header.color_size
        if self.header.color_compression == RAW_COLOR:
            pixels = np.frombuffer(self._of_length(content, 3 * width * height, frame.color_offset, where), np.uint8)
            return _png(pixels.reshape(height, width, 3)), ".png"
        expected, suffix = {JPEG_COLOR: ("JPEG", ".jpg"), PNG_COLOR: ("PNG", ".png")}[self.header.color_compression]
        try:
            with Image.open(io.BytesIO(content), formats=[expected]) as image:
                found = f"{image.size[0]}x{image.size[1]}"
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            found = "something else"
        if found != f"{width}x{height}":
            raise self._error(f"{expected} of {width}x{height} for {where}", found, frame.color_offset, _AGAIN)
        return content, suffix

    def depth(self, frame: SensFrame) -> UInt16[ndarray, "height width"]:
        """The depth image in the units of the file, `units_per_metre`; 0 is unknown.

        Raises:
            SceneError: if the bytes cannot be unpacked or are not as many as the size in the header needs.
        """
        where, offset = f"the depth image of frame {frame.number}", frame.color_offset + frame.color_bytes
        content = self._bytes_at(offset, frame.depth_bytes, where)
        width, height = self.header.depth_size
        length = 2 * width * height
        if self.header.depth_compression == ZLIB_DEPTH:
            try:
                # One byte more than is right shows what is too long, and no file can fill the memory.
                content = zlib.decompressobj().decompress(content, length + 1)
            except zlib.error as error:
                raise self._error(f"zlib data for {where}", f"other bytes ({error})", offset, _AGAIN) from error
        return np.frombuffer(self._of_length(content, length, offset, where), "<u2").reshape(height, width)

    def _read_header(self) -> SensHeader:
        (version,) = self._unpack(struct.Struct("<I"), "the version")
        if version != VERSION:
            raise self._error(f"version {VERSION}", str(version), 0, "export the scan with ScanNet's current tools")
        (length,) = self._unpack(struct.Struct("<Q"), "the length of the name")
        name = self._bytes_at(self._file.tell(), length, "the name").decode("utf-8", "replace")
        matrices = [np.array(self._unpack(_MATRIX, "the camera matrices"), np.float64).reshape(4, 4) for _ in range(4)]
        offset = self._file.tell()
        color_compression, depth_compression = self._unpack(struct.Struct("<2i"), "the compression")
        self._require_known(color_compression, _COLOR_NAMES, "colour compression", offset)
        self._require_known(depth_compression, _DEPTH_NAMES, "depth compression", offset + 4)
        offset = self._file.tell()
        *sizes, units_per_metre = self._unpack(struct.Struct("<4If"), "the image sizes")
        if not all(0 < side < _MAX_SIDE for side in sizes) or not 0 < units_per_metre < np.inf:
            found = f"{sizes} and {units_per_metre:g}"
            raise self._error("positive image sizes and units per metre", found, offset, _AGAIN)
        offset = self._file.tell()
        (num_frames,) = self._unpack(struct.Struct("<Q"), "the number of frames")
        if not num_frames:
            raise self._error("frames", "none", offset, "record or export the scan again")
        return SensHeader(
            name=name,
            intrinsic_color=matrices[0],
            extrinsic_color=matrices[1],
            intrinsic_depth=matrices[2],
            extrinsic_depth=matrices[3],
            color_compression=color_compression,
            depth_compression=depth_compression,
            color_size=(sizes[0], sizes[1]),
            depth_size=(sizes[2], sizes[3]),
            units_per_metre=units_per_metre,
            num_frames=num_frames,
        )

    def _require_known(self, number: int, names: dict[int, str], what: str, offset: int) -> None:
        if number not in names:
            known = ", ".join(f"{key} ({name})" for key, name in names.items())
            raise self._error(f"{what} {known}", str(number), offset, "convert the scan with ScanNet's tools")

    def _unpack(self, layout: struct.Struct, what: str) -> tuple:
        return layout.unpack(self._bytes_at(self._file.tell(), layout.size, what))

    def _bytes_at(self, offset: int, length: int, what: str) -> bytes:
        self._require(offset, length, what)
        with told_as_scene_error(self.path, ".sens file"):
            self._file.seek(offset)
            content = self._file.read(length)
        return self._of_length(content, length, offset, what)

    def _require(self, offset: int, length: int, what: str) -> None:
        if length > self._size - offset:
            found = f"{max(self._size - offset, 0)}, the end of the file"
            raise self._error(f"{length} bytes for {what}", found, offset, f"the file is truncated, so {_AGAIN}")

    def _of_length(self, content: bytes, length: int, offset: int, what: str) -> bytes:
        if len(content) != length:
            found = f"{len(content)}" if len(content) < length else "more"
            raise self._error(f"{length} bytes for {what}", found, offset, _AGAIN)
        return content

    def _error(self, expected: str, found: str, offset: int, remedy: str) -> SceneError:
        return SceneError(f"Expected {expected} at byte {offset} of {self.path}, found {found}; {remedy}.")


def _png(pixels: UInt8[ndarray, "height width 3"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
