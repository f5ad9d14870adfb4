"""nerfstudio's data manager over labelled images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Int16
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.pixel_samplers import PixelSampler
from numpy import ndarray

from semantic_ns.active_learning.rounds.schedule import ActiveConfig
from semantic_ns.batch import COLOR, LABEL_WEIGHTS, LABELS, NUM_UNIFORM, SOFT_LABELS, TRAINS_CLASSES, attach_targets
from semantic_ns.datamanagers.labelled_pixel_sampler import LabelledPixelSampler, add_labelled_rays
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import (
    LabelSource,
    corrupted_labels,
    read_label_folder,
    write_label_folder,
)
from semantic_ns.errors import SceneError
from semantic_ns.geometry.rays import FastRayGenerator
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.labels.corruption_frames import evenly_spaced
from semantic_ns.labels.label_statistics import are_complete
from semantic_ns.labels.taxonomy import VOID

if TYPE_CHECKING:  # compiles kernels, which registration must not
    from semantic_ns.active_learning.rounds.revealed_labels import GivenLabels
    from semantic_ns.propagation.targets import PropagatedLabels

_MOST_FRAMES = 64
_BYTES_PER_PIXEL = 4 * 4 + 2
"""Of a colour with alpha in single precision and a label."""
_Labels = list[Int16[ndarray, "height width"]]


@dataclass
class SemanticDataManagerConfig(VanillaDataManagerConfig):
    """Options of the data manager."""

    _target: type = field(default_factory=lambda: SemanticDataManager)
    corruption: CorruptionConfig = field(default=CorruptionConfig())
    """Fewer or wrong labels for training, to see how well they are made good."""
    train_labels: str | None = None
    """Folder of label images that replace the scene's for training only, such as the predictions of a 2D network:
    its name beside the scene's label folder, or an absolute path."""
    labelled_share: float = 0.05
    """Share of a batch that is drawn from labelled pixels where fewer of all pixels are labelled; 0: never."""
    semantic_interval: int = 1
    """Classes train in every n-th step, for they need fewer rays than colours do; once labels have spread, in all."""
    balance_classes: bool | None = None
    """Whether that share is drawn from all classes alike, and always, instead of from all labelled pixels alike. A
    class of few pixels is learnt for certain then, and wrong labels of it are, too: by default where labels are
    complete (see `are_complete`)."""
    active: ActiveConfig = field(default=ActiveConfig())
    """Labels asked for in the course of the run, instead of all from the start."""
    evaluate_on: Literal["test", "train"] = "test"
    """Poses to render and score, always against the scene's own labels."""
    device_cache_share: float = 0.25
    """Share of a CUDA device's free memory that training images and labels may take there; batches of such images are
    drawn and gathered without a copy. 0: they stay in the memory of the CPU."""


class SemanticDataManager(VanillaDataManager[SemanticDataset]):
    """Batches of rays with colour [rays, 3] and `semantics` int64 [rays, 1], classes -1..C-1.

    Training batches also hold `num_uniform_rays`: the rows before it are rays of pixels drawn from all alike,
    the others are further ones with labels (see `add_labelled_rays`). In the steps between those that train classes
    (`semantic_interval`) all classes are -1.
    """

    config: SemanticDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    propagated: "PropagatedLabels | None" = None
    """From when on it is set, batches hold `soft_semantics` and `semantic_weights`, see `semantic_ns.batch`."""

    given: "GivenLabels | None"
    """With active learning: the labels that were given so far."""

    def __init__(self, config: SemanticDataManagerConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.given = None
        if config.active.strategy is not None:
            # Compiles kernels, which registration must not.
            from semantic_ns.active_learning.rounds.revealed_labels import GivenLabels, division_name

            dataset, active = self.train_dataset, config.active
            labels = [dataset.labels_of(index) for index in range(len(dataset))]
            self.given = GivenLabels(labels, division_name(active))

    def create_train_dataset(self) -> SemanticDataset:
        """The parent's; with active learning it has no label, and its label files are not read."""
        dataset = super().create_train_dataset()
        if self.config.active.strategy is not None:
            dataset.replace_labels([dataset.without_label(index) for index in range(len(dataset))])
        return dataset

    @property
    def training_labels(self) -> _Labels:
        """Classes of each training image as training sees them: those of the options, or those given so far.

        Raises:
            SceneError: see `read_label_folder` and `corrupt_labels`.
        """
        return self.labels_by_options if self.given is None else self.given.labels

    @cached_property
    def labels_by_options(self) -> _Labels:
        """Classes of each training image, replaced and corrupted as the options say, whatever training sees of them.

        Raises:
            SceneError: see `read_label_folder` and `corrupt_labels`.
        """
        source = self._label_source
        dataset = self.train_dataset
        if self.config.active.strategy is not None:  # whose labels are taken away there
            dataset = SemanticDataset(self.train_dataparser_outputs, self.config.camera_res_scale_factor)
        if source.train_labels is None:
            labels = [dataset.labels_of(index) for index in range(len(dataset))]
        else:
            data = Path(self.config.dataparser.data)
            labels = read_label_folder(source.train_labels, dataset, data if data.is_dir() else data.parent)
        return labels if source.corruption.is_clean else corrupted_labels(dataset, labels, source.corruption)

    @cached_property
    def has_complete_labels(self) -> bool:
        """Whether labels of the training images can be trusted one by one, see `are_complete`; of 64 images at most."""
        dataset = self.train_dataset
        frames = evenly_spaced(min(_MOST_FRAMES, len(dataset)), len(dataset))
        return are_complete(dataset.labels_of(int(frame)) for frame in frames)

    @property
    def _label_source(self) -> LabelSource:
        return LabelSource(self.config.train_labels, self.config.corruption)

    def write_training_labels(self, folder: Path) -> None:
        """Write the labels that training sees and how they came about, unless they are the scene's own.

        The absolute path of the folder is a value of `train_labels`, which gives these labels again.
        """
        if not self._label_source.is_scene and self.given is None:
            write_label_folder(folder, self.train_dataset, self.training_labels, self._label_source)

    def write_given_labels(self, folder: Path) -> None:
        """Write the labels that were given so far, as `write_training_labels` writes others."""
        assert self.given is not None
        write_label_folder(folder, self.train_dataset, self.given.labels, self._label_source)

    def create_eval_dataset(self) -> SemanticDataset:
        """The parent's, or with `evaluate_on` train the training images with the scene's own labels."""
        if self.config.evaluate_on == "test":
            return super().create_eval_dataset()
        metadata = dict(self.train_dataparser_outputs.metadata)
        metadata[keys.SPLIT] = f"{metadata[keys.SPLIT]}; but here the training frames are scored"
        outputs = replace(self.train_dataparser_outputs, metadata=metadata)
        return self.dataset_type(dataparser_outputs=outputs, scale_factor=self.config.camera_res_scale_factor)

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
        if not self._label_source.is_scene and self.config.active.strategy is None:
            self.train_dataset.replace_labels(self.labels_by_options)
        with self._training_images_on_device():
            super().setup_train()
        self.train_ray_generator = FastRayGenerator(self.train_dataset.cameras.to(self.device))

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

    def show_given_labels(self) -> None:
        """Let training see the labels that were given since the images were loaded."""
        assert self.given is not None
        images = self.train_image_dataloader.cached_collated_batch
        if images is not None:  # otherwise the next ones are loaded with them
            labels = [self.given.labels[int(number)] for number in images["image_idx"]]
            # A new tensor: the sampler knows by it that the labels are others.
            images[LABELS] = torch.from_numpy(np.stack(labels))[..., None].to(images[LABELS].device)

    def _get_pixel_sampler(self, dataset: SemanticDataset, num_rays_per_batch: int) -> PixelSampler:
        sampler = super()._get_pixel_sampler(dataset, num_rays_per_batch)
        if dataset is not self.train_dataset:
            return sampler
        balances = self.config.balance_classes
        return add_labelled_rays(
            sampler, self.config.labelled_share, self.has_complete_labels if balances is None else balances
        )

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Any]]:
        """The parent's batch, its labels widened; in a step that trains no class it has no ray for the label alone."""
        trains_classes = self.propagated is not None or step % self.config.semantic_interval == 0
        if isinstance(self.train_pixel_sampler, LabelledPixelSampler):
            self.train_pixel_sampler.adds_labelled = trains_classes
        ray_bundle, batch = super().next_train(step)
        batch[LABELS] = batch[LABELS].long()
        batch.setdefault(NUM_UNIFORM, len(batch[LABELS]))
        if self.propagated is not None:
            self._teach_propagated(ray_bundle, batch)
        elif not trains_classes:
            batch[LABELS].fill_(VOID)
            batch[TRAINS_CLASSES] = False
        attach_targets(ray_bundle, batch)
        return ray_bundle, batch

    def _teach_propagated(self, ray_bundle: RayBundle, batch: dict[str, Any]) -> None:
        """Put the distributions that spread over the surface in place of the labels."""
        from semantic_ns.propagation.targets import teaching_weights

        assert self.propagated is not None
        rays = ray_bundle.origins.cpu(), ray_bundle.directions.cpu()
        labels, colours = batch[LABELS].cpu().reshape(-1), batch["image"][..., :3].cpu()
        targets = self.propagated.targets(rays, batch["indices"].cpu(), colours, labels)
        batch[SOFT_LABELS] = targets
        batch[LABEL_WEIGHTS] = teaching_weights(targets, labels)[:, None]
