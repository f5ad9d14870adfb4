"""`sns-export dataset`: images, labels, depth and cameras as a new scene in nerfstudio's format."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

if TYPE_CHECKING:  # slow to import, and not needed to refuse a wrong option
    from semantic_ns.datasets.scene_splits import Split
    from semantic_ns.export.dataset_files import DatasetWriter


@dataclass
class ExportDataset:
    """Write images, labels, depth, masks and cameras as a new scene in nerfstudio's format, which semantic-data reads.

    Of a run, labels and depth are those that it renders, of a scene they are its own. Written is every frame of the
    training and test splits, and of the validation split where it differs; the new scene has the same splits. Cameras
    lie in the world of the scene's files.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """The config.yml of a run, or the folder of a scene in any layout that semantic-data reads."""
    output_dir: Path
    """New folder of the scene, outside its input."""

    def main(self) -> None:
        """Read, render, and write into a folder that appears when it is complete."""
        from semantic_ns.export.dataset_files import tracked
        from semantic_ns.io.writing import making_folder, refuse_inside, refuse_used_folder

        refuse_used_folder(self.output_dir, "--output-dir", is_replaced=True)
        is_run = self.source.suffix.lower() in (".yml", ".yaml")
        writer, splits, inputs = self._run() if is_run else self._scene()
        refuse_inside(self.output_dir, inputs, "--output-dir")
        with making_folder(self.output_dir) as folder:
            number = writer(tracked("Writing frames")).write(splits, folder)
        what = "rendered by the run" if is_run else "of the scene"
        Console(soft_wrap=True, highlight=False, markup=False).print(
            f"Wrote {number} frames, with labels and depth {what}, to {self.output_dir}"
        )

    def _run(self) -> "tuple[partial[DatasetWriter], dict[str, Split], list[Path]]":
        from semantic_ns.datasets.scene_splits import read_splits
        from semantic_ns.export.dataset_files import DatasetWriter, rendered_layers
        from semantic_ns.export.labels import input_paths
        from semantic_ns.runs import load_run

        run = load_run(self.source, option="SOURCE")
        model = run.model
        splits = read_splits(run.parser_config.setup())
        writer = partial(DatasetWriter, model.taxonomy, partial(rendered_layers, model))
        return writer, splits, input_paths(run.pipeline.datamanager)

    def _scene(self) -> "tuple[partial[DatasetWriter], dict[str, Split], list[Path]]":
        from semantic_ns.dataparsers import metadata as keys
        from semantic_ns.dataparsers.auto import AutoDataParserConfig
        from semantic_ns.datasets.scene_splits import read_splits
        from semantic_ns.export.dataset_files import DatasetWriter, given_layers

        splits = read_splits(AutoDataParserConfig(data=self.source, labels_optional=True).setup())
        inputs = {self.source if self.source.is_dir() else self.source.parent}
        for split in splits.values():
            inputs.update(split.dataset.image_filenames)
        taxonomy = splits["train"].dataset.metadata[keys.TAXONOMY]
        return partial(DatasetWriter, taxonomy, given_layers), splits, sorted(inputs)
