"""nerfstudio's trainer, made safe to stop: whole checkpoints only, a clean end on a signal, resuming."""

import os
import shutil
import signal
import threading
import time
import warnings
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

from semantic_ns.checkpoints import check_is_whole, find_checkpoint, publish_checkpoint, refuse_finished_run, step_of
from semantic_ns.commands import refuse_impossible
from semantic_ns.errors import SceneError
from semantic_ns.interfaces import TrainingDataLike, can
from semantic_ns.io.writing import write_text
from semantic_ns.optimizers import RunDecayConfig, follow_clock, scale_schedules_to_run
from semantic_ns.pipeline import SemanticPipelineConfig
from semantic_ns.run_clock import RunClock, check_max_seconds
from semantic_ns.run_paths import RESUME_CONFIG, relocate_opened

SAME_REQUEST_S = 3.0
"""Seconds after a signal in which another one means the same request to stop."""
_UNSET_TIMESTAMP = "{timestamp}"


@dataclass
class SemanticTrainerConfig(TrainerConfig):
    """Options of the trainer; `max_num_iterations` counts all steps, those before a resume included."""

    _target: type = field(default_factory=lambda: SemanticTrainer)
    max_seconds: float | None = None
    """Training ends after so many seconds, or after max-num-iterations if they come first; set-up and the first step,
    which compiles kernels, do not count. Learning rates and whatever else changes in the course of a run follow
    whichever is further, and end with it."""
    seconds_before: tyro.conf.Suppress[float] = 0.0
    """Seconds of training before a resume."""
    trained_in: tyro.conf.Suppress[Path | None] = None
    """Folder in which the training was started, to which relative paths of the configuration are relative."""
    run_dir: tyro.conf.Suppress[Path | None] = None
    """Folder of a run that lies elsewhere than ns-train would put it, such as one that moved."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the configuration from a file or a copy; in a run that a command opens, paths are where it is now."""
        self.__dict__.update(state)
        if self.timestamp != _UNSET_TIMESTAMP:  # else it is a copy of the method's own configuration
            target = getattr(getattr(self.pipeline, "model", None), "_target", None)
            refuse_impossible(has_gaussians=can(target, "exports_gaussians"))
            relocate_opened(self)

    def get_base_dir(self) -> Path:
        """The folder of the run: where it lies, or else where its options put it."""
        return self.run_dir or super().get_base_dir()

    def save_config(self) -> None:
        """Write `config.yml` of the run whole or not at all: the run being resumed may be the one that it describes.

        It is the first that `ns-train` does with a configuration, so that one that cannot be trained is refused here.
        """
        self.settle()
        path = self.get_base_dir() / "config.yml"
        CONSOLE.log(f"Saving config to: {path}")
        write_text(path, yaml.dump(self))

    def settle(self) -> None:
        """Check the configuration, and decide what is left open in it.

        Raises:
            SceneError: it cannot be trained, see `check`.
        """
        self.check()
        data = getattr(self.pipeline.datamanager, "data", None)
        if data is not None:  # the shell leaves the ~ of --data=~/scene
            self.pipeline.datamanager.data = data.expanduser()
        if isinstance(self.pipeline, SemanticPipelineConfig):
            self.pipeline.settle()
        self.trained_in = Path.cwd()

    def check(self) -> None:
        """Check what is known before anything is loaded.

        Raises:
            SceneError: there are no steps or seconds, the machine has no such devices, or the checkpoint to go on from
                is missing or has all of them.
        """
        if self.max_num_iterations < 1:
            raise SceneError(
                f"Expected 1 step or more for --max-num-iterations, found {self.max_num_iterations}; give the number "
                "of all steps."
            )
        check_devices(self.machine)
        check_max_seconds(self.max_seconds, self.machine.num_devices * self.machine.num_machines)
        path = self.checkpoint_to_load()
        if path is not None and (step := step_of(path)) is not None:
            refuse_finished_run(path, step + 1, self.max_num_iterations)
        if self.max_seconds is not None and self.seconds_before >= self.max_seconds:
            raise SceneError(
                f"Expected seconds that are left to train, found that the run at {path} has {self.seconds_before:.1f} "
                f"of {self.max_seconds:g}; go on with --load-dir and --max-seconds in the place of --load-config."
            )

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
        self._asked_at = 0.0
        self.stop_training = False  # the parent sets it in `train`, but single steps may be taken without it
        self._previous_handlers: dict[signal.Signals, Any] = {}
        check_max_seconds(config.max_seconds, world_size)
        self.clock = RunClock(config.max_num_iterations, config.max_seconds, config.seconds_before)

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
            built = super().setup_optimizers()
        if self.config.max_seconds is not None:
            for name, scheduler in built.schedulers.items():
                if isinstance(optimizers[name]["scheduler"], RunDecayConfig):
                    follow_clock(scheduler, self.clock.schedule_step)
        return built

    def train(self) -> None:
        """Train up to `max_num_iterations` steps in total, or until a signal.

        Raises:
            SystemExit: After SIGTERM (status 143) or SIGINT (130), with a checkpoint of the last finished step.
        """
        # The parent trains this many more steps.
        remaining = self._total_iterations - self._start_step
        with self._stopping_on_signals():
            with self._changed_config(max_num_iterations=remaining), suppress(_StopRequestedError):
                super().train()
            # Here, where a second signal that belongs to the first does not yet end the process.
            if self._stop_signal is not None:
                self._save_last_step()
        if self._stop_signal is not None:
            self._save_and_exit(self._stop_signal)

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal ends the training; one whose time is over ends as usual."""
        return self._stop_signal is not None

    def train_iteration(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        """Run one step and remember that it is finished."""
        self.stop_training |= self.is_interrupted  # the signal may have come before the parent cleared this
        result = self._train_step(step)
        if self._last_step is None:
            # Set-up does not count, and the first step compiles kernels: a minute, where that was never done.
            self.clock.start()
        self._last_step = step
        if self.clock.is_over and not self.stop_training:
            self.stop_training = True
            CONSOLE.print(f"{self.clock.seconds:.1f} seconds are over: {step + 1} steps were trained.", soft_wrap=True)
        return result

    def _train_step(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        return super().train_iteration(step)

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
        pipeline = self.config.pipeline
        return replace(
            self.config,
            pipeline=pipeline.for_resume() if isinstance(pipeline, SemanticPipelineConfig) else pipeline,
            max_num_iterations=self._total_iterations,
            seconds_before=self.clock.seconds,
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
        if self._last_step is not None:
            self.step = self._last_step  # the parent has counted on before it saw that time is over
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
        if self._stop_signal is not None:
            # A scheduler may signal every process by itself, and what started this one passes its own signal on.
            if time.monotonic() - self._asked_at >= SAME_REQUEST_S:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self._stop_signal, self._asked_at = signal.Signals(number), time.monotonic()
        self.stop_training = True
        # Not through the console, which may be in the middle of a line.
        sentence = f"stopping after this step; once more after {SAME_REQUEST_S:g} seconds stops at once."
        os.write(2, f"\n{self._stop_signal.name}: {sentence}\n".encode())

    def _save_last_step(self) -> None:
        if self._last_step is not None and self._saved_step != self._last_step:
            self.save_checkpoint(self._last_step)

    def _resume_command(self) -> str:
        return f"ns-train {self.config.method_name} --load-config {self.base_dir / RESUME_CONFIG}"

    def _save_and_exit(self, number: signal.Signals) -> NoReturn:
        if self._last_step is None:
            message = f"Stopped by {number.name} before a step was finished; nothing new to save."
        else:
            self._save_last_step()
            message = (
                f"Stopped by {number.name} after {self._last_step + 1} of {self._total_iterations} steps. "
                f"Checkpoint: {self.checkpoint_dir / f'step-{self._last_step:09d}.ckpt'}\n"
                f"Resume with: {self._resume_command()}"
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
