"""What nerfstudio asks of a model about an image, for models that render whole images."""

from collections.abc import Mapping
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.renderers import RGBRenderer
from nerfstudio.models.base_model import Model
from torch import Tensor

from semantic_ns.batch import MASK
from semantic_ns.evaluation.color import structural_similarity
from semantic_ns.evaluation.pictures import paint
from semantic_ns.host import LpipsIfAvailable
from semantic_ns.methods.base import Outputs


class WholeImageModel(Model):
    """What nerfstudio's models report of an image, for a model that renders it whole."""

    lpips: LpipsIfAvailable
    renderer_rgb: RGBRenderer

    def populate_modules(self) -> None:
        """Build what scores need."""
        super().populate_modules()
        self.renderer_rgb = RGBRenderer(background_color="black")
        self.lpips = LpipsIfAvailable(normalize=True)

    def get_image_metrics_and_images(
        self, outputs: Outputs, batch: Mapping[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR, SSIM and, where its weights are at hand, LPIPS of an image; pictures of colour and depth.

        Pixels outside the mask of the image, if it has one, are black in both images; PSNR leaves them out.
        """
        truth = self.renderer_rgb.blend_background(batch["image"].to(self.device))
        mask = batch[MASK].to(self.device) if MASK in batch else torch.ones_like(truth[..., :1])
        expected, found = ((image * mask).permute(2, 0, 1)[None] for image in (truth, outputs["rgb"]))
        error = (expected - found).square()
        ssim = structural_similarity(expected, found, data_range=1.0)
        psnr = -10 * (error.sum() / (3 * mask.sum())).log10()
        metrics = {"psnr": float(psnr), "ssim": float(torch.as_tensor(ssim))}
        if self.lpips.available:
            metrics["lpips"] = float(self.lpips(expected, found))
        depth = outputs["depth"]
        return metrics, {
            "img": torch.cat([truth, outputs["rgb"]], dim=1),
            "depth": paint(depth, float(depth.min()), float(depth.max())),
        }


def camera_of_rays(rays: RayBundle) -> Cameras:
    """The perspective camera of an image of rays [H, W]; nerfstudio's exporters pass on no camera.

    The direction with planar depth 1 is affine in the pixel: d(column, row) = d0 + column b + row c, where b is the
    right axis of the camera divided by fx, and c the lower one divided by fy.
    """
    directions = (rays.directions * rays.metadata["directions_norm"]).double()
    height, width = directions.shape[:2]
    across = (directions[0, -1] - directions[0, 0]) / (width - 1)
    down = (directions[-1, 0] - directions[0, 0]) / (height - 1)
    fx, fy = 1 / across.norm(), 1 / down.norm()
    right, up = across * fx, -down * fy
    back = torch.linalg.cross(right, up)
    rotation = torch.stack([right, up, back], dim=-1)
    first = rotation.mT @ directions[0, 0]
    position = rays.origins[0, 0].double()
    return Cameras(
        camera_to_worlds=torch.cat([rotation, position[:, None]], dim=-1)[None].float(),
        fx=float(fx),
        fy=float(fy),
        cx=float(0.5 - first[0] * fx),
        cy=float(0.5 + first[1] * fy),
        width=width,
        height=height,
        camera_type=CameraType.PERSPECTIVE,
    )
