"""`sns-export dataset`: images, labels, depth and cameras as a new scene, or for Hugging Face's datasets."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console

from semantic_ns.errors import SceneError

if TYPE_CHECKING:  # slow to import, and not needed to refuse a wrong option
    from semantic_ns.datasets.scene_splits import Split
    from semantic_ns.export.dataset_files import DatasetWriter, Layers
    from semantic_ns.labels.taxonomy import Taxonomy


@dataclass
class ExportDataset:
    """Write images, labels, depth, masks and cameras as a new scene in nerfstudio's format, which semantic-data reads.

    With --format huggingface they are a folder that load_dataset of Hugging Face's datasets opens, with a data card.
    Of a run, labels and depth are those that it renders, of a scene they are its own. Written is every frame of the
    training and test splits, and of the validation split where it differs; the new scene has the same splits. Cameras
    lie in the world of the scene's files.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """The config.yml of a run, or the folder of a scene in any layout that semantic-data reads."""
    output_dir: Path
    """New folder of the scene, outside its input."""
    format: Literal["nerfstudio", "huggingface"] = "nerfstudio"
    """Layout of the folder. With huggingface a frame of several splits is in the first of them alone."""
    license: str | None = None
    """Licence of the images for the data card, as the Hugging Face hub names it, such as cc-by-4.0. Without it the card
    says unknown."""

    def main(self) -> None:
        """Read, render, and write into a folder that appears when it is complete."""
        from semantic_ns.io.console import tracked
        from semantic_ns.io.writing import making_folder, refuse_inside, refuse_used_folder

        self._check_license()
        refuse_used_folder(self.output_dir, "--output-dir", is_replaced=True)
        is_run = self.source.suffix.lower() in (".yml", ".yaml")
        content = self._run() if is_run else self._scene()
        refuse_inside(self.output_dir, content.inputs, "--output-dir")
        writer = self._writer(content)
        with making_folder(self.output_dir) as folder:
            writing = writer(track=tracked("Writing frames"))
            number = writing.write(content.splits, folder)
        said = "rendered by the run" if content.is_rendered else "of the scene"
        Console(soft_wrap=True, highlight=False, markup=False).print(
            f"Wrote {number} frames, with labels and depth {said}, to {self.output_dir}"
        )
        if writing.fit.sentence:
            Console(soft_wrap=True, highlight=False, markup=False).print(writing.fit.sentence)

    def _check_license(self) -> None:
        if self.license is None:
            return
        from semantic_ns.export.huggingface_files import refuse_license

        if self.format != "huggingface":
            raise SceneError("Expected --format huggingface with --license, found nerfstudio; leave one of them out.")
        refuse_license(self.license)

    def _writer(self, content: "_Content") -> "partial[DatasetWriter]":
        from semantic_ns.export.dataset_files import DatasetWriter
        from semantic_ns.export.huggingface_files import UNKNOWN_LICENSE, HuggingFaceWriter, Provenance

        if self.format == "nerfstudio":
            return partial(DatasetWriter, content.taxonomy, content.layers_of)
        origin = Provenance(content.name, content.is_rendered, self.license or UNKNOWN_LICENSE)
        return partial(HuggingFaceWriter, content.taxonomy, content.layers_of, provenance=origin)

    def _run(self) -> "_Content":
        from semantic_ns.datasets.scene_splits import read_splits
        from semantic_ns.export.dataset_files import rendered_layers
        from semantic_ns.export.labels import input_paths
        from semantic_ns.runs import load_run

        run = load_run(self.source, option="SOURCE")
        data = run.pipeline.datamanager
        name = _name_of(Path(data.config.dataparser.data))
        layers_of = partial(rendered_layers, run.model)
        # As the run sees them: Gaussians are drawn by pinhole cameras, whose images are undistorted.
        splits = read_splits(run.parser_config.setup(), type(data.train_dataset))
        return _Content(run.model.taxonomy, layers_of, splits, input_paths(data), name, is_rendered=True)

    def _scene(self) -> "_Content":
        from semantic_ns.dataparsers import metadata as keys
        from semantic_ns.dataparsers.auto import AutoDataParserConfig
        from semantic_ns.datasets.scene_splits import read_splits
        from semantic_ns.export.dataset_files import given_layers

        splits = read_splits(AutoDataParserConfig(data=self.source, labels_optional=True).setup())
        inputs = {self.source if self.source.is_dir() else self.source.parent}
        for split in splits.values():
            inputs.update(split.dataset.image_filenames)
        taxonomy = splits["train"].dataset.metadata[keys.TAXONOMY]
        return _Content(taxonomy, given_layers, splits, sorted(inputs), _name_of(self.source), is_rendered=False)


@dataclass(frozen=True, eq=False)
class _Content:
    """What is written: the classes, the frames of splits with what is known of them, and where they came from."""

    taxonomy: "Taxonomy"
    layers_of: "Callable[[Split, int], Layers]"
    splits: "dict[str, Split]"
    inputs: list[Path]
    name: str
    is_rendered: bool


def _name_of(scene: Path) -> str:
    """The name of a scene's folder, without where it lies."""
    folder = scene.resolve()
    return (folder if folder.is_dir() else folder.parent).name or "scene"
