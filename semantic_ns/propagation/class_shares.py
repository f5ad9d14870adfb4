"""How much of the surface each class has, where labels do not show it.

Somebody who clicks on each class labels as much of a switch as of the wall around it. Both then spread alike, and the
switch takes half of the wall. How much a class has is estimated by what the surface looks like, and what labels give it
is brought nearer to that.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from semantic_ns.propagation.appearance import fitted_voxels, one_thread
from semantic_ns.propagation.posterior import LabelPosterior

_ITERATIONS, _TOLERANCE = 50, 1e-6
_MAX_ROWS = 20_000
"""Voxels that shares are estimated from, evenly taken."""
_UNLIKE = 0.3
"""Divergence, in nats, of the shares of labels from those of the surface at which the whole correction is made. Labels
of a tenth of all pixels have .01, those of a tenth of the frames .03, a click for each class and image .1 to .5."""
_MOST = 8.0
"""Factor by which a class becomes more or less likely, at most."""
_DOUBTED = 10
"""Labelled voxels of a class of which the correction is half as strong: looks of a few say little about the rest."""
_MOST_NOISE = 0.1
"""Estimated share of wrong labels above which nothing is corrected."""
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class ClassShares:
    """How much of the surface each class has by its looks, and what labels say of that.

    Attributes:
        by_looks: s, see `shares_by_looks`.
        given: g, shares of the classes among the labelled voxels that the classifier was fitted to.
        num_labelled: n, number of labelled voxels of each class.
    """

    by_looks: Float64[ndarray, "classes"]
    given: Float64[ndarray, "classes"]
    num_labelled: Int64[ndarray, "classes"]

    def factors(self, mass: Float64[ndarray, "classes"]) -> Float64[ndarray, "classes"]:
        """What the probability of each class is to be multiplied by where classes have some shares.

        (s_c / m_c)^(a n_c / (n_c + 10)), with a ratio between 1/8 and 8. a tells whether the labels themselves show how
        much there is of each class: it is 0 if their shares are m, and grows with the divergence of m from g to 1.

        Args:
            mass: m, the shares of the surface that classes have.
        """
        has_mass = (mass > 0) & (self.given > 0)
        divergence = (mass[has_mass] * np.log(mass[has_mass] / self.given[has_mass])).sum()
        strength = min(1.0, max(0.0, divergence / _UNLIKE))
        limit = np.log(_MOST)
        logarithms = np.clip(np.log(np.maximum(self.by_looks, _TINY) / np.maximum(mass, _TINY)), -limit, limit)
        exponents = strength * self.num_labelled / (self.num_labelled + _DOUBTED)
        return np.where(has_mass, np.exp(logarithms * exponents), 1.0)


def shares_by_looks(
    prior: Float32[ndarray, "voxels classes"], given: Float64[ndarray, "classes"]
) -> Float64[ndarray, "classes"]:
    """Shares of the classes, by a classifier that was fitted to voxels with other shares.

    The fixed point of s_c = mean over v of (p_vc s_c / g_c) / sum_k (p_vk s_k / g_k), by expectation and maximisation
    from g on (Saerens, Latinne and Decaestecker 2002, equation (2.9)).

    Args:
        prior: what the classifier says of each voxel, zero rows where it says nothing.
        given: g, shares of the classes among the voxels that it was fitted to.
    """
    rows = prior[prior.any(axis=1)]
    if not len(rows):
        return given.copy()
    known = torch.from_numpy(rows[:: max(1, -(-len(rows) // _MAX_ROWS))].astype(np.float64))
    begin = torch.from_numpy(given)
    shares = begin
    with one_thread():
        for _ in range(_ITERATIONS):
            ratio = torch.where(begin > 0, shares / begin.clamp(min=_TINY), 0.0)
            found = ratio * ((1 / (known @ ratio).clamp(min=_TINY)) @ known) / len(known)
            has_settled = float((found - shares).abs().max()) < _TOLERANCE
            shares = found
            if has_settled:
                break
    return shares.numpy()


def shares_of_classes(
    votes: Float32[ndarray, "voxels classes"], prior: Float32[ndarray, "voxels classes"]
) -> ClassShares | None:
    """How much of the surface each class has; None where no labelled voxel is seen.

    Args:
        votes: votes of labelled pixels.
        prior: what voxels look like, by the classifier that was fitted to the votes; see `appearance`.
    """
    fitted = votes[fitted_voxels(votes, prior.any(axis=1))]
    if not len(fitted):
        return None
    given = (fitted / fitted.sum(axis=1, keepdims=True)).mean(axis=0, dtype=np.float64)
    return ClassShares(shares_by_looks(prior, given), given, (votes > 0).sum(axis=0))


def with_class_shares(posterior: LabelPosterior, shares: ClassShares | None) -> LabelPosterior:
    """The posterior, in which classes have about some shares of the surface.

    Each class is multiplied by a factor, see `ClassShares.factors`, and the rows are normalised (class mass
    normalisation: Zhu, Ghahramani and Lafferty 2003, equation (9)). Labels that are drawn by area, whose shares are
    those of the posterior, leave it as it is. So do noisy ones: random labels show all classes alike, and a classifier
    that was fitted to them finds all alike.

    Args:
        posterior: what labels and surface say about each voxel.
        shares: the shares; None leaves all as it is.
    """
    found = posterior.probabilities
    mass = found.sum(axis=0, dtype=np.float64)
    if shares is None or posterior.noise_rate > _MOST_NOISE or not mass.any():
        return posterior
    changed = found * shares.factors(mass / mass.sum()).astype(np.float32)
    totals = changed.sum(axis=1, keepdims=True)
    return replace(posterior, probabilities=np.divide(changed, totals, out=changed, where=totals > 0))
