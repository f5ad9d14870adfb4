"""A network on an image: sizes, tiles, the mirror image, strips."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.errors import SceneError
from semantic_ns.prediction.inference import Inference, border_weights, in_strips, predict, tile_bounds
from semantic_ns.prediction.preprocessing import NetworkSize, Preprocessing, read_preprocessing
from semantic_ns.prediction.segmenter import softmax_of_logits
from support.segmenters import ConvNet, ModuleSegmenter


def image_of(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3)).astype(np.uint8)


def test_each_pixel_has_the_soft_max_that_the_network_gives_it_pixel_by_pixel() -> None:
    net, image = ConvNet(4), image_of(9, 12)
    preprocessing = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    found = predict(ModuleSegmenter(net, preprocessing=preprocessing), image, Inference())
    logits = net.slowly((image / 255 - preprocessing.mean) / preprocessing.std)
    for row in range(9):
        for column in range(12):
            weights = np.exp(logits[row, column])
            np.testing.assert_allclose(found[:, row, column], weights / weights.sum(), rtol=1e-4)


def test_channels_can_be_blue_green_red_and_of_another_range() -> None:
    image = image_of(3, 4)
    pixels = Preprocessing(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), scale=255.0, is_bgr=True).normalize(image)
    expected = (image[..., ::-1].astype(float) - (1, 2, 3)) / (4, 5, 6)
    np.testing.assert_allclose(pixels[0].permute(1, 2, 0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tile", [8, 11, 16, 64])
def test_tiles_change_nothing_for_a_network_that_sees_no_farther_than_a_quarter_of_their_overlap(tile: int) -> None:
    segmenter, image = ModuleSegmenter(ConvNet(5)), image_of(23, 31)
    whole = predict(segmenter, image, Inference())
    torch.testing.assert_close(predict(segmenter, image, Inference(tile, 4)), whole)


def test_without_an_overlap_tiles_show_at_their_borders_and_only_there() -> None:
    segmenter, image = ModuleSegmenter(ConvNet(5)), image_of(16, 16)
    error = (predict(segmenter, image, Inference(8, 0)) - predict(segmenter, image, Inference())).abs().amax(dim=0)
    is_near = torch.zeros(16, 16, dtype=torch.bool)
    is_near[7:9] = is_near[:, 7:9] = True
    assert error[is_near].max() > 0.01
    assert error[~is_near].max() < 1e-5


@pytest.mark.parametrize(
    ("length", "tile", "overlap"), [(100, 32, 8), (33, 32, 16), (32, 32, 4), (5, 32, 4), (97, 9, 4)]
)
def test_tiles_cover_the_length_with_at_least_their_overlap_and_weights_are_above_0(
    length: int, tile: int, overlap: int
) -> None:
    bounds = tile_bounds(length, tile, overlap)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == length
    assert all(end - begin == min(tile, length) for begin, end in bounds)
    assert all(first[1] - second[0] >= overlap for first, second in itertools.pairwise(bounds))
    # One tile fewer would not do.
    assert len(bounds) == 1 or (len(bounds) - 1) * (tile - overlap) + overlap < length
    total = torch.zeros(length)
    for begin, end in bounds:
        total[begin:end] += border_weights(begin, end, length, overlap)
    assert total.min() >= 0.5


def test_the_mirrored_image_is_averaged_so_that_mirroring_commutes_with_predicting() -> None:
    segmenter, image = ModuleSegmenter(ConvNet(3)), image_of(10, 13)
    both, once = Inference(is_mirrored_too=True), Inference()
    mirrored = image[:, ::-1].copy()
    mean = (predict(segmenter, image, once) + predict(segmenter, mirrored, once).flip(-1)) / 2
    found = predict(segmenter, image, both)
    torch.testing.assert_close(found, mean)
    torch.testing.assert_close(predict(segmenter, mirrored, both), found.flip(-1))
    assert (found - predict(segmenter, image, once)).abs().max() > 0.01


class Halving(nn.Module):
    """A network that needs sides that can be halved twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        small = F.max_pool2d(F.max_pool2d(self.layer(image), 2), 2)
        return image + F.interpolate(small, scale_factor=4)


def test_padding_makes_any_size_fit_and_a_size_that_does_not_fit_is_one_sentence() -> None:
    image = image_of(9, 14)
    with pytest.raises(SceneError, match=r"takes? an image of 14x9.*--divisor"):
        predict(ModuleSegmenter(Halving()), image, Inference())
    segmenter = ModuleSegmenter(Halving(), preprocessing=Preprocessing(divisor=4))
    found = predict(segmenter, image, Inference())
    assert found.shape == (3, 9, 14)
    pixels = torch.zeros(1, 3, 12, 16)
    pixels[..., :9, :14] = Preprocessing().normalize(image)  # zeros below and to the right
    with torch.no_grad():
        torch.testing.assert_close(found, segmenter.probabilities(pixels)[:, :9, :14])
    with pytest.raises(SceneError, match="multiple of 4"):
        predict(ModuleSegmenter(Halving(), preprocessing=Preprocessing(divisor=4)), image, Inference(10, 0))


@pytest.mark.parametrize("size", [(13, 17), (20, 31), (5, 6), (9, 8)])
def test_strips_are_the_whole_map_resized(size: tuple[int, int]) -> None:
    maps = torch.rand(3, 9, 8, generator=torch.Generator().manual_seed(0))
    strips = list(in_strips(maps, size, num_pixels=20))
    assert len(strips) > 1
    expected = F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(torch.cat(strips, dim=1), expected)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (NetworkSize(), (30, 40)),
        (NetworkSize(exact=(7, 9)), (7, 9)),
        (NetworkSize(shorter=60), (60, 80)),
        (NetworkSize(shorter=60, longer=40), (30, 40)),
        (NetworkSize(longer=20), (15, 20)),
    ],
)
def test_sizes_of_the_network(size: NetworkSize, expected: tuple[int, int]) -> None:
    assert size.of(30, 40) == expected
    assert Preprocessing(size=size).resize(image_of(30, 40)).shape == (*expected, 3)


def written(folder: Path, text: str) -> Path:
    path = folder / "preprocessor_config.json"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Preprocessing()),
        ('{"size": 512}', Preprocessing(size=NetworkSize(exact=(512, 512)))),
        ('{"size": 640, "max_size": 800}', Preprocessing(size=NetworkSize(shorter=640, longer=800))),
        ('{"size": {"height": 4, "width": 6}, "do_resize": false}', Preprocessing()),
        (
            '{"size": {"shortest_edge": 8, "longest_edge": 9}, "size_divisor": 32}',
            Preprocessing(size=NetworkSize(shorter=8, longer=9), divisor=32),
        ),
        ('{"do_normalize": false}', Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))),
        ('{"image_mean": [1, 2, 3], "do_rescale": false}', Preprocessing((1.0, 2.0, 3.0), scale=255.0)),
        ('{"do_flip_channel_order": true}', Preprocessing(is_bgr=True)),
    ],
)
def test_the_configuration_of_transformers_is_read(text: str, expected: Preprocessing, tmp_path: Path) -> None:
    assert read_preprocessing(written(tmp_path, text)) == expected


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"size": -1}', '{"size": "big"}', '{"image_std": [1, 0, 1]}', '{"image_mean": 2}', '{"size": true}'],
)
def test_a_configuration_that_cannot_be_is_one_sentence(text: str, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"preprocessor_config\.json") as raised:
        read_preprocessing(written(tmp_path, text))
    assert "\n" not in str(raised.value)


BAD_LOGITS: dict[str, tuple[Any, str]] = {
    "arg-max": (torch.zeros(1, 8, 12, dtype=torch.int64), "arg-max"),
    "three axes": (torch.zeros(4, 8, 12), "arg-max"),
    "two images": (torch.zeros(2, 4, 8, 12), "arg-max"),
    "whole numbers": (torch.zeros(1, 4, 8, 12, dtype=torch.int32), "arg-max"),
    "one class": (torch.zeros(1, 1, 8, 12), "logits of 4 classes"),
    "other classes": (torch.zeros(1, 5, 8, 12), "logits of 4 classes"),
    "turned": (torch.zeros(1, 4, 12, 8), "found 8x12"),
    "square": (torch.zeros(1, 4, 12, 12), "found 12x12"),
    "NaN": (torch.full((1, 4, 8, 12), torch.nan), "finite"),
    "infinity": (torch.full((1, 4, 8, 12), torch.inf), "finite"),
}


@pytest.mark.parametrize("kind", BAD_LOGITS)
def test_what_are_no_logits_of_the_image_is_one_sentence(kind: str) -> None:
    logits, words = BAD_LOGITS[kind]
    with pytest.raises(SceneError, match=words):
        softmax_of_logits(logits, (8, 12), 4, Path("network.onnx"))


@pytest.mark.parametrize("shape", [(8, 12), (4, 6), (2, 3), (3, 4), (16, 24)])
def test_smaller_and_larger_logits_in_proportion_are_resized(shape: tuple[int, int]) -> None:
    found = softmax_of_logits(torch.randn(1, 4, *shape), (8, 12), 4, Path("network.onnx"))
    assert found.shape == (4, 8, 12)
    torch.testing.assert_close(found.sum(dim=0), torch.ones(8, 12))


@pytest.mark.parametrize(("tile", "overlap"), [(1, 0), (8, 5), (8, -1)])
def test_tiles_that_cannot_be_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(SceneError, match="--overlap"):
        Inference(tile, overlap)
