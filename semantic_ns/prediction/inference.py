"""From an image to a distribution over classes at each pixel: resizing, tiles that overlap, the mirrored image."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.errors import SceneError
from semantic_ns.prediction.preprocessing import NetworkSize
from semantic_ns.prediction.segmenter import Segmenter


@dataclass(frozen=True)
class Inference:
    """How a network is applied to an image.

    Attributes:
        tile: side of the square pieces in which the network sees the image; None shows it the whole at once.
        overlap: pixels that neighbouring tiles share at least.
        is_mirrored_too: whether the distribution is the mean of that of the image and that of its mirror image.
    """

    tile: int | None = None
    overlap: int = 64
    is_mirrored_too: bool = False

    def __post_init__(self) -> None:
        if self.tile is not None and not (self.tile >= 2 and 0 <= self.overlap <= self.tile // 2):
            raise SceneError(
                f"Expected --overlap of 0 to half of --tile, and --tile of at least 2, found {self.overlap} and "
                f"{self.tile}; change them."
            )


def fit_to(segmenter: Segmenter, inference: Inference) -> NetworkSize:
    """The size at which a network with these tiles sees an image.

    Raises:
        SceneError: if the network takes no tiles of this size, or no image of the size that was asked for.
    """
    preprocessing, tile, fixed = segmenter.preprocessing, inference.tile, segmenter.fixed_size
    if tile is not None and tile % preprocessing.divisor:
        raise SceneError(
            f"Expected --tile as a multiple of {preprocessing.divisor} for {segmenter.path}, found {tile}; change it."
        )
    if fixed is None:
        return preprocessing.size
    if tile is not None:
        if fixed != (tile, tile):
            raise SceneError(
                f"Expected tiles of {fixed[1]}x{fixed[0]}, the only size that {segmenter.path} takes, found --tile "
                f"{tile}; change it, or export the network with height and width free."
            )
        return preprocessing.size
    return NetworkSize(exact=fixed)


@torch.inference_mode()
def predict(
    segmenter: Segmenter, image: UInt8[ndarray, "height width 3"], inference: Inference
) -> Float32[Tensor, "classes rows columns"]:
    """The distribution at each pixel of an image at the size at which the network sees it.

    Tiles overlap: at a pixel, distributions are weighted by 0 within a quarter of the overlap from the border of a tile
    and then by a ramp, so that what the network makes of a missing neighbourhood does not count. A network that sees
    no farther than this quarter gives the same with and without tiles.

    Raises:
        SceneError: see `Segmenter.probabilities`.
    """
    preprocessing = replace(segmenter.preprocessing, size=fit_to(segmenter, inference))
    resized = preprocessing.resize(image)
    rows, columns = resized.shape[:2]
    pixels = _padded(preprocessing.normalize(resized), preprocessing.divisor)
    if inference.tile is None:
        return _both_ways(segmenter, pixels, inference.is_mirrored_too)[:, :rows, :columns]
    if segmenter.fixed_size is not None:
        height, width = (max(0, inference.tile - length) for length in pixels.shape[-2:])
        pixels = F.pad(pixels, (0, width, 0, height))
    return _tiled(segmenter, pixels, inference)[:, :rows, :columns]


def _padded(pixels: Float32[Tensor, "1 3 _rows _columns"], divisor: int) -> Float32[Tensor, "1 3 rows columns"]:
    rows, columns = (-length % divisor for length in pixels.shape[-2:])
    return F.pad(pixels, (0, columns, 0, rows))


def _both_ways(segmenter: Segmenter, pixels: Tensor, is_mirrored_too: bool) -> Float32[Tensor, "classes rows columns"]:
    found = segmenter.probabilities(pixels)
    if not is_mirrored_too:
        return found
    return (found + segmenter.probabilities(pixels.flip(-1)).flip(-1)) / 2


def _tiled(segmenter: Segmenter, pixels: Tensor, inference: Inference) -> Float32[Tensor, "classes rows columns"]:
    assert inference.tile is not None
    rows, columns = pixels.shape[-2:]
    total = weights = None
    for top, bottom in tile_bounds(rows, inference.tile, inference.overlap):
        for left, right in tile_bounds(columns, inference.tile, inference.overlap):
            tile = pixels[..., top:bottom, left:right].contiguous()
            found = _both_ways(segmenter, tile, inference.is_mirrored_too)
            down = border_weights(top, bottom, rows, inference.overlap)
            across = border_weights(left, right, columns, inference.overlap)
            weight = down[:, None] * across
            if total is None or weights is None:
                total, weights = torch.zeros(len(found), rows, columns), torch.zeros(rows, columns)
            total[:, top:bottom, left:right] += weight * found
            weights[top:bottom, left:right] += weight
    assert total is not None
    assert weights is not None
    return total.div_(weights)


def tile_bounds(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Begin and end of the fewest tiles that cover a length, evenly spread, with at least an overlap between them."""
    if length <= tile:
        return [(0, length)]
    number = 1 + -(-(length - tile) // (tile - overlap))
    begins = [round(place * (length - tile) / (number - 1)) for place in range(number)]
    return [(begin, begin + tile) for begin in begins]


def border_weights(begin: int, end: int, length: int, overlap: int) -> Float32[Tensor, "pixels"]:
    """Weight of each pixel of a tile by its distance from those of its borders that are not the image's."""
    places = torch.arange(begin, end) + 0.5
    distance = torch.full((end - begin,), torch.inf)
    if begin > 0:
        distance = torch.minimum(distance, places - begin)
    if end < length:
        distance = torch.minimum(distance, end - places)
    if overlap == 0:
        return torch.ones(end - begin)
    return ((distance - overlap / 4) / (overlap / 2)).clamp(0, 1)


def in_strips(
    maps: Float32[Tensor, "channels rows columns"], size: tuple[int, int], num_pixels: int = 2**17
) -> Iterator[Float32[Tensor, "channels _strip width"]]:
    """Maps at a size (height, width), bilinear between pixel centres, in strips of rows from top to bottom.

    All strips at once take gigabytes for a large image and many classes.
    """
    height, width = size
    rows = maps.shape[1]
    step = max(1, num_pixels // width)
    places = ((torch.arange(height) + 0.5) * rows / height - 0.5).clamp(0, rows - 1)
    lower = places.floor().long()
    upper = (lower + 1).clamp(max=rows - 1)
    share = (places - lower)[:, None]
    for begin in range(0, height, step):
        end = min(begin + step, height)
        above, below, part = maps[:, lower[begin:end]], maps[:, upper[begin:end]], share[begin:end]
        strip = above + part * (below - above)
        if strip.shape[-1] != width:
            strip = F.interpolate(strip[None], (end - begin, width), mode="bilinear", align_corners=False)[0]
        yield strip


def as_array(strip: Tensor) -> Float32[ndarray, "rows columns channels"]:
    """A strip with channels last."""
    return np.ascontiguousarray(strip.permute(1, 2, 0).numpy())
