"""What the classes of a field, trained in the background of a session, add to the labels that spread over voxels.

The simulated person of `label_marks` labels a run's scene. After some numbers of marks the head is trained as
`sns-label` trains it, warm-started from the one before, and both are scored on poses that were not trained: the voxels,
and what the field with this head renders there. A second part lets `sns-label`'s own process train while marks are
made, and takes the time of their answers. The run is best one without classes, whose geometry has seen no label either.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int16
from numpy import ndarray
from rich.console import Console

from benchmarks.label_marks import STRIDE, Person, ScoredPoses, quantiles_ms
from semantic_ns.fields.class_rays import ClassRays, collect_rays
from semantic_ns.geometry.rays import FastRayGenerator
from semantic_ns.io.text import markdown_table
from semantic_ns.io.writing import write_json
from semantic_ns.labelling.field import FieldFollower
from semantic_ns.labelling.head_run import read_config
from semantic_ns.labelling.head_worker import HeadWorker
from semantic_ns.labelling.opening import label_surfaces
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.runs import Run, load_run
from semantic_ns.surface.sweep import swept_pixels

CONSOLE = Console(soft_wrap=True, highlight=False)
LEVEL = 0.9
_MARKS_BEFORE = 5
_PATIENCE_S = 240.0


def test_rays(run: Run, num_frames: int) -> ClassRays:
    """The rays of the pixels of `ScoredPoses.render`, in its order."""
    dataset, model = run.pipeline.datamanager.eval_dataset, run.pipeline.model
    generator = FastRayGenerator(dataset.cameras.to(model.device))
    frames = np.unique(np.linspace(0, len(dataset) - 1, num_frames).round().astype(int)).tolist()
    sizes = [(int(dataset.cameras.height[frame]), int(dataset.cameras.width[frame])) for frame in frames]
    pixels = [swept_pixels(frame, size, STRIDE).view(-1, 3) for frame, size in zip(frames, sizes, strict=True)]
    return collect_rays(model, generator, torch.cat(pixels))


@dataclass(frozen=True, eq=False)
class Scene:
    """A run with all that is measured on it.

    Attributes:
        run: The run.
        load_config: Its config.yml.
        surface: Its surface.
        poses: Poses that are scored.
        rays: Their rays.
        truth: Class ids of every second pixel of the training images, -1 for void.
    """

    run: Run
    load_config: Path
    surface: LabelSurface
    poses: ScoredPoses
    rays: ClassRays
    truth: Int16[ndarray, "frames height width"]


def shown_by(session: LabelSession, worker: HeadWorker) -> tuple[ndarray, ndarray]:
    """The labels of a session and their confidence, as `FieldFollower` hands them over."""
    frames, stride = range(len(session.frames)), worker.stride
    labels = np.stack([session.labels(frame)[::stride, ::stride] for frame in frames])
    confidence = np.stack([session.confidence(frame)[::stride, ::stride] for frame in frames])
    return labels, np.rint(255 * confidence).astype(np.uint8)


def label_and_train(scene: Scene, marks: Sequence[int], seed: int) -> list[dict[str, Any]]:
    """One row for each number of marks: the scores of the voxels and of the field, and the time of the training."""
    worker = HeadWorker(scene.run, read_config(scene.load_config).optimizers)
    person, rng = Person(scene.truth, "random"), np.random.default_rng(seed)
    voxels = scene.poses.voxels_on(scene.surface)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        session = LabelSession(scene.surface, Path(folder))
        try:
            for number in range(1, max(marks) + 1):
                order = rng.permutation(len(scene.truth)).tolist()
                mark = person.next_mark(lambda frame: session.labels(frame)[::STRIDE, ::STRIDE], order)
                if mark is None:
                    break
                session.add_mark(mark, "person", number)
                session.wait_for_appearance()
                if number not in marks:
                    continue
                started = time.process_time()
                labels, confidence = shown_by(session, worker)
                ids = sorted(one.id for one in session.classes if one.merged_into is None)
                worker.train(labels, confidence, ids)
                seconds = time.process_time() - started
                rows.append(
                    {
                        "marks": number,
                        "voxels": scene.poses.score(session.voxel_labels()[voxels]),
                        "field": scene.poses.score(worker.say(scene.rays)),
                        "cpu_s": seconds,
                    }
                )
                CONSOLE.print(rows[-1])
        finally:
            session.close()
    return rows


def wait_until_it_speaks(follower: FieldFollower) -> None:
    """Wait for the first training, before which the run is loaded and its rays are rendered."""
    deadline = time.monotonic() + _PATIENCE_S
    while follower.labels is None:
        if time.monotonic() > deadline or follower.state.state == "failed":
            raise SystemExit(f"Error: the field does not follow: {follower.state.sentence or 'it takes too long'}")
        time.sleep(0.2)


def answers_meanwhile(scene: Scene, num_marks: int, seed: int) -> dict[str, Any]:
    """How long marks take while another process trains, and how long each of its trainings took."""
    person, rng = Person(scene.truth, "random"), np.random.default_rng(seed)
    seconds, trainings = [], {}
    with tempfile.TemporaryDirectory() as folder:
        session = LabelSession(scene.surface, Path(folder))
        follower = FieldFollower(session, scene.load_config, Path(folder) / "field")
        try:
            for number in range(num_marks + _MARKS_BEFORE):
                if number == _MARKS_BEFORE:
                    wait_until_it_speaks(follower)
                order = rng.permutation(len(scene.truth)).tolist()
                mark = person.next_mark(lambda frame: session.labels(frame)[::STRIDE, ::STRIDE], order)
                if mark is None:
                    break
                # A person needs a second or so for each mark, in which the other process goes on.
                time.sleep(max(0.0, rng.normal(1.0, 0.3)))
                is_training = follower.state.state == "training"
                started = time.perf_counter()
                session.add_mark(mark, "person", number)
                session.labels(mark.frame)
                if is_training:
                    seconds.append(time.perf_counter() - started)
                if follower.state.seconds is not None:
                    trainings[follower.state.version] = follower.state.seconds
        finally:
            follower.close()
            session.close()
    return {
        "answers": len(seconds),
        "answer_ms": quantiles_ms(seconds) if seconds else None,
        "worst_ms": 1000 * max(seconds) if seconds else None,
        "training_cpu_s": list(trainings.values()),
    }


def main() -> None:
    """Let a simulated person label a run's scene, and train the field's classes on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load-config", type=Path, required=True, help="config.yml of a trained run")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--voxels", type=int, default=60_000, help="of the surface, about")
    parser.add_argument("--seed", type=int, default=0, help="of the person")
    parser.add_argument("--marks", nargs="+", type=int, default=[50, 100, 150, 200, 250], help="at which it is trained")
    parser.add_argument("--test-frames", type=int, default=15, help="that are scored")
    parser.add_argument("--marks-meanwhile", type=int, default=40, help="made while another process trains")
    options = parser.parse_args()
    (surface,) = label_surfaces(options.load_config, [options.voxels])
    run = load_run(options.load_config)
    dataset = run.pipeline.datamanager.train_dataset
    truth = np.stack([dataset.read_labels(frame)[::STRIDE, ::STRIDE] for frame in range(len(dataset))])
    ids = np.array([*dataset.taxonomy.source_ids, -1], np.int16)[truth]
    poses, rays = ScoredPoses.render(run, options.test_frames), test_rays(run, options.test_frames)
    scene = Scene(run, options.load_config, surface, poses, rays, ids)
    rows = label_and_train(scene, options.marks, options.seed)
    meanwhile = answers_meanwhile(scene, options.marks_meanwhile, options.seed) if options.marks_meanwhile else None
    write_json(options.output, {"voxels": surface.graph.num_nodes, "rows": rows, "meanwhile": meanwhile})
    lines = [[f"{r['marks']}", f"{r['voxels']:.3f}", f"{r['field']:.3f}", f"{r['cpu_s']:.1f}"] for r in rows]
    CONSOLE.print(markdown_table(["marks", "voxels", "field", "cpu s"], lines), markup=False)
    reached = next((row["marks"] for row in rows if row["field"] >= LEVEL), None)
    CONSOLE.print(f"{LEVEL:.2f} after {reached} marks; meanwhile {meanwhile}", markup=False)


if __name__ == "__main__":
    main()
