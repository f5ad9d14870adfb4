"""Masks of what lies at a point of an image, by a pair of networks in ONNX files like those of Segment Anything.

The encoder turns an image into an embedding, once; the decoder turns the embedding and points into masks (Kirillov et
al. 2023). What their inputs and outputs are called is that of the usual exports:

- encoder: one input, and `image_embeddings` as output, or else the first one. The input is `[1, 3, S, S]` float32,
  which gets the image with its longer side at S, normalised by `MEAN` and `STD` and with zeros to the right and below;
  or `[H, W, 3]` float32, which gets the colours 0..255 with the longer side at 1024 and does the rest itself.
- decoder: `image_embeddings`, `point_coords` `[1, N, 2]` (x, y in pixels of the image with its longer side at S) and
  `point_labels` `[1, N]` (1 inside, 0 outside, -1 for none); if it has them `mask_input` and `has_mask_input`, which
  get zeros, and `orig_im_size` `[2]`. Outputs are `masks` `[1, M, height, width]`, which are above 0 inside, of the
  size of the image or of the square that the encoder sees, and, if there are several, `iou_predictions` `[1, M]`.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.prediction.onnx_session import open_onnx, told_inputs

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Mean and standard deviation of the colours of ImageNet, of 255."""
_SIDE = 1024
"""Longer side of the images of an encoder that does not say it."""
_NUM_EMBEDDINGS = 8
"""Images whose embeddings are kept; each has some megabytes."""
_NEEDED = ("image_embeddings", "point_coords", "point_labels")
_KNOWN = (*_NEEDED, "mask_input", "has_mask_input", "orig_im_size")
_MASK_SIDE = 256

Point = tuple[float, float, bool]
"""x and y, pixels of the image, and whether the place is inside of what is wanted."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """An image as the decoder knows it: its embedding, its size, and how much smaller the encoder saw it."""

    embedding: ndarray
    height: int
    width: int
    scale: float


class PointSegmenter:
    """A pair of networks; several threads may ask at once.

    Args:
        path: Folder with one file `*encoder*.onnx` and one `*decoder*.onnx`, or either file, whose other one has the
            same name with the other word; whether letters are capitals makes no difference.

    Raises:
        SceneError: if there is no such pair, ONNX Runtime is missing, or a network has other inputs or outputs.
    """

    def __init__(self, path: Path) -> None:
        self._encoder_path, self._decoder_path = pair_at(path)
        self._encoder, self._decoder = open_onnx(self._encoder_path), open_onnx(self._decoder_path)
        (self._image, self._side, self._is_raw) = self._checked_encoder()
        self._inputs = self._checked_decoder()
        self._kept, self._encoding = threading.Lock(), threading.Lock()
        self._seen: OrderedDict[Hashable, _Seen] = OrderedDict()

    def _checked_encoder(self) -> tuple[str, int, bool]:
        """Name of the image, its longer side, and whether the network takes colours 0..255 as they are."""
        inputs = self._encoder.get_inputs()
        shape = list(inputs[0].shape)
        lengths = [length for length in shape if isinstance(length, int)]  # others have a name, and may be any
        is_raw = len(shape) == 3 and lengths[-1:] == [3]
        is_square = len(shape) == 4 and shape[1] == 3 and len(set(lengths[-2:])) == 1 and len(lengths) == 4
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not (is_raw or is_square):
            raise SceneError(
                f"Expected an encoder with one input [1, 3, S, S] or [H, W, 3] of floats in {self._encoder_path}, "
                f"found {told_inputs(self._encoder)}; export it so."
            )
        return inputs[0].name, _SIDE if is_raw else lengths[-1], is_raw

    def _checked_decoder(self) -> dict[str, Any]:
        """The inputs of the decoder by their names."""
        inputs = {one.name: one for one in self._decoder.get_inputs()}
        has_masks = any(one.name == "masks" for one in self._decoder.get_outputs())
        if not set(_NEEDED) <= inputs.keys() <= set(_KNOWN) or not has_masks:
            raise SceneError(
                f"Expected a decoder with the inputs {', '.join(_NEEDED)} and the output masks in "
                f"{self._decoder_path}, found {told_inputs(self._decoder)} and "
                f"{', '.join(one.name for one in self._decoder.get_outputs())}; export it as Segment Anything does."
            )
        return inputs

    def prepare(self, key: Hashable, color: UInt8[ndarray, "height width 3"]) -> None:
        """Encode an image (slow), unless it was encoded lately.

        Args:
            key: What tells the image from others.
            color: The image.

        Raises:
            SceneError: if the network fails.
        """
        self._embedding(key, color)

    def mask(
        self, key: Hashable, color: UInt8[ndarray, "height width 3"], points: Sequence[Point]
    ) -> Bool[ndarray, "height width"]:
        """The mask of what lies at points of an image; of several masks the one that the network thinks most of.

        Args:
            key: What tells the image from others.
            color: The image.
            points: The points, one or more.

        Raises:
            SceneError: if a network fails, or gives masks of another shape.
        """
        seen = self._embedding(key, color)
        # The last point stands for the box that there is none of.
        places = np.array([[*((x * seen.scale, y * seen.scale) for x, y, _ in points), (0.0, 0.0)]], np.float32)
        labels = np.array([[*(float(is_inside) for _, _, is_inside in points), -1.0]], np.float32)
        given = {
            "image_embeddings": seen.embedding,
            "point_coords": places,
            "point_labels": labels,
            "mask_input": np.zeros(self._mask_shape(), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array([seen.height, seen.width], np.float32),
        }
        outputs = [one.name for one in self._decoder.get_outputs() if one.name in {"masks", "iou_predictions"}]
        found = self._run(self._decoder, self._decoder_path, outputs, {name: given[name] for name in self._inputs})
        said = dict(zip(outputs, found, strict=True))
        masks = np.asarray(said["masks"])
        if masks.ndim != 4 or masks.shape[0] != 1 or not masks.shape[1]:
            raise SceneError(
                f"Expected masks [1, M, height, width] from {self._decoder_path}, found {list(masks.shape)}; export it "
                "as Segment Anything does."
            )
        scores = np.asarray(said.get("iou_predictions", np.zeros((1, 1)))).reshape(-1)
        best = int(scores.argmax()) if len(scores) == masks.shape[1] else 0
        return self._fitted(masks[0, best].astype(np.float32), seen) > 0

    def _mask_shape(self) -> list[int]:
        shape = self._inputs["mask_input"].shape if "mask_input" in self._inputs else []
        known = [length if isinstance(length, int) else _MASK_SIDE for length in shape]
        return [1, 1, *known[2:]] if len(known) == 4 else [1, 1, _MASK_SIDE, _MASK_SIDE]

    def _fitted(self, logits: Float32[ndarray, "rows columns"], seen: _Seen) -> Float32[ndarray, "height width"]:
        """A mask at the size of its image, from one of it or of the square around it."""
        if logits.shape == (seen.height, seen.width):
            return logits
        if logits.shape[0] != logits.shape[1]:
            raise SceneError(
                f"Expected masks of {seen.width}x{seen.height} or square ones from {self._decoder_path}, found "
                f"{logits.shape[1]}x{logits.shape[0]}; export it as Segment Anything does."
            )
        part = logits.shape[0] / max(seen.height, seen.width)
        box = (0.0, 0.0, seen.width * part, seen.height * part)
        # What lies beyond is no part of the image, and is not to be blurred into it.
        inner = np.ascontiguousarray(logits[: int(np.ceil(box[3])), : int(np.ceil(box[2]))])
        return np.asarray(Image.fromarray(inner).resize((seen.width, seen.height), Image.Resampling.BILINEAR, box))

    def _embedding(self, key: Hashable, color: UInt8[ndarray, "height width 3"]) -> _Seen:
        found = self._known(key)
        if found is not None:
            return found
        with self._encoding:  # which takes seconds: one image at a time, and what is known does not wait for it
            found = self._known(key)  # by whoever was before
            if found is None:
                found = self._encoded(color)
                self._keep(key, found)
            return found

    def _known(self, key: Hashable) -> _Seen | None:
        with self._kept:
            if key in self._seen:
                self._seen.move_to_end(key)
            return self._seen.get(key)

    def _keep(self, key: Hashable, seen: _Seen) -> None:
        with self._kept:
            self._seen[key] = seen
            while len(self._seen) > _NUM_EMBEDDINGS:
                self._seen.popitem(last=False)

    def _encoded(self, color: UInt8[ndarray, "height width 3"]) -> _Seen:
        height, width = color.shape[:2]
        scale = self._side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        resized = np.asarray(Image.fromarray(color).resize(size, Image.Resampling.BILINEAR), np.float32)
        if self._is_raw:
            pixels = resized
        else:
            pixels = np.zeros((1, 3, self._side, self._side), np.float32)
            normalised = (resized - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
            pixels[0, :, : size[1], : size[0]] = normalised.transpose(2, 0, 1)
        names = [one.name for one in self._encoder.get_outputs()]
        wanted = "image_embeddings" if "image_embeddings" in names else names[0]
        (embedding,) = self._run(self._encoder, self._encoder_path, [wanted], {self._image: pixels})
        return _Seen(embedding, height, width, scale)

    @staticmethod
    def _run(session: Any, path: Path, outputs: list[str], given: dict[str, ndarray]) -> list[Any]:
        try:
            return session.run(outputs, given)
        except Exception as error:  # ONNX Runtime's own errors share no base class
            message = " ".join(str(error).split())[:200]
            raise SceneError(
                f"Expected a network that takes an image and points at {path}, found one that fails ({message}); "
                "export it as Segment Anything does."
            ) from error


def pair_at(path: Path) -> tuple[Path, Path]:
    """The files of the encoder and the decoder, see `PointSegmenter`.

    Raises:
        SceneError: if there is not one of each.
    """
    found = []
    for word, other in (("encoder", "decoder"), ("decoder", "encoder")):
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".onnx" and word in _lower(file))
        else:
            wanted = _lower(path).replace(other, word)
            beside = path.parent.iterdir() if path.parent.is_dir() and word in wanted else ()
            files = sorted(file for file in beside if _lower(file) == wanted and file.is_file())
            files = [path] if path in files else files  # and not another one whose name differs in case
        if len(files) != 1:
            raise SceneError(
                f"Expected a file *encoder*.onnx and a file *decoder*.onnx for --segmenter {path}, found {len(files)} "
                f"of the {word}; give the folder of the two, or one of them."
            )
        found.append(files[0])
    return found[0], found[1]


def _lower(path: Path) -> str:
    return path.name.lower()
