"""Precision and recall of `sns-audit-labels` on errors planted in the training labels of a copy of a scene."""

import argparse
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.audit.planted_errors import Listed, Planted, plant, precision_and_recall, recall_by_kind
from semantic_ns.audit.regions import RegionRule
from semantic_ns.audit.report import summary, write_audit
from semantic_ns.audit.run import TrainedRun, audit, render_run
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParser, AutoDataParserConfig
from semantic_ns.errors import SceneError
from semantic_ns.io.images import read_label_image
from semantic_ns.io.writing import refuse_used_folder, write_json, write_png
from semantic_ns.runs import load_run

RANKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
CONSOLE = Console(soft_wrap=True, highlight=False)


def copy_with_errors(scene: Path, copy: Path, shares: dict[str, float], seed: int, smallest: int) -> list[Planted]:
    """Copy a scene (files are links to its own, but for changed labels) and plant errors in its training labels."""
    # Without links to folders: a changed file must never be one of the scene.
    shutil.copytree(scene.resolve(), copy, copy_function=os.symlink)
    outputs = AutoDataParser(AutoDataParserConfig(data=copy)).get_dataparser_outputs("train")
    if outputs.metadata[keys.LABEL_MAP] is not None:
        raise SceneError(f"Expected label images with the ids of the scene's classes, found others in {scene}.")
    numbered = [(i, path) for i, path in enumerate(outputs.metadata[keys.LABEL_FILENAMES]) if path is not None]
    images = [read_label_image(path) for _, path in numbered]
    changed, planted = plant(images, outputs.metadata[keys.TAXONOMY].source_ids, shares, seed, smallest)
    for (_, path), before, after in zip(numbered, images, changed, strict=True):
        if (before != after).any():
            path.unlink()
            write_png(path, after.astype(np.uint16))
    return [replace(error, frame=numbered[error.frame][0]) for error in planted]


def train(scene: Path, output: Path, options: argparse.Namespace) -> Path:
    """Train with the command line and return the run's config.yml."""
    command = [
        str(Path(sys.executable).parent / "ns-train"), options.method, "--data", str(scene), "--output-dir",
        str(output), "--experiment-name", "audit", "--timestamp", "run", "--vis", "tensorboard",
        "--max-num-iterations", str(options.max_num_iterations), "--machine.seed", str(options.seed),
        # As the README says to: else a few errors do not keep labels from being taken as they are.
        "--pipeline.propagation.clean-noise-rate", "0",
    ]  # fmt: skip
    subprocess.run(command, check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    return output / "audit" / options.method / "run" / "config.yml"


def listed_regions(run: TrainedRun, options: argparse.Namespace, folder: Path) -> list[Listed]:
    """The regions that the audit lists, which it also writes to a folder."""
    rule = RegionRule(options.min_area, options.min_confidence, options.border_px)
    findings = audit(run, rule, options.max_regions)
    CONSOLE.print(summary(run, findings))
    write_audit(folder, run, findings)
    listed = []
    for finding in findings:
        image = run.images[finding.region.frame]
        mask = np.zeros(image.given.shape, bool)
        mask[finding.region.pixels] = True
        listed.append(Listed(image.index, mask, run.dataset.taxonomy.source_ids[finding.region.suggested]))
    return listed


def show(result: dict[str, Any]) -> None:
    """Print the figures."""
    table = Table(title=f"{result['num_planted']} planted errors, {result['num_listed']} listed regions")
    columns = ("regions", "precision", "precision_with_class", "recall")
    for name in columns:
        table.add_column(name.replace("_", " "), justify="right")
    for row in result["by_rank"]:
        table.add_row(str(row["regions"]), *["-" if row[name] is None else f"{row[name]:.3f}" for name in columns[1:]])
    CONSOLE.print(table)
    CONSOLE.print("Recall by kind:", {kind: round(recall, 3) for kind, recall in result["recall_by_kind"].items()})


def main() -> None:
    """Plant, train, audit, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scene", type=Path, required=True, help="scene whose label images hold its classes' ids")
    parser.add_argument("--output", type=Path, required=True, help="new folder for the copy, the run and the audit")
    parser.add_argument("--method", default="semantic-nerf", help="the method to train")
    parser.add_argument("--max-num-iterations", type=int, default=2000, help="training steps")
    parser.add_argument("--seed", type=int, default=0, help="of the errors and of the training")
    parser.add_argument("--instances", type=float, default=0.2, help="share of images with a wrong region")
    parser.add_argument("--blobs", type=float, default=0.2, help="share of images with a wrong disc")
    parser.add_argument("--swaps", type=float, default=0.1, help="share of images with two classes swapped")
    parser.add_argument("--smallest", type=int, default=100, help="smallest planted error in pixels")
    parser.add_argument("--min-area", type=int, default=20, help="of the audit")
    parser.add_argument("--min-confidence", type=float, default=0.5, help="of the audit")
    parser.add_argument("--border-px", type=int, default=2, help="of the audit")
    parser.add_argument("--max-regions", type=int, default=500, help="of the audit")
    options = parser.parse_args()
    refuse_used_folder(options.output, "--output")
    output = options.output.resolve()
    shares = {"instance": options.instances, "blob": options.blobs, "swap": options.swaps}
    planted = copy_with_errors(options.scene, output / "scene", shares, options.seed, options.smallest)
    run = render_run(load_run(train(output / "scene", output, options)).pipeline)
    listed = listed_regions(run, options, output / "audit_list")
    ranks = [rank for rank in RANKS if rank < len(listed)] + [len(listed)]
    result = {
        "options": {name: str(value) for name, value in vars(options).items()},
        "num_images": len(run.images),
        "num_planted": sum(error.is_to_be_found for error in planted),
        "num_listed": len(listed),
        "by_rank": [
            {name: None if math.isnan(value) else value for name, value in row.items()}
            for row in precision_and_recall(listed, planted, ranks)
        ],
        "recall_by_kind": recall_by_kind(listed, planted),
    }
    write_json(output / "precision_recall.json", result)
    show(result)


if __name__ == "__main__":
    main()
