"""Where a ScanNet scan keeps its frames: folders in the variants in use, or the `.sens` file itself.

color/<n>.jpg (or .png), depth/<n>.png, pose/<n>.txt, intrinsic/intrinsic_color.txt   in the scene, frames/ or renders/
label-filt/<n>.png   there, in the scene or in <scene>_2d-label-filt/; else label/<n>.png or <scene>_2d-label/label/
<scene>.sens, <scene>.txt                                                              in the scene
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from PIL import Image

from semantic_ns.dataparsers.frame_cache import cache_folder
from semantic_ns.dataparsers.scene import folder_name
from semantic_ns.dataparsers.sens_export import COLOR, DEPTH, POSE, export_frames
from semantic_ns.dataparsers.sens_file import SensFile
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.images import told_as_scene_error
from semantic_ns.io.text import read_text
from semantic_ns.io.writing import replacing, write_errors_as_scene_error

PARSER_NAME = "scannet-semantic-data"
_SUBFOLDERS = (".", "frames", "renders")
_SENS_CACHE = "frames_from_sens"
_COLOR_SUFFIXES = (".jpg", ".jpeg", ".png")
Poses = Mapping[int, Float64[ndarray, "4 4"]]
"""OpenCV camera to world in metres of each frame number, in ascending order; not finite where tracking was lost."""


@dataclass(frozen=True)
class ExportedFrames:
    """Frames in the folders color/, depth/, pose/ and intrinsic/ of `path`."""

    path: Path

    def poses(self) -> Poses:
        """Poses of the frames that have colour and a pose file; the others cannot be used."""
        files = numbered_files(self.path / POSE, (".txt",))
        return {number: read_matrix(files[number]) for number in sorted(set(files) & set(self._colors()))}

    def provide(self, numbers: Collection[int]) -> Path:
        """The folder with color/, depth/ and intrinsic/ of at least these frames: the one that there is."""
        del numbers
        return self.path

    def _colors(self) -> dict[int, Path]:
        return numbered_files(self.path / COLOR, _COLOR_SUFFIXES)


@dataclass(frozen=True)
class SensFrames:
    """Frames in a `.sens` file, of which those that are wanted are extracted once."""

    path: Path

    def poses(self) -> Poses:
        """Poses of all frames; no image is read for them."""
        with SensFile(self.path) as sens:
            return {frame.number: frame.c2w_opencv for frame in sens.frames()}

    def provide(self, numbers: Collection[int]) -> Path:
        """A cache with at least these frames; another `.sens` file than before starts it anew."""
        cache = cache_folder(self.path.parent, _SENS_CACHE)
        with told_as_scene_error(self.path, ".sens file"):
            stat = self.path.stat()
        stamp, text = cache / "source.txt", f"{self.path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode()
        with write_errors_as_scene_error(cache):
            if not stamp.is_file() or stamp.read_bytes() != text:
                _remove_frames(cache)
                with replacing(stamp) as temporary:
                    temporary.write_bytes(text)
        with SensFile(self.path) as sens:
            wanted = (frame for frame in sens.frames() if frame.number in numbers)
            num_new = export_frames(sens, wanted, cache, skip_existing=True)
        announce(PARSER_NAME, f"frames of {self.path} lie in {cache}, {num_new} of {len(numbers)} extracted just now")
        return cache


def _remove_frames(cache: Path) -> None:
    # Poses first: a frame without one is not complete. Colour may come back under another suffix.
    for name in (POSE, COLOR, DEPTH):
        for path in (cache / name).glob("*"):
            path.unlink(missing_ok=True)


def find_frames(scene: Path) -> ExportedFrames | SensFrames | None:
    """The frames of a ScanNet scene folder, or None if it is none; folders go before a `.sens` file."""
    for name in _SUBFOLDERS:
        if all((scene / name / part).is_dir() for part in (COLOR, POSE)):
            return ExportedFrames(scene / name)
    files = sorted(scene.glob("*.sens"))
    if len(files) > 1:
        raise SceneError(
            f"Expected one .sens file in {scene}, found {files[0].name} and {files[1].name}; move one away."
        )
    return SensFrames(files[0]) if files else None


def color_and_depth(folder: Path) -> tuple[dict[int, Path], dict[int, Path]]:
    """Colour and depth images by frame number."""
    return numbered_files(folder / COLOR, _COLOR_SUFFIXES), numbered_files(folder / DEPTH, (".png",))


def label_folder(scene: Path) -> Path:
    """The folder with the label images of a scene, `label-filt` before the unfiltered `label`; empty ones do not count.

    Raises:
        SceneError: if the labels are still packed, or are those of the benchmark's 25k subset, which are NYU40 ids.
    """
    candidates = [
        place
        for name in ("label-filt", "label")
        for place in (
            *(scene / part / name for part in _SUBFOLDERS),
            scene / f"{folder_name(scene)}_2d-{name}" / name,
        )
    ]
    found = next((folder for folder in candidates if folder.is_dir() and any(folder.iterdir())), None)
    if found is None:
        packed = sorted(scene.glob("*_2d-label*.zip"))
        if packed:
            raise SceneError(
                f"Expected label images in {candidates[0]}, found only {packed[0].name}; unpack it in the scene's "
                "folder."
            )
        return candidates[0]
    return found


def require_raw_ids(labels: Iterable[Path]) -> None:
    """Refuse the label images of `scannet_frames_25k`, whose 8 bit ids are those of NYU40 already."""
    first = next(iter(labels), None)
    if first is not None and first.parent.name == "label":
        with told_as_scene_error(first, "label image"), Image.open(first) as image:
            mode = image.mode
        if mode in ("L", "P"):
            raise SceneError(
                f"Expected ScanNet's raw ids (16 bit) in {first}, found 8 bit as in scannet_frames_25k, whose ids are "
                "NYU40 already; pass --classes nyu40."
            )


def numbered_files(folder: Path, suffixes: tuple[str, ...]) -> dict[int, Path]:
    """Files `<number><suffix>` by number, ascending; leading zeros do not count.

    Raises:
        SceneError: if two files have one number.
    """
    files: dict[int, Path] = {}
    for path in folder.glob("*"):
        if path.stem.isdecimal() and path.suffix.lower() in suffixes:
            other = files.setdefault(int(path.stem), path)
            if other is not path:
                raise SceneError(f"Expected one file per frame, found {other} and {path}; remove one of them.")
    return dict(sorted(files.items()))


def read_matrix(path: Path) -> Float64[ndarray, "4 4"]:
    """4x4 numbers, or 3x3 filled up to them, from a text file; infinite ones and NaN are numbers here.

    Raises:
        SceneError: if the file holds something else.
    """
    words = read_text(path).split()
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.zeros(0)
    if values.size not in (9, 16):
        raise SceneError(f"Expected 4x4 numbers in {path}, found {len(words)} words that are none; export it again.")
    matrix = np.eye(4)
    side = 3 if values.size == 9 else 4
    matrix[:side, :side] = values.reshape(side, side)
    return matrix
