"""What the loss of machines costs: expected values in closed form, and a simulation event by event as their twin.

Machines are lost independently of each other, each with a constant rate, so that the time until the next loss of a
machine is exponential and has no memory. A scene is a row of pieces. A loss takes the work on the running piece, and
leaves the pieces before it: the steps that are done, and the training up to its newest checkpoint.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from semantic_ns.errors import SceneError

_MOST_EXPONENT = 30.0
"""Of e: a piece of thirty times the mean time between losses takes longer than any batch."""


class Piece(NamedTuple):
    """Work that a loss undoes as a whole.

    Attributes:
        seconds: Seconds that it takes undisturbed.
        restart_seconds: Seconds that come before it when it is begun again, such as for loading a checkpoint.
    """

    seconds: float
    restart_seconds: float = 0.0


def pieces_of(
    step_seconds: Sequence[tuple[str, float]], checkpoint_seconds: float | None, restart_seconds: float
) -> tuple[Piece, ...]:
    """The pieces of a scene: each step is one, a training one for each of its checkpoints.

    Args:
        step_seconds: Steps in their order, with the seconds of each.
        checkpoint_seconds: Seconds between two checkpoints of a training; None for one at its end alone.
        restart_seconds: Seconds that a training takes until it goes on from a checkpoint. Other steps start over, so
            that their own seconds include those of their start.
    """
    pieces: list[Piece] = []
    for step, seconds in step_seconds:
        between = checkpoint_seconds if step == "train" and checkpoint_seconds is not None else seconds
        num_whole = max(0, math.ceil(seconds / between - 1e-9) - 1) if between > 0 else 0
        lengths = [*[between] * num_whole, seconds - num_whole * between]
        pieces += [Piece(length, restart_seconds if number else 0.0) for number, length in enumerate(lengths)]
    return tuple(pieces)


def expected_seconds(pieces: Sequence[Piece], losses_per_second: float) -> float:
    """Seconds for which a scene holds its cores until it is done, on average over losses.

    A piece of length t that is tried again after each loss, with a restart of length r before each new try, takes
    exp(rate r) (exp(rate t) - 1) / rate. This is Daly's equation for one segment (J. T. Daly, A higher order estimate
    of the optimum checkpoint interval for restart dumps, Future Generation Computer Systems 22, 2006), whose segment
    includes the writing of its checkpoint, as the measured seconds here do.

    Raises:
        SceneError: A piece is so long that it would hardly ever end.
    """
    if losses_per_second == 0:
        return math.fsum(piece.seconds for piece in pieces)
    total = 0.0
    for piece in pieces:
        exponent = losses_per_second * (piece.seconds + piece.restart_seconds)
        if exponent > _MOST_EXPONENT:
            raise SceneError(
                f"Expected pieces of work that are short against the time between two losses of a machine, found one "
                f"of {piece.seconds:.0f} s with a loss each {1 / losses_per_second:.0f} s, which never ends; lower "
                "--losses-per-node-hour or --checkpoint-seconds."
            )
        resumed = math.exp(losses_per_second * piece.restart_seconds)
        total += resumed * math.expm1(losses_per_second * piece.seconds) / losses_per_second
    return total


def share_given_up(pieces: Sequence[Piece], losses_per_second: float, retries: int) -> float:
    """Probability that a scene is lost more often than it is started again.

    The number of losses in a piece is 0 with the probability that its first try succeeds, and geometric after that;
    pieces are independent, so that their distributions are folded.

    Args:
        pieces: The pieces of the scene.
        losses_per_second: Rate of losses of a machine.
        retries: How often a scene is started again.
    """
    chances = [1.0, *[0.0] * retries]
    """Probability of each number of losses so far, up to the largest that is borne."""
    for piece in pieces:
        first = math.exp(-losses_per_second * piece.seconds)
        again = math.exp(-losses_per_second * (piece.seconds + piece.restart_seconds))
        of_piece = [first, *((1 - first) * (1 - again) ** number * again for number in range(retries))]
        chances = [
            sum(chances[before] * of_piece[number - before] for before in range(number + 1))
            for number in range(retries + 1)
        ]
    return min(1.0, max(0.0, 1.0 - math.fsum(chances)))


@dataclass(frozen=True)
class Machines:
    """Machines of one kind.

    Attributes:
        nodes: Their number.
        places: Scenes at a time on each.
        losses_per_second: Rate at which a machine that runs is lost.
        replacement_seconds: Seconds after which another one is in its place.
    """

    nodes: int
    places: int
    losses_per_second: float = 0.0
    replacement_seconds: float = 0.0

    @property
    def share_up(self) -> float:
        """Share of the time in which a machine runs: the mean time until a loss, over that until its replacement."""
        return 1 / (1 + self.losses_per_second * self.replacement_seconds)


class Simulated(NamedTuple):
    """What a simulated batch has taken.

    Attributes:
        seconds: Seconds until the last scene has ended.
        busy_seconds: Seconds for which scenes held a place, all together.
        num_losses: Tasks that were lost with their machine.
        num_given_up: Scenes that were lost more often than they are started again.
    """

    seconds: float
    busy_seconds: float
    num_losses: int
    num_given_up: int


def simulate(
    pieces: Sequence[Piece], num_scenes: int, machines: Machines, seed: int, retries: int | None = None
) -> Simulated:
    """Run a batch of equal scenes in simulated time, in which machines are lost and replaced.

    Args:
        pieces: The pieces of a scene.
        num_scenes: Number of scenes.
        machines: Where they run.
        seed: Seed of the losses.
        retries: How often a scene is started again after a loss; None for any number.
    """
    return _Simulation(pieces, num_scenes, machines, random.Random(seed), retries).run()


class _Simulation:
    """The state of a simulated batch; events are ends of scenes, losses of machines and their replacements."""

    def __init__(
        self,
        pieces: Sequence[Piece],
        num_scenes: int,
        machines: Machines,
        draws: random.Random,
        retries: int | None,
    ) -> None:
        self._pieces, self._machines, self._draws, self._retries = pieces, machines, draws, retries
        self._waiting = deque(range(num_scenes))
        self._left = num_scenes
        self._num_done = [0] * num_scenes  # pieces
        self._num_losses = [0] * num_scenes
        self._is_resumed = [False] * num_scenes
        self._running: list[dict[int, float]] = [{} for _ in range(machines.nodes)]
        """The scenes on each machine, with the time at which each was placed."""
        self._lives = [0] * machines.nodes
        """How often each machine was lost: the end of a scene on an earlier life of its machine is void."""
        self._is_up = [True] * machines.nodes
        self._events: list[tuple[float, int, str, int, int, int]] = []
        self._order = itertools.count()
        self._now = self._busy = 0.0
        self._num_given_up = 0

    def run(self) -> Simulated:
        for node in range(self._machines.nodes):
            self._start(node)
        while self._left:
            self._now, _, kind, node, life, scene = heapq.heappop(self._events)
            if kind == "start":
                self._start(node)
            elif life == self._lives[node]:
                if kind == "end":
                    self._end(node, scene)
                else:
                    self._lose(node)
        return Simulated(self._now, self._busy, sum(self._num_losses), self._num_given_up)

    def _tell(self, after: float, kind: str, node: int, scene: int = -1) -> None:
        event = (self._now + after, next(self._order), kind, node, self._lives[node], scene)
        heapq.heappush(self._events, event)

    def _start(self, node: int) -> None:
        self._is_up[node] = True
        if self._machines.losses_per_second > 0:
            self._tell(self._draws.expovariate(self._machines.losses_per_second), "loss", node)
        self._fill(node)

    def _fill(self, node: int) -> None:
        while self._waiting and len(self._running[node]) < self._machines.places:
            scene = self._waiting.popleft()
            left = self._pieces[self._num_done[scene] :]
            self._running[node][scene] = self._now
            self._tell(self._restart(scene) + sum(piece.seconds for piece in left), "end", node, scene)

    def _restart(self, scene: int) -> float:
        is_resumed = self._is_resumed[scene] and self._num_done[scene] < len(self._pieces)
        return self._pieces[self._num_done[scene]].restart_seconds if is_resumed else 0.0

    def _end(self, node: int, scene: int) -> None:
        self._busy += self._now - self._running[node].pop(scene)
        self._left -= 1
        self._fill(node)

    def _lose(self, node: int) -> None:
        lost, self._running[node] = self._running[node], {}
        self._lives[node] += 1
        self._is_up[node] = False
        for scene, placed in lost.items():
            self._busy += self._now - placed
            self._num_losses[scene] += 1
            self._keep_pieces(scene, self._now - placed)
            if self._retries is not None and self._num_losses[scene] > self._retries:
                self._num_given_up += 1
                self._left -= 1
            else:
                self._waiting.appendleft(scene)
        self._tell(self._machines.replacement_seconds, "start", node)
        # Machines that run and had nothing to do take what was lost.
        for other in range(self._machines.nodes):
            if self._is_up[other]:
                self._fill(other)

    def _keep_pieces(self, scene: int, elapsed: float) -> None:
        elapsed -= self._restart(scene)
        self._is_resumed[scene] = True
        while self._num_done[scene] < len(self._pieces) and elapsed >= self._pieces[self._num_done[scene]].seconds:
            elapsed -= self._pieces[self._num_done[scene]].seconds
            self._num_done[scene] += 1
