"""Training of one model over many scenes in several processes: `torchrun ... -m semantic_ns.train METHOD OPTIONS`.

The options are those of ns-train. torchrun starts one process for each GPU, or on CPUs as many as are asked for, on one
host or several, and this module reads from its environment who they are. Without torchrun it trains in one process.
"""

import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import tyro
import yaml
from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion
from nerfstudio.utils import profiler
from nerfstudio.utils.rich_utils import CONSOLE

from semantic_ns.errors import SceneError
from semantic_ns.methods.many_scenes_pipeline import ManyScenesPipelineConfig
from semantic_ns.methods.many_scenes_trainer import ManyScenesTrainerConfig
from semantic_ns.processes import Place, Processes, joined
from semantic_ns.run_paths import RESUME_CONFIG

_RESTARTS = "TORCHELASTIC_RESTART_COUNT"
"""Variable in which torchrun says how often it has started the processes again."""
_MOST_TOLD = 3


def train(config: Any, place: Place) -> None:
    """Train a model over many scenes, as ns-train does, in this process and in the others that torchrun has started.

    Args:
        config: the configuration, the same in all processes.
        place: which of them this is.

    Raises:
        SceneError: if the method learns from one scene, if the options differ between processes, if the input is bad,
            or if another process is lost.
    """
    config = _complete(config)
    with joined(place, config.machine.device_type, config.seconds_to_answer) as processes, ExitStack() as stack:
        if processes.rank > 0:
            stack.enter_context(_silent())
        options = [] if processes.world == 1 else processes.gather(options_of(config))
        config.set_timestamp()
        config.timestamp = processes.gather(config.timestamp)[0]
        with processes.speaking_as_one():
            refuse_different_options(options)
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


def options_of(config: Any) -> dict[str, str]:
    """The options of a configuration by their names on the command line, as text that all hosts write alike."""
    found: dict[str, str] = {}

    def collect(name: str, value: Any) -> None:
        if is_dataclass(value) and not isinstance(value, type):
            for entry in fields(value):
                collect(f"{name}.{entry.name}", getattr(value, entry.name))
        elif isinstance(value, dict):
            for key, part in value.items():
                collect(f"{name}.{key}", part)
        else:
            found[f"--{name[1:].replace('_', '-')}"] = _as_text(value)

    collect("", config)
    return found


def _as_text(value: Any) -> str:
    if value is None or isinstance(value, str | int | float | Path):
        return str(value)
    if isinstance(value, tuple | list):
        return " ".join(map(_as_text, value))
    return " ".join(yaml.dump(value).split())  # not its repr, in which an object may have its address


def refuse_different_options(options: Sequence[Mapping[str, str]]) -> None:
    """Check that all processes have the same options: others would wait for each other at different steps.

    Args:
        options: Those of each process, see `options_of`.

    Raises:
        SceneError: they differ, and how.
    """
    for rank, own in enumerate(options):
        first = options[0]
        different = [name for name in {**first, **own} if first.get(name) != own.get(name)]
        if different:
            said = [f"{name} {first.get(name, 'not at all')} and {own.get(name, 'not at all')}" for name in different]
            others = f" ({len(said) - _MOST_TOLD} more differ)" if len(said) > _MOST_TOLD else ""
            raise SceneError(
                f"Expected the same options in all processes, found in process 0 and in process {rank}: "
                f"{'; '.join(said[:_MOST_TOLD])}{others}; give torchrun the same command on every host."
            )


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
        if config.gradient_accumulation_steps and place.world > 1:
            raise SceneError(
                f"Expected samples that {place.world} processes can share, found --gradient-accumulation-steps, by "
                "which each would take steps of its own; leave it out, and give the number as --samples-per-step."
            )
        if not config.gradient_accumulation_steps:
            # Written down, so that the run can be resumed by another number of processes.
            config = replace(config, samples_per_step=place.world)
    if place.rank > 0:
        config.settle()
        return config
    config.print_to_terminal()
    config.save_config()
    if place.world > 1:  # else it says what ns-train says
        rate = ", ".join(f"{group['optimizer'].lr:g}" for group in config.optimizers.values())
        CONSOLE.print(
            f"{place.world} processes on {config.machine.device_type}, {config.samples_per_step} samples in a step; "
            f"the learning rate stays {rate} for any number of them.",
            soft_wrap=True,
        )
    return config


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def entrypoint() -> None:
    """Parse the options of ns-train, and train; what is wrong is said as ns-train says it, by the hook of `host`."""
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
