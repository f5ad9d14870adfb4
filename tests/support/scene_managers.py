"""Data managers of many scenes, and comparisons of their samples."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semantic_ns.datamanagers.many_scenes_datamanager import (
    ManyScenesDataManager,
    ManyScenesDataManagerConfig,
)
from semantic_ns.dataparsers.many_scenes import ManyScenesDataParserConfig
from semantic_ns.many_scenes.samples import Augmentation, TargetSample

SCENES = ("replica", "studio")
UNCHANGED = Augmentation(mirror=0.0, scale=1.0, color=0.0)


def manager_of(rooms: Path, rank: int = 0, world: int = 1, options: dict[str, Any] | None = None, **parser: Any) -> Any:
    chosen: dict[str, Any] = {"train_sources": (2, 3)} | (options or {})
    config = ManyScenesDataManagerConfig(data=rooms, dataparser=ManyScenesDataParserConfig(**parser), **chosen)
    return ManyScenesDataManager(config, "cpu", "val", world, rank)


def tensors(sample: TargetSample) -> list[Tensor]:
    found = []
    for frames in (sample.sources, sample.targets):
        assert frames.depths_m is not None
        found += [frames.images, frames.labels, frames.depths_m, frames.cameras.c2w, frames.cameras.intrinsics]
    return found


def are_equal(first: TargetSample, second: TargetSample) -> bool:
    pairs = list(zip(tensors(first), tensors(second), strict=True))
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)
