"""`sns-export-weights`: the weights of a model that knows many rooms, to hand on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError


@dataclass
class ExportWeights:
    """Write the weights of a run in half precision to one file, which sns-apply and ns-train read without the run.

    The file also says the method, the classes and the options of the network. It holds tensors and plain values only,
    so that a file of a stranger can be read safely.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder or config.yml of a run of a method that knows many rooms, such as gsnerf-small or viewseg-small."""
    output: Annotated[Path, tyro.conf.Positional]
    """New file, whose name ends in .pt."""

    def main(self) -> None:
        """Read the newest checkpoint of the run and write it."""
        if self.output.suffix != ".pt":
            raise SceneError(f"Expected a file name that ends in .pt, found {self.output}; change it.")
        if self.output.exists():
            raise SceneError(f"Expected a new file, found that {self.output} exists; remove it or choose another one.")
        # Slow to import, and not needed to refuse a wrong option.
        import semantic_ns.methods  # noqa: F401 - the fixes that nerfstudio needs
        from semantic_ns.io.writing import write_errors_as_scene_error
        from semantic_ns.methods.weights import label_space_of, read_origin, read_weights, write_weights

        origin, weights = read_origin(self.run), read_weights(self.run)
        with write_errors_as_scene_error(self.output):
            write_weights(self.output, origin, weights)
        mib = self.output.stat().st_size / 2**20
        Console(soft_wrap=True, highlight=False, markup=False).print(
            f"Wrote {self.output}: {origin.method}, {label_space_of(weights).num_classes} classes, {mib:.1f} MiB in "
            "half precision."
        )


def entrypoint() -> None:
    """Console script `sns-export-weights`."""
    command = tyro.cli(ExportWeights, config=(tyro.conf.FlagConversionOff,))
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
