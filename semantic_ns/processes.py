"""Several processes that train one model together: what they tell each other, and a sentence when one of them is lost.

torchrun starts them and says in their environment who they are. All that they exchange goes through `Processes`. The
one process of an ordinary training is `ALONE`, which exchanges nothing.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from semantic_ns.commands import sentence_about_unwritable_place
from semantic_ns.errors import SceneError

_Value = TypeVar("_Value")
_NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
_MEETING_POINT = ("MASTER_ADDR", "MASTER_PORT")


class LostProcessError(SceneError):
    """Another process has ended, or gives no answer."""


@dataclass(frozen=True)
class Place:
    """Which of several processes this one is.

    Attributes:
        rank: its number among all.
        world: number of all processes.
        local_rank: its number among those of this host.
        local_world: number of processes of this host.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> "Place":
        """The place that torchrun names in the environment; without torchrun, that of the only process.

        Raises:
            SceneError: if the environment names a part of it only, or none that there is.
        """
        if "WORLD_SIZE" not in environment and "RANK" not in environment:
            return cls()
        missing = [name for name in (*_NUMBERS, *_MEETING_POINT) if not environment.get(name)]
        if missing:
            raise SceneError(
                f"Expected the environment of torchrun, found no {' and no '.join(missing)} in it; start the command "
                "by torchrun, or without RANK and WORLD_SIZE for one process."
            )
        found = [environment[name] for name in (*_NUMBERS, "MASTER_PORT")]
        if not all(text.isascii() and text.isdecimal() for text in found):
            raise SceneError(
                f"Expected whole numbers for {', '.join(_NUMBERS)} and MASTER_PORT in the environment, found "
                f"{', '.join(found)}; start the command by torchrun."
            )
        rank, local_rank, world, local_world = (int(text) for text in found[:4])
        if not (rank < world and local_rank < local_world <= world):
            raise SceneError(
                f"Expected ranks below the numbers of processes, found RANK {rank} of WORLD_SIZE {world} and "
                f"LOCAL_RANK {local_rank} of LOCAL_WORLD_SIZE {local_world}; start the command by torchrun."
            )
        return cls(rank, world, local_rank, local_world)


class Processes:
    """The only process of an ordinary training, or, as `_JoinedProcesses`, one of several.

    Every process has to call the same methods in the same order.

    Attributes:
        place: which one this is.
    """

    def __init__(self, place: Place) -> None:
        self.place = place

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.place.rank

    @property
    def world(self) -> int:
        """Number of all processes."""
        return self.place.world

    def add_up(self, tensor: Tensor) -> None:
        """Replace a tensor, which lies on the device of the training, by its sum over all processes."""
        del tensor

    def copy_of_first(self, tensor: Tensor) -> None:
        """Replace a tensor, which lies on the device of the training, by that of the first process."""
        del tensor

    def gather(self, value: _Value) -> list[_Value]:
        """The values of all processes, in their order; they are small objects of plain types or of this package."""
        return [value]

    def largest(self, number: int) -> int:
        """The largest number that a process has."""
        return number

    def wait(self) -> None:
        """Wait for all processes."""

    @contextmanager
    def speaking_as_one(self) -> Iterator[None]:
        """End all processes where one of them cannot go on, with what it says said once.

        The block must exchange nothing. An error of the program itself leaves it at once.

        Raises:
            SceneError: in the first process, with the sentences of all of them.
            SystemExit: in the others, with status 1.
        """
        sentence = None
        try:
            yield
        except (SceneError, OSError) as error:
            sentence = str(error) if isinstance(error, SceneError) else sentence_about_unwritable_place(error)
            if self.world == 1 or sentence is None:
                raise
        sentences = self.gather(sentence)
        found = dict.fromkeys(said for said in sentences if said is not None)
        if not found:
            return
        if self.rank > 0:
            raise SystemExit(1)
        raise SceneError(" ".join(_with_speakers(said, sentences) for said in found))


def _with_speakers(said: str, sentences: list[str | None]) -> str:
    speakers = [str(rank) for rank, sentence in enumerate(sentences) if sentence == said]
    return said if len(speakers) == len(sentences) else f"In process {', '.join(speakers)} of {len(sentences)}: {said}"


ALONE = Processes(Place())
_present: Processes = ALONE


def present() -> Processes:
    """The processes that train together now: `ALONE`, or those that were joined."""
    return _present


class _JoinedProcesses(Processes):
    """One of several processes.

    Args:
        place: which one this is.
        timeout_s: how long it waits for the others.
        messages: group for what is on the CPU, whatever the device of the training.
        meets_first: whether it waits for the others on the CPU before tensors travel: NCCL itself waits for a lost
            process until it ends this one without a sentence, and gloo does not.
    """

    def __init__(self, place: Place, timeout_s: float, messages: Any, meets_first: bool) -> None:
        super().__init__(place)
        self._timeout_s, self._messages, self._meets_first = timeout_s, messages, meets_first

    def add_up(self, tensor: Tensor) -> None:
        self._meet()
        with self._answered():
            distributed.all_reduce(tensor)

    def copy_of_first(self, tensor: Tensor) -> None:
        self._meet()
        with self._answered():
            distributed.broadcast(tensor, src=0)

    def _meet(self) -> None:
        if self._meets_first:
            self.wait()

    def gather(self, value: _Value) -> list[_Value]:
        found: list[Any] = [None] * self.world
        with self._answered():
            distributed.all_gather_object(found, value, group=self._messages)
        return cast("list[_Value]", found)

    def largest(self, number: int) -> int:
        tensor = torch.tensor(number)
        with self._answered():
            distributed.all_reduce(tensor, distributed.ReduceOp.MAX, group=self._messages)
        return int(tensor)

    def wait(self) -> None:
        self.largest(0)

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo and the store have no narrower class for it
            raise LostProcessError(
                f"Expected an answer of all {self.world} processes, found in process {self.rank} that another one has "
                f"ended or gave none for {self._timeout_s:g} s; what that one printed says why."
            ) from error


@contextmanager
def joined(place: Place, device_type: str, timeout_s: float) -> Iterator[Processes]:
    """Inside it, this process is one of those that torchrun started, and `present` gives them.

    Gradients go through NCCL on CUDA and through gloo on the CPU; all else goes through gloo, which sees at once that a
    process has ended and lets no device wait. Before gradients go through NCCL, processes therefore meet through gloo.

    Args:
        place: place of this process.
        device_type: cuda or cpu.
        timeout_s: seconds for which it waits for the others, at the start and later.

    Raises:
        SceneError: if not all of them come, or the device has no such groups.
    """
    global _present  # noqa: PLW0603 - as there is one process group of torch in a process
    if place.world == 1:
        yield ALONE
        return
    if device_type not in ("cuda", "cpu"):
        raise SceneError(
            f"Expected cuda or cpu for --machine.device-type with several processes, found {device_type}; choose cpu."
        )
    timeout = timedelta(seconds=timeout_s)
    try:
        distributed.init_process_group(
            "nccl" if device_type == "cuda" else "gloo", timeout=timeout, rank=place.rank, world_size=place.world
        )
        messages = distributed.new_group(backend="gloo", timeout=timeout)
    except (RuntimeError, ValueError) as error:
        at = ":".join(os.environ.get(name, "") for name in _MEETING_POINT)
        raise SceneError(
            f"Expected {place.world} processes to meet at {at} within {timeout_s:g} s, found that process {place.rank} "
            f"did not ({str(error).splitlines()[0]}); start torchrun on every host, with the same --rdzv-endpoint."
        ) from error
    _present = _JoinedProcesses(place, timeout_s, messages, meets_first=device_type == "cuda")
    try:
        yield _present
    except LostProcessError:
        _present = ALONE  # the group is left as it is: to take leave of it would be to wait for the lost one
        raise
    except BaseException:
        _present = ALONE
        distributed.destroy_process_group()
        raise
    _present = ALONE
    distributed.destroy_process_group()
