"""Which units of the pool are to be labelled next. No label enters here: only where there are some."""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from nerfstudio.cameras.cameras import Cameras
from numpy import ndarray

from semantic_ns.active_learning.acquisition import mean_by_group, uncertainty
from semantic_ns.active_learning.config import Cost, SelectionConfig, Strategy, Unit
from semantic_ns.active_learning.pool.ensemble_head import RayStatistic
from semantic_ns.active_learning.pool.pool import Pool
from semantic_ns.active_learning.pool.units import Units
from semantic_ns.active_learning.strategies.candidates import Candidates, Choice
from semantic_ns.active_learning.strategies.farthest import choose_farthest, pose_places, principal_axes
from semantic_ns.active_learning.strategies.label_reach import choose_unreached
from semantic_ns.active_learning.strategies.surface_entropy import choose_by_surface
from semantic_ns.errors import SceneError

_FRAMES_PER_FIRST = 90
_LEAST_FIRST = 2


def required_statistics(strategy: Strategy | None) -> frozenset[RayStatistic]:
    """What a pool must hold for a strategy beyond what all pools do."""
    needs: dict[Strategy | None, RayStatistic] = {"core-set": "features", "disagreement": "disagreement"}
    return frozenset({needs[strategy]} if strategy in needs else ())


def select(
    pool: Pool,
    units: Units,
    labelled: Bool[ndarray, "units"],
    budget: float,
    cost: Cost,
    config: SelectionConfig,
    seed: int,
) -> Int64[ndarray, "selected"]:
    """The units to label next, best first; see :func:`choose`."""
    return choose(pool, units, labelled, budget, cost, config, seed).chosen


def choose(
    pool: Pool,
    units: Units,
    labelled: Bool[ndarray, "units"],
    budget: float,
    cost: Cost,
    config: SelectionConfig,
    seed: int,
) -> Choice:
    """The units to label next, best first, and what each was chosen for.

    Units of which the pool shows no pixel are never chosen; single pixels that it does not show have their labels
    counted for the one that it shows for them. The same arguments give the same choice.

    Args:
        pool: what the field shows.
        units: division of the pool's frames.
        labelled: units that have labels.
        budget: what the chosen ones may cost together; the first that would cost more ends the choice.
        cost: currency of the budget.
        config: strategy and its options.
        seed: seed, with `config.seed`, of random draws and of the order among equals.

    Returns:
        numbers of units; scores are the mean uncertainty for `entropy`, `least-confidence`, `margin` and
        `disagreement`, the distance
        from the nearest labelled or chosen unit for `coverage` and `core-set`, the sum of weights of voxels over the
        cost for `geometry` and `reach`, NaN for `random`.

    Raises:
        SceneError: if the budget is no number >= 0, an option is out of range, or the pool lacks what the
            strategy needs (`required_statistics`).
    """
    config.refuse_wrong_values()
    if not 0 <= budget < float("inf"):
        raise SceneError(f"Expected a budget of 0 or more {cost}, found {budget}; change it.")
    numbers, first, of_pixels = np.unique(pool.units_of(units), return_index=True, return_inverse=True)
    has_label = pool.is_labelled(units, labelled)[first] if config.unit == "pixel" else labelled[numbers]
    ranks = np.random.default_rng([config.seed, seed]).permutation(len(numbers))
    candidates = Candidates(of_pixels, ~has_label, units.costs(cost)[numbers], ranks, budget)
    choice = _choose(pool, candidates, config)
    return Choice(numbers[choice.chosen].astype(np.int64), choice.scores)


def _choose(pool: Pool, candidates: Candidates, config: SelectionConfig) -> Choice:
    if config.strategy == "random":
        return candidates.best(np.full(len(candidates), np.nan))
    if config.strategy == "coverage":
        return choose_farthest(_places(pool, candidates, config.unit), candidates)
    if config.strategy == "core-set":
        if pool.features is None:
            raise SceneError("Expected a pool with features for core-set, found none; render it with them.")
        features = mean_by_group(pool.features, candidates.of_pixels, len(candidates))
        return choose_farthest(principal_axes(features), candidates)
    if config.strategy == "geometry":
        return choose_by_surface(pool, candidates, config)
    if config.strategy == "reach":
        return choose_unreached(pool, candidates, config)
    unsure = _uncertainty_of(pool, config.strategy)
    return candidates.best(mean_by_group(unsure, candidates.of_pixels, len(candidates)))


def _uncertainty_of(pool: Pool, strategy: Strategy) -> Float32[ndarray, "pixels"]:
    if strategy != "disagreement":
        return uncertainty(strategy, pool.entropy, pool.confidence, pool.margin)
    if pool.disagreement is None:
        raise SceneError("Expected a pool with disagreement for this strategy, found none; render it with it.")
    return pool.disagreement


def _places(pool: Pool, candidates: Candidates, unit: Unit) -> Float64[ndarray, "candidates axes"]:
    """Where each unit is: poses of frames, else the mean of its surface points, NaN where none is sure."""
    if unit == "frame":
        frames = mean_by_group(pool.frames.astype(np.float64), candidates.of_pixels, len(candidates))
        return pose_places(pool.camera_positions_m, pool.viewing_directions)[frames.astype(np.int64)]
    is_sure = pool.has_sure_depth
    return mean_by_group(pool.points_m[is_sure], candidates.of_pixels[is_sure], len(candidates))


def initial_units(
    cameras: Cameras, units: Units, unit: Unit, seed: int, share: float = 0.005
) -> Int64[ndarray, "selected"]:
    """The units of round 0, the same for all strategies: before it no field knows anything.

    Frames: one per 90, at least 2 (or all), in farthest-point order of camera position and viewing direction, the first
    at random. Pixels: random ones. Regions: random ones, one from each frame in that order of the frames, then another
    from each, so that they lie far apart.

    Args:
        cameras: cameras of the frames.
        units: division of the frames.
        unit: what the units are.
        seed: seed of random draws.
        share: share of all pixels, for pixels and regions; at least one is chosen.
    """
    generator = np.random.default_rng(seed)
    num_frames = len(units.maps)
    if unit == "pixel":
        return generator.choice(len(units), max(1, round(share * len(units))), replace=False).astype(np.int64)
    count = max(_LEAST_FIRST, num_frames // _FRAMES_PER_FIRST) if unit == "frame" else num_frames
    frames = _spread_frames(cameras, min(count, num_frames), generator)
    if unit == "frame":
        return np.flatnonzero(np.isin(units.frames, frames))[np.argsort(np.argsort(frames))]
    turns, order = np.empty(len(units), np.int64), generator.permutation(len(units))
    for frame in range(num_frames):
        own = order[units.frames[order] == frame]
        turns[own] = np.arange(len(own))
    order = np.lexsort((np.argsort(frames)[units.frames], turns))
    spent = np.cumsum(units.num_pixels[order])
    return order[: max(1, int(np.searchsorted(spent, share * spent[-1], side="right")))].astype(np.int64)


def _spread_frames(cameras: Cameras, count: int, generator: np.random.Generator) -> Int64[ndarray, "frames"]:
    poses = cameras.camera_to_worlds.reshape(-1, 3, 4).detach().cpu().numpy().astype(np.float32)
    places = pose_places(poses[:, :, 3], -poses[:, :, 2])
    ones = np.ones(len(places))
    ranks = generator.permutation(len(places))
    candidates = Candidates(np.empty(0, np.int64), ones > 0, ones, ranks, float(count))
    return choose_farthest(places, candidates).chosen
