"""Masks as run lengths in the codes of COCO, CVAT and Label Studio, and back.

- COCO counts runs down the columns, beginning with pixels outside. The compressed form writes each count, from the
  third on its difference to the count before the last, in groups of five bits with a sign, one letter for each group.
- CVAT counts runs along the rows of the mask's bounding box, beginning with pixels outside.
- Label Studio packs the bytes of an RGBA picture: a header of the number of bytes, the width of a value and four widths
  of run lengths; then blocks, each a run of one value or a list of values. The mask is where alpha is at least half of
  its greatest value.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

_LETTER_OF_ZERO = 48
_GROUP_BITS = 5
_MAX_GROUPS = 7
_RUN_BITS = (3, 4, 8, 16)
_VALUE_BITS = 8
_CHANNELS = 4


def runs_of(values: Bool[ndarray, "pixels"]) -> list[int]:
    """Lengths of the runs of equal values, beginning with False (0 if the first value is True)."""
    changes = (np.flatnonzero(values[1:] != values[:-1]) + 1).tolist()
    lengths = [end - first for first, end in pairwise([0, *changes, len(values)])]
    return [0, *lengths] if len(values) and values[0] else lengths


def mask_of_runs(runs: Sequence[int], num_pixels: int) -> Bool[ndarray, "pixels"]:
    """Inverse of `runs_of`.

    Raises:
        ValueError: if a run is negative, or the runs are longer or shorter in all than the pixels.
    """
    # Python's own numbers, which cannot overflow.
    total = sum(runs)
    if any(run < 0 for run in runs) or total != num_pixels:
        raise ValueError(f"{'more' if total > num_pixels else 'fewer'} pixels than {num_pixels}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, np.array(runs, np.int64))


def compress_counts(counts: Sequence[int]) -> str:
    """COCO's counts as its text."""
    letters = []
    for position, count in enumerate(counts):
        rest = count - counts[position - 2] if position > 2 else count
        is_last = False
        while not is_last:
            group, rest = rest & 0x1F, rest >> _GROUP_BITS
            # The sign is the highest bit of the last group.
            is_last = rest == (-1 if group & 0x10 else 0)
            letters.append(chr((group if is_last else group | 0x20) + _LETTER_OF_ZERO))
    return "".join(letters)


def expand_counts(text: str) -> list[int]:
    """Inverse of `compress_counts`.

    Raises:
        ValueError: if the text holds other letters, or ends within a count.
    """
    counts: list[int] = []
    value, num_groups = 0, 0
    for letter in text:
        group = ord(letter) - _LETTER_OF_ZERO
        if not 0 <= group < 64 or num_groups == _MAX_GROUPS:
            raise ValueError("damaged text")
        value |= (group & 0x1F) << _GROUP_BITS * num_groups
        num_groups += 1
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << _GROUP_BITS * num_groups
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, num_groups = 0, 0
    if num_groups:
        raise ValueError("damaged text")
    return counts


def encode_coco(mask: Bool[ndarray, "height width"]) -> dict[str, object]:
    """A mask as COCO's compressed code `{size: [height, width], counts: text}`."""
    return {"size": list(mask.shape), "counts": compress_counts(runs_of(mask.T.ravel()))}


def decode_coco(counts: Sequence[int] | str, width: int, height: int) -> Bool[ndarray, "height width"]:
    """The mask of COCO's counts, plain or compressed.

    Raises:
        ValueError: if the counts are damaged or are not those of such an image.
    """
    runs = expand_counts(counts) if isinstance(counts, str) else counts
    return mask_of_runs(runs, width * height).reshape(width, height).T


def encode_label_studio(mask: Bool[ndarray, "height width"]) -> list[int]:
    """A mask as the bytes of Label Studio's code."""
    runs = runs_of(mask.ravel())
    header = [(mask.size * _CHANNELS, 32), (_VALUE_BITS - 1, 5), *((bits - 1, 4) for bits in _RUN_BITS)]
    fields = header + [field for i, run in enumerate(runs) for field in _run_fields(run * _CHANNELS, 255 * (i % 2))]
    bits = "".join(format(value, f"0{width}b") for value, width in fields)
    padded = bits + "0" * (-len(bits) % 8)
    return list(int(padded, 2).to_bytes(len(padded) // 8, "big"))


def _run_fields(length: int, value: int) -> list[tuple[int, int]]:
    """Fields (number, bits) of a run, which is cut where it is longer than a length can say."""
    fields: list[tuple[int, int]] = []
    while length > 0:
        part = min(length, 1 << _RUN_BITS[-1])
        place = next(place for place, bits in enumerate(_RUN_BITS) if part <= 1 << bits)
        fields += [(1, 1), (place, 2), (part - 1, _RUN_BITS[place]), (value, _VALUE_BITS)]
        length -= part
    return fields


class _Bits:
    """Reads numbers of some bits, one after the other."""

    def __init__(self, content: bytes) -> None:
        self._bits = "".join(format(byte, "08b") for byte in content)
        self._place = 0

    def take(self, count: int) -> int:
        end = self._place + count
        if end > len(self._bits):
            raise ValueError("fewer bits than announced")
        number = int(self._bits[self._place : end], 2)
        self._place = end
        return number

    def take_list(self, width: int, count: int) -> list[int]:
        """Several numbers of the same width; refused before they are listed if there are not so many bits."""
        if self._place + width * count > len(self._bits):
            raise ValueError("fewer bits than announced")
        return [self.take(width) for _ in range(count)]


def decode_label_studio(content: bytes, width: int, height: int) -> Bool[ndarray, "height width"]:
    """The mask of Label Studio's bytes.

    Raises:
        ValueError: if the bytes end too early or are not those of such an image.
    """
    bits = _Bits(content)
    num_values = bits.take(32)
    if num_values != width * height * _CHANNELS:
        raise ValueError(f"{num_values} values for {width}x{height} pixels of {_CHANNELS} channels")
    value_bits = bits.take(5) + 1
    run_bits = [bits.take(4) + 1 for _ in _RUN_BITS]
    values = np.zeros(num_values, bool)
    place = 0
    while place < num_values:
        is_run = bits.take(1)
        length = bits.take(run_bits[bits.take(2)]) + 1
        if place + length > num_values:
            raise ValueError("more values than announced")
        found = [bits.take(value_bits)] if is_run else bits.take_list(value_bits, length)
        values[place : place + length] = [value >> value_bits - 1 for value in found]
        place += length
    return values.reshape(height, width, _CHANNELS)[..., -1]
