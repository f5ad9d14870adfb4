"""Batches of rays of one image, drawn uniformly, as Semantic-NeRF trains on them."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int64
from nerfstudio.data.pixel_samplers import PixelSampler
from torch import Tensor

from semantic_ns.datamanagers.gathering_sampler import GatheringPixelSampler
from semantic_ns.datamanagers.labelled_pixel_sampler import LabelledPixelSampler
from semantic_ns.datamanagers.semantic_datamanager import SemanticDataManager, SemanticDataManagerConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.geometry.world import WORLD_FROM_SCENE, world_from_scene


class OneImagePixelSampler(GatheringPixelSampler):
    """Draws one image, and then pixels of it, uniformly and with replacement."""

    def sample_method(
        self,
        batch_size: int,
        num_images: int,
        image_height: int,
        image_width: int,
        mask: Bool[Tensor, "images height width 1"] | None = None,
        device: torch.device | str = "cpu",
    ) -> Int64[Tensor, "rays 3"]:
        """Image, row and column of each ray; where there is a mask, of pixels that it allows."""
        if mask is None or self.config.ignore_mask:
            image = torch.randint(num_images, ())
            pixels = torch.rand(batch_size, 2) * torch.tensor([image_height, image_width])
            return torch.cat([image.expand(batch_size, 1), pixels.long()], dim=-1).to(device)
        usable = mask.flatten(1).any(dim=1).nonzero()[:, 0]
        image = usable[torch.randint(len(usable), ())]
        pixels = mask[image, ..., 0].nonzero()
        pixels = pixels[torch.randint(len(pixels), (batch_size,)).to(pixels.device)]
        return torch.cat([image.expand(batch_size, 1), pixels], dim=-1).to(device)


@dataclass
class SemanticNerfVanillaDataManagerConfig(SemanticDataManagerConfig):
    """Options of the data manager with the batches of the paper."""

    _target: type = field(default_factory=lambda: SemanticNerfVanillaDataManager)
    labelled_share: float = 0.0
    """Share of each batch that is drawn from labelled pixels when a smaller share of all pixels is labelled; 0 disables
    this."""
    balance_classes: bool | None = False
    """Draw the labelled share uniformly over classes instead of over labelled pixels, and add it to every batch."""
    one_image_per_batch: bool = True
    """Draw all rays of a step from one image, as the paper's code does, instead of from all images."""


class SemanticNerfVanillaDataManager(SemanticDataManager):
    """The data manager of all methods, with rays of one image in each step.

    Raises:
        SceneError: if labelled pixels are asked for, which lie in many images.
    """

    config: SemanticNerfVanillaDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def create_train_dataset(self) -> SemanticDataset:
        """The parent's, which also knows where the world is."""
        dataset = super().create_train_dataset()
        dataset.metadata[WORLD_FROM_SCENE] = world_from_scene(self.train_dataparser_outputs)
        return dataset

    def _get_pixel_sampler(self, dataset: SemanticDataset, num_rays_per_batch: int) -> PixelSampler:
        sampler = super()._get_pixel_sampler(dataset, num_rays_per_batch)
        if dataset is not self.train_dataset or not self.config.one_image_per_batch:
            return sampler
        if self.config.labelled_share > 0:
            raise SceneError(
                "Expected --pipeline.datamanager.labelled-share 0 where each batch is of one image, found "
                f"{self.config.labelled_share}; add --pipeline.datamanager.one-image-per-batch False."
            )
        if type(sampler) is not LabelledPixelSampler:  # patches and pairs
            return sampler
        return OneImagePixelSampler(sampler.config, **sampler.kwargs)


# The names that the configuration files of older runs hold.
PaperDataManagerConfig, PaperDataManager = SemanticNerfVanillaDataManagerConfig, SemanticNerfVanillaDataManager
