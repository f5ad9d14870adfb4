"""The ways to label a scene with few or noisy labels (Zhi et al., ICCV 2021, sections 4.2 to 4.4), as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from semantic_ns.errors import SceneError

Poses = Literal["test", "train"]

CNN_PREFIX = "cnn:"
TWO_FRAMES = "two-frames"


@dataclass(frozen=True)
class Mode:
    """A supervision mode.

    Attributes:
        name: name on the command line and in results.
        title: title in tables.
        poses: those whose scores are compared with the paper's; scored against clean labels, as the others are.
        corruption: fields of the data manager's `CorruptionConfig` other than its seed; none: the labels are clean.
        needs_region_classes: whether the scene has to name the classes whose instances are corrupted.
        train_labels: folder in the scene whose label images train in place of the scene's own.
        sparsity: share of label images that is dropped, where the mode is a point of the curve over it.
    """

    name: str
    title: str
    poses: Poses
    corruption: Mapping[str, Any] = field(default_factory=dict)
    needs_region_classes: bool = False
    train_labels: str | None = None
    sparsity: float | None = None


def _modes() -> list[Mode]:
    modes = [
        Mode("all", "all labels", "test", sparsity=0.0),
        Mode("click", "single click", "test", {"propagation": 0.0}),
        *(Mode(f"{share}%", f"{share} %", "test", {"propagation": float(share)}) for share in (1, 5, 10)),
    ]
    for ratio in (0.5, 0.8, 0.9, 0.95, 0.99):
        title = f"{100 * (1 - ratio):.0f} % of the frames"
        modes.append(Mode(f"sparse-{ratio}", title, "test", {"sparse_ratio": ratio}, sparsity=ratio))
    modes.append(Mode(TWO_FRAMES, "two chosen frames", "test"))
    modes += [
        Mode(f"pixel-noise-{share}%", f"{share} % of the pixels", "train", {"pixel_noise": share / 100})
        for share in (50, 90)
    ]
    for order in ("sort", "even"):
        for share in (30, 40, 50):
            corruption = {"region_noise": share / 100, "region_order": order}
            modes.append(Mode(f"region-{order}-{share}%", f"{order}, {share} %", "train", corruption, True))
    for kind in ("dense", "sparse"):
        for factor in (8, 16):
            corruption = {"super_resolution": factor, "super_resolution_mode": kind}
            modes.append(Mode(f"super-{kind}-{factor}", f"{kind}, S = {factor}", "train", corruption))
    return modes


MODES: Mapping[str, Mode] = {mode.name: mode for mode in _modes()}


def find_mode(name: str) -> Mode:
    """The mode of a name; `cnn:FOLDER` is the mode that trains on the label images in a folder of the scene.

    Raises:
        SceneError: if there is none.
    """
    folder = name.removeprefix(CNN_PREFIX)
    if folder != name and folder:
        return Mode(name, f"labels of {folder}", "train", train_labels=folder)
    if name not in MODES:
        raise SceneError(
            f"Expected a mode among {', '.join(MODES)} and {CNN_PREFIX}FOLDER, found {name!r}; choose one of these."
        )
    return MODES[name]
