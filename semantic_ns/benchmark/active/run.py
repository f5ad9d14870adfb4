"""Runs a benchmark of active learning: first the colour trainings, then the strategies on top of them."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semantic_ns.benchmark.active.plan import ActivePlan
from semantic_ns.benchmark.active.trial import MODULE, arguments_of
from semantic_ns.benchmark.runner.backend import ProcessBackend
from semantic_ns.benchmark.runner.run import run_trials
from semantic_ns.benchmark.runner.trials import State
from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_errors_as_scene_error, write_json
from semantic_ns.jobs.training_arguments import training_config

SETTINGS = "settings.json"
"""File in a benchmark's folder: what all its trials have in common."""


def run_active(
    plan: ActivePlan, output: Path, jobs: int, settings: tuple[int, int], say: Callable[[str], None] = print
) -> Counter[State]:
    """Run what is not done.

    Args:
        plan: what the benchmark consists of.
        output: its folder.
        jobs: trials at a time.
        settings: steps of a round, and the stride of scored images.
        say: told a sentence for each trial that ends.

    Returns:
        How many of all trials are done, failed, and open (interrupted) now.

    Raises:
        SceneError: if an option is refused, or the folder holds results with other settings.
    """
    steps, stride = settings
    if min(jobs, steps, stride) < 1:
        raise SceneError(
            f"Expected numbers above 0, found --jobs {jobs} --round-steps {steps} --score-stride {stride}."
        )
    colors, trials = plan.color_trials(), plan.trials()
    for trial in {trial.variant: trial for trial in (*colors, *trials)}.values():  # seconds for each
        active = training_config(arguments_of(trial)).pipeline.active
        if active.strategy is not None:
            active.steps(plan.num_steps)
    # What trials share that the tables do not tell apart.
    shared = {"max_num_iterations": plan.num_steps, "budgets": list(plan.budgets), "error_rate": plan.error_rate}
    _keep_settings(output, {"round_steps": steps, "score_stride": stride, **shared})
    backend = ProcessBackend(jobs, (*MODULE, str(steps), str(stride)))
    counts = run_trials(colors, output, backend, say)
    return counts + run_trials(trials, output, backend, say)


def _keep_settings(output: Path, settings: dict[str, Any]) -> None:
    path = output / SETTINGS
    if path.exists() and (found := json.loads(path.read_text("utf8"))) != settings:
        raise SceneError(f"Expected results with {settings} in {output}, found {found}; choose another --output.")
    with write_errors_as_scene_error(output):
        write_json(path, settings)
