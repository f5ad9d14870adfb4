"""A training of one vector that takes milliseconds: for what the trainer does around the steps, not in them."""

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from nerfstudio.configs.base_config import LocalWriterConfig, LoggingConfig, MachineConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig
from nerfstudio.pipelines.base_pipeline import Pipeline, VanillaPipelineConfig

from semantic_ns import trainer
from semantic_ns.host import allow_numpy_scalars_in_checkpoints
from semantic_ns.trainer import SemanticTrainer, SemanticTrainerConfig


@dataclass
class TinyPipelineConfig(VanillaPipelineConfig):
    _target: type = field(default_factory=lambda: TinyPipeline)
    signal_at_step: int = -1
    """Step in which the process sends itself `signal_number`."""
    signal_number: int = int(signal.SIGTERM)
    signal_count: int = 1
    announce: bool = False
    """Print each step, for a parent process that waits for one."""


class TinyPipeline(Pipeline):
    """Fits a vector to a target that depends on the step, so that a lost or repeated step changes the result."""

    config: TinyPipelineConfig

    def __init__(self, config: TinyPipelineConfig, **kwargs: Any) -> None:
        super().__init__()
        self.config = config
        self.vector = torch.nn.Parameter(torch.zeros(1000))
        self.steps: list[int] = []
        self.datamanager: Any = SimpleNamespace(
            train_dataset=[0], eval_dataset=[], get_train_rays_per_batch=lambda: 1, config=config.datamanager
        )

    def get_train_loss_dict(self, step: int) -> tuple[dict[str, Any], dict[str, torch.Tensor], dict[str, Any]]:
        self.steps.append(step)
        if self.config.announce:
            print(f"step {step}", flush=True)
        if step == self.config.signal_at_step:
            for _ in range(self.config.signal_count):
                os.kill(os.getpid(), self.config.signal_number)
        target = torch.linspace(0, 1, 1000) * (step % 7)
        return {}, {"loss": ((self.vector - target) ** 2).sum()}, {}

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        self.vector.data.copy_(loaded_state["vector"])

    def get_param_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        return {"fields": [self.vector]}

    def get_training_callbacks(self, training_callback_attributes: Any) -> list[Any]:
        return []

    def get_eval_image_metrics_and_images(self, step: int) -> Any:
        raise NotImplementedError

    def get_average_eval_image_metrics(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


def tiny_config(output_dir: Path, steps: int = 10, **options: Any) -> SemanticTrainerConfig:
    """Return a configuration of a run `<output_dir>/tiny/tiny/run`; options of the pipeline go in as `pipeline`."""
    return SemanticTrainerConfig(
        output_dir=output_dir,
        method_name="tiny",
        experiment_name="tiny",
        timestamp=options.pop("timestamp", "run"),
        max_num_iterations=steps,
        steps_per_save=options.pop("steps_per_save", 1000),
        vis="tensorboard",
        machine=MachineConfig(device_type="cpu"),
        logging=LoggingConfig(local_writer=LocalWriterConfig(enable=False)),
        pipeline=options.pop("pipeline", None) or TinyPipelineConfig(),
        optimizers={
            "fields": {
                "optimizer": AdamOptimizerConfig(lr=0.1),
                "scheduler": ExponentialDecaySchedulerConfig(lr_final=0.01, max_steps=20),
            }
        },
        **options,
    )


def start(config: SemanticTrainerConfig) -> SemanticTrainer:
    """Return a trainer that is set up, as `ns-train` does it."""
    allow_numpy_scalars_in_checkpoints()
    torch.manual_seed(0)
    built = config.setup()
    built.setup()
    return built


def kill_during_save(number: int) -> None:
    """Replace `torch.save`: the save of this number writes half of its file and the process is killed (-9)."""
    original, count = torch.save, 0

    def save(content: Any, path: Path) -> None:
        nonlocal count
        count += 1
        original(content, path)
        if count == number:
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save


def main() -> None:
    """Train as a child process: the path of a configuration file, and perhaps one thing more.

    That is the save in which to be killed, or `impatient`: a second signal then comes late, as it were.
    """
    config = yaml.load(Path(sys.argv[1]).read_text(), Loader=yaml.Loader)
    if sys.argv[2:] == ["impatient"]:
        trainer.SAME_REQUEST_S = 0.0
    elif len(sys.argv) > 2:
        kill_during_save(int(sys.argv[2]))
    start(config).train()
