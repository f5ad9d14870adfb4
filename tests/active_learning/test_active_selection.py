"""Which units are chosen: against slow twins, within the budget, without labels, and the same each time."""

import inspect
from dataclasses import fields, replace
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from semantic_ns.active_learning.config import Cost, SelectionConfig, Strategy, Unit
from semantic_ns.active_learning.pool.pool import Pool
from semantic_ns.active_learning.pool.units import Units, divide
from semantic_ns.active_learning.strategies.candidates import Choice
from semantic_ns.active_learning.strategies.selection import choose, initial_units, required_statistics, select
from semantic_ns.errors import SceneError
from support.selection_pools import FRAMES, HEIGHT, WIDTH, block_units, pool_of, random_pool

IMAGES = [np.random.default_rng(i).random((HEIGHT, WIDTH, 3), np.float32) for i in range(FRAMES)]
UNITS = block_units()
SWITCHES = ("discard_unsure_depth", "use_entropy", "count_views", "damp_near_labels", "greedy_coverage")
SEED = 3


Cell = tuple[int, ...]


def add(cell: Cell, offset: Cell) -> Cell:
    return tuple(a + b for a, b in zip(cell, offset, strict=True))


def some_labelled(count: int, seed: int = 0, share: float = 0.2) -> np.ndarray:
    return np.random.default_rng(seed).random(count) < share


class SlowGeometry:
    """Steps 1 to 4 with sets and dictionaries, all scores anew each time."""

    def __init__(self, pool: Pool, units: Units, labelled: np.ndarray, cost: Cost, config: SelectionConfig) -> None:
        self.costs, self.labelled, self.config = units.costs(cost), labelled, config
        self.ranks = np.random.default_rng([config.seed, SEED]).permutation(len(units))
        is_used = pool.has_sure_depth if config.discard_unsure_depth else np.isfinite(pool.points_m).all(axis=1)
        pixels: dict[Cell, list[int]] = {}
        for pixel in np.flatnonzero(is_used):
            cell = np.floor(pool.points_m[pixel].astype(np.float64) / config.voxel_size_m).astype(int)
            pixels.setdefault(tuple(cell.tolist()), []).append(int(pixel))
        of_pixels = pool.units_of(units)
        self.shown = [{cell for cell, own in pixels.items() if (of_pixels[own] == u).any()} for u in range(len(units))]
        self.weights = {cell: self._weight(pool, own) for cell, own in pixels.items()}

    def _weight(self, pool: Pool, own: list[int]) -> float:
        entropy = float(np.mean(pool.entropy[own], dtype=np.float64)) if self.config.use_entropy else 1.0
        num_frames = len({int(frame) for frame in pool.frames[own]})
        return entropy * float(np.log(1 + num_frames)) if self.config.count_views else entropy

    def scores(self, covered: set[Cell]) -> np.ndarray:
        near = {add(cell, offset) for cell in covered for offset in product(range(-2, 3), repeat=3)}
        damped = dict.fromkeys(near, 0.5) if self.config.damp_near_labels else {}
        factors = damped | dict.fromkeys(covered, 0.0)
        sums = [sum(self.weights[cell] * factors.get(cell, 1.0) for cell in cells) for cells in self.shown]
        return np.array(sums) / self.costs

    def assert_made(self, choice: Choice, budget: float) -> None:
        """Every unit was the best when it was chosen (of equal ones, the first by rank), and no other was affordable.

        Sums of logarithms are equal up to rounding.
        """
        covered, left = set(), [int(unit) for unit in np.flatnonzero(~self.labelled)]
        if self.config.damp_near_labels:
            covered = {cell for unit in np.flatnonzero(self.labelled) for cell in self.shown[unit]}
        scores, is_exact = self.scores(covered), not (self.config.use_entropy or self.config.count_views)
        for chosen, score in zip(choice.chosen.tolist(), choice.scores, strict=True):
            if scores[left].max() == 0 and self.config.greedy_coverage and covered:
                covered, scores = set(), self.scores(set())
            best = scores[left].max()
            assert np.isclose(scores[chosen], best, atol=1e-12)
            assert np.isclose(score, best) or best == 0
            if is_exact:
                assert self.ranks[chosen] == min(self.ranks[u] for u in left if np.isclose(scores[u], best, atol=1e-12))
            left.remove(chosen)
            if self.config.greedy_coverage:
                covered |= self.shown[chosen]
                scores = self.scores(covered)
        spent = self.costs[choice.chosen].sum()
        assert spent <= budget * (1 + 1e-9)
        assert not left or spent + self.costs[left].max() > budget


def geometry(**switches: bool) -> SelectionConfig:
    return SelectionConfig(strategy="geometry", **switches)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("switched_off", [(), *((switch,) for switch in SWITCHES), SWITCHES[:4], SWITCHES], ids=str)
@pytest.mark.parametrize("cost", ["pixels", "clicks"])
def test_geometry_takes_what_shows_most_of_what_is_not_covered(switched_off: tuple[str, ...], cost: Cost) -> None:
    config = geometry(**dict.fromkeys(switched_off, False))
    for seed, size_m in ((0, 0.6), (1, 0.2)):
        pool, labelled = random_pool(seed, size_m), some_labelled(len(UNITS), seed)
        budget = 0.4 * UNITS.costs(cost).sum()
        choice = choose(pool, UNITS, labelled, budget, cost, config, SEED)
        assert len(choice.chosen) > 3
        SlowGeometry(pool, UNITS, labelled, cost, config).assert_made(choice, budget)


def test_all_units_come_in_the_end_also_those_that_show_nothing() -> None:
    pool = random_pool(2, 0.3)
    hidden = np.isin(pool.units_of(UNITS), [1, 7])
    pool = replace(pool, accumulation=np.where(hidden, np.float32(0), pool.accumulation))
    labelled = some_labelled(len(UNITS))
    labelled[[1, 7]] = False
    choice = choose(pool, UNITS, labelled, 1e9, "clicks", geometry(), SEED)
    assert sorted(choice.chosen) == np.flatnonzero(~labelled).tolist()
    assert set(choice.chosen[-2:].tolist()) == {1, 7}
    assert np.isnan(choice.scores[-2:]).all()
    SlowGeometry(pool, UNITS, labelled, "clicks", geometry()).assert_made(choice, 1e9)


def test_of_two_views_of_one_wall_only_one_is_labelled() -> None:
    wall = np.stack(np.meshgrid(np.arange(WIDTH) * 0.1, np.arange(HEIGHT) * 0.1, [0.0], indexing="xy"), axis=-1)[
        :, :, 0
    ]
    points = np.stack([wall + 0.01, wall + 0.01, wall + np.array([0.01, 0.01, 5.0])])
    units = block_units(3)
    config = replace(geometry(damp_near_labels=True), voxel_size_m=0.1)
    half = len(units) * 2 / 3
    chosen = select(pool_of(points), units, np.zeros(len(units), bool), half, "clicks", config, SEED)
    per_wall = len(units) // 3
    of_first_wall = chosen[chosen < 2 * per_wall] % per_wall
    assert len(set(of_first_wall.tolist())) == len(of_first_wall) == per_wall
    assert (chosen >= 2 * per_wall).sum() == per_wall


def test_creases_weigh_their_share_of_the_surface() -> None:
    from semantic_ns.active_learning.strategies.pool_voxels import voxelise_pixels
    from semantic_ns.active_learning.strategies.surface_entropy import voxel_weights

    pool = random_pool(4)
    voxels = voxelise_pixels(pool.points_m, pool.has_sure_depth, 0.15)
    flat = np.tile(np.array([[0, 0, 1]], np.float32), (len(pool.frames), 1))
    turned = np.where(pool.points_m[:, :1] < 0.1, flat, flat[:, [2, 1, 0]])
    pool = replace(pool, normals=turned)
    is_crease = voxels.is_crease(turned)
    values = voxels.mean(pool.entropy)
    before = voxel_weights(pool, voxels, geometry(), values)
    after = voxel_weights(pool, voxels, geometry(balance_creases=True), values)
    assert 0 < is_crease.mean() < 1
    assert not np.isclose(before[is_crease].sum() / before.sum(), is_crease.mean(), rtol=1e-3)
    assert np.isclose(after[is_crease].sum() / after.sum(), is_crease.mean())
    assert (after[~is_crease] == before[~is_crease]).all()
    level = replace(pool, normals=flat)
    assert (voxel_weights(level, voxels, geometry(balance_creases=True), values) == before).all()


def wall_with_a_picture() -> tuple[Pool, np.ndarray]:
    """Views of a wall with a picture, of another colour, in one corner; and the blocks that show some of it."""
    wall = np.stack(np.meshgrid(np.arange(WIDTH) * 0.1, np.arange(HEIGHT) * 0.1, [0.0], indexing="xy"), axis=-1)[
        :, :, 0
    ]
    pool = pool_of(np.stack([wall + 0.01] * FRAMES))
    is_picture = (pool.rows >= 5) & (pool.columns >= 9)
    colors = np.where(is_picture[:, None], np.array([0.9, 0.1, 0.1], np.float32), np.float32(0.5))
    return replace(pool, colors=colors), np.unique(pool.units_of(UNITS)[is_picture])


def test_reach_goes_first_where_nothing_labelled_looks_alike() -> None:
    pool, of_picture = wall_with_a_picture()
    labelled = np.zeros(len(UNITS), bool)
    labelled[0] = True
    config = SelectionConfig(strategy="reach", voxel_size_m=0.1, damp_near_labels=False)
    chosen = select(pool, UNITS, labelled, 1.0, "clicks", config, SEED)
    assert chosen.tolist()[0] in of_picture
    # Whatever the field is sure of.
    sure = replace(pool, entropy=np.zeros_like(pool.entropy), confidence=np.ones_like(pool.entropy))
    assert select(sure, UNITS, labelled, 1.0, "clicks", config, SEED).tolist() == chosen.tolist()


def test_once_the_picture_has_a_label_reach_goes_elsewhere() -> None:
    pool, of_picture = wall_with_a_picture()
    labelled = np.zeros(len(UNITS), bool)
    labelled[of_picture] = True
    config = SelectionConfig(strategy="reach", voxel_size_m=0.1)
    assert select(pool, UNITS, labelled, 1.0, "clicks", config, SEED)[0] not in of_picture


def test_reach_without_colours_and_without_a_surface() -> None:
    pool, labelled = random_pool(1), np.zeros(len(UNITS), bool)
    with pytest.raises(SceneError, match="colours"):
        select(replace(pool, colors=None), UNITS, labelled, 2.0, "clicks", SelectionConfig(strategy="reach"), SEED)
    nowhere = replace(pool, points_m=np.full_like(pool.points_m, np.nan))
    assert len(select(nowhere, UNITS, labelled, 2.0, "clicks", SelectionConfig(strategy="reach"), SEED)) == 2


@pytest.mark.parametrize("strategy", ["entropy", "least-confidence", "margin", "disagreement"])
def test_uncertainty_takes_the_least_sure_units_first(strategy: Strategy) -> None:
    pool, labelled = random_pool(1), some_labelled(len(UNITS))
    assert pool.disagreement is not None
    values = {
        "entropy": pool.entropy, "least-confidence": 1 - pool.confidence, "margin": 1 - pool.margin,
        "disagreement": pool.disagreement,
    }[strategy]  # fmt: skip
    means = [values[pool.units_of(UNITS) == unit].mean() for unit in range(len(UNITS))]
    expected = [unit for unit in np.argsort(-np.array(means)) if not labelled[unit]][:9]
    choice = choose(pool, UNITS, labelled, 9.0, "clicks", SelectionConfig(strategy=strategy), SEED)
    assert choice.chosen.tolist() == expected
    assert np.allclose(choice.scores, np.array(means)[expected])


def farthest(places: np.ndarray, labelled: np.ndarray, count: int) -> list[int]:
    order = []
    for _ in range(count):
        centres = [*np.flatnonzero(labelled), *order]
        distances = np.linalg.norm(places[:, None] - places[centres], axis=-1).min(axis=1)
        order.append(int(np.argmax(distances)))
    return order


def test_coverage_of_regions_goes_where_no_labelled_surface_is_near() -> None:
    pool, labelled = random_pool(1), some_labelled(len(UNITS))
    sure = pool.has_sure_depth
    places = [pool.points_m[sure & (pool.units_of(UNITS) == unit)].mean(axis=0) for unit in range(len(UNITS))]
    chosen = select(pool, UNITS, labelled, 9.0, "clicks", SelectionConfig(strategy="coverage"), SEED)
    assert chosen.tolist() == farthest(np.array(places, np.float64), labelled, 9)


def test_coverage_of_frames_goes_by_poses() -> None:
    pool, units = random_pool(1), divide(IMAGES, "frame", 16)
    labelled = np.arange(FRAMES) == 2
    places = pool.camera_positions_m - pool.camera_positions_m.mean(axis=0)
    places = np.concatenate([places / np.sqrt((places**2).sum(axis=1).mean()), pool.viewing_directions], axis=1)
    chosen = select(pool, units, labelled, 3.0, "frames", SelectionConfig(strategy="coverage", unit="frame"), SEED)
    assert chosen.tolist() == farthest(places, labelled, 3)


def test_the_core_set_goes_by_features() -> None:
    pool, labelled = random_pool(1), some_labelled(len(UNITS))
    assert pool.features is not None
    values = pool.features.astype(np.float64)
    places = np.array([values[pool.units_of(UNITS) == unit].mean(axis=0) for unit in range(len(UNITS))])
    chosen = select(pool, UNITS, labelled, 9.0, "clicks", SelectionConfig(strategy="core-set"), SEED)
    assert chosen.tolist() == farthest(places, labelled, 9)


@pytest.mark.parametrize(
    ("strategy", "lacking"), [("core-set", "features"), ("disagreement", "disagreement"), ("reach", "colors")]
)
def test_a_pool_without_what_a_strategy_needs_is_refused(strategy: Strategy, lacking: str) -> None:
    pool = replace(random_pool(1), **{lacking: None})
    with pytest.raises(SceneError, match=f"a pool with {lacking.replace('color', 'colour')}"):
        select(pool, UNITS, some_labelled(len(UNITS)), 9.0, "clicks", SelectionConfig(strategy=strategy), SEED)
    assert required_statistics(strategy) == ({lacking} if lacking != "colors" else frozenset())


ALL = [(strategy, unit) for strategy in get_args(Strategy) for unit in get_args(Unit)]


@pytest.mark.parametrize(("strategy", "unit"), ALL)
def test_every_strategy_keeps_to_the_budget_and_to_what_has_no_label(strategy: Strategy, unit: Unit) -> None:
    pool, units = random_pool(7), divide(IMAGES, unit, 16)
    labelled = some_labelled(len(units), share=0.3)
    config = SelectionConfig(strategy=strategy, unit=unit)
    for cost in get_args(Cost):
        costs = units.costs(cost)
        for share in (0.0, 0.3, 2.0):
            budget = share * costs.sum()
            chosen = select(pool, units, labelled, budget, cost, config, SEED)
            assert len(set(chosen.tolist())) == len(chosen)
            assert not labelled[chosen].any()
            assert costs[chosen].sum() <= budget * (1 + 1e-9)
            # One more of the largest would not have fitted.
            left = ~labelled
            left[chosen] = False
            assert not left.any() or costs[chosen].sum() + costs[left].max() > budget


@pytest.mark.parametrize(("strategy", "unit"), ALL)
def test_the_same_arguments_give_the_same_choice(strategy: Strategy, unit: Unit) -> None:
    units = divide(IMAGES, unit, 16)
    labelled = some_labelled(len(units))
    config = SelectionConfig(strategy=strategy, unit=unit)
    one, other = (select(random_pool(8), units, labelled, 1.5, "frames", config, SEED) for _ in range(2))
    assert one.tolist() == other.tolist()


def test_other_seeds_give_other_random_choices() -> None:
    def chosen(seed: int, own: int = 0) -> list[int]:
        config = SelectionConfig(strategy="random", seed=own)
        return select(random_pool(8), UNITS, np.zeros(len(UNITS), bool), 9.0, "clicks", config, seed).tolist()

    assert chosen(0) == chosen(0)
    assert chosen(0) != chosen(1)
    assert chosen(0) != chosen(0, own=1)


def test_equals_are_taken_in_random_order() -> None:
    pool = replace(random_pool(8), entropy=np.full(len(random_pool(8).frames), 0.5, np.float32))
    labelled, config = np.zeros(len(UNITS), bool), SelectionConfig(strategy="entropy")
    chosen = [select(pool, UNITS, labelled, 9.0, "clicks", config, seed).tolist() for seed in (0, 1)]
    assert chosen[0] != chosen[1]


def test_no_argument_of_the_choice_holds_a_label() -> None:
    assert [*inspect.signature(select).parameters] == [
        "pool", "units", "labelled", "budget", "cost", "config", "seed",
    ]  # fmt: skip
    held = {field.name for kind in (Pool, Units, SelectionConfig) for field in fields(kind)}
    assert not [name for name in held if "label" in name and name != "damp_near_labels"]


@pytest.mark.parametrize("budget", [-1.0, float("nan"), float("inf")])
def test_a_budget_that_is_none_is_told(budget: float) -> None:
    with pytest.raises(SceneError, match="Expected a budget"):
        select(random_pool(0), UNITS, some_labelled(len(UNITS)), budget, "clicks", SelectionConfig(), SEED)


def every(stride: int, pool: Pool) -> Pool:
    kept = (pool.rows % stride == 0) & (pool.columns % stride == 0)
    whole = {"camera_positions_m", "viewing_directions", "stride"}
    columns = {field.name: getattr(pool, field.name) for field in fields(Pool) if field.name not in whole}
    return replace(pool, stride=stride, **{name: None if x is None else x[kept] for name, x in columns.items()})


def test_a_pixel_between_those_of_the_pool_has_its_label_counted_for_the_one_before_it() -> None:
    pool, units = every(2, random_pool(3)), divide(IMAGES, "pixel", 16)
    labelled = np.zeros(len(units), bool)
    labelled[units.maps[1][3, 5]] = True
    labelled[units.maps[2][6, 11]] = True
    config = SelectionConfig(strategy="random", unit="pixel")
    chosen = set(select(pool, units, labelled, 1e9, "clicks", config, SEED).tolist())
    shown = {int(units.maps[f][r, c]) for f in range(FRAMES) for r in range(0, HEIGHT, 2) for c in range(0, WIDTH, 2)}
    assert shown - chosen == {int(units.maps[1][2, 4]), int(units.maps[2][6, 10])}
    assert chosen < shown


def test_blocks_at_the_edge_of_an_odd_image_are_cut_off() -> None:
    pool = every(3, pool_of(np.zeros((1, 5, 7, 3))))
    units = divide([np.zeros((5, 7, 3), np.float32)], "pixel", 16)
    labelled = np.zeros(35, bool)
    labelled[[34, 4]] = True
    assert pool.is_labelled(units, labelled).tolist() == [False, True, False, False, False, True]


# Round 0


def cameras_of(count: int, seed: int = 0) -> Cameras:
    generator = torch.Generator().manual_seed(seed)
    rotations = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))[0]
    poses = torch.cat([rotations, torch.randn(count, 3, 1, generator=generator)], dim=-1)
    return Cameras(poses, 10.0, 10.0, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT)


@pytest.mark.parametrize(("frames", "expected"), [(1, 1), (5, 2), (200, 2), (270, 3)])
def test_round_0_has_one_of_ninety_frames_and_at_least_two(frames: int, expected: int) -> None:
    units = divide([np.zeros((2, 2, 3), np.float32)] * frames, "frame", 4)
    chosen = initial_units(cameras_of(frames), units, "frame", 0)
    assert len(set(chosen.tolist())) == len(chosen) == expected


def test_the_second_frame_of_round_0_is_the_farthest_from_the_first() -> None:
    cameras = cameras_of(FRAMES)
    poses = cameras.camera_to_worlds.numpy()
    places = poses[:, :, 3] - poses[:, :, 3].mean(axis=0)
    places = np.concatenate([places / np.sqrt((places**2).sum(axis=1).mean()), -poses[:, :, 2]], axis=1)
    for seed in range(4):
        first, second = initial_units(cameras, divide(IMAGES, "frame", 16), "frame", seed)
        assert second == np.argmax(np.linalg.norm(places - places[first], axis=1))


def test_round_0_of_pixels_is_a_share_of_them() -> None:
    units = divide(IMAGES, "pixel", 16)
    chosen = initial_units(cameras_of(FRAMES), units, "pixel", 0, share=0.05)
    assert len(set(chosen.tolist())) == len(chosen) == round(0.05 * FRAMES * HEIGHT * WIDTH)


def test_round_0_of_regions_takes_one_from_each_frame_before_a_second() -> None:
    for share in (0.1, 0.3, 0.6):
        chosen = initial_units(cameras_of(FRAMES), UNITS, "region", 1, share)
        assert len(set(chosen.tolist())) == len(chosen)
        assert UNITS.num_pixels[chosen].sum() <= share * UNITS.num_pixels.sum()
        counts = np.bincount(UNITS.frames[chosen], minlength=FRAMES)
        assert counts.max() - counts.min() <= 1
        assert sorted(UNITS.frames[chosen[:FRAMES]].tolist()) == sorted(set(UNITS.frames[chosen[:FRAMES]].tolist()))


@pytest.mark.parametrize("unit", get_args(Unit))
def test_round_0_hangs_on_the_seed_alone_and_is_never_empty(unit: Unit) -> None:
    cameras, units = cameras_of(FRAMES), divide(IMAGES, unit, 16)
    chosen: list[Any] = [initial_units(cameras, units, unit, seed, 0.1).tolist() for seed in (0, 0, 1, 2, 3)]
    assert chosen[0] == chosen[1]
    assert any(chosen[0] != other for other in chosen[2:])
    assert len(initial_units(cameras, units, unit, 0, 1e-9)) >= 1
