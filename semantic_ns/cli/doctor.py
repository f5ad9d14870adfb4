"""`sns-doctor`: is a labelled scene read right, and if not, what is wrong with it?"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_errors_as_scene_error, write_json, write_png

PROBLEM_FOUND = 1
UNUSABLE = 2
_PARSER_OPTIONS = ("classes", "label_space", "label_table", "camera_parameters", "camera")


@dataclass
class Doctor:
    """Check a labelled scene: its labels, its cameras, and whether its views agree.

    The exit status is 0 if the scene is healthy, 1 if a problem was found, and 2 if the scene cannot be used at all.
    """

    scene: tyro.conf.Positional[Path]
    """Folder of the scene."""
    parser: Literal[
        "semantic-data", "replica-data", "nerfstudio-semantic-data", "scannet-semantic-data", "hypersim-data"
    ] = "semantic-data"
    """Dataparser that reads the scene; semantic-data recognises the layout."""
    classes: Path | None = None
    """Class table, for dataparsers that take one."""
    label_space: str | None = None
    """Label space to check the scene in: native, nyu40, nyu13, scannet20, viewseg37, or a class table."""
    label_table: Path | None = None
    """ScanNet's scannetv2-labels.combined.tsv."""
    camera_parameters: Path | None = None
    """Hypersim's metadata_camera_parameters.csv."""
    camera: str | None = None
    """Camera of a Hypersim scene."""
    trained: Path | None = None
    """The config.yml of a run on the scene, whose rendered depth is then used to compare views."""
    json: Path | None = None
    """JSON file for the report."""
    pictures: Path | None = None
    """PNG file that shows a few frames: colour, labels, depth, and labels over colour."""

    def main(self) -> int:
        """Examine the scene, tell and write what was found, and return the exit status."""
        # Slow to import, and not needed for --help.
        from semantic_ns.doctor.loading import load_scene, parser_config
        from semantic_ns.doctor.pictures import picture_grid
        from semantic_ns.doctor.report import FEW_VIEWS, examine
        from semantic_ns.doctor.trained import load_trained_scene

        options = {name: value for name in _PARSER_OPTIONS if (value := getattr(self, name)) is not None}
        if self.trained is None:
            loaded = load_scene(parser_config(self.parser, self.scene), options)
            report = examine(loaded, str(self.scene))
        elif options:
            raise SceneError(
                f"Expected either --trained, whose run says how the scene is read, or options of its dataparser, found "
                f"both (--{next(iter(options)).replace('_', '-')}); leave out one."
            )
        else:
            loaded = load_trained_scene(self.trained, self.scene)
            report = examine(loaded, str(self.scene), f"depth rendered by {self.trained}", FEW_VIEWS)
        Console(soft_wrap=True).print(report.to_text(), highlight=False)
        if self.json is not None:
            with write_errors_as_scene_error(self.json):
                write_json(self.json, report.to_json())
        if self.pictures is not None:
            grid = picture_grid(loaded)
            with write_errors_as_scene_error(self.pictures):
                write_png(self.pictures, grid)
        return 0 if report.is_healthy else PROBLEM_FOUND


def entrypoint() -> None:
    """Console script `sns-doctor`."""
    command = tyro.cli(Doctor)
    try:
        status = command.main()
    except SceneError as error:
        print(f"Error: {error}", file=sys.stderr)
        status = UNUSABLE
    raise SystemExit(status)


if __name__ == "__main__":
    entrypoint()
