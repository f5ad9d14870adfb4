"""Pixel batches of the kernel against nerfstudio's."""

import pytest
import torch
from nerfstudio.data.pixel_samplers import PairPixelSampler, PairPixelSamplerConfig, PixelSampler, PixelSamplerConfig
from torch import Tensor

from semantic_ns.datamanagers.gathering_sampler import GatheringPixelSampler, gathered_by_kernel
from support.image_batches import images

RAYS = 50


def assert_same_batch(batch: dict[str, Tensor], **options: object) -> dict[str, Tensor]:
    slow = PixelSampler(PixelSamplerConfig(), num_rays_per_batch=RAYS, **options)
    results = []
    for sampler in (slow, gathered_by_kernel(slow)):
        torch.manual_seed(1)
        results.append(sampler.sample(batch))
    expected, found = results
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=0, check_dtype=key != "semantics")
    return found


@pytest.mark.parametrize("channels", [3, 4])
def test_equal_draws_give_nerfstudios_batch_with_labels_of_64_bits(channels: int) -> None:
    found = assert_same_batch(images(image=torch.rand(3, 6, 9, channels)))
    assert found["semantics"].dtype == torch.int64
    assert set(found["indices"][:, 0].tolist()) == {3, 5, 7}
    assert -1 in found["semantics"]


@pytest.mark.parametrize(
    "changes",
    [
        {"mask": torch.ones(3, 6, 9, 1, dtype=torch.bool)},
        {"image": torch.randint(0, 256, (3, 6, 9, 3), dtype=torch.uint8)},
        {"image": torch.rand(3, 9, 6, 3).transpose(1, 2)},
        {"depth_image": torch.rand(3, 6, 9, 1)},
    ],
)
def test_what_the_kernel_does_not_know_is_left_to_nerfstudio(changes: dict[str, Tensor]) -> None:
    assert_same_batch(images(**changes))


def test_images_round_the_whole_horizon_are_drawn_as_nerfstudio_does() -> None:
    assert_same_batch(images(), is_equirectangular=True)


def test_only_nerfstudios_plain_sampler_is_replaced() -> None:
    pairs = PairPixelSampler(PairPixelSamplerConfig(), num_rays_per_batch=RAYS)
    assert gathered_by_kernel(pairs) is pairs
    plain = PixelSampler(PixelSamplerConfig(), num_rays_per_batch=RAYS)
    assert isinstance(gathered_by_kernel(plain), GatheringPixelSampler)
