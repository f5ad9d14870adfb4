"""nerfstudio's trainer, made safe to stop: whole checkpoints only, a clean end on a signal, resuming."""

import os
import re
import shutil
import signal
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NoReturn, cast

import torch
import tyro
import yaml
from nerfstudio.configs.base_config import MachineConfig
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import TRAIN_INTERATION_OUTPUT, Trainer, TrainerConfig
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE
from torch.cuda.amp.grad_scaler import GradScaler

from semantic_ns.commands import refuse_impossible
from semantic_ns.errors import SceneError
from semantic_ns.interfaces import TrainingDataLike, can
from semantic_ns.io.writing import flush_to_disk, write_text
from semantic_ns.optimizers import scale_schedules_to_run
from semantic_ns.run_paths import RESUME_CONFIG, relocate_opened

_UNSET_TIMESTAMP = "{timestamp}"
_CHECKPOINT_NAME = re.compile(r"step-(\d{9,})\.ckpt")


@dataclass
class SemanticTrainerConfig(TrainerConfig):
    """Options of the trainer; `max_num_iterations` counts all steps, those before a resume included."""

    _target: type = field(default_factory=lambda: SemanticTrainer)
    trained_in: tyro.conf.Suppress[Path | None] = None
    """Folder in which the training was started, to which relative paths of the configuration are relative."""
    run_folder: tyro.conf.Suppress[Path | None] = None
    """Folder in which an opened run is, wherever it was trained; not written to its file."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the configuration from a file or a copy; in a run that a command opens, paths are where it is now."""
        self.__dict__.update(state)
        if self.timestamp != _UNSET_TIMESTAMP:  # else it is a copy of the method's own configuration
            refuse_impossible()
            relocate_opened(self)

    def get_base_dir(self) -> Path:
        """The folder of the run: where it was opened, or else where its options put it."""
        return self.run_folder or super().get_base_dir()

    def save_config(self) -> None:
        """Write `config.yml` of the run whole or not at all: the run being resumed may be the one that it describes.

        It is the first that `ns-train` does with a configuration, so that one that cannot be trained is refused here.
        """
        self.check()
        data = getattr(self.pipeline.datamanager, "data", None)
        if data is not None:  # the shell leaves the ~ of --data=~/scene
            self.pipeline.datamanager.data = data.expanduser()
        path = self.get_base_dir() / "config.yml"
        CONSOLE.log(f"Saving config to: {path}")
        self.trained_in = Path.cwd()
        write_text(path, yaml.dump(replace(self, run_folder=None)))

    def check(self) -> None:
        """Check what is known before anything is loaded.

        Raises:
            SceneError: there are no steps, the machine has no such devices, or the checkpoint to go on from is missing
                or has all steps.
        """
        if self.max_num_iterations < 1:
            raise SceneError(
                f"Expected 1 step or more for --max-num-iterations, found {self.max_num_iterations}; give the number "
                "of all steps."
            )
        check_devices(self.machine)
        path = self.checkpoint_to_load()
        if path is not None and (match := _CHECKPOINT_NAME.fullmatch(path.name)):
            refuse_finished_run(path, int(match[1]) + 1, self.max_num_iterations)

    def checkpoint_to_load(self) -> Path | None:
        """The checkpoint that `load_dir`, `load_step` and `load_checkpoint` name; None if none is to be loaded.

        `load_dir` is the folder of checkpoints or that of their run.

        Raises:
            SceneError: it is missing or not whole.
        """
        folder = self.load_dir
        if folder is None:
            return None if self.load_checkpoint is None else check_is_whole(self.load_checkpoint)
        inside = folder / self.relative_model_dir
        return find_checkpoint(inside if inside.is_dir() else folder, self.load_step)


class LenientGradScaler(GradScaler):
    """A gradient scaler that starts afresh from the empty state of a checkpoint that was made on a CPU.

    It is never waited for while training: nerfstudio asks for the scale twice in every step, only to hold the schedules
    back by the few steps that overflow, and each answer lets the device come to rest.
    """

    def get_scale(self) -> float:
        """The scale of the start, whatever it is now; that is in :meth:`state_dict`."""
        return self._init_scale if self._enabled else 1.0

    def state_dict(self) -> dict[str, Any]:
        """The parent's state, with the scale as it is now."""
        state = super().state_dict()
        return state | {"scale": super().get_scale()} if state else state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the scale of a CUDA run; an empty state means that there was none."""
        if state_dict:
            super().load_state_dict(dict(state_dict))


class _StopRequestedError(Exception):
    """A signal asked the training to end; leaves the parent's loop, never the trainer."""


class SemanticTrainer(Trainer):
    """Trainer with whole checkpoints, a clean end on SIGTERM and SIGINT, and `max_num_iterations` as a total."""

    config: SemanticTrainerConfig

    def __init__(self, config: SemanticTrainerConfig, local_rank: int = 0, world_size: int = 1) -> None:
        super().__init__(config, local_rank, world_size)
        # The parent decides before it knows that there is no mixed precision on a CPU. It wants the class under its old
        # name, about which newer versions of torch warn.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.grad_scaler = LenientGradScaler(enabled=self.use_grad_scaler and self.device != "cpu")
        self._total_iterations = config.max_num_iterations
        self._last_step: int | None = None  # the last step that was finished in this process
        self._saved_step: int | None = None
        self._stop_signal: signal.Signals | None = None
        self._previous_handlers: dict[signal.Signals, Any] = {}

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Set up as the parent does; labels that are not the scene's own are kept beside the run."""
        super().setup(test_mode)
        datamanager = self.pipeline.datamanager
        if self.local_rank == 0 and can(datamanager, "gives_training_labels"):
            labels = cast(TrainingDataLike, datamanager).training_labels
            if labels.are_changed_by_options:
                labels.write(self.base_dir / "labels")

    def setup_optimizers(self) -> Optimizers:
        """Build the optimisers; schedules given in fractions of the run learn how long it is."""
        missing = self.pipeline.get_param_groups().keys() - self.config.optimizers.keys() - {"camera_opt"}
        if missing:
            raise SceneError(
                f"Expected an optimiser for each of the model's parameter groups, found none for "
                f"{', '.join(sorted(missing))}: the configuration is of another version; train again with this one."
            )
        optimizers = scale_schedules_to_run(self.config.optimizers, self._total_iterations)
        with self._changed_config(optimizers=optimizers):
            return super().setup_optimizers()

    def train(self) -> None:
        """Train up to `max_num_iterations` steps in total, or until a signal.

        Raises:
            SystemExit: After SIGTERM (status 143) or SIGINT (130), with a checkpoint of the last finished step.
        """
        # The parent trains this many more steps.
        remaining = self._total_iterations - self._start_step
        with (
            self._changed_config(max_num_iterations=remaining),
            self._stopping_on_signals(),
            suppress(_StopRequestedError),
        ):
            super().train()
        if self._stop_signal is not None:
            self._save_and_exit(self._stop_signal)

    def train_iteration(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        """Run one step and remember that it is finished."""
        if self._stop_signal is not None:
            self.stop_training = True  # the signal came before the parent cleared this
        result = super().train_iteration(step)
        self._last_step = step
        return result

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Save the state after `step`; whatever happens meanwhile, the folder holds whole checkpoints only.

        The parent writes into its checkpoint folder and removes the older files there. Given a folder of its own beside
        the real one it does neither to the checkpoints that exist; the new file is moved in when it is on the disk.
        """
        folder = self.checkpoint_dir
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
        self.checkpoint_dir = partial
        try:
            super().save_checkpoint(step)
            saved = publish_checkpoint(partial, folder)
        finally:
            self.checkpoint_dir = folder
            shutil.rmtree(partial, ignore_errors=True)
        write_text(self.base_dir / RESUME_CONFIG, yaml.dump(self._resume_config()))
        if self.config.save_only_latest_checkpoint:
            for other in folder.glob("*.ckpt"):
                if other != saved:
                    other.unlink()
        self._saved_step = step

    def _resume_config(self) -> SemanticTrainerConfig:
        return replace(
            self.config,
            max_num_iterations=self._total_iterations,
            run_folder=None,
            load_dir=self.checkpoint_dir,
            load_step=None,
            load_checkpoint=None,
        )

    def _load_checkpoint(self) -> None:
        path = self.config.checkpoint_to_load()
        # The parent takes every file of a folder for a checkpoint, so it gets the file.
        with self._changed_config(load_dir=None, load_checkpoint=path):
            try:
                super()._load_checkpoint()
            except ValueError as error:  # torch's, where an optimiser has other parameters
                raise SceneError(
                    f"Expected a checkpoint of this version and method at {path}, found other optimisers ({error}); "
                    "evaluate it as it is, or train again."
                ) from error
        if path is not None:
            refuse_finished_run(path, self._start_step, self._total_iterations)
            sentence = f"Resuming from {path}: {self._start_step} of {self._total_iterations} steps are done."
            CONSOLE.print(sentence, style="bold", markup=False, soft_wrap=True)

    def _after_train(self) -> None:
        if self._stop_signal is not None:
            raise _StopRequestedError
        super()._after_train()

    def _train_complete_viewer(self) -> None:
        if self._stop_signal is not None:
            raise _StopRequestedError
        # From here on there is nothing to save, and the parent waits for a keyboard interrupt.
        self._restore_handlers()
        try:
            super()._train_complete_viewer()
        except KeyboardInterrupt:
            self.shutdown()

    @contextmanager
    def _changed_config(self, **changes: Any) -> Iterator[None]:
        requested = self.config
        self.config = replace(requested, **changes)
        try:
            yield
        finally:
            self.config = requested

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        # With several processes each would stop after a step of its own choice and the others would wait for it.
        if self.world_size > 1 or threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous_handlers[number] = signal.signal(number, self._request_stop)
        try:
            yield
        finally:
            self._restore_handlers()

    def _restore_handlers(self) -> None:
        while self._previous_handlers:
            signal.signal(*self._previous_handlers.popitem())

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._stop_signal = signal.Signals(number)
        self.stop_training = True
        for again in (signal.SIGTERM, signal.SIGINT):
            signal.signal(again, signal.SIG_DFL)
        # Not through the console, which may be in the middle of a line.
        os.write(2, f"\n{self._stop_signal.name}: stopping after this step; once more stops at once.\n".encode())

    def _save_and_exit(self, number: signal.Signals) -> NoReturn:
        if self._last_step is None:
            message = f"Stopped by {number.name} before a step was finished; nothing new to save."
        else:
            if self._saved_step != self._last_step:
                self.save_checkpoint(self._last_step)
            message = (
                f"Stopped by {number.name} after {self._last_step + 1} of {self._total_iterations} steps. "
                f"Checkpoint: {self.checkpoint_dir / f'step-{self._last_step:09d}.ckpt'}\n"
                f"Resume with: ns-train {self.config.method_name} --load-config {self.base_dir / RESUME_CONFIG}"
            )
        CONSOLE.print(message, style="bold yellow", markup=False, soft_wrap=True)
        self.shutdown()
        raise SystemExit(128 + number)


def check_devices(machine: MachineConfig) -> None:
    """Check that this machine has the devices to train on.

    Raises:
        SceneError: it lacks them, or several processes are asked for without a GPU for each.
    """
    kind, number = machine.device_type, machine.num_devices
    if kind != "cpu" and not (torch.cuda if kind == "cuda" else torch.backends.mps).is_available():
        raise SceneError(
            f"Expected a device that PyTorch can use for --machine.device-type {kind}, found none; leave the option "
            "out to train on what there is."
        )
    available = torch.cuda.device_count() if kind == "cuda" else 1
    if not 1 <= number <= available:
        raise SceneError(
            f"Expected 1 to {available} devices for --machine.num-devices on {kind}, found {number}; "
            + ("a training on the CPU uses all its cores by itself." if kind == "cpu" else "each process needs one.")
        )


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
            "--max-num-iterations, which counts all steps, to go on, or look at the run with ns-viewer --load-config "
            f"{path.parent.parent / 'config.yml'}."
        )


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
    found = {int(match[1]): path for path in folder.iterdir() if (match := _CHECKPOINT_NAME.fullmatch(path.name))}
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
