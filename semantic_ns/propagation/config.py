"""Options of propagation; light, for every command reads them."""

from dataclasses import dataclass
from typing import Any

from semantic_ns.errors import SceneError


# Frozen, so that it can be the default of a field: then configurations of runs from before it load, too.
@dataclass(frozen=True)
class SpreadingConfig:
    """What labels spread by; a part is left out to see what it brings."""

    colors: bool = True
    """Voxels of other colour stop a class."""
    normals: bool = True
    """Creases stop a class."""
    families: bool = True
    """A class also reaches what looks alike nearby without touching."""
    noise: bool = True
    """Find out from their disagreement how many labels are wrong, and trust single ones as much; else trust all."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the configuration from a file or a copy; one of before says `colours`."""
        self.__dict__.update({{"colours": "colors"}.get(name, name): value for name, value in state.items()})


ALL_PARTS = SpreadingConfig()


@dataclass
class PropagationConfig:
    """Options of spreading labels over the surface while a model trains."""

    enabled: bool = True
    """Teach each pixel what its label and the labels of all views say of its surface point, not its label alone."""
    fractions: tuple[float, ...] = (0.35, 0.7)
    """When to do so, in fractions of the run; from the first on, pixels without a label are taught as well."""
    clean_noise_rate: float = 0.03
    """Labels of most pixels stand as they are if less than this share of them is wrong; 0: never."""
    num_nodes: int = 240_000
    """Voxels that the surface is divided into at the last time, about; a quarter of it, whose surface is rough yet, at
    the time before, and so on. Few rays or noisy labels make them fewer."""
    rays_per_node: float = 5.0
    """Rays that find a voxel at least, on average: where there are fewer rays there are fewer voxels. Views do not
    agree to the millimetre, and voxels finer than that part what each of them sees."""
    num_rays: int = 1_200_000
    """Rays of the training cameras that find the surface, at most."""
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
