"""Pixels drawn from images of several sizes have the colours and labels of their places."""

import torch
from nerfstudio.data.pixel_samplers import PixelSamplerConfig

from semantic_ns.batch import LABELS
from semantic_ns.datamanagers.gathering_sampler import GatheringPixelSampler


def test_pixels_of_portrait_and_landscape_have_their_own_colors_labels_and_image_numbers() -> None:
    sizes, numbers = [(4, 6), (6, 4), (2, 8)], [5, 0, 9]
    labels = [torch.arange(h * w).reshape(h, w, 1).to(torch.int16) + 100 * i for i, (h, w) in enumerate(sizes)]
    batch = {"image": [values.float().expand(-1, -1, 3) for values in labels], LABELS: labels}
    sampler = GatheringPixelSampler(PixelSamplerConfig(), num_rays_per_batch=60)
    pixels = sampler.sample({**batch, "image_idx": torch.tensor(numbers)})
    assert pixels[LABELS].dtype == torch.int64
    torch.testing.assert_close(pixels[LABELS].float(), pixels["image"][:, :1])
    assert set(pixels["indices"][:, 0].tolist()) == set(numbers)
    for (number, row, column), label in zip(pixels["indices"].tolist(), pixels[LABELS][:, 0].tolist(), strict=True):
        assert label == labels[numbers.index(number)][row, column, 0]
