"""Tasks on a Ray cluster, which Ray places, watches and starts again on another machine."""

import importlib
import math
import os
import socket
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

from semantic_ns.errors import SceneError
from semantic_ns.io.locking import LockTakenError, take_lock
from semantic_ns.jobs.last_words import last_error
from semantic_ns.jobs.processes import GRACE_S

Item = TypeVar("Item")
Result = TypeVar("Result")
LOCAL = "local"
RUNNING = "auto"
_CONNECT_S = 5.0
_LOCK_S = 600.0
_END_S = GRACE_S + 10.0
"""Seconds that tasks have to end what they have started, which itself has `GRACE_S`."""
_LOOK_S = 0.2
_MOST_WAITING = 1000
_RAYS_PORT = 6379


@dataclass(frozen=True)
class Resources:
    """What a task needs of a machine.

    Attributes:
        cpus: Cores.
        gpus: GPUs, or a share of one.
        memory_bytes: Memory by which Ray places it; None for none.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_bytes: int | None = None

    def options(self) -> dict[str, Any]:
        """The same as options of a task of Ray."""
        memory = {} if self.memory_bytes is None else {"memory": self.memory_bytes}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, **memory}

    def wanted(self) -> dict[str, float]:
        """The same by Ray's names of resources, without those that are not needed."""
        found = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory_bytes or 0)}
        return {name: amount for name, amount in found.items() if amount > 0}

    def places(self, node: dict[str, float]) -> int:
        """Number of tasks that a machine with these resources takes at a time."""
        return math.floor(min(node.get(name, 0.0) / amount for name, amount in self.wanted().items()) + 1e-9)


class RayCluster:
    """Connects to a Ray cluster.

    Args:
        address: Address of the cluster; `auto`: the one that runs here; `local`: one of this machine alone, which ends
            with this process.
        resources: What a task needs.
        retries: How often a task is started again when its machine is lost.

    Raises:
        SceneError: Ray is not installed, there is no cluster, or none of its machines has these resources.
    """

    def __init__(self, address: str, resources: Resources, retries: int) -> None:
        self._ray = _import_ray()
        self._resources, self.retries = resources, retries
        _connect(self._ray, address)
        nodes = [dict(node["Resources"]) for node in self._ray.nodes() if node["Alive"]]
        self.jobs = sum(map(resources.places, nodes))
        if self.jobs == 0:
            self._ray.shutdown()
            raise SceneError(
                f"Expected a machine of the Ray cluster with {_told(resources.wanted())}, found "
                f"{'; '.join(sorted({_told(node) for node in nodes})) or 'no machine'}; lower --cpus, --gpus or "
                "--memory, or add such a machine."
            )

    def run(self, work_on: Callable[[Item], str], tasks: Mapping[str, Item]) -> Generator[tuple[Item, str], None, None]:
        """Do tasks; when the caller stops early, what runs is asked to end, and is ended if it does not.

        Args:
            work_on: A function of a module that all machines have; it returns why a task came to no end, or nothing.
            tasks: Its argument for each task, by the name that Ray shows.

        Yields:
            Each task when it has ended, in any order, with why it came to no end, or nothing.
        """
        work = self._ray.remote(max_retries=self.retries, **self._resources.options())(work_on)
        left, waiting = iter(tasks.items()), dict[Any, Item]()
        try:
            while True:
                # Not all of a hundred thousand at once: Ray looks at each of them in every wait.
                for name, task in islice(left, max(_MOST_WAITING, 2 * self.jobs) - len(waiting)):
                    waiting[work.options(name=name).remote(task)] = task
                if not waiting:
                    return
                for reference in self._ray.wait(list(waiting), num_returns=1)[0]:
                    yield waiting.pop(reference), self._lost(reference)
        finally:
            try:
                self._take_back(list(waiting))
            finally:
                self._ray.shutdown()

    def _take_back(self, references: list[Any]) -> None:
        """Ask tasks to end, which gives trainings the time for a checkpoint, and end those that do not."""
        for force in (False, True):
            for reference in references:
                with suppress(Exception):  # the cluster may be gone
                    self._ray.cancel(reference, force=force)
            if references and not force:
                with suppress(Exception):
                    references = self._ray.wait(references, num_returns=len(references), timeout=_END_S)[1]

    def _lost(self, reference: Any) -> str:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            return f"Ray gave it up after {self.retries} retries: {last_error(str(error))}"


def alone(folder: Path, work: Callable[[], object], wait_s: float = _LOCK_S) -> str:
    """Do work in a folder in which nobody else works; returns why it came to no end, or nothing.

    Args:
        folder: The folder, which is made.
        work: The work.
        wait_s: Seconds to wait for another process that works there: Ray may have taken its machine for lost.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _waited_lock(folder, wait_s)
        try:
            work()
        finally:
            os.close(lock)
    except OSError as error:
        return f"Its results cannot be written on {socket.gethostname()}: {error}."
    except SceneError as error:
        return str(error)
    return ""


def interruptible(work: Callable[[], Result], stop: Callable[[], object]) -> Result:
    """Do work in a thread, so that an interrupt of this one, by which Ray takes a task back, can end it in peace.

    Args:
        work: The work.
        stop: Has the work end, which is waited for.
    """
    with ThreadPoolExecutor(1) as threads:
        try:
            future = threads.submit(work)
            # Not one long wait, which Ray's interrupt does not end.
            while not wait([future], _LOOK_S).done:
                pass
        except BaseException:
            stop()
            raise
        return future.result()


def _waited_lock(folder: Path, wait_s: float) -> int:
    end = monotonic() + wait_s
    while True:
        try:
            return take_lock(
                folder / ".lock",
                lambda owner: f"Process {owner} still works on {folder.name}; wait for its end, or end it.",
            )
        except LockTakenError:
            if monotonic() >= end:
                raise
            sleep(1.0)


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise SceneError(
            "Expected the package ray for --cluster ray, found none; install it with pip install "
            "'semantic-ns[cluster]', or give the same command without --cluster, which runs on this machine."
        ) from error


def _connect(ray: Any, address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    try:
        if address not in (LOCAL, RUNNING):
            _refuse_unreachable(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise SceneError(
            f"Expected a Ray cluster at {address}, found none that answers ({last_error(str(error))}); start one with "
            "ray start --head, correct --address, or leave out --cluster to run on this machine."
        ) from error


def _refuse_unreachable(address: str) -> None:
    """Ray itself tries for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    with socket.create_connection((host or port, int(port) if host else _RAYS_PORT), _CONNECT_S):
        pass


def _told(resources: dict[str, float]) -> str:
    said = []
    for name, unit in (("CPU", "cores"), ("GPU", "GPUs"), ("memory", "GiB")):
        amount = resources.get(name, 0.0)
        if amount:
            said.append(f"{amount / 2**30 if name == 'memory' else amount:.3g} {unit}")
    return ", ".join(said) or "nothing"
