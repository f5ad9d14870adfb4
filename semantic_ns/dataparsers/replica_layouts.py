"""The layouts in which Replica is passed on: which files a sequence has, and which row is whose pose.

| layout | sequence folder | colour | depth | class ids | poses |
|---|---|---|---|---|---|
| Semantic-NeRF (Zhi et al. 2021) | `Sequence_<k>` | `rgb/rgb_<i>` | `depth/depth_<i>` | `semantic_class/semantic_class_<i>` | `traj_w_c.txt` |
| vMAP (Kong et al. 2023) | `imap/<k>`, `vmap/<k>` | the same | the same | the same | the same |
| SNI-SLAM (Zhu et al. 2024) | the scene | the same | the same | the same | `traj.txt` |
| SGS-SLAM (Li et al. 2024) | the scene | `frames/frame<i>` | `depths/depth<i>` | `semantic_ids/semantic_id<i>` | `traj.txt` |
| NICE-SLAM (Zhu et al. 2022) | the scene | `results/frame<i>` | `results/depth<i>` | `semantic_class/semantic_class_<i>` | `traj.txt` |

Colour is PNG or JPEG, the others are PNG; `<i>` may have leading zeros. In every layout
`semantic_instance/semantic_instance_<i>` (instance ids) stands in where there are no class ids at all. Row i of the
poses holds 16 numbers, the row-major camera-to-world matrix of frame i (OpenCV camera, metres, z up); rows without a
frame do no harm.
"""  # noqa: E501 - a row of the table is one line

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from semantic_ns.dataparsers.posed_scene import PosedFrame
from semantic_ns.dataparsers.scene import FrameFiles
from semantic_ns.errors import SceneError
from semantic_ns.io.images import read_depth_image
from semantic_ns.io.text import read_text

MILLIMETRE = 0.001
TENTH_OF_16_BITS = 10 / 65535
"""Metres per unit of depth that uses all 16 bits for 10 m, also written as the scale 6553.5."""

SEQUENCE_PATTERNS = ("Sequence_*", "imap/*", "vmap/*")
_INSTANCES = "semantic_instance/semantic_instance_"
_COLOR_SUFFIXES = (".png", ".jpg", ".jpeg")
# Rooms are less than 10 m across; with the finer unit as few steps would be 1.5 m, less than any room.
_LARGEST_IN_MILLIMETRES = 10_000
_NUM_DEPTHS_LOOKED_AT = 8


@dataclass(frozen=True)
class ReplicaLayout:
    """Where the files of a sequence lie, relative to its folder, up to the number of the frame.

    Attributes:
        name: what it is known as.
        image: colour images.
        depth: planar depth images.
        label: images of class ids.
        trajectory: file of the poses.
        signs: glob patterns; a folder with all of one group is of this layout.
        num_parameter_folders: number of folders, from the sequence upwards, in which `cam_params.json` is looked for.
        depth_metres_per_unit: None where it differs from capture to capture.
    """

    name: str
    image: str
    depth: str
    label: str
    trajectory: str
    signs: tuple[tuple[str, ...], ...]
    num_parameter_folders: int = 0
    depth_metres_per_unit: float | None = None


@dataclass(frozen=True)
class ReplicaSequence:
    """A sequence.

    Attributes:
        folder: where it lies.
        layout: layout of its files.
        frames: frames in numeric order.
        has_instance_ids: whether their labels are instance ids instead of class ids.
        instances: images of instance ids by colour image, for the frames that have one.
    """

    folder: Path
    layout: ReplicaLayout
    frames: tuple[PosedFrame, ...]
    has_instance_ids: bool
    instances: Mapping[Path, Path]


_SEMANTIC_NERF = ReplicaLayout(
    name="Semantic-NeRF",
    image="rgb/rgb_",
    depth="depth/depth_",
    label="semantic_class/semantic_class_",
    trajectory="traj_w_c.txt",
    signs=(("traj_w_c.txt",),),
    num_parameter_folders=1,
    depth_metres_per_unit=MILLIMETRE,
)
_VMAP = replace(_SEMANTIC_NERF, name="vMAP", depth_metres_per_unit=None)
_LAYOUTS = (
    _SEMANTIC_NERF,
    ReplicaLayout(
        name="NICE-SLAM",
        image="results/frame",
        depth="results/depth",
        label="semantic_class/semantic_class_",
        trajectory="traj.txt",
        signs=(("results/frame*",), ("results", "traj.txt")),
        num_parameter_folders=2,
    ),
    ReplicaLayout(
        name="SGS-SLAM",
        image="frames/frame",
        depth="depths/depth",
        label="semantic_ids/semantic_id",
        trajectory="traj.txt",
        signs=(("frames/frame*", "traj.txt"), ("frames/frame*", "depths")),
        num_parameter_folders=1,
    ),
    replace(
        _SEMANTIC_NERF,
        name="SNI-SLAM",
        trajectory="traj.txt",
        signs=(("rgb", "traj.txt"),),
        num_parameter_folders=1,
        depth_metres_per_unit=None,
    ),
    # Poses forgotten: the reader says so.
    replace(_SEMANTIC_NERF, signs=(("rgb",),)),
)
EXPECTED = (
    "Sequence_*/rgb or rgb with traj_w_c.txt (Replica, Semantic-NeRF), imap/* or vmap/* (vMAP), rgb with traj.txt "
    "(SNI-SLAM), frames/frame* with traj.txt (SGS-SLAM), results/frame* with traj.txt (NICE-SLAM)"
)
"""The layouts in words, for errors."""


def layout_of(folder: Path) -> ReplicaLayout | None:
    """The layout of the sequence in a folder, None where it is no sequence of Replica."""
    for layout in _LAYOUTS:
        if any(all(any(folder.glob(pattern)) for pattern in group) for group in layout.signs):
            is_vmap = layout.trajectory == _VMAP.trajectory and folder.absolute().parent.name in ("imap", "vmap")
            return _VMAP if is_vmap else layout
    return None


def sequence_names(folder: Path) -> list[str]:
    """Names of the sequences in a scene folder, with `/`, numbers in numeric order."""
    paths = [path for pattern in SEQUENCE_PATTERNS for path in folder.glob(pattern) if path.is_dir()]
    names = [path.relative_to(folder).as_posix() for path in paths]
    return sorted(names, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def read_sequence(folder: Path, scene_folder: Path) -> ReplicaSequence:
    """The frames of a sequence that have a colour image.

    Args:
        folder: the sequence.
        scene_folder: what the names of exported labels are relative to.

    Raises:
        SceneError: if the folder has no known layout or no image, a frame has two files of a kind or no pose, or the
            file of the poses cannot be understood.
    """
    layout = layout_of(folder)
    if layout is None:
        raise SceneError(
            f"Expected a sequence in {folder}, found no known layout: looked for {EXPECTED}; check --data."
        )
    images = _numbered_files(folder, layout.image, _COLOR_SUFFIXES)
    if not images:
        raise SceneError(
            f"Expected images {Path(layout.image).name}<number>.png (or .jpg) in {(folder / layout.image).parent}, "
            "found none; check --data."
        )
    class_ids = _numbered_files(folder, layout.label)
    instances = _numbered_files(folder, _INSTANCES)
    labels = class_ids or instances
    depths = _numbered_files(folder, layout.depth)
    trajectory = folder / layout.trajectory
    c2w = _read_trajectory(trajectory)
    frames = []
    for number, image in sorted(images.items()):
        if number >= len(c2w):
            raise SceneError(
                f"Expected a pose for {image} in row {number + 1} of {trajectory}, found {len(c2w)} rows for "
                f"{len(images)} images; add the poses or remove the images without one."
            )
        export = class_ids.get(number, folder / f"{layout.label}{number}.png")
        frames.append(
            PosedFrame(
                image=image,
                label=labels.get(number),
                depth=depths.get(number),
                label_export_name=export.relative_to(scene_folder).as_posix(),
                id=number,
                pose_name=f"{image} (row {number + 1} of {trajectory})",
                c2w_opencv=c2w[number],
            )
        )
    instance_of_image = {images[number]: path for number, path in instances.items() if number in images}
    return ReplicaSequence(folder, layout, tuple(frames), bool(labels) and not class_ids, instance_of_image)


def guess_depth_unit(frames: Sequence[FrameFiles]) -> float:
    """Metres per unit of depth: a millimetre or 10 m / 65535, whichever makes a room of what the images hold.

    Raises:
        SceneError: if a depth image cannot be read.
    """
    paths = [frame.depth for frame in frames if frame.depth is not None]
    places = np.unique(np.linspace(0, len(paths) - 1, _NUM_DEPTHS_LOOKED_AT).astype(np.int64)) if paths else ()
    values = [read_depth_image(paths[place], 1.0) for place in places]
    known = np.concatenate([np.zeros(1), *(value[value > 0] for value in values)])
    # A percentile, as a window may show a few far pixels.
    return MILLIMETRE if np.percentile(known, 99) <= _LARGEST_IN_MILLIMETRES else TENTH_OF_16_BITS


def _numbered_files(folder: Path, start: str, suffixes: tuple[str, ...] = (".png",)) -> dict[int, Path]:
    """Files `<start><number>` of one of the suffixes by number; others (`vis_...`) are passed over."""
    files: dict[int, Path] = {}
    stem = Path(start).name
    for path in sorted(folder.glob(f"{start}*")):
        match = re.fullmatch(rf"{stem}(\d+)", path.stem)
        if match is None or path.suffix not in suffixes:
            continue
        number = int(match[1])
        if number in files:
            raise SceneError(f"Expected one file per frame, found {files[number]} and {path}; remove one of them.")
        files[number] = path
    return files


def _read_trajectory(path: Path) -> Float[ndarray, "rows 4 4"]:
    rows = []
    for line_number, line in enumerate(read_text(path).rstrip().splitlines(), 1):
        try:
            row = [float(word) for word in line.split()]
        except ValueError as error:
            raise SceneError(
                f"Expected numbers at line {line_number} of {path}, found other text ({error}); correct the line."
            ) from error
        if len(row) != 16:
            raise SceneError(
                f"Expected 16 numbers (a 4x4 camera-to-world matrix) at line {line_number} of {path}, found "
                f"{len(row)}; correct the line."
            )
        rows.append(row)
    return np.array(rows, np.float64).reshape(-1, 4, 4)
