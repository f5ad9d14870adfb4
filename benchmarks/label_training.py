"""Runs that are trained on the labels of a session, beside the labels themselves.

The simulated person of `label_marks` labels the scene of a run, and the session exports its label images, as a person
does. `ns-train` trains on them from nothing, and what the new runs say of poses that were not trained is scored beside
what the voxels of the session say there.
"""

import argparse
import subprocess  # ns-train, as a person starts it
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16
from numpy import ndarray
from rich.console import Console

from benchmarks.label_marks import STRIDE, Person, ScoredPoses
from semantic_ns.io.text import markdown_table
from semantic_ns.io.writing import write_json
from semantic_ns.labelling.opening import label_surfaces
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.runs import Run, load_run

CONSOLE = Console(soft_wrap=True, highlight=False)


def scored_frames(num_images: int, num_frames: int) -> list[int]:
    """The frames of `ScoredPoses.render`."""
    return np.unique(np.linspace(0, num_images - 1, num_frames).round().astype(int)).tolist()


def said_by(run: Run, num_frames: int) -> Int16[ndarray, "pixels"]:
    """Class ids that a run renders in the pixels of `ScoredPoses.render`."""
    dataset, model = run.pipeline.datamanager.eval_dataset, run.model
    ids, said = np.array(model.taxonomy.source_ids, np.int16), []
    for frame in scored_frames(len(dataset), num_frames):
        with model.raw_outputs():
            outputs = model.get_outputs_for_camera(dataset.cameras[frame : frame + 1].to(model.device))
        labels = outputs["semantics_labels"][::STRIDE, ::STRIDE, 0].cpu().numpy().reshape(-1)
        said.append(np.where(labels >= 0, ids[np.maximum(labels, 0)], -1))
    return np.concatenate(said).astype(np.int16)


def label(surface: LabelSurface, truth: ndarray, marks: int, seed: int, folder: Path) -> tuple[Path, ndarray]:
    """Let a person set marks; gives the folder of the exported labels, and the labels of the voxels."""
    person, rng = Person(truth, "random"), np.random.default_rng(seed)
    session = LabelSession(surface, folder / "session")
    try:
        for number in range(marks):
            order = rng.permutation(len(truth)).tolist()
            mark = person.next_mark(lambda frame: session.labels(frame)[::STRIDE, ::STRIDE], order)
            if mark is None:
                break
            session.add_mark(mark, "person", number)
            session.wait_for_appearance()
        session.export(folder / "labels")
        return folder / "labels", session.voxel_labels()
    finally:
        session.close()


def train(method: str, scene: Path, labels: Path, folder: Path, further: Sequence[str]) -> Path:
    """Train a method on label images; gives the config.yml of the run."""
    command = Path(sys.executable).with_name("ns-train")
    subprocess.run(  # the words are ours
        [
            *(str(command), method, "--data", str(scene), "--output-dir", str(folder), "--timestamp", "labelled"),
            *("--vis", "tensorboard", "--viewer.quit-on-train-completion", "True"),
            *("--pipeline.datamanager.train-labels", str(labels), *further),
        ],
        check=True,
    )
    (config,) = folder.glob(f"*/{method}/labelled/config.yml")
    return config


def main() -> None:
    """Label, export, train and score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load-config", type=Path, required=True, help="config.yml of the run that is labelled")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--methods", nargs="+", default=["semantic-nerf", "semantic-splatfacto"], help="to be trained")
    parser.add_argument("--marks", nargs="+", type=int, default=[125], help="of the person")
    parser.add_argument("--voxels", type=int, default=60_000, help="of the surface, about")
    parser.add_argument("--seed", type=int, default=0, help="of the person")
    parser.add_argument("--test-frames", type=int, default=15, help="that are scored")
    parser.add_argument("further", nargs="*", help="options of ns-train, after --")
    options = parser.parse_args()
    run = load_run(options.load_config)
    (surface,) = label_surfaces(options.load_config, [options.voxels])
    dataset = run.pipeline.datamanager.train_dataset
    ids = np.array([*dataset.taxonomy.source_ids, -1], np.int16)
    truth = np.stack([ids[dataset.read_labels(frame)[::STRIDE, ::STRIDE]] for frame in range(len(dataset))])
    poses, rows = ScoredPoses.render(run, options.test_frames), []
    for marks in options.marks:
        with tempfile.TemporaryDirectory() as folder:
            labels, of_voxels = label(surface, truth, marks, options.seed, Path(folder))
            row: dict[str, Any] = {"marks": marks, "voxels": poses.score(of_voxels[poses.voxels_on(surface)])}
            for method in options.methods:
                config = train(method, Path(run.parser_config.data), labels, Path(folder) / "runs", options.further)
                row[method] = poses.score(said_by(load_run(config), options.test_frames))
        rows.append(row)
        CONSOLE.print(row)
        write_json(options.output, {"load_config": str(options.load_config), "seed": options.seed, "rows": rows})
    names = ["voxels", *options.methods]
    lines = [[str(row["marks"]), *(f"{row[name]:.3f}" for name in names)] for row in rows]
    CONSOLE.print(markdown_table(["marks", *names], lines), markup=False)


if __name__ == "__main__":
    main()
