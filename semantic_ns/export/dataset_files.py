"""A scene, or what a trained run knows of one, as a new scene in nerfstudio's format."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int, UInt16
from nerfstudio.cameras.cameras import Cameras, CameraType
from numpy import ndarray

from semantic_ns.batch import RENDERED_LABELS, seen_labels, seen_planar_depth
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.transforms_file import UNKNOWN_SCALE
from semantic_ns.datasets.scene_splits import Split
from semantic_ns.errors import SceneError
from semantic_ns.geometry.world import poses_in_world, units_of_files
from semantic_ns.interfaces import RenderingModel
from semantic_ns.io.image_names import names_of_images
from semantic_ns.io.writing import write_json, write_png
from semantic_ns.labels.label_files import class_table, label_image
from semantic_ns.labels.taxonomy import Taxonomy

WRITTEN_BY = "sns-export dataset"
CAMERA_MODELS = {
    CameraType.PERSPECTIVE.value: "OPENCV",
    CameraType.FISHEYE.value: "OPENCV_FISHEYE",
    CameraType.EQUIRECTANGULAR.value: "EQUIRECTANGULAR",
}
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_WHITE = 255
_LARGEST_UINT16 = 65535
Track = Callable[[Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True, eq=False)
class Layers:
    """What is known of the pixels of a frame.

    Attributes:
        labels: classes -1..C-1; None where there are none.
        depth: planar depth in metres, or in units of the poses where the scale is unknown, 0 where it is not known;
            None where there is none.
    """

    labels: Int[ndarray, "height width"] | None
    depth: Float32[ndarray, "height width"] | None


def given_layers(split: Split, index: int) -> Layers:
    """The scene's own labels and depth of a frame."""
    dataset = split.dataset
    has_label = dataset.metadata[keys.LABEL_FILENAMES][index] is not None
    return Layers(dataset.read_labels(index) if has_label else None, dataset.depth_of(index))


def rendered_layers(model: RenderingModel, split: Split, index: int) -> Layers:
    """The labels and the depth that a run renders at the pose of a frame.

    Raises:
        SceneError: if the run was trained without classes.
    """
    with torch.no_grad(), model.raw_outputs():
        outputs = model.get_outputs_for_camera(split.dataset.cameras[index : index + 1].to(model.device))
    if RENDERED_LABELS not in outputs:
        raise SceneError(
            "Expected a model with classes, found one trained with --pipeline.model.use-semantics False; train it "
            "with classes, or pass the folder of the scene to write its own labels."
        )
    depth = seen_planar_depth(outputs, units_of_files(split.outputs))[..., 0].cpu().numpy()
    return Layers(seen_labels(outputs)[..., 0].cpu().numpy(), depth)


@dataclass
class DepthFit:
    """Counts the pixels of known depth that thousandths of 16 bits have no number for.

    Attributes:
        num_known: pixels of known depth.
        num_lost: those of them that are written as unknown, since they are too far or too near.
    """

    num_known: int = 0
    num_lost: int = 0

    def counted(self, depth: Float32[ndarray, "height width"]) -> UInt16[ndarray, "height width"]:
        """Depth as 16 bits, see `in_thousandths`."""
        stored, is_known = in_thousandths(depth), np.isfinite(depth) & (depth > 0)
        self.num_known += int(is_known.sum())
        self.num_lost += int((is_known & (stored == 0)).sum())
        return stored

    @property
    def sentence(self) -> str:
        """What to say of it; empty where all depth fits."""
        if not self.num_lost:
            return ""
        share = 100 * self.num_lost / self.num_known
        return (
            f"{share:.3g} % of the pixels of known depth are written as unknown: 16 bits of "
            f"thousandths hold .001 to {_LARGEST_UINT16 / 1000} units of the poses."
        )


@dataclass(frozen=True, eq=False)
class DatasetWriter:
    """Writes frames with their labels, depth, cameras and split.

    Attributes:
        taxonomy: the classes.
        layers_of: labels and depth of a frame of a split.
        track: shows how far a list of frames is.
        fit: how much of the depth that was written fits in its format.
    """

    taxonomy: Taxonomy
    layers_of: Callable[[Split, int], Layers]
    track: Track = iter
    fit: DepthFit = field(default_factory=DepthFit, init=False)

    def write(self, splits: dict[str, Split], folder: Path) -> int:
        """Write `images/`, `semantics/`, `depth/`, `masks/`, `classes.json` and `transforms.json` into a folder.

        There are folders and a file of classes for what the frames have. Images are PNGs of the same pixels. Depth is
        in thousandths as 16 bits; beyond 65.535 it is unknown.

        Args:
            splits: the splits by name, see `read_splits`; a frame of several is written once and listed in each.
            folder: an existing folder.

        Returns:
            The number of frames.

        Raises:
            SceneError: if a frame is damaged, or its camera has no model in nerfstudio's format.
        """
        places = [(name, index) for name, split in splits.items() for index in range(len(split.dataset))]
        images = [splits[name].dataset.image_filenames[index] for name, index in places]
        unique = list(dict.fromkeys(images))
        name_of = dict(zip(unique, names_of_images(unique), strict=True))
        poses = {name: poses_of(split) for name, split in splits.items()}
        frames: dict[Path, dict[str, Any]] = {}
        listed: dict[str, list[str]] = {name: [] for name in splits}
        for place, image in self.track(list(zip(places, images, strict=True))):
            split = splits[place[0]]
            listed[place[0]].append(f"images/{name_of[image]}.png")
            if image not in frames:
                entry = self.write_frame(split, place[1], f"{name_of[image]}.png", folder)
                camera = camera_entry(split.dataset.cameras[place[1]])
                frames[image] = {**entry, **camera, "transform_matrix": poses[place[0]][place[1]].tolist()}
        content: dict[str, Any] = {f"{name}_filenames": names for name, names in listed.items()}
        if splits["train"].dataset.metadata.get(keys.HAS_UNKNOWN_SCALE, False):
            content[UNKNOWN_SCALE] = True  # depth alone would say that poses are in metres
        content.setdefault("test_filenames", listed["val"])
        if self.taxonomy.num_classes:
            table = class_table(self.taxonomy)
            write_json(folder / "classes.json", {"written_by": WRITTEN_BY, **table})
            content |= {"semantic_classes": table["classes"], "semantic_void_id": list(self.taxonomy.void_source_ids)}
        entries = sorted(frames.values(), key=lambda entry: entry["file_path"])
        write_json(folder / "transforms.json", {**content, "frames": entries})
        return len(frames)

    def write_frame(self, split: Split, index: int, name: str, folder: Path) -> dict[str, Any]:
        """Write what a frame has into `images/`, `semantics/`, `depth/` and `masks/` of a folder.

        Args:
            split: the frames of a split.
            index: number of the frame in it.
            name: file name of the PNGs.
            folder: folder of these folders.

        Returns:
            The paths in the folder, under the names of nerfstudio's format.
        """
        dataset = split.dataset
        pixels = dataset.get_numpy_image(index)
        write_png(folder / "images" / name, pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        layers = self.layers_of(split, index)
        entry = {"file_path": f"images/{name}"}
        if layers.labels is not None:
            write_png(folder / "semantics" / name, label_image(layers.labels, self.taxonomy))
            entry["semantics_path"] = f"semantics/{name}"
        if layers.depth is not None:
            write_png(folder / "depth" / name, self.fit.counted(layers.depth))
            entry["depth_file_path"] = f"depth/{name}"
        mask = dataset.mask_of(index)
        if mask is not None:
            write_png(folder / "masks" / name, _WHITE * mask.astype(np.uint8))
            entry["mask_path"] = f"masks/{name}"
        return entry


def in_thousandths(depth: Float32[ndarray, "height width"]) -> UInt16[ndarray, "height width"]:
    """Depth as 16 bits, 0 where it is unknown or does not fit."""
    rounded = np.round(1000 * depth.astype(np.float64))
    return np.where(np.isfinite(rounded) & (rounded <= _LARGEST_UINT16), rounded, 0).astype(np.uint16)


def poses_of(split: Split) -> ndarray:
    """Camera to world [N, 4, 4] in the world of the scene's files, OpenGL axes."""
    return poses_in_world(split.outputs, split.dataset.cameras.camera_to_worlds[:, :3, :4].double().numpy())


def camera_entry(camera: Cameras) -> dict[str, Any]:
    """Model, focal lengths, principal point, size and distortion other than 0, as nerfstudio's format names them.

    Args:
        camera: one camera.

    Raises:
        SceneError: if the format has no such model.
    """
    kind = int(camera.camera_type)
    if kind not in CAMERA_MODELS:
        raise SceneError(
            f"Expected perspective, fisheye or equirectangular cameras, found {CameraType(kind).name}; nerfstudio's "
            "format is written for these alone."
        )
    names = (("fl_x", "fx"), ("fl_y", "fy"), ("cx", "cx"), ("cy", "cy"))
    lens = {name: float(getattr(camera, key)) for name, key in names}
    size = {"w": int(camera.width), "h": int(camera.height)}
    parameters = camera.distortion_params
    bent = {} if parameters is None else dict(zip(DISTORTION, parameters.double().flatten().tolist(), strict=True))
    return {"camera_model": CAMERA_MODELS[kind], **lens, **size, **{k: v for k, v in bent.items() if v != 0}}
