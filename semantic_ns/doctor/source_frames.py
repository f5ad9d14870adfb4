"""How much of each frame the others show, for methods that render from a few source frames."""

import numpy as np
import torch

from semantic_ns.doctor.loading import LoadedScene
from semantic_ns.evaluation.worst_images import short_names
from semantic_ns.geometry.views import ViewCameras
from semantic_ns.many_scenes.source_coverage import SourceCoverage, SourceRule

_LEAST_FRAMES = 2


def coverage_of(scene: LoadedScene) -> SourceCoverage | None:
    """How much of each frame its sources show: those of a trained scene, else three of all other frames.

    None where there is nothing to say: a frame without others, poses that are not finite, or an unknown scale.
    """
    if scene.find_coverage is not None:
        return scene.find_coverage()
    views = scene.views
    if len(views) < _LEAST_FRAMES or not scene.is_metric or not np.isfinite(views.c2w).all():
        return None
    scale = np.array([[width, height, width, height] for width, height in views.sizes])
    cameras = ViewCameras(
        torch.from_numpy(np.asarray(views.c2w, np.float64)), torch.from_numpy(views.intrinsics / scale).double()
    )
    return SourceCoverage.of(cameras, cameras, short_names(views.images), SourceRule())
