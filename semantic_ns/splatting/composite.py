"""Images of projected Gaussians, composited from near to far, and the way of gradients and labels back to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

from semantic_ns.splatting import composite_numba, tiles_numba
from semantic_ns.splatting.frame_memory import FrameMemory
from semantic_ns.splatting.project import Projected, as_array

SLOTS = 2
"""Parts of an image whose sums over Gaussians are added up apart, by as many threads at most. Whatever the number of
threads, the order of the sums, and so each bit of them, stays the same."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """An image of tiles of 16x16 pixels, and the Gaussians that can be seen in each.

    Attributes:
        projected: the Gaussians.
        height: rows of the image.
        width: columns of the image.
        visible: indices of the visible Gaussians, from near to far.
        first: where the members of each tile begin, tiles row by row; at last their number.
        members: the Gaussians of each tile, from near to far.
    """

    projected: Projected
    height: int
    width: int
    visible: Int[Tensor, "visible"]
    first: Int[Tensor, "tiles_and_1"]
    members: Int[Tensor, "pairs"]

    @classmethod
    def of(cls, projected: Projected, height: int, width: int, memory: FrameMemory | None = None) -> "Tiles":
        """Sort the visible Gaussians by depth, and give each tile its own.

        Args:
            projected: the Gaussians.
            height: rows of the image.
            width: columns of the image.
            memory: where the result lies; None for memory of its own.
        """
        memory, count = memory or FrameMemory(), len(projected.depths)

        def numbers(name: str, length: int) -> Tensor:
            return memory.take(name, length, dtype=torch.int32)

        at, conics, reach = projected.at.numpy(), projected.conics.numpy(), projected.reach.numpy()
        places, other = numbers("visible", count), numbers("other order", count).numpy()
        keys = [numbers(name, count).numpy().view(np.uint32) for name in ("keys", "other keys")]
        starts = memory.take("starts", tiles_numba.NUM_BUCKETS + 1, dtype=torch.int64).numpy()
        depths: Any = projected.depths.numpy()
        visible = places[: tiles_numba.sort_visible(depths, reach, places.numpy(), other, keys[0], keys[1], starts)]
        most = tiles_numba.most_pairs(visible.numpy(), at, reach, width, height)
        members, tiles, gaussians = (numbers(name, most) for name in ("members", "tiles", "gaussians"))
        num_tiles = -(-height // tiles_numba.TILE) * -(-width // tiles_numba.TILE)
        first = memory.take("first", num_tiles + 1, dtype=torch.int64)
        on_the_way = tiles.numpy(), gaussians.numpy()
        count = tiles_numba.list_tiles(
            visible.numpy(), at, reach, conics, width, height, first.numpy(), members.numpy(), *on_the_way
        )
        return cls(projected, height, width, visible, first, members[:count])

    @cached_property
    def _arrays(self) -> tuple[Any, Any, Any, Any, Any, Any]:
        seen = self.projected
        return (
            as_array(self.first), as_array(self.members),
            as_array(seen.at), as_array(seen.conics), as_array(seen.reach), as_array(seen.opacities),
        )  # fmt: skip

    def gathered(
        self, parts: Sequence[Float[Tensor, "visible _channels"]], memory: FrameMemory
    ) -> Float[Tensor, "gaussians channels"]:
        """Features of the visible Gaussians side by side, as :meth:`composite` takes them; others are undefined.

        Args:
            parts: their channels in turn, from near to far.
            memory: where the result lies.
        """
        total = sum(part.shape[1] for part in parts)
        found, channel = memory.take("features", len(self.projected.depths), total), 0
        for part in parts:
            composite_numba.put_rows(as_array(self.visible), as_array(part), channel, as_array(found))
            channel += part.shape[1]
        return found

    def composite(
        self,
        features: Float[Tensor, "gaussians channels"],
        memory: FrameMemory | None = None,
        more: Float[Tensor, "gaussians further"] | None = None,
    ) -> tuple[Float[Tensor, "height width channels_and_further"], Float[Tensor, "height width"]]:
        """The image of features, and the light that passes all Gaussians, in 0..1.

        Of a pixel in which Gaussians of alpha_1, alpha_2, ... lie from near to far, the image is the sum of
        alpha_i (1 - alpha_1) ... (1 - alpha_{i-1}) f_i (Kerbl et al. 2023, equation (3)).

        Args:
            features: features, of which those of visible Gaussians are looked at.
            memory: where the result lies; None for memory of its own.
            more: further features, whose channels follow in the image.
        """
        memory = memory or FrameMemory()
        more = features[:, :0] if more is None else more
        image = memory.take("image", self.height, self.width, features.shape[1] + more.shape[1])
        left = memory.take("left", self.height, self.width)
        parts = as_array(features), as_array(more)
        composite_numba.composite(*self._arrays, *parts, image.numpy(), left.numpy())
        return image, left

    def backward(
        self,
        features: Float[Tensor, "gaussians channels"],
        image: Float[Tensor, "height width channels"],
        left: Float[Tensor, "height width"],
        g_image: Float[Tensor, "height width channels"],
        g_left: Float[Tensor, "height width"],
    ) -> "CompositeGradients":
        """Gradients of a loss from those in image and light, which are as :meth:`composite` gave them."""
        num, kinds = len(features), 6 + features.shape[1]
        pairs = features.new_empty(len(self.members), kinds)
        composite_numba.composite_backward(
            *self._arrays,
            as_array(features),
            as_array(image),
            as_array(left),
            as_array(g_image),
            as_array(g_left),
            as_array(pairs),
        )
        by_slot, found = features.new_zeros(SLOTS, num, kinds), features.new_empty(num, kinds)
        composite_numba.add_pairs(self.members.numpy(), pairs.numpy(), SLOTS, by_slot.numpy(), found.numpy())
        return CompositeGradients(found[:, :2], found[:, 2:5], found[:, 5], found[:, 6:])

    def middles(self) -> Int32[Tensor, "height width"]:
        """The Gaussian behind which each pixel has less than half of its light left, -1 where that is never so.

        It is what a pixel shows: the mean depth of an outline lies between two surfaces.
        """
        found = torch.empty((self.height, self.width), dtype=torch.int32)
        composite_numba.find_middles(*self._arrays, found.numpy())
        return found

    def add_votes(self, labels: Int[Tensor, "height width"], votes: Float[Tensor, "slots gaussians classes"]) -> None:
        """Add the weights that each Gaussian has in pixels of each class to the votes, whose slots add up to a whole.

        It is the gradient of :meth:`composite` in the features for one-hot images (Marrie et al. 2025, LUDVIG).

        Args:
            labels: classes 0..C-1, void is -1.
            votes: votes so far; each slot holds those of one part of the images.
        """
        composite_numba.add_votes(*self._arrays, as_array(labels), votes.numpy())

    def add_responsibilities(
        self,
        labels: Int[Tensor, "height width"],
        probabilities: Float[Tensor, "gaussians classes"],
        sums: Float[Tensor, "slots gaussians classes"],
    ) -> None:
        """Add the share of the pixels of each class that each Gaussian answers for, in 0..1 of each pixel.

        Of a pixel of class c a Gaussian n answers for w_n p_n(c) / sum_j w_j p_j(c).

        Args:
            labels: classes 0..C-1, void is -1.
            probabilities: p.
            sums: shares so far; each slot holds those of one part of the images.
        """
        parts = as_array(labels), as_array(probabilities)
        composite_numba.add_responsibilities(*self._arrays, *parts, sums.numpy())


@dataclass(frozen=True, eq=False)
class CompositeGradients:
    """Gradients in the parts of projected Gaussians."""

    at: Float[Tensor, "gaussians 2"]
    conics: Float[Tensor, "gaussians 3"]
    opacities: Float[Tensor, "gaussians"]
    features: Float[Tensor, "gaussians channels"]
