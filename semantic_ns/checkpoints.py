"""Files of checkpoints: which there are, whether they are whole, and whether a run has steps left behind them."""

import os
import re
import zipfile
from pathlib import Path

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import flush_to_disk

_NAME = re.compile(r"step-(\d{9,})\.ckpt")


def step_of(path: Path) -> int | None:
    """Number of the step after which a checkpoint was written, the first one being 0; None for other files."""
    match = _NAME.fullmatch(path.name)
    return None if match is None else int(match[1])


def publish_checkpoint(source: Path, target: Path) -> Path:
    """Move the one checkpoint in `source` into `target`, once its content is on the disk; returns its new path."""
    (path,) = source.glob("*.ckpt")
    flush_to_disk(path)
    target.mkdir(parents=True, exist_ok=True)
    os.replace(path, target / path.name)
    flush_to_disk(target)
    return target / path.name


def find_checkpoint(folder: Path, step: int | None = None) -> Path:
    """Return the checkpoint of a step, or the newest one, among the whole checkpoints of a folder.

    Raises:
        SceneError: There is no such folder, no checkpoint in it, not this one, or it is only a part of a file.
    """
    if not folder.is_dir():
        raise SceneError(
            f"--load-dir must be a folder of checkpoints (<run>/nerfstudio_models), but there is no folder {folder}."
        )
    found = {number: path for path in folder.iterdir() if (number := step_of(path)) is not None}
    if not found:
        raise SceneError(
            f"--load-dir {folder} holds no checkpoint (step-000000000.ckpt and so on): "
            "choose the folder nerfstudio_models of a run, or leave --load-dir out to train from the start."
        )
    if step is not None and step not in found:
        raise SceneError(
            f"--load-step {step} is not in {folder}: it holds the steps {', '.join(map(str, sorted(found)))}."
        )
    return check_is_whole(found[max(found) if step is None else step])


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a folder that is whole, whatever lies beside it; None without one."""
    found = {number: path for path in folder.glob("*.ckpt") if (number := step_of(path)) is not None}
    return next((found[number] for number in sorted(found, reverse=True) if _is_whole(found[number])), None)


def _is_whole(path: Path) -> bool:
    return path.is_file() and zipfile.is_zipfile(path)


def check_is_whole(path: Path) -> Path:
    """Return the path of a checkpoint if the file is there and complete.

    Raises:
        SceneError: The file is missing, or is cut off: a checkpoint is a zip archive, whose directory is at its end.
    """
    if path.is_dir():
        raise SceneError(
            f"Expected the file of a checkpoint for --load-checkpoint, found the folder {path}; give it by --load-dir."
        )
    if not path.is_file():
        raise SceneError(f"There is no checkpoint {path}.")
    if not zipfile.is_zipfile(path):
        raise SceneError(f"The checkpoint {path} is only a part of a file: choose an older one with --load-checkpoint.")
    return path


def refuse_finished_run(path: Path, num_steps: int, num_all: int) -> None:
    """Check that there are steps left to train.

    Args:
        path: The checkpoint that is to be resumed.
        num_steps: Steps that it has.
        num_all: Steps that are wanted in all.

    Raises:
        SceneError: it has them all.
    """
    if num_steps >= num_all:
        raise SceneError(
            f"Expected steps that are left to train, found that {path} has {num_steps} of {num_all}; raise "
            f"--max-num-iterations, which counts all steps, with --load-dir {path.parent} to go on (--load-config lets "
            f"no option change), or look at the run with ns-viewer --load-config {path.parent.parent / 'config.yml'}."
        )
