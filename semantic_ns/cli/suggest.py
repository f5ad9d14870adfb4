"""`sns-suggest`: what to label next in a trained scene."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import tyro
from rich.console import Console

from semantic_ns.active_learning.config import SelectionConfig
from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError
from semantic_ns.runs import load_run, refuse_missing_run


@dataclass
class Suggest:
    """Suggest the pixels, regions or frames of the training images that are most worth labelling, best first."""

    load_config: Path
    """The config.yml of the run."""
    budget: int
    """Number of units to suggest."""
    output: Path
    """New folder for suggestions.json and the pictures."""
    selection: tyro.conf.OmitArgPrefixes[SelectionConfig] = field(default_factory=SelectionConfig)
    """Acquisition strategy."""

    def main(self) -> None:
        """Load the run, render its training images, choose, and write what was chosen."""
        self._check_options()
        # Slow to import, and not needed to refuse a wrong option.
        from semantic_ns.active_learning.rounds.suggestions import suggest, write_suggestions
        from semantic_ns.datasets.semantic_dataset import SemanticDataset
        from semantic_ns.io.writing import refuse_used_folder

        refuse_used_folder(self.output, "--output")
        pipeline = load_run(self.load_config, needs="intervals").pipeline
        units, choice = suggest(pipeline, self.budget, self.selection)
        dataset = cast(SemanticDataset, pipeline.datamanager.train_dataset)
        write_suggestions(self.output, dataset, units, choice, self.selection)
        frames = len(set(units.frames[choice.chosen].tolist()))
        Console(soft_wrap=True, highlight=False).print(
            f"Suggested {len(choice.chosen)} of {len(units)} {self.selection.unit}s in {frames} of {len(units.maps)} "
            f"training images; the list and the pictures are in {self.output}.",
            markup=False,
        )

    def _check_options(self) -> None:
        refuse_missing_run(self.load_config)
        if self.budget < 1:
            raise SceneError(f"Expected --budget of at least 1, found {self.budget}; change it.")
        self.selection.refuse_wrong_values()


def entrypoint() -> None:
    """Console script `sns-suggest`."""
    command = tyro.cli(Suggest, config=(tyro.conf.FlagConversionOff,))
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
