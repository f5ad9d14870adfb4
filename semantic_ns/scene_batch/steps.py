"""The steps of a scene: the command of each, what it needs, and where its results lie in the folder of the scene."""

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from semantic_ns.checkpoints import newest_whole_checkpoint, step_of
from semantic_ns.errors import SceneError
from semantic_ns.run_paths import RESUME_CONFIG, option_value

Step = Literal["doctor", "train", "eval", "audit", "export-labels", "export-pointcloud", "export-mesh"]
STEPS: tuple[Step, ...] = get_args(Step)
"""All steps, in the order in which they run."""
DOCTOR_REPORT = "doctor.json"
DOCTOR_PICTURES = "doctor.png"
SCORES = "scores.json"
PICTURES = "pictures"
"""Folder of the pictures of `ns-eval`."""
RUN = "run"
DAMAGED = "damaged_checkpoints"
"""Folder of checkpoints of a run that are not whole, beside that of the whole ones."""
_CHECKPOINTS = "nerfstudio_models"
PROBLEM_FOUND = 1
"""Exit status of `sns-doctor` for a scene that can be used and has a problem."""

_MODULES: dict[Step, tuple[str, ...]] = {
    "doctor": ("semantic_ns.cli.doctor",),
    "train": ("nerfstudio.scripts.train",),
    "eval": ("nerfstudio.scripts.eval",),
    "audit": ("semantic_ns.cli.audit_labels",),
    "export-labels": ("semantic_ns.cli.export_labels",),
    "export-pointcloud": ("semantic_ns.cli.export", "pointcloud"),
    "export-mesh": ("semantic_ns.cli.export", "mesh"),
}
_RESULTS: dict[Step, str] = {
    "audit": "audit", "export-labels": "labels", "export-pointcloud": "pointcloud", "export-mesh": "mesh",
}  # fmt: skip
"""Folders of results, which a step makes anew."""
_PARSERS = ("semantic-data", "replica-data", "nerfstudio-semantic-data", "scannet-semantic-data", "hypersim-data")
_PARSER_OPTIONS = ("--classes", "--label-space", "--label-table", "--camera-parameters", "--camera")
"""Dataparsers of `ns-train` that `sns-doctor` knows, and their options that it takes as well."""
_NO_VIEWER = ("--vis", "tensorboard", "--viewer.quit-on-train-completion", "True")


def in_order(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps, each once, in the order in which they run.

    Raises:
        SceneError: there is none, or one needs a training that is not among them.
    """
    if not steps:
        raise SceneError(f"Expected at least one step for --steps, found none; the steps are {', '.join(STEPS)}.")
    found: tuple[Step, ...] = tuple(step for step in STEPS if step in steps)
    if "train" not in found and (needing := [step for step in found if step != "doctor"]):
        raise SceneError(
            f"Expected train among --steps before {needing[0]}, which needs a trained scene, found none; add it: a "
            "scene that is trained is not trained again."
        )
    return found


def needed_step(step: Step) -> Step | None:
    """The step without which another one cannot run; None for those that need a readable scene alone."""
    return {"doctor": None, "train": "doctor"}.get(step, "train")  # pyright: ignore[reportReturnType]


def made_from(step: Step) -> tuple[Step, ...]:
    """The steps whose results are made from those of another one."""
    return tuple(other for other in STEPS if step == "train" and needed_step(other) == step)


def config_path(folder: Path, method_name: str) -> Path:
    """The config.yml of the training in the folder of a scene.

    Args:
        folder: The folder of the scene's results.
        method_name: The method's name in its own configuration, after which nerfstudio names the folders of its runs.
    """
    return folder / method_name / RUN / "config.yml"


def command_of(step: Step, data: Path, folder: Path, config: Path, method: str, arguments: Sequence[str]) -> list[str]:
    """The command of a step. What an earlier try has left is removed, unless the step goes on from it.

    Args:
        step: The step.
        data: The scene.
        folder: The folder of its results.
        config: The config.yml of its training.
        method: The method, as `ns-train` knows it.
        arguments: More arguments of `ns-train`.
    """
    module, *words = _MODULES[step]
    command = [sys.executable, "-m", module, *words]
    if step == "doctor":
        (folder / DOCTOR_REPORT).unlink(missing_ok=True)
        results = ["--json", str(folder / DOCTOR_REPORT), "--pictures", str(folder / DOCTOR_PICTURES)]
        return [*command, str(data), *results, *_reading(arguments)]
    if step == "train":
        return [*command, method, *_training(data, folder, config, arguments)]
    if step == "eval":
        (folder / SCORES).unlink(missing_ok=True)
        results = ["--output-path", str(folder / SCORES), "--render-output-path", str(folder / PICTURES)]
        return [*command, "--load-config", str(config), *results]
    place = folder / _RESULTS[step]
    shutil.rmtree(place, ignore_errors=True)
    return [*command, "--load-config", str(config), "--output" if step == "audit" else "--output-dir", str(place)]


def has_results(step: Step, folder: Path, config: Path) -> bool:
    """Whether a step has left all that it makes; its process must have ended well, else it may be a part.

    Args:
        step: The step.
        folder: The folder of its results.
        config: The config.yml of its training.
    """
    if step == "train":
        return is_trained(config)
    place = folder / {"doctor": DOCTOR_REPORT, "eval": SCORES, **_RESULTS}[step]
    return place.is_file() or (place.is_dir() and any(place.iterdir()))


def _reading(arguments: Sequence[str]) -> list[str]:
    """How the training reads the scene, as options of `sns-doctor`: it checks what will be trained on."""
    places = [place for place, argument in enumerate(arguments) if argument in _PARSERS]
    if not places:
        return []
    parser, options = arguments[places[-1]], arguments[places[-1] + 1 :]
    values = {option: option_value(option, options) for option in _PARSER_OPTIONS}
    given = [word for option, value in values.items() if value is not None for word in (option, value)]
    return ["--parser", parser, *given]


def _training(data: Path, folder: Path, config: Path, arguments: Sequence[str]) -> list[str]:
    newest = newest_step(config)
    if newest is not None:
        _set_newer_aside(config, newest)
        return ["--load-config", str(config.parent / RESUME_CONFIG)]
    shutil.rmtree(config.parent, ignore_errors=True)
    place = ["--output-dir", str(folder.parent), "--experiment-name", folder.name, "--timestamp", RUN]
    # Options with one value: a list would take the name of the dataparser, too, which is the last of the arguments.
    return [*_NO_VIEWER, "--data", str(data), *place, *arguments]


def newest_step(config: Path) -> int | None:
    """Number of steps of the newest whole checkpoint that a training can go on from; None without one."""
    if not (config.parent / RESUME_CONFIG).is_file():
        return None
    newest = newest_whole_checkpoint(config.parent / _CHECKPOINTS)
    step = None if newest is None else step_of(newest)
    return None if step is None else step + 1


def _set_newer_aside(config: Path, num_steps: int) -> None:
    """Move checkpoints that are not whole to where no command takes them for the newest one."""
    for path in list((config.parent / _CHECKPOINTS).glob("*.ckpt")):
        step = step_of(path)
        if step is not None and step >= num_steps:
            (config.parent / DAMAGED).mkdir(exist_ok=True)
            path.replace(config.parent / DAMAGED / path.name)


def is_trained(config: Path) -> bool:
    """Whether the newest checkpoint of a run is its last one: a training was killed after it had ended."""
    steps = newest_step(config)
    if steps is None:
        return False
    # Not read as YAML, which would build the whole configuration and import the method.
    text = (config.parent / RESUME_CONFIG).read_text("utf8", errors="replace")
    limit, seconds, before = (_number(text, key) for key in ("max_num_iterations", "max_seconds", "seconds_before"))
    return (limit is not None and steps >= limit) or (seconds is not None and (before or 0.0) >= seconds)


def _number(text: str, key: str) -> float | None:
    found = re.search(rf"^{key}: ([\d.e+]+)$", text, re.MULTILINE)
    return float(found[1]) if found else None
