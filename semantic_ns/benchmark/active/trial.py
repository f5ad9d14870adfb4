"""A trial of a benchmark of active learning in a process of its own: a colour training, or all rounds of a strategy.

`python -m semantic_ns.benchmark.active.trial ROUND_STEPS SCORE_STRIDE FOLDER`
"""

import sys
import time
import traceback
from pathlib import Path
from typing import Any

from semantic_ns.benchmark.active.plan import COLOR, color_trial
from semantic_ns.benchmark.runner.one_trial import RUN, circumstances, started_trainer
from semantic_ns.benchmark.runner.place import commit
from semantic_ns.benchmark.runner.trials import Trial, read_trial, write_done, write_failed
from semantic_ns.errors import SceneError

MODULE = ("-m", "semantic_ns.benchmark.active.trial")
"""What runs a trial, as arguments of Python."""


def arguments_of(trial: Trial) -> list[str]:
    """The trial as arguments of `ns-train`, on the CPU: only there can classes train alone."""
    method, *others = trial.arguments()
    return [method, "--machine.device-type", "cpu", *others]


def train_colors(trial: Trial, folder: Path) -> dict[str, Any]:
    """Train geometry and colours of a scene without any label; the run stays in the folder."""
    trainer = started_trainer(trial, arguments_of(trial), folder / RUN)
    started = time.perf_counter()
    trainer.train()
    return {"training_seconds": time.perf_counter() - started, **circumstances(trainer.config)}


def run_rounds(trial: Trial, folder: Path, round_steps: int, score_stride: int) -> dict[str, Any]:
    """All rounds of a strategy on the colour training of its scene and seed, which lies beside this trial.

    Raises:
        SceneError: if that training is missing.
    """
    import torch

    from semantic_ns.benchmark.active.rounds import Rounds
    from semantic_ns.checkpoints import find_checkpoint

    below = folder.parent / color_trial(trial.scene, trial.seed, trial.num_steps).key
    checkpoints = sorted(below.rglob("nerfstudio_models"))
    if not checkpoints:
        raise SceneError(f"Expected a colour training in {below}, found none; it may have failed, see result.json.")
    trainer = started_trainer(trial, arguments_of(trial), folder / RUN)
    state = torch.load(find_checkpoint(checkpoints[-1]), map_location="cpu")
    trainer.pipeline.load_pipeline(state["pipeline"], state["step"])
    started = time.perf_counter()
    rounds = Rounds(trainer.pipeline, trainer.config, below, trial.seed, score_stride)
    found = [rounds.next_round(round_steps) for _ in trainer.config.pipeline.active.budgets]
    return {
        "rounds": found,
        "training_seconds": time.perf_counter() - started,
        **rounds.circumstances(),
        **circumstances(trainer.config),
    }


def main(folder: Path, round_steps: int, score_stride: int) -> None:
    """Run the trial in a folder and leave its result there, an error too."""
    trial = read_trial(folder)
    code = {"commit": commit()}  # of the code as it was loaded
    try:
        if trial.variant == COLOR:
            outcome: dict[str, Any] = {"scores": {"test": {}, "train": {}}, **train_colors(trial, folder)}
        else:
            outcome = run_rounds(trial, folder, round_steps, score_stride)
            outcome |= {"round_steps": round_steps, "score_stride": score_stride}
            outcome["scores"] = {"test": outcome["rounds"][-1]["scores"], "train": {}}
        write_done(folder, trial, outcome | code, arguments_of(trial))
    except SceneError as error:
        write_failed(folder, trial, str(error))
    # Anything that goes wrong in one trial must not end the others; what asks the process to end is no Exception.
    except Exception:
        write_failed(folder, trial, traceback.format_exc())


if __name__ == "__main__":
    main(Path(sys.argv[-1]), *(int(word) for word in sys.argv[-3:-1]))
