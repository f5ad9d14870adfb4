"""`sns-extract-sens`: the frames of a ScanNet `.sens` file as folders of images and poses."""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError


@dataclass
class ExtractSens:
    """Extract color/, depth/, pose/ and intrinsic/ from a ScanNet .sens file. Frames keep their numbers."""

    sens: tyro.conf.Positional[Path]
    """The .sens file, which is read frame by frame."""
    output: tyro.conf.Positional[Path]
    """Output folder."""
    start: int = 0
    """Number of the first frame to extract."""
    stop: int | None = None
    """Number of the frame before which extraction stops; by default the end of the file."""
    stride: int = 1
    """Extract every n-th frame."""

    def main(self) -> None:
        """Write the frames and say how many."""
        # Slow to import, and not needed for --help.
        from semantic_ns.dataparsers.sens_export import export_frames
        from semantic_ns.dataparsers.sens_file import SensFile

        with SensFile(self.sens) as sens:
            if self.start >= sens.header.num_frames:
                raise SceneError(
                    f"Expected --start below the {sens.header.num_frames} frames of {self.sens}, found {self.start}; "
                    "lower it."
                )
            num_frames = export_frames(sens, sens.frames(self.start, self.stop, self.stride), self.output)
            text = f"Wrote {num_frames} of {sens.header.num_frames} frames to {self.output}"
        Console().print(text, soft_wrap=True, highlight=False, markup=False)


def entrypoint() -> None:
    """Console script `sns-extract-sens`."""
    run_command(tyro.cli(ExtractSens).main)


if __name__ == "__main__":
    entrypoint()
