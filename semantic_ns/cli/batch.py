"""`sns-batch`: many scenes checked, trained, scored, audited and exported, on this machine or on a Ray cluster."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console

from semantic_ns.cli.cluster import ClusterOptions
from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.text import as_text
from semantic_ns.scene_batch.scene_stamp import ChangedScenes
from semantic_ns.scene_batch.steps import STEPS, Step, in_order

if TYPE_CHECKING:
    from semantic_ns.jobs.processes import Limits
    from semantic_ns.scene_batch.backend import Backend, SceneEnd
    from semantic_ns.scene_batch.scene import SceneTask
    from semantic_ns.scene_batch.summary import Summary
    from semantic_ns.scene_batch.table import Rows

_NUM_SHOWN = 6


@dataclass
class Batch:
    """Check, train, score, audit and export many scenes, as one job that can be killed and started again.

    Each scene has a folder with the results and logs of its steps. A step that is done is not run again; one that was
    killed is run anew, and a training goes on from its newest checkpoint. At the end results.csv and results.md have a
    row for each scene, with the reason where one failed, and results.html sums them up and shows pictures of all, of
    more than 100 scenes on pages to which it leads. Options after -- are passed to ns-train.
    """

    scenes: tyro.conf.Positional[tuple[Path, ...]]
    """Scenes: their folders, a folder whose sub-folders are scenes, or a text file with a path on each line. In a
    later call, folders of single scenes are added to those of before; a folder of scenes or a text file is the whole
    list, and scenes that are missing in it keep their results and are not counted."""
    output_dir: Path
    """Folder for the results. A second call with the same folder resumes."""
    steps: tuple[Step, ...] = ("doctor", "train", "eval")
    """What is done with each scene. Scenes with a problem that sns-doctor finds are trained, unless they cannot be
    read. More steps may be named in a later call."""
    method: str = "semantic-nerf"
    """Name of the method, as in ns-train."""
    jobs: int = 1
    """Number of scenes at a time on this machine."""
    threads: int | None = None
    """Number of threads of each scene; by default its share of the cores, or with --cluster that of --cpus."""
    time_limit: float | None = None
    """Minutes after which a step is ended."""
    memory_limit: float | None = None
    """Memory in GiB above which a step is ended."""
    log_limit: float = 16.0
    """Size in MiB of the log of a step; of a longer one the beginning and the end are kept."""
    changed_scenes: ChangedScenes = "say"
    """What is done with a scene of an earlier call whose images, labels or poses were replaced since it was trained:
    its row says so (say), all its steps are done anew (train), or nobody looks (ignore), which saves a look at every
    file of every scene."""
    retries: int = 1
    """Number of times that a step is started again after a signal ended it. Other failures come again, and are not
    retried."""
    place: Annotated[ClusterOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ClusterOptions)
    arguments: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Options of ns-train."""

    def main(self) -> None:
        """Do what is not done, and write the tables and the page."""
        self._check_options()
        # Slow to import, and not needed to refuse a wrong option.
        from semantic_ns.io.writing import refuse_inside
        from semantic_ns.jobs.training_arguments import refuse_unknown_method
        from semantic_ns.scene_batch.index_page import PAGE
        from semantic_ns.scene_batch.plan import find_paths, read_settings
        from semantic_ns.scene_batch.run import locked, run_batch, write_results, write_tables

        backend, console = self._backend(), Console()
        paths = find_paths(self.scenes)
        refuse_inside(self.output_dir, paths, "--output-dir")
        if read_settings(self.output_dir) is None:
            refuse_unknown_method(self.method)
            self._check_training(paths[0])
        with locked(self.output_dir):
            tasks, unlisted = self._tasks(paths)
            others = self._others([*tasks, *(end.task for end in unlisted)])
            ends = [*others, *unlisted]
            rows = run_batch(tasks, backend, console, ends, partial(write_tables, self.output_dir))
            summary = write_results(self.output_dir, rows)
        _show(console, rows, summary)
        if remark := summary.remark():
            console.print(remark, soft_wrap=True, highlight=False, markup=False)
        for end in others:
            console.print(f"{end.task.name}: {end.lost}", soft_wrap=True, highlight=False, markup=False)
        console.print(f"Pictures: {self.output_dir / PAGE}", soft_wrap=True, highlight=False, markup=False)
        num_scenes = summary.num_scenes - summary.states["skipped"]
        if missing := num_scenes - summary.states["done"]:
            others = [step for step in STEPS if step in summary.unfinished and step not in self.steps]
            more = f" with {' '.join(others)} among --steps" if others else ""
            raise SceneError(
                f"Expected all {num_scenes} scenes to be done, found {missing} that failed or were interrupted; the "
                f"table in {self.output_dir} says why, and the same command{more} tries them again."
            )

    def _check_options(self) -> None:
        from semantic_ns.scene_batch.plan import refuse_taken_options

        for name, value, least in (
            ("--jobs", self.jobs, 1), ("--threads", self.threads, 1), ("--retries", self.retries, 0),
        ):  # fmt: skip
            if value is not None and not value >= least:
                raise SceneError(f"Expected {name} of at least {least}, found {value}; raise it.")
        for name, value in (
            ("--time-limit", self.time_limit), ("--memory-limit", self.memory_limit), ("--log-limit", self.log_limit),
        ):  # fmt: skip
            if value is not None and not value > 0:
                raise SceneError(f"Expected {name} above 0, found {value}; raise it.")
        if as_text(self.output_dir) != str(self.output_dir):
            raise SceneError(
                f"Expected a path in UTF-8 for --output-dir, found {as_text(self.output_dir)}; choose another one."
            )
        in_order(self.steps)
        self._limits()
        refuse_taken_options(self.arguments)
        self.place.check(self.jobs)

    def _backend(self) -> "Backend":
        from semantic_ns.scene_batch.backend import LocalBackend

        if self.place.cluster == "none":
            return LocalBackend(self.jobs)
        from semantic_ns.scene_batch.ray_cluster import RayBackend

        return RayBackend(self.place.connect())

    def _tasks(self, paths: Sequence[Path]) -> "tuple[list[SceneTask], list[SceneEnd]]":
        """What is done, and what is told of scenes of earlier calls that are no longer among those given.

        The settings of the folder are checked and written.
        """
        from semantic_ns.jobs.training_arguments import name_in_paths
        from semantic_ns.scene_batch import plan
        from semantic_ns.scene_batch.backend import SceneEnd
        from semantic_ns.scene_batch.scene import SceneTask

        begun = plan.read_settings(self.output_dir)
        if begun is not None:
            plan.refuse_other_settings(self.output_dir, begun, self.method, self.arguments)
        known = {} if begun is None else begun.scenes
        # Single scenes are added to the list, and what is gone from the disk is in it only where it is given.
        added = begun is not None and not plan.is_whole_list(self.scenes, set(paths))
        kept = {name: path for name, path in begun.listed.items() if os.path.lexists(path)} if begun and added else {}
        listed = {**kept, **plan.still_there(known, self.scenes), **plan.named(paths, known)}
        scenes = {**known, **listed}
        unlisted = tuple(name for name in known if name not in listed)
        # Looked up once: nerfstudio is slow to import.
        method_name = "" if begun is None else begun.method_name
        method_name = method_name or name_in_paths(self.method)
        earlier = () if begun is None else begun.steps or plan.begun_steps(self.output_dir, known)
        steps = in_order(self.steps)
        all_steps: tuple[Step, ...] = tuple(step for step in STEPS if step in steps or step in earlier)
        version = _version()
        if begun is not None and begun.version not in ("", version):
            said = f"the last call in {self.output_dir} ran version {begun.version}, and this one is {version}"
            announce("sns-batch", f"{said}; what is done stays, so that the tables will be of both")
        if unlisted:
            shown = ", ".join(unlisted[:_NUM_SHOWN]) + (", ..." if len(unlisted) > _NUM_SHOWN else "")
            said = f"no longer in the list of scenes, {len(unlisted)} of {len(known)} of earlier calls: {shown}"
            announce("sns-batch", f"{said}; results are kept, and are not counted")
        settings = plan.Settings(self.method, self.arguments, scenes, method_name, all_steps, version, unlisted)
        plan.write_settings(self.output_dir, settings)
        folder = self.output_dir.absolute() / plan.SCENES
        tasks = [
            SceneTask(
                name, Path(data), folder / name, steps, self.method, self.arguments, self._limits(),
                self.retries, self._threads(), method_name, earlier, version, name in listed, self.changed_scenes,
            )
            for name, data in scenes.items()
        ]  # fmt: skip
        return (
            [self._with_change(task) for task in tasks if task.is_listed],
            [SceneEnd(task, plan.sentence_about_unlisted(task.data)) for task in tasks if not task.is_listed],
        )

    def _with_change(self, task: "SceneTask") -> "SceneTask":
        from semantic_ns.scene_batch.scene_stamp import find_change

        return task if self.changed_scenes == "ignore" else replace(task, change=find_change(task.folder, task.data))

    def _others(self, tasks: "Sequence[SceneTask]") -> "list[SceneEnd]":
        """What lies among the scenes and is none; a dead link is a scene that is gone, other folders may be no loss."""
        from semantic_ns.scene_batch import plan
        from semantic_ns.scene_batch.backend import SceneEnd

        found = plan.find_others(self.scenes, [task.data for task in tasks], self.output_dir)
        names = plan.named(list(found), {task.name: str(task.data) for task in tasks})
        ends = []
        for name, data in names.items():
            task, path = tasks[0], Path(data)
            steps = task.steps if path.is_symlink() and not path.exists() else ()
            other = replace(
                task, name=name, data=path, folder=task.folder.with_name(name), steps=steps,
                earlier_steps=task.all_steps,
            )  # fmt: skip
            ends.append(SceneEnd(other, found[path]))
        return ends

    def _check_training(self, data: Path) -> None:
        from semantic_ns.jobs.training_arguments import training_config

        training_config([self.method, "--data", str(data), *self.arguments])

    def _threads(self) -> dict[str, str]:
        """Variables with the number of threads; those that the user has set stay, unless an option says otherwise."""
        from semantic_ns.jobs.processes import thread_counts, with_threads

        if self.threads is not None:
            return with_threads(self.threads)
        if self.place.cluster != "none":
            return with_threads(max(1, int(self.place.cpus)))
        return {name: count for name, count in thread_counts(self.jobs).items() if name not in os.environ}

    def _limits(self) -> "Limits":
        from semantic_ns.jobs.processes import Limits, can_limit_memory

        if self.memory_limit is not None and not can_limit_memory():
            raise SceneError(
                "Expected a system that tells the memory of its processes for --memory-limit, found none in /proc; "
                "leave it out."
            )
        seconds = None if self.time_limit is None else self.time_limit * 60
        memory = None if self.memory_limit is None else round(self.memory_limit * 2**30)
        return Limits(seconds, memory, log_bytes=round(min(self.log_limit * 2**20, 2**62)))


def _version() -> str:
    """The version of this package, with the commit in a checkout."""
    import semantic_ns
    from semantic_ns.benchmark.runner.place import commit

    return " ".join([semantic_ns.__version__, *([found] if (found := commit()) else [])])


def _show(console: Console, rows: "Rows", summary: "Summary") -> None:
    """Show a row for each scene or, of more than fit on a page, why scenes failed."""
    from rich.markup import escape
    from rich.table import Table

    from semantic_ns.scene_batch.index_page import MOST_REASONS, SCENES_PER_PAGE
    from semantic_ns.scene_batch.table import HEADER, cells

    if len(rows) <= SCENES_PER_PAGE:
        table = Table(*HEADER)
        for row in rows:
            table.add_row(*(escape(cell) for cell in cells(row)))
    else:
        states = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items()))
        table = Table(
            "scenes", "reason", "such as", title=f"{summary.num_scenes} scenes: {states}", title_justify="left"
        )
        for failure in summary.failures()[:MOST_REASONS]:
            names = ", ".join(place.name for place in failure.examples)
            table.add_row(str(failure.count), escape(failure.reason), escape(names))
    console.print(table)


def entrypoint() -> None:
    """Console script `sns-batch`."""
    from semantic_ns.benchmark.runner.place import register_uninstalled

    arguments, options = sys.argv[1:], ()
    if "--" in arguments:
        place = arguments.index("--")
        arguments, options = arguments[:place], tuple(arguments[place + 1 :])
    command: Any = tyro.cli(Batch, args=arguments, config=(tyro.conf.FlagConversionOff,))
    command.arguments = options
    register_uninstalled()
    try:
        run_command(command.main)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on where it stopped.", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    entrypoint()
