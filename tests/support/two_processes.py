"""Jobs of two processes that meet as those of torchrun do, or of one, forked from one that has imported everything."""

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from torch import Tensor, nn

from semantic_ns.processes import Place
from support.fresh_process import run_warm

_LIMIT_S = 200
"""After so many seconds a process that hangs is ended, by SIGALRM."""


@dataclass(frozen=True)
class Ended:
    """How the processes of a job ended: exit status, or negative number of a signal; and what they printed."""

    statuses: list[int]
    outputs: list[str]


def run_jobs(folder: Path, jobs: dict[str, dict[str, Any]]) -> dict[str, Ended]:
    """Run jobs, each with a folder of its own name for what its processes print and write.

    They run one after the other, in that order, but for those in which a process hangs: these run beside them.

    Args:
        folder: an empty folder.
        jobs: by name; `function` names one of this module, `num_processes` is 2 if left out, the rest are arguments.
    """
    for name, job in jobs.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "job.json").write_text(json.dumps(job))
    done = run_warm(f"from support import two_processes; two_processes.main({str(folder)!r}, {list(jobs)!r})")
    assert done.returncode == 0, done.stderr
    return {
        name: Ended(
            json.loads((folder / name / "statuses.json").read_text()),
            [path.read_text() for path in sorted((folder / name).glob("rank_*.txt"))],
        )
        for name in jobs
    }


def main(folder: str, names: list[str]) -> None:
    """Run the jobs of a folder; those in which a process hangs run beside the others, since they hardly do anything."""
    jobs = {name: json.loads((Path(folder) / name / "job.json").read_text()) for name in names}
    hanging = {name: _start(Path(folder) / name, job) for name, job in jobs.items() if _hangs(job)}
    for name, job in jobs.items():
        if name not in hanging:
            _wait(Path(folder) / name, _start(Path(folder) / name, job))
    for name, children in hanging.items():
        _wait(Path(folder) / name, children, is_hanging=True)


def _hangs(job: dict[str, Any]) -> bool:
    return job.get("by") == signal.SIGSTOP


def _start(folder: Path, job: dict[str, Any]) -> list[int]:
    options = dict(job)
    function = globals()[options.pop("function")]
    world, port = options.pop("num_processes", 2), _free_port()
    work = partial(function, folder, **options)
    return [_fork(Place(rank, world, rank, world), port, folder, work) for rank in range(world)]


def _wait(folder: Path, children: list[int], is_hanging: bool = False) -> None:
    ends: list[int] = []
    for child in children:
        if ends and is_hanging:
            os.kill(child, signal.SIGKILL)  # it would not end by itself
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    (folder / "statuses.json").write_text(json.dumps(ends))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _fork(place: Place, port: int, folder: Path, work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        signal.alarm(_LIMIT_S)
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        if place.world > 1:
            os.environ.update({name: str(number) for name, number in zip(names, astuple(place), strict=True)})
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        printed = os.open(folder / f"rank_{place.rank}.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        work()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Branched(nn.Module):
    """A network of which a sample of an odd number trains another branch than one of an even number."""

    def __init__(self) -> None:
        super().__init__()
        self.common = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
        self.branches = nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 3), nn.Linear(6, 3)])

    def loss(self, number: int) -> Tensor:
        """Loss of a sample."""
        torch.manual_seed(number)
        return self.branches[number % 2](self.common(torch.randn(5, 4))).square().mean()


def gradients_of(network: nn.Module) -> dict[str, Tensor | None]:
    """Gradients by the name of the parameter."""
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def share_gradients(folder: Path, numbers: list[list[int]]) -> None:
    """Each rank takes samples of its own; all of them keep the gradients and statistics that then come of it."""
    from semantic_ns.processes import joined
    from semantic_ns.shared_gradients import add_up_gradients, copy_weights_of_first

    with joined(Place.of_environment(), "cpu", 60) as processes:
        torch.manual_seed(processes.rank)
        network = Branched()
        copy_weights_of_first(network, processes)
        start = {name: value.clone() for name, value in network.state_dict().items()}
        total = torch.zeros(())
        for number in numbers[processes.rank]:
            loss = network.loss(number) / sum(map(len, numbers))
            loss.backward()
            total = total + loss.detach()
        total = add_up_gradients(network, processes, total)
        found = {"start": start, "gradients": gradients_of(network), "loss": total, "end": network.state_dict()}
        torch.save(found, folder / f"rank_{processes.rank}.pt")


def train(
    folder: Path, config: str, timestamp: str = "", environment: Mapping[str, str] | None = None, **death: int
) -> None:
    """Train by a configuration file; a rank may send itself a signal in the sample of a number.

    Each rank notes the number of each sample that it draws, and how many sources that has, see `num_sources_noted`.
    """
    from semantic_ns.cli.main import run_command
    from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManager
    from semantic_ns.methods.many_scenes_pipeline import ManyScenesPipeline
    from semantic_ns.train import train as train_together

    os.environ.update(environment or {})
    place, patched, samples = Place.of_environment(), cast(Any, ManyScenesPipeline), cast(Any, ManyScenesDataManager)
    losses, drawn = patched.numbered_losses, samples.numbered_sample

    def numbered_losses(pipeline: ManyScenesPipeline, number: int, samples_per_step: int) -> Any:
        if death and number == death["at_sample"] and place.rank == death["rank"]:
            os.kill(os.getpid(), death["by"])
        return losses(pipeline, number, samples_per_step)

    def numbered_sample(manager: ManyScenesDataManager, number: int, samples_per_step: int) -> Any:
        found = drawn(manager, number, samples_per_step)
        with (folder / f"samples_of_{place.rank}.txt").open("a") as noted:
            noted.write(f"{number} {len(found[0].sources.cameras)}\n")
        return found

    patched.numbered_losses, samples.numbered_sample = numbered_losses, numbered_sample
    content = yaml.load(Path(config).read_text(), Loader=yaml.Loader)
    content.timestamp = timestamp or content.timestamp
    run_command(lambda: train_together(content, place))


def num_sources_noted(folder: Path) -> list[tuple[int, int]]:
    """(number, number of sources) of the samples that the ranks of a training drew, in order of the former."""
    lines = [line for path in folder.glob("samples_of_*.txt") for line in path.read_text().splitlines()]
    return sorted((int(number), int(count)) for number, count in map(str.split, lines))


def lose_one(folder: Path, by: int) -> None:
    """The second process ends or hangs; the first one adds up, where tensors travel through a group that waits long.

    So NCCL waits, which needs a GPU for each process: here it is a gloo group with its own time, and a process that
    hangs, of which no group hears.
    """
    from semantic_ns.cli.main import run_command
    from semantic_ns.processes import _JoinedProcesses

    place = Place.of_environment()
    torch.distributed.init_process_group(
        "gloo", timeout=timedelta(seconds=10 * _LIMIT_S), rank=place.rank, world_size=place.world
    )
    messages = torch.distributed.new_group(backend="gloo", timeout=timedelta(seconds=8))
    processes = _JoinedProcesses(place, 8.0, messages, meets_first=True)
    processes.add_up(torch.ones(()))
    processes.copy_of_first(torch.ones(()))
    if place.rank == 1:
        os.kill(os.getpid(), by)
    run_command(lambda: processes.add_up(torch.ones(())))


def train_by_rank(folder: Path, configs: list[str]) -> None:
    """Train by a configuration file of each rank."""
    train(folder, configs[Place.of_environment().rank])


def score(folder: Path, config: str) -> None:
    """Score all images of a run that can be resumed; each process keeps what it then knows."""
    from semantic_ns.processes import joined

    content = yaml.load(Path(config).read_text(), Loader=yaml.Loader)
    with joined(Place.of_environment(), "cpu", 60) as processes:
        trainer = content.setup()
        trainer.setup()
        scores = trainer.pipeline.get_average_eval_image_metrics()
        state = trainer.pipeline.model.evaluation_state
        images = [vars(image) for image in state.image_scores()]
        found = {"scores": scores, "confusion": state._confusion, "images": images}
        torch.save(found, folder / f"rank_{processes.rank}.pt")
