"""How much imported predictions save a simulated person, by their weight and by how wrong they are.

The predictions are the true labels of the training images, of which some are wrong. `regions`: each connected region of
each image gets a random class with the given probability, in each image anew. `classes`: this share of the classes is
taken for another one, in all images alike. The person is that of `benchmarks.label_marks`, at few voxels.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Int16
from numpy import ndarray
from scipy.ndimage import label

from benchmarks.label_marks import CONSOLE, STRIDE, Person, ScoredPoses, label_by
from semantic_ns.io.text import markdown_table
from semantic_ns.io.writing import write_json
from semantic_ns.labelling.imports import NO_LABEL, ImportedLabels
from semantic_ns.labelling.opening import label_surfaces
from semantic_ns.labels.class_table import ClassEntry
from semantic_ns.runs import load_run

Mistakes = Literal["regions", "classes"]
AT = (0, 10, 25, 50, 100)


def predictions(
    ids: Int16[ndarray, "frames height width"], mistakes: Mistakes, rate: float, seed: int
) -> Int16[ndarray, "frames height width"]:
    """Labels of which some are wrong."""
    rng = np.random.default_rng(seed)
    classes = np.unique(ids[ids >= 0])
    found = ids.copy()
    if mistakes == "classes":
        for number in rng.permutation(classes)[: round(rate * len(classes))]:
            found[ids == number] = rng.choice(classes[classes != number])
        return found
    for frame, image in enumerate(ids):
        for number in np.unique(image[image >= 0]):
            regions = np.zeros(image.shape, np.int32)
            label(image == number, output=regions)
            for region in range(1, int(regions.max()) + 1):
                if rng.random() < rate:
                    found[frame][regions == region] = rng.choice(classes[classes != number])
    return found


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for each kind of mistakes, rate and weight; the first is without an import."""
    (surface,) = label_surfaces(options.load_config, [options.voxels])
    run = load_run(options.load_config)
    poses = ScoredPoses.render(run, options.test_frames)
    dataset = run.pipeline.datamanager.train_dataset
    table = np.array([*dataset.taxonomy.source_ids, -1], np.int16)
    ids = np.stack([table[dataset.read_labels(frame)] for frame in range(len(dataset))])
    person = Person(np.ascontiguousarray(ids[:, ::STRIDE, ::STRIDE]), "random")
    plain = label_by(person, surface, poses, options.marks, options.seed)
    yield {"mistakes": "no import", "rate": 0.0, "weight": 0.0, "scores": plain.scores}
    for mistakes in options.mistakes:
        for rate in options.rates:
            predicted = predictions(ids, mistakes, rate, options.seed)
            classes = tuple(
                ClassEntry(int(number), name, color, is_thing)
                for number, name, color, is_thing in zip(
                    dataset.taxonomy.source_ids, dataset.taxonomy.names, dataset.taxonomy.colors,
                    dataset.taxonomy.is_thing, strict=True,
                )
                if (predicted == number).any()
            )  # fmt: skip
            imported = ImportedLabels.of("predictions", np.where(predicted < 0, NO_LABEL, predicted), classes)
            for weight in options.weights:
                found = label_by(person, surface, poses, options.marks, options.seed, imported, weight)
                yield {"mistakes": mistakes, "rate": rate, "weight": weight, "scores": found.scores}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown: mIoU after some numbers of marks."""
    lines = [
        [row["mistakes"], f"{row['rate']:.0%}", f"{row['weight']:g}"]
        + [f"{row['scores'][number]:.3f}" if number < len(row["scores"]) else "-" for number in AT]
        for row in rows
    ]
    return markdown_table(["mistakes", "rate", "weight", *(f"{number} marks" for number in AT)], lines)


def main() -> None:
    """Let a simulated person correct predictions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load-config", type=Path, required=True, help="config.yml of a trained run")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--voxels", type=int, default=20_000, help="of the surface, about")
    parser.add_argument("--mistakes", nargs="+", choices=get_args(Mistakes), default=list(get_args(Mistakes)))
    parser.add_argument("--rates", nargs="+", type=float, default=[0.1, 0.3], help="of mistakes")
    parser.add_argument("--weights", nargs="+", type=float, default=[1e-4, 1e-3, 1e-2, 1e-1], help="of the import")
    parser.add_argument("--seed", type=int, default=0, help="of mistakes and person")
    parser.add_argument("--marks", type=int, default=51, help="of the person")
    parser.add_argument("--test-frames", type=int, default=8, help="that are scored")
    options = parser.parse_args()
    rows = []
    for row in measure(options):
        rows.append(row)
        CONSOLE.print({name: value for name, value in row.items() if name != "scores"}, row["scores"][:51:10])
        write_json(options.output, {"load_config": str(options.load_config), "rows": rows})
    CONSOLE.print(table(rows), markup=False)


if __name__ == "__main__":
    main()
