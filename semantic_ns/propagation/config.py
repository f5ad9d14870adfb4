"""Options of propagation; light, for every command reads them."""

from dataclasses import dataclass
from typing import Any

from semantic_ns.errors import SceneError


# Frozen, so that it can be the default of a field: then configurations of runs from before it load, too.
@dataclass(frozen=True)
class SpreadingConfig:
    """What labels spread by; a part is left out to see what it brings."""

    colors: bool = True
    """Let differences in colour stop a label."""
    normals: bool = True
    """Let creases in the surface stop a label."""
    clusters: bool = True
    """Let a label also reach nearby voxels of similar appearance that are not connected."""
    appearance: bool = True
    """Where few labels are given, let a classifier, fitted to them, say what voxels far from labels look like. Its
    features come from the network of `rooms-small`."""
    shares: bool = True
    """Where labels do not show how much of the surface each class has, as clicks do not, estimate that from looks, and
    let no class have much more. It is a part of what `appearance` does."""
    noise: bool = True
    """Estimate the noise rate from how often labels disagree, and trust each label accordingly. Otherwise every label
    is trusted."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the configuration from a file or a copy.

        One of before says `colours` and `families`. A run from before shares of classes were estimated goes on without.
        """
        present = {"colours": "colors", "families": "clusters"}
        known = {present.get(name, name): value for name, value in state.items()}
        self.__dict__.update({"shares": False} | known)


ALL_PARTS = SpreadingConfig()


@dataclass
class PropagationConfig:
    """Options of spreading labels over the surface while a model trains."""

    enabled: bool = True
    """Supervise each pixel by the posterior of its own label and the labels of all views at its surface point, instead
    of by its label alone."""
    fractions: tuple[float, ...] = (0.5, 0.85)
    """When labels are propagated, as fractions of training. From the first one on, unlabelled pixels are supervised
    too."""
    clean_noise_rate: float = 0.03
    """Estimated noise rate below which dense labels are left as they are; 0 always propagates."""
    num_nodes: int = 240_000
    """Approximate number of surface voxels at the last propagation. Each earlier one, whose surface is still rough, has
    a quarter of the next. Few rays or noisy labels reduce the number."""
    rays_per_node: float = 5.0
    """Smallest mean number of rays per voxel; with fewer rays there are fewer voxels. Depths of neighbouring views
    differ slightly, and voxels finer than that difference separate what the views see."""
    num_rays: int = 1_200_000
    """Largest number of training rays that are rendered to find the surface. Where depth is known nothing is rendered,
    and up to twice as many pixels are looked at."""
    spreading: SpreadingConfig = ALL_PARTS
    """What labels spread by."""

    def check(self) -> None:
        """Refuse numbers that no surface can be divided by.

        Raises:
            SceneError: `rays_per_node` is not positive.
        """
        if not self.rays_per_node > 0:  # NaN fails this, too
            raise SceneError(
                "Expected a number above 0 for --pipeline.propagation.rays-per-node, found "
                f"{self.rays_per_node:g}; 5 suits most scenes, and with a small number "
                "--pipeline.propagation.num-nodes alone says how many voxels there are."
            )
