"""`sns-benchmark`: many trainings of a scene with few or noisy labels, and tables and plots of their scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError

if TYPE_CHECKING:
    from collections import Counter

    from semantic_ns.benchmark.cells import State
    from semantic_ns.benchmark.plan import Plan


@dataclass
class Labels:
    """Train scenes x modes x seeds x variants, and write results, tables and plots; what is done is not done again.

    Modes: all, click, 1%, 5%, 10%, sparse-0.5 (share of the label images dropped; 0.8, 0.9, 0.95, 0.99), two-frames,
    pixel-noise-50% (90%), region-sort-30% and region-even-30% (40%, 50%), super-dense-8 and super-sparse-8 (16), and
    cnn:FOLDER (trains on the label images of a folder of the scene).
    """

    output: Path
    """Folder for the results; run again with the same one to go on."""
    data: tuple[str, ...] = ()
    """Scenes: FOLDER, or FOLDER::OPTIONS with options of the dataparser, such as
    "kitchen::--split interval --eval-interval 2"."""
    modes: tuple[str, ...] = ("all", "click", "1%", "5%", "10%")
    """Supervision modes."""
    seeds: tuple[int, ...] = (0,)
    """Seeds, of training and of what is done to the labels."""
    method: str = "semantic-nerf"
    """Method, as ns-train knows it."""
    max_num_iterations: int | None = None
    """Training steps; the method's default if not given."""
    variants: tuple[str, ...] = ()
    """Variants of the method, NAME=OPTIONS with options of ns-train; the method as it is if none is given, and as
    default= beside others."""
    frames: tuple[str, ...] = ()
    """The frames that keep their labels in the mode two-frames; if not given, those whose labels show most."""
    region_classes: tuple[str, ...] = ()
    """Classes whose instances region noise corrupts, such as chair."""
    score_stride: int = 1
    """Score every n-th image, of test and of training poses."""
    plan: Path | None = None
    """YAML file with scenes (data, name, options, frames, region_classes), modes, seeds, method, max_num_iterations,
    variants and score_stride, in place of all these options."""
    jobs: int = 1
    """Trainings at a time; they share the cores."""
    keep_runs: bool = False
    """Keep the folder of each training, with its checkpoint."""

    def main(self) -> None:
        """Train what is not done and write the report."""
        # Slow to import, and not needed for --help.
        from semantic_ns.benchmark.backend import ProcessBackend
        from semantic_ns.benchmark.cells import done_cells, refuse_mixed
        from semantic_ns.benchmark.one_cell import KEEP_RUN, MODULE, checked_cells
        from semantic_ns.benchmark.report import write_report
        from semantic_ns.benchmark.run import run_cells

        if self.jobs < 1:
            raise SceneError(f"Expected at least one training at a time, found --jobs {self.jobs}; raise it.")
        cells = checked_cells(self._plan())
        refuse_mixed([*cells, *done_cells(self.output)])
        arguments = (*MODULE, KEEP_RUN) if self.keep_runs else MODULE
        counts = run_cells(cells, self.output, ProcessBackend(self.jobs, arguments), _say)
        if counts["done"]:
            _say(f"Report: {write_report(self.output)}")
        _refuse_missing(counts, self.output)

    def _plan(self) -> "Plan":
        from semantic_ns.benchmark.plan import Plan, parse_scene, parse_variant, read_plan

        if self.plan is not None:
            in_plan = ("data", "modes", "seeds", "method", "max_num_iterations", "variants", "frames", "region_classes")
            for name in (*in_plan, "score_stride"):
                if getattr(self, name) != getattr(type(self), name):
                    option = name.replace("_", "-")
                    raise SceneError(f"Expected --{option} or --plan, found both; write it into {self.plan}.")
            return read_plan(self.plan)
        variants = dict(parse_variant(text) for text in self.variants or ("default=",))
        scenes = tuple(parse_scene(text, self.frames, self.region_classes) for text in self.data)
        return Plan(scenes, self.modes, self.seeds, self.method, self.max_num_iterations, variants, self.score_stride)


@dataclass
class Active:
    """Compare strategies of active learning on scenes x seeds, and write curves and tables; what is done stays done.

    Strategies: random, entropy, least-confidence, margin, disagreement, coverage, core-set, reach, geometry, and
    geometry with a part less or changed: geometry-without-discard-unsure-depth (-use-entropy, -count-views,
    -damp-near-labels, -greedy-coverage), geometry-greedy-coverage-alone, geometry-with-balanced-creases; the same of
    reach, which has no entropy and no greedy coverage alone.
    """

    output: Path
    """Folder for the results; run again with the same one to go on."""
    data: tuple[str, ...]
    """Scenes: FOLDER, or FOLDER::OPTIONS with options of the dataparser."""
    strategies: tuple[str, ...] = ("random", "entropy", "coverage", "geometry")
    """Strategies."""
    units: tuple[Literal["pixel", "region", "frame"], ...] = ("region",)
    """What is asked for at a time."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds, of the training of colours and classes and of choosing."""
    budgets: tuple[float, ...] = ()
    """What may have been spent after each round, as shares of the pixels (frames) of the training images; by default
    0.5 to 32 % of the pixels, 2 to 128 of 180 frames, doubling."""
    error_rate: float = 0.0
    """Share of the units that get a random other class."""
    max_num_iterations: int = 2000
    """Steps of the training of colours."""
    round_steps: int = 500
    """Steps of the training of classes in each round."""
    score_stride: int = 1
    """Score every n-th test image."""
    jobs: int = 1
    """Cells at a time; they share the cores."""

    def main(self) -> None:
        """Run what is not done and write the report."""
        # Slow to import, and not needed for --help.
        from semantic_ns.benchmark.active_plan import ActivePlan
        from semantic_ns.benchmark.active_report import write_active_report
        from semantic_ns.benchmark.active_run import run_active
        from semantic_ns.benchmark.plan import parse_scene

        scenes = tuple(parse_scene(text) for text in self.data)
        plan = ActivePlan(
            scenes, self.strategies, self.units, self.seeds, self.max_num_iterations, self.budgets, self.error_rate
        )
        counts = run_active(plan, self.output, self.jobs, (self.round_steps, self.score_stride), _say)
        if counts["done"]:
            _say(f"Report: {write_active_report(self.output)}")
        _refuse_missing(counts, self.output)


def _refuse_missing(counts: "Counter[State]", output: Path) -> None:
    total = sum(counts.values())
    if missing := total - counts["done"]:
        raise SceneError(
            f"Expected all {total} cells to be trained, found {missing} failed or interrupted in {output}; result.json "
            "and log.txt of a cell say why, and the same command tries it again."
        )


@dataclass
class Report:
    """Write tables and plots of the results that are there."""

    output: Path
    """Folder of the results."""

    def main(self) -> None:
        """Write the report and say where."""
        from semantic_ns.benchmark.active_report import write_active_report
        from semantic_ns.benchmark.active_run import SETTINGS
        from semantic_ns.benchmark.report import write_report

        write = write_active_report if (self.output / SETTINGS).exists() else write_report
        _say(f"Report: {write(self.output)}")


def _say(sentence: str) -> None:
    Console().print(sentence, soft_wrap=True, highlight=False, markup=False)


def entrypoint() -> None:
    """Console script `sns-benchmark`."""
    command: Labels | Active | Report = tyro.cli(
        Annotated[Labels, tyro.conf.subcommand("labels")]  # pyright: ignore
        | Annotated[Active, tyro.conf.subcommand("active")]
        | Annotated[Report, tyro.conf.subcommand("report")],
        config=(tyro.conf.FlagConversionOff,),
    )
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
