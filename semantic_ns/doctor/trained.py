"""What a trained scene renders: depth, for scenes without depth images, veils, and where its surface is unsure."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float32
from numpy import ndarray

from semantic_ns.batch import planar_depth_m
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.doctor.loading import LoadedScene, load_scene
from semantic_ns.evaluation.unsure_surface import UnsureSurface
from semantic_ns.evaluation.veil import Veils
from semantic_ns.evaluation.worst_images import short_names
from semantic_ns.interfaces import RenderingModel, SemanticModelLike, can
from semantic_ns.many_scenes.source_coverage import SourceCoverage
from semantic_ns.many_scenes.views import view_cameras
from semantic_ns.runs import load_run

_Found = TypeVar("_Found")
_NUM_RAYS = 192
"""Of each frame, to look for veils and unsure surfaces."""


def load_trained_scene(load_config: Path, data: Path) -> LoadedScene:
    """A scene as a training run reads it, with the depth that the run renders (slow: a view at a time).

    Args:
        load_config: the run's config.yml.
        data: the scene, which must be that of the run.

    Raises:
        SceneError: if there is no such file, it is no run of this package's methods, or it is of another scene.
    """
    run = load_run(load_config, data, option="--trained")
    model, scene = run.model, load_scene(run.parser_config)
    metres_per_unit = scene.places[0][0].metadata[keys.METRES_PER_UNIT]

    @cache
    def render(index: int) -> Float32[ndarray, "height width"]:
        with torch.no_grad(), model.raw_outputs():
            outputs = model.get_outputs_for_camera(scene.camera(index).to(model.device))
        return planar_depth_m(outputs, metres_per_unit)[..., 0].cpu().numpy()

    views = replace(scene.views, read_depth=render, is_depth_rendered=True)
    find_coverage = partial(_find_coverage, scene, model) if can(model, "renders_from_sources") else None
    return replace(
        scene,
        views=views,
        find_veils=partial(_find_veils, scene, model),
        find_unsure_surface=partial(_find_unsure_surface, scene, model),
        find_coverage=find_coverage,
    )


def _find_coverage(scene: LoadedScene, model: Any) -> SourceCoverage:
    sources = model.shelf.sources()
    targets = view_cameras(scene.cameras(), sources.metres_per_unit)
    return SourceCoverage.of(targets, sources.cameras, short_names(scene.views.images), model.source_rule)


def _find_veils(scene: LoadedScene, model: RenderingModel) -> Veils | str:
    from semantic_ns.evaluation.veil_of_model import find_veils_of

    return _asked(scene, model, find_veils_of)


def _find_unsure_surface(scene: LoadedScene, model: RenderingModel) -> UnsureSurface | str:
    from semantic_ns.evaluation.veil_of_model import find_unsure_surface_of

    return _asked(scene, model, find_unsure_surface_of)


def _asked(scene: LoadedScene, model: RenderingModel, find: Callable[..., _Found | None]) -> _Found | str:
    from semantic_ns.evaluation.veil_of_model import why_not_looked_for

    if not can(model, "renders_rays"):
        return f"a {type(model).__name__} renders whole images only, not the single rays that this takes"
    cameras = scene.cameras().to(model.device)
    if (reason := why_not_looked_for(cameras)) is not None:
        return reason
    names = short_names(scene.views.images)
    found = find(cast(SemanticModelLike, model), cameras, names, num_rays=_NUM_RAYS)
    assert found is not None  # there is no reason against it
    return found
