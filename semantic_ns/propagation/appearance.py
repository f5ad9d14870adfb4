"""What voxels look like in the images, and which class that makes likely by the labels that are there.

Labels reach what they touch. A chair without a label touches nothing that has the label of a chair, but it looks like
the chairs that have one. A linear classifier of features that come from a trained network is fitted to the labelled
voxels of the scene, in a second or two, and says of every other voxel what it would be (few-shot recognition with fixed
features and a linear classifier: Chen et al. 2019, "A closer look at few-shot classification").
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32, Int64
from numpy import ndarray
from torch import Tensor

from semantic_ns.propagation import appearance_numba as kernels
from semantic_ns.propagation.surface_graph import SurfaceGraph

MAX_FRAMES = 64
"""Images whose features are looked at: more of them show the same voxels again, and each takes some .05 s."""
_MAX_FITTED = 15_000
"""Labelled voxels that the classifier is fitted to, but for those of rare classes."""
OF_EACH_CLASS = 100
"""Labelled voxels of a class that are in any case among them, if there are so many."""
_PENALTY = 1e-2
"""Weight of the squared coefficients beside the mean cross-entropy."""
_ITERATIONS = 60


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute with one thread, so that a seed gives the same bits on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def chosen_frames(num_frames: int, most: int = MAX_FRAMES) -> list[int]:
    """Numbers of at most so many images, evenly spread."""
    count = min(num_frames, most)
    return [i * num_frames // count for i in range(count)]


def mean_features(
    features_at: Callable[[Float32[Tensor, "height width 3"], Float32[Tensor, "pixels 2"]], Tensor],
    images: Iterable[tuple[Float32[Tensor, "height width 3"], Float32[Tensor, "pixels 2"], Int32[ndarray, "pixels"]]],
    num_nodes: int,
) -> tuple[Float32[ndarray, "nodes channels"], Bool[ndarray, "nodes"]]:
    """Means of features over the pixels that show a voxel, and which voxels any pixel shows.

    Args:
        features_at: gives features [pixels, channels] of an image at places in it.
        images: for each image its colours in 0..1, places in it (x, y) in pixels, centres at +0.5, and their voxels, -1
            for none.
        num_nodes: M.
    """
    of_one = ((image, xy, [nodes]) for image, xy, nodes in images)
    return mean_features_of_several(features_at, of_one, [num_nodes])[0]


def mean_features_of_several(
    features_at: Callable[[Float32[Tensor, "height width 3"], Float32[Tensor, "pixels 2"]], Tensor],
    images: Iterable[tuple[Tensor, Tensor, Sequence[Int32[ndarray, "pixels"]]]],
    numbers_of_nodes: Sequence[int],
) -> list[tuple[Float32[ndarray, "nodes channels"], Bool[ndarray, "nodes"]]]:
    """The same for several divisions of one surface into voxels, with one look at each image.

    Args:
        features_at: see `mean_features`.
        images: see there; for each image the voxels of its places in each division.
        numbers_of_nodes: M of each division.
    """
    sums = [np.zeros((number, 0), np.float32) for number in numbers_of_nodes]
    counts = [np.zeros(number, np.int64) for number in numbers_of_nodes]
    with one_thread(), torch.no_grad():
        for image, xy, divisions in images:
            values = features_at(image, xy).contiguous().numpy()
            for place, nodes in enumerate(divisions):
                if not sums[place].shape[1]:
                    sums[place] = np.zeros((len(sums[place]), values.shape[1]), np.float32)
                kernels.add_to_nodes(nodes, values, sums[place], counts[place])
    return [
        (total / np.maximum(count, 1)[:, None].astype(np.float32), count > 0)
        for total, count in zip(sums, counts, strict=True)
    ]


def described(
    graph: SurfaceGraph, features: Float32[ndarray, "nodes channels"], is_seen: Bool[ndarray, "nodes"]
) -> Float32[ndarray, "nodes all"]:
    """Features with colour, direction of the surface and place; each column of mean 0 and deviation 1 where seen.

    Args:
        graph: the voxels.
        features: means over the pixels that show them.
        is_seen: voxels that have such means.
    """
    columns = np.concatenate([features, graph.colors, np.abs(graph.normals), graph.centres], axis=1)
    seen = columns[is_seen].astype(np.float64)
    mean, deviation = seen.mean(axis=0), seen.std(axis=0)
    return ((columns - mean) / np.maximum(deviation, 1e-6)).astype(np.float32)


def fitted_voxels(votes: Float32[ndarray, "nodes classes"], is_seen: Bool[ndarray, "nodes"]) -> Int64[ndarray, "rows"]:
    """The voxels that the classifier is fitted to, ascending: those with votes and features, or a draw of them.

    Args:
        votes: votes of labelled pixels.
        is_seen: voxels with features.
    """
    labelled = np.flatnonzero((votes.sum(axis=1) > 0) & is_seen)
    return labelled[fitted_rows(votes[labelled], _MAX_FITTED)]


def class_prior(
    features: Float32[ndarray, "nodes channels"],
    votes: Float32[ndarray, "nodes classes"],
    is_seen: Bool[ndarray, "nodes"],
) -> Float32[ndarray, "nodes classes"]:
    """Class probabilities of voxels by how they look, from a multinomial logistic regression on those with votes.

    The minimum over W and b of the mean over labelled voxels of CE(y_v, softmax(W f_v + b)), plus a |W|^2, with y the
    shares of the votes, by L-BFGS.

    Args:
        features: one row for each voxel, columns of about unit deviation.
        votes: votes of labelled pixels.
        is_seen: voxels with features.

    Returns:
        zero rows where nothing is known: for unseen voxels, and everywhere if fewer than two classes have votes.
    """
    labelled = fitted_voxels(votes, is_seen)
    given = np.flatnonzero(votes[labelled].sum(axis=0) > 0)
    prior = np.zeros_like(votes)
    if len(given) < 2:
        return prior
    shares = votes[labelled][:, given]
    shares = torch.from_numpy(shares / shares.sum(axis=1, keepdims=True))
    with one_thread():
        weights, bias = _fit(torch.from_numpy(features[labelled]), shares)
        found = (torch.from_numpy(features[is_seen]) @ weights + bias).softmax(dim=1).numpy()
    prior[np.ix_(np.flatnonzero(is_seen), given)] = found
    return prior


def fitted_rows(votes: Float32[ndarray, "voxels classes"], most: int) -> Int64[ndarray, "rows"]:
    """Which of the labelled voxels the classifier is fitted to: all, or a draw with some of each class.

    Args:
        votes: their votes.
        most: number above which they are drawn; up to `OF_EACH_CLASS` of each class come on top.
    """
    if len(votes) <= most:
        return np.arange(len(votes))
    generator = np.random.default_rng(0)
    drawn = [generator.choice(len(votes), most, replace=False)]
    for of_class in votes.T:
        rows = np.flatnonzero(of_class > 0)
        drawn.append(generator.choice(rows, min(OF_EACH_CLASS, len(rows)), replace=False))
    return np.unique(np.concatenate(drawn))


def regression_loss(
    weights: Float32[Tensor, "channels classes"],
    bias: Float32[Tensor, "classes"],
    features: Float32[Tensor, "voxels channels"],
    shares: Float32[Tensor, "voxels classes"],
) -> Float32[Tensor, ""]:
    """What `class_prior` minimises."""
    entropy = -(shares * (features @ weights + bias).log_softmax(dim=1)).sum(dim=1)
    return entropy.mean() + _PENALTY * weights.square().sum()


@torch.enable_grad()
def _fit(features: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    weights = torch.zeros(features.shape[1], shares.shape[1], requires_grad=True)
    bias = torch.zeros(shares.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        loss = regression_loss(weights, bias, features, shares)
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach(), bias.detach()
