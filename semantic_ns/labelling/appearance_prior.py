"""What looks like marked voxels, and which class that makes likely: weak evidence beneath the marks.

Marks reach what they touch. A second chair touches nothing that is marked, but it looks like the first one. A linear
classifier of features of all voxels is fitted to those with marks, anew whenever these change; see
`propagation.appearance`, which says the same from the labels of a training. What it says has a weight that stays, so
that the system of the marks need not be factored again, see `solver.Anchors`.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float16, Float32, Float64, Int64
from numpy import ndarray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from semantic_ns.labelling.solver import Anchors, ExactSolver, Observation

WEIGHT = 3e-3
"""Of what a voxel looks like, beside an edge between voxels that look the same. One for all scenes, chosen among .001,
.003, .006, .01 and .03 with simulated persons."""
PENALTY = 0.1
"""Weight of the squared coefficients beside the mean cross-entropy. Ten times that of a training, whose labels are
more: few marks say little about many features."""
MOST_FITTED = 8000
"""Voxels that the classifier is fitted to, evenly drawn from each mark; at least one of each of its parts."""
_ITERATIONS = 60
_MOST_KEPT = 8
_ROWS = 8192


@dataclass(frozen=True, eq=False)
class Wanted:
    """Marks that the classifier is to be fitted to.

    Attributes:
        observations: What they say, with classes by their place in `class_ids`.
        class_ids: Ids of the classes, ascending.
    """

    observations: Sequence[Observation]
    class_ids: tuple[int, ...]

    @cached_property
    def key(self) -> str:
        """What tells these marks from others."""
        found = hashlib.sha256(repr(self.class_ids).encode())
        for one in self.observations:
            found.update(f"{one.label} {len(one.voxels)} ".encode() + one.key)
        return found.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a classifier makes likely.

    Attributes:
        key: That of the marks that it was fitted to; empty where there are none.
        class_ids: Ids of the classes.
        base: What the solver makes of it without marks.
    """

    key: str
    class_ids: tuple[int, ...]
    base: Float32[ndarray, "classes voxels"]


class AppearancePrior:
    """The last classifiers that were fitted to marks on a surface.

    Args:
        features: What its voxels look like; zero rows where that is not known.
    """

    def __init__(self, features: Float16[ndarray, "voxels channels"]) -> None:
        self._features = features
        self._nothing = Fitted("", (), np.empty((0, len(features)), np.float32))
        self._kept: OrderedDict[str, Fitted] = OrderedDict()

    @property
    def anchors(self) -> Anchors:
        """The weights of all voxels, with no class yet. Nearness to a mark alone makes labels sure."""
        weights = WEIGHT * is_described(self._features).astype(np.float64)
        return Anchors(weights, np.empty((len(weights), 0), np.float32), 0.0)

    def fit(self, wanted: Wanted, solver: ExactSolver) -> Fitted:
        """Fit a classifier to some marks (slow). Others may spread meanwhile."""
        shares = class_shares(self._features, wanted.observations, len(wanted.class_ids))
        return Fitted(wanted.key, wanted.class_ids, solver.base_of(shares))

    def keep(self, fitted: Fitted) -> None:
        """Keep a classifier for when the marks that it was fitted to are spread again; of many, those used last are."""
        self._kept[fitted.key] = fitted
        self._kept.move_to_end(fitted.key)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def find(self, wanted: Wanted) -> Fitted | None:
        """The classifier that was fitted to some marks, if it is kept."""
        if not wanted.observations:
            return self._nothing
        found = self._kept.get(wanted.key)
        if found is not None:
            self._kept.move_to_end(found.key)
        return found


def is_described(features: Float16[ndarray, "voxels channels"]) -> Bool[ndarray, "voxels"]:
    """Voxels of which it is known what they look like."""
    return features.any(axis=1)


def class_shares(
    features: Float16[ndarray, "voxels channels"], observations: Sequence[Observation], num_classes: int
) -> Float32[ndarray, "voxels classes"]:
    """How likely each class is for each voxel by how it looks, from a multinomial logistic regression on those marked.

    The minimum over W and b of the mean over marked voxels of -log softmax(W f_v + b) at the class of v, plus a |W|^2.

    Args:
        features: f, columns of about unit deviation; zero rows where nothing is known.
        observations: The marks, at least one.
        num_classes: C, each of which has a mark.

    Returns:
        rows that sum to 1; zero rows where nothing is known.
    """
    voxels, labels = fitted_voxels(observations)
    known = is_described(features)
    has_features = known[voxels]
    voxels, labels = voxels[has_features], labels[has_features]
    weights, bias = _least(features[voxels].astype(np.float32), labels, num_classes)
    shares = np.empty((len(features), num_classes), np.float32)
    for first in range(0, len(features), _ROWS):
        rows = slice(first, first + _ROWS)
        shares[rows] = softmax(features[rows].astype(np.float32) @ weights + bias, axis=1)
    shares[~known] = 0
    return shares


def fitted_voxels(observations: Sequence[Observation]) -> tuple[Int64[ndarray, "rows"], Int64[ndarray, "rows"]]:
    """The voxels of marks that a classifier is fitted to, with their classes."""
    most = max(1, MOST_FITTED // len(observations))
    drawn = [one.voxels[:: -(-len(one.voxels) // most)] for one in observations]
    labels = np.repeat([one.label for one in observations], [len(voxels) for voxels in drawn])
    return np.concatenate(drawn).astype(np.int64), labels.astype(np.int64)


def regression_loss(
    parameters: Float64[ndarray, "parameters"],
    features: Float32[ndarray, "rows channels"],
    labels: Int64[ndarray, "rows"],
    num_classes: int,
) -> tuple[float, Float64[ndarray, "parameters"]]:
    """What `class_shares` minimises, and its gradient.

    Args:
        parameters: W [channels, classes] and b [classes], row by row.
        features: Those of the marked voxels.
        labels: Their classes.
        num_classes: C.
    """
    table = parameters.reshape(-1, num_classes)
    weights, bias = table[:-1], table[-1]
    scores = log_softmax(features @ weights.astype(np.float32) + bias, axis=1)
    rows = np.arange(len(labels))
    loss = -scores[rows, labels].sum() / max(1, len(labels)) + PENALTY * (weights**2).sum()
    slopes = np.exp(scores)
    slopes[rows, labels] -= 1
    slopes /= max(1, len(labels))
    of_weights = features.T @ slopes.astype(np.float32) + 2 * PENALTY * weights
    return float(loss), np.concatenate([of_weights, slopes.sum(axis=0)[None]]).reshape(-1)


def _least(
    features: Float32[ndarray, "rows channels"], labels: Int64[ndarray, "rows"], num_classes: int
) -> tuple[Float32[ndarray, "channels classes"], Float32[ndarray, "classes"]]:
    """The weights and the bias where the loss is least, always begun at 0: what was fitted before changes no bit."""
    first = np.zeros((features.shape[1] + 1) * num_classes)
    found = minimize(
        regression_loss, first, (features, labels, num_classes), "L-BFGS-B", jac=True, options={"maxiter": _ITERATIONS}
    )
    table = found.x.reshape(-1, num_classes).astype(np.float32)
    return table[:-1], table[-1]
