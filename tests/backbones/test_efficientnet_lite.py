"""EfficientNet-Lite0 against its table of layers and slow twins of its parts."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from semantic_ns.backbones import efficientnet_lite
from semantic_ns.backbones.efficientnet_lite import CHANNELS, EfficientNetLite0, FixedNorm, SameConv2d
from semantic_ns.errors import SceneError

PARAMETERS_WITH_CLASSIFIER, HEAD, CLASSIFIER = 4_652_008, 320 * 1280 + 2 * 1280, 1281 * 1000
"""Of the published network (Tan and Le 2019, variant Lite0: 4.7 million), and of the parts that are left out here."""


def same_convolution(image: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The sum, written out for each output pixel, with TensorFlow's rule of padding."""
    channels, height, width = image.shape
    outputs, per_group, kernel, _ = weight.shape
    rows, columns = -(-height // stride), -(-width // stride)
    top, left = (
        max(0, (count - 1) * stride + kernel - length) // 2 for count, length in ((rows, height), (columns, width))
    )
    result = torch.zeros(outputs, rows, columns)
    for output in range(outputs):
        first = 0 if per_group == channels else output
        for row in range(rows):
            for column in range(columns):
                for channel in range(per_group):
                    for i in range(kernel):
                        for j in range(kernel):
                            y, x = row * stride + i - top, column * stride + j - left
                            if 0 <= y < height and 0 <= x < width:
                                value = image[first + channel, y, x] * weight[output, channel, i, j]
                                result[output, row, column] += value
    return result


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(3, 2, 1), (5, 2, 2), (3, 1, 2), (1, 1, 1)])
@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_same_convolution_is_the_sum_written_out(kernel: int, stride: int, groups: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = SameConv2d(2, 2, kernel, stride, groups)
    image = torch.rand(2, *size)
    expected = same_convolution(image, layer.weight.detach(), stride)
    torch.testing.assert_close(layer(image[None])[0], expected, rtol=1e-4, atol=1e-5)


def test_fixed_norm_is_the_formula_and_does_not_learn_statistics() -> None:
    torch.manual_seed(0)
    norm = FixedNorm(3).train()
    for tensor in (norm.weight.data, norm.bias.data, norm.get_buffer("running_mean"), norm.get_buffer("running_var")):
        tensor.copy_(torch.rand(3) + 0.5)
    image = torch.rand(2, 3, 4, 5)
    shape = (1, 3, 1, 1)
    mean, variance = (norm.get_buffer(name).clone().view(shape) for name in ("running_mean", "running_var"))
    expected = (image - mean) / (variance + 1e-3).sqrt() * norm.weight.view(shape) + norm.bias.view(shape)
    torch.testing.assert_close(norm(image), expected)
    torch.testing.assert_close(norm.get_buffer("running_mean").view(shape), mean)


def test_the_trunk_has_the_parameters_of_the_published_network_without_its_classifier() -> None:
    network = EfficientNetLite0()
    assert (
        sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS_WITH_CLASSIFIER - HEAD - CLASSIFIER
    )
    assert len(network._blocks) == 16


def test_maps_halve_the_resolution_one_after_the_other() -> None:
    with torch.no_grad():
        maps = EfficientNetLite0()(torch.rand(1, 3, 64, 96))
    assert [tuple(level.shape[1:]) for level in maps] == [
        (channels, 64 >> (level + 1), 96 >> (level + 1)) for level, channels in enumerate(CHANNELS)
    ]


def test_an_image_has_the_same_maps_in_any_batch() -> None:
    torch.manual_seed(0)
    network, images = EfficientNetLite0(), torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        together, alone = network(images), network(images[1:2])
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both[1:2], one, rtol=1e-4, atol=1e-5)


def published(path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs a package of weights that holds these."""
    torch.save(weights, path)
    package = ModuleType(efficientnet_lite.WEIGHTS_PACKAGE)

    class EfficientnetLite0ModelFile:
        @staticmethod
        def get_model_file_path() -> str:
            return str(path)

    package.EfficientnetLite0ModelFile = EfficientnetLite0ModelFile  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, efficientnet_lite.WEIGHTS_PACKAGE, package)
    monkeypatch.setattr(efficientnet_lite, "has_imagenet_weights", lambda: True)


def test_published_weights_are_taken_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = EfficientNetLite0()
    weights = {name: torch.rand_like(value) for name, value in network.state_dict().items()}
    published(tmp_path / "lite0.pth", weights | {"_fc.bias": torch.zeros(1000)}, monkeypatch)
    network.load_imagenet_weights()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, weights[name])


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(tmp_path / "other.pth", {"_fc.bias": torch.zeros(1000)}, monkeypatch)
    with pytest.raises(SceneError, match="found others"):
        EfficientNetLite0().load_imagenet_weights()


def test_without_their_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "has_imagenet_weights", lambda: False)
    with pytest.raises(SceneError, match=r"install semantic-ns\[pretrained\]"):
        EfficientNetLite0().load_imagenet_weights()


@pytest.mark.skipif(not efficientnet_lite.has_imagenet_weights(), reason="the extra pretrained is not installed")
def test_the_installed_weights_fit_and_tell_images_apart() -> None:
    network = EfficientNetLite0()
    network.load_imagenet_weights()
    stripes = torch.zeros(3, 64, 64)
    stripes[:, :, ::8] = 1
    with torch.no_grad():
        deepest = network(torch.stack([stripes, stripes.mT.contiguous(), torch.full((3, 64, 64), 0.5)]))[-1].flatten(1)
    similarity = nn.functional.cosine_similarity(deepest[:, None], deepest[None], dim=-1)
    assert float((similarity - torch.eye(3)).max()) < 0.95
