"""What the rooms beside the pipeline may ask of a model, of a data manager and of the pipeline: nothing else.

Models, data managers and data sets state what they can do, see `Capability`; nobody guesses it from their class or
from their attributes. What is optional is None or False where it is missing.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeGuard, runtime_checkable

from jaxtyping import Float, Int16
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from numpy import ndarray
from torch import Tensor

from semantic_ns.labels.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class RenderedIntervals:
    """Rays at evaluation with the intervals that they are made of.

    Attributes:
        rgb: colour in 0..1.
        logits: class logits; None without semantics.
        weights: rendering weights.
        distances: those of the edges of the intervals along the unit ray, scene units.
    """

    rgb: Float[Tensor, "rays 3"]
    logits: Float[Tensor, "rays classes"] | None
    weights: Float[Tensor, "rays samples"]
    distances: Float[Tensor, "rays edges"]


@runtime_checkable  # for beartype in the tests; ask `gives_raw_outputs`
class RenderingModel(Protocol):
    """A trained model with classes whose images are wanted."""

    taxonomy: Taxonomy
    device: Any
    gives_raw_outputs: bool
    """Whether it has `raw_outputs`, of which `gives_raw_outputs` asks."""

    def raw_outputs(self) -> AbstractContextManager[Any]:
        """Inside it, the model also renders integer labels and planar depth, see `semantic_ns.batch`."""
        ...

    def get_outputs_for_camera(self, camera: Cameras) -> dict[str, Tensor]:
        """Render one camera; each output is [H, W, c]."""
        ...


Capability = Literal[
    "renders_rays",
    "renders_intervals",
    "renders_image_intervals",
    "renders_from_sources",
    "renders_classes",
    "gives_raw_outputs",
    "exports_gaussians",
    "supports_propagation",
    "shows_surface",
    "supports_active_learning",
    "supports_geometry_supervision",
    "shows_instances",
    "gives_training_labels",
    "scores_many_scenes",
    "trains_with_depth",
    "loads_depth",
]
"""What a model, a data manager (`gives_training_labels`, `scores_many_scenes`, `trains_with_depth`) or a data set
(`loads_depth`) may state of itself."""


def can(stating: object, capability: Capability) -> bool:
    """Whether a model, data manager or data set states a capability; one of another package states nothing."""
    return bool(getattr(stating, capability, False))


def gives_raw_outputs(model: object) -> TypeGuard[RenderingModel]:
    """Whether a model states that its raw outputs can be rendered: the models of this package do."""
    return can(model, "gives_raw_outputs")


RayGeneratorLike = Callable[[Tensor], RayBundle]
"""Gives the rays of (camera, row, column) [R, 3]."""

if not TYPE_CHECKING:
    # Of the type checker's concern alone: what is handed over has no more than is asked of it.
    CountsTurns = SemanticModelLike = ImagesLike = TrainingDataLike = PipelineLike = ScoredPipeline = Any
else:

    class CountsTurns(Protocol):
        """What can go back to an earlier state of its sampling."""

        sampling_turns: Any
        """What its sampling counts from step to step, by name, for a checkpoint or to undo a rendering; can be set."""

    class SemanticModelLike(RenderingModel, CountsTurns, Protocol):
        """A model with classes while it trains or after."""

        config: Any
        training: bool
        metres_per_unit: float
        evaluation_state: Any
        """A `SceneAccumulator`, filled by the model's `get_image_metrics_and_images`."""
        collider: Any
        renderer_rgb: Any
        bounds: Any
        """A `SceneBounds`: where rays start and end."""
        renders_rays: bool
        """Whether it can be called with single rays."""
        renders_intervals: bool
        """Whether `render_intervals` can be asked."""
        renders_image_intervals: bool
        """Whether `render_image_intervals` can be asked."""
        renders_from_sources: bool
        """Whether it renders from source frames: it has a `shelf` of them, a `source_rule`, and `sources_sentence`."""
        supports_propagation: bool
        """Whether labels can spread over its surface: it renders rays [H, W], and its field has `unit_positions`."""
        shows_surface: bool
        """Whether its images show one surface, so that there are voxels of it, by `unit_positions`."""
        supports_active_learning: bool
        """Whether it can be asked which labels are worth most: it renders intervals, and its field has a `head`."""
        supports_geometry_supervision: bool
        """Whether the semantic loss can train geometry, see `pass_semantic_gradients`."""

        @property
        def renders_classes(self) -> bool:
            """Whether it trains and renders classes."""
            ...

        @property
        def field(self) -> Any:
            """The network that is seen; with `unit_positions` and `head`, a `SemanticHead`."""
            ...

        @property
        def pass_semantic_gradients(self) -> bool:
            """Whether the semantic loss now trains geometry."""
            ...

        @pass_semantic_gradients.setter
        def pass_semantic_gradients(self, passes: bool) -> None: ...

        def unit_positions(self, positions: Tensor) -> Tensor:
            """Positions [N, 3] in scene units, in a unit cube that holds all of space."""
            ...

        def __call__(self, ray_bundle: RayBundle) -> dict[str, Any]:
            """Render rays [R]."""
            ...

        def train(self, mode: bool = True) -> Any:
            """Switch to training, or with False to evaluation."""
            ...

        def eval(self) -> Any:
            """Switch to evaluation."""
            ...

        def get_outputs_for_camera_ray_bundle(self, camera_ray_bundle: RayBundle) -> dict[str, Tensor]:
            """Render rays [H, W]."""
            ...

        def get_image_metrics_and_images(self, outputs: Any, batch: Any) -> tuple[dict[str, float], dict[str, Tensor]]:
            """Numbers of a rendered image, and pictures of it; sums over images go to `evaluation_state`."""
            ...

        def render_intervals(self, ray_bundle: RayBundle) -> RenderedIntervals:
            """Render rays [R] whose ends are known, at evaluation, if `renders_intervals`."""
            ...

        def render_image_intervals(self, camera: Cameras) -> RenderedIntervals:
            """Render all pixels of a camera, row by row, at evaluation, if `renders_image_intervals`."""
            ...

    class ImagesLike(Protocol):
        """A data manager of which the images are wanted."""

        config: Any
        train_dataset: Any
        """A `SemanticDataset`, as the next one."""
        eval_dataset: Any

    class TrainingDataLike(ImagesLike, Protocol):
        """A data manager with labels; see `SemanticDataManager`."""

        train_dataparser_outputs: Any
        train_ray_generator: Any
        train_image_dataloader: Any
        propagated: Any
        """The labels that spread over the surface, which batches then hold; None before."""
        training_depth: Any
        """A `TrainingDepth`: how far the rays of training pixels go; None where training uses no depth images."""
        training_labels: Any
        """A `TrainingLabels`: classes of each training image as training sees them."""

        def surface_depth(self) -> Any:
            """A `TrainingDepth`: the same by depth images or else by stereo; None where training does not use depth."""
            ...

        def set_training_labels(self, labels: Sequence[Int16[ndarray, "_height _width"]]) -> None:
            """Let training see other labels from now on."""
            ...

    class PipelineLike(Protocol):
        """A model and its data, as nerfstudio's `eval_setup` gives them."""

        device: Any

        @property
        def model(self) -> Any:
            """A `SemanticModelLike` if it is of one of this package's methods."""
            ...

        datamanager: Any
        """A `TrainingDataLike` if it is of one of this package's methods."""
        revealed_labels: Any
        """With active learning: the `RevealedLabels`; else None. Only a `SemanticPipeline` has it."""

    class ScoredPipeline(PipelineLike, Protocol):
        """A pipeline that scores images; see `SemanticPipeline`."""

        def eval(self) -> Any:
            """Switch to evaluation."""
            ...

        def train(self, mode: bool = True) -> Any:
            """Switch to training."""
            ...

        def get_average_image_metrics(
            self, data_loader: Any, image_prefix: str, *, get_std: bool = False
        ) -> dict[str, Any]:
            """Score the images of a loader, see `SemanticPipeline`."""
            ...
