"""What a trained scene would have labelled next, as pictures and a list."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int16, Int32
from numpy import ndarray

from semantic_ns.active_learning.config import Cost, SelectionConfig, Unit
from semantic_ns.active_learning.pool.pool import render_pool
from semantic_ns.active_learning.pool.units import Units, divide
from semantic_ns.active_learning.rounds.folder_oracle import boxes_of, draw_units
from semantic_ns.active_learning.strategies.candidates import Choice
from semantic_ns.active_learning.strategies.selection import choose, required_statistics
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.geometry.rays import FastRayGenerator
from semantic_ns.interfaces import PipelineLike
from semantic_ns.io.writing import write_errors_as_scene_error, write_json, write_png
from semantic_ns.labels.taxonomy import VOID

LIST_FILE = "suggestions.json"


def have_labels(units: Units, seen: Sequence[Int16[ndarray, "_height _width"]], unit: Unit) -> Bool[ndarray, "units"]:
    """Units with a label: pixels and regions, which one click labels, with any; frames from half of their pixels on.

    Args:
        units: division of the training images.
        seen: Labels of these images as training saw them, -1 for none.
        unit: what the units are.
    """
    counts = np.zeros(len(units), np.int64)
    for units_of_pixels, labels in zip(units.maps, seen, strict=True):
        numbers, of_unit = np.unique(units_of_pixels[labels != VOID], return_counts=True)
        counts[numbers] = of_unit
    return 2 * counts >= units.num_pixels if unit == "frame" else counts > 0


def suggest(pipeline: PipelineLike, budget: int, config: SelectionConfig) -> tuple[Units, Choice]:
    """The next units worth a label (slow: renders the training images).

    Args:
        pipeline: The model and data of a run, see `load_run`.
        budget: number of units.
        config: strategy and unit.

    Raises:
        SceneError: if the run is not of semantic-nerf, has no classes, or every unit has labels.
    """
    model, datamanager = pipeline.model, pipeline.datamanager
    dataset = datamanager.train_dataset
    # Before anything else: it refuses a model that it cannot render.
    generator = FastRayGenerator(dataset.cameras.to(model.device))
    pool = render_pool(model, generator, dataset.cameras, needs=required_statistics(config.strategy))
    images = [dataset.color_of(i).numpy() for i in range(len(dataset))]
    units = divide(images, config.unit, config.region_pixels)
    labelled = have_labels(units, datamanager.training_labels, config.unit)
    revealed = pipeline.revealed_labels
    if revealed is not None and revealed.matches(units, config):
        labelled |= revealed.is_asked(len(units))  # those that were answered with void, too
    if labelled.all():
        raise SceneError(
            f"Expected something without labels, found labels on every {config.unit} of {len(images)} training images; "
            "there is nothing to suggest."
        )
    cost: Cost = "frames" if config.unit == "frame" else "clicks"
    return units, choose(pool, units, labelled, float(budget), cost, config, seed=0)


def write_suggestions(
    folder: Path, dataset: SemanticDataset, units: Units, choice: Choice, config: SelectionConfig
) -> None:
    """Write `suggestions.json`, and for each frame with a suggestion a picture and an image of numbers.

    `frame_<frame>.png` shows the frame with its units outlined and numbered from the best; `frame_<frame>_units.png`
    (8 or 16 bit) has these numbers as values, 0 elsewhere. The list has, best first, rank, image, frame (of the
    training images, from 0), unit, number in the picture, box (left, top inclusive; right, bottom exclusive; pixels),
    number of pixels, score (null where nothing but chance spoke for it), and the names of both files.
    All pixels are those of the photo, also where training sees it without the distortion of its lens.

    Raises:
        SceneError: if the folder cannot be written to.
    """
    entries: dict[int, dict[str, Any]] = {}
    frames = units.frames[choice.chosen]
    with write_errors_as_scene_error(folder):
        for frame in np.unique(frames).tolist():
            places = np.flatnonzero(frames == frame)
            numbers = dataset.parts_as_stored(_numbers(units, frame, choice.chosen[places]), frame)
            name = f"frame_{frame:04d}"
            colors = dataset.stored_color_of(frame)
            write_png(folder / f"{name}.png", draw_units(colors, numbers))
            write_png(folder / f"{name}_units.png", numbers.astype(np.uint8 if len(places) < 256 else np.uint16))
            for number, (place, box) in enumerate(zip(places.tolist(), boxes_of(numbers, len(places)), strict=True), 1):
                score = float(choice.scores[place])
                entries[place] = {
                    "rank": place + 1,
                    "image": str(dataset.image_filenames[frame]),
                    "frame": frame,
                    "unit": int(choice.chosen[place]),
                    "number": number,
                    "box": box,
                    "pixels": int((numbers == number).sum()),
                    "score": score if np.isfinite(score) else None,
                    "picture": f"{name}.png",
                    "image_of_units": f"{name}_units.png",
                }
        # The list comes last: where it exists, everything is there.
        options = {"strategy": config.strategy, "unit": config.unit}
        write_json(folder / LIST_FILE, options | {"suggestions": [entries[place] for place in sorted(entries)]})


def _numbers(units: Units, frame: int, chosen: ndarray) -> Int32[ndarray, "height width"]:
    """The place, from 1, of each pixel's unit among those chosen of a frame; 0: not chosen."""
    ascending = np.argsort(chosen)
    found = np.searchsorted(chosen, units.maps[frame], sorter=ascending)
    places = ascending[np.minimum(found, len(chosen) - 1)]
    return np.where(chosen[places] == units.maps[frame], places + 1, 0).astype(np.int32)
