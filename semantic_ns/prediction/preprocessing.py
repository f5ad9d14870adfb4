"""What a network expects of an image: size, order and range of its colours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json

FILE = "preprocessor_config.json"
_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_QUERIES = {"size": {"shortest_edge": 800, "longest_edge": 1333}, "size_divisor": 32}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "Segformer": {"size": {"height": 512, "width": 512}},
    "MaskFormer": _QUERIES,
    "Mask2Former": _QUERIES,
    "Beit": {**_HALF, "size": {"height": 256, "width": 256}},
    "DPT": {**_HALF, "size": {"height": 384, "width": 384}},
    "ViT": {**_HALF, "size": {"height": 224, "width": 224}},
    "MobileNetV2": {**_HALF, "size": {"shortest_edge": 256}},
    "MobileViT": {"do_normalize": False, "do_flip_channel_order": True, "size": {"shortest_edge": 224}},
}
"""What each kind of image processor of `transformers` takes for keys that its file leaves out."""
_NO_LIMIT = 2**31
_SUFFIXES_OF_KINDS = ("Fast", "ImageProcessor", "FeatureExtractor")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class NetworkSize:
    """Size at which a network sees an image; without any rule that of the image.

    Attributes:
        exact: height and width, whatever the shape of the image.
        shorter: length of the shorter side, where the shape of the image is kept.
        longer: largest length of the longer side, which goes before `shorter`.
        keeps_shape: whether `exact` names lengths of which only that is met that changes the image less.
        multiple: number of which height and width are then multiples, the nearest ones.
    """

    exact: tuple[int, int] | None = None
    shorter: int | None = None
    longer: int | None = None
    keeps_shape: bool = False
    multiple: int = 1

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width for an image of a height and a width."""
        if self.exact is not None:
            factors = self.exact[0] / height, self.exact[1] / width
            if self.keeps_shape:
                nearest = min(factors, key=lambda factor: abs(1 - factor))
                factors = nearest, nearest
            rows, columns = (
                round(f * length / self.multiple) for f, length in zip(factors, (height, width), strict=True)
            )
            return max(1, rows) * self.multiple, max(1, columns) * self.multiple
        factor = 1.0 if self.shorter is None else self.shorter / min(height, width)
        if self.longer is not None and (self.shorter is None or factor * max(height, width) > self.longer):
            factor = self.longer / max(height, width)
        return max(1, round(height * factor)), max(1, round(width * factor))


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of a network: resized, its colours scaled, normalised, and padded.

    Attributes:
        mean: mean of each channel that is taken off, after `scale`.
        std: deviation by which each channel is divided then.
        size: size at which the network sees the image.
        scale: factor on colours in 0..1.
        is_bgr: whether the channels are blue, green and red.
        divisor: number of which height and width must be multiples; the image is padded with 0 at its end.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    size: NetworkSize = NetworkSize()
    scale: float = 1.0
    is_bgr: bool = False
    divisor: int = 1

    def resize(self, image: UInt8[ndarray, "height width 3"]) -> UInt8[ndarray, "rows columns 3"]:
        """The image at the size of the network, by bilinear filters that see every pixel."""
        rows, columns = self.size.of(*image.shape[:2])
        if (rows, columns) == image.shape[:2]:
            return image
        return np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))

    def normalize(self, image: UInt8[ndarray, "rows columns 3"]) -> Float32[Tensor, "1 3 rows columns"]:
        """(scale * colour - mean) / std, where colours are in 0..1."""
        colors = torch.from_numpy(np.array(image[..., ::-1] if self.is_bgr else image)).float() / 255
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return ((self.scale * colors - mean) / std).permute(2, 0, 1)[None].contiguous()


def read_preprocessing(path: Path) -> Preprocessing:
    """What a `preprocessor_config.json` of `transformers` says.

    Keys that it leaves out have the values of its kind of image processor. Nothing is cropped.

    Raises:
        SceneError: if the file cannot be read, says what cannot be, or is that of an unknown kind.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise SceneError(f"Expected an object in {path}, found {type(content).__name__}; restore the file.")
    content = {**_defaults(content, path), **{key: value for key, value in content.items() if value is not None}}
    is_normalized = content.get("do_normalize", True)
    scale = 255 * _number(content.get("rescale_factor", 1 / 255), "rescale_factor", path)
    if not content.get("do_rescale", True):
        scale = 255.0
    return Preprocessing(
        mean=_three(content.get("image_mean", IMAGENET_MEAN), "image_mean", path) if is_normalized else (0.0, 0.0, 0.0),
        std=_three(content.get("image_std", IMAGENET_STD), "image_std", path) if is_normalized else (1.0, 1.0, 1.0),
        size=_size(content, path) if content.get("do_resize", True) else NetworkSize(),
        scale=scale,
        is_bgr=bool(content.get("do_flip_channel_order", False)),
        divisor=_length(content.get("size_divisor") or 1, "size_divisor", path),
    )


def _defaults(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    kind = content.get("image_processor_type") or content.get("feature_extractor_type")
    if kind is None:
        return {}
    name = str(kind)
    for suffix in _SUFFIXES_OF_KINDS:
        name = name.removesuffix(suffix)
    if name not in _DEFAULTS:
        raise SceneError(
            f"Expected an image processor of {', '.join(_DEFAULTS)} in {path}, found {kind}; move the file away and "
            "say by --size, --mean, --std and --divisor how the network's images are prepared."
        )
    given = content.get("size")
    defaults = _DEFAULTS[name]
    if isinstance(given, int) and "shortest_edge" in defaults["size"] and content.get("max_size") is None:
        return {**defaults, "max_size": _NO_LIMIT}
    return defaults


def _size(content: Mapping[str, Any], path: Path) -> NetworkSize:
    size, longer = content.get("size"), content.get("max_size")
    if isinstance(size, dict):
        lengths = {name: _length(value, f"size.{name}", path) for name, value in size.items() if value is not None}
        if {"height", "width"} <= lengths.keys():
            return _exact(lengths["height"], lengths["width"], content, path)
        return NetworkSize(shorter=lengths.get("shortest_edge"), longer=lengths.get("longest_edge"))
    if isinstance(size, list) and len(size) == 2:
        return _exact(_length(size[0], "size", path), _length(size[1], "size", path), content, path)
    if size is None:
        return NetworkSize()
    length = _length(size, "size", path)
    # One number is a square, but for the models that also say how long the longer side may be.
    if longer is None:
        return _exact(length, length, content, path)
    return NetworkSize(shorter=length, longer=None if longer == _NO_LIMIT else _length(longer, "max_size", path))


def _exact(height: int, width: int, content: Mapping[str, Any], path: Path) -> NetworkSize:
    multiple = _length(content.get("ensure_multiple_of", 1), "ensure_multiple_of", path)
    return NetworkSize((height, width), keeps_shape=bool(content.get("keep_aspect_ratio", False)), multiple=multiple)


def _number(value: Any, name: str, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise SceneError(f"Expected a number as {name} in {path}, found {value!r}; correct it.")
    return float(value)


def _length(value: Any, name: str, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SceneError(f"Expected a whole number of at least 1 as {name} in {path}, found {value!r}; correct it.")
    return value


def _three(values: Any, name: str, path: Path) -> tuple[float, float, float]:
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 3:
        raise SceneError(f"Expected three numbers as {name} in {path}, found {values!r}; correct them.")
    red, green, blue = (_number(value, name, path) for value in values)
    if name == "image_std" and min(red, green, blue) <= 0:
        raise SceneError(f"Expected deviations above 0 as {name} in {path}, found {values!r}; correct them.")
    return red, green, blue
