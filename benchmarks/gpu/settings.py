"""What a run of the benchmark is asked to do, as its stages are told it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.gpu import ROOT

Device = Literal["cuda", "cpu"]


class NotPossibleError(Exception):
    """A measurement that cannot be made here; the message is one sentence that says why and what would help."""


@dataclass(frozen=True)
class Settings:
    """One run."""

    device: Device
    tiny: bool
    """Smallest sizes: to see that everything runs."""
    output: Path
    """Folder of the results."""
    scenes: tuple[Path, ...]
    """Scene folders of the full runs; the first is also what speed is measured on."""
    seed: int = 0
    nerfacc_jobs: int = 8
    """Compilers at work at once."""

    @property
    def scene(self) -> Path:
        """What everything but the full runs is measured on."""
        return self.scenes[0]

    def rows_of(self, stage: str) -> Path:
        """File to which a stage adds its rows."""
        return self.output / f"{stage}.jsonl"

    def log_of(self, stage: str) -> Path:
        """File that holds what a stage printed."""
        return self.output / f"{stage}.log"


def default_scenes() -> tuple[Path, ...]:
    """The bundled room, and a bedroom of Replica where the scenes that are not part of the repository are at hand."""
    bundled = ROOT / "scripts" / "demo_scene"
    bedroom = Path(os.environ.get("SEMANTIC_NS_DATA", ROOT / ".." / "shared" / "data")) / "replica" / "bed1_A"
    return (bundled, bedroom.resolve()) if bedroom.is_dir() else (bundled,)
