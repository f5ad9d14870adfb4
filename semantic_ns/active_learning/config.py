"""Options of choosing what to label; light, for every command reads them."""

from dataclasses import dataclass
from typing import Literal

from semantic_ns.errors import SceneError

Strategy = Literal[
    "random", "entropy", "least-confidence", "margin", "disagreement", "coverage", "core-set", "geometry", "reach"
]
Unit = Literal["pixel", "region", "frame"]
Cost = Literal["pixels", "clicks", "frames"]


@dataclass
class SelectionConfig:
    """How the next units to label are chosen. The switches are of the strategies `geometry` and `reach`."""

    strategy: Strategy = "geometry"
    """By which rule."""
    unit: Unit = "region"
    """What is labelled at a time: a pixel (one click), a super-pixel, a whole frame."""
    region_pixels: int = 300
    """Size of a super-pixel, about."""
    voxel_size_m: float = 0.05
    """Edge of the voxels that the surface is counted in."""
    seed: int = 0
    """Of random draws, and of the order of units that are equally good."""
    discard_unsure_depth: bool = True
    """Leave out pixels whose ray ends nowhere, or on two surfaces."""
    use_entropy: bool = True
    """Voxels count by the entropy of their classes; otherwise all alike. Of `geometry` alone."""
    count_views: bool = True
    """Voxels count by ln(1 + number of frames that see them)."""
    damp_near_labels: bool = True
    """Voxels with a label count nothing, and half within two cells of one."""
    greedy_coverage: bool = True
    """A voxel counts for one unit only; otherwise units are ranked once."""
    balance_creases: bool = False
    """Voxels where the surface turns weigh together as much as their share of the surface."""

    def refuse_wrong_values(self) -> None:
        """Check what has a range.

        Raises:
            SceneError: if a super-pixel would be less than a pixel or a voxel has no size.
        """
        if self.region_pixels < 1:
            raise SceneError(
                f"Expected super-pixels of at least 1 pixel, found region_pixels {self.region_pixels}; 200 to 400 is "
                "usual."
            )
        if not 0 < self.voxel_size_m < float("inf"):
            raise SceneError(f"Expected voxels of some metres, found voxel_size_m {self.voxel_size_m}; 0.05 is usual.")
