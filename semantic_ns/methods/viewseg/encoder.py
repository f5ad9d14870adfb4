"""DeepLabV3+ (Chen et al. 2018) up to its penultimate layer, on torchvision's ResNet-50."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet50

from semantic_ns.errors import SceneError

IMAGE_MEAN, IMAGE_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet."""
FEATURES = 256
_ASPP_DILATIONS = (6, 12, 18)
_LAST_STAGE_DILATIONS = (2, 4, 8)
"""The stage with stride 1 in place of 2 has dilation 2, times the multi-grid 1, 2, 4."""
_FINE, _COARSE, _FINE_PROJECTED = 256, 2048, 48
_DROPOUT = 0.1


def conv_norm(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """A convolution that keeps the size, a batch norm and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class SpatialPyramid(nn.Module):
    """Atrous spatial pyramid pooling: the surroundings of a pixel at several distances, and the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_norm(_COARSE, FEATURES)])
        self.branches.extend(conv_norm(_COARSE, FEATURES, 3, dilation) for dilation in _ASPP_DILATIONS)
        # Without a norm: the mean of a single image has no deviation.
        self.whole = nn.Sequential(nn.Conv2d(_COARSE, FEATURES, 1), nn.ReLU())
        self.project = nn.Sequential(conv_norm(5 * FEATURES, FEATURES), nn.Dropout(_DROPOUT))

    def forward(self, image: Float[Tensor, "images 2048 height width"]) -> Tensor:
        """Features [images, 256, height, width]."""
        mean = self.whole(image.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *image.shape[2:])
        return self.project(torch.cat([*(branch(image) for branch in self.branches), mean], dim=1))


class DeepLabEncoder(nn.Module):
    """Features of images at 1/4 of the resolution.

    Args:
        is_frozen: whether batch norms keep the statistics that they have, as for single images in a batch.
    """

    def __init__(self, is_frozen: bool = False) -> None:
        super().__init__()
        self.is_frozen = is_frozen
        trunk = resnet50(weights=None, replace_stride_with_dilation=[False, False, True])
        for block, dilation in zip(trunk.layer4, _LAST_STAGE_DILATIONS, strict=True):
            convolution: Any = block.conv2
            convolution.dilation, convolution.padding = (dilation, dilation), (dilation, dilation)
        del trunk.fc, trunk.avgpool
        self.trunk = trunk
        self.aspp = SpatialPyramid()
        self.fine = conv_norm(_FINE, _FINE_PROJECTED)
        self.fuse = nn.Sequential(conv_norm(FEATURES + _FINE_PROJECTED, FEATURES, 3), conv_norm(FEATURES, FEATURES, 3))

    def train(self, mode: bool = True) -> "DeepLabEncoder":
        """Switch to training or evaluation; frozen norms stay as in evaluation."""
        super().train(mode)
        if self.is_frozen:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views 256 h4 w4"]:
        """Features of images in 0..1."""
        mean, deviation = (images.new_tensor(part)[:, None, None] for part in (IMAGE_MEAN, IMAGE_DEVIATION))
        trunk = self.trunk
        x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1((images - mean) / deviation))))
        fine = trunk.layer1(x)
        coarse = self.aspp(trunk.layer4(trunk.layer3(trunk.layer2(fine))))
        larger = F.interpolate(coarse, fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.fuse(torch.cat([self.fine(fine), larger], dim=1))

    def load_trunk(self, path: Path) -> None:
        """Take weights of torchvision's ResNet-50, such as those of ImageNet.

        Raises:
            SceneError: if the file holds none.
        """
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
            missing = self.trunk.load_state_dict(found, strict=False).missing_keys
        except Exception as error:
            raise SceneError(
                f"Expected weights of torchvision's resnet50 in {path}, found a file that cannot be read as such "
                f"({type(error).__name__}); correct --pipeline.model.trunk-weights."
            ) from error
        if missing:
            raise SceneError(
                f"Expected weights of torchvision's resnet50 in {path}, found others (no {missing[0]}); correct "
                "--pipeline.model.trunk-weights."
            )
