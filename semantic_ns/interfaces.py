"""What the rooms beside the pipeline may ask of a model, of a data manager and of the pipeline: nothing else.

A model states what it can do; nobody guesses it from its class. What is optional is None or False where it is missing.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

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
        rgb: in 0..1.
        logits: of the classes, None without semantics.
        weights: rendering weights.
        distances: those of the edges of the intervals along the unit ray, scene units.
    """

    rgb: Float[Tensor, "rays 3"]
    logits: Float[Tensor, "rays classes"] | None
    weights: Float[Tensor, "rays samples"]
    distances: Float[Tensor, "rays edges"]


@runtime_checkable
class RenderingModel(Protocol):
    """A trained model with classes whose images are wanted."""

    taxonomy: Taxonomy
    device: Any

    def raw_outputs(self) -> AbstractContextManager[Any]:
        """Inside it, the model also renders integer labels and planar depth, see `semantic_ns.batch`."""
        ...

    def get_outputs_for_camera(self, camera: Cameras) -> dict[str, Tensor]:
        """Render one camera; each output is [H, W, c]."""
        ...


def can(model: object, capability: Literal["renders_rays", "renders_intervals"]) -> bool:
    """Whether a model states that it has a capability; one of another package states nothing."""
    return bool(getattr(model, capability, False))


RayGeneratorLike = Callable[[Tensor], RayBundle]
"""Gives the rays of (camera, row, column) [R, 3]."""

if not TYPE_CHECKING:
    # Of the type checker's concern alone: what is handed over has no more than is asked of it.
    SemanticModelLike = ImagesLike = TrainingDataLike = PipelineLike = ScoredPipeline = Any
else:

    class SemanticModelLike(RenderingModel, Protocol):
        """A model with classes while it trains or after."""

        config: Any
        training: bool
        metres_per_unit: float
        evaluation_state: Any
        """A `SceneAccumulator`, filled by the model's `get_image_metrics_and_images`."""
        collider: Any
        bounds: Any
        """A `SceneBounds`: where rays start and end."""
        renders_rays: bool
        """Whether it can be called with single rays."""
        renders_intervals: bool
        """Whether `render_intervals` can be asked: active learning needs it."""

        @property
        def field(self) -> Any:
            """The network that is seen; with `unit_positions`."""
            ...

        @property
        def pass_semantic_gradients(self) -> bool:
            """Whether the semantic loss now trains geometry."""
            ...

        @pass_semantic_gradients.setter
        def pass_semantic_gradients(self, passes: bool) -> None: ...

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

        def render_intervals(self, ray_bundle: RayBundle) -> RenderedIntervals:
            """Render rays [R] whose ends are known, at evaluation, if `renders_intervals`."""
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
        given: Any
        """With active learning: the labels that were given so far; else None."""

        @property
        def training_labels(self) -> list[Int16[ndarray, "height width"]]:
            """Classes of each training image as training sees them."""
            ...

        @property
        def labels_by_options(self) -> list[Int16[ndarray, "height width"]]:
            """The same without active learning."""
            ...

        @property
        def has_complete_labels(self) -> bool:
            """Whether labels of the training images can be trusted one by one."""
            ...

        def show_given_labels(self) -> None:
            """Let training see the labels that were given since the images were loaded."""
            ...

        def write_given_labels(self, folder: Path) -> None:
            """Write the labels that were given so far."""
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

    class ScoredPipeline(PipelineLike, Protocol):
        """A pipeline that scores images; see `SemanticPipeline`."""

        def eval(self) -> Any:
            """Switch to evaluation."""
            ...

        def train(self, mode: bool = True) -> Any:
            """Switch to training."""
            ...

        def get_average_image_metrics(self, data_loader: Any, image_prefix: str) -> dict[str, Any]:
            """Score the images of a loader, see `SemanticPipeline`."""
            ...
