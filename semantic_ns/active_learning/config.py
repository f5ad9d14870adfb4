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
    """Acquisition strategy."""
    unit: Unit = "region"
    """Unit of annotation: a pixel (one click), a region (superpixel), or a whole frame."""
    region_pixels: int = 300
    """Approximate size of a superpixel, in pixels."""
    voxel_size_m: float = 0.05
    """Edge length of the voxels in which surface coverage is counted, in metres."""
    seed: int = 0
    """Seed of random draws, which also order units of equal score."""
    discard_unsure_depth: bool = True
    """Exclude pixels whose ray ends on no surface or on two."""
    use_entropy: bool = True
    """Weight voxels by the entropy of their class distribution; otherwise all weigh the same (strategy geometry
    only)."""
    count_views: bool = True
    """Weight voxels by ln(1 + number of frames that see them)."""
    damp_near_labels: bool = True
    """Give labelled voxels no weight, and voxels within two voxels of them half."""
    greedy_coverage: bool = True
    """Select units greedily, so that each voxel counts for one unit only; otherwise units are ranked once."""
    balance_creases: bool = False
    """Scale the weights of voxels on creases so that their total equals their share of the surface."""

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
