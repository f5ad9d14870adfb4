"""Folders of batches as sns-batch leaves them, without a training."""

import json
from collections.abc import Mapping
from pathlib import Path

from semantic_ns.run_paths import RESUME_CONFIG


def write_batch(folder: Path, scenes: Mapping[str, Mapping[str, tuple[str, float]]]) -> Path:
    """Write the settings of a batch and the records of its steps, each with a state and seconds; returns the folder."""
    folder.mkdir(parents=True)
    settings = {"method": "m", "arguments": [], "scenes": {name: str(folder.parent / "data" / name) for name in scenes}}
    (folder / "batch.json").write_text(json.dumps(settings))
    for name, steps in scenes.items():
        place = folder / "scenes" / name / "steps"
        place.mkdir(parents=True)
        for step, (state, seconds) in steps.items():
            record = {
                "step": step, "state": state, "exit_status": 0, "seconds": seconds,
                "peak_memory_gib": 1 + seconds / 100,
                "attempts": int(seconds > 0), "reason": "",
            }  # fmt: skip
            (place / f"{step}.json").write_text(json.dumps(record))
    return folder


def write_training(scene: Path, num_bytes: int, steps_per_save: int, num_steps: int) -> None:
    """Write what a training leaves in the folder of a scene: its settings and its newest checkpoint."""
    run = scene / "m/run"
    (run / "nerfstudio_models").mkdir(parents=True)
    checkpoint = run / f"nerfstudio_models/step-{num_steps - 1:09d}.ckpt"
    checkpoint.write_bytes(bytes(num_bytes - 22) + b"PK\5\6" + bytes(18))  # the end of the smallest zip file
    (run / RESUME_CONFIG).write_text(f"max_num_iterations: {num_steps}\nsteps_per_save: {steps_per_save}\n")
