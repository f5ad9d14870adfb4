"""A batch from its beginning or its last state to its table."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from semantic_ns.errors import SceneError
from semantic_ns.io.locking import locked_folder
from semantic_ns.io.writing import write_errors_as_scene_error
from semantic_ns.jobs.parallel import sigterm_as_exit
from semantic_ns.scene_batch.backend import Backend, SceneEnd
from semantic_ns.scene_batch.page import write_pages
from semantic_ns.scene_batch.progress import Seldom, as_clock, seconds_left
from semantic_ns.scene_batch.records import Record, sentence_about_unreadable
from semantic_ns.scene_batch.scene import SceneTask
from semantic_ns.scene_batch.steps import Step
from semantic_ns.scene_batch.summary import Summary
from semantic_ns.scene_batch.table import Row, Rows, row_of, write_table

LOCK = ".lock"
_FEW_STEPS = 1000


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Make the folder of a batch, which no other batch can work in meanwhile.

    Raises:
        SceneError: another one works there, or the folder cannot be written.
    """
    with locked_folder(
        output,
        LOCK,
        lambda owner: (
            f"Expected a folder in which no other batch works, found process {owner} at work in {output}; wait for its "
            "end, or choose another --output-dir."
        ),
    ):
        yield


def run_batch(
    tasks: Sequence[SceneTask],
    backend: Backend,
    console: Console,
    others: Sequence[SceneEnd] = (),
    tell: Callable[[Rows], object] = lambda _rows: None,
) -> Rows:
    """Do the tasks that are not done, and show how far they are; returns the rows of all, in their order.

    Args:
        tasks: What is done.
        backend: Where.
        console: Where progress is shown, and a line for each scene that ends.
        others: What has a row although nothing can be done, with the reason.
        tell: Told the rows as they are, now and then while scenes are worked on, and when it is interrupted.
    """
    records = {task.name: task.records() for task in tasks}
    view = _View(records, backend.jobs, console)
    waiting = [task for task in tasks if any(record.state != "done" for record in records[task.name])]
    view.say(f"{len(tasks)} scenes, {len(tasks) - len(waiting)} of them done before.")
    unread = [
        (task.folder, record) for task in tasks for record in records[task.name]
        if record.state == "open" and record.reason
    ]  # fmt: skip
    if unread:
        view.say(sentence_about_unreadable(unread))
    lost = {end.task.name: end.lost for end in others}
    rows = Rows([*tasks, *(end.task for end in others)], lost)
    try:
        _work(waiting, backend, view, lost, Seldom(lambda: tell(rows)))
    except BaseException:
        with suppress(SceneError):  # what has interrupted it is told
            tell(rows)
        raise
    return rows


def _work(
    waiting: Sequence[SceneTask], backend: Backend, view: "_View", lost: dict[str, str], tell: Callable[[], object]
) -> None:
    # Closed even where an interrupt comes between two scenes: what runs is asked to end, and waited for.
    with sigterm_as_exit(), view, closing(backend.run(waiting, view.told)) as ended:
        for number, end in enumerate(ended, 1):
            if end.lost:
                lost[end.task.name] = end.lost
            view.ended(number, len(waiting), row_of(end.task, end.lost))
            with suppress(SceneError):  # a disk that is full for a moment; the end of the batch tells of others
                tell()


class _View:
    """What a batch shows: a bar over all steps with the time that is left, and a line for each scene that has ended."""

    def __init__(self, known: Mapping[str, Sequence[Record]], jobs: int, console: Console) -> None:
        records = [(name, record) for name, of_scene in known.items() for record in of_scene]
        self._ended = [record for _, record in records if record.state == "done"]
        self._left: set[tuple[str, Step]] = {(name, record.step) for name, record in records if record.state != "done"}
        self._jobs, self._console, self._lock = jobs, console, Lock()
        self._progress = Progress(
            TextColumn("steps"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]} left"),
            console=console, transient=True,
        )  # fmt: skip
        self._bar = self._progress.add_task("", total=len(records), completed=len(self._ended), left="-:--")

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, sentence: str) -> None:
        self._console.print(sentence, soft_wrap=True, highlight=False, markup=False)

    def told(self, scene: str, record: Record) -> None:
        """Count a step that has ended, once; called from several threads."""
        with self._lock:
            if (scene, record.step) not in self._left:
                return
            self._left.remove((scene, record.step))
            self._ended.append(record)
            self._progress.update(self._bar, advance=1)
            if is_time_due(len(self._left)):
                counts: Mapping[Step, int] = Counter(step for _, step in self._left)
                left = seconds_left(self._ended, counts, self._jobs)
                self._progress.update(self._bar, left=as_clock(left))

    def ended(self, number: int, total: int, row: Row) -> None:
        """Say how a scene has ended; steps of a machine that told nothing are counted now."""
        for record in row.records:
            if record.state != "open":
                self.told(row.task.name, record)
        scores = f", mIoU {row.scores['miou_present']:.3f}" if "miou_present" in row.scores else ""
        reason = f": {row.reason}" if row.status != "done" and row.reason else ""
        self.say(f"{number}/{total} {row.task.name}: {row.status} in {row.seconds:.0f} s{scores}{reason}")


def write_tables(output: Path, rows: Rows) -> None:
    """Write the tables alone.

    Raises:
        SceneError: the folder cannot be written.
    """
    with write_errors_as_scene_error(output):
        write_table(output, rows)


def write_results(output: Path, rows: Rows) -> Summary:
    """Write the tables and the pages; returns what they sum up.

    The tables are complete before the first picture is drawn, which takes much longer.

    Raises:
        SceneError: the folder cannot be written.
    """
    write_tables(output, rows)
    with write_errors_as_scene_error(output):
        return write_pages(output, rows, f"Scenes of {output.name}")


def is_time_due(num_left: int) -> bool:
    """Whether the time that is left is computed anew: after each step where few are left, and else more rarely.

    It looks at every step of the batch, which after every step of a million scenes would take days.

    Args:
        num_left: Number of steps that are left.
    """
    return num_left % (num_left // _FEW_STEPS + 1) == 0
