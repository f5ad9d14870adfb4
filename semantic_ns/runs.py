"""A trained run, loaded once for all who ask something of it: its model, its data, and how its scene is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from semantic_ns.errors import SceneError
from semantic_ns.run_paths import relocate

if not TYPE_CHECKING:
    # Slow to import, and not needed to refuse a path.
    DataParserConfig = PipelineLike = RenderingModel = Any
else:
    from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

    from semantic_ns.interfaces import PipelineLike, RenderingModel

Need = Literal["images", "intervals"]
"""What is asked of the model: to render images (`RenderingModel`), or rays or images with their intervals as well."""


@dataclass(frozen=True, eq=False)
class Run:
    """A training run of one of this package's methods, at its newest checkpoint.

    Attributes:
        load_config: The run's config.yml.
        pipeline: Model and data, in evaluation.
        parser_config: The configuration by which the run reads its scene.
    """

    load_config: Path
    pipeline: PipelineLike
    parser_config: DataParserConfig

    @property
    def model(self) -> RenderingModel:
        """The trained model."""
        return self.pipeline.model


def refuse_missing_run(load_config: Path, option: str = "--load-config") -> None:
    """Check that there is a run, before anything slow is imported.

    Args:
        load_config: The run's config.yml.
        option: The option of the command line that names it.

    Raises:
        SceneError: if there is no such file.
    """
    if not load_config.is_file():
        raise SceneError(
            f"Expected the config.yml of a training run, found no file {load_config}; ns-train prints its path when it "
            f"ends, correct {option}."
        )


def load_run(
    load_config: Path, scene: Path | None = None, needs: Need = "images", option: str = "--load-config"
) -> Run:
    """Load a run and check that it can serve (slow: the scene is read as in training).

    Args:
        load_config: The run's config.yml.
        scene: The folder that the run must have been trained on; None for any.
        needs: What is asked of the model.
        option: The option of the command line that names the run.

    Raises:
        SceneError: if there is no such file, the run is none of this package's methods or of one that cannot do what is
            needed, or it is of another scene.
    """
    refuse_missing_run(load_config, option)
    from nerfstudio.utils.eval_utils import eval_setup

    def where_it_is(config: Any) -> Any:
        if hasattr(config, "run_dir"):  # of one of this package's methods
            relocate(config, load_config)
        return config

    config, pipeline, _, _ = eval_setup(load_config, test_mode="inference", update_config_callback=where_it_is)
    refuse_other_methods(pipeline.model, load_config, needs)
    parser_config = cast(Any, config.pipeline.datamanager).dataparser
    if scene is not None and Path(parser_config.data).resolve() != scene.resolve():
        raise SceneError(
            f"Expected a run of the scene {scene}, found one of {parser_config.data} in {load_config}; choose a run of "
            "this scene."
        )
    return Run(load_config, cast(PipelineLike, pipeline), parser_config)


def refuse_other_methods(model: object, load_config: Path, needs: Need) -> None:
    """Check that the model of a run can do what is needed.

    Raises:
        SceneError: if it cannot.
    """
    from semantic_ns.interfaces import can, gives_raw_outputs

    if not gives_raw_outputs(model):
        raise SceneError(
            f"Expected a run of one of this package's methods, found a {type(model).__name__}, which renders no "
            f"labels, in {load_config}; train with ns-train semantic-nerf."
        )
    if needs == "intervals" and not (can(model, "renders_intervals") or can(model, "renders_image_intervals")):
        raise SceneError(
            f"Expected a run of semantic-nerf, found a {type(model).__name__}, which renders no single rays, in "
            f"{load_config}; train with ns-train semantic-nerf."
        )
