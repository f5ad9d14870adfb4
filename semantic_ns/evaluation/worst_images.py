"""The images with the worst scores: what means over a scene hide."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.markup import escape
from rich.table import Table

NUM_WORST = 3


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image; None where there is nothing to score.

    Attributes:
        image: short name of its file, see `short_names`.
        psnr: dB.
        miou_present: mean IoU over the classes that occur in the ground truth of this image.
        depth_l1: mean error of planar depth in metres.
    """

    image: str
    psnr: float | None
    miou_present: float | None
    depth_l1: float | None


@dataclass(frozen=True)
class Score:
    """How a score is sorted and shown."""

    title: str
    is_error: bool = False
    """Whether a larger number is a worse one."""
    digits: int = 1


SCORES: Mapping[str, Score] = {
    "psnr": Score("PSNR (dB)"),
    "miou_present": Score("mIoU (present)", digits=3),
    "depth_l1": Score("depth L1 (m)", is_error=True, digits=3),
}
"""The scores of an image, by the name that they have in the JSON of `ns-eval`."""


def short_names(paths: Sequence[Path]) -> list[str]:
    """The file names of images, with as many of their folders as tell them apart."""
    if len({path.name for path in paths}) == len(paths):
        return [path.name for path in paths]
    common = os.path.commonpath(paths)
    return [path.relative_to(common).as_posix() for path in paths]


def worst_images(scores: Iterable[ImageScores], count: int = NUM_WORST) -> dict[str, list[ImageScores]]:
    """The images with the worst values of each score, the worst one first.

    Args:
        scores: scores of all images.
        count: largest number of images to name for each score.

    Returns:
        Images by the name of the score; without scores that no image has.
    """
    scores = list(scores)
    found = {}
    for name, score in SCORES.items():
        known = [image for image in scores if getattr(image, name) is not None]
        if known:
            found[name] = sorted(known, key=lambda image: getattr(image, name), reverse=score.is_error)[:count]
    return found


def worst_as_json(scores: Iterable[ImageScores]) -> dict[str, list[dict[str, Any]]]:
    """`worst_psnr`, `worst_miou_present` and `worst_depth_l1`: lists of an image's name and its scores."""
    return {f"worst_{name}": [asdict(image) for image in worst] for name, worst in worst_images(scores).items()}


def worst_table(scores: Sequence[ImageScores], means: Mapping[str, float], num_all: int) -> Table:
    """The worst images for the terminal, below the scores of all of them.

    Args:
        scores: scores of the scored images.
        means: scores of all scored images by name.
        num_all: number of images that could have been scored.
    """
    counted = f"all {len(scores)}" if len(scores) == num_all else f"{len(scores)} of {num_all}"
    table = Table(title=f"Evaluation images, {counted} scored", title_justify="left")
    table.add_column("")
    table.add_column("image", overflow="fold")
    for score in SCORES.values():
        table.add_column(score.title, justify="right")
    table.add_row("all", "", *(_shown(means.get(name), score) for name, score in SCORES.items()), end_section=True)
    for name, images in worst_images(scores).items():
        for image in images:
            values = (_shown(getattr(image, other), score) for other, score in SCORES.items())
            table.add_row(f"worst {SCORES[name].title.partition(' (')[0]}", escape(image.image), *values)
        table.add_section()
    return table


def _shown(value: float | None, score: Score) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{score.digits}f}"


@runtime_checkable
class PerImageState(Protocol):
    """What keeps scores by image while a model is evaluated."""

    def begin_image(self, name: str) -> None:
        """Count what comes for this image, too, until the next one begins."""
        ...


@runtime_checkable
class DivisibleImages(Protocol):
    """Images of an evaluation of which every n-th can be had without those between being read."""

    def part(self, first: int, step: int) -> Iterator[tuple[Any, Any]]:
        """(camera, batch) of the images number `first`, `first + step`, ..."""
        ...


class NamedImages:
    """The images of an evaluation, each announced by its name before it is rendered.

    Args:
        loader: iterable of (camera, batch) of each image, like nerfstudio's evaluation loaders, or `DivisibleImages`.
        state: state of the run, which receives the names.
        is_over: whether to end before the next image; the first one always comes.
        part: the number of the first image, and of which one comes next counted from there: every image by default.
    """

    def __init__(
        self,
        loader: Any,
        state: PerImageState,
        is_over: Callable[[], bool] = lambda: False,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._loader, self._state, self._is_over, self._part = loader, state, is_over, part
        dataset = getattr(loader, "input_dataset", None)
        self._names = [] if dataset is None else short_names(dataset.image_filenames)

    @property
    def num_all(self) -> int:
        """Number of images of the data set."""
        return len(self._loader)

    def __len__(self) -> int:
        # nerfstudio's loader of some images has the length of its data set.
        chosen = getattr(self._loader, "image_indices", self._loader)
        first, step = self._part
        return len(range(first, len(chosen) if isinstance(chosen, Sized) else self.num_all, step))

    def shared_by(self, rank: int, world: int) -> "NamedImages":
        """Of all images, the part of one of several processes that take them in turn."""
        return NamedImages(self._loader, self._state, self._is_over, (rank, world))

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        first, step = self._part
        loader = self._loader
        images = loader.part(first, step) if isinstance(loader, DivisibleImages) else islice(loader, first, None, step)
        for count, (camera, batch) in enumerate(images):
            if count and self._is_over():
                return
            name = self._names[batch["image_idx"]] if self._names else f"image {first + count * step}"
            self._state.begin_image(name)
            yield camera, batch
