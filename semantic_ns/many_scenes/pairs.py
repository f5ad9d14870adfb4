"""Which scene and which targets a training step sees: a pure function of the step, so that a resume needs no state."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

_NUM_SOURCES = 1
"""Third part of the seed of the numbers of sources; seeds of pairs have two, and 0 would be as none."""


@dataclass(frozen=True)
class Draw:
    """What a step trains on.

    Attributes:
        scene: number of the scene.
        target: number of the target frame in it.
        seed: seed of everything else that the step draws.
    """

    scene: int
    target: int
    seed: int


def pair(step: int, rank: int, world: int, seed: int, num_frames: tuple[int, ...]) -> Draw:
    """The scene and target of one step on one of `world` ranks.

    Pairs of scene and target are gone through in a random order, anew in each epoch. With the same seed, two ranks draw
    together what one rank draws in two steps.

    Args:
        step: number of the step.
        rank: number of the rank.
        world: number of ranks.
        seed: seed of the run.
        num_frames: number of frames of each scene.
    """
    number = step * world + rank
    ends = _ends(num_frames)
    size = int(ends[-1])
    epoch, place = divmod(number, size)
    entry = int(_order(seed, epoch, size)[place])
    scene = int(np.searchsorted(ends, entry, side="right"))
    own_seed = int(np.random.default_rng([seed, number]).integers(2**31))
    return Draw(scene, entry - int(ends[scene] - num_frames[scene]), own_seed)


def num_sources_of_step(step: int, seed: int, counts: tuple[int, int]) -> int:
    """The number of sources of all samples of a step, so that processes that share them have the same work.

    It is uniform over the range, independent between steps, and the same for any number of processes.

    Args:
        step: number of the step.
        seed: seed of the run.
        counts: least and largest number of sources.
    """
    least, largest = counts
    return int(np.random.default_rng([seed, step, _NUM_SOURCES]).integers(least, largest + 1))


@lru_cache(maxsize=2)
def _ends(num_frames: tuple[int, ...]) -> Int64[ndarray, "scenes"]:
    """The number of frames up to the end of each scene: the same in every step, and slow to add up for many scenes."""
    return np.cumsum(num_frames)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, size: int) -> Int64[ndarray, "size"]:
    """The order of an epoch: drawn once, for it takes longer than the rest of a step where there are many frames."""
    return np.random.default_rng([seed, epoch]).permutation(size)
