"""The synthetic room as a ScanNet scan: folders, a label table, and a writer of `.sens` files of its own."""

import io
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.label_spaces import map_to_space
from semantic_ns.synthetic_scene import make_trajectory, render

WIDTH, HEIGHT, NUM_FRAMES = 48, 36, 12
NAME = "scene0000_00"
TABLE = "scannetv2-labels.combined.tsv"
RAW_OFFSET = 1000
"""Raw id of a class here: its id in Replica, plus this."""
LOST = -np.inf * np.ones((4, 4))


def intrinsics(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Of a camera with 90 degrees across, integer pixel centres."""
    matrix = np.eye(4)
    matrix[0, 0] = matrix[1, 1] = width / 2
    matrix[0, 2], matrix[1, 2] = (width - 1) / 2, (height - 1) / 2
    return matrix


def write_label_table(path: Path) -> None:
    """As published, but for the order of the columns: ids of Replica's classes, leading to NYU40."""
    replica = ClassTable.load("replica")
    to_nyu40 = map_to_space("nyu40", replica)
    assert to_nyu40 is not None
    lines = ["count\traw_category\tid\tcategory\teigen13id\tnyu40id"]
    lines += [f"1\t{e.name}\t{e.id + RAW_OFFSET}\tany\t0\t{to_nyu40.ids[e.id] or 40}" for e in replica.entries]
    path.write_text("\n".join(lines) + "\n")


@dataclass
class Recording:
    """Frames of the room, from 0 on; pixel centres, units and axes as ScanNet's."""

    colors: list[np.ndarray]
    depths: list[np.ndarray]
    labels: list[np.ndarray]
    c2w: np.ndarray


def record(num_frames: int = NUM_FRAMES) -> Recording:
    c2w = make_trajectory(num_frames, 1)
    views = [render(pose, WIDTH, HEIGHT) for pose in c2w]
    return Recording(
        [view.rgb for view in views],
        [(view.depth_m * 1000).round().astype(np.uint16) for view in views],
        [np.where(view.labels > 0, view.labels.astype(np.uint16) + RAW_OFFSET, 0).astype(np.uint16) for view in views],
        c2w,
    )


def write_scan(root: Path, recording: Recording | None = None) -> Path:
    """Write the label table into `root` and the scan into a folder there, with the folders of ScanNet's exporter."""
    recording = recording or record()
    folder = root / NAME
    for name in ("color", "depth", "pose", "intrinsic", "label-filt", "instance-filt"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i, pose in enumerate(recording.c2w):
        Image.fromarray(recording.colors[i]).save(folder / "color" / f"{i}.jpg", quality=95)
        Image.fromarray(recording.depths[i]).save(folder / "depth" / f"{i}.png")
        Image.fromarray(recording.labels[i]).save(folder / "label-filt" / f"{i}.png")
        np.savetxt(folder / "pose" / f"{i}.txt", pose, fmt="%.9f")
    np.savetxt(folder / "intrinsic" / "intrinsic_color.txt", intrinsics(), fmt="%.6f")
    write_label_table(root / TABLE)
    return folder


def encode(pixels: np.ndarray, kind: str) -> bytes:
    """Pixels as they lie in the file: jpeg, png, zlib or raw."""
    if kind in ("jpeg", "png"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, quality=95)
        return buffer.getvalue()
    return (
        zlib.compress(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()) if kind == "zlib" else pixels.tobytes()
    )


@dataclass
class SensWriter:
    """Writes a `.sens` file piece by piece and notes where each of its pieces lies."""

    path: Path
    color_size: tuple[int, int] = (WIDTH, HEIGHT)
    depth_size: tuple[int, int] = (WIDTH, HEIGHT)
    color: str = "jpeg"
    depth: str = "zlib"
    version: int = 4
    units_per_metre: float = 1000.0
    num_frames: int = 0
    color_code: int | None = None
    depth_code: int | None = None
    pieces: list[tuple[str, int, int]] = field(default_factory=list)
    """Name, first byte and number of bytes of what is read at once."""

    def write(self, frames) -> None:
        """Write all frames: (encoded colour, encoded depth, camera to world)."""
        color_code = {"raw": 0, "png": 1, "jpeg": 2}[self.color] if self.color_code is None else self.color_code
        depth_code = {"raw": 0, "zlib": 1}[self.depth] if self.depth_code is None else self.depth_code
        with self.path.open("wb") as file:

            def put(name: str, content: bytes) -> None:
                self.pieces.append((name, file.tell(), len(content)))
                file.write(content)

            put("version", struct.pack("<I", self.version))
            put("length", struct.pack("<Q", 9))
            put("name", b"StructSen")
            for matrix in (intrinsics(*self.color_size), np.eye(4), intrinsics(*self.depth_size), np.eye(4)):
                put("matrix", matrix.astype("<f4").tobytes())
            put("compression", struct.pack("<2i", color_code, depth_code))
            put("sizes", struct.pack("<4If", *self.color_size, *self.depth_size, self.units_per_metre))
            put("count", struct.pack("<Q", self.num_frames))
            for number, (color, depth, pose) in enumerate(frames):
                times = (33333 * number, 33333 * number, len(color), len(depth))
                put("frame", np.asarray(pose, "<f4").tobytes() + struct.pack("<4Q", *times))
                put("images", color + depth)
            put("imu", struct.pack("<Q", 1) + bytes(5 * 3 * 8 + 8))


def write_sens(path: Path, recording: Recording, **options) -> SensWriter:
    writer = SensWriter(path, num_frames=len(recording.colors), **options)
    writer.write(
        (encode(color, writer.color), encode(depth, writer.depth), pose)
        for color, depth, pose in zip(recording.colors, recording.depths, recording.c2w, strict=True)
    )
    return writer
