"""A trained model that knows many scenes, applied to a new one: a run folder like any other, without training."""

import copy
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from jaxtyping import UInt8
from nerfstudio.configs.method_configs import all_methods
from numpy import ndarray
from PIL import Image

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.common_label_space import unknown_names
from semantic_ns.dataparsers.many_scenes import ManyScenesDataParser
from semantic_ns.dataparsers.scene_folders import SceneFolder, find_scenes
from semantic_ns.dataparsers.splits import SplitMethod
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.pictures import paint, tile
from semantic_ns.evaluation.worst_images import short_names
from semantic_ns.host import default_device
from semantic_ns.io.writing import flush_to_disk, write_errors_as_scene_error, write_text
from semantic_ns.many_scenes.source_coverage import SourceCoverage
from semantic_ns.many_scenes.views import view_cameras
from semantic_ns.methods.many_scenes_pipeline import ManyScenesPipeline, ManyScenesPipelineConfig
from semantic_ns.methods.weights import Origin, label_space_of, read_origin, read_weights, set_options
from semantic_ns.trainer import SemanticTrainerConfig

FIRST_VIEW = "first_view.png"
"""Picture in the folder of the run: a frame as the model sees it from others."""
_LEAST_SOURCES = 2
_CHECKPOINT = "step-000000000.ckpt"


@dataclass(frozen=True)
class RoomOptions:
    """How the new scene is read.

    Attributes:
        split: which frames are sources and which are scored; None decides by the labels, see `apply_weights`.
        eval_interval: number of frames per scored frame (split interval).
        normalize_scale: whether a scene of unknown scale is scaled by the distances between its cameras.
        num_source_views: number of sources of an image; None for that of the weights.
        use_source_labels: whether labels of source frames are carried over.
        metres_per_unit: metres that a unit of the camera positions is, in a scene of unknown scale.
    """

    split: SplitMethod | None = None
    eval_interval: int = 8
    normalize_scale: bool = False
    num_source_views: int | None = None
    use_source_labels: bool = True
    metres_per_unit: float | None = None


@dataclass(frozen=True)
class FirstView:
    """The picture of a new run: what the model makes of one frame from others.

    Attributes:
        frame: name of the frame.
        is_source: whether the frame is a source of others; it is never one of itself.
        picture: colours, depth and classes side by side.
    """

    frame: str
    is_source: bool
    picture: UInt8[ndarray, "height width 3"]


@dataclass(frozen=True)
class AppliedRun:
    """What came of applying weights to a scene.

    Attributes:
        config: the new config.yml.
        method: name of the method.
        scene: the scene.
        num_sources: number of source frames.
        num_labelled: how many of them have a label image.
        split: which frames are sources and which are scored, as a sentence.
        num_known: number of classes that the model knows.
        shared: names of the scene's classes that the model knows.
        unknown: names of the scene's classes that it does not know, which are void.
        coverage: how much of each scored frame its sources see.
        split_method: the option by which they are told apart.
        learning_rate: that of a training of the method from the start.
        first: the frame in the picture.
        weights_normalize_scale: see `Origin`.
        levels_cameras: whether the model levels the cameras of its sources.
    """

    config: Path
    method: str
    scene: Path
    num_sources: int
    num_labelled: int
    split: str
    num_known: int
    shared: tuple[str, ...]
    unknown: tuple[str, ...]
    coverage: SourceCoverage
    split_method: SplitMethod
    learning_rate: float
    first: FirstView
    weights_normalize_scale: bool | None = None
    levels_cameras: bool = False

    @property
    def first_view(self) -> Path:
        """The file of the picture: colour, depth, classes."""
        return self.config.parent / FIRST_VIEW


def apply_weights(weights: Path, data: Path, output_dir: Path, options: RoomOptions) -> AppliedRun:
    """Write a run folder in which a model renders a scene that it was not trained on.

    The run needs the scene, and neither the weights nor what they were trained on. The folder is there whole or not at
    all. Without a split all frames are sources, and each frame is rendered from the others; a scene in which every
    frame has labels is split as it is for training.

    Args:
        weights: folder, config.yml or checkpoint of a run, a file of weights, or the name of built-in ones.
        data: folder of the scene, in any layout that `semantic-data` reads; it may have no labels.
        output_dir: folder of the new run, which holds nothing yet.
        options: how the scene is read.

    Raises:
        SceneError: if there are no such weights, they do not fit their method or the scene's classes, or the scene
            cannot be read, has no known scale, or has fewer than two source frames.
    """
    origin = read_origin(weights)
    config = _method_config(origin, weights)
    scene = _only_scene(data)
    pipeline_config = cast(Any, config.pipeline)
    parser_config = pipeline_config.datamanager.dataparser
    parser_config.label_space = label_space_of(read_weights(weights)).to_json()
    parser_config.eval_interval = options.eval_interval
    parser_config.normalize_scale = options.normalize_scale
    parser_config.metres_per_unit = options.metres_per_unit
    pipeline_config.datamanager.data = parser_config.data = scene.path.resolve()
    parser = cast(ManyScenesDataParser, parser_config.setup())
    parser_config.split = options.split or ("auto" if parser.has_all_labels(parser.shown_scene) else "all")
    pipeline_config.model.weights = weights
    pipeline_config.weights_normalize_scale = origin.normalizes_scale  # whatever the scale of this scene
    pipeline_config.model.use_source_labels = options.use_source_labels
    if options.num_source_views is not None:
        pipeline_config.model.num_source_views = options.num_source_views
    pipeline = cast(ManyScenesPipeline, config.pipeline.setup(device=default_device()))
    sources = _checked_sources(pipeline, data, parser_config.split)
    pipeline_config.model.weights = None
    first = _first_view(pipeline)
    _write_run(config, pipeline, first.picture, output_dir)
    own = cast(ManyScenesDataParser, cast(Any, pipeline.datamanager).dataparser).classes_of(parser.shown_scene)
    known = parser.taxonomy
    unknown = unknown_names(own, known)
    return AppliedRun(
        config=output_dir / "config.yml",
        method=origin.method,
        scene=data,
        num_sources=len(sources),
        num_labelled=sum(path is not None for path in sources.metadata[keys.LABEL_FILENAMES]),
        split=sources.metadata[keys.SPLIT],
        num_known=known.num_classes,
        shared=tuple(name for name in own.names if name not in unknown),
        unknown=unknown,
        coverage=_coverage(pipeline),
        split_method=parser_config.split,
        learning_rate=cast(Any, config.optimizers)["network"]["optimizer"].lr,
        first=first,
        weights_normalize_scale=origin.normalizes_scale,
        levels_cameras=bool(origin.options.get("levels_cameras")),
    )


def _method_config(origin: Origin, weights: Path) -> SemanticTrainerConfig:
    """A new configuration of the method that the weights are of."""
    registered = all_methods.get(origin.method)
    if registered is None or not isinstance(registered.pipeline, ManyScenesPipelineConfig):
        raise SceneError(
            f"Expected weights of a registered method that knows many scenes, such as gsnerf-small, in {weights}, "
            f"found '{origin.method}'; give a run of such a method."
        )
    config = cast(SemanticTrainerConfig, copy.deepcopy(registered))
    pipeline = cast(Any, config.pipeline)
    set_options(pipeline.model, origin.options)
    pipeline.datamanager.max_image_width = origin.max_image_width
    return config


def _only_scene(data: Path) -> SceneFolder:
    scenes = find_scenes(data)
    if len(scenes) > 1:
        raise SceneError(
            f"Expected the folder of one scene at {data}, found {len(scenes)} scenes; apply the weights to one after "
            "the other."
        )
    return scenes[0]


def _checked_sources(pipeline: ManyScenesPipeline, data: Path, split: SplitMethod) -> Any:
    """The data set of source frames, if there are enough, and the model can use their cameras."""
    sources = cast(Any, pipeline.datamanager).train_dataset
    if len(sources) < _LEAST_SOURCES:
        raise SceneError(
            f"Expected at least {_LEAST_SOURCES} source frames in {data}, found {len(sources)}; give more frames"
            f"{'' if split == 'all' else ', or --split all to take every frame for a source'}."
        )
    view_cameras(sources.cameras, 1.0)
    return sources


def _coverage(pipeline: ManyScenesPipeline) -> SourceCoverage:
    """How much of the frames that are scored their sources see."""
    scored, model = cast(Any, pipeline.datamanager).eval_dataset, cast(Any, pipeline.model)
    sources = model.shelf.sources()
    targets = view_cameras(scored.cameras, sources.metres_per_unit)
    return SourceCoverage.of(targets, sources.cameras, short_names(scored.image_filenames), model.source_rule)


def _first_view(pipeline: ManyScenesPipeline) -> FirstView:
    """What the model makes of the middle one of the scored frames, or of the sources where these are scored.

    A source lacks itself among the frames that it is rendered from, and so is harder to see than a scored frame.
    """
    manager = cast(Any, pipeline.datamanager)
    sources, scored = manager.train_dataset, manager.eval_dataset
    own = set(sources.image_filenames)
    apart = [number for number, path in enumerate(scored.image_filenames) if path not in own]
    shown, frames = (scored, apart) if apart else (sources, range(len(sources)))
    middle = frames[len(frames) // 2]
    model = cast(Any, pipeline.model).eval()
    outputs = model.get_outputs_for_camera(shown.cameras[middle : middle + 1].to(pipeline.device))
    depth = outputs["depth"]
    parts = [outputs["rgb"].cpu(), paint(depth, float(depth.min()), float(depth.max()))]
    picture = tile([[*parts, outputs["semantics_colormap"].cpu()]])
    return FirstView(
        short_names(shown.image_filenames)[middle], not apart, (picture * 255).round().to(torch.uint8).numpy()
    )


def _write_run(
    config: SemanticTrainerConfig,
    pipeline: ManyScenesPipeline,
    first_view: UInt8[ndarray, "height width 3"],
    output_dir: Path,
) -> None:
    """Write the folder of the run beside its place and move it there."""
    target = Path(os.path.abspath(output_dir))
    config = replace(
        config,
        run_dir=target,
        trained_in=Path.cwd(),
        output_dir=target.parent,
        experiment_name=target.name,
        timestamp="applied",
        data=cast(Any, config.pipeline.datamanager).data,
    )
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    checkpoint = partial / config.relative_model_dir / _CHECKPOINT
    try:
        with write_errors_as_scene_error(target):
            checkpoint.parent.mkdir(parents=True)
            state = {"step": 0, "pipeline": pipeline.state_dict(), "optimizers": {}, "schedulers": {}, "scalers": {}}
            torch.save(state, checkpoint)
            flush_to_disk(checkpoint)
            outputs = cast(Any, pipeline.datamanager).train_dataparser_outputs
            outputs.save_dataparser_transform(partial / "dataparser_transforms.json")
            Image.fromarray(first_view).save(partial / FIRST_VIEW)
            write_text(partial / "config.yml", yaml.dump(config))
            os.replace(partial, target)
            flush_to_disk(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
