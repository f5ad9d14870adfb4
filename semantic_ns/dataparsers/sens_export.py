"""From a `.sens` file to ScanNet's folders of frames: color, depth, pose, intrinsic."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt16
from numpy import ndarray
from PIL import Image

from semantic_ns.dataparsers.sens_file import SensFile, SensFrame
from semantic_ns.io.writing import replacing, write_errors_as_scene_error

COLOR, DEPTH, POSE, INTRINSIC = "color", "depth", "pose", "intrinsic"
DEPTH_UNITS_PER_METRE = 1000
_MATRICES = ("intrinsic_color", "extrinsic_color", "intrinsic_depth", "extrinsic_depth")


def export_frames(sens: SensFile, frames: Iterable[SensFrame], output: Path, skip_existing: bool = False) -> int:
    """Write frames as `color/<number>.jpg` (or .png), `depth/<number>.png`, `pose/<number>.txt` and `intrinsic/`.

    JPEG is copied without decoding it. Depth is uint16 in millimetres: as in the file where it has 1000 units per
    metre, else rounded. A pose is the 4x4 OpenCV camera to world, also where it is not finite.

    Args:
        sens: the open file.
        frames: some of `sens.frames()`.
        output: folder to write to, made where it does not exist.
        skip_existing: leave out frames that were written before; one that was interrupted is written again.

    Returns:
        How many frames were written.

    Raises:
        SceneError: if a frame is damaged or a file cannot be written.
    """
    with write_errors_as_scene_error(output):
        for name in (COLOR, DEPTH, POSE, INTRINSIC):
            (output / name).mkdir(parents=True, exist_ok=True)
        for name in _MATRICES:
            _write_matrix(output / INTRINSIC / f"{name}.txt", getattr(sens.header, name))
        frames = [frame for frame in frames if not (skip_existing and pose_file(output, frame.number).is_file())]
        for frame in frames:
            _export(sens, frame, output)
    return len(frames)


def pose_file(folder: Path, number: int) -> Path:
    """The file with the pose of a frame; `export_frames` writes it last, so the frame is complete where it exists."""
    return folder / POSE / f"{number}.txt"


# Every file is replaced at once, as another run may read the folder or write the same frames.
def _export(sens: SensFile, frame: SensFrame, output: Path) -> None:
    content, suffix = sens.encoded_color(frame)
    with replacing(output / COLOR / f"{frame.number}{suffix}") as temporary:
        temporary.write_bytes(content)
    depth = _millimetres(sens.depth(frame), sens.header.units_per_metre)
    with replacing(output / DEPTH / f"{frame.number}.png") as temporary:
        Image.fromarray(depth).save(temporary, "PNG", compress_level=1)
    _write_matrix(pose_file(output, frame.number), frame.c2w_opencv)


def _millimetres(depth: UInt16[ndarray, "height width"], units_per_metre: float) -> UInt16[ndarray, "height width"]:
    if units_per_metre == DEPTH_UNITS_PER_METRE:
        return depth
    return np.clip(np.rint(depth * (DEPTH_UNITS_PER_METRE / units_per_metre)), 0, 65535).astype(np.uint16)


def _write_matrix(path: Path, matrix: Float[ndarray, "4 4"]) -> None:
    with replacing(path) as temporary:
        np.savetxt(temporary, matrix, fmt="%.9g")
