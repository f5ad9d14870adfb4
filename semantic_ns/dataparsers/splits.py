"""Which frames train and which are scored. Pure: frame ids in, indices out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from semantic_ns.errors import SceneError

SplitMethod = Literal["auto", "published", "interval", "fraction", "all"]

PUBLISHED_NUM_FRAMES = 900
_PUBLISHED_STEP, _PUBLISHED_TRAIN, _PUBLISHED_TEST = 5, 0, 2
# A published capture that lost up to every tenth frame is still one.
_PUBLISHED_SHARE = 0.9


@dataclass(frozen=True)
class Split:
    """Indices into the list of frames, ascending, and a sentence that says how they were chosen."""

    train: Int[ndarray, "train_frames"]
    eval: Int[ndarray, "eval_frames"]
    sentence: str


@dataclass(frozen=True)
class SplitOptions:
    """How to split: method, every how many frames one is scored (interval), share that trains (fraction)."""

    method: SplitMethod = "auto"
    eval_interval: int = 8
    train_fraction: float = 0.9


@dataclass
class SplitConfig:
    """Options of the dataparsers that split numbered frames; each says itself what its `published` and `auto` mean."""

    split: SplitMethod = "auto"
    """Split into training and test frames: published, interval, fraction, or all; auto chooses by the scene."""
    eval_interval: int = 8
    """Number of frames per test frame (split interval): every n-th frame is scored."""
    train_fraction: float = 0.9
    """Share of the frames that train (split fraction)."""

    def split_options(self, method: SplitMethod | None = None) -> SplitOptions:
        """The options as values, with another method if one is given."""
        return SplitOptions(method or self.split, self.eval_interval, self.train_fraction)


def split_frames(frame_ids: Sequence[int], options: SplitOptions, where: str) -> Split:
    """Split one sequence.

    - `published` (Zhi et al. 2021, Semantic-NeRF): id % 5 == 0 trains, id % 5 == 2 is scored, the rest is unused.
    - `interval`: frame 0, n, 2n, ... of the sorted list (n = eval_interval) is scored, the rest trains (as nerfstudio).
    - `fraction`: train_fraction of the frames, spread evenly, trains, the rest is scored (as nerfstudio).
    - `all`: every frame trains and is scored.
    - `auto`: `published` where `looks_published`, else `interval`.

    Args:
        frame_ids: id of each frame, ascending.
        options: method and its numbers.
        where: names the scene in errors.

    Raises:
        SceneError: if a number is out of range, or no frame is left to train on or to score.
    """
    _check_options(options, where)
    ids = np.asarray(frame_ids, np.int64)
    method = options.method
    if method == "auto":
        method = "published" if looks_published(frame_ids) else "interval"
    train, evaluation, rule = _RULES[method](ids, options)
    if not len(train) or not len(evaluation):
        which, what = ("training", "train on") if not len(train) else ("evaluation", "score")
        raise SceneError(
            f"Expected frames to {what} in {where}, found an empty {which} split: {method} ({rule}) of {len(ids)} "
            f"frames with ids {_range_of(ids)}; choose another --split, --eval-interval or --train-fraction."
        )
    sentence = f"{method} ({rule}): {len(train)} train, {len(evaluation)} test images"
    return Split(train, evaluation, sentence)


def split_sequences(num_train: int, num_eval: int, train_name: str, eval_name: str) -> Split:
    """Train on one sequence (the first num_train frames of the list), score another (the num_eval after them)."""
    sentence = f"sequences ({train_name} trains, {eval_name} is scored): {num_train} train, {num_eval} test images"
    return Split(np.arange(num_train), np.arange(num_train, num_train + num_eval), sentence)


def looks_published(frame_ids: Sequence[int]) -> bool:
    """Whether the ids are those of a published 900-frame capture, or only those of its train and test frames."""
    ids = set(frame_ids)
    remainders = {frame_id % _PUBLISHED_STEP for frame_id in ids}
    is_reduced = remainders == {_PUBLISHED_TRAIN, _PUBLISHED_TEST}
    is_whole = len(ids) >= _PUBLISHED_SHARE * PUBLISHED_NUM_FRAMES and max(ids) < PUBLISHED_NUM_FRAMES
    return is_reduced or is_whole


_Rule = tuple[Int[ndarray, "train_frames"], Int[ndarray, "eval_frames"], str]


def _published(ids: Int[ndarray, "frames"], options: SplitOptions) -> _Rule:
    del options
    remainder = ids % _PUBLISHED_STEP
    train, evaluation = (np.flatnonzero(remainder == offset) for offset in (_PUBLISHED_TRAIN, _PUBLISHED_TEST))
    return train, evaluation, "train id % 5 == 0, test id % 5 == 2"


def _interval(ids: Int[ndarray, "frames"], options: SplitOptions) -> _Rule:
    is_scored = np.arange(len(ids)) % options.eval_interval == 0
    rule = f"one frame in {options.eval_interval} is scored, the others train"
    return np.flatnonzero(~is_scored), np.flatnonzero(is_scored), rule


def _fraction(ids: Int[ndarray, "frames"], options: SplitOptions) -> _Rule:
    num_train = int(np.ceil(len(ids) * options.train_fraction))
    train = np.linspace(0, len(ids) - 1, num_train).astype(np.int64)
    rule = f"{options.train_fraction:g} of the frames train, the others are scored"
    return train, np.setdiff1d(np.arange(len(ids)), train), rule


def _all(ids: Int[ndarray, "frames"], options: SplitOptions) -> _Rule:
    del options
    every = np.arange(len(ids))
    return every, every, "every frame trains and is scored, so scores are those of training views"


_RULES = {"published": _published, "interval": _interval, "fraction": _fraction, "all": _all}


def _check_options(options: SplitOptions, where: str) -> None:
    if options.eval_interval < 1:
        raise SceneError(f"Expected --eval-interval of 1 or more for {where}, found {options.eval_interval}; raise it.")
    if not 0 < options.train_fraction <= 1:
        raise SceneError(
            f"Expected --train-fraction above 0 and up to 1 for {where}, found {options.train_fraction}; change it."
        )


def _range_of(ids: Int[ndarray, "frames"]) -> str:
    return f"{ids.min()}..{ids.max()}" if len(ids) else "(none)"
