"""Features of rooms are those of the weights that come with the package."""

import torch

from semantic_ns.backbones.room_features import BUILT_IN, resized_by_area, room_features
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


def test_a_wide_image_has_the_features_of_the_image_at_the_width_of_the_training() -> None:
    image = torch.rand(1, 3, 60, 512, generator=torch.Generator().manual_seed(1))
    means = image.reshape(1, 3, 30, 2, 256, 2).mean(dim=(3, 5))
    assert torch.allclose(resized_by_area(image, (30, 256)), means, atol=1e-6)
    for found, expected in zip(room_features()(image), room_features()(means), strict=True):
        assert torch.allclose(found, expected, atol=1e-4)
