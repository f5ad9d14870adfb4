"""The surface of a scene that has no run yet: colour and depth alone, trained in a process of its own.

`python -m semantic_ns.methods.surface_run SCENE FOLDER` trains. `surface_run` starts it, says how far it is, and goes
on where an earlier one was stopped.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from semantic_ns.checkpoints import find_checkpoint, step_of
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce

CONFIG = "config.yml"
_CHECKPOINTS = "nerfstudio_models"
_NO_EVALUATION = 10**9
_LOG = "training.log"
_FINISHED = "finished"
"""File that is written last."""
_STEP = re.compile(r"\W*([0-9]+) \(([0-9.]+)%\)")
"""A line of nerfstudio's table of a training."""
_TENTHS = 10
_SAVED_STEPS = 250
_NUM_LAST_LINES = 15


def surface_run(scene: Path, folder: Path, max_seconds: float | None = None) -> Path:
    """Find the run of a scene's surface in a folder, or train it there (slow).

    Args:
        scene: Folder of the scene.
        folder: Folder of the run; a run that was stopped in it goes on.
        max_seconds: Time after which training ends, if all steps take longer; None for no limit.

    Returns:
        The run's config.yml.

    Raises:
        SceneError: there is no scene, or it cannot be trained on.
    """
    if not scene.exists():
        raise SceneError(f"Expected the folder of a scene or a run, found nothing at {scene}; correct the path.")
    if _is_finished(folder):
        return folder / CONFIG
    is_resumed = _newest(folder) is not None
    announce("labelling", f"the surface of {scene} {'goes on being' if is_resumed else 'is'} trained in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", __name__, str(scene), str(folder)]
    if max_seconds is not None:
        command.append(str(max_seconds))
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf8", errors="replace"
    ) as process:
        assert process.stdout is not None
        with (folder / _LOG).open("w", encoding="utf8") as log:
            for line in _progress(process.stdout):
                log.write(line)
                lines = [*lines[1 - _NUM_LAST_LINES :], line]
    if process.returncode != 0 or not _is_finished(folder):
        raise SceneError(_failure(lines, folder / _LOG))
    return folder / CONFIG


def _progress(lines: Iterable[str]) -> Iterator[str]:
    """Pass lines of a training on, and say each tenth of it."""
    newest_tenth = -1
    for line in lines:
        match = _STEP.match(line)
        if match and (tenth := int(float(match[2]) * _TENTHS / 100)) > newest_tenth:
            newest_tenth = tenth
            announce("labelling", f"{100 // _TENTHS * tenth:3d} % of the surface is trained, step {match[1]}")
        yield line


def _failure(lines: list[str], log: Path) -> str:
    """One sentence: that of the training where it said one."""
    for line in reversed(lines):
        if line.startswith("Error: "):
            return line.removeprefix("Error: ").strip()
    return f"Expected the surface to be trained, found that its training ended early; see {log}."


def _newest(folder: Path) -> Path | None:
    try:
        return find_checkpoint(folder / _CHECKPOINTS)
    except SceneError:
        return None


def _is_finished(folder: Path) -> bool:
    """Whether a run has all its steps."""
    return (folder / _FINISHED).is_file() and (folder / CONFIG).is_file() and _newest(folder) is not None


def surface_config(scene: Path, folder: Path, max_seconds: float | None = None) -> Any:
    """The configuration of the training: `semantic-nerf` without classes, whether the scene has labels or not."""
    from semantic_ns.methods.semantic_nerf.method import semantic_nerf

    config: Any = deepcopy(semantic_nerf.config)
    config.run_dir = folder.absolute()
    config.experiment_name = scene.absolute().name
    config.timestamp = "surface"
    config.vis = "tensorboard"
    config.max_seconds = max_seconds
    config.steps_per_save = _SAVED_STEPS
    config.steps_per_eval_batch = config.steps_per_eval_image = _NO_EVALUATION
    config.pipeline.model.use_semantics = False
    config.pipeline.propagation.enabled = False
    config.pipeline.datamanager.data = scene.absolute()
    config.pipeline.datamanager.dataparser.labels_optional = True
    config.pipeline.datamanager.dataparser.split = "all"  # nothing is scored, and each image can be labelled
    return config


def train(scene: Path, folder: Path, max_seconds: float | None = None) -> None:
    """Train in this process, from the newest checkpoint in the folder on."""
    from nerfstudio.scripts.train import main

    config = surface_config(scene, folder, max_seconds)
    newest = _newest(folder)
    if newest is None or (step_of(newest) or 0) + 1 < config.max_num_iterations:
        if newest is not None:
            config.load_dir = newest.parent
        main(config)
    (folder / _FINISHED).touch()


if __name__ == "__main__":
    try:
        train(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else None)
    except SceneError as error:
        print(f"Error: {error}")
        raise SystemExit(1) from None
