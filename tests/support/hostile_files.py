"""Small files that announce much more than they hold."""

import struct
import zlib
from pathlib import Path

from support.tool_files import write


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header announces a size, and whose data are all zeros and much too short."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def huge_array(folder: Path) -> Path:
    write(folder / "classes.txt", "chair\n")
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (100000, 100000), }".ljust(117) + b"\n"
    (folder / "frame_00001.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    return folder
