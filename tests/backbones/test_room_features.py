"""Features of rooms are those of the weights that come with the package."""

import numpy as np
import pytest
import torch

from semantic_ns.backbones.room_features import BUILT_IN, room_features
from semantic_ns.methods.gsnerf_small.encoder import Encoder
from semantic_ns.methods.gsnerf_small.sizes import Sizes
from semantic_ns.methods.weights import read_weights


def test_features_are_the_maps_and_classes_that_the_whole_model_gives_an_image() -> None:
    weights = read_weights(BUILT_IN / "rooms-small.pt")
    prefix = "network.encoder."
    encoder = Encoder(Sizes(), len(weights["network.encoder.fine_logits.bias"])).eval()
    encoder.load_state_dict({name.removeprefix(prefix): value for name, value in weights.items() if prefix in name})
    image = torch.rand(1, 3, 50, 70, generator=torch.Generator().manual_seed(0))
    half, quarter, probabilities = room_features()(image)
    expected = encoder(image)
    assert torch.equal(half, expected.half)
    assert torch.equal(quarter, expected.quarter)
    assert torch.equal(probabilities, expected.probabilities)
    assert room_features().num_channels == half.shape[1] + quarter.shape[1] + probabilities.shape[1]
    assert not any(parameter.requires_grad for parameter in room_features().parameters())


def value_at(part: np.ndarray, x: float, y: float) -> np.ndarray:
    """Bilinear value of [channels, rows, columns] at a place in pixels of the map; beyond its border it goes on."""
    channels, rows, columns = part.shape
    first_row, first_column = int(np.floor(y - 0.5)), int(np.floor(x - 0.5))
    total = np.zeros(channels)
    for row in (first_row, first_row + 1):
        for column in (first_column, first_column + 1):
            share = (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row))
            total += share * part[:, min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)]
    return total


# Neither 53 nor 75 can be divided by 4: there the last row and column of a map reach beyond the image.
@pytest.mark.parametrize("size", [(53, 75), (60, 512)])
def test_a_place_has_the_features_of_the_maps_there_also_of_wide_images(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(*size, 3, generator=generator)
    xy = torch.rand(9, 2, generator=generator) * torch.tensor([size[1], size[0]])
    xy[0], xy[1] = torch.tensor([size[1] - 0.5, size[0] - 0.5]), torch.tensor([0.5, 0.5])
    smaller, shrink = image, 1.0
    if size[1] > 256:
        smaller, shrink = image.reshape(30, 2, 256, 2, 3).mean(dim=(1, 3)), 0.5
    maps = room_features()(smaller.permute(2, 0, 1)[None])
    found = room_features().at(image, xy).numpy()
    assert found.shape == (9, room_features().num_channels)
    for place, (x, y) in enumerate((xy * shrink).tolist()):
        parts = [value_at(part[0].numpy(), x / step, y / step) for part, step in zip(maps, (2, 4, 2), strict=True)]
        assert np.allclose(found[place], np.concatenate(parts), atol=1e-3)


def test_reading_the_network_leaves_the_draws_of_a_training_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    room_features.cache_clear()
    room_features()
    assert torch.equal(torch.rand(4), expected)
