"""Which annotated image belongs to which frame of a scene: the one of the same file name, without folder and suffix."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from semantic_ns.annotations.types import AnnotatedImage
from semantic_ns.dataparsers.scene import FrameFiles
from semantic_ns.errors import SceneError

_NUM_SHOWN = 3


@dataclass(frozen=True)
class Matches:
    """The result of the matching.

    Attributes:
        pairs: index of a frame and its annotated image.
        unmatched: names of annotated images that no frame has.
        ambiguous: names that several frames or several annotated images have; none of these is imported.
    """

    pairs: tuple[tuple[int, AnnotatedImage], ...]
    unmatched: tuple[str, ...]
    ambiguous: tuple[str, ...]


def match_images(frames: Sequence[FrameFiles], images: Sequence[AnnotatedImage], transforms: Path) -> Matches:
    """Match annotated images to frames.

    Raises:
        SceneError: if there is no pair; the sentence gives names of both sides.
    """
    frames_of_stem: dict[str, list[int]] = {}
    for index, frame in enumerate(frames):
        frames_of_stem.setdefault(frame.image.stem, []).append(index)
    images_of_stem: dict[str, list[AnnotatedImage]] = {}
    for image in images:
        images_of_stem.setdefault(stem_of(image.name), []).append(image)
    shared = [stem for stem in images_of_stem if stem in frames_of_stem]
    unique = [stem for stem in shared if len(images_of_stem[stem]) == len(frames_of_stem[stem]) == 1]
    matches = Matches(
        pairs=tuple((frames_of_stem[stem][0], images_of_stem[stem][0]) for stem in unique),
        unmatched=tuple(image.name for image in images if stem_of(image.name) not in frames_of_stem),
        ambiguous=tuple(image.name for image in images if stem_of(image.name) in set(shared) - set(unique)),
    )
    if not matches.pairs:
        ambiguous = f", of which {enumerate_names(matches.ambiguous)} are ambiguous" if matches.ambiguous else ""
        raise SceneError(
            f"Expected annotations of images of {transforms} ({enumerate_names([frame.image.name for frame in frames])}"
            f"), found those of {enumerate_names([image.name for image in images])}{ambiguous}; give both the same "
            "unique file names."
        )
    return matches


def stem_of(name: str) -> str:
    r"""File name without folder and suffix; annotations made on Windows have `\` in their paths."""
    return PurePosixPath(name.replace("\\", "/")).stem


def enumerate_names(names: Iterable[str]) -> str:
    """Count and examples: `12 (a.png, b.png, c.png, ...)`."""
    names = list(names)
    shown = ", ".join(names[:_NUM_SHOWN])
    return f"{len(names)} ({shown}{', ...' if len(names) > _NUM_SHOWN else ''})" if names else "none"
