"""Render dense labels of every training image, and compare them with the labels of the scene.

`LabelExporter` writes label images with the ids of the input, as `sns-export-labels` does. The scores are those of the
package: one confusion matrix over all pixels that have a label.

    python examples/04_export_labels.py --load-config outputs/few-clicks/semantic-nerf/TIME/config.yml --output labels
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from semantic_ns.evaluation.metrics import SegmentationScores, confusion_matrix, segmentation_scores
from semantic_ns.export.labels import LabelExporter, choose_frames, input_paths
from semantic_ns.io.images import read_label_image
from semantic_ns.runs import load_run


def export_and_score(load_config: Path, output: Path) -> tuple[list[Path], SegmentationScores]:
    """Write the labels of the training images; their paths, and their scores against the labels of the scene."""
    run = load_run(load_config)
    datamanager = run.pipeline.datamanager
    frames = choose_frames(datamanager, "train", None)
    paths = LabelExporter(run.model, output, input_paths(datamanager)).export(frames)
    dataset = datamanager.train_dataset
    taxonomy = dataset.taxonomy
    confusion = torch.zeros(taxonomy.num_classes, taxonomy.num_classes, dtype=torch.int64)
    for index, path in enumerate(paths):
        given = torch.from_numpy(dataset.labels_of(index))  # classes 0..C-1, void -1
        exported = torch.from_numpy(taxonomy.encode(read_label_image(path), str(path)))  # ids to classes
        confusion += confusion_matrix(exported, given, taxonomy.num_classes)
    return paths, segmentation_scores(confusion)


def main(arguments: Sequence[str] | None = None) -> None:
    """Export, and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load-config", type=Path, required=True, help="the run's config.yml")
    parser.add_argument("--output", type=Path, required=True, help="new folder for the label images")
    options = parser.parse_args(arguments)
    paths, scores = export_and_score(options.load_config, options.output)
    print(f"Wrote {len(paths)} label images to {options.output}")
    print(f"miou_present: {scores.miou_present:.3f}, pixel_accuracy: {scores.pixel_accuracy:.3f}")


if __name__ == "__main__":
    main()
