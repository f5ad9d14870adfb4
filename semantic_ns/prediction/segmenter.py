"""What is asked of a segmentation network, whatever program runs it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.errors import SceneError
from semantic_ns.prediction.class_names import ClassNames
from semantic_ns.prediction.preprocessing import Preprocessing

_SMALLEST_SHARE = 1 / 64
"""Logits of a smaller share of the input's height are no map of classes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Segmenter(ABC):
    """A network that gives each pixel of an image a distribution over its classes.

    Attributes:
        path: file or folder of the network, for errors.
        classes: names of its classes; None where nothing says them.
        num_classes: number of its classes; None where only its output shows it.
        preprocessing: what it expects of an image.
        notes: what was assumed, as sentences.
        fixed_size: the only height and width that it takes; None where it takes any.
    """

    path: Path
    classes: ClassNames | None
    num_classes: int | None
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()
    fixed_size: tuple[int, int] | None = None

    @abstractmethod
    def probabilities(self, pixels: Float32[Tensor, "1 3 height width"]) -> Float32[Tensor, "classes height width"]:
        """The distribution of each pixel of a normalised image, on the CPU.

        Raises:
            SceneError: if the network cannot be run, or does not give logits of its classes for the image.
        """


def softmax_of_logits(
    logits: Tensor, size: tuple[int, int], num_classes: int | None, path: Path
) -> Float32[Tensor, "classes height width"]:
    """The soft-max of logits [1, classes, rows, columns], resized to an image first as is usual.

    Args:
        logits: what the network gave.
        size: height and width of the image that it saw.
        num_classes: number of its classes; None for any.
        path: the network, for errors.

    Raises:
        SceneError: if the logits are of another rank, size or number of classes, or not finite.
    """
    checked = check_logits(logits, size, num_classes, path)
    return resize_maps(checked, size)[0].softmax(dim=0)


def check_logits(logits: Tensor, size: tuple[int, int], num_classes: int | None, path: Path) -> Float32[Tensor, "..."]:
    """Logits [1, classes, rows, columns] in single precision; arguments and errors are those of `softmax_of_logits`."""
    shape = tuple(logits.shape)
    if len(shape) != 4 or shape[0] != 1 or not logits.is_floating_point():
        raise SceneError(
            f"Expected logits [1, classes, height, width] from {path}, found {str(logits.dtype).removeprefix('torch.')}"
            f" {list(shape)}; export the network so that it gives the logits of its classes, before any arg-max."
        )
    if shape[1] < 2 or (num_classes is not None and shape[1] != num_classes):
        expected = "at least 2" if num_classes is None else str(num_classes)
        raise SceneError(
            f"Expected logits of {expected} classes from {path}, found {shape[1]}; choose the network that belongs to "
            "its list of classes."
        )
    rows, columns = shape[2:]
    height, width = size
    is_small = rows < height * _SMALLEST_SHARE
    if is_small or abs(rows * width - columns * height) >= max(height, width):
        raise SceneError(
            f"Expected logits in the proportions of the image, {width}x{height}, from {path}, found {columns}x{rows}; "
            "choose a network that labels each pixel, and export it with height and width free."
        )
    logits = logits.detach().float().cpu()
    if not bool(logits.isfinite().all()):
        raise SceneError(
            f"Expected finite logits from {path}, found NaN or infinity; check the weights, and that --mean and --std "
            "are those of its training."
        )
    return logits


def resize_maps(
    maps: Float32[Tensor, "1 channels rows columns"], size: tuple[int, int]
) -> Float32[Tensor, "1 channels height width"]:
    """Maps at another size (height, width), bilinear between pixel centres."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def failed_network(path: Path, pixels: Tensor, error: Exception) -> SceneError:
    """The error for a network that raised one."""
    message = " ".join(str(error).split())[:200] or type(error).__name__
    return SceneError(
        f"Expected the network {path} to take an image of {pixels.shape[-1]}x{pixels.shape[-2]}, found that it fails "
        f"({message}); choose a size that it takes by --size, or --divisor 32 if it halves the image several times."
    )


@torch.inference_mode()
def run_module(module: torch.nn.Module, pixels: Float32[Tensor, "1 3 height width"], path: Path) -> object:
    """The output of a network in PyTorch, on the device of its weights.

    Raises:
        SceneError: if it cannot be run.
    """
    device = next(module.parameters()).device
    try:
        return module(pixels.to(device))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise failed_network(path, pixels, error) from error
