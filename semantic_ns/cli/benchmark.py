"""`sns-benchmark`: many trainings with few or noisy labels, or of many scenes, and tables and plots of their scores."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console

from semantic_ns.cli.cluster import ClusterOptions
from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError

if TYPE_CHECKING:
    from collections import Counter

    from semantic_ns.benchmark.runner.backend import Backend
    from semantic_ns.benchmark.runner.plan import Plan
    from semantic_ns.benchmark.runner.trials import State


@dataclass
class Labels:
    """Train scenes x modes x seeds x variants and write results, tables and plots. Finished trainings are not repeated.

    Modes: all, click, 1%, 5%, 10%, sparse-0.5 (share of the label images dropped; 0.8, 0.9, 0.95, 0.99), two-frames,
    pixel-noise-50% (90%), region-sort-30% and region-even-30% (40%, 50%), super-dense-8 and super-sparse-8 (16), and
    cnn:FOLDER (train on the label images in a folder of the scene).
    """

    output: Path
    """Folder for the results. A second call with the same folder resumes."""
    data: tuple[str, ...] = ()
    """Scenes: FOLDER, or FOLDER::OPTIONS with options of the dataparser, such as
    "kitchen::--split interval --eval-interval 2"."""
    modes: tuple[str, ...] = ("all", "click", "1%", "5%", "10%")
    """Supervision modes, from the list above."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the training and of the corruption of labels."""
    method: str = "semantic-nerf"
    """Name of the method, as in ns-train."""
    max_num_iterations: int | None = None
    """Number of training steps; by default that of the method."""
    variants: tuple[str, ...] = ()
    """Variants of the method, as NAME=OPTIONS with options of ns-train. Without any, the unchanged method is trained;
    among others it is given as default=."""
    frames: tuple[str, ...] = ()
    """Frames that keep their labels in the mode two-frames; by default those that show the most."""
    region_classes: tuple[str, ...] = ()
    """Classes whose instances region noise corrupts, such as chair."""
    score_stride: int = 1
    """Score every n-th image, both at test and at training poses."""
    plan: Path | None = None
    """YAML file with scenes (data, name, options, frames, region_classes), modes, seeds, method, max_num_iterations,
    variants and score_stride, which replaces these options."""
    jobs: int = 1
    """Number of trainings that run at the same time and share the cores."""
    keep_runs: bool = False
    """Keep the folder of each training, with its checkpoint."""
    place: Annotated[ClusterOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ClusterOptions)

    def main(self) -> None:
        """Train what is not done and write the report."""
        # Slow to import, and not needed for --help.
        from semantic_ns.benchmark.labels.report import write_report
        from semantic_ns.benchmark.runner.one_trial import KEEP_RUN, MODULE, checked_trials
        from semantic_ns.benchmark.runner.run import locked, run_trials
        from semantic_ns.benchmark.runner.trials import done_trials, refuse_mixed

        _refuse_no_jobs(self.jobs)
        self.place.check(self.jobs)
        trials = checked_trials(self._plan())
        refuse_mixed([*trials, *done_trials(self.output)])
        _say_other_code(self.output)
        arguments = (*MODULE, KEEP_RUN) if self.keep_runs else MODULE
        with locked(self.output):
            counts = run_trials(trials, self.output, _backend(self.jobs, self.place, arguments), _say)
            if counts["done"]:
                _say(f"Report: {write_report(self.output)}")
        _refuse_missing(counts, self.output)

    def _plan(self) -> "Plan":
        from semantic_ns.benchmark.runner.plan import Plan, parse_scene, parse_variant, read_plan

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
    """Compare active-learning strategies on scenes x seeds and write curves and tables; finished parts are kept.

    Strategies: random, entropy, least-confidence, margin, disagreement, coverage, core-set, reach, geometry, and
    ablations of geometry: geometry-without-discard-unsure-depth (-use-entropy, -count-views, -damp-near-labels,
    -greedy-coverage), geometry-greedy-coverage-alone, geometry-with-balanced-creases. The same ablations exist for
    reach, except those of entropy and greedy-coverage-alone.
    """

    output: Path
    """Folder for the results. A second call with the same folder resumes."""
    data: tuple[str, ...]
    """Scenes: FOLDER, or FOLDER::OPTIONS with options of the dataparser."""
    strategies: tuple[str, ...] = ("random", "entropy", "coverage", "geometry")
    """Strategies."""
    units: tuple[Literal["pixel", "region", "frame"], ...] = ("region",)
    """Units of annotation: pixel (one click), region (superpixel), frame."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the training and of the acquisition."""
    budgets: tuple[float, ...] = ()
    """Cumulative budget after each round, as shares of the pixels (or frames) of the training images. The default
    doubles from 0.5 to 32 % of the pixels, or from 2 to 128 of 180 frames."""
    error_rate: float = 0.0
    """Share of the units that receive a random wrong class."""
    max_num_iterations: int = 2000
    """Number of training steps for colour and geometry."""
    round_steps: int = 500
    """Number of training steps for semantics in each round."""
    score_stride: int = 1
    """Score every n-th test image."""
    jobs: int = 1
    """Number of trainings that run at the same time and share the cores."""

    def main(self) -> None:
        """Run what is not done and write the report."""
        # Slow to import, and not needed for --help.
        from semantic_ns.benchmark.active.plan import ActivePlan
        from semantic_ns.benchmark.active.report import write_active_report
        from semantic_ns.benchmark.active.run import run_active
        from semantic_ns.benchmark.runner.plan import parse_scene
        from semantic_ns.benchmark.runner.run import locked

        scenes = tuple(parse_scene(text) for text in self.data)
        plan = ActivePlan(
            scenes, self.strategies, self.units, self.seeds, self.max_num_iterations, self.budgets, self.error_rate
        )
        _say_other_code(self.output)
        with locked(self.output):
            counts = run_active(plan, self.output, self.jobs, (self.round_steps, self.score_stride), _say)
            if counts["done"]:
                _say(f"Report: {write_active_report(self.output)}")
        _refuse_missing(counts, self.output)


@dataclass
class Scenes:
    """Train all scenes x seeds with a method's defaults and write one table of the mean, worst seed and worst image.

    Finished trainings are not repeated. To share the work among machines, give each of them some scenes or seeds, copy
    the folders in OUTPUT/cells of all machines into one, and run sns-benchmark report OUTPUT. Options after -- are
    passed to ns-train.
    """

    output: Path
    """Folder for the results. A second call with the same folder resumes."""
    data: tuple[str, ...]
    """Scenes: FOLDER, or FOLDER::OPTIONS with options of the dataparser, such as
    "kitchen::--split interval --eval-interval 2"."""
    split: str | None = None
    """Dataparser options for the scenes that name none, such as "--split fraction". By default scenes in Replica's
    layout without the published split train on every second frame."""
    seeds: tuple[int, ...] = (42, 1, 2, 7, 11)
    """Seeds of the training."""
    method: str = "semantic-nerf"
    """Name of the method, as in ns-train."""
    modes: tuple[str, ...] = ("all",)
    """Supervision modes, as in sns-benchmark labels."""
    frames: tuple[str, ...] = ()
    """Frames that keep their labels in the mode two-frames; by default those that show the most."""
    region_classes: tuple[str, ...] = ()
    """Classes whose instances region noise corrupts, such as chair."""
    label: str = "default"
    """Name of these trainings, which separates trainings with other options or of another version in one folder."""
    max_num_iterations: int | None = None
    """Number of training steps; by default that of the method."""
    score_stride: int = 1
    """Score every n-th image."""
    jobs: int = 1
    """Number of trainings that run at the same time and share the cores."""
    keep_runs: bool = False
    """Keep the folder of each training, with its checkpoint."""
    place: Annotated[ClusterOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ClusterOptions)
    options: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Options of ns-train."""

    def main(self) -> None:
        """Train what is not done and write the table."""
        # Slow to import, and not needed for --help.
        from semantic_ns.benchmark.runner.one_trial import KEEP_RUN, check_trials
        from semantic_ns.benchmark.runner.run import locked, run_trials
        from semantic_ns.benchmark.runner.trials import done_trials
        from semantic_ns.benchmark.scenes.plan import ScenePlan, scoreboard_scene
        from semantic_ns.benchmark.scenes.report import write_scoreboard
        from semantic_ns.benchmark.scenes.same_scene import refuse_other_scenes
        from semantic_ns.benchmark.scenes.summary import refuse_mixed_rows
        from semantic_ns.benchmark.scenes.trial import MODULE

        _refuse_no_jobs(self.jobs)
        self.place.check(self.jobs)
        scenes = tuple(scoreboard_scene(text, self.split, self.frames, self.region_classes) for text in self.data)
        plan = ScenePlan(
            scenes, self.seeds, self.method, self.modes, self.label, self.options, self.max_num_iterations or 0,
            self.score_stride,
        )  # fmt: skip
        trials = plan.trials()
        check_trials(self.method, trials)
        before = done_trials(self.output)
        refuse_other_scenes(trials, before)
        refuse_mixed_rows([*trials, *before])
        _say_other_code(self.output)
        arguments = (*MODULE, KEEP_RUN) if self.keep_runs else MODULE
        with locked(self.output):
            counts = run_trials(trials, self.output, _backend(self.jobs, self.place, arguments), _say)
            if counts["done"] or counts["failed"]:
                _say(f"Report: {write_scoreboard(self.output)}")
        _refuse_missing(counts, self.output)


def _backend(jobs: int, place: ClusterOptions, arguments: Sequence[str]) -> "Backend":
    from semantic_ns.benchmark.runner.backend import ProcessBackend

    if place.cluster == "none":
        return ProcessBackend(jobs, arguments)
    from semantic_ns.benchmark.runner.ray_backend import RayBackend

    return RayBackend(place.connect(), arguments, max(1, int(place.cpus)))


def _say_other_code(output: Path) -> None:
    from semantic_ns.benchmark.runner.code_versions import sentence_about_other_code

    if sentence := sentence_about_other_code(output):
        _say(sentence)


def _refuse_no_jobs(jobs: int) -> None:
    if jobs < 1:
        raise SceneError(f"Expected at least one training at a time, found --jobs {jobs}; raise it.")


def _refuse_missing(counts: "Counter[State]", output: Path) -> None:
    total = sum(counts.values())
    if missing := total - counts["done"]:
        raise SceneError(
            f"Expected all {total} trials to be trained, found {missing} failed or interrupted in {output}; "
            "result.json and log.txt of a trial say why, and the same command tries it again."
        )


@dataclass
class Report:
    """Write tables and plots of finished results, or compare two scoreboards side by side."""

    folders: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folder of the results, or two folders of sns-benchmark scenes to compare: BEFORE AFTER."""
    output: Path | None = None
    """Folder of the results, given as an option."""
    against: Path | None = None
    """Folder of an earlier scoreboard to compare with."""

    def main(self) -> None:
        """Write the report and say where, or print the comparison."""
        folders = [*([self.against] if self.against else []), *self.folders, *([self.output] if self.output else [])]
        if len(folders) not in (1, 2) or folders == [self.against]:
            raise SceneError(
                "Expected the folder of the results, or two to compare, found "
                f"{', '.join(map(str, folders)) or 'none'}; write sns-benchmark report FOLDER, or BEFORE AFTER."
            )
        if len(folders) == 1:
            _say(f"Report: {_write_report(folders[0])}")
            return
        from semantic_ns.benchmark.scenes.report import compared

        _say(compared(*folders))


def _write_report(output: Path) -> Path:
    from semantic_ns.benchmark.active.report import write_active_report
    from semantic_ns.benchmark.active.run import SETTINGS
    from semantic_ns.benchmark.labels.report import write_report
    from semantic_ns.benchmark.scenes.report import write_scoreboard
    from semantic_ns.benchmark.scenes.summary import is_scoreboard

    if is_scoreboard(output):
        return write_scoreboard(output)
    return write_active_report(output) if (output / SETTINGS).exists() else write_report(output)


def _say(sentence: str) -> None:
    Console().print(sentence, soft_wrap=True, highlight=False, markup=False)


def entrypoint() -> None:
    """Console script `sns-benchmark`."""
    from semantic_ns.benchmark.runner.place import register_uninstalled

    arguments, options = sys.argv[1:], None
    if "--" in arguments:
        place = arguments.index("--")
        arguments, options = arguments[:place], tuple(arguments[place + 1 :])
    command: Labels | Scenes | Active | Report = tyro.cli(
        Annotated[Labels, tyro.conf.subcommand("labels")]
        | Annotated[Scenes, tyro.conf.subcommand("scenes")]
        | Annotated[Active, tyro.conf.subcommand("active")]
        | Annotated[Report, tyro.conf.subcommand("report")],
        args=arguments,
        config=(tyro.conf.FlagConversionOff,),
    )
    register_uninstalled()
    try:
        run_command(lambda: _run(command, options))
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on where it stopped.", file=sys.stderr)
        raise SystemExit(130) from None


def _run(command: Labels | Scenes | Active | Report, options: tuple[str, ...] | None) -> None:
    if options is not None:
        if not isinstance(command, Scenes):
            raise SceneError("Expected options of ns-train after -- of sns-benchmark scenes alone; leave them out.")
        command.options = options
    command.main()


if __name__ == "__main__":
    entrypoint()
