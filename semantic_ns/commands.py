"""What nerfstudio's commands cannot do with a run of this package, said in one sentence in the place of a traceback.

nerfstudio 1.1.5 asserts that it finds what it needs and says no more, in part after minutes of work.
"""

import errno
import sys
from collections.abc import Sequence
from pathlib import Path

from semantic_ns.errors import SceneError
from semantic_ns.run_paths import option_value, option_values

_LOAD = "--load-config"
_UNWRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT})
_NOT_EXPORTED = {
    "marching-cubes": "a signed distance field, which this method does not have; ns-export tsdf or poisson make a mesh",
    "gaussian-splat": "Gaussians, which this method does not have; ns-export pointcloud makes points with colours",
}
"""Subcommands of `ns-export`: what they need, and what there is instead."""


def refuse_impossible(arguments: Sequence[str] | None = None, has_gaussians: bool = False) -> None:
    """Check what a command asks of a run of this package, before the run is loaded.

    Args:
        arguments: Command line, with the program's name first; that of this process by default.
        has_gaussians: Whether the method of the run has Gaussians.

    Raises:
        SceneError: it asks for what this package's methods and scenes do not have.
    """
    arguments = sys.argv if arguments is None else arguments
    program = Path(arguments[0]).stem.removeprefix("ns-") if arguments else ""
    if program in ("export", "exporter"):
        for name, needs in _NOT_EXPORTED.items():
            if name in arguments[1:2] and not (has_gaussians and name == "gaussian-splat"):
                raise SceneError(f"Expected another export than ns-export {name}, found that it needs {needs}.")
    if program == "eval":
        _refuse_output_path(option_value("--output-path", arguments))
    if program == "render" and "dataset" in arguments[1:2]:
        _refuse_dataset_options(arguments)


def _refuse_output_path(path: str | None) -> None:
    if path is not None and Path(path).suffix != ".json":
        raise SceneError(f"Expected a file with the ending .json for --output-path, found {path}; rename it.")


def _refuse_dataset_options(arguments: Sequence[str]) -> None:
    if option_value("--downscale-factor", arguments) not in (None, "1", "1.0"):
        raise SceneError(
            "Expected the images of the scene at their own size for ns-render dataset, found --downscale-factor; leave "
            "it out, or scale the camera of ns-render camera-path."
        )
    if "rgba" in arguments and option_value("--image-format", arguments) != "png":
        raise SceneError("Expected --image-format png for the output rgba, found jpeg, which has no alpha; add it.")


Box = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]


def crop_box_of_export(arguments: Sequence[str] | None = None) -> Box | None:
    """Middle, angles and sides of the crop box of `ns-export`, None where it has none.

    nerfstudio crops where all three are given. The middle and the sides are in scene units, the angles (roll, pitch,
    yaw) in radians.

    Args:
        arguments: Command line, with the program's name first; that of this process by default.
    """
    arguments = sys.argv if arguments is None else arguments
    if not arguments or Path(arguments[0]).stem.removeprefix("ns-") not in ("export", "exporter"):
        return None
    try:
        center, rotation, scale = (
            tuple(float(value) for value in option_values(f"--obb-{name}", arguments, 3))
            for name in ("center", "rotation", "scale")
        )
        (x, y, z), (roll, pitch, yaw), (width, depth, height) = center, rotation, scale
    except ValueError:  # fewer numbers, or none; nerfstudio reads them too and says what is wrong
        return None
    return (x, y, z), (roll, pitch, yaw), (width, depth, height)


def sentence_about_unwritable_place(error: BaseException) -> str | None:
    """One sentence where a command ended because a place cannot be written, such as a read-only folder, else None."""
    if not isinstance(error, OSError) or error.errno not in _UNWRITABLE or error.filename is None:
        return None
    return (
        f"Expected to write to {Path(error.filename).absolute()}, found that this cannot be done ({error.strerror}); "
        "choose another place for the output, or start the command in a folder that can be written."
    )


def sentence_about_missing_run(error: BaseException, arguments: Sequence[str] | None = None) -> str | None:
    """One sentence where a command ended because --load-config names no file, else None.

    Args:
        error: What ended the command.
        arguments: Its command line; that of this process by default.
    """
    value = option_value(_LOAD, sys.argv if arguments is None else arguments)
    if value is None or not isinstance(error, FileNotFoundError | IsADirectoryError) or error.filename is None:
        return None
    if Path(error.filename) != Path(value):
        return None
    inside = Path(value) / "config.yml"
    if inside.is_file():
        return f"Expected the config.yml of a training run for {_LOAD}, found its folder; give {inside}."
    return (
        f"Expected the config.yml of a training run, found no file {value}; ns-train prints its path when it ends, "
        f"correct {_LOAD}."
    )
