r"""Which annotated image belongs to which frame of a scene: the one of the same file name, without folder and suffix.

Tools change names. Where no frame has the name itself, these additions are taken off: a second suffix
(`photo.JPG.png`), Roboflow's ending (`photo_jpg.rf.0a1b2c`), Label Studio's beginning (`7f3c9a1b-photo`), and endings
of masks (`photo_mask`). At last names are compared without case, and without regard to what Roboflow and Label Studio
write for blanks.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from semantic_ns.annotations.types import AnnotatedImage
from semantic_ns.dataparsers.scene import FrameFiles
from semantic_ns.errors import SceneError

_NUM_SHOWN = 3
_MAX_ADDITIONS = 4
_SUFFIX = "jpe?g|png|bmp|webp|tiff?|heic|gif"
_ADDITIONS = (
    re.compile(rf"^(?P<name>.+)\.(?:{_SUFFIX})$", re.IGNORECASE),
    re.compile(rf"^(?P<name>.+)_(?:{_SUFFIX})\.rf\.[0-9a-z]+$", re.IGNORECASE),
    re.compile(r"^[0-9a-f]{8}-(?P<name>.+)$"),
    re.compile(r"^(?P<name>.+)[_.-](?:mask|masks|label|labels|seg|segmentation|semantic|labelids|gt)$", re.IGNORECASE),
)
_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Matches:
    """The result of the matching.

    Attributes:
        pairs: index of a frame and its annotated image.
        unmatched: names of annotated images that no frame has.
        ambiguous: names that several frames or several annotated images have; none of these is imported.
        is_by_order: whether the images are frames of a video, which were matched by their order.
    """

    pairs: tuple[tuple[int, AnnotatedImage], ...]
    unmatched: tuple[str, ...]
    ambiguous: tuple[str, ...]
    is_by_order: bool = False


def match_images(frames: Sequence[FrameFiles], images: Sequence[AnnotatedImage], transforms: Path) -> Matches:
    """Match annotated images to frames.

    Raises:
        SceneError: if there is no pair; the sentence gives names of both sides.
    """
    finder = _FrameFinder([frame.image.stem for frame in frames])
    found = [(image, *finder.find(stem_of(image.name))) for image in images]
    if not any(indices for _, indices, _ in found) and _are_of_video(images, len(frames)):
        return _by_order(frames, images)
    claims: dict[int, list[tuple[int, AnnotatedImage]]] = {}
    ambiguous, unmatched = [], []
    for image, indices, num_changes in found:
        if len(indices) == 1:
            claims.setdefault(indices[0], []).append((num_changes, image))
        else:
            (ambiguous if indices else unmatched).append(image)
    pairs = []
    for index, claimants in claims.items():
        # The name itself comes before a changed one.
        least = min(num_changes for num_changes, _ in claimants)
        best = [image for num_changes, image in claimants if num_changes == least]
        pairs += [(index, best[0])] if len(best) == 1 else []
        ambiguous += [image for _, image in claimants if len(best) > 1 or image is not best[0]]
    is_ambiguous = {id(image) for image in ambiguous}
    matches = Matches(
        pairs=tuple(pairs),
        unmatched=tuple(image.name for image in unmatched),
        ambiguous=tuple(image.name for image in images if id(image) in is_ambiguous),
    )
    if not matches.pairs:
        ambiguous = f", of which {enumerate_names(matches.ambiguous)} are ambiguous" if matches.ambiguous else ""
        raise SceneError(
            f"Expected annotations of images of {transforms} ({enumerate_names([frame.image.name for frame in frames])}"
            f"), found those of {enumerate_names([image.name for image in images])}{ambiguous}; give both the same "
            "unique file names."
        )
    return matches


class _FrameFinder:
    """Finds the frames of a name: by the name itself, without additions, and at last by its letters alone."""

    def __init__(self, stems: Iterable[str]) -> None:
        self._exact: dict[str, list[int]] = {}
        self._loose: dict[str, list[int]] = {}
        for index, stem in enumerate(stems):
            self._exact.setdefault(stem, []).append(index)
            self._loose.setdefault(_letters(stem), []).append(index)

    def find(self, stem: str) -> tuple[list[int], int]:
        """Indices of the frames, and a number that is higher the more the name was changed."""
        variants = list(_variants(stem))
        for number, variant in enumerate(variants):
            if variant in self._exact:
                return self._exact[variant], number
        for number, variant in enumerate(variants, len(variants)):
            if _letters(variant) in self._loose:
                return self._loose[_letters(variant)], number
        return [], 0


def _variants(stem: str) -> Iterator[str]:
    """The name, and what is left of it without one addition, without two, and so on."""
    level = [stem]
    seen = {stem}
    for _ in range(_MAX_ADDITIONS + 1):
        yield from level
        found = [match["name"] for name in level for pattern in _ADDITIONS if (match := pattern.match(name))]
        level = [name for name in dict.fromkeys(found) if name not in seen]
        seen.update(level)


def _letters(name: str) -> str:
    return _NOT_WORD.sub("-", name.casefold())


def _are_of_video(images: Sequence[AnnotatedImage], num_frames: int) -> bool:
    numbers = {image.frame[0] for image in images if image.frame is not None and image.frame[1] == num_frames}
    return len(numbers) == len(images) > 0


def _by_order(frames: Sequence[FrameFiles], images: Sequence[AnnotatedImage]) -> Matches:
    in_order = sorted(range(len(frames)), key=lambda index: frames[index].image.as_posix())
    pairs = [(in_order[image.frame[0]], image) for image in images if image.frame is not None]
    return Matches(tuple(pairs), (), (), is_by_order=True)


def stem_of(name: str) -> str:
    r"""File name without folder and suffix; annotations made on Windows have `\` in their paths."""
    return PurePosixPath(name.replace("\\", "/")).stem


def enumerate_names(names: Iterable[str]) -> str:
    """Count and examples: `12 (a.png, b.png, c.png, ...)`; long names are shortened, and signs written as codes."""
    names = list(names)
    shown = ", ".join(_shown(name) for name in names[:_NUM_SHOWN])
    return f"{len(names)} ({shown}{', ...' if len(names) > _NUM_SHOWN else ''})" if names else "none"


def _shown(name: str) -> str:
    name = name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
    return name if len(name) <= 200 else f"...{name[-197:]}"
