"""Networks of `gsnerf` against their layers as Chou et al. (2024) and their released code have them, one by one."""

import pytest
import torch
from torch import Tensor, nn

from semantic_ns.methods.gsnerf.compat import Compat
from semantic_ns.methods.gsnerf.encoder import Encoder2D, TwoWayUNet
from semantic_ns.methods.gsnerf.renderer import ClassRenderer, ColorRenderer, RayAutoEncoder
from semantic_ns.multi_view.convolutions import CostRegularizer, UNet
from support.written_out_layers import (
    WrittenOut,
    assert_same_values_and_gradients,
    convolved,
    spread,
    with_random_parameters,
)

NUM_CLASSES = 3


def drawn(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def unet_written_out(layers: WrittenOut, image: Tensor, prefix: str = "") -> tuple[list[Tensor], list[Tensor]]:
    """Maps of the way down from 8 to 128 channels, and those of the way up from the coarsest one."""
    going_down = [layers.twice(f"{prefix}first", image)]
    for level in range(4):
        halved = layers.block(f"{prefix}down.{level}.0", going_down[-1], stride=2)
        going_down.append(layers.twice(f"{prefix}down.{level}.1", halved))
    assert [len(one) for one in going_down] == [8, 16, 32, 64, 128]
    assert layers.of(f"{prefix}down.0.0.0").shape[2:] == (5, 5)
    going_up = [going_down[-1]]
    for level in range(4):
        bias = layers.of(f"{prefix}up.{level}", "bias")[:, None, None]
        doubled = spread(going_up[-1], layers.of(f"{prefix}up.{level}"), cut=0) + bias
        skip = going_down[3 - level]
        going_up.append(layers.twice(f"{prefix}merge.{level}", torch.cat([skip, doubled])))
    assert [len(one) for one in going_up] == [128, 64, 32, 16, 8]
    return going_down, going_up


def test_the_2d_u_net_is_its_layers_written_out() -> None:
    network = TwoWayUNet(3, (8, 16, 32, 64, 128))
    with_random_parameters(network)
    image = drawn(3, 16, 32)
    going_down, going_up = unet_written_out(WrittenOut(network), image)
    maps, decoded = network.both_ways(image[None])
    assert_same_values_and_gradients(
        network, [image], [one[0] for one in (*maps, decoded)], [*going_down, going_up[-1]]
    )
    all_decoded = UNet.forward(network, image[None])
    assert_same_values_and_gradients(network, [image], [one[0] for one in all_decoded], going_up[::-1])


def test_classes_of_an_image_by_itself_are_two_matrices_on_the_finest_map_of_the_u_net() -> None:
    network = Encoder2D(NUM_CLASSES, normalizes=False)
    with_random_parameters(network)
    image = drawn(3, 16, 16)
    layers = WrittenOut(network)
    _, going_up = unet_written_out(layers, image, "unet.")
    classes = convolved(going_up[-1], layers.of("classes")) + layers.of("classes", "bias")[:, None, None]
    logits = convolved(classes, layers.of("logits")) + layers.of("logits", "bias")[:, None, None]
    found = network(image[None])
    torch.testing.assert_close(found.classes[0], classes, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.logits[0], logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(8, 8, 16), (6, 4, 9)])
def test_the_3d_u_net_is_its_layers_written_out(size: tuple[int, int, int]) -> None:
    """A volume is made larger with zeros until it can be halved three times, and cut again before the branches."""
    network = CostRegularizer(8)
    with_random_parameters(network)
    volume, layers = drawn(8, *size), WrittenOut(network)
    padded = volume.new_zeros(8, 8, 8, 16)
    planes, height, width = size
    padded[:, :planes, :height, :width] = volume
    at_8 = layers.block("first", padded)
    at_16 = layers.block("down.0.1", layers.block("down.0.0", at_8, stride=2))
    at_32 = layers.block("down.1.1", layers.block("down.1.0", at_16, stride=2))
    at_64 = layers.block("down.2.1", layers.block("down.2.0", at_32, stride=2))
    assert [len(one) for one in (at_8, at_16, at_32, at_64)] == [8, 16, 32, 64]
    up = at_32 + layers.normed("up.0.1", spread(at_64, layers.of("up.0.0"), cut=1))
    up = at_16 + layers.normed("up.1.1", spread(up, layers.of("up.1.0"), cut=1))
    up = at_8 + layers.normed("up.2.1", spread(up, layers.of("up.2.0"), cut=1))
    cut = up[:, :planes, :height, :width]
    features = layers.block("features", cut)
    scores = convolved(layers.block("score.0", cut), layers.of("score.1"))[0]
    assert features.shape == (8, *size)
    found = network(volume[None])
    assert_same_values_and_gradients(network, [volume], [one[0] for one in found], [features, scores])


def seen_by_some(num_views: int, *points: int) -> Tensor:
    """Which views see points: of the first all, of the others some."""
    is_seen = torch.rand(num_views, *points, generator=torch.Generator().manual_seed(3)) < 0.6
    is_seen.view(num_views, -1)[:, 0] = True
    return is_seen | ~is_seen.any(dim=0)


def test_the_shares_of_colour_are_the_layers_of_the_head_written_out() -> None:
    """From the token of a view and the code of its angle, with a soft-max over the views that see the sample."""
    network, num_views, num_rays, num_samples = ColorRenderer(), 3, 2, 8
    with_random_parameters(network)
    views, moments = drawn(num_views, 33, num_rays, num_samples), drawn(16, num_rays, num_samples, seed=4)
    angles, is_seen = drawn(num_views, num_rays, num_samples, 9, seed=5), seen_by_some(3, num_rays, num_samples)
    network.density = along = Along()  # the network along a ray has a twin of its own
    of_whole, shares = network(views, moments, angles, is_seen)
    layers, expected = WrittenOut(network), torch.zeros(num_views, num_rays, num_samples, dtype=torch.float64)
    expected_of_whole = torch.zeros(num_rays, num_samples, dtype=torch.float64)
    for ray in range(num_rays):
        for sample in range(num_samples):
            sees = is_seen[:, ray, sample].tolist()
            of_views = [view[:, ray, sample] for view in views]
            of_all, *tokens = layers.tokens("views", of_views, moments[:, ray, sample], sees, num_layers=4)
            scores = [
                layers.perceptron("blend", torch.cat([token, angle[ray, sample]])).exp()
                for token, angle in zip(tokens, angles, strict=True)
            ]
            total = sum((score for score, counts in zip(scores, sees, strict=True) if counts), torch.zeros(()))
            for view in range(num_views):
                if sees[view]:
                    expected[view, ray, sample] = (scores[view] / total)[0]
            expected_of_whole[ray, sample] = of_all @ along.direction
    assert [layers.of(f"blend.{number}").shape for number in (0, 2, 4)] == [(32, 41), (16, 32), (1, 16)]
    inputs, results = [views, moments, angles], [shares, of_whole]
    assert_same_values_and_gradients(network, inputs, results, [expected, expected_of_whole])


class Along(RayAutoEncoder):
    """In place of the network along a ray: one number of each token that it would get."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.direction = drawn(32, seed=6).detach()

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens @ self.direction


HEADS = {
    "ours": (Compat(), [(288, 64), (144, 288), (NUM_CLASSES, 144)]),
    "released": (Compat(concatenated_views=True, relu_logits=True), [(288, 288), (144, 288), (NUM_CLASSES, 144)]),
}


@pytest.mark.parametrize("head", HEADS)
def test_the_classes_of_a_point_are_the_layers_of_the_head_written_out(head: str) -> None:
    """Released: the tokens of all views and their own one side by side, and logits of 0 or more.

    Ours: the token of all views, and the mean of those of the views that see the point.
    """
    compat, shapes = HEADS[head]
    num_views, num_rays = 8, 3
    network = ClassRenderer(NUM_CLASSES, num_views, compat)
    with_random_parameters(network)
    around, is_seen = drawn(num_views, 9 * NUM_CLASSES, num_rays), seen_by_some(num_views, num_rays)
    is_inside = is_seen | (torch.arange(num_views) % 3 == 0)[:, None]
    layers, expected = WrittenOut(network), []
    assert [tuple(layers.of(f"head.{number}").shape) for number in (0, 2, 4)] == shapes
    for ray in range(num_rays):
        of_views, sees = [view[:, ray] for view in around], is_seen[:, ray].tolist()
        mean = sum(of_views, torch.zeros(())) / num_views
        variance = sum(((view - mean) ** 2 for view in of_views), torch.zeros(())) / num_views
        inputs = [torch.cat([view, is_inside[number, ray, None].double()]) for number, view in enumerate(of_views)]
        of_all, *tokens = layers.tokens("views", inputs, torch.cat([mean, variance]), sees, num_layers=4)
        if head == "released":
            expected.append(layers.perceptron("head", torch.cat([of_all, *tokens])).clamp(min=0))
        else:
            seeing = [token for token, counts in zip(tokens, sees, strict=True) if counts]
            together = sum(seeing, torch.zeros(())) / len(seeing)
            expected.append(layers.perceptron("head", torch.cat([of_all, together])))
    logits = network(around, is_inside, is_seen)
    assert bool((logits > 0).any())
    assert bool((logits < 0).any()) == (head == "ours")
    assert_same_values_and_gradients(network, [around], [logits], [torch.stack(expected)])
