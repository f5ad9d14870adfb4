"""Entropy under the constraints of geometry: a label counts once for the surface that it lies on.

The project's reading of "3D geometric constraints" in Zhu et al. 2025 (arXiv 2507.17351), of which the abstract alone
is public.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from semantic_ns.active_learning.config import SelectionConfig
from semantic_ns.active_learning.pool.pool import Pool
from semantic_ns.active_learning.strategies import surface_entropy_numba as kernels
from semantic_ns.active_learning.strategies.candidates import Candidates, Choice, with_rounding
from semantic_ns.active_learning.strategies.pool_voxels import PoolVoxels, voxelise_pixels


@dataclass(frozen=True, eq=False)
class Surface:
    """What each candidate shows, in voxels.

    Attributes:
        keys: keys of the voxels, ascending.
        weights: what a label on each voxel is worth.
        first: index of each candidate's first entry in `shown`, and their number at the end.
        shown: voxels, those of one candidate adjacent.
    """

    keys: Int64[ndarray, "voxels"]
    weights: Float64[ndarray, "voxels"]
    first: Int64[ndarray, "candidates_plus_one"]
    shown: Int64[ndarray, "pairs"]

    def factors(self, candidates: Candidates) -> Float64[ndarray, "voxels"]:
        """0 for voxels with a label, 1/2 for those within 2 cells of one along each axis, else 1."""
        factors = np.ones(len(self.keys))
        kernels.cover_labelled(self.first, self.shown, candidates.is_open, self.keys, factors)
        return factors

    def sums(self, factors: Float64[ndarray, "voxels"]) -> Float64[ndarray, "candidates"]:
        """Sum of weight times factor over the voxels of each candidate."""
        numbers = np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))
        return np.bincount(numbers, (self.weights * factors)[self.shown], len(self.first) - 1)


def choose_by_surface(pool: Pool, candidates: Candidates, config: SelectionConfig) -> Choice:
    """Take the unit that shows most of what has no label yet, for its cost; again and again.

    A unit's score is sum w_v f_v / cost over the voxels that its pixels fall into. The weight w of a voxel is the mean
    entropy of its pixels times ln(1 + number of frames that see it). The factor f is 0 for voxels with a label, 1/2 for
    those within 2 cells of one along each axis, else 1; what is chosen counts as labelled. Where nothing is left that
    would count, the surface counts once more as if it had no label.

    Args:
        pool: what the field shows.
        candidates: the units.
        config: its switches leave out one part each.
    """
    return choose_greedily(surface_of(pool, candidates, config), candidates, config)


def choose_greedily(surface: Surface, candidates: Candidates, config: SelectionConfig) -> Choice:
    """The choice that `choose_by_surface` describes, for any weights of the voxels."""
    is_damped = config.damp_near_labels
    factors = surface.factors(candidates) if is_damped else np.ones(len(surface.keys))
    if not config.greedy_coverage:
        return candidates.best(surface.sums(factors) / candidates.costs)
    order, scores = np.empty(len(candidates), np.int64), np.full(len(candidates), np.nan)
    is_open, count, left = candidates.is_open.copy(), 0, with_rounding(candidates.budget)
    while True:
        chosen, spent, has_ended = kernels.choose(
            surface.first, surface.shown, surface.weights, factors, candidates.costs, candidates.ranks, surface.keys,
            is_damped, left, is_open, order[count:], scores[count:],
        )  # fmt: skip
        count, left = count + chosen, left - spent
        if has_ended:
            return Choice(order[:count], scores[:count])
        if chosen == 0:
            break
        factors = np.ones(len(surface.keys))
    return _with_worthless(candidates, Choice(order[:count], scores[:count]))


def surface_of(pool: Pool, candidates: Candidates, config: SelectionConfig) -> Surface:
    """The voxels of the pool, their weights, and what each candidate shows of them."""
    voxels, first, shown = show(pool, candidates, config)
    values = voxels.mean(pool.entropy) if config.use_entropy else np.ones(len(voxels))
    return Surface(voxels.keys, voxel_weights(pool, voxels, config, values), first, shown)


def show(
    pool: Pool, candidates: Candidates, config: SelectionConfig
) -> tuple[PoolVoxels, Int64[ndarray, "candidates_plus_one"], Int64[ndarray, "pairs"]]:
    """The voxels of the pool, and what each candidate shows of them as in `Surface`."""
    is_used = pool.has_sure_depth if config.discard_unsure_depth else np.isfinite(pool.points_m).all(axis=1)
    voxels = voxelise_pixels(pool.points_m, is_used, config.voxel_size_m)
    return voxels, *voxels.by_group(candidates.of_pixels, len(candidates))


def voxel_weights(
    pool: Pool, voxels: PoolVoxels, config: SelectionConfig, values: Float64[ndarray, "voxels"]
) -> Float64[ndarray, "voxels"]:
    """What a label on each voxel is worth: its value, such as mean entropy, times ln(1 + number of frames that see it).

    With `balance_creases`, voxels where the surface turns are scaled to weigh, together, their share of all voxels:
    they are where the field is least sure, and where neither side is seen well.
    """
    weights = values
    if config.count_views:
        weights = weights * np.log1p(voxels.num_frames(pool.frames))
    if config.balance_creases:
        is_crease = voxels.is_crease(pool.normals)
        creases, others = weights[is_crease].sum(), weights[~is_crease].sum()
        if creases > 0 and others > 0:
            factor = is_crease.sum() / (~is_crease).sum() * others / creases
            weights = np.where(is_crease, factor * weights, weights)
    return weights


def _with_worthless(candidates: Candidates, choice: Choice) -> Choice:
    """The choice, and after it the units that show nothing, as far as the budget reaches."""
    scores = np.full(len(candidates), np.nan)
    scores[choice.chosen] = choice.scores
    is_left = candidates.is_open.copy()
    is_left[choice.chosen] = False
    rest = np.flatnonzero(is_left)
    return candidates.affordable(np.concatenate([choice.chosen, rest[np.argsort(candidates.ranks[rest])]]), scores)
