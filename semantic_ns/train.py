"""Training of one model over many scenes in several processes: `torchrun ... -m semantic_ns.train METHOD OPTIONS`.

The options are those of ns-train. torchrun starts one process for each GPU, or on CPUs as many as are asked for, on one
host or several, and this module reads from its environment who they are. Without torchrun it trains in one process.
"""

import os
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import tyro
import yaml
from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion
from nerfstudio.utils import profiler
from nerfstudio.utils.rich_utils import CONSOLE

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError
from semantic_ns.methods.many_scenes_pipeline import ManyScenesPipelineConfig
from semantic_ns.methods.many_scenes_trainer import ManyScenesTrainerConfig
from semantic_ns.processes import Place, Processes, joined
from semantic_ns.run_paths import RESUME_CONFIG

_RESTARTS = "TORCHELASTIC_RESTART_COUNT"
"""Variable in which torchrun says how often it has started the processes again."""


def train(config: Any, place: Place) -> None:
    """Train a model over many scenes, as ns-train does, in this process and in the others that torchrun has started.

    Args:
        config: the configuration, the same in all processes.
        place: which of them this is.

    Raises:
        SceneError: if the method learns from one scene, if the input is bad, or if another process is lost.
    """
    config = _complete(config)
    with joined(place, config.machine.device_type, config.seconds_to_answer) as processes, ExitStack() as stack:
        if processes.rank > 0:
            stack.enter_context(_silent())
        config.set_timestamp()
        config.timestamp = processes.gather(config.timestamp)[0]
        with processes.speaking_as_one():
            config = _prepared(config, processes)
            # The same in all of them: what differs between samples is drawn by their numbers.
            _seed(config.machine.seed)
            trainer = config.setup(local_rank=place.local_rank, world_size=1)
            trainer.setup()
        try:
            trainer.train()
        finally:
            profiler.flush_profiler(config.logging)


def _complete(config: Any) -> ManyScenesTrainerConfig:
    """The configuration whose short options, and a file of a run, have been replaced by what they name."""
    if config.data:
        config.pipeline.datamanager.data = config.data
    file = config.load_config or _config_to_go_on_with(config)
    if file:
        config = yaml.load(file.read_text(encoding="utf8"), Loader=yaml.Loader)
    if isinstance(config, ManyScenesTrainerConfig):
        return config
    if not isinstance(config.pipeline, ManyScenesPipelineConfig):
        raise SceneError(
            f"Expected a method that learns from many scenes (gsnerf-small, viewseg-small, gsnerf or viewseg), found "
            f"{config.method_name}, which fits one scene in one process; start one ns-train for each scene instead."
        )
    # A run of an earlier version.
    options = {entry.name: getattr(config, entry.name) for entry in fields(config) if entry.name != "_target"}
    return ManyScenesTrainerConfig(**options)


def _config_to_go_on_with(config: Any) -> Path | None:
    """Where torchrun starts all processes again after it has lost one (--max-restarts), the run that they had begun.

    Its folder is known if its --timestamp is.
    """
    resume = config.get_base_dir() / RESUME_CONFIG
    return resume if int(os.environ.get(_RESTARTS, "0")) > 0 and resume.is_file() else None


def _prepared(config: ManyScenesTrainerConfig, processes: Processes) -> ManyScenesTrainerConfig:
    place = processes.place
    if config.machine.device_type == "cuda":
        if place.local_rank >= torch.cuda.device_count():
            raise SceneError(
                f"Expected a GPU for each of {place.local_world} processes on a host, found "
                f"{torch.cuda.device_count()}; lower --nproc-per-node."
            )
        torch.cuda.set_device(place.local_rank)
    if config.samples_per_step is None:
        # Written down, so that the run can be resumed by another number of processes.
        config = replace(config, samples_per_step=place.world)
    if place.rank > 0:
        config.settle()
        return config
    config.print_to_terminal()
    config.save_config()
    rate = ", ".join(f"{group['optimizer'].lr:g}" for group in config.optimizers.values())
    CONSOLE.print(
        f"{place.world} process{'es' if place.world > 1 else ''} on {config.machine.device_type}, "
        f"{config.samples_per_step} sample(s) in a step; the learning rate stays {rate} for any number of them.",
        soft_wrap=True,
    )
    return config


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def entrypoint() -> None:
    """Parse the options of ns-train, and train."""
    run_command(_main)


def _main() -> None:
    place = Place.of_environment()
    tyro.extras.set_accent_color("bright_yellow")
    with ExitStack() as stack:
        if place.rank > 0:  # all have the same options, and say the same of them
            stack.enter_context(_silent())
            stack.enter_context(redirect_stderr(sys.stdout))
        config = tyro.cli(cast(Any, AnnotatedBaseConfigUnion), prog="semantic_ns.train", description=__doc__)
    train(config, place)


@contextmanager
def _silent() -> Iterator[None]:
    """Let only the error stream be seen."""
    with Path(os.devnull).open("w", encoding="utf8") as nowhere, redirect_stdout(nowhere):
        yield


if __name__ == "__main__":
    entrypoint()
