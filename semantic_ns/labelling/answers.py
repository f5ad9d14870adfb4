"""What the server answers: arrays as bytes, and the state of a session as JSON. No sockets."""

import base64
import io
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import numpy as np
from jaxtyping import Float32, Int16, UInt8
from numpy import ndarray
from PIL import Image

PAINTED_VOID = -2
"""In the label layer of the page: painted as "do not know". Elsewhere -1 is nothing, and the others are class ids."""
_CONFIDENCE_STEPS = 31
_FAST = 1
"""Level of zlib. Label layers are constant over large areas: higher levels cost time and save little."""


@dataclass(frozen=True)
class Answer:
    """Status, body and headers of an answer."""

    body: bytes
    kind: str = "application/octet-stream"
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(content: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """Answer with a JSON object; numbers that are not finite, which JSON does not have, become null."""
    text = json.dumps(_finite(content), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Answer(text.encode("utf8"), "application/json; charset=utf-8", status)


def error_answer(sentence: str, status: HTTPStatus) -> Answer:
    """Answer with one sentence about what is wrong."""
    return json_answer({"error": sentence}, status)


def array_answer(values: ndarray, revision: int) -> Answer:
    """Answer with the bytes of an array, row by row and little-endian; its shape is that of the frame."""
    return Answer(_little_endian(values), headers={"X-Revision": str(revision)})


def inline(values: ndarray) -> str:
    """An array for a JSON answer: its bytes, row by row and little-endian, compressed by zlib, in base 64."""
    return base64.b64encode(zlib.compress(_little_endian(values), _FAST)).decode("ascii")


def label_layer(labels: Int16[ndarray, "H W"], painted: Int16[ndarray, "H W"]) -> Int16[ndarray, "H W"]:
    """Class ids of a frame with what is painted as void, which labels alone do not tell from nothing."""
    return np.where(painted == PAINTED_VOID, np.int16(PAINTED_VOID), labels)


def confidence_layer(confidence: Float32[ndarray, "H W"]) -> UInt8[ndarray, "H W"]:
    """Confidence 0..1 as 0..255, in 32 steps: no eye sees more, and so it is small when it is compressed."""
    steps = np.rint(np.clip(np.nan_to_num(confidence), 0, 1) * _CONFIDENCE_STEPS)
    return np.rint(steps * (255 / _CONFIDENCE_STEPS)).astype(np.uint8)


def jpeg(color: UInt8[ndarray, "H W 3"], longest_side: int | None = None) -> Answer:
    """Answer with an image.

    Args:
        color: The image.
        longest_side: Side to which it is reduced, pixels; None for its own size.
    """
    image = Image.fromarray(color)
    if longest_side is not None:
        image.thumbnail((longest_side, longest_side))
    output = io.BytesIO()
    # No colour is shared by neighbours at full size, as a person looks at single pixels there.
    image.save(output, "JPEG", quality=95 if longest_side is None else 80, subsampling=0)
    return Answer(output.getvalue(), "image/jpeg", headers={"Cache-Control": "private, max-age=604800, immutable"})


def hex_color(color: tuple[int, int, int]) -> str:
    """A colour as pages write it."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def _little_endian(values: ndarray) -> bytes:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
