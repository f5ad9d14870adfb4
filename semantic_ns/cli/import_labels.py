"""`sns-import-labels`: annotations made with other tools into a scene in nerfstudio's format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command


@dataclass
class ImportLabels:
    """Write annotations of other tools into a scene as nerfstudio-semantic-data reads it.

    Images are matched by file name without folder and suffix, or by their content. Pixels in no annotation are void.
    The formats are COCO (instances, panoptic, Roboflow), LabelMe, CVAT XML, Label Studio, Labelbox, YOLO outlines, the
    VGG Image Annotator, Supervisely, masks of CVAT or PASCAL VOC, and label images (PNG or .npy).
    """

    scene: tyro.conf.Positional[Path]
    """Folder with transforms.json, with files per split, or with a COLMAP model. Label images are written to its
    subfolder semantics."""
    labels: tyro.conf.Positional[Path]
    """Annotations: a file, a folder of files, masks or label images, or a zip file as the tool exported it."""
    format: Literal[
        "auto",
        "coco",
        "labelme",
        "voc",
        "png",
        "cvat",
        "label-studio",
        "labelbox",
        "via",
        "supervisely",
        "yolo",
        "cityscapes",
    ] = "auto"
    """Format of the annotations; auto detects it from the content."""
    classes: Path | None = None
    """Class table: CSV (id,name[,r,g,b][,is_thing]), JSON, or text with one name per line (ids 0, 1, 2, ...). It is
    required for label images; the other formats contain their classes."""
    unlabelled: str | None = None
    """Class of pixels outside all annotations, such as background; by default they are void."""
    overwrite: bool = False
    """Replace existing label images."""
    orientation: Literal["upright", "stored"] = "upright"
    """For images with an EXIF orientation: whether annotations were made on the upright picture, which tools show, or
    on the stored pixels."""
    photos: Path | None = None
    """Folder of the annotated photos, where the scene's images have other names, as after ns-process-data: frames are
    then found by what they show. Photos beside the annotations are found without it."""
    dry_run: bool = False
    """Read and check everything and report what would be written, but write nothing."""

    def main(self) -> None:
        """Read the annotations, write them into the scene and tell what was written."""
        # Slow to import, and not needed to show the help.
        from semantic_ns.annotations.formats import read_annotations
        from semantic_ns.annotations.scene_labels import ImportOptions, import_labels

        annotations = read_annotations(self.labels, self.format, self.classes)
        options = ImportOptions(
            self.unlabelled, self.overwrite, self.dry_run, self.orientation == "stored", self.photos
        )
        summary = import_labels(self.scene, annotations, options)
        for line in summary.lines():
            Console().print(line, soft_wrap=True, highlight=False, markup=False)


def entrypoint() -> None:
    """Console script `sns-import-labels`."""
    command = tyro.cli(ImportLabels)
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
