"""Rounds of active learning on a field whose geometry and colours are done: choose, answer, spread, train, score."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from semantic_ns.active_learning.acquisition import margin
from semantic_ns.active_learning.pool.ensemble_head import split_columns, with_ensemble_head
from semantic_ns.active_learning.pool.pool import Pool, render_pool
from semantic_ns.active_learning.pool.units import Units
from semantic_ns.active_learning.rounds.reset_classes import reset_semantic_parameters
from semantic_ns.active_learning.rounds.revealed_labels import RevealedLabels
from semantic_ns.active_learning.rounds.schedule import ActiveConfig
from semantic_ns.active_learning.rounds.stage import choose_units, divide_pool, make_oracle
from semantic_ns.active_learning.strategies.selection import required_statistics
from semantic_ns.benchmark.active.class_training import PoolRays, train_classes
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.evaluation.metrics import confusion_matrix, segmentation_scores
from semantic_ns.fields.class_rays import ClassRays, collect_rays
from semantic_ns.geometry.rays import FastRayGenerator
from semantic_ns.interfaces import PipelineLike
from semantic_ns.io.writing import replacing
from semantic_ns.pipeline import MIOU_RULE, without_nan
from semantic_ns.propagation.stage import PropagationStage
from semantic_ns.rendering import describe_logits
from semantic_ns.surface.maps import render_maps

_RAYS_AT_A_TIME = 1 << 16
SCORES = ("miou_present", "miou", "class_accuracy", "pixel_accuracy")


class Rounds:
    """Goes through the rounds of one strategy; in each, classes start over.

    What is the same in all rounds and strategies of a scene and seed is kept in files beside the colour training.

    Args:
        pipeline: pipeline of a trained field, with active learning.
        config: configuration of the trainer.
        cache: folder for these files.
        seed: seed of the training of classes.
        score_stride: every n-th test image is scored.
    """

    def __init__(self, pipeline: PipelineLike, config: Any, cache: Path, seed: int, score_stride: int) -> None:
        self._model, self._manager, self._config, self._seed = pipeline.model, pipeline.datamanager, config, seed
        self._active: ActiveConfig = config.pipeline.active
        self._revealed: RevealedLabels = pipeline.revealed_labels
        self._scored = range(0, len(self._manager.eval_dataset), score_stride)
        self._units = self._divided(cache)
        self._oracle = make_oracle(self._manager, self._units, self._active)
        # Every round spreads once. A quarter of a run's voxels is as fair to all strategies, and four times as fast.
        spreading = replace(
            config.pipeline.propagation, fractions=(), num_nodes=config.pipeline.propagation.num_nodes // 4
        )
        self._propagation = PropagationStage(spreading, self._model, self._manager, 1)
        generator, num_rays = self._manager.train_ray_generator, config.pipeline.propagation.num_rays
        maps = render_maps(self._model, generator, self._manager.train_dataset.cameras, num_rays)
        pixels = maps.pixels_of(np.arange(maps.depths.size))
        self._pool_rays = PoolRays(maps, _kept(cache / "pool.npz", lambda: self._collect(generator, pixels)))
        self._test_rays = _kept(cache / f"test_{score_stride}.npz", self._collect_test)
        self._pool: Pool | None = None

    def next_round(self, num_steps: int) -> dict[str, Any]:
        """One round; returns what it asked for and cost, its scores, and the seconds that its parts took."""
        number, clock = len(self._revealed.rounds), [time.perf_counter()]
        chosen = choose_units(self._model, self._manager, self._units, self._revealed, self._active, self._shown_pool)
        clock.append(time.perf_counter())
        self._oracle.ask(number, chosen)
        self._revealed.ask(self._units, chosen, 0)
        self._revealed.reveal(self._units, self._oracle.answers(self._revealed.pending, 0))
        self._manager.set_training_labels(self._revealed.labels)
        self._propagation.spread(self._pool_rays.maps)
        clock.append(time.perf_counter())
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        torch.manual_seed(seed)
        reset_semantic_parameters(self._model.field.head, {})
        train_classes(self._model, self._manager, self._pool_rays, self._config.optimizers, num_steps)
        clock.append(time.perf_counter())
        scores = self._scores()
        clock.append(time.perf_counter())
        parts = ("choosing", "spreading", "training", "scoring")
        seconds = dict(zip(parts, np.diff(clock).tolist(), strict=True))
        shares = {cost: self._revealed.rounds[-1][cost] / float(self._units.costs(cost).sum()) for cost in _CURRENCIES}
        return {**self._revealed.rounds[-1], "shares": shares, "scores": scores, "seconds": seconds}

    def circumstances(self) -> dict[str, Any]:
        """Where the scores come from."""
        metadata = self._manager.eval_dataset.metadata
        rules = {name: str(metadata[name]) for name in (keys.SPLIT, keys.VOID_RULE)}
        numbers = {"train_frames": len(self._manager.train_dataset), "scored_frames": len(self._scored)}
        return {**rules, "miou_rule": MIOU_RULE, **numbers}

    def _shown_pool(self) -> Pool:
        """What the field shows; geometry is rendered once, classes as they are now."""
        needs = required_statistics(self._active.strategy)
        if self._pool is None:
            manager = self._manager
            num_rays = self._config.pipeline.propagation.num_rays
            cameras = manager.train_dataset.cameras
            self._pool = render_pool(self._model, manager.train_ray_generator, cameras, num_rays, needs)
        num_classes = self._manager.train_dataset.taxonomy.num_classes
        with torch.no_grad(), with_ensemble_head(self._model.field, needs):
            rendered = self._logits(self._pool_rays.rays, len(self._pool_rays.rays))
            parts = [split_columns(columns, num_classes, needs) for columns in rendered]
        logits = torch.cat([part.logits for part in parts])
        _, confidence, entropy = describe_logits(logits)
        shown = {"confidence": confidence[:, 0], "entropy": entropy[:, 0], "margin": margin(logits)}
        found = {name: values.numpy() for name, values in shown.items()}
        for name in needs:
            values = torch.cat([getattr(part, name) for part in parts]).numpy()
            found[name] = values.astype(np.float16) if name == "features" else values
        return replace(self._pool, **cast(dict[str, Any], found))

    def _logits(self, rays: ClassRays, step: int) -> Any:
        for start in range(0, len(rays), min(step, _RAYS_AT_A_TIME)):
            numbers = np.arange(start, min(start + min(step, _RAYS_AT_A_TIME), len(rays)))
            yield rays.logits(self._model.field.head, numbers)

    def _scores(self) -> dict[str, float | None]:
        dataset = self._manager.eval_dataset
        truth = torch.from_numpy(np.concatenate([dataset.labels_of(number).ravel() for number in self._scored])).long()
        num_classes = dataset.taxonomy.num_classes
        confusion, start = torch.zeros(num_classes, num_classes, dtype=torch.int64), 0
        with torch.no_grad():
            for logits in self._logits(self._test_rays, len(self._test_rays)):
                labels = logits.argmax(dim=-1)
                confusion += confusion_matrix(labels, truth[start : start + len(labels)], num_classes)
                start += len(labels)
        scores = segmentation_scores(confusion)
        return without_nan({name: getattr(scores, name) for name in SCORES})

    def _collect(self, generator: Any, pixels: Int64[ndarray, "rays 3"]) -> ClassRays:
        return collect_rays(self._model, generator, torch.from_numpy(pixels))

    def _collect_test(self) -> ClassRays:
        cameras = self._manager.eval_dataset.cameras
        pixels = [_all_pixels(number, self._size(cameras[number])) for number in self._scored]
        return collect_rays(self._model, FastRayGenerator(cameras), torch.cat(pixels))

    @staticmethod
    def _size(camera: Any) -> tuple[int, int]:
        return int(camera.height), int(camera.width)

    def _divided(self, cache: Path) -> Units:
        """The division of the pool, kept in a file unless it is one of pixels, which takes no time."""
        if self._active.unit == "pixel":
            return divide_pool(self._manager, self._active)
        path = cache / f"units_{self._active.unit}_{self._active.region_pixels}.npz"
        if not path.exists():
            units = divide_pool(self._manager, self._active)
            with replacing(path) as temporary, temporary.open("wb") as file:
                numbers = (units.frames, units.num_pixels, units.clicks)
                np.savez_compressed(file, maps=np.stack(units.maps), numbers=np.stack(numbers).astype(np.int64))
        with np.load(path) as arrays:
            frames, num_pixels, clicks = arrays["numbers"]
            return Units(list(arrays["maps"]), frames.astype(np.int32), num_pixels, clicks)


_CURRENCIES = ("pixels", "clicks", "frames")


def _all_pixels(camera: int, size: tuple[int, int]) -> Int64[Tensor, "rays 3"]:
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return torch.stack([torch.full_like(rows, camera), rows, columns], dim=-1).view(-1, 3)


def _kept(path: Path, collect: Any) -> ClassRays:
    """Rays from a file, which is made where it is missing."""
    if not path.exists():
        collect().save(path)
    return ClassRays.load(path)
