"""Depth by stereo that is computed once for each scene and kept on disk, since it takes longer than all else."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from torch import Tensor

from semantic_ns.io.user_cache import user_cache_folder
from semantic_ns.io.writing import replacing, write_errors_as_scene_error
from semantic_ns.many_scenes.scene_frames import SceneFrames
from semantic_ns.multi_view.stereo import StereoSettings, confirmed_depth, enlarged_depth, stereo_size

_VERSION = 1
"""To be raised with every change of stereo that changes a depth."""


class KeptStereo:
    """Depth by stereo of scenes, in one file for each, that is read frame by frame.

    Files are named by what depth is computed from: colours, masks, cameras and settings. They may be removed at any
    time, and are then computed anew.

    Attributes:
        folder: where the files are.

    Args:
        folder: where the files are; by default `stereo` in the user's cache, see `user_cache_folder`.
        settings: settings of stereo.
    """

    def __init__(self, folder: Path | None = None, settings: StereoSettings | None = None) -> None:
        self.folder = folder or user_cache_folder("stereo")
        self._settings = settings or StereoSettings()

    def __call__(self, frames: SceneFrames) -> Callable[[int], Tensor]:
        """What reads the depth of a frame of a scene; the first frame that is read takes that of all of them.

        Args:
            frames: the frames, whose depth is not looked at.
        """

        @cache
        def path() -> Path:
            return self.folder / f"{self._name(frames)}.npy"

        def read(frame: int) -> Float32[Tensor, "height width"]:
            small = torch.from_numpy(np.array(self._depths(frames, path())[frame]))
            return enlarged_depth(small[None], frames.size)[0]

        return read

    def _name(self, frames: SceneFrames) -> str:
        assert frames.content is not None
        text = repr((_VERSION, self._settings, frames.content()))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _depths(self, frames: SceneFrames, path: Path) -> Float32[ndarray, "frames rows columns"]:
        shape = (len(frames), *stereo_size(frames.size, self._settings))
        kept = _mapped(path, shape)
        if kept is not None:
            return kept
        depths = confirmed_depth(frames, self._settings).numpy()
        with write_errors_as_scene_error(path), replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, depths)
        return depths


def _mapped(path: Path, shape: tuple[int, ...]) -> ndarray | None:
    """The numbers in a file, of which what is used is read; None without a whole one."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return values if values.shape == shape and values.dtype == np.float32 else None
