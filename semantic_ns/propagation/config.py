"""Options of propagation; light, for every command reads them."""

from dataclasses import dataclass


@dataclass
class PropagationConfig:
    """Options of spreading labels over the surface while a model trains."""

    enabled: bool = True
    """Teach each pixel what its label and the labels of all views say of its surface point, not its label alone."""
    fractions: tuple[float, ...] = (0.35, 0.6, 0.85)
    """When to do so, in fractions of the run; from the first on, pixels without a label are taught as well."""
    clean_noise_rate: float = 0.03
    """Labels of most pixels stand as they are if less than this share of them is wrong; 0: never."""
    num_nodes: int = 60_000
    """Voxels that the surface is divided into, about; up to four times as many where labels are dense."""
    num_rays: int = 1_200_000
    """Rays of the training cameras that find the surface, at most."""
