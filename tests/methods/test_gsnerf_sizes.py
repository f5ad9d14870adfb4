"""The network of `gsnerf` has the layers of the publication, and each defect has its switch."""

from dataclasses import fields
from typing import get_args

import pytest
import torch
from torch import nn

from semantic_ns.errors import SceneError
from semantic_ns.methods.gsnerf.compat import Compat, Defect
from semantic_ns.methods.gsnerf.encoder import IMAGE_DEVIATION, IMAGE_MEAN, Encoder2D, FeaturePyramid
from semantic_ns.methods.gsnerf.network import PublishedNetwork, RenderOptions
from semantic_ns.methods.gsnerf.norms import use_batch_norm
from support.fresh_process import ROOT

CLASSES = 20


def conv(inputs: int, outputs: int, taps: int, bias: bool = True) -> int:
    return inputs * outputs * taps + (outputs if bias else 0)


def conv_norm(inputs: int, outputs: int, taps: int) -> int:
    return conv(inputs, outputs, taps, bias=False) + 2 * outputs


def double(inputs: int, outputs: int) -> int:
    return conv_norm(inputs, outputs, 9) + conv_norm(outputs, outputs, 9)


def attention() -> int:
    return 4 * 32 * 32 + 2 * conv(32, 32, 1) + 2 * 2 * 32


UNET = (
    double(3, 8)
    + sum(conv_norm(a, b, 25) + double(b, b) for a, b in ((8, 16), (16, 32), (32, 64), (64, 128)))
    + sum(conv(a, a // 2, 4) + double(a, a // 2) for a in (128, 64, 32, 16))
)
PYRAMID = conv(8, 32, 1) + conv(16, 32, 1) + conv(32, 32, 1) + conv(32, 8, 9) + conv(32, 16, 9)
ENCODER = UNET + PYRAMID + conv(8, CLASSES, 1) + conv(CLASSES, CLASSES, 1)
VOLUME = (
    conv_norm(8, 8, 27)
    + sum(conv_norm(a, b, 27) + conv_norm(b, b, 27) for a, b in ((8, 16), (16, 32), (32, 64)))
    + sum(conv_norm(a, b, 27) for a, b in ((64, 32), (32, 16), (16, 8)))
    + conv_norm(8, 8, 27)
    + conv_norm(8, 8, 27)
    + conv(8, 1, 27, bias=False)
)
AUTO_ENCODER = (
    sum(conv(a, b, 3) for a, b in ((32, 64), (64, 128), (128, 128)))
    + sum(conv(a, b, 4) for a, b in ((128, 128), (256, 64), (128, 32)))
    + conv(64, 32, 3)
)
DENSITY_HEAD = conv(32, 32, 1) + conv(32, 16, 1) + conv(16, 1, 1)
BLEND = conv(32 + 9, 32, 1) + conv(32, 16, 1) + conv(16, 1, 1)
COLOR_TOKENS = conv(24 + 1 + 8, 32, 1) + conv(16, 32, 1) + conv(32, 32, 1) + 4 * attention()
CLASS_TOKENS = conv(9 * CLASSES + 1, 32, 1) + conv(18 * CLASSES, 32, 1) + conv(32, 32, 1) + 4 * attention()
RELEASED_HEAD = conv(288, 288, 1) + conv(288, 144, 1) + conv(144, CLASSES, 1)
OUR_HEAD = conv(64, 288, 1) + conv(288, 144, 1) + conv(144, CLASSES, 1)


def number_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def network() -> PublishedNetwork:
    return PublishedNetwork(CLASSES)


def test_every_part_has_as_many_parameters_as_its_layers_say(network: PublishedNetwork) -> None:
    encoder, colors, classes = network.encoder, network.colors, network.classes
    assert number_of(encoder.unet) == UNET
    assert number_of(encoder.pyramid) == PYRAMID
    assert number_of(encoder) == ENCODER
    assert [number_of(one) for one in network.volumes.regularizers] == [VOLUME] * 3
    assert number_of(colors.views) == COLOR_TOKENS
    assert number_of(colors.density) == AUTO_ENCODER + DENSITY_HEAD
    assert number_of(colors.blend) == BLEND
    assert number_of(classes.views) == CLASS_TOKENS
    assert number_of(classes.head) == OUR_HEAD
    assert number_of(network) == ENCODER + 3 * VOLUME + COLOR_TOKENS + AUTO_ENCODER + DENSITY_HEAD + BLEND + (
        CLASS_TOKENS + OUR_HEAD
    )


def test_with_all_defects_the_class_head_is_the_released_one() -> None:
    network = PublishedNetwork(CLASSES, RenderOptions(compat=Compat.of(("all",))))
    assert number_of(network.classes.head) == RELEASED_HEAD
    assert not any(isinstance(layer, nn.GroupNorm) for layer in network.modules())
    assert number_of(network.encoder.unet) == UNET


def test_the_documentation_prints_the_counts_and_names_every_defect(network: PublishedNetwork) -> None:
    page = (ROOT / "docs/gsnerf_layers.md").read_text(encoding="utf8")
    encoder, colors, classes = network.encoder, network.colors, network.classes
    parts = (encoder.unet, encoder.pyramid, network.volumes.regularizers[0], colors.views, colors.density)
    counts = [number_of(part) for part in (*parts, colors.blend, classes.views, classes.head, network)]
    released = PublishedNetwork(CLASSES, RenderOptions(compat=Compat.of(("all",))))
    counts += [number_of(encoder.classes) + number_of(encoder.logits), number_of(released)]
    assert [count for count in counts if f"{count:,}".replace(",", " ") not in page] == []
    assert [name for name in Compat.of(("all",)).names() if f"| `{name}` |" not in page] == []


def test_every_defect_has_one_switch_and_all_are_all() -> None:
    names = [name for name in get_args(Defect) if name != "all"]
    assert Compat().names() == ()
    assert Compat.of(("all",)).names() == tuple(names)
    assert len(names) == len(fields(Compat))
    for name in names:
        assert Compat.of((name,)).names() == (name,)


def test_samples_that_cannot_be_halved_three_times_are_refused() -> None:
    with pytest.raises(SceneError, match=r"multiple of 8 as --pipeline\.model\.num-samples, found 12"):
        PublishedNetwork(2, RenderOptions(num_samples=12))


def test_maps_of_the_encoder_have_the_published_channels_and_resolutions(network: PublishedNetwork) -> None:
    encoded = network.encoder(torch.rand(2, 3, 48, 64))
    assert [tuple(level.shape) for level in encoded.levels] == [(2, 8, 48, 64), (2, 16, 24, 32), (2, 32, 12, 16)]
    assert encoded.classes.shape == encoded.logits.shape == (2, CLASSES, 48, 64)


def test_an_image_that_cannot_be_halved_is_encoded_slightly_larger(network: PublishedNetwork) -> None:
    encoded = network.encoder(torch.rand(1, 3, 35, 50))
    assert encoded.images.shape == (1, 3, 35, 50)
    assert encoded.levels[0].shape == (1, 8, 48, 64)


def test_a_view_is_encoded_alike_in_every_batch_unless_norms_are_those_of_the_batch() -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 3, 32, 32)
    encoder = Encoder2D(4).eval()
    torch.testing.assert_close(encoder(images).logits[:1], encoder(images[:1]).logits)
    use_batch_norm(encoder)
    assert not torch.allclose(encoder.eval()(images).logits[:1], encoder(images[:1]).logits, atol=1e-2)


def test_a_batch_norm_takes_mean_and_deviation_of_each_channel_out() -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 1), nn.GroupNorm(2, 16))
    volume = nn.Sequential(nn.Conv3d(2, 8, 1), nn.GroupNorm(1, 8))
    both = nn.ModuleList([network, volume])
    use_batch_norm(both)
    for block, inputs in ((network, torch.randn(4, 3, 5, 6)), (volume, torch.randn(4, 2, 3, 5, 6))):
        outputs = block.eval()(inputs).transpose(0, 1).flatten(1)
        torch.testing.assert_close(outputs.mean(dim=1), torch.zeros(len(outputs)), atol=1e-5, rtol=0)
        torch.testing.assert_close(outputs.std(dim=1, correction=0), torch.ones(len(outputs)), atol=1e-3, rtol=0)


def test_colours_are_normalised_as_those_of_imagenet_unless_raw_ones_are_asked_for() -> None:
    torch.manual_seed(0)
    raw, normal = Encoder2D(2, normalizes=False), Encoder2D(2)
    raw.load_state_dict(normal.state_dict())
    images = torch.rand(1, 3, 16, 16)
    by_hand = images.clone()
    for channel in range(3):
        by_hand[:, channel] = (by_hand[:, channel] - IMAGE_MEAN[channel]) / IMAGE_DEVIATION[channel]
    torch.testing.assert_close(normal(images).logits, raw(by_hand).logits)
    assert not torch.allclose(normal(images).logits, raw(images).logits)


def twice_by_loops(image: torch.Tensor) -> torch.Tensor:
    """Twice as large with the corners in place: the ends of the rows stay the ends."""
    height, width = image.shape[1:]
    larger = torch.zeros(image.shape[0], 2 * height, 2 * width)
    for row in range(2 * height):
        for column in range(2 * width):
            y, x = row * (height - 1) / (2 * height - 1), column * (width - 1) / (2 * width - 1)
            top, left = min(int(y), height - 2), min(int(x), width - 2)
            for r in (top, top + 1):
                for c in (left, left + 1):
                    larger[:, row, column] += (1 - abs(y - r)) * (1 - abs(x - c)) * image[:, r, c]
    return larger


def test_the_pyramid_adds_coarse_maps_to_fine_ones() -> None:
    torch.manual_seed(0)
    pyramid = FeaturePyramid((8, 16, 32))
    fine, middle, coarse = (torch.randn(c, 3 * s, 4 * s) for c, s in ((8, 4), (16, 2), (32, 1)))
    levels = pyramid([fine[None], middle[None], coarse[None]])
    by_hand = []
    for lateral, image in zip(pyramid.lateral, (fine, middle, coarse), strict=True):
        assert isinstance(lateral, nn.Conv2d)
        assert lateral.bias is not None
        projected = torch.einsum("oc,chw->ohw", lateral.weight[:, :, 0, 0], image)
        by_hand.append(projected + lateral.bias[:, None, None])
    by_hand[1] = by_hand[1] + twice_by_loops(by_hand[2])
    by_hand[0] = by_hand[0] + twice_by_loops(by_hand[1])
    torch.testing.assert_close(levels[2][0], by_hand[2], atol=1e-5, rtol=1e-4)
    for level, smooth in zip(levels[:2], pyramid.smooth, strict=True):
        torch.testing.assert_close(level, smooth(by_hand.pop(0)[None]), atol=1e-5, rtol=1e-4)
