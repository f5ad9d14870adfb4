"""Few and noisy labels made from clean ones: the supervision modes of Semantic-NeRF (Zhi et al. 2021, section 4.3).

They act on the classes of the training images at training resolution, in this order, whichever are on: choice of
frames, region noise, pixel noise, super-resolution, propagation. A frame without a label is one of nothing but void.

Every draw of a frame comes from a generator of its own, seeded by (seed, mode, frame), so that the frames do not
depend on each other. Noise draws among n_l = C + 1 values: void and the true class may be drawn.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Literal

import numpy as np
from jaxtyping import Int16, Integer
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.labels.corruption_frames import evenly_spaced
from semantic_ns.labels.corruption_propagation import keep_grown_regions
from semantic_ns.labels.corruption_regions import Order, noisy_regions
from semantic_ns.labels.taxonomy import VOID

_Image = Int16[ndarray, "height width"]
_NUM_NAMES_SHOWN = 8


# Frozen, so that it can be the default of a field: then configurations of runs from before it load, too.
@dataclass(frozen=True)
class CorruptionConfig:
    """What is done to the labels before training; the defaults leave them as they are."""

    seed: int = 0
    """Seed of all random draws of the corruption, 0 or more."""
    sparse_ratio: float = 0.0
    """Share of the label images to drop, 0 to 1. The colour of these images still trains."""
    sparse_order: Literal["even", "random"] = "even"
    """Which label images to drop: evenly spaced ones (even) or random ones (random)."""
    label_frames: tuple[str, ...] = ()
    """The only frames that keep their labels, as image names without suffix or as frame numbers."""
    pixel_noise: float = 0.0
    """Share of the pixels of each label image that receive a random label, 0 to 1."""
    region_noise: float = 0.0
    """Share of the images of each instance, 0 to 1, in which the whole instance receives one random label."""
    region_order: Order = "even"
    """Which images region noise corrupts, with the images of an instance sorted by its area: evenly spaced ones (even)
    or those in which it is smallest (sort)."""
    region_classes: tuple[str, ...] = ()
    """Names of the classes whose instances receive region noise."""
    super_resolution: int = 1
    """Factor by which label images are shrunk before training, such as 8 or 16; 1 keeps them as they are."""
    super_resolution_mode: Literal["sparse", "dense"] = "sparse"
    """What a pixel of a shrunk label image labels: one pixel (sparse) or its whole block (dense)."""
    propagation: float | None = None
    """Percentage of the pixels of each class that keep their label in each image, 0 to 100; 0 keeps a single click. The
    labels grow from a random pixel."""

    @property
    def is_clean(self) -> bool:
        """Whether labels stay as they are."""
        return (
            self.sparse_ratio == self.pixel_noise == self.region_noise == 0
            and not self.label_frames
            and self.super_resolution == 1
            and self.propagation is None
        )

    def check(self) -> None:
        """Raise a SceneError if a value is out of range, or region noise has no classes."""
        for name in ("sparse_ratio", "pixel_noise", "region_noise"):
            _check_range(name, getattr(self, name), 0, 1)
        if self.propagation is not None:
            _check_range("propagation", self.propagation, 0, 100)
        _check_range("super_resolution", self.super_resolution, 1, math.inf)
        _check_range("seed", self.seed, 0, math.inf)
        if self.region_noise > 0 and not self.region_classes:
            raise SceneError(
                "Expected the classes whose instances get region noise, found none; name them with "
                f"{_option('region_classes')}."
            )


@dataclass(frozen=True)
class CorruptedScene:
    """What some corruptions have to know of a scene beside its labels.

    Attributes:
        class_names: names of the C classes, for region noise.
        frame_names: names of the frames, for `label_frames`.
        instances: ids of 0 or more [H, W] of each frame (None: not known), for region noise; None if there are none.
    """

    class_names: Sequence[str] = ()
    frame_names: Sequence[str] = ()
    instances: Sequence[Integer[ndarray, "_height _width"] | None] | None = None


_UNKNOWN_SCENE = CorruptedScene()


class _Mode(IntEnum):
    """Numbers of the modes for their generators; to be kept, so that a seed goes on meaning the same labels."""

    SPARSE = 0
    REGION = 1
    PIXEL = 2
    PROPAGATION = 3


def corrupt_labels(
    labels: Sequence[_Image], config: CorruptionConfig, num_classes: int, scene: CorruptedScene = _UNKNOWN_SCENE
) -> list[_Image]:
    """Corrupt the labels of the training frames in the order that the module states; the input stays as it is.

    Args:
        labels: classes 0..C-1 of each frame, -1 is void.
        config: what to do.
        num_classes: C.
        scene: scene of these frames, which only `label_frames` and region noise need.

    Raises:
        SceneError: if an option is out of range, a chosen frame or class does not exist, region noise finds no
            instance, the images are too small for the super-resolution, or no labelled pixel is left.
    """
    config.check()
    result = _without_dropped_frames(labels, config, scene.frame_names)
    if config.region_noise > 0:
        result = _with_region_noise(result, config, scene)

    def generator(mode: _Mode, frame: int) -> np.random.Generator:
        return np.random.default_rng((config.seed, mode, frame))

    steps: list[Callable[[_Image, int], _Image]] = []
    if config.pixel_noise > 0:
        steps.append(lambda x, i: add_pixel_noise(x, config.pixel_noise, num_classes, generator(_Mode.PIXEL, i)))
    if config.super_resolution > 1:
        lower = lower_resolution_dense if config.super_resolution_mode == "dense" else lower_resolution_sparse
        steps.append(lambda x, _: lower(x, config.super_resolution))
    if config.propagation is not None:
        percent = config.propagation
        steps.append(lambda x, i: keep_grown_regions(x, percent, generator(_Mode.PROPAGATION, i)))
    for step in steps:
        result = [step(image, frame) if _is_labelled(image) else image for frame, image in enumerate(result)]
    if not any(_is_labelled(image) for image in result):
        raise SceneError(
            f"Expected a labelled pixel in the {len(result)} training frames, found none after the corruption "
            f"{_changed_options(config)}; corrupt less, or choose other frames or another --{_option('seed')}."
        )
    return result


def add_pixel_noise(
    labels: _Image, ratio: float, num_classes: int, generator: np.random.Generator
) -> Int16[ndarray, "height width"]:
    """Draw int(H W ratio) random pixels, void ones too, anew among all C + 1 values."""
    result = labels.copy()
    chosen = generator.permutation(labels.size)[: int(labels.size * ratio)]
    result.flat[chosen] = generator.integers(VOID, num_classes, chosen.size)
    return result


def lower_resolution_dense(labels: _Image, factor: int) -> Int16[ndarray, "height width"]:
    """Resize to (H // factor, W // factor) and back by OpenCV's nearest neighbour, pixel floor(i * scale).

    Raises:
        SceneError: if the image is smaller than the factor.
    """
    rows, columns = (_there_and_back(length, factor) for length in labels.shape)
    return labels[np.ix_(rows, columns)]


def lower_resolution_sparse(labels: _Image, factor: int) -> Int16[ndarray, "height width"]:
    """Keep the pixels whose row and column are both multiples of the factor; the others become void."""
    result = np.full_like(labels, VOID)
    result[::factor, ::factor] = labels[::factor, ::factor]
    return result


def _there_and_back(length: int, factor: int) -> Integer[ndarray, "length"]:
    """Index of the pixel that each one gets its label from."""
    small = length // factor
    if small == 0:
        raise SceneError(
            f"Expected images of at least {factor} pixels for --{_option('super_resolution')} {factor}, found "
            f"{length}; choose a smaller factor."
        )
    down = np.arange(small) * length // small
    return down[np.arange(length) * small // length]


def _without_dropped_frames(
    labels: Sequence[_Image], config: CorruptionConfig, frame_names: Sequence[str]
) -> list[_Image]:
    kept = {i for i, image in enumerate(labels) if _is_labelled(image)}
    if config.label_frames:
        kept &= _frames_named(config.label_frames, frame_names)
    ordered = sorted(kept)
    num_dropped = int(len(ordered) * config.sparse_ratio)
    if config.sparse_order == "random":
        places = np.random.default_rng((config.seed, _Mode.SPARSE)).permutation(len(ordered))[:num_dropped]
        kept -= {ordered[place] for place in places}
    elif config.sparse_ratio <= 0.5:
        kept -= {ordered[place] for place in evenly_spaced(num_dropped, len(ordered))}
    else:
        kept = {ordered[place] for place in evenly_spaced(len(ordered) - num_dropped, len(ordered))}
    return [image if i in kept else np.full_like(image, VOID) for i, image in enumerate(labels)]


def _frames_named(wanted: Sequence[str], frame_names: Sequence[str]) -> set[int]:
    """Indices of frames by their name or else their number."""
    numbers = [frame_number(name) for name in frame_names]
    found = set()
    for word in wanted:
        matching = {i for i, name in enumerate(frame_names) if name == word}
        if not matching and word.isdecimal():
            matching = {i for i, number in enumerate(numbers) if number == int(word)}
        if not matching:
            raise SceneError(
                f"Expected a training frame for --{_option('label_frames')} {word}, found none of this name or number; "
                f"there are {_enumerate_names(frame_names)}."
            )
        found |= matching
    return found


def frame_number(name: str) -> int | None:
    """The last number in the name of a frame (`rgb_12`: 12), None where there is none."""
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else None


def _with_region_noise(labels: list[_Image], config: CorruptionConfig, scene: CorruptedScene) -> list[_Image]:
    unknown = [name for name in config.region_classes if name not in scene.class_names]
    if unknown:
        raise SceneError(
            f"Expected classes of the scene for --{_option('region_classes')}, found '{unknown[0]}'; there are "
            f"{', '.join(scene.class_names)}."
        )
    if scene.instances is None or all(ids is None for ids in scene.instances):
        raise SceneError(
            "Expected instance images for region noise, found none in the scene; add them (semantic_instance beside "
            f"semantic_class in Replica scenes), or leave --{_option('region_noise')} out."
        )
    classes = {i for i, name in enumerate(scene.class_names) if name in config.region_classes}
    result = [image.copy() for image in labels]
    instances = scene.instances
    for frame, instance in noisy_regions(labels, instances, classes, config.region_noise, config.region_order):
        generator = np.random.default_rng((config.seed, _Mode.REGION, frame, instance))
        result[frame][instances[frame] == instance] = generator.integers(VOID, len(scene.class_names))
    return result


def _is_labelled(labels: _Image) -> bool:
    return bool((labels != VOID).any())


def _check_range(name: str, value: float | int, lowest: int, highest: float | int) -> None:
    # Written so that NaN is outside.
    if not lowest <= value <= highest:
        wanted = f"from {lowest} to {highest}" if highest < math.inf else f"of at least {lowest}"
        raise SceneError(f"Expected a number {wanted} for --{_option(name)}, found {value}; choose one.")


def _option(name: str) -> str:
    return "pipeline.datamanager.corruption." + name.replace("_", "-")


def _changed_options(config: CorruptionConfig) -> str:
    options = {field.name: getattr(config, field.name) for field in fields(config)}
    return ", ".join(f"{name} {value}" for name, value in options.items() if value != getattr(CorruptionConfig, name))


def _enumerate_names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NUM_NAMES_SHOWN])
    return shown if len(names) <= _NUM_NAMES_SHOWN else f"{shown}, ..., {names[-1]} ({len(names)} in all)"
