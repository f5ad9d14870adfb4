"""How long does a frame of Gaussians take, with one thread and with two, and how long until a new label shows?

Gaussians are those that the octree finds in the depth images of a scene, not trained. Frames have the size of the
scene's test images: colour and depth, and the same with all classes. They are drawn with each number of threads in
turn. A new label is one of 5x5 pixels in an image that had a click for each class; each fourth one is taken back.
Milliseconds are those of the clock, so that nothing else should run beside; those of the processor say whether it did.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from benchmarks.splat import views_and_labels
from semantic_ns.benchmark.runner.modes import find_mode
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.training_labels import corrupted_labels
from semantic_ns.export.splat import used_labels
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.splatting.class_updates import ClassUpdates
from semantic_ns.splatting.classes import NUM_NODES
from semantic_ns.splatting.first_gaussians import first_gaussians
from semantic_ns.splatting.fit import View
from semantic_ns.splatting.frame_memory import FrameMemory
from semantic_ns.splatting.project import Gaussians, PinholeCamera
from semantic_ns.splatting.rasterize import draw

_SIDE = 5


class Milliseconds(NamedTuple):
    """Since some moment.

    Attributes:
        clock: those of the clock.
        processor: those of all threads together.
    """

    clock: float
    processor: float

    @classmethod
    def now(cls) -> "Milliseconds":
        """The moment from which on to count."""
        return cls(1000 * time.perf_counter(), 1000 * time.process_time())

    def until_now(self) -> "Milliseconds":
        """What has passed since."""
        now = Milliseconds.now()
        return Milliseconds(now.clock - self.clock, now.processor - self.processor)


@torch.no_grad()
def frame_times(
    gaussians: Gaussians,
    channels: Sequence[Tensor],
    cameras: Sequence[PinholeCamera],
    threads: Sequence[int],
    repeats: int,
) -> dict[int, list[Milliseconds]]:
    """How long frames take with each number of threads, which take turns."""
    memory, found = FrameMemory(), {number: list[Milliseconds]() for number in threads}
    for repeat in range(repeats + 1):
        for camera in cameras:
            for number in threads:
                numba.set_num_threads(number)
                torch.set_num_threads(number)
                start = Milliseconds.now()
                draw(gaussians, lambda rows: [part.index_select(0, rows) for part in channels], camera, memory)
                if repeat > 0:  # the first time kernels are loaded, and memory is taken
                    found[number].append(start.until_now())
    return found


def label_times(
    gaussians: Gaussians,
    views: Sequence[View],
    labels_of_scene: tuple[Sequence[Tensor], Sequence[Tensor]],
    num_classes: int,
    count: int,
    num_voxels: int,
) -> list[Milliseconds]:
    """How long it takes until a label that is new, or gone, has had its effect on all Gaussians.

    Args:
        gaussians: the Gaussians.
        views: the training images.
        labels_of_scene: those to begin with, and all labels of the scene, of which further ones are.
        num_classes: C.
        count: number of changes.
        num_voxels: number of voxels that is wanted.
    """
    clicks, clean = labels_of_scene
    g, labels, added, found = np.random.default_rng(0), list(clicks), [], []
    updates = ClassUpdates(num_voxels)
    updates.update(gaussians, views, labels, num_classes)
    for number in range(count):
        if number % 4 == 3:
            image, place = added.pop(0)
            value = clicks[image][place]
        else:
            image = int(g.integers(len(labels)))
            row, column = (int(g.integers(size - _SIDE)) for size in labels[image].shape)
            place = slice(row, row + _SIDE), slice(column, column + _SIDE)
            value = clean[image][row + _SIDE // 2, column + _SIDE // 2]
            added.append((image, place))
        labels[image] = labels[image].clone()
        labels[image][place] = value
        start = Milliseconds.now()
        updates.update(gaussians, views, labels, num_classes)
        found.append(start.until_now())
    return found


def row(name: str, threads: int, times: Sequence[Milliseconds]) -> str:
    """A line of the table."""
    clock, processor = (float(np.median(column)) for column in zip(*times, strict=True))
    least = min(one.clock for one in times)
    return f"| {name} | {threads} | {clock:.1f} | {least:.1f} | {processor:.1f} | {1000 / clock:.1f} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make Gaussians, time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path, help="scene with depth images and labels")
    parser.add_argument("--gaussians", type=int, default=150_000, help="Gaussians of a frame (default: 150000)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default: 1 2)")
    parser.add_argument("--poses", type=int, default=15, help="test poses, evenly (default: 15)")
    parser.add_argument("--repeats", type=int, default=5, help="frames of each pose (default: 5)")
    parser.add_argument(
        "--labels", type=int, default=20, help="changes of labels, with the first number of threads (default: 20)"
    )
    parser.add_argument(
        "--voxels",
        type=int,
        nargs="+",
        default=[60_000, NUM_NODES],
        help=f"voxels over which a changed label spreads (default: 60000 and the usual {NUM_NODES})",
    )
    options = parser.parse_args(arguments)
    if max(options.threads) > numba.config.NUMBA_NUM_THREADS:  # pyright: ignore[reportAttributeAccessIssue, reportPrivateImportUsage]
        parser.error(f"expected NUMBA_NUM_THREADS of {max(options.threads)} at least, found fewer; set it")
    config = AutoDataParserConfig(data=options.scene)
    train, views = views_and_labels(config, "train")
    _, others = views_and_labels(config, "val")
    read = [train.read_labels(index) for index in range(len(train))]
    corrupted = corrupted_labels(train, read, CorruptionConfig(seed=42, **find_mode("click").corruption))
    clicks, clean = (
        used_labels(views, [torch.from_numpy(image.astype("int32")) for image in images])
        for images in (corrupted, read)
    )
    gaussians, colors = first_gaussians(views)
    classes = ClassUpdates().update(gaussians, views, clean, train.taxonomy.num_classes)
    chosen = torch.linspace(0, len(gaussians) - 1, min(options.gaussians, len(gaussians))).long()
    some = gaussians.each(lambda part: part[chosen])
    seen = [others[int(place)].camera for place in np.linspace(0, len(others) - 1, options.poses)]
    print(f"{len(some)} of {len(gaussians)} Gaussians, {seen[0].width}x{seen[0].height}\n")
    print("| what | threads | median, ms | least | processor | a second |\n|---|---|---|---|---|---|")
    for name, channels in (
        ("colour and depth", [colors[chosen]]),
        (f"colour, depth and {classes.shape[1]} classes", [colors[chosen], classes[chosen]]),
    ):
        for number, times in frame_times(some, channels, seen, options.threads, options.repeats).items():
            print(row(name, number, times))
    numba.set_num_threads(options.threads[0])
    torch.set_num_threads(options.threads[0])
    for count in options.voxels if options.labels > 0 else ():
        times = label_times(gaussians, views, (clicks, clean), classes.shape[1], options.labels, count)
        print(row(f"a label changes, {count} voxels", options.threads[0], times))


if __name__ == "__main__":
    main()
