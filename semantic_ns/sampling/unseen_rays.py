"""Rays of views that nobody took: between the training cameras, where held-out views and the viewer will be.

They have no color to compare with. What they render is judged by losses that need no image, see
`losses.near_camera_prices`: a veil that hangs before one training camera also hangs before its neighbours' paths, and
space that no ray of an image crosses close to its lens would otherwise be free to hold anything.
"""

import torch
from jaxtyping import Float, Int64
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

NUM_NEIGHBOURS = 3
"""Cameras to whose positions a camera's rays are moved; those further off may be behind a wall."""
_CAMERAS_AT_ONCE = 1024
"""Whose distances to all others are in memory together: a video may have tens of thousands."""


def camera_extent(positions: Float[Tensor, "cameras 3"]) -> float:
    """How far cameras lie from their middle, in the units of their positions; 0 for cameras in one place.

    The largest distance along an axis, but no more than 3 times the median of the cameras' own: one stray pose must not
    make the rest look close together.
    """
    positions = positions.float()
    distances = (positions - positions.mean(dim=0)).abs().amax(dim=1)
    extent = float(torch.minimum(distances.max(), 3 * distances.median()))
    # What is smaller is the rounding of the mean of equal positions.
    return extent if extent > 1e-6 * float(positions.abs().max()) else 0.0


class UnseenRays:
    """Draws rays with directions of training rays, from between their cameras and those cameras' neighbours.

    Args:
        positions: positions of the training cameras, in scene units.
        num_neighbours: nearest cameras of each that count as neighbours.
    """

    def __init__(self, positions: Float[Tensor, "cameras 3"], num_neighbours: int = NUM_NEIGHBOURS) -> None:
        self.positions = positions.float()
        count = max(0, min(num_neighbours, len(positions) - 1))
        parts = [self._nearest(first, count) for first in range(0, len(positions), _CAMERAS_AT_ONCE)]
        self.neighbours = torch.cat([torch.zeros(0, count, dtype=torch.long, device=positions.device), *parts])

    def _nearest(self, first: int, count: int) -> Int64[Tensor, "some count"]:
        """The nearest other cameras of each of `_CAMERAS_AT_ONCE`, from the first one on."""
        distances = torch.cdist(self.positions[first : first + _CAMERAS_AT_ONCE], self.positions)
        distances.diagonal(first).fill_(torch.inf)
        return distances.argsort(dim=1)[:, :count].clone()  # not a view that keeps all of it

    def append(self, rays: RayBundle, count: int) -> RayBundle:
        """The rays [R], and behind them ``count`` unseen ones, drawn from torch's global generator.

        An unseen ray is a random ray of the bundle whose origin is moved by a share, uniform in 0 to 1, of the way to a
        random neighbour of its camera. A camera without a neighbour has none, and gives none: then, and for a bundle
        without rays, the bundle is returned as it is.

        Args:
            rays: rays of the training cameras, with their indices, near and far planes.
            count: number of rays to append.
        """
        num_rays = len(rays)
        if not count or not num_rays or not self.neighbours.shape[1]:
            return rays
        device = rays.origins.device
        if self.positions.device != device:
            self.positions, self.neighbours = self.positions.to(device), self.neighbours.to(device)
        drawn = torch.randint(num_rays, (count,), device=device)
        choice = torch.randint(self.neighbours.shape[1], (count,), device=device)
        share = torch.rand(count, 1, device=device)
        assert rays.camera_indices is not None
        camera = rays.camera_indices[drawn, 0]
        way = self.positions[self.neighbours[camera, choice]] - self.positions[camera]
        every = torch.cat([torch.arange(num_rays, device=device), drawn])
        moved = torch.cat([rays.origins, rays.origins[drawn] + share * way])
        return RayBundle(
            origins=moved,
            directions=rays.directions[every],
            pixel_area=rays.pixel_area[every],
            camera_indices=rays.camera_indices[every],
            nears=None if rays.nears is None else rays.nears[every],
            fars=None if rays.fars is None else rays.fars[every],
        )
