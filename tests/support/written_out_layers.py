"""Layers of networks written out tap by tap and token by token, from the names of their parameters alone."""

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor, nn

LEAK = 0.01
GROUP = 8
NUM_HEADS = 4


def convolved(signal: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """A convolution of a signal [c, *size] with kernels [o, c, *odd sizes], with zeros around the signal."""
    size, kernel = signal.shape[1:], weight.shape[2:]
    padded = signal.new_zeros(len(signal), *(n + k - 1 for n, k in zip(size, kernel, strict=True)))
    padded[(slice(None), *(slice(k // 2, k // 2 + n) for n, k in zip(size, kernel, strict=True)))] = signal
    total = torch.zeros(())
    for tap in product(*map(range, kernel)):
        seen = padded[(slice(None), *(slice(t, t + n, stride) for t, n in zip(tap, size, strict=True)))]
        total = total + torch.einsum("oc,c...->o...", weight[(slice(None), slice(None), *tap)], seen)
    return total


def spread(signal: Tensor, weight: Tensor, cut: int) -> Tensor:
    """A transposed convolution of step 2: place p adds its kernel [c, o, *sizes] from 2 p - cut on."""
    size, kernel = signal.shape[1:], weight.shape[2:]
    whole = signal.new_zeros(weight.shape[1], *(2 * n + k for n, k in zip(size, kernel, strict=True)))
    for tap in product(*map(range, kernel)):
        places = (slice(None), *(slice(t, t + 2 * n, 2) for t, n in zip(tap, size, strict=True)))
        whole[places] += torch.einsum("co,c...->o...", weight[(slice(None), slice(None), *tap)], signal)
    return whole[(slice(None), *(slice(cut, cut + 2 * n) for n in size))]


def elu(values: Tensor) -> Tensor:
    """x where it is positive, exp(x) - 1 elsewhere."""
    return torch.where(values > 0, values, values.exp() - 1)


class WrittenOut:
    """Layers by the names of their parameters.

    Args:
        network: whose parameters are taken; none of its layers is called.
    """

    def __init__(self, network: nn.Module) -> None:
        self.parameters: Mapping[str, Tensor] = dict(network.named_parameters())

    def of(self, name: str, kind: str = "weight") -> Tensor:
        """A parameter of a layer."""
        return self.parameters[f"{name}.{kind}"]

    def block(self, name: str, signal: Tensor, stride: int = 1) -> Tensor:
        """Convolution, norm and leaky ReLU."""
        return self.normed(f"{name}.1", convolved(signal, self.of(f"{name}.0"), stride))

    def twice(self, name: str, signal: Tensor) -> Tensor:
        """Two such blocks."""
        return self.block(f"{name}.1", self.block(f"{name}.0", signal))

    def normed(self, name: str, signal: Tensor) -> Tensor:
        """Each 8 channels without their common mean and deviation, a factor and a shift per channel, leaky ReLU."""
        found = []
        for first in range(0, len(signal), GROUP):
            group = signal[first : first + GROUP]
            deviation = ((group - group.mean()) ** 2).mean().add(1e-5).sqrt()
            for channel, values in enumerate(group, start=first):
                scaled = (values - group.mean()) / deviation * self.of(name)[channel] + self.of(name, "bias")[channel]
                found.append(torch.where(scaled > 0, scaled, LEAK * scaled))
        return torch.stack(found)

    def linear(self, name: str, values: Tensor) -> Tensor:
        """Numbers [n] times a matrix, with a bias where the layer has one."""
        result = (self.of(name) * values).sum(dim=1)
        return result + self.of(name, "bias") if f"{name}.bias" in self.parameters else result

    def perceptron(self, name: str, values: Tensor) -> Tensor:
        """Three linear layers with ELUs between them."""
        for number in (0, 2):
            values = elu(self.linear(f"{name}.{number}", values))
        return self.linear(f"{name}.4", values)

    def layer_normed(self, name: str, values: Tensor) -> Tensor:
        """Numbers [n] without their mean and deviation, a factor and a shift for each."""
        centred = values - values.mean()
        return centred / ((centred**2).mean() + 1e-6).sqrt() * self.of(name) + self.of(name, "bias")

    def tokens(self, name: str, views: list[Tensor], whole: Tensor, sees: list[bool], num_layers: int) -> list[Tensor]:
        """The token of all views of one point and those of each, that is seen by at least one of them."""
        tokens = [elu(self.linear(f"{name}.view", view)) for view in views]
        hidden = elu(self.linear(f"{name}.whole.0", whole))
        tokens = [elu(self.linear(f"{name}.whole.2", hidden)), *tokens]
        for layer in range(num_layers):
            tokens = self._attended(f"{name}.layers.{layer}", tokens, [True, *sees])
        return tokens

    def _attended(self, name: str, tokens: list[Tensor], is_key: list[bool]) -> list[Tensor]:
        queries, keys, values = ([self.linear(f"{name}.{k}", t) for t in tokens] for k in ("query", "key", "value"))
        size, results = len(tokens[0]) // NUM_HEADS, []
        for token, query in zip(tokens, queries, strict=True):
            heads = []
            for head in range(NUM_HEADS):
                part = slice(head * size, (head + 1) * size)
                likeness = [(query[part] @ key[part] / size**0.5).exp() for key in keys]
                weights = [like if counts else 0 * like for like, counts in zip(likeness, is_key, strict=True)]
                total = torch.stack(weights).sum()
                heads.append(sum((w / total * v[part] for w, v in zip(weights, values, strict=True)), torch.zeros(())))
            one = self.layer_normed(f"{name}.attention_norm", token + self.linear(f"{name}.output", torch.cat(heads)))
            hidden = self.linear(f"{name}.perceptron.0", one).clamp(min=0)
            results.append(
                self.layer_normed(f"{name}.perceptron_norm", one + self.linear(f"{name}.perceptron.2", hidden))
            )
        return results


def with_random_parameters(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in double precision, with no parameter at a value at which it has no effect."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.double().parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.5
        drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data = (parameter.ndim == 1) + scale * drawn
    return network


def assert_same_values_and_gradients(
    network: nn.Module, inputs: list[Tensor], found: list[Tensor], expected: list[Tensor]
) -> None:
    """Compare results, and the gradients of a random sum of them by each parameter and input."""
    generator = torch.Generator().manual_seed(1)
    factors = [torch.randn(result.shape, generator=generator, dtype=result.dtype) for result in found]
    of = dict(network.named_parameters()) | {f"input {number}": value for number, value in enumerate(inputs)}
    gradients = []
    for results in (found, expected):
        total = sum(((f * r).sum() for f, r in zip(factors, results, strict=True)), torch.zeros(()))
        gradients.append(torch.autograd.grad(total, list(of.values()), retain_graph=True))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    for name, one, other in zip(of, *gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}")
        assert bool((one != 0).any()), name
