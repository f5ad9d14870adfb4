"""What a trained scene renders: depth, for scenes without depth images, and veils before its cameras."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from semantic_ns.batch import PLANAR_DEPTH
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.doctor.loading import LoadedScene, load_scene
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.veil import Veils
from semantic_ns.evaluation.worst_images import short_names
from semantic_ns.interfaces import RenderingModel, SemanticModelLike, can, gives_raw_outputs

_NUM_RAYS = 192
"""Of each frame, to look for veils."""


def load_trained_scene(load_config: Path, data: Path) -> LoadedScene:
    """A scene as a training run reads it, with the depth that the run renders (slow: a view at a time).

    Args:
        load_config: the run's config.yml.
        data: the scene, which must be that of the run.

    Raises:
        SceneError: if there is no such file, it is no run of this package's methods, or it is of another scene.
    """
    if not load_config.is_file():
        raise SceneError(f"Expected the config.yml of a training run, found no file {load_config}; check --trained.")
    # Slow to import, and only needed here.
    from nerfstudio.utils.eval_utils import eval_setup

    config, pipeline, _, _ = eval_setup(load_config, test_mode="inference")
    model = pipeline.model
    if not gives_raw_outputs(model):
        raise SceneError(
            f"Expected a run of one of this package's methods, found a {type(model).__name__} in {load_config}; train "
            "with ns-train semantic-nerf."
        )
    parser_config = cast(Any, config.pipeline.datamanager).dataparser
    if Path(parser_config.data).resolve() != data.resolve():
        raise SceneError(
            f"Expected a run of the scene {data}, found one of {parser_config.data} in {load_config}; choose its run."
        )
    scene = load_scene(parser_config)
    metres_per_unit = scene.places[0][0].metadata[keys.METRES_PER_UNIT]

    @cache
    def render(index: int) -> Float32[ndarray, "height width"]:
        with torch.no_grad(), model.raw_outputs():
            outputs = model.get_outputs_for_camera(scene.camera(index).to(model.device))
        return (outputs[PLANAR_DEPTH][..., 0].cpu().numpy() * metres_per_unit).astype(np.float32)

    views = replace(scene.views, read_depth=render, is_depth_rendered=True)
    return replace(scene, views=views, find_veils=partial(_find_veils, scene, model))


def _find_veils(scene: LoadedScene, model: RenderingModel) -> Veils | None:
    from semantic_ns.evaluation.veil_of_model import find_veils_of

    if not can(model, "renders_rays"):
        return None
    cameras = scene.cameras().to(model.device)
    return find_veils_of(cast(SemanticModelLike, model), cameras, short_names(scene.views.images), num_rays=_NUM_RAYS)
