"""Targets with their source frames, out of many scenes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float32
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager, FullImageDatamanagerConfig
from torch import Tensor, distributed

from semantic_ns.dataparsers.many_scenes import ManyScenesDataParser, ManyScenesDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import LabelSource, TrainingLabels
from semantic_ns.io.console import announce
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.labels.corruption_frames import evenly_spaced
from semantic_ns.many_scenes.camera_noise import checked_noise
from semantic_ns.many_scenes.pairs import Draw, num_sources_of_step, pair
from semantic_ns.many_scenes.samples import Augmentation, TargetSample, draw_sample
from semantic_ns.many_scenes.scene_frames import SceneFrames
from semantic_ns.many_scenes.shelf import SCENE, SHELF, SceneShelf
from semantic_ns.many_scenes.source_selection import Selection, SelectionRule
from semantic_ns.many_scenes.views import reduced_size
from semantic_ns.multi_view.kept_stereo import KeptStereo
from semantic_ns.multi_view.stereo import DepthSource, StereoSettings, with_depth_from

SAMPLE = "sample"
"""Batch: the `TargetSample` of a training step."""
_MIB = 1 << 20
_MOST_COUNTED = 2048
"""Label images by which classes are counted before the first step: more would only delay it."""
_OTHER_DRAWS, _MODEL_DRAWS = 1 << 32, 2 << 32
"""Added to the seed of a step for what does not hang together with its other draws."""


@dataclass
class ManyScenesDataManagerConfig(FullImageDatamanagerConfig):
    """Options of the data manager of methods that learn from many scenes."""

    _target: type = field(default_factory=lambda: ManyScenesDataManager)
    dataparser: ManyScenesDataParserConfig = field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=ManyScenesDataParserConfig
    )
    """Which scenes train and which are scored."""
    targets_per_step: int | None = None
    """Number of target frames in a training step, all of one scene. By default 2, and 1 where a single scene trains,
    whose frames are few: more steps help it more than larger ones."""
    train_sources: tuple[int, int] | None = None
    """Least and largest number of source frames of a training target; each step draws one for all its samples. By
    default 2 and 5; where a single scene trains, both are the number from which its images are rendered."""
    source_selection: Selection = "coverage"
    """Rule by which source frames are chosen from a random half of the frames: coverage adds the frame that shows most
    of what the others show not at all or from another side, nearest takes the closest ones. published takes random ones
    of the nearest n or 1.5 n cameras, as the released code of GSNeRF does; inverted-poses with its wrong places."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """How scenes are changed for training, so that there seem to be more of them; a single scene stays as it is."""
    depth: DepthSource = "scene-or-stereo"
    """Depth that trains geometry. scene: depth images of the scenes. stereo: depth that the colours of the frames give,
    where several of them agree. scene-or-stereo: that of the scenes, and stereo for those that have none. none: only
    the losses that compare colours."""
    train_camera_noise: float = 0.0
    """Turn the cameras of source frames in each training step by random angles, uniform up to so many degrees about
    each axis, so that the model bears wrong poses. Cameras of targets stay exact."""
    camera_noise: float = 0.0
    """The same for the source frames of scored scenes, with the same angles each time: how well wrong poses are
    borne."""
    max_image_width: int = 256
    """Wider source images are made smaller, in pixels."""
    cache_mib: int = 2048
    """Memory for training frames that are kept, in MiB, and as much for those of scored scenes. Frames are read when a
    step needs them; where not all of them fit, those used longest ago go. It changes the speed of a training alone."""
    seed: int = 42
    """Seed of the pairs of scene and target, of the source frames and of the augmentation."""


class ScoredImages:
    """The scored images of all scored scenes, one after the other: (camera, batch) of each.

    Args:
        datasets: scored images of each scene.
        device: where cameras and images are given.
        chosen: numbers of the images that are given, if not all of them.

    Attributes:
        image_indices: numbers of the images that are given, as nerfstudio's loaders call them.
    """

    def __init__(
        self, datasets: list[SemanticDataset], device: torch.device | str, chosen: Sequence[int] | None = None
    ) -> None:
        self._datasets, self._device = datasets, device
        self.input_dataset = self
        self.image_indices: Sequence[int] = range(len(self)) if chosen is None else chosen

    @property
    def image_filenames(self) -> list[Path]:
        """Files of all images."""
        return [path for dataset in self._datasets for path in dataset.image_filenames]

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self._datasets)

    def __iter__(self) -> Iterator[tuple[Cameras, dict[str, Any]]]:
        return self.part(0, 1)

    def part(self, first: int, step: int) -> Iterator[tuple[Cameras, dict[str, Any]]]:
        """(camera, batch) of the given images number `first`, `first + step`, ...; the others are not read."""
        places = [(scene, index) for scene, dataset in enumerate(self._datasets) for index in range(len(dataset))]
        for number in self.image_indices[first::step]:
            scene, index = places[number]
            dataset = self._datasets[scene]
            batch: dict[str, Any] = dict(dataset.get_data(index))
            batch |= {"image": batch["image"].to(self._device), "image_idx": number}
            yield camera_of(dataset, index, scene).to(self._device), batch


def camera_of(dataset: SemanticDataset, index: int, scene: int | None) -> Cameras:
    """One camera [1] of a scene, which knows the number of it among the scored ones; None where it is none of them."""
    camera = dataset.cameras[index : index + 1]
    if scene is not None:
        camera.metadata = (camera.metadata or {}) | {SCENE: torch.tensor([[scene]])}
    return camera


class ManyScenesDataManager(FullImageDatamanager[SemanticDataset]):
    """Training steps are `TargetSample`s; to nerfstudio's viewer and renderer it has the images of one scene.

    The data set that nerfstudio sees has the `SceneShelf` in its metadata: models take their source views from it, also
    where nothing trains.
    """

    config: ManyScenesDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    dataparser: ManyScenesDataParser
    scores_many_scenes = True
    num_source_views: int | None = None
    """Number of source frames from which the model renders an image, where that is known."""
    _has_judged_cache = False
    range_m: tuple[float, float] | None = None
    """Nearest and farthest depth of the run in metres, if an option gives them. Sources of training targets are then
    chosen for these depths, as those of scored images are, and stereo looks for no others; without them for those of
    rooms."""

    def __init__(
        self,
        config: ManyScenesDataManagerConfig,
        device: torch.device | str = "cpu",
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        **kwargs: Any,
    ) -> None:
        # Frames are read one by one when they are asked for.
        config.cache_images = "cpu"
        checked_noise(config.train_camera_noise, "--pipeline.datamanager.train-camera-noise")
        noise = checked_noise(config.camera_noise, "--pipeline.datamanager.camera-noise")
        super().__init__(config, device, test_mode, world_size, local_rank, **kwargs)
        self.shelf = SceneShelf(
            self.dataparser,
            config.max_image_width,
            self._max_bytes,
            scale_factor=config.camera_res_scale_factor,
            complete=self._with_depth,
            source_noise_deg=noise,
        )
        self.train_dataset.metadata[SHELF] = self.shelf
        self.eval_dataset.keeps_labels = False
        # Not the rank on this host: several hosts must not draw the same pairs.
        self._rank = distributed.get_rank() if distributed.is_initialized() else local_rank

    @property
    def dataset_type(self) -> type[SemanticDataset]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Images with labels."""
        return SemanticDataset

    def next_train(self, step: int) -> tuple[TargetSample, dict[str, Any]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The sample of a step; the batch holds it, too."""
        return self._drawn(pair(step, self._rank, self.world_size, self.config.seed, self.shelf.num_training_frames))

    def numbered_sample(self, number: int, samples_per_step: int) -> tuple[TargetSample, dict[str, Any], int]:
        """A sample of the stream by its number, its batch, and a seed for what the model draws for it.

        All samples of a step have the same number of sources, fewer only where a scene has no more frames. A step of
        one sample is that of `next_train`.
        """
        seed, num_sources = self.config.seed, None
        if samples_per_step > 1:
            num_sources = num_sources_of_step(number // samples_per_step, seed, self._train_sources)
        draw = pair(number, 0, 1, seed, self.shelf.num_training_frames)
        return *self._drawn(draw, num_sources), draw.seed + _MODEL_DRAWS

    @property
    def _trains_one_scene(self) -> bool:
        return len(self.shelf.num_training_frames) == 1

    @property
    def _targets_per_step(self) -> int:
        given = self.config.targets_per_step
        return given if given is not None else 1 if self._trains_one_scene else 2

    @property
    def _train_sources(self) -> tuple[int, int]:
        given, rendered = self.config.train_sources, self.num_source_views
        if given is not None:
            return given
        return (2, 5) if rendered is None or not self._trains_one_scene else (rendered, rendered)

    def _drawn(self, draw: Draw, num_sources: int | None = None) -> tuple[TargetSample, dict[str, Any]]:
        self._tell_of_cache()
        # A model that is fitted to one scene has to know its colours and its size, and no others.
        augmentation = None if self._trains_one_scene else self.config.augmentation
        counts = self._train_sources
        # A range of one number takes as much from the generator as any other: all other draws stay what they are.
        drawn = counts if num_sources is None else (num_sources, num_sources)
        sample, _ = self._sample(draw.scene, draw.target, draw.seed, augmentation, drawn)
        sample = replace(sample, least_sources=counts[0])
        return sample, {SAMPLE: sample}

    def next_eval(self, step: int) -> tuple[TargetSample, dict[str, Any]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A sample of a training scene as it is, for the losses in the log."""
        return self._sample(step % len(self.dataparser.training_scenes), 0, step, None, self._train_sources)

    def _with_depth(self, frames: SceneFrames) -> SceneFrames:
        return with_depth_from(frames, self.config.depth, self._by_stereo)

    def _by_stereo(self, frames: SceneFrames) -> Callable[[int], Tensor]:
        return self._stereo(frames)

    @cached_property
    def _stereo(self) -> KeptStereo:
        settings = StereoSettings()
        kept = KeptStereo(settings=settings if self.range_m is None else settings.within(*self.range_m))
        announce(
            "many scenes",
            "depth by multi-view stereo trains geometry; it is computed when a scene is first trained on, which takes "
            f"some seconds for each, and kept in {kept.folder} for other runs",
        )
        return kept

    def _sample(
        self, scene: int, target: int, seed: int, augmentation: Augmentation | None, counts: tuple[int, int]
    ) -> tuple[TargetSample, dict[str, Any]]:
        config = self.config
        sample = draw_sample(
            self.shelf.training(scene),
            target,
            seed,
            self._targets_per_step,
            counts,
            augmentation,
            SelectionRule(config.source_selection, *(self.range_m or ())),
        ).with_camera_noise(config.train_camera_noise, seed + _OTHER_DRAWS)
        return sample, {SAMPLE: sample}

    @cached_property
    def training_labels(self) -> TrainingLabels:
        """Labels of the source frames of the shown scene, as models carry them."""
        source = LabelSource(None, CorruptionConfig())
        return TrainingLabels(self.train_dataset, source, Path(self.dataparser.shown_scene.path))

    def scored_datasets(self) -> list[SemanticDataset]:
        """The scored images of each scored scene."""
        parser, scale_factor = self.dataparser, self.config.camera_res_scale_factor
        outputs = [parser.scored_outputs(scene, self.test_split) for scene in parser.scored_scenes]
        found = [SemanticDataset(one, scale_factor) for one in outputs]
        for dataset in found:
            dataset.load_depth = self.eval_dataset.load_depth
            dataset.keeps_labels = False  # each image is scored once, and there may be thousands
        return found

    @property
    def fixed_indices_eval_dataloader(self) -> ScoredImages:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The scored images of all scored scenes."""
        return ScoredImages(self.scored_datasets(), self.device)

    def some_scored_images(self, count: int | None) -> ScoredImages:
        """So many scored images of all scored scenes, evenly spaced; all of them for None, or if they are fewer."""
        datasets = self.scored_datasets()
        total = sum(map(len, datasets))
        chosen = evenly_spaced(total if count is None else min(count, total), total)
        return ScoredImages(datasets, self.device, [int(number) for number in chosen])

    def next_eval_image(self, step: int) -> tuple[Cameras, dict[str, Any]]:
        """A scored image of the shown scene, which is rendered from that scene whatever the viewer shows meanwhile."""
        index = step % len(self.eval_dataset)
        camera = camera_of(self.eval_dataset, index, self.shelf.shown_number).to(self.device)
        return camera, self.eval_dataset.get_data(index)

    def get_train_rays_per_batch(self) -> int:
        """Pixels of the targets of a step."""
        height, width = reduced_size(self.train_dataset.cameras, self.config.max_image_width)
        return self._targets_per_step * height * width

    def class_frequencies(self) -> Float32[Tensor, "classes"]:
        """Share of each class in the labels of the training frames; of 2048 evenly spread ones where there are more."""
        self._tell_of_cache()
        count = torch.zeros(self.dataparser.taxonomy.num_classes, dtype=torch.float64)
        total = sum(self.shelf.num_training_frames)
        chosen = evenly_spaced(min(_MOST_COUNTED, total), total)
        first = 0
        for number, frames in enumerate(self.shelf.num_training_frames):
            for frame in chosen[(chosen >= first) & (chosen < first + frames)] - first:
                labels = self.shelf.training(number).labels_of(torch.tensor([int(frame)]))
                count += torch.bincount(labels[labels >= 0].long(), minlength=len(count))
            first += frames
        return (count / count.sum().clamp(min=1)).float()

    @property
    def _max_bytes(self) -> int:
        return self.config.cache_mib * _MIB

    def _tell_of_cache(self) -> None:
        """Say once if frames are read anew, which may take longer than the steps themselves."""
        if self._has_judged_cache:
            return
        self._has_judged_cache = True
        needed, counts = sum(self.shelf.training_bytes), self.shelf.num_training_frames
        if needed <= self._max_bytes:
            return
        share = self._max_bytes / needed
        announce(
            "many scenes",
            f"the memory of {self.config.cache_mib} MiB for frames holds about {int(share * sum(counts))} of "
            f"{sum(counts)} training frames, so that about {1 - share:.0%} of the frames of a step are read anew; give "
            f"--pipeline.datamanager.cache-mib {-(-needed // _MIB)} where there is as much memory, or a smaller "
            "--pipeline.datamanager.max-image-width",
        )
