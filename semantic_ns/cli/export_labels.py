"""`sns-export-labels`: dense label images from a trained scene."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command
from semantic_ns.export.labels import Frames, LabelExporter, choose_frames, input_paths
from semantic_ns.interfaces import ImagesLike
from semantic_ns.io.writing import refuse_used_folder
from semantic_ns.runs import load_run


@dataclass
class ExportLabels:
    """Render dense label images with the scene's ids, colour previews and confidence in the layout of the input."""

    load_config: Path
    """The config.yml of the run."""
    output_dir: Path
    """New folder of the files, outside the scene's folder."""
    frames: Frames = "train"
    """Views to render: training frames, test frames, all frames, or a camera path."""
    camera_path_filename: Path | None = None
    """Camera path saved by the viewer, for --frames camera-path."""
    confidence: bool = True
    """Also write a confidence image (0..255 for 0..1) beside each label image."""
    format: Literal["png", "coco", "coco-panoptic", "cvat", "label-studio", "labelme", "voc", "yolo", "cityscapes"] = (
        "png"
    )
    """Annotation tool for which the labels are written as well, into a folder of the output folder with this name;
    sns-import-labels reads it. With png there are the label images alone."""

    def main(self) -> None:
        """Load the run, render the frames, and write into a folder that appears when it is complete."""
        refuse_used_folder(self.output_dir, "--output-dir", is_replaced=True)
        run = load_run(self.load_config)
        datamanager: ImagesLike = run.pipeline.datamanager
        frames = choose_frames(datamanager, self.frames, self.camera_path_filename)
        annotations = None if self.format == "png" else self.format
        exporter = LabelExporter(run.model, self.output_dir, input_paths(datamanager), self.confidence, annotations)
        paths = exporter.export(frames)
        Console().print(f"Wrote {len(paths)} label images to {self.output_dir}", soft_wrap=True, highlight=False)


def entrypoint() -> None:
    """Console script `sns-export-labels`."""
    command = tyro.cli(tyro.conf.FlagConversionOff[ExportLabels])
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
