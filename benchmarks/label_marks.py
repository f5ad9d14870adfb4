"""How many marks a simulated person needs to label a trained run's scene, and how long each mark takes.

The person knows the truth of the training images, sees the labels that a session shows, and paints a dab into a wrong
region. Regions weigh by their pixels over the root of the pixels of their class: a person minds a whole missing object
more than the edge of a wall. The dab is a click in the middle of the region that stays inside it, of at most six
pixels of every second row and column. Or else the person answers, one after the other, the regions that the session
suggests: by the mark that the page sets in them, with the class that most of the region has in its frame; regions of
void are skipped. Scored are poses that were not trained: each of their pixels gets the class of
the voxel in which the run says that its ray ends, without any training on the marks.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float64, Int16, Int32
from numpy import ndarray
from rich.console import Console
from scipy.ndimage import distance_transform_edt, label
from scipy.spatial import KDTree

from semantic_ns.evaluation.metrics import confusion_matrix, segmentation_scores
from semantic_ns.geometry.rays import FastRayGenerator
from semantic_ns.io.text import markdown_table
from semantic_ns.io.writing import write_json
from semantic_ns.labelling.imports import DEFAULT_WEIGHT, ImportedLabels
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.opening import label_surfaces
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.runs import Run, load_run
from semantic_ns.surface.sweep import swept_pixels

CONSOLE = Console(soft_wrap=True, highlight=False)
View = Literal["random", "ranked", "all", "regions"]
"""Whether the person looks for a wrong region in one frame at a time, at random or, after a first one at random, the
first in the session's ranks with something wrong; or in all frames, or answers the regions that the session suggests.
"""
STRIDE = 2
LARGEST_DAB = 6.0
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9)


@dataclass(frozen=True, eq=False)
class Person:
    """A person who knows the class of each pixel.

    Attributes:
        truth: Class ids of every second pixel of the training images, -1 for void.
        view: Where the person looks.
    """

    truth: Int16[ndarray, "frames height width"]
    view: View

    def weights(self) -> dict[int, float]:
        """How much one wrong pixel of each class matters."""
        ids, counts = np.unique(self.truth[self.truth >= 0], return_counts=True)
        return {int(number): float(count) ** -0.5 for number, count in zip(ids, counts, strict=True)}

    def next_mark(self, shown: Callable[[int], Int16[ndarray, "height width"]], frames: Sequence[int]) -> Mark | None:
        """A dab into the wrong region that matters most; None if nothing is wrong anywhere.

        Args:
            shown: A function that gives the labels that a frame shows now, at every second pixel.
            frames: All frames, in the order in which the person looks at them.
        """
        best: tuple[float, int, ndarray, int] | None = None
        for frame in frames:
            found = self._worst_region(frame, shown(frame))
            if found is not None and (best is None or found[0] > best[0]):
                best = found[0], frame, found[1], found[2]
            if best is not None and self.view != "all":
                break
        return None if best is None else dab(*best[1:])

    def next_answer(self, session: LabelSession) -> tuple[Mark, bool] | None:
        """The mark that answers the first region that the session suggests, and whether its guess was right.

        None if it suggests no region that has a class.
        """
        for rank in session.ranked_regions():
            region = session.ranked_region_at(rank.frame, rank.x, rank.y)[::STRIDE, ::STRIDE]
            ids, counts = np.unique(self.truth[rank.frame][region], return_counts=True)
            class_id = int(ids[counts.argmax()]) if len(ids) else -1
            if class_id >= 0:
                shape = {"kind": "click", "x": rank.x, "y": rank.y, "radius": rank.radius}
                values = {"frame": rank.frame, "class_id": class_id, "shape": shape, "action": "paint"}
                return Mark.from_json(values), rank.guess == class_id
        return None

    def _worst_region(self, frame: int, labels: Int16[ndarray, "height width"]) -> tuple[float, ndarray, int] | None:
        truth = self.truth[frame]
        is_wrong = (truth >= 0) & (labels != truth)
        best = None
        weights = self.weights()
        for class_id in np.unique(truth[is_wrong]).tolist():
            regions = np.zeros(truth.shape, np.int32)
            label(is_wrong & (truth == class_id), output=regions)
            sizes = np.bincount(regions.reshape(-1))[1:]
            weight = float(sizes.max()) * weights[class_id]
            if best is None or weight > best[0]:
                best = weight, regions == int(sizes.argmax()) + 1, class_id
        return best


def dab(frame: int, region: ndarray, class_id: int) -> Mark:
    """A click in the middle of a region [height, width] of every second pixel, which stays inside it."""
    depth = np.asarray(distance_transform_edt(np.pad(region, 1)))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    radius = max(0.5, (min(float(depth.max()), LARGEST_DAB) - 1) * STRIDE)
    shape = {"kind": "click", "x": float(column) * STRIDE + 0.5, "y": float(row) * STRIDE + 0.5, "radius": radius}
    return Mark.from_json({"frame": frame, "class_id": class_id, "shape": shape, "action": "paint"})


@dataclass(frozen=True, eq=False)
class ScoredPoses:
    """Pixels of poses that were not trained.

    Attributes:
        points: Where the run says that their rays end, scene units.
        truth: Their classes, by place in `class_ids`, -1 for void.
        class_ids: Ids of the classes, ascending.
    """

    points: Float64[ndarray, "pixels 3"]
    truth: Int32[ndarray, "pixels"]
    class_ids: tuple[int, ...]

    @classmethod
    def render(cls, run: Run, num_frames: int) -> "ScoredPoses":
        """Render frames that are spread evenly over those for evaluation."""
        dataset, model = run.pipeline.datamanager.eval_dataset, run.pipeline.model
        generator = FastRayGenerator(dataset.cameras.to(model.device))
        points, truth = [], []
        model.eval()
        for frame in np.unique(np.linspace(0, len(dataset) - 1, num_frames).round().astype(int)).tolist():
            labels = dataset.read_labels(frame)
            pixels = swept_pixels(frame, labels.shape, STRIDE)
            rays = generator(pixels.view(-1, 3)).reshape(pixels.shape[:2])
            with torch.no_grad():
                depth = model.get_outputs_for_camera_ray_bundle(rays)["depth"]
            points.append((rays.origins + rays.directions * depth).reshape(-1, 3).double().cpu().numpy())
            truth.append(labels[::STRIDE, ::STRIDE].reshape(-1).astype(np.int32))
        return cls(np.concatenate(points), np.concatenate(truth), dataset.taxonomy.source_ids)

    def voxels_on(self, surface: LabelSurface) -> Int32[ndarray, "pixels"]:
        """The voxel nearest to each pixel's point."""
        return np.asarray(KDTree(surface.positions).query(self.points)[1], np.int32)

    def score(self, labels: Int16[ndarray, "pixels"]) -> float:
        """MIoU over the classes that occur, from the class ids of the pixels; what is unknown is wrong."""
        unknown = len(self.class_ids)
        places = np.where(labels >= 0, np.searchsorted(self.class_ids, np.maximum(labels, 0)), unknown)
        places = np.minimum(places, unknown)
        confusion = confusion_matrix(torch.from_numpy(places), torch.from_numpy(self.truth), unknown + 1)
        return segmentation_scores(confusion).miou_present


@dataclass(frozen=True)
class Labelling:
    """What one person reached.

    Attributes:
        scores: MIoU after each mark.
        expected: What the session expected of its own accuracy, after each mark.
        seconds: Time of each mark until its frame could be shown.
        undo_seconds: Time to take each of the last marks back, until its frame could be shown.
        fit_seconds: Time after each mark until what looks alike was fitted to it, too, and the person looks again.
        suggest_seconds: Time to find the regions that are suggested, where they are.
        num_guessed: Marks for which the session had guessed the class.
    """

    scores: list[float]
    expected: list[float]
    seconds: list[float]
    undo_seconds: list[float]
    fit_seconds: list[float]
    suggest_seconds: list[float]
    num_guessed: int = 0

    def marks_to(self, level: float) -> int | None:
        """The marks until a score is reached; None if it never was."""
        return next((number for number, score in enumerate(self.scores, 1) if score >= level), None)


def label_by(
    person: Person,
    surface: LabelSurface,
    poses: ScoredPoses,
    num_marks: int,
    seed: int,
    imported: ImportedLabels | None = None,
    import_weight: float = DEFAULT_WEIGHT,
) -> Labelling:
    """Let a person mark, and take the last marks back at the end; with an import, the first score is without marks."""
    rng = np.random.default_rng(seed)
    voxels = poses.voxels_on(surface)
    found, num_guessed = Labelling([], [], [], [], [], []), 0
    with tempfile.TemporaryDirectory() as folder:
        session = LabelSession(surface, Path(folder), imported=imported, import_weight=import_weight)
        try:
            if imported is not None:
                found.scores.append(poses.score(session.voxel_labels()[voxels]))
            for number in range(num_marks):
                if person.view == "regions":
                    started = time.perf_counter()
                    session.ranked_regions()
                    found.suggest_seconds.append(time.perf_counter() - started)
                mark, is_guessed = _next_mark(person, session, rng)
                if mark is None:
                    break
                num_guessed += is_guessed
                started = time.perf_counter()
                session.add_mark(mark, "person", number)
                session.labels(mark.frame)
                found.seconds.append(time.perf_counter() - started)
                session.wait_for_appearance()
                found.fit_seconds.append(time.perf_counter() - started - found.seconds[-1])
                found.scores.append(poses.score(session.voxel_labels()[voxels]))
                found.expected.append(session.progress().expected_accuracy)
            for number in range(min(20, len(found.seconds))):
                started = time.perf_counter()
                session.undo("person", num_marks + number)
                session.labels(0)
                found.undo_seconds.append(time.perf_counter() - started)
        finally:
            session.close()
    return replace(found, num_guessed=num_guessed)


def _next_mark(person: Person, session: LabelSession, rng: np.random.Generator) -> tuple[Mark | None, bool]:
    """The person's next mark, if there is one, and whether the session had guessed its class."""
    if person.view == "regions":
        return person.next_answer(session) or (None, False)
    order = rng.permutation(len(person.truth)).tolist()
    if person.view == "ranked" and session.revision > 0:
        order = [rank.frame for rank in session.ranked_frames()]
    return person.next_mark(lambda frame: session.labels(frame)[::STRIDE, ::STRIDE], order), False


def ceiling(surface: LabelSurface, ids: Int16[ndarray, "frames height width"], poses: ScoredPoses) -> float:
    """The score if each voxel has the class that most pixels of the training images give it: no marks reach more."""
    voxels = np.stack([surface.voxels_of(frame)[::STRIDE, ::STRIDE] for frame in range(len(ids))])
    is_known = (ids >= 0) & (voxels >= 0)
    votes = np.zeros((surface.graph.num_nodes, len(poses.class_ids)), np.int64)
    np.add.at(votes, (voxels[is_known], np.searchsorted(poses.class_ids, ids[is_known])), 1)
    labels = np.where(votes.any(axis=1), np.array(poses.class_ids, np.int16)[votes.argmax(axis=1)], np.int16(-1))
    return poses.score(labels[poses.voxels_on(surface)])


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for each number of voxels, view and seed."""
    surfaces = label_surfaces(options.load_config, options.voxels)
    if options.no_appearance:
        surfaces = [surface.without_features() for surface in surfaces]
    run = load_run(options.load_config)
    poses = ScoredPoses.render(run, options.test_frames)
    dataset = run.pipeline.datamanager.train_dataset
    truth = np.stack([dataset.read_labels(frame)[::STRIDE, ::STRIDE] for frame in range(len(dataset))])
    ids = np.array([*dataset.taxonomy.source_ids, -1], np.int16)[truth]
    for surface in surfaces:
        best = ceiling(surface, ids, poses)
        for view in options.views:
            for seed in options.seeds:
                found = label_by(Person(ids, view), surface, poses, options.marks, seed)
                yield {
                    "voxels": surface.graph.num_nodes,
                    "view": view,
                    "seed": seed,
                    "appearance": not options.no_appearance,
                    "marks_to": {str(level): found.marks_to(level) for level in LEVELS},
                    "ceiling": best,
                    "last_score": found.scores[-1],
                    "mean_score": float(np.mean(found.scores)),
                    "expected_accuracy": found.expected[-1],
                    "guessed": found.num_guessed / len(found.expected) if view == "regions" else None,
                    "mark_ms": quantiles_ms(found.seconds),
                    "undo_ms": quantiles_ms(found.undo_seconds),
                    "fit_ms": quantiles_ms(found.fit_seconds),
                    "suggest_ms": quantiles_ms(found.suggest_seconds) if found.suggest_seconds else None,
                    "scores": found.scores,
                }


def quantiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Median and ninth decile, milliseconds."""
    return {name: float(np.quantile(seconds, share)) * 1000 for name, share in (("p50", 0.5), ("p90", 0.9))}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    header = [
        "voxels",
        "view",
        "seed",
        *(f"{level:.2f}" for level in LEVELS),
        "last",
        "mean",
        "ceiling",
        "guessed",
        "mark ms p50 / p90",
        "undo ms",
        "fit ms",
    ]
    lines = [
        [
            str(row["voxels"]), row["view"], str(row["seed"]),
            *(str(row["marks_to"][str(level)] or "-") for level in LEVELS), f"{row['last_score']:.3f}",
            f"{row['mean_score']:.3f}", f"{row['ceiling']:.3f}",
            "-" if row["guessed"] is None else f"{row['guessed']:.0%}",
            f"{row['mark_ms']['p50']:.0f} / {row['mark_ms']['p90']:.0f}",
            f"{row['undo_ms']['p50']:.0f} / {row['undo_ms']['p90']:.0f}",
            f"{row['fit_ms']['p50']:.0f} / {row['fit_ms']['p90']:.0f}",
        ]
        for row in rows
    ]  # fmt: skip
    return markdown_table(header, lines)


def main() -> None:
    """Let simulated people label a run's scene."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load-config", type=Path, required=True, help="config.yml of a trained run")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--voxels", nargs="+", type=int, default=[20_000, 60_000], help="of the surface, about")
    parser.add_argument("--views", nargs="+", choices=get_args(View), default=["random"], help="where a person looks")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="one person each")
    parser.add_argument("--marks", type=int, default=125, help="of each person")
    parser.add_argument("--test-frames", type=int, default=15, help="that are scored")
    parser.add_argument("--no-appearance", action="store_true", help="without what looks alike, see sns-label")
    options = parser.parse_args()
    rows = []
    for row in measure(options):
        rows.append(row)
        CONSOLE.print({name: value for name, value in row.items() if name != "scores"})
        write_json(options.output, {"load_config": str(options.load_config), "marks": options.marks, "rows": rows})
    CONSOLE.print(table(rows), markup=False)


if __name__ == "__main__":
    main()
