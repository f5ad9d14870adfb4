"""How well things are told apart one by one, on a trained run of a scene with true instance images.

The true instances of the training images become masks whose ids are drawn anew in every frame, and are then spoiled: a
share is cut in two through its middle, a share is missing, and a share is swallowed by a neighbour in the image. Each
way to join them gives every pixel of the test images an instance; the class of the pixel is the one that the run
renders. Scored are all test images as one, so that an id must hold in all of them, and each image by itself. True
pixels of the classes of things without an instance, and those that are void, are not scored.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int32
from numpy import ndarray
from rich.console import Console

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.evaluation.metrics import confusion_matrix, segmentation_scores
from semantic_ns.evaluation.panoptic import PanopticCounts, Segments, match_segments
from semantic_ns.export.instance_surface import (
    LabelledVoxels,
    SurfaceInstances,
    edge_of,
    find_instances,
    label_voxels,
)
from semantic_ns.export.surface_files import Precision
from semantic_ns.export.surface_views import SceneSurface, SurfaceView, given_depth, render_views
from semantic_ns.instances.association import complete, join_masks
from semantic_ns.instances.baselines import assigned_frame_by_frame, trusted_ids, voted
from semantic_ns.instances.masks import FrameMasks, MaskSets
from semantic_ns.io.text import markdown_table
from semantic_ns.io.writing import write_json
from semantic_ns.runs import load_run

CONSOLE = Console(soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class Spoiling:
    """What is wrong with masks: shares of them.

    Attributes:
        name: Of the row.
        cut: Share that is cut in two.
        missing: Share that is missing.
        swallowed: Share that has become part of a neighbour.
    """

    name: str
    cut: float = 0.0
    missing: float = 0.0
    swallowed: float = 0.0


SPOILINGS = (
    Spoiling("ids permuted"),
    Spoiling("20 % cut, 20 % missing", 0.2, 0.2),
    Spoiling("and 20 % swallowed", 0.2, 0.2, 0.2),
)


def spoiled(
    instances: Int32[ndarray, "height width"], spoiling: Spoiling, rng: np.random.Generator
) -> Int32[ndarray, "height width"]:
    """The masks of one frame with new ids, from its true instances (0 for none).

    Each mask is swallowed, missing or cut with the given probabilities, one after the other. A swallowed one gets the
    id of the mask with which it has the longest border; if it has none, it stays.
    """
    masks = np.zeros_like(instances)
    numbers = np.unique(instances[instances > 0])
    new_ids = dict(zip(numbers.tolist(), rng.permutation(999)[: len(numbers)].tolist(), strict=True))
    for number in numbers.tolist():
        is_own = instances == number
        new_id = new_ids[number] + 1
        if rng.random() < spoiling.swallowed:
            around = neighbours_of(instances, number)
            new_id = new_ids[around] + 1 if around else new_id
        masks[is_own] = new_id
        if rng.random() < spoiling.missing:
            masks[is_own] = 0
        elif rng.random() < spoiling.cut:
            places = np.argwhere(is_own)
            angle = rng.uniform(0, np.pi)
            side = (places - places.mean(axis=0)) @ np.array([np.cos(angle), np.sin(angle)]) > 0
            masks[tuple(places[side].T)] = new_id + 1000
    return masks


def neighbours_of(instances: Int32[ndarray, "height width"], number: int) -> int:
    """The instance with the longest border with one, 0 if there is none."""
    pairs = [(instances[:, 1:], instances[:, :-1]), (instances[1:], instances[:-1])]
    found = np.concatenate([b[(a == number)] for pair in pairs for a, b in (pair, pair[::-1])])
    found = found[(found > 0) & (found != number)]
    return int(np.bincount(found).argmax()) if len(found) else 0


@dataclass(frozen=True, eq=False)
class Scene:
    """What is known of a scene and its test images.

    Attributes:
        surface: The voxels.
        views: The training images.
        instances: True instances of things in each training image, 0 for none.
        test: The test images as the run renders them.
        truth: Their true classes and instances.
    """

    surface: LabelledVoxels
    views: Sequence[SurfaceView]
    instances: Sequence[Int32[ndarray, "_height _width"]]
    test: Sequence[SurfaceView]
    truth: Sequence[Segments]

    @cached_property
    def shown(self) -> list[ndarray]:
        """The voxels that each test image shows."""
        return [self.surface.shown_by(view) for view in self.test]

    def score(self, ids: Int32[ndarray, "voxels"]) -> dict[str, Any]:
        """Quality of the instances of the voxels on the test images."""
        found = SurfaceInstances(self.surface, ids)
        images = [
            Segments(view.labels.reshape(-1), found.of(voxels).reshape(-1))
            for view, voxels in zip(self.test, self.shown, strict=True)
        ]
        is_thing = self.surface.is_thing
        scene = match_segments(joined(images), joined(self.truth), is_thing)
        counts: PanopticCounts | None = None
        for image, truth in zip(images, self.truth, strict=True):
            one = match_segments(image, truth, is_thing)
            counts = one if counts is None else counts + one
        assert counts is not None
        things = scene.things
        return {
            "pq_scene_things": things.pq, "sq": things.sq, "rq": things.rq,
            "matched": things.matched, "surplus": things.surplus, "missed": things.missed,
            "pq_scene": scene.scores().pq, "pq_things": counts.things.pq, "pq": counts.scores().pq,
            "instances": found.count,
        }  # fmt: skip


def joined(images: Sequence[Segments]) -> Segments:
    """All images as one."""
    return Segments(
        np.concatenate([image.classes for image in images]), np.concatenate([image.instances for image in images])
    )


def read_scene(load_config: Path, depth: str, scale: float) -> Scene:
    """Load a run, render its images, and read the true instances."""
    run = load_run(load_config)
    data: Any = run.pipeline.datamanager
    taxonomy = run.model.taxonomy
    train, test = data.train_dataset, data.eval_dataset
    given, source = given_depth(train, depth)  # pyright: ignore[reportArgumentType]
    views = render_views(run.model, train, data.train_dataparser_outputs, given)
    shown = render_views(run.model, test, data.train_dataparser_outputs)
    started = time.perf_counter()
    precision = Precision.of(SceneSurface(views, "m", source, given is not None))
    edge = scale * edge_of(precision.pixel_side, precision.difference)
    surface = label_voxels(views, taxonomy, precision.tolerance, edge)
    CONSOLE.print(
        f"{len(surface.voxels)} voxels of {edge * 1000:.0f} mm, difference {precision.difference * 1000:.0f} mm, "
        f"{time.perf_counter() - started:.1f} s; depth: {source}"
    )
    things = np.array([*taxonomy.is_thing, False])

    def instances_of(dataset: Any, index: int) -> ndarray:
        ids = dataset.read_ids(dataset.metadata[keys.INSTANCE_FILENAMES][index], index)
        return np.where(things[dataset.read_labels(index)], ids, 0).astype(np.int32)

    truth = [
        Segments(test.read_labels(index).reshape(-1), instances_of(test, index).reshape(-1))
        for index in range(len(test))
    ]
    instances = [instances_of(train, index) for index in range(len(train))]
    confusion = torch.zeros(taxonomy.num_classes, taxonomy.num_classes, dtype=torch.int64)
    for view, image in zip(shown, truth, strict=True):
        found, true = torch.from_numpy(view.labels.reshape(-1)), torch.from_numpy(image.classes)
        confusion += confusion_matrix(found[found >= 0], true[found >= 0], taxonomy.num_classes)
    miou = segmentation_scores(confusion).miou_present
    CONSOLE.print(f"mIoU of the classes that the run renders, where it shows a surface: {miou:.3f}")
    return Scene(surface, views, instances, shown, truth)


def measure(scene: Scene, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """One row for each spoiling, way and seed, and one for the connected parts."""
    surface = scene.surface
    yield {"masks": "none", "way": "connected parts", "seed": 0, **scene.score(find_instances(surface).ids)}
    true = [surface.seen_by(view, image) for view, image in zip(scene.views, scene.instances, strict=True)]
    sets = MaskSets.of(true, surface.classes, surface.is_thing)
    yield {
        "masks": "true ids",
        "way": "as they are",
        "seed": 0,
        **scene.score(filled(scene, voted(sets, trusted_ids(sets)), sets)),
    }
    for spoiling in SPOILINGS:
        for seed in seeds:
            rng = np.random.default_rng(seed)
            frames = [
                surface.seen_by(view, spoiled(image, spoiling, rng))
                for view, image in zip(scene.views, scene.instances, strict=True)
            ]
            yield from rows_of(scene, frames, spoiling.name, seed)


def rows_of(scene: Scene, frames: Sequence[FrameMasks], name: str, seed: int) -> Iterator[dict[str, Any]]:
    """The ways to join masks, compared."""
    surface = scene.surface
    sets = MaskSets.of(frames, surface.classes, surface.is_thing)
    ways = {
        "as they are": lambda: voted(sets, trusted_ids(sets)),
        "frame by frame": lambda: voted(sets, assigned_frame_by_frame(sets)),
        "joined": lambda: join_masks(sets, surface.classes),
    }
    for way, ids_of in ways.items():
        started = time.process_time()
        ids = ids_of()
        seconds = time.process_time() - started
        row = {"masks": name, "way": way, "seed": seed, "num_masks": len(sets), "seconds": seconds}
        yield {**row, **scene.score(filled(scene, ids, sets))}


def filled(scene: Scene, ids: Int32[ndarray, "voxels"], sets: MaskSets) -> Int32[ndarray, "voxels"]:
    """Ids of all voxels of things."""
    return complete(ids, scene.surface.parts, scene.surface.classes, scene.surface.centres, sets)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    header = ["masks", "way", "seed", "PQ scene, things", "SQ", "RQ", "matched / surplus / missed", "PQ scene, all",
              "PQ per image, things", "CPU s"]  # fmt: skip
    lines = [
        [
            row["masks"], row["way"], str(row["seed"]),
            *(f"{row[name]:.3f}" for name in ("pq_scene_things", "sq", "rq")),
            f"{row['matched']} / {row['surplus']} / {row['missed']}",
            f"{row['pq_scene']:.3f}", f"{row['pq_things']:.3f}", f"{row.get('seconds', 0):.2f}",
        ]
        for row in rows
    ]  # fmt: skip
    return markdown_table(header, lines)


def main() -> None:
    """Score instances on a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load-config", type=Path, required=True, help="config.yml of a run on a scene with instances")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--depth", choices=["auto", "given", "rendered"], default="auto", help="see sns-export")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the spoiling")
    parser.add_argument("--edge-scale", type=float, default=1.0, help="factor on the edge of the voxels")
    options = parser.parse_args()
    scene = read_scene(options.load_config, options.depth, options.edge_scale)
    rows = []
    for row in measure(scene, options.seeds):
        rows.append(row)
        CONSOLE.print(row)
        write_json(options.output, {"load_config": str(options.load_config), "depth": options.depth, "rows": rows})
    CONSOLE.print(table(rows), markup=False)


if __name__ == "__main__":
    main()
