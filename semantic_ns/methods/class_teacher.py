"""The classes that a segmenter knew before a training changed it."""

import copy
import hashlib
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.backbones.pyramids import PyramidSegmenter
from semantic_ns.many_scenes.samples import Frames
from semantic_ns.methods.kept_features import KeptFeatures
from semantic_ns.multi_view.supervised_losses import distillation_loss

_MOST_KEPT = 256 * 2**20
"""Bytes of the classes of images that are kept: 0.4 MiB for each of 192x144 and 31 classes."""


class ClassTeacher:
    """A segmenter as it was when a training began: what it says of an image is what the training shall not forget.

    Learning without forgetting (Li and Hoiem 2016): where nothing else says which class a pixel has, the segmenter goes
    on to say what it said at first.

    Args:
        segmenter: the segmenter that will be trained. Parts of it that are never trained are shared, all others copied.
    """

    def __init__(self, segmenter: PyramidSegmenter) -> None:
        shared = {id(part): part for part in segmenter.modules() if _is_frozen(part)}
        self._shared = tuple(f"{name}." for name, part in segmenter.named_modules() if id(part) in shared)
        self._segmenter = copy.deepcopy(segmenter, shared).requires_grad_(False)
        self._kept: KeptFeatures[tuple[torch.Size, bytes], Tensor] | None = None

    @torch.no_grad()
    def log_probabilities(
        self, images: Float[Tensor, "images 3 height width"]
    ) -> Float[Tensor, "images classes rows columns"]:
        """Logarithms of class probabilities of images in 0..1 at half of their resolution, to half precision.

        An image that it has seen before is not looked at again.
        """
        return torch.cat([self._of_image(image) for image in images.split(1)]).float()

    def _of_image(self, image: Tensor) -> Tensor:
        content = image.cpu().contiguous().numpy().tobytes()
        key = (image.shape, hashlib.blake2b(content, digest_size=16).digest())
        found = None if self._kept is None else self._kept.get(key)
        if found is None:
            found = self._segmenter.segment(image).log_softmax(dim=1).half()
            if self._kept is None:
                self._kept = KeptFeatures(max(1, _MOST_KEPT // (found.numel() * found.element_size())))
            self._kept.keep(key, found)
        return found

    def loss(self, logits: Float[Tensor, "images classes rows columns"], frames: Sequence[Frames]) -> Float[Tensor, ""]:
        """How far class logits of all the frames have moved away from it where a pixel has no label and is used."""
        is_used = torch.cat([_at_size(_is_unlabelled(part), logits) for part in frames])
        if not bool(is_used.any()):
            return logits.sum() * 0
        return distillation_loss(logits, self.log_probabilities(torch.cat([part.images for part in frames])), is_used)

    def state(self) -> dict[str, Tensor]:
        """Parameters of what was copied, by name, for a checkpoint."""
        return {
            name: value for name, value in self._segmenter.state_dict().items() if not name.startswith(self._shared)
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go back to the parameters of a checkpoint."""
        self._segmenter.load_state_dict(state, strict=False)
        self._kept = None


def _is_unlabelled(frames: Frames) -> Tensor:
    is_void = frames.labels < 0
    return is_void if frames.masks is None else is_void & frames.masks


def _at_size(image: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(image[:, None].float(), like.shape[-2:], mode="nearest-exact")[:, 0] > 0


def _is_frozen(part: nn.Module) -> bool:
    parameters = list(part.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
