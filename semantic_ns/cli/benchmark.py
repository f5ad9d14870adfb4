"""`sns-benchmark`: many trainings of a scene with few or noisy labels, and tables and plots of their scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError

if TYPE_CHECKING:
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
    plan: Path | None = None
    """YAML file with scenes (data, name, options, frames, region_classes), modes, seeds, method, max_num_iterations and
    variants, in place of all these options."""
    jobs: int = 1
    """Trainings at a time; they share the cores."""
    keep_runs: bool = False
    """Keep the folder of each training, with its checkpoint."""

    def main(self) -> None:
        """Train what is not done and write the report."""
        # Slow to import, and not needed for --help.
        from semantic_ns.benchmark.backend import ProcessBackend
        from semantic_ns.benchmark.one_cell import KEEP_RUN, MODULE, checked_cells
        from semantic_ns.benchmark.report import write_report
        from semantic_ns.benchmark.run import run_cells

        if self.jobs < 1:
            raise SceneError(f"Expected at least one training at a time, found --jobs {self.jobs}; raise it.")
        cells = checked_cells(self._plan())
        arguments = (*MODULE, KEEP_RUN) if self.keep_runs else MODULE
        counts = run_cells(cells, self.output, ProcessBackend(self.jobs, arguments), _say)
        if counts["done"]:
            _say(f"Report: {write_report(self.output)}")
        if missing := len(cells) - counts["done"]:
            raise SceneError(
                f"Expected all {len(cells)} cells to be trained, found {missing} failed or interrupted in "
                f"{self.output}; result.json and log.txt of a cell say why, and the same command tries it again."
            )

    def _plan(self) -> "Plan":
        from semantic_ns.benchmark.plan import Plan, parse_scene, parse_variant, read_plan

        if self.plan is not None:
            if self.data:
                raise SceneError("Expected scenes either from --data or from --plan, found both; leave out one.")
            return read_plan(self.plan)
        variants = dict(parse_variant(text) for text in self.variants or ("default=",))
        scenes = tuple(parse_scene(text, self.frames, self.region_classes) for text in self.data)
        return Plan(scenes, self.modes, self.seeds, self.method, self.max_num_iterations, variants)


@dataclass
class Report:
    """Write tables and plots of the results that are there."""

    output: Path
    """Folder of the results."""

    def main(self) -> None:
        """Write the report and say where."""
        from semantic_ns.benchmark.report import write_report

        _say(f"Report: {write_report(self.output)}")


def _say(sentence: str) -> None:
    Console().print(sentence, soft_wrap=True, highlight=False, markup=False)


def entrypoint() -> None:
    """Console script `sns-benchmark`."""
    command: Labels | Report = tyro.cli(
        Annotated[Labels, tyro.conf.subcommand("labels")] | Annotated[Report, tyro.conf.subcommand("report")],  # pyright: ignore
        config=(tyro.conf.FlagConversionOff,),
    )
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
