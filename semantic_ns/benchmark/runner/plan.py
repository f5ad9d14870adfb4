"""Which trials a benchmark has: scenes x modes x seeds x variants, from options or from a file."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from semantic_ns.benchmark.runner.modes import find_mode
from semantic_ns.benchmark.runner.trials import BASE_VARIANT, DATAPARSER, BenchmarkScene, Trial
from semantic_ns.errors import SceneError

_OPTIONS_MARK = "::"


@dataclass(frozen=True)
class Plan:
    """A benchmark.

    Attributes:
        scenes: what is trained on.
        modes: names of the supervision modes.
        seeds: each is one training of every scene, mode and variant.
        method: name of the method.
        max_num_iterations: training steps; None: the method's default.
        variants: name and options of each variant of the method.
        score_stride: every n-th image of test and training poses is scored.
    """

    scenes: tuple[BenchmarkScene, ...]
    modes: tuple[str, ...]
    seeds: tuple[int, ...]
    method: str = "semantic-nerf"
    max_num_iterations: int | None = None
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {BASE_VARIANT: ()})
    score_stride: int = 1

    def trials(self, default_steps: int) -> list[Trial]:
        """All trainings, seed by seed, so that a benchmark that is stopped has seen every mode.

        Args:
            default_steps: steps where the plan names none.

        Raises:
            SceneError: if there is nothing to train, two scenes share a name, or a mode cannot be used.
        """
        if self.score_stride < 1:
            raise SceneError(f"Expected a score stride of 1 or more, found {self.score_stride}; 1 scores every image.")
        for what, given in (("scene", self.scenes), ("mode", self.modes), ("seed", self.seeds)):
            if not given:
                raise SceneError(f"Expected at least one {what} to train, found none; name one.")
        refuse_equal_names(self.scenes)
        steps = self.max_num_iterations or default_steps
        found = [
            Trial(scene, self.method, find_mode(mode).name, seed, steps, name, options, self.score_stride)
            for seed, (name, options), scene, mode in product(
                self.seeds, self.variants.items(), self.scenes, self.modes
            )
        ]
        return list({trial.key: trial for trial in found}.values())


def refuse_equal_names(scenes: Sequence[BenchmarkScene]) -> None:
    """Check that results of scenes can be told apart.

    Raises:
        SceneError: if two scenes share a name.
    """
    names = Counter(scene.name for scene in scenes)
    if twice := [name for name, count in names.items() if count > 1]:
        raise SceneError(
            f"Expected each scene to have a name of its own, found {twice[0]} more than once; rename a folder, or give "
            "names in a plan."
        )


def parse_scene(text: str, frames: Sequence[str] = (), region_classes: Sequence[str] = ()) -> BenchmarkScene:
    """A scene from `FOLDER` or `FOLDER::OPTIONS`, options of the dataparser as on the command line."""
    folder, _, options = text.partition(_OPTIONS_MARK)
    return make_scene({"data": folder, "options": options, "frames": frames, "region_classes": region_classes})


def make_scene(content: Mapping[str, Any], base: Path = Path()) -> BenchmarkScene:
    """A scene from its entry in a plan.

    Args:
        content: `data`, and perhaps `name`, `options`, `frames` and `region_classes`.
        base: folder that `data` is relative to.

    Raises:
        SceneError: if there is no such folder, or an entry that means nothing.
    """
    _refuse_unknown(content, {entry.name for entry in fields(BenchmarkScene)}, "scene")
    data = (base / str(content.get("data", ""))).resolve()
    if not content.get("data") or not data.exists():
        raise SceneError(f"Expected a scene to train on, found nothing at {data}; give the folder of a scene as data.")
    options = shlex.split(str(content.get("options") or ""))
    return BenchmarkScene(
        data,
        str(content.get("name") or data.stem),
        (DATAPARSER, *options) if options and options[0].startswith("-") else tuple(options),
        _texts(content.get("frames")),
        _texts(content.get("region_classes")),
    )


def parse_variant(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and options of a variant from `NAME=OPTIONS`.

    Raises:
        SceneError: if it has no name.
    """
    name, equals, options = text.partition("=")
    if not equals or not name.strip() or name.strip().startswith("-"):
        raise SceneError(
            f"Expected a variant as NAME=OPTIONS, found {text!r}; write for example "
            '--variants flat="--pipeline.model.use-semantics False".'
        )
    return name.strip(), tuple(shlex.split(options))


def read_plan(path: Path) -> Plan:
    """A plan from a YAML file; folders in it are relative to it.

    Raises:
        SceneError: if it cannot be read, or holds what means nothing.
    """
    try:
        content = yaml.safe_load(path.read_text("utf8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SceneError(f"Expected a plan in YAML at {path}, found none that can be read ({error}).") from error
    if not isinstance(content, Mapping):
        raise SceneError(f"Expected scenes, modes and seeds in the plan {path}, found no such entries; add them.")
    _refuse_unknown(content, {entry.name for entry in fields(Plan)}, "plan")
    variants = content.get("variants") or {BASE_VARIANT: ""}
    try:
        return Plan(
            tuple(make_scene(scene, path.parent) for scene in content.get("scenes") or ()),
            _texts(content.get("modes")),
            tuple(int(seed) for seed in content.get("seeds") or ()),
            str(content.get("method") or Plan.method),
            content.get("max_num_iterations"),
            {str(name): tuple(shlex.split(str(options or ""))) for name, options in variants.items()},
            int(content.get("score_stride") or Plan.score_stride),
        )
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, SceneError):
            raise
        raise SceneError(
            f"Expected lists of scenes, modes and seeds, and variants by name, in {path}, found otherwise ({error})."
        ) from error


def _texts(values: Any) -> tuple[str, ...]:
    if isinstance(values, str):
        raise SceneError(f"Expected a list, found {values!r}; write it as [{values}].")
    return tuple(str(value) for value in values or ())


def _refuse_unknown(content: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(content) - known):
        raise SceneError(f"Expected {', '.join(sorted(known))} in a {where}, found {unknown[0]}; remove or rename it.")
