"""Runs the trials of a benchmark that have no result yet."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from semantic_ns.benchmark.runner.backend import Backend, TrialEnd
from semantic_ns.benchmark.runner.reasons import reason_of
from semantic_ns.benchmark.runner.trials import State, Trial, read_result, state_of, trial_folder, write_trial
from semantic_ns.errors import SceneError
from semantic_ns.io.locking import locked_folder
from semantic_ns.jobs.parallel import sigterm_as_exit

LOCK = ".lock"


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Make the folder of a benchmark, in which no other benchmark can train meanwhile.

    Raises:
        SceneError: if another one works there, or the folder cannot be written.
    """
    with locked_folder(
        output,
        LOCK,
        lambda owner: (
            f"Expected a folder in which no other benchmark works, found process {owner} at work in {output}; wait "
            "for its end, or choose another --output."
        ),
    ):
        yield


def run_trials(
    trials: Sequence[Trial], output: Path, backend: Backend, say: Callable[[str], None] = print
) -> Counter[State]:
    """Train what is not done: trials that failed before or were left half-finished start over.

    Args:
        trials: what the benchmark consists of.
        output: its folder; trials lie in `cells/<key>/`.
        backend: where they are trained.
        say: told a sentence for each trial that ends.

    Returns:
        How many of the trials are done, failed, and open (interrupted) now.
    """
    waiting = [trial for trial in trials if state_of(trial_folder(output, trial)) != "done"]
    say(f"{len(trials)} trials, {len(trials) - len(waiting)} of them done before.")
    begun = [trial_folder(output, trial) for trial in waiting if _begin(trial_folder(output, trial), trial, say)]
    with sigterm_as_exit():
        for number, end in enumerate(backend.run(begun), 1):
            say(f"{number}/{len(begun)} {end.folder.name}: {_told(end)}")
    return Counter(state_of(trial_folder(output, trial)) for trial in trials)


def _begin(folder: Path, trial: Trial, say: Callable[[str], None]) -> bool:
    """Write what a trial is; says why that cannot be, which need not be true of the others."""
    try:
        write_trial(folder, trial)
    except SceneError as error:
        say(f"{folder.name}: not trained: {error}")
        return False
    return True


def _told(end: TrialEnd) -> str:
    result = read_result(end.folder)
    if result is None:
        return f"lost: {end.lost}" if end.lost else "interrupted"
    if result["state"] == "failed":
        return f"failed: {reason_of(result['error'])}"
    scores = [
        f"{poses} {result['scores'][poses]['miou_present']:.3f}"
        for poses in ("test", "train")
        if result["scores"][poses].get("miou_present") is not None
    ]
    return f"done in {result['training_seconds']:.0f} s of training; miou_present: {', '.join(scores) or 'no labels'}"
