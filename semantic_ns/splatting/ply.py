"""Files of Gaussians that common viewers read: the PLY of Kerbl et al. (2023), with a class per Gaussian."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int32
from numpy import ndarray
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.writing import replacing
from semantic_ns.splatting.fit_config import COMMON_BLUR, SH_0, is_blur
from semantic_ns.splatting.project import Gaussians

_NAMES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
CLASS = "class_id"
"""Property with the class of a Gaussian, int32; -1 is no class."""
_BLUR = "blur"
"""Comment with the blur of the Gaussians in pixels², where it is not that of other programs."""


def write_splat(
    path: Path, gaussians: Gaussians, colors: Float[Tensor, "gaussians 3"], classes: Int32[ndarray, "gaussians"]
) -> None:
    """Write Gaussians: positions, colour as harmonics of degree 0, logit opacity, log scales, quaternion, class.

    Args:
        path: the file; its folder is made.
        gaussians: the Gaussians, in any frame.
        colors: in 0..1.
        classes: a number per Gaussian, -1 for none.
    """
    fields = [(name, "<f4") for name in _NAMES] + [(CLASS, "<i4")]
    table = np.zeros(len(gaussians), fields)
    quats = torch.nn.functional.normalize(gaussians.quats, dim=-1)
    values = torch.cat(
        [
            gaussians.means, torch.zeros_like(gaussians.means), (colors - 0.5) / SH_0,
            torch.logit(gaussians.opacities, eps=1e-6)[:, None], gaussians.scales.clamp(min=1e-12).log(), quats,
        ],
        dim=1,
    ).numpy()  # fmt: skip
    for number, name in enumerate(_NAMES):
        table[name] = values[:, number]
    table[CLASS] = classes
    types = ["property float " + name for name in _NAMES] + [f"property int {CLASS}"]
    comments = [] if gaussians.blur == COMMON_BLUR else [f"comment {_BLUR} {gaussians.blur!r}"]
    header = ["ply", "format binary_little_endian 1.0", *comments, f"element vertex {len(table)}", *types, "end_header"]
    with replacing(path) as temporary:
        temporary.write_bytes(("\n".join(header) + "\n").encode() + table.tobytes())


def read_splat(path: Path) -> tuple[Gaussians, Float[Tensor, "gaussians 3"], Int32[ndarray, "gaussians"]]:
    """Read Gaussians, their colours without what depends on the view, and their classes (-1 where there is none).

    Gaussians with a number that is not finite are left out, and counted in the log.

    Raises:
        SceneError: the file cannot be read, or is no PLY of Gaussians.
    """
    import plyfile

    try:
        file = plyfile.PlyData.read(str(path))
        vertex = file["vertex"].data
    except (OSError, KeyError, ValueError, IndexError, plyfile.PlyParseError) as error:
        raise SceneError(f"Expected a PLY file of Gaussians, found none in {path} ({error}).") from error
    missing = [name for name in _NAMES if name not in (vertex.dtype.names or ()) and name not in ("nx", "ny", "nz")]
    if missing:
        raise SceneError(
            f"Expected a PLY file of Gaussians in {path}, found one without {', '.join(missing)}; export it from a "
            "program for Gaussian splats."
        )

    def columns(*names: str) -> Tensor:
        return torch.from_numpy(np.stack([np.asarray(vertex[name], np.float32) for name in names], axis=1))

    values = columns(*(name for name in _NAMES if name not in ("nx", "ny", "nz")))
    is_finite = values.isfinite().all(dim=1)
    if not bool(is_finite.all()):
        announce(
            "splat",
            f"{int((~is_finite).sum())} of {len(values)} Gaussians of {path} have numbers that are not "
            "finite, and are left out",
        )
    means, dc, opacity, scales, quats = values[is_finite].split([3, 3, 1, 3, 4], dim=1)
    classes = np.full(len(values), -1, np.int32)
    if CLASS in (vertex.dtype.names or ()):
        classes = np.asarray(vertex[CLASS]).astype(np.int32)
    gaussians = Gaussians(means, quats, scales.exp(), opacity.sigmoid()[:, 0], blur=_blur_of(file.comments))
    return gaussians, dc * SH_0 + 0.5, classes[is_finite.numpy()]


def _blur_of(comments: Sequence[str]) -> float:
    """The blur that comments state, pixels²; that of other programs where they state none that is one."""
    for comment in comments:
        name, _, value = comment.strip().partition(" ")
        if name == _BLUR:
            try:
                blur = float(value)
            except ValueError:
                continue
            if is_blur(blur):
                return blur
    return COMMON_BLUR
