"""The surface of a scene that has no run yet: colour and depth alone, trained in a process of its own.

`python -m semantic_ns.methods.surface_run SCENE FOLDER` trains. `surface_run` starts it, says how far it is, and goes
on where an earlier one was stopped.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from semantic_ns.checkpoints import find_checkpoint, step_of
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.locking import locked_folder
from semantic_ns.io.text import read_json
from semantic_ns.io.writing import write_json, write_text
from semantic_ns.viewer.view_requests import VARIABLE

CONFIG = "config.yml"
_CHECKPOINTS = "nerfstudio_models"
_NO_EVALUATION = 10**9
_LOG = "training.log"
_FINISHED = "finished"
"""File that is written last. It holds the limit in seconds if that came before all steps were made."""
_SCENE = "scene.json"
"""File that says of which scene the surface is, and of which images; written before the first step."""
_LOCK = "training.lock"
_STEP = re.compile(r"\W*([0-9]+) \(([0-9.]+)%\)")
"""A line of nerfstudio's table of a training."""
_TENTHS = 10
_SAVED_STEPS = 250
_NUM_LAST_LINES = 15
_PATIENCE_S = 10.0
"""Time in which a training that is asked to end keeps its last step; a first step may compile kernels for longer."""


def surface_run(
    scene: Path,
    folder: Path,
    max_seconds: float | None = None,
    on_step: Callable[[int, float], None] = lambda _step, _share: None,
    views: Path | None = None,
) -> Path:
    """Find the run of a scene's surface in a folder, or train it there (slow).

    Args:
        scene: Folder of the scene.
        folder: Folder of the run; a run that was stopped in it goes on, and so does one that a smaller limit ended.
        max_seconds: Time after which training ends, if all steps take longer; None for no limit.
        on_step: Called now and then with a step that was made, and its share of all steps, 0..1.
        views: Folder in which pictures of the training can be asked for, see `viewer.view_requests`; None for none.

    Returns:
        The run's config.yml.

    Raises:
        SceneError: there is no scene, it cannot be trained on, the folder holds the surface of another one, or another
            process is training in it.
    """
    if not scene.exists():
        raise SceneError(f"Expected the folder of a scene or a run, found nothing at {scene}; correct the path.")
    if _newest(folder) is not None:
        _refuse_other_scene(scene, folder)
    if _is_finished(folder, max_seconds):
        return folder / CONFIG
    with locked_folder(
        folder,
        _LOCK,
        lambda owner: (
            f"Expected a folder in which nobody else trains, found that process {owner} trains the surface "
            f"in {folder}; wait until it is done, end it, or choose another --output-dir."
        ),
    ) as lock:
        _train_in_child(scene, folder, max_seconds, lock, on_step, views)
    return folder / CONFIG


def _train_in_child(
    scene: Path,
    folder: Path,
    max_seconds: float | None,
    lock: int,
    on_step: Callable[[int, float], None],
    views: Path | None,
) -> None:
    is_resumed = _newest(folder) is not None
    limit = "" if max_seconds is None else f", for at most {max_seconds:g} s (--max-seconds)"
    announce(
        "labelling", f"the surface of {scene} {'goes on being' if is_resumed else 'is'} trained in {folder}{limit}"
    )
    command = [sys.executable, "-m", __name__, str(scene), str(folder)]
    if max_seconds is not None:
        command.append(str(max_seconds))
    environment = os.environ if views is None else os.environ | {VARIABLE: str(views.absolute())}
    lines: list[str] = []
    # The child inherits the lock, so that nobody else trains there if it outlives this process.
    inherited = () if os.name == "nt" else (lock,)
    children: list[subprocess.Popen[str]] = []
    signals: list[int] = []

    def pass_on(number: int, _: object) -> None:
        # No exception: one that is raised while the child is made would leave it behind.
        signals.append(number)
        for child in children:
            _end(child)

    with _handling_signals(pass_on), subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf8", errors="replace",
        pass_fds=inherited, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        children.append(process)
        try:
            if signals:
                _end(process)
            with (folder / _LOG).open("w", encoding="utf8") as log:
                for line in _progress(process.stdout, on_step):
                    log.write(line)
                    lines = [*lines[1 - _NUM_LAST_LINES :], line]
        except BaseException:
            _end(process)
            raise
    if signals:
        announce("labelling", _how_far(folder))
        raise SystemExit(128 + signals[0])
    if process.returncode != 0 or not _is_finished(folder, max_seconds):
        raise SceneError(_failure(lines, folder / _LOG))
    if _reached_limit(folder) is not None:
        announce(
            "labelling",
            "time was over before all steps of the surface were made; a larger --max-seconds goes on with it",
        )


def _end(process: "subprocess.Popen[str]") -> None:
    """Ask a training to keep its last step and end; in the middle of a long step, it has some seconds."""
    process.terminate()
    patience = threading.Timer(_PATIENCE_S, process.kill)
    patience.daemon = True
    patience.start()


def _how_far(folder: Path) -> str:
    newest = _newest(folder)
    if newest is None:
        return "the training of the surface was ended before a step was kept; the next start begins anew"
    return f"the training of the surface was ended; the next start goes on after {(step_of(newest) or 0) + 1} steps"


@contextmanager
def _handling_signals(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Have a handler for SIGTERM and Ctrl+C meanwhile, where there can be one.

    Ctrl+C, too: as an exception, it would end this process before its child, for which `Popen` then hardly waits.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, of_before in before.items():
            signal.signal(number, of_before)


def _progress(lines: Iterable[str], on_step: Callable[[int, float], None]) -> Iterator[str]:
    """Pass lines of a training on, and say each tenth of it."""
    newest_tenth = -1
    for line in lines:
        match = _STEP.match(line)
        if match:
            on_step(int(match[1]), float(match[2]) / 100)
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


def images_record(scene: Path, images: Sequence[Path]) -> dict[str, Any]:
    """What tells the images of a scene from those of another.

    Args:
        scene: Folder of the scene.
        images: Paths of the images that are trained on.

    Returns:
        `scene`, the absolute path, and `images`: by the absolute path of each folder of images, and the suffix of those
        in it, the names of all such files in it, sorted.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for folder, suffix in sorted({(path.parent.resolve(), path.suffix) for path in images}):
        found.setdefault(str(folder), {})[suffix] = _names_in(folder, suffix)
    return {"scene": str(scene.resolve()), "images": found}


def _names_in(folder: Path, suffix: str) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if path.suffix == suffix)


def _refuse_other_scene(scene: Path, folder: Path) -> None:
    """Check that the surface in a folder is that of a scene with its images of now.

    Raises:
        SceneError: if it is not, or does not say of which scene it is.
    """
    advice = f"choose another --output-dir, or remove {folder} to train it anew; marks are kept"
    if not (folder / _SCENE).is_file():
        raise SceneError(f"Expected {_SCENE} beside the surface in {folder}, found none; {advice}.")
    record = read_json(folder / _SCENE)
    if record.get("scene") != str(scene.resolve()):
        raise SceneError(
            f"Expected the surface of {scene.resolve()} in {folder}, found that of {record.get('scene')}; {advice}."
        )
    for place, suffixes in record.get("images", {}).items():
        for suffix, names in suffixes.items():
            different = set(names) ^ set(_names_in(Path(place), suffix))
            if different:
                raise SceneError(
                    f"Expected the {len(names)} images in {place} that the surface in {folder} was trained on, found "
                    f"that {min(different)} was added or removed; {advice}."
                )


def is_trained(scene: Path, folder: Path, max_seconds: float | None = None) -> bool:
    """Whether `surface_run` would find the run that it would train.

    Raises:
        SceneError: the folder holds the surface of another scene.
    """
    if _newest(folder) is not None:
        _refuse_other_scene(scene, folder)
    return _is_finished(folder, max_seconds)


def _is_finished(folder: Path, max_seconds: float | None) -> bool:
    """Whether a run has all its steps, or as many as a time allows."""
    if not ((folder / _FINISHED).is_file() and (folder / CONFIG).is_file() and _newest(folder) is not None):
        return False
    limit = _reached_limit(folder)
    return limit is None or (max_seconds is not None and max_seconds <= limit)


def _reached_limit(folder: Path) -> float | None:
    """Seconds after which a finished run was ended before its last step; None for a run with all steps."""
    text = (folder / _FINISHED).read_text("utf8").strip()
    try:
        return float(text) if text else None
    except ValueError as error:
        raise SceneError(
            f"Expected nothing or a number of seconds in {folder / _FINISHED}, found {text!r}; remove the file, and "
            "training goes on."
        ) from error


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
    config.pipeline.eval_images_at_end = 0
    config.pipeline.model.use_semantics = False
    config.pipeline.propagation.enabled = False
    config.pipeline.datamanager.data = scene.absolute()
    config.pipeline.datamanager.dataparser.labels_optional = True
    config.pipeline.datamanager.dataparser.split = "all"  # nothing is scored, and each image can be labelled
    return config


def _keep_sizes(config: Any, begun: Path) -> None:
    """Give a training that goes on the sizes of tables that it was begun with, perhaps by another version.

    Raises:
        SceneError: the configuration that it was begun with cannot be read.
    """
    if not begun.is_file():
        return
    try:
        model = yaml.load(begun.read_text("utf8"), Loader=yaml.Loader).pipeline.model
        for name in ("num_levels", "max_res", "log2_hashmap_size", "semantic_levels", "semantic_max_res"):
            setattr(config.pipeline.model, name, getattr(model, name))
    except (yaml.YAMLError, ImportError, AttributeError, UnicodeDecodeError) as error:
        raise SceneError(
            f"Expected the configuration of the surface that was begun in {begun}, found none that can be read "
            f"({type(error).__name__}); remove {begun.parent} to train it anew; marks are kept."
        ) from error


def checked_images(config: Any) -> list[Path]:
    """The images of a training.

    Args:
        config: The training, see `surface_config`.

    Raises:
        SceneError: if they have several sizes, or the scene cannot be read.
    """
    parser: Any = deepcopy(config.pipeline.datamanager.dataparser)
    parser.data = config.pipeline.datamanager.data
    outputs = parser.setup().get_dataparser_outputs("train")
    if len(outputs.cameras.height.unique()) > 1 or len(outputs.cameras.width.unique()) > 1:
        raise SceneError(
            "Expected training images of one size to label them, found several sizes; make their sizes equal first."
        )
    return [Path(path) for path in outputs.image_filenames]


def train(scene: Path, folder: Path, max_seconds: float | None = None) -> None:
    """Train in this process, from the newest checkpoint in the folder on."""
    from nerfstudio.scripts.train import main

    config = surface_config(scene, folder, max_seconds)
    newest = _newest(folder)
    if newest is not None:
        _keep_sizes(config, folder / CONFIG)
    if newest is None:
        write_json(folder / _SCENE, images_record(scene, checked_images(config)))
    if newest is None or (step_of(newest) or 0) + 1 < config.max_num_iterations:
        if newest is not None:
            config.load_dir = newest.parent
        (folder / _FINISHED).unlink(missing_ok=True)
        main(config)
        newest = _newest(folder)
    has_all = newest is not None and (step_of(newest) or 0) + 1 >= config.max_num_iterations
    write_text(folder / _FINISHED, "" if has_all or max_seconds is None else str(max_seconds))


if __name__ == "__main__":
    try:
        train(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else None)
    except SceneError as error:
        print(f"Error: {error}")
        raise SystemExit(1) from None
