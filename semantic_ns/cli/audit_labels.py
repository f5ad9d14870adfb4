"""`sns-audit-labels`: the label regions that a trained scene contradicts, worst first."""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError
from semantic_ns.runs import load_run, refuse_missing_run


@dataclass
class AuditLabels:
    """List the regions of the training labels that the trained field contradicts with confidence, worst first."""

    load_config: Path
    """The config.yml of the run."""
    output: Path
    """New folder for audit.csv and a picture of each region."""
    fix: Path | None = None
    """New folder for a copy of the run's labels in which the listed regions have the class that the field predicts."""
    min_area: int = 20
    """Smallest area of a listed region, in pixels."""
    min_confidence: float = 0.5
    """Smallest mean probability of the predicted class over a listed region."""
    border_px: int = 2
    """Number of pixels of erosion under which a region must not vanish. Thinner regions are borders of objects and are
    not listed."""
    max_regions: int = 100
    """Largest number of regions to list."""

    def main(self) -> None:
        """Load the run, render its training images, compare, and write what was found."""
        self._check_options()
        # Slow to import, and not needed to refuse a wrong option.
        from semantic_ns.audit.regions import RegionRule
        from semantic_ns.audit.report import summary, write_audit, write_fixed_labels
        from semantic_ns.audit.run import audit, render_run
        from semantic_ns.io.writing import refuse_used_folder

        refuse_used_folder(self.output, "--output")
        if self.fix is not None:
            refuse_used_folder(self.fix, "--fix")
        run = render_run(load_run(self.load_config).pipeline)
        rule = RegionRule(self.min_area, self.min_confidence, self.border_px)
        findings = audit(run, rule, self.max_regions)
        write_audit(self.output, run, findings)
        console = Console(soft_wrap=True, highlight=False)
        console.print(summary(run, findings), f"The list and its pictures are in {self.output}.", markup=False)
        if self.fix is not None:
            num_changed = write_fixed_labels(self.fix, run, findings)
            console.print(
                f"Wrote the labels to {self.fix}, {num_changed} images of them changed; train on them with "
                f"--pipeline.datamanager.train-labels {self.fix.resolve()}",
                markup=False,
            )

    def _check_options(self) -> None:
        refuse_missing_run(self.load_config)
        for name, value, is_right, expected in (
            ("--min-area", self.min_area, self.min_area >= 1, "at least 1"),
            ("--min-confidence", self.min_confidence, 0 <= self.min_confidence <= 1, "in [0, 1]"),
            ("--border-px", self.border_px, self.border_px >= 0, "at least 0"),
            ("--max-regions", self.max_regions, self.max_regions >= 1, "at least 1"),
        ):
            if not is_right:
                raise SceneError(f"Expected {name} {expected}, found {value}; change it.")
        if self.fix is not None and self.fix.resolve() == self.output.resolve():
            raise SceneError(f"Expected two folders, found --fix and --output both at {self.output}; change one.")


def entrypoint() -> None:
    """Console script `sns-audit-labels`."""
    command = tyro.cli(AuditLabels)
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
