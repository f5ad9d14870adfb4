"""Where the rays of Semantic-NeRF start and end."""

from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.scene_colliders import SceneCollider


class PlanarDepthCollider(SceneCollider):
    """Lets rays start and end at planes before the camera, in training and evaluation.

    nerfstudio's `NearFarCollider` bounds the distance along the ray and lets rays start at the camera at evaluation.

    Args:
        near: planar depth of the near plane in scene units.
        far: planar depth of the far plane in scene units.
    """

    def __init__(self, near: float, far: float) -> None:
        super().__init__()
        self.near_plane, self.far_plane = near, far

    def set_nears_and_fars(self, ray_bundle: RayBundle) -> RayBundle:
        """Sets the bounds of rays that have none; these are distances along the unit direction."""
        norms = ray_bundle.metadata["directions_norm"]
        ray_bundle.nears, ray_bundle.fars = self.near_plane * norms, self.far_plane * norms
        return ray_bundle
