"""Which trainings a scoreboard has: scenes x labels x seeds, with the defaults of the method."""

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from semantic_ns.benchmark.runner.modes import TWO_FRAMES, find_mode
from semantic_ns.benchmark.runner.plan import parse_scene, refuse_equal_names
from semantic_ns.benchmark.runner.trials import BASE_VARIANT, DATAPARSER, BenchmarkScene, Trial
from semantic_ns.dataparsers.replica_layouts import layout_of, read_sequence, sequence_names
from semantic_ns.dataparsers.splits import looks_published
from semantic_ns.errors import SceneError

SEEDS = (42, 1, 2, 7, 11)
HALF_SPLIT = ("replica-data", "--split", "interval", "--eval-interval", "2")
"""For captures of Replica without the published split: every second frame trains, the others are scored."""


@dataclass(frozen=True)
class SceneTrial(Trial):
    """A training of a scoreboard. Its name says nothing of the machine, so that folders of two machines can be merged.

    Attributes:
        variant: the label that the command was given.
    """

    @property
    def key(self) -> str:
        """Name of the trial's folder: scene, method, labels, label and seed, and a digest of its options."""
        said = (self.scene.name, self.method, self.mode, self.variant, f"seed-{self.seed}")
        anywhere = replace(self, scene=replace(self.scene, data=Path()))
        digest = hashlib.sha256(json.dumps(anywhere.to_json()).encode()).hexdigest()[:8]
        return "__".join([*(re.sub(r"[^A-Za-z0-9_.%-]+", "-", part) for part in said), digest])


@dataclass(frozen=True)
class ScenePlan:
    """A scoreboard.

    Attributes:
        scenes: what is trained on.
        seeds: each is one training of every scene and mode.
        method: name of the method.
        modes: names of the supervision modes.
        label: name of the whole, to be told apart from others in one folder.
        options: more options of `ns-train`.
        num_steps: training steps; 0: the method's own.
        score_stride: every n-th image is scored.
    """

    scenes: tuple[BenchmarkScene, ...]
    seeds: tuple[int, ...] = SEEDS
    method: str = "semantic-nerf"
    modes: tuple[str, ...] = ("all",)
    label: str = BASE_VARIANT
    options: tuple[str, ...] = ()
    num_steps: int = 0
    score_stride: int = 1

    def trials(self) -> list[SceneTrial]:
        """All trainings, seed by seed, so that a scoreboard that is stopped has seen every scene.

        Raises:
            SceneError: if there is nothing to train, two scenes share a name, or a number or a mode cannot be used.
        """
        for what, given in (("scene", self.scenes), ("mode", self.modes), ("seed", self.seeds)):
            if not given:
                raise SceneError(f"Expected at least one {what} to train, found none; name one.")
        if self.score_stride < 1 or self.num_steps < 0:
            raise SceneError(
                f"Expected a score stride of 1 or more and a number of steps above 0, found {self.score_stride} and "
                f"{self.num_steps}; change them."
            )
        refuse_equal_names(self.scenes)
        found = [
            SceneTrial(
                _as_used(scene, mode), self.method, find_mode(mode).name, seed, self.num_steps, self.label,
                self.options, self.score_stride,
            )
            for seed, scene, mode in product(self.seeds, self.scenes, self.modes)
        ]  # fmt: skip
        return list({trial.key: trial for trial in found}.values())


def _as_used(scene: BenchmarkScene, mode: str) -> BenchmarkScene:
    """The scene without what a mode does not use, so that trainings of other modes have the same names as without."""
    return replace(
        scene,
        frames=scene.frames if mode == TWO_FRAMES else (),
        region_classes=scene.region_classes if find_mode(mode).needs_region_classes else (),
    )


def scoreboard_scene(
    text: str, split: str | None = None, frames: Sequence[str] = (), region_classes: Sequence[str] = ()
) -> BenchmarkScene:
    """A scene from `FOLDER` or `FOLDER::OPTIONS`, options of the dataparser as on the command line.

    Args:
        text: the folder, perhaps with options.
        split: options for a scene that names none; if not given, see `default_split`.
        frames: the frames that keep their labels in the mode `two-frames`.
        region_classes: classes whose instances region noise corrupts.

    Raises:
        SceneError: if there is no such folder, or a sequence in it cannot be read.
    """
    scene = parse_scene(text, frames, region_classes)
    if scene.options:
        return scene
    if split is None:
        return replace(scene, options=default_split(scene.data))
    words = tuple(shlex.split(split))
    return replace(scene, options=(DATAPARSER, *words) if words and words[0].startswith("-") else words)


def default_split(data: Path) -> tuple[str, ...]:
    """Options of the dataparser that split a scene: of a capture of Replica without the published split, into halves.

    Other scenes are split by their dataparser, which needs no option: rendered rooms as published, ScanNet by interval.
    """
    folder = _first_sequence(data)
    if folder is None or looks_published([frame.id for frame in read_sequence(folder, data).frames]):
        return ()
    return HALF_SPLIT


def _first_sequence(data: Path) -> Path | None:
    if not data.is_dir():
        return None
    if layout_of(data) is not None:
        return data
    names: Sequence[str] = sequence_names(data)
    return data / names[0] if names else None
