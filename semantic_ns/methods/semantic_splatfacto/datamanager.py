"""Whole images, one a step, with the labels and the depth that training knows of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import tyro
from jaxtyping import Float, Int, Int16, Shaped
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager, FullImageDatamanagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader
from numpy import ndarray
from torch import Tensor

from semantic_ns.batch import MASK
from semantic_ns.datamanagers.labelled_images import LabelledImages, LabelOptions
from semantic_ns.datamanagers.trusted_depth import read_trusted_depth
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import PinholeDataset, SemanticDataset
from semantic_ns.datasets.training_depth import DepthImages, TrainingDepth
from semantic_ns.datasets.training_labels import TrainingLabels
from semantic_ns.geometry.rays import FastRayGenerator, lengths_per_depth
from semantic_ns.io.console import announce
from semantic_ns.multi_view.stereo import DepthSource

if TYPE_CHECKING:  # compiles kernels, which registration must not
    from semantic_ns.splatting.first_gaussians import Leaves
    from semantic_ns.splatting.fit import View
    from semantic_ns.splatting.outlined_labels import OutlinedStart
    from semantic_ns.splatting.project import Gaussians

VIEW = "view"
"""Batch: the `View` that a step renders."""
SUMMED_DEPTH = "summed_depth"
"""Output while training on a CPU: planar depth [H, W], summed by rendering weight."""
TRAINING_VIEWS = "training_views"
"""Metadata of the training images where a training begins: the `TrainingViews`."""
ENOUGH_STEREO = 0.5
"""Share of pixels of known depth by stereo from which on Gaussians begin at it unasked. In a room in twelve images, far
apart, it is about .4, and they have a mIoU of .56 where a field has .85; where it is .8 and more, theirs is about that
of a field."""
SparsePoints = tuple[Float[Tensor, "points 3"], Shaped[Tensor, "points 3"]]
"""Positions in scene units, and colours in 0..255."""


class TrainingViews:
    """The training images whole, as Gaussians are made of them; nothing is read before it is asked for.

    Args:
        dataset: the training images.
        labels: what training sees of their labels.
        outputs: the dataparser's outputs, which say where the scene lies in the world.
        source: where depth comes from. That of stereo is made once `use_depth_for` has said what it is for.

    Attributes:
        label_version: counts how often the labels have changed.
        spreads_labels: whether few or noisy labels spread over the surface before Gaussians are made.
        blur: that of Gaussians that begin here, pixels²; None for what suits where they begin.
    """

    def __init__(
        self, dataset: SemanticDataset, labels: TrainingLabels, outputs: DataparserOutputs, source: DepthSource
    ) -> None:
        self.dataset, self.training_labels, self.outputs = dataset, labels, outputs
        self.label_version, self.spreads_labels = 0, True
        self.blur: float | None = None
        self._source: DepthSource = source
        self._depth_use = "the surface is where {} say"
        self._may_be_stereo = False

    def use_depth_for(self, begins: bool, trains: bool, needs_some: bool = False) -> None:
        """Say what depth is for before it is asked for, so that none is read, and compared between views, in vain.

        Args:
            begins: whether Gaussians begin where it lies.
            trains: whether they are trained to lie there.
            needs_some: whether Gaussians begin, or have begun, at it unless the scene has sparse points, so that
                without either there is depth by stereo, as far as its source allows that.
        """
        if not (begins or trains):
            self._source = "none"
        self._may_be_stereo = self._source == "stereo" or (
            self._source == "scene-or-stereo" and needs_some and not self.has_sparse_points
        )
        self._depth_use = "Gaussians begin at the surface of {}"
        if trains:
            self._depth_use += ", and train to stay there" if begins else ""
            self._depth_use = self._depth_use if begins else "Gaussians train to lie at the surface of {}"

    @cached_property
    def scene_depths(self) -> list[Tensor] | None:
        """Planar depth of the images that the scene has, in scene units, 0 where unknown; None where none is used."""
        trusted = read_trusted_depth(self.dataset) if self._source in ("scene", "scene-or-stereo") else None
        if trusted is None:
            return None
        images_m, reason = trusted
        share = float(np.mean([(image > 0).mean() for image in images_m]))
        announce(
            "depth",
            f"{self._depth_use.format('the depth images')} ({share:.0%} of the pixels are known; {reason}); "
            "--pipeline.datamanager.depth none leaves them out",
        )
        return self._in_units(images_m)

    @cached_property
    def stereo_depths(self) -> list[Tensor] | None:
        """That of stereo between the images, where the scene has none and it is asked for; None where there is none."""
        if not self._may_be_stereo or self.scene_depths is not None:
            return None
        from semantic_ns.datamanagers.depth_by_stereo import read_fused_depth

        images_m = read_fused_depth(self.dataset, self._depth_use, ENOUGH_STEREO, is_asked_for=self._source == "stereo")
        return None if images_m is None else self._in_units(images_m)

    def _in_units(self, images_m: DepthImages) -> list[Tensor]:
        metres_per_unit = self.dataset.metadata[keys.METRES_PER_UNIT]
        # Images that stereo did not look at share one array of zeros.
        of_arrays = {id(image): torch.from_numpy(image / metres_per_unit).float() for image in images_m}
        return [of_arrays[id(image)] for image in images_m]

    @property
    def depths(self) -> list[Tensor] | None:
        """Planar depth at which Gaussians begin or train, in scene units, 0 where unknown; None where there is none."""
        return self.stereo_depths if self.scene_depths is None else self.scene_depths

    @property
    def are_by_stereo(self) -> bool:
        """Whether there is depth, by stereo between the images."""
        return self.stereo_depths is not None

    @cached_property
    def views(self) -> "list[View]":
        """The images, with the depth at which Gaussians begin or train."""
        from semantic_ns.export.splat import views_of

        return views_of(self.dataset, self.depths)

    @cached_property
    def labelled_views(self) -> "list[View]":
        """The images as labels lie on them: without depth by stereo, than which trained Gaussians are more exact."""
        return [replace(view, depth=None) for view in self.views] if self.are_by_stereo else self.views

    @property
    def leaves(self) -> "Leaves":
        """How large the leaves of the octree are at which Gaussians begin."""
        from semantic_ns.splatting.first_gaussians import OF_IMAGES, OF_STEREO

        leaves = OF_STEREO if self.are_by_stereo else OF_IMAGES
        return leaves if self.blur is None else replace(leaves, blur=self.blur)

    def first_gaussians(self) -> "tuple[Gaussians, Float[Tensor, 'gaussians 3']]":
        """Gaussians at the surface that depth shows, made along the outlines of labels, and their colours.

        Raises:
            SceneError: no depth is known.
        """
        from semantic_ns.splatting.first_gaussians import first_gaussians
        from semantic_ns.splatting.outlined_labels import are_outlined

        if self.spreads_labels:
            start = self._outlined_start()
            self.outlined_labels = _small(start.labels)
            return start.gaussians, start.colors
        labels = self.labels
        return first_gaussians(self.views, labels if are_outlined(labels) else None, leaves=self.leaves)

    @cached_property
    def outlined_labels(self) -> list[Int16[Tensor, "_height _width"]]:
        """Labels along whose outlines Gaussians are made, see `splatting.outlined_labels`, by those of now.

        Without depth, and where labels are not to spread, they are these themselves.
        """
        from semantic_ns.splatting.first_gaussians import has_depth

        spreads = self.spreads_labels and self.depths is not None and has_depth(self.views)
        return _small(self._outlined_start().labels if spreads else self.labels)

    def _outlined_start(self) -> "OutlinedStart":
        from semantic_ns.splatting.outlined_labels import outlined_start

        return outlined_start(self.views, self.labels, self.dataset.taxonomy.num_classes, leaves=self.leaves)

    @property
    def has_sparse_points(self) -> bool:
        """Whether the scene has sparse points, which need not be of use."""
        known = self.outputs.metadata
        return keys.POINT_FILE in known or "points3D_xyz" in known

    def sparse_points(self) -> SparsePoints | None:
        """The sparse points of the scene, whose PLY file is read anew; None where it has none.

        Raises:
            SceneError: the file cannot be read.
        """
        known = self.outputs.metadata
        if keys.POINT_FILE in known:
            known = known[keys.POINT_FILE].read()
        return (known["points3D_xyz"], known["points3D_rgb"]) if "points3D_xyz" in known else None

    @property
    def labels(self) -> list[Tensor]:
        """Classes of the pixels [H, W] int32 that training sees now, 0..C-1; void, -1, also where masks say so."""
        from semantic_ns.export.splat import used_labels

        given = [torch.from_numpy(image.astype(np.int32)) for image in self.training_labels]
        return used_labels(self.views, given)


def _small(labels: Sequence[Int[Tensor, "_height _width"]]) -> list[Int16[Tensor, "_height _width"]]:
    return [image.short() for image in labels]


@dataclass
class SplatDataManagerConfig(LabelOptions, FullImageDatamanagerConfig):
    """Options of the data manager of whole images."""

    _target: type = field(default_factory=lambda: SplatDataManager)
    # Images are kept as bytes, drawn in turn by `seed`, and scored one after the other, whatever these say.
    cache_images: tyro.conf.Suppress[Literal["cpu", "gpu"]] = "cpu"
    cache_images_type: tyro.conf.Suppress[Literal["uint8", "float32"]] = "float32"
    max_thread_workers: tyro.conf.Suppress[int | None] = None
    masks_on_gpu: tyro.conf.Suppress[bool] = False
    images_on_gpu: tyro.conf.Suppress[bool] = False
    eval_num_images_to_sample_from: tyro.conf.Suppress[int] = -1
    eval_num_times_to_repeat_images: tyro.conf.Suppress[int] = -1
    eval_image_indices: tyro.conf.Suppress[tuple[int, ...] | None] = (0,)
    train_cameras_sampling_strategy: tyro.conf.Suppress[Literal["random", "fps"]] = "random"
    train_cameras_sampling_seed: tyro.conf.Suppress[int] = 42
    fps_reset_every: tyro.conf.Suppress[int] = 100
    depth: DepthSource = "scene-or-stereo"
    """Depth at whose surface Gaussians begin, if they begin with no file, and on a CPU are trained to stay. scene: the
    depth images of the training frames, where they agree with each other. stereo: depth that the colours of the
    training images give, where several of them agree. scene-or-stereo: that of the scene, and on a CPU stereo where it
    has neither depth that can be trusted nor sparse points to begin with. none: no depth."""
    use_depth: bool = True
    """The former option: False is the same as the depth none."""
    seed: int = 42
    """Draws the order of the images."""
    spreads_labels: tyro.conf.Suppress[bool] = True
    """Whether few or noisy labels spread over the surface; not an option, but for the pipeline to say."""

    @property
    def depth_source(self) -> DepthSource:
        """Where depth comes from, by the present option and the former one."""
        return self.depth if self.use_depth else "none"


class SplatDataManager(LabelledImages, FullImageDatamanager[SemanticDataset]):
    """Steps are (camera, batch) of one training image; each is drawn once before any is drawn again.

    Batches hold `image` [H, W, 3 or 4], `image_idx`, `view`, and `mask` [H, W, 1] where the scene has masks. The
    training data set has the `TrainingViews` in its metadata, but where nothing trains.
    """

    config: SplatDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        config: SplatDataManagerConfig,
        device: torch.device | str = "cpu",
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(config, device, test_mode, world_size, local_rank, **kwargs)
        self.training_views = TrainingViews(
            self.train_dataset, self.training_labels, self.train_dataparser_outputs, config.depth_source
        )
        self.training_views.spreads_labels = config.spreads_labels
        if test_mode == "val":
            self.train_dataset.metadata[TRAINING_VIEWS] = self.training_views

    @property
    def dataset_type(self) -> type[SemanticDataset]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Images with labels, undistorted: Gaussians are drawn as pinhole cameras see them."""
        return PinholeDataset

    @property
    def train_ray_generator(self) -> FastRayGenerator:
        """Gives the rays of (image, row, column)."""
        return FastRayGenerator(self.train_dataset.cameras.to(self.device))

    @cached_property
    def training_depth(self) -> TrainingDepth | None:
        """How far the rays of training pixels go, where Gaussians use depth of the scene that can be trusted."""
        depths, generator = self.training_views.scene_depths, self.train_ray_generator
        if depths is None:
            return None
        lengths = partial(lengths_per_depth, self.train_dataset.cameras, generator)
        return TrainingDepth.of([depth.numpy() for depth in depths], lengths, metres_per_unit=1.0)  # in scene units

    @property
    def trains_with_depth(self) -> bool:
        """Whether Gaussians begin or train at the surface of depth images; that of stereo is no `training_depth`."""
        return self.training_views.scene_depths is not None

    def set_training_labels(self, labels: Sequence[Int16[ndarray, "_height _width"]]) -> None:
        """Let training see other labels from now on.

        Args:
            labels: Classes -1..C-1 of all training images; they are not copied, see `TrainingLabels.reveal`.
        """
        self.training_labels.reveal(labels)
        self.training_views.label_version += 1

    def next_train(self, step: int) -> tuple[Cameras, dict[str, Any]]:
        """The image of a step."""
        count, turn = len(self.train_dataset), step * self.world_size + self.local_rank
        order = np.random.default_rng([self.config.seed, turn // count]).permutation(count)
        index = int(order[turn % count])
        view = self.training_views.views[index].in_floats()  # of one image at a time: bytes are kept of all
        batch: dict[str, Any] = {"image": view.pixels.to(self.device), "image_idx": index, VIEW: view}
        if view.mask is not None:
            batch[MASK] = view.mask[..., None].to(self.device)
        camera = self.train_dataset.cameras[index : index + 1].to(self.device)
        camera.metadata = (camera.metadata or {}) | {"cam_idx": index}
        return camera, batch

    def next_eval(self, step: int) -> tuple[Cameras, dict[str, Any]]:
        """A scored image, for the losses in the log."""
        return self.next_eval_image(step)

    def next_eval_image(self, step: int) -> tuple[Cameras, dict[str, Any]]:
        """A scored image with its labels."""
        index = step % len(self.eval_dataset)
        camera = self.eval_dataset.cameras[index : index + 1].to(self.device)
        batch: dict[str, Any] = dict(self.eval_dataset.get_data(index))
        return camera, batch | {"image": batch["image"].to(self.device)}

    @property
    def fixed_indices_eval_dataloader(self) -> FixedIndicesEvalDataloader:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The scored images."""
        return FixedIndicesEvalDataloader(self.eval_dataset, device=self.device)

    def get_train_rays_per_batch(self) -> int:
        """Pixels of an image, on average."""
        cameras = self.train_dataset.cameras
        return int((cameras.height * cameras.width).float().mean())
