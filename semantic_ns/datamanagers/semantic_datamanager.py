"""nerfstudio's data manager over labelled images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import tyro
from jaxtyping import Float, Float32, Int16, Int64
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.pixel_samplers import PixelSampler
from numpy import ndarray
from torch import Tensor

from semantic_ns.batch import (
    COLOR,
    LABEL_WEIGHTS,
    LABELS,
    NUM_UNIFORM,
    RAY_DISTANCE,
    SOFT_LABELS,
    TRAINS_CLASSES,
    attach_targets,
)
from semantic_ns.datamanagers.labelled_images import LabelledImages, LabelOptions
from semantic_ns.datamanagers.labelled_pixel_sampler import LabelledPixelSampler, add_labelled_rays
from semantic_ns.datamanagers.trusted_depth import read_trusted_depth
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_depth import DepthImages, TrainingDepth
from semantic_ns.errors import SceneError
from semantic_ns.geometry.rays import FastRayGenerator, lengths_per_depth
from semantic_ns.io.console import announce
from semantic_ns.labels.taxonomy import VOID
from semantic_ns.losses import DEPTH_NOISE_M, STEREO_NOISE, DepthNoise
from semantic_ns.multi_view.stereo import DepthSource

if TYPE_CHECKING:  # compiles kernels, which registration must not
    from semantic_ns.datamanagers.depth_by_stereo import DepthByStereo
    from semantic_ns.propagation.targets import PropagatedLabels

_ENOUGH_STEREO = 0.5
"""Share of the pixels of compared images from which on labels spread over their depth by stereo."""
_BYTES_PER_PIXEL = 4 * 4 + 2
"""Of a colour with alpha in single precision and a label."""


@dataclass
class SemanticDataManagerConfig(LabelOptions, VanillaDataManagerConfig):
    """Options of the data manager."""

    _target: type = field(default_factory=lambda: SemanticDataManager)
    labelled_share: float = 0.05
    """Share of each batch that is drawn from labelled pixels when a smaller share of all pixels is labelled; 0 disables
    this."""
    semantic_interval: int = 1
    """Semantics train in every n-th step. Above 1 a step takes less time in the mean, and thin things are learnt less
    well. Once labels have been propagated, semantics train in every step."""
    balance_classes: bool | None = None
    """Draw the labelled share uniformly over classes instead of over labelled pixels, and add it to every batch.
    Classes with few pixels are then learned reliably, but so are wrong labels. By default this is on when the initial
    labels are consistent (see `are_consistent`)."""
    depth: DepthSource = "scene-or-stereo"
    """Depth that trains geometry, by a method that learns from depth. scene: the depth images of the scene. stereo:
    depth that the colours of the training images give, where several of them agree. scene-or-stereo: that of the scene,
    and stereo where it has none that can be trusted. none: no depth, as in published protocols."""
    uses_depth: tyro.conf.Suppress[bool] = False
    """Whether batches say how far their rays go; not an option, but for the pipeline to say, which knows the model."""
    device_cache_share: float = 0.25
    """Largest share of a CUDA device's free memory for a cache of training images and labels, from which batches are
    drawn without a copy. 0 keeps them in CPU memory."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the configuration; a run from before there was depth by stereo goes on without it."""
        self.__dict__.update({"depth": "scene"} | state)


class SemanticDataManager(LabelledImages, VanillaDataManager[SemanticDataset]):
    """Batches of rays with colour [rays, 3] and `semantics` int64 [rays, 1], classes -1..C-1.

    Training batches also hold `num_uniform_rays`: the rows before it are rays of pixels drawn from all alike,
    the others are further ones with labels (see `add_labelled_rays`). In the steps between those that train classes
    (`semantic_interval`) all classes are -1.
    """

    config: SemanticDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    propagated: "PropagatedLabels | None" = None
    """From when on it is set, batches hold `soft_semantics` and `semantic_weights`, see `semantic_ns.batch`."""

    def setup_train(self) -> None:
        """The parent's loaders and samplers, over labels of 16 bits, and rays from one kernel.

        Raises:
            SceneError: `semantic_interval` is not positive.
        """
        if self.config.semantic_interval < 1:
            raise SceneError(
                "Expected 1 step or more for --pipeline.datamanager.semantic-interval, found "
                f"{self.config.semantic_interval}; 1 trains classes in every step."
            )
        # The parent keeps all images; 64 bits would be 40 % of them.
        self.train_dataset.has_16_bit_labels = True
        self.training_labels.load()
        with self._training_images_on_device():
            super().setup_train()
        self.train_ray_generator = FastRayGenerator(self.train_dataset.cameras.to(self.device))

    # nerfstudio's viewer reads every property of a data manager, but cached ones: these compare images, or read files.

    @cached_property
    def training_depth(self) -> TrainingDepth | None:
        """How far the rays of training pixels go, where the scene has depth that can be trusted and the model uses it.

        It is read when it is first asked for, which evaluation never does, from the training images alone. The log says
        once whether it is used. It says how large the scene is. Depth by stereo is not here.
        """
        if not self.config.uses_depth or self.config.depth not in ("scene", "scene-or-stereo"):
            return None
        return self._read_depth_of_scene()

    @cached_property
    def trains_with_depth(self) -> bool:
        """Whether there is `training_depth`."""
        return self.training_depth is not None

    @cached_property
    def depth_noise_m(self) -> DepthNoise:
        """How far in metres the distances of batches may be off: those of depth images, or those by stereo."""
        return DEPTH_NOISE_M if self._stereo is None else STEREO_NOISE

    def surface_depth(self) -> TrainingDepth | None:
        """How far the rays of training pixels go, by depth images or else by stereo: labels spread over it.

        Stereo counts where it knows half of the pixels of the images that it compares, or more. In rooms of which it
        knows less it is more often wrong there, too, than what is rendered. Nothing here says what rays learn.
        """
        stereo = self._stereo
        if stereo is None or stereo.share_of(stereo.fused > 0) < _ENOUGH_STEREO:
            return self.training_depth
        return self._along_rays(stereo.fused_images(), trains=False)

    @cached_property
    def _stereo(self) -> "DepthByStereo | None":
        """Stereo between the training images, where it is to be used."""
        source = self.config.depth
        is_wanted = source == "stereo" or (source == "scene-or-stereo" and self.training_depth is None)
        if not (self.config.uses_depth and is_wanted):
            return None
        from semantic_ns.datamanagers.depth_by_stereo import read_depth_by_stereo

        return read_depth_by_stereo(self.train_dataset, is_asked_for=source == "stereo")

    @cached_property
    def _learnt_depth(self) -> TrainingDepth | None:
        """What rays learn, by depth images or else by stereo."""
        return self.training_depth if self._stereo is None else self._along_rays(self._stereo.confirmed_images())

    def _along_rays(self, images_m: DepthImages, trains: bool = True) -> TrainingDepth:
        metres_per_unit = self.train_dataset.metadata[keys.METRES_PER_UNIT]
        return TrainingDepth.of(images_m, self._ray_lengths, metres_per_unit, trains)

    def _read_depth_of_scene(self) -> TrainingDepth | None:
        trusted = read_trusted_depth(self.train_dataset)
        if trusted is None:
            return None
        images_m, reason = trusted
        share = sum(int((image > 0).sum()) for image in images_m) / sum(image.size for image in images_m)
        announce(
            "depth",
            f"training uses the depth images ({share:.0%} of the pixels are known; {reason}); "
            "--pipeline.model.depth-loss-weight 0 leaves them out",
        )
        return self._along_rays(images_m)

    def _ray_lengths(self, index: int) -> Float[Tensor, "height width"]:
        """Distance along each ray of a training image per planar depth."""
        return lengths_per_depth(self.train_dataset.cameras, self.train_ray_generator, index)

    @contextmanager
    def _training_images_on_device(self) -> Iterator[None]:
        """Within it, images are loaded to the training's device if they fit there; those of evaluation never are."""
        usual = self.exclude_batch_keys_from_device
        if self._training_images_fit_on_device():
            self.exclude_batch_keys_from_device = [key for key in usual if key not in (COLOR, LABELS)]
        try:
            yield
        finally:
            self.exclude_batch_keys_from_device = usual

    def _training_images_fit_on_device(self) -> bool:
        device = torch.device(self.device)
        if device.type != "cuda":
            return False
        cameras, wanted = self.train_dataset.cameras, self.config.train_num_images_to_sample_from
        share = 1.0 if wanted < 0 else min(1.0, wanted / len(self.train_dataset))
        num_bytes = share * int((cameras.height * cameras.width).sum()) * _BYTES_PER_PIXEL
        is_uniform = all(bool((sizes == sizes.view(-1)[0]).all()) for sizes in (cameras.height, cameras.width))
        return is_uniform and num_bytes <= self.config.device_cache_share * torch.cuda.mem_get_info(device)[0]

    def set_training_labels(self, labels: Sequence[Int16[ndarray, "_height _width"]]) -> None:
        """Let training see other labels from now on, also in the images that are loaded.

        Args:
            labels: Classes -1..C-1 of all training images; they are not copied, see `TrainingLabels.reveal`.
        """
        self.training_labels.reveal(labels)
        # Nothing is loaded where there is no training.
        images = None if self.test_mode == "inference" else self.train_image_dataloader.cached_collated_batch
        if images is not None:  # otherwise the next ones are loaded with them
            seen = [labels[int(number)] for number in images["image_idx"]]
            # A new tensor: the sampler knows by it that the labels are others.
            if isinstance(images[LABELS], list):  # images of several sizes
                images[LABELS] = [torch.from_numpy(image)[..., None] for image in seen]
            else:
                images[LABELS] = torch.from_numpy(np.stack(seen))[..., None].to(images[LABELS].device)

    def _get_pixel_sampler(self, dataset: SemanticDataset, num_rays_per_batch: int) -> PixelSampler:
        sampler = super()._get_pixel_sampler(dataset, num_rays_per_batch)
        if dataset is not self.train_dataset:
            return sampler
        balances = self.config.balance_classes
        return add_labelled_rays(
            sampler, self.config.labelled_share, self.training_labels.are_consistent if balances is None else balances
        )

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Any]]:
        """The parent's batch, its labels widened; in a step that trains no class it has no ray for the label alone."""
        trains_classes = self.propagated is not None or step % self.config.semantic_interval == 0
        if isinstance(self.train_pixel_sampler, LabelledPixelSampler):
            self.train_pixel_sampler.adds_labelled = trains_classes
        ray_bundle, batch = super().next_train(step)
        batch[LABELS] = batch[LABELS].long()
        batch.setdefault(NUM_UNIFORM, len(batch[LABELS]))
        if (distances := self._distances_of(batch["indices"])) is not None:
            batch[RAY_DISTANCE] = distances[:, None]
        if self.propagated is not None:
            self._supervise_by_propagation(ray_bundle, batch)
        elif not trains_classes:
            batch[LABELS].fill_(VOID)
            batch[TRAINS_CLASSES] = False
        attach_targets(ray_bundle, batch)
        return ray_bundle, batch

    def _distances_of(self, pixels: Int64[Tensor, "rays 3"]) -> Float32[Tensor, "rays"] | None:
        """At which the rays of pixels learn to end, scene units, 0 where unknown; None without any depth."""
        depth = self._learnt_depth
        if depth is None:
            return None
        self._learnt_depth = depth.to(pixels.device)
        return self._learnt_depth.learnt_at(pixels)

    def _supervise_by_propagation(self, ray_bundle: RayBundle, batch: dict[str, Any]) -> None:
        """Put the distributions that spread over the surface in place of the labels."""
        from semantic_ns.propagation.targets import supervision_weights

        assert self.propagated is not None
        rays = ray_bundle.origins.cpu(), ray_bundle.directions.cpu()
        labels, colors = batch[LABELS].cpu().reshape(-1), batch["image"][..., :3].cpu()
        targets = self.propagated.targets(rays, batch["indices"].cpu(), colors, labels)
        batch[SOFT_LABELS] = targets
        batch[LABEL_WEIGHTS] = supervision_weights(targets)[:, None]
