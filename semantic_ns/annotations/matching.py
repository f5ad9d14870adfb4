r"""Which annotated image belongs to which frame of a scene: the one of the same file name, without folder and suffix.

Tools change names. Where no frame has the name itself, these additions are taken off: a second suffix
(`photo.JPG.png`), Roboflow's ending (`photo_jpg.rf.0a1b2c`), Label Studio's beginning (`7f3c9a1b-photo`), and endings
of masks (`photo_mask`). At last names are compared without case, and without regard to what Roboflow and Label Studio
write for blanks.

Where the frames have other names than the photos, as after `ns-process-data`, the content of the photos tells.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from semantic_ns.annotations.content import Sight, find_frames
from semantic_ns.annotations.folder import files_in
from semantic_ns.annotations.types import AnnotatedImage, Notes
from semantic_ns.dataparsers.frame_paths import PHOTO_SUFFIXES
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
        ambiguous: names that several frames or several annotated images have, or photos that look like several frames;
            none of these is imported.
        by: what told the frames: file names, the order of a video's frames, or the content of the annotated photos.
        sights: how each frame shows its photo, by the index of the frame, where the content told it.
    """

    pairs: tuple[tuple[int, AnnotatedImage], ...]
    unmatched: tuple[str, ...]
    ambiguous: tuple[str, ...]
    by: Literal["name", "order", "content"] = "name"
    sights: Mapping[int, Sight] = field(default_factory=dict)

    def lines_on_others(self) -> list[str]:
        """What annotated images belong to no frame, as sentences."""
        lines = []
        if self.unmatched:
            lines.append(f"Annotated images that no frame has: {enumerate_names(self.unmatched)}")
        if self.ambiguous and self.by == "content":
            reason = "Photos that look like several frames, or whose frame looks like another"
            lines.append(f"{reason}, left out: {enumerate_names(self.ambiguous)}")
        elif self.ambiguous:
            lines.append(f"Names that occur more than once, left out: {enumerate_names(self.ambiguous)}")
        return lines

    def note_how(self, notes: Notes) -> None:
        """Note how the frames were found, where it was not by name."""
        if self.by == "content":
            largest = max(sight.difference for sight in self.sights.values())
            notes.say(
                f"{len(self.pairs)} frames were found by what their photos show, not by name (they differ by at most "
                f"{largest:.1f} of 255)"
            )
        if self.by == "order":
            notes.say("the frames of the video belong to the scene's images in the order of their names")


def match_images(
    frames: Sequence[FrameFiles],
    images: Sequence[AnnotatedImage],
    transforms: Path,
    photos: Path | None = None,
    beside: Path | None = None,
) -> Matches:
    """Match annotated images to frames.

    Args:
        frames: frames of the scene.
        images: annotated images.
        transforms: what describes the frames, for errors.
        photos: folder of the annotated photos, whose content then tells the frames instead of names.
        beside: folder in which the photos may be; they are looked for where no frame has the name of an image.

    Raises:
        SceneError: if there is no pair; the sentence gives names of both sides.
    """
    if photos is not None:
        return _by_content(frames, images, photos, transforms)
    finder = _FrameFinder([frame.image.stem for frame in frames])
    found = [(image, *finder.find(stem_of(image.name))) for image in images]
    if not any(indices for _, indices, _ in found) and _are_of_video(images, len(frames)):
        return _by_order(frames, images)
    if not any(indices for _, indices, _ in found) and beside is not None:
        with contextlib.suppress(SceneError):
            return _by_content(frames, images, beside, transforms)
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
            "unique file names, or name the folder of the annotated photos by --photos, so that frames are found by "
            "what they show."
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
    return Matches(tuple(pairs), (), (), by="order")


def _by_content(
    frames: Sequence[FrameFiles], images: Sequence[AnnotatedImage], folder: Path, transforms: Path
) -> Matches:
    """Match by what the photos in a folder show."""
    if not folder.is_dir():
        raise SceneError(f"Expected the folder of the annotated photos at {folder}, found none; check --photos.")
    files = files_in(folder, PHOTO_SUFFIXES)
    finder = _FrameFinder([path.stem for path in files])
    found = [(image, finder.find(stem_of(image.name))[0]) for image in images]
    photos = {str(place): files[of_name[0]] for place, (_, of_name) in enumerate(found) if len(of_name) == 1}
    seen, doubtful = find_frames(photos, [frame.image for frame in frames])
    by_key = {str(place): image for place, image in enumerate(images)}
    matches = Matches(
        pairs=tuple((sight.frame, by_key[key]) for key, sight in seen.items()),
        unmatched=tuple(image.name for key, image in by_key.items() if key not in seen and key not in doubtful),
        ambiguous=tuple(by_key[key].name for key in doubtful),
        by="content",
        sights={sight.frame: sight for sight in seen.values()},
    )
    if not matches.pairs:
        told = f"; {len(doubtful)} look like several frames or like another's" if doubtful else ""
        raise SceneError(
            f"Expected photos in {folder} that frames of {transforms} show, found none among the {len(photos)} of the "
            f"{len(images)} annotated images whose files are there{told}; check --photos."
        )
    return matches


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
