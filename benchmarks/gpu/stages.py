"""The stages: what they are called, what they run, and for how long at most."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks.gpu.runner import Stage
from benchmarks.gpu.settings import Settings

_PACKAGE = "benchmarks.gpu"
_PATIENCE_WITH_CPU = 10
"""Nobody waits for it, and it may be busy."""

STAGES: tuple[Stage, ...] = (
    Stage("nerfacc", f"{_PACKAGE}.nerfacc_kernels:measure", 150, "compile nerfacc's kernels", in_background=True),
    Stage("kernels", f"{_PACKAGE}.kernels:measure", 60, "Triton kernels against double precision", is_timed=False),
    Stage("picture", f"{_PACKAGE}.picture:measure", 90, "CPU and device show the same", is_timed=False),
    Stage("tests", f"{_PACKAGE}.marked_tests:measure", 90, "tests that need CUDA", is_timed=False),
    Stage("speed", f"{_PACKAGE}.speed:measure", 120, "rays and frames a second, phases, memory"),
    Stage("run", f"{_PACKAGE}.runs:measure", 150, "whole runs, seconds to .90 and .95"),
    Stage("profile", f"{_PACKAGE}.kernel_times:measure", 60, "time by kernel"),
    Stage("encoding", f"{_PACKAGE}.encoding:measure", 45, "copy bandwidth, hash grids, roofline"),
    Stage("paper", f"{_PACKAGE}.paper:measure", 45, "semantic-nerf-vanilla as published"),
    Stage("ngp", f"{_PACKAGE}.nerfacc_kernels:use_kernels", 45, "semantic-ngp's speed"),
)
"""In the order in which they run; what matters most comes early."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "a": ("kernels", "picture", "tests"),
    "b": ("speed", "profile", "encoding"),
    "c": ("run",),
    "d": ("paper",),
    "e": ("nerfacc", "ngp"),
}
"""Letters for several."""


def chosen(names: Sequence[str], seconds: Mapping[str, float], settings: Settings) -> list[Stage]:
    """The stages with these names or letters, with changed bounds, for a device.

    Args:
        names: all if empty.
        seconds: bounds by name, for CUDA.
        settings: of the run.
    """
    wanted = {stage for name in names for stage in GROUPS.get(name, (name,))} or {stage.name for stage in STAGES}
    stages = [
        replace(stage, seconds=seconds.get(stage.name, stage.seconds)) for stage in STAGES if stage.name in wanted
    ]
    if settings.device == "cuda":
        return stages
    interpreted = {"TRITON_INTERPRET": "1"}
    stages = [replace(stage, environment=interpreted) if stage.name == "kernels" else stage for stage in stages]
    return [replace(stage, seconds=_PATIENCE_WITH_CPU * stage.seconds) for stage in stages]


def names() -> tuple[str, ...]:
    """What `--stages` takes."""
    return (*GROUPS, *(stage.name for stage in STAGES))
