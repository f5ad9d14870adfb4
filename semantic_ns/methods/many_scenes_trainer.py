"""The trainer of methods that learn from many scenes: several processes can share the samples of its steps."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, Literal, cast

import torch
import yaml
from nerfstudio.engine.trainer import TRAIN_INTERATION_OUTPUT
from nerfstudio.utils.misc import step_check
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_text
from semantic_ns.methods.many_scenes_pipeline import ManyScenesPipeline
from semantic_ns.processes import LostProcessError, Processes, present
from semantic_ns.run_clock import check_max_seconds
from semantic_ns.run_paths import RESUME_CONFIG
from semantic_ns.shared_gradients import add_up_gradients, copy_weights_of_first
from semantic_ns.trainer import SemanticTrainer, SemanticTrainerConfig

State = Literal["training", "paused", "completed"]


@dataclass
class ManyScenesTrainerConfig(SemanticTrainerConfig):
    """Options of the trainer of methods that learn from many scenes."""

    _target: type = field(default_factory=lambda: ManyScenesTrainer)
    samples_per_step: int | None = None
    """Number of samples, each some targets of one scene, over whose gradients a step takes the mean. All samples of a
    step have the same number of source frames. Processes that torchrun starts share them; one process takes them one
    after the other, with the same result. By default one for each process."""
    seconds_to_answer: float = 600.0
    """Seconds for which a process that torchrun started waits for an answer of the others before it ends."""

    def check(self) -> None:
        """Check what is known before anything is loaded, as the parent does, and what several processes need.

        Raises:
            SceneError: there are fewer samples in a step than processes, or an option that only one process can obey.
        """
        super().check()
        machine, world = self.machine, present().world
        if machine.num_devices * machine.num_machines > 1:
            raise SceneError(
                "Expected one device for each process of this method, found --machine.num-devices "
                f"{machine.num_devices} and --machine.num-machines {machine.num_machines}; leave them out, and start "
                f"several processes by torchrun --nproc-per-node N -m semantic_ns.train {self.method_name}."
            )
        check_max_seconds(self.max_seconds, world)
        if not 0 < self.seconds_to_answer < 1e9:
            raise SceneError(
                f"Expected some seconds for --seconds-to-answer, found {self.seconds_to_answer:g}; leave it out."
            )
        count = self.samples_per_step
        if count is None:
            return
        if count < world:
            raise SceneError(
                f"Expected at least one sample for each of {world} processes, found --samples-per-step {count}; start "
                "fewer processes, or raise it in a new run."
            )
        if self.gradient_accumulation_steps:
            raise SceneError(
                "Expected --samples-per-step or --gradient-accumulation-steps, found both; leave out the latter, which "
                "takes sums of gradients instead of means and lets learning rates fall faster."
            )
        if self.start_paused and world > 1:
            raise SceneError(f"Expected one process for --start-paused, found {world}; leave it out.")


class ManyScenesTrainer(SemanticTrainer):
    """A `SemanticTrainer` whose steps take the mean over several samples, which several processes may share.

    nerfstudio takes each process for the only one, so that it neither wraps the model nor divides anything by itself.
    The first process alone writes, prints and opens a viewer.
    """

    config: ManyScenesTrainerConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    pipeline: ManyScenesPipeline  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: ManyScenesTrainerConfig, local_rank: int = 0, world_size: int = 1) -> None:
        self._processes: Processes = present()
        self._asked_to_stop = 0
        self._scores_all_images = (
            config.is_wandb_enabled() or config.is_tensorboard_enabled() or config.is_comet_enabled()
        )
        if self._processes.rank > 0:
            config = replace(config, vis=cast(Any, "none"))  # also where it is the first one of another host
        super().__init__(config, local_rank, world_size)

    @property
    def training_state(self) -> State:
        """What the viewer shows and changes; several processes cannot pause, since the others would wait for one."""
        return self._training_state

    @training_state.setter
    def training_state(self, state: State) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        if state == "paused" and self._processes.world > 1:
            CONSOLE.print(
                "Several processes train this model, which cannot be paused; stop it by SIGTERM, and resume it."
            )
            return
        self._training_state: State = state

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Set up as the parent does; nothing is exchanged before `train`, so that one process alone may fail here.

        The `config.yml` of the run, if there is one, then has the label space of the scenes as they are now.
        """
        super().setup(test_mode)
        if self._processes.rank > 0:
            outputs: Any = self.pipeline.datamanager.train_dataparser_outputs
            outputs.save_dataparser_transform = lambda _: None  # the first process writes it
        elif (path := self.base_dir / "config.yml").is_file():
            write_text(path, yaml.dump(self.config))

    def train_iteration(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        """Run one step; a signal to one process then ends all of them after the same one."""
        if step == self._start_step:
            self._begin_together()
        result = super().train_iteration(step)
        if (number := self._processes.largest(self._asked_to_stop)) > 0:
            self._stop_signal = signal.Signals(number)
            self.stop_training = True
        return result

    def _begin_together(self) -> None:
        steps = self._processes.gather(self._start_step)
        with self._processes.speaking_as_one():
            if len(set(steps)) > 1:
                raise SceneError(
                    "Expected the same checkpoint in all processes, found that they begin at the steps "
                    f"{', '.join(map(str, steps))}; give a folder that all hosts see."
                )
        copy_weights_of_first(self.pipeline.model, self._processes)

    def _train_step(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        count = self.config.samples_per_step
        if count is None:
            return super()._train_step(step)
        self.optimizers.zero_grad_all()
        losses: dict[str, Tensor] = {}
        loss = torch.zeros((), device=self.pipeline.device)
        for number in range(step * count + self._processes.rank, (step + 1) * count, self._processes.world):
            parts = self._losses_of(number, count)
            mean = torch.stack(list(parts.values())).sum() / count
            cast(Tensor, self.grad_scaler.scale(mean)).backward()
            loss = loss + mean.detach()
            losses |= {name: losses.get(name, 0.0) + part.detach() / count for name, part in parts.items()}
        loss = add_up_gradients(self.pipeline.model, self._processes, loss)
        self.optimizers.optimizer_scaler_step_all(self.grad_scaler)
        self.grad_scaler.update()
        self.optimizers.scheduler_step_all(step)
        return loss, losses, {}

    def _losses_of(self, number: int, samples_per_step: int) -> dict[str, Tensor]:
        with torch.autocast(device_type=self.device.partition(":")[0], enabled=self.mixed_precision):
            return self.pipeline.numbered_losses(number, samples_per_step)

    def eval_iteration(self, step: int) -> None:
        """Evaluate as the parent does in the first process; the others help where all images are scored."""
        if self._processes.rank == 0:
            super().eval_iteration(step)
        elif self._scores_all_images and step_check(step, self.config.steps_per_eval_all_images):
            self.pipeline.get_average_eval_image_metrics(step=step)

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        with super()._stopping_on_signals():
            try:
                yield
                if self._stop_signal is not None:
                    self._save_last_step()
                    # torchrun ends all processes as soon as one has ended.
                    self._processes.wait()
            except LostProcessError as error:
                raise LostProcessError(f"{error}{self._told_of_rest()}") from error

    def _told_of_rest(self) -> str:
        """Save what is there when another process is lost; the step that was begun has changed no weights yet."""
        if self._processes.rank > 0 or self._last_step is None:
            return ""
        self._save_last_step()
        return (
            f" Checkpoint after {self._last_step + 1} of {self._total_iterations} steps: "
            f"{self.checkpoint_dir / f'step-{self._last_step:09d}.ckpt'}. Resume with: {self._resume_command()}"
        )

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        if self._processes.world == 1:
            super()._request_stop(number, frame)
            return
        # Once more means nothing here: torchrun passes on what it gets, and a scheduler may send it to all by itself.
        self._asked_to_stop = number
        os.write(2, f"\n{signal.Signals(number).name}: all processes stop after this step.\n".encode())

    def _resume_command(self) -> str:
        if self._processes.world == 1:
            return super()._resume_command()
        return (
            f"torchrun --nproc-per-node N -m semantic_ns.train {self.config.method_name} --load-config "
            f"{self.base_dir / RESUME_CONFIG}, with any N of at most {self.config.samples_per_step} processes"
        )
