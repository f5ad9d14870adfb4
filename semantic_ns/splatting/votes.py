"""How many labelled pixels speak for each class of each Gaussian."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from semantic_ns.splatting import composite_numba
from semantic_ns.splatting.composite import SLOTS, Tiles
from semantic_ns.splatting.frame_memory import FrameMemory
from semantic_ns.splatting.project import Gaussians, PinholeCamera, as_array, project

_MOST_KEPT = 256 * 2**20
"""Bytes of the votes of single images that are kept; those of further images are counted anew."""


@dataclass(frozen=True, eq=False)
class Votes:
    """How many labelled pixels speak for each class of each Gaussian.

    Attributes:
        counts: summed rendering weights of the pixels of each class.
        labelled_share: share of all pixels that have a label.
    """

    counts: Float[Tensor, "gaussians classes"]
    labelled_share: float


@dataclass(frozen=True, eq=False)
class _ImageVotes:
    """Those of one image, without zeros.

    Attributes:
        labels: digest of its labels; empty where there is no room to keep it.
        places: class c of Gaussian n is at C n + c.
        weights: summed rendering weights.
    """

    labels: bytes
    places: Int64[Tensor, "votes"]
    weights: Float[Tensor, "votes"]

    @property
    def num_bytes(self) -> int:
        return len(self.places) * (self.places.element_size() + self.weights.element_size())


class VoteCounter:
    """Counts votes for Gaussians that stay, again and again: of images whose labels are those of before, once.

    Args:
        gaussians: the Gaussians.
        cameras: cameras of the images.
        num_classes: C.
        is_antialiased: whether the Gaussians were trained in gsplat's antialiased mode.
        most_kept: bytes of the votes of single images that are kept.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        cameras: Sequence[PinholeCamera],
        num_classes: int,
        is_antialiased: bool = False,
        most_kept: int = _MOST_KEPT,
    ) -> None:
        self._gaussians, self._cameras, self.num_classes = gaussians, list(cameras), num_classes
        self._is_antialiased, self._room = is_antialiased, most_kept
        self._kept: dict[int, _ImageVotes] = {}
        self.num_counted = 0
        """Images that were looked at so far."""

    def count(self, labels: Sequence[Int[Tensor, "_height _width"]]) -> Votes:
        """The votes of images, to the bit whatever was counted before.

        They are the sums over pixels of each image, added up in the order of the images.

        Args:
            labels: classes of the pixels of all images, 0..C-1, void -1.
        """
        counts = torch.zeros(len(self._gaussians) * self.num_classes)
        num_labelled = num_pixels = 0
        memory, by_slot = FrameMemory(), None
        for index, (camera, image) in enumerate(zip(self._cameras, labels, strict=True)):
            num_labelled, num_pixels = num_labelled + int((image >= 0).sum()), num_pixels + image.numel()
            if not bool((image >= 0).any()):
                self._forget(index)
                continue
            digest = hashlib.blake2b(as_array(image).tobytes(), digest_size=16).digest() if self._room > 0 else b""
            found = self._kept.get(index)
            if found is None or found.labels != digest:
                if by_slot is None:
                    by_slot = torch.zeros(SLOTS, len(self._gaussians), self.num_classes)
                found = self._of_image(camera, image.int(), digest, by_slot, memory)
                self._keep(index, found)
            counts[found.places] += found.weights
        return Votes(counts.view(-1, self.num_classes), num_labelled / max(num_pixels, 1))

    def _of_image(
        self, camera: PinholeCamera, labels: Tensor, digest: bytes, by_slot: Tensor, memory: FrameMemory
    ) -> _ImageVotes:
        """Votes of one image; `by_slot` [slots, Gaussians, classes] is 0 before and after."""
        self.num_counted += 1
        projected = project(self._gaussians, camera, is_antialiased=self._is_antialiased, memory=memory)
        tiles = Tiles.of(projected, camera.height, camera.width, memory)
        tiles.add_votes(labels, by_slot)
        most = len(tiles.visible) * self.num_classes
        places, weights = memory.take("places", most, dtype=torch.int64), memory.take("weights", most)
        count = composite_numba.take_votes(
            as_array(tiles.visible), by_slot.numpy(), as_array(places), as_array(weights)
        )
        return _ImageVotes(digest, places[:count].clone(), weights[:count].clone())

    def _forget(self, index: int) -> None:
        before = self._kept.pop(index, None)
        self._room += 0 if before is None else before.num_bytes

    def _keep(self, index: int, found: _ImageVotes) -> None:
        self._forget(index)
        if found.labels and found.num_bytes <= self._room:
            self._kept[index] = found
            self._room -= found.num_bytes


def gaussian_votes(
    gaussians: Gaussians,
    cameras: Sequence[PinholeCamera],
    labels: Sequence[Int[Tensor, "_height _width"]],
    num_classes: int,
    is_antialiased: bool = False,
) -> Votes:
    """Add up the rendering weight of each Gaussian in the pixels of each class (Marrie et al. 2025, equation (2)).

    Args:
        gaussians: the Gaussians.
        cameras: cameras of the images.
        labels: classes of their pixels, 0..C-1, void -1.
        num_classes: C.
        is_antialiased: whether the Gaussians were trained in gsplat's antialiased mode.
    """
    return VoteCounter(gaussians, cameras, num_classes, is_antialiased, most_kept=0).count(labels)
