"""Trains and scores a trial in a process of its own: `python -m semantic_ns.benchmark.runner.one_trial FOLDER`."""

import shutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semantic_ns.benchmark.runner.modes import TWO_FRAMES, find_mode
from semantic_ns.benchmark.runner.place import commit
from semantic_ns.benchmark.runner.plan import Plan
from semantic_ns.benchmark.runner.trials import Trial, read_trial, write_done, write_failed
from semantic_ns.errors import SceneError
from semantic_ns.interfaces import ScoredPipeline, TrainingDataLike, can
from semantic_ns.jobs.training_arguments import refuse_unknown_method, training_config

RUN = "run"
KEEP_RUN = "--keep-run"
MODULE = ("-m", "semantic_ns.benchmark.runner.one_trial")
"""What runs a trial, as arguments of Python."""
_RULES = ("split", "void_rule", "miou_rule")


def checked_trials(plan: Plan) -> list[Trial]:
    """The trials of a plan, tried as options of `ns-train` before anything is trained.

    Raises:
        SceneError: if the method or a mode is unknown, or options are refused.
    """
    from nerfstudio.configs.method_configs import all_methods

    refuse_unknown_method(plan.method)
    trials = plan.trials(all_methods[plan.method].max_num_iterations)
    for trial in trials:
        training_config(trial.arguments())
    return trials


def check_trials(method: str, trials: Sequence[Trial]) -> None:
    """Try each different set of options of ns-train once, before anything is trained.

    Raises:
        SceneError: if the method or a mode is unknown, or options are refused.
    """
    refuse_unknown_method(method)
    different = {(trial.mode, trial.options, trial.scene.options): trial for trial in trials}
    for trial in different.values():
        training_config(trial.arguments())


def train_and_score(trial: Trial, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Train a trial and score it on test and training poses.

    Args:
        trial: what to train.
        folder: folder for the run, which is emptied first.

    Returns:
        Scores and circumstances, and the arguments of `ns-train`.
    """
    arguments = trial.arguments(label_frames(trial))
    trainer = started_trainer(trial, arguments, folder)
    started = time.perf_counter()
    trainer.train()
    trained = time.perf_counter()
    outcome = _scores(trainer.pipeline, trial.mode, trial.score_stride)
    outcome |= {
        "training_seconds": trained - started,
        "scoring_seconds": time.perf_counter() - trained,
        "semantics": "miou" in outcome["scores"]["test"],
        "trains_with_depth": can(trainer.pipeline.datamanager, "trains_with_depth"),
        **circumstances(trainer.config),
    }
    return outcome, arguments


def started_trainer(trial: Trial, arguments: Sequence[str], folder: Path) -> Any:
    """The trainer of a trial, set up as `ns-train` does, its random generators at the trial's seed.

    Its data manager holds the test poses, as that of `ns-eval` does.

    Args:
        trial: what to train.
        arguments: arguments of `ns-train`.
        folder: folder for the run, which is emptied first.
    """
    from nerfstudio.scripts.train import _set_random_seed

    from semantic_ns.pipeline import SemanticPipelineConfig

    config = training_config(arguments)
    shutil.rmtree(folder, ignore_errors=True)
    config.output_dir, config.experiment_name, config.timestamp = folder, trial.scene.name, RUN
    config.steps_per_save = config.max_num_iterations
    if isinstance(config.pipeline, SemanticPipelineConfig):
        config.pipeline.eval_images_at_end = 0  # all are scored afterwards, and it would count as training
    _set_random_seed(config.machine.seed)
    trainer = config.setup(local_rank=0, world_size=1)
    config.save_config()
    trainer.setup()
    _take_test_poses(trainer.pipeline.datamanager)
    return trainer


def _take_test_poses(manager: Any) -> None:
    """While a run trains, a scene that lists validation and test poses is evaluated on the former."""
    manager.test_split = "test"
    manager.eval_dataset = manager.create_eval_dataset()


def _scores(pipeline: ScoredPipeline, mode: str, stride: int) -> dict[str, Any]:
    from semantic_ns.benchmark.runner.fusion_baselines import scores_or_reason
    from semantic_ns.benchmark.runner.scoring import INPUT_RULE, input_scores, pose_scores

    manager = pipeline.datamanager
    clean = clean_training_dataset(manager)
    scores = {
        "test": pose_scores(pipeline, manager.eval_dataset, "test", stride),
        "train": pose_scores(pipeline, clean, "train", stride),
        "input": input_scores(manager.train_dataset, clean, stride),
    }
    not_fused: dict[str, str] = {}
    if (folder := find_mode(mode).train_labels) is not None:
        data = Path(manager.get_datapath())
        pipeline.eval()  # scoring leaves it as a training has it, without depth
        fused, reason = scores_or_reason(folder, clean, data, pipeline.model, stride)
        scores |= fused
        not_fused = {} if reason is None else {"not_fused": reason}
    rules = {name: scores["test"][name] for name in _RULES if name in scores["test"]}
    if stride > 1:
        rules["split"] += f"; of both poses, the first of every {stride} images is scored"
    for found in scores.values():
        for name in _RULES:
            found.pop(name, None)
    labels = [manager.train_dataset.labels_of(index) for index in range(len(clean))]
    frames = {"training": len(labels), "labelled": sum(bool((image >= 0).any()) for image in labels)}
    return {"scores": scores, **rules, "input_rule": INPUT_RULE, "frames": frames, **not_fused}


def clean_training_dataset(manager: TrainingDataLike) -> Any:
    """The training poses with the scene's own labels, whatever the training was given."""
    # Of the same kind: some methods train on images whose lens distortion is undone.
    return type(manager.train_dataset)(manager.train_dataparser_outputs, manager.config.camera_res_scale_factor)


def label_frames(trial: Trial) -> Sequence[str]:
    """The two frames that keep their labels in the mode `two-frames`; none where the scene or the mode says them."""
    if trial.mode != TWO_FRAMES or trial.scene.frames:
        return ()
    from semantic_ns.benchmark.runner.scoring import chosen_frames
    from semantic_ns.datasets.semantic_dataset import SemanticDataset

    parser = training_config(trial.arguments()).pipeline.datamanager.dataparser
    parser.data = trial.scene.data
    return chosen_frames(SemanticDataset(parser.setup().get_dataparser_outputs(split="train")))


def circumstances(config: Any) -> dict[str, Any]:
    """Device and threads of a training."""
    import numba

    return {"device": config.machine.device_type, "threads": numba.get_num_threads()}


def run_trial(folder: Path, keep_run: bool, train: Callable[[Trial, Path], tuple[dict[str, Any], list[str]]]) -> None:
    """Train and score the trial in a folder and leave its result there, an error too; and perhaps the run itself.

    Args:
        folder: folder of the trial.
        keep_run: whether the folder of the training stays.
        train: trains and scores a trial in a folder for its run; gives the outcome and the command line.
    """
    trial = read_trial(folder)
    code = {"commit": commit()}  # of the code as it was loaded
    try:
        outcome, arguments = train(trial, folder / RUN)
        if not keep_run:
            shutil.rmtree(folder / RUN)
        write_done(folder, trial, outcome | code, arguments)
    except SceneError as error:
        write_failed(folder, trial, str(error))
    # Anything that goes wrong in one trial must not end the others; what asks the process to end is no Exception.
    except Exception:
        write_failed(folder, trial, traceback.format_exc())


def main(folder: Path, keep_run: bool) -> None:
    """Train and score the trial in a folder."""
    run_trial(folder, keep_run, train_and_score)


if __name__ == "__main__":
    main(Path(sys.argv[-1]), KEEP_RUN in sys.argv)
