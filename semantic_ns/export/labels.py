"""Dense label images of a trained scene, in the layout of its input and never over it."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from nerfstudio.cameras.camera_paths import get_path_from_json
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from numpy import ndarray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from semantic_ns.batch import RENDERED_LABELS, seen_labels
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.errors import SceneError
from semantic_ns.export.annotation_files import AnnotationFiles, AnnotationFormat, refuse_equal_names
from semantic_ns.interfaces import ImagesLike, RenderingModel, can
from semantic_ns.io.orientation import exif_orientation, to_upright
from semantic_ns.io.writing import making_folder, refuse_inside, refuse_used_folder, write_json, write_png
from semantic_ns.labels.label_files import class_table, label_image
from semantic_ns.labels.taxonomy import VOID

Frames = Literal["train", "test", "all", "camera-path"]
CLASSES_FILE = "classes.json"
WRITTEN_BY = "sns-export-labels"


@dataclass(frozen=True, eq=False)
class Frame:
    """One view to export."""

    name: PurePosixPath
    """Path of its label image relative to the output folder."""
    camera: Cameras
    """A batch of one camera."""
    image: Path | None = None
    """Its colour image, if it has one."""
    crop: OrientedBox | None = None
    """Box in scene units outside of which nothing is seen; None where there is no such box."""
    as_stored: Callable[[ndarray, int], ndarray] | None = None
    """Brings numbers of the rendered pixels onto those of the stored image, which a lens has bent, with a number for
    those that are not rendered; None where both are the same."""

    def stored(self, values: ndarray, unseen: int) -> ndarray:
        """Numbers of the rendered pixels as numbers of the stored ones, see `as_stored`."""
        return values if self.as_stored is None else self.as_stored(values, unseen)

    @property
    def color_name(self) -> PurePosixPath:
        """Path of the colour preview: same file name, in the parallel folder `<folder>_color`."""
        return _in_parallel_folder(self.name, "colour")

    @property
    def confidence_name(self) -> PurePosixPath:
        """Path of the confidence image, in the parallel folder `<folder>_confidence`."""
        return _in_parallel_folder(self.name, "confidence")


def _in_parallel_folder(name: PurePosixPath, suffix: str) -> PurePosixPath:
    folder = name.parent
    return folder.with_name(f"{folder.name}_{suffix}") / name.name if folder.name else folder / suffix / name.name


def dataset_frames(dataset: Any) -> list[Frame]:
    """The frames of a data set under the names that its dataparser gives their label images.

    Raises:
        SceneError: if the data set was not read by one of this package's dataparsers.
    """
    names = dataset.metadata.get(keys.LABEL_EXPORT_NAMES)
    if names is None or len(names) != len(dataset.cameras):
        raise SceneError(
            "Expected a run trained on semantic-data, replica-data or nerfstudio-semantic-data, found one whose "
            "dataparser does not say where label images belong; train with one of these or use --frames camera-path."
        )
    images = dataset.image_filenames
    is_bent = keys.DISTORTED_CAMERAS in dataset.metadata
    return [
        Frame(
            _png_name(name),
            dataset.cameras[i : i + 1],
            images[i],
            as_stored=partial(_on_stored_pixels, dataset, i) if is_bent else None,
        )
        for i, name in enumerate(names)
    ]


def _on_stored_pixels(dataset: Any, index: int, values: ndarray, unseen: int) -> ndarray:
    return dataset.as_stored(values, index, unseen)


def _png_name(name: str) -> PurePosixPath:
    path = PurePosixPath(name).with_suffix(".png")
    if path.is_absolute() or ".." in path.parts:
        raise SceneError(f"Expected a label path inside the scene folder, found '{name}'; move the labels there.")
    return path


def unique_frames(frames: Iterable[Frame]) -> list[Frame]:
    """The frames in order, each name once (with split `all`, train and test hold the same frames)."""
    first: dict[PurePosixPath, Frame] = {}
    for frame in frames:
        first.setdefault(frame.name, frame)
    return list(first.values())


def camera_path_frames(path: Path) -> list[Frame]:
    """The frames of a camera path as the viewer saves it, named `semantics/frame_00001.png` and so on, with its crop.

    Raises:
        SceneError: if the file is missing, is not JSON or holds no camera path.
    """
    try:
        content = json.loads(path.read_text("utf8"))
        cameras, crop = get_path_from_json(content), _crop_of(content)
    except OSError as error:
        raise SceneError(f"Expected a camera path file, found none that can be read at {path} ({error}).") from error
    except json.JSONDecodeError as error:
        raise SceneError(f"Expected JSON in {path}, found a mistake at line {error.lineno}: {error.msg}.") from error
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SceneError(
            f"Expected a camera path as the viewer's Render tab saves it, found a file without a usable one "
            f"({type(error).__name__}: {error}) in {path}; save the path again."
        ) from error
    names = [PurePosixPath(f"semantics/frame_{i + 1:05d}.png") for i in range(len(cameras))]
    return [Frame(name, cameras[i : i + 1], crop=crop) for i, name in enumerate(names)]


def _crop_of(content: dict[str, Any]) -> OrientedBox | None:
    """The box that ns-render takes of a camera path."""
    crop = content.get("crop")
    if crop is None:
        return None
    # As floats: a whole number among the angles is refused.
    x, y, z = map(float, crop["crop_center"])
    roll, pitch, yaw = map(float, crop.get("crop_rot", (0, 0, 0)))
    width, height, depth = map(float, crop["crop_scale"])
    return OrientedBox.from_params((x, y, z), (roll, pitch, yaw), (width, height, depth))


@dataclass(frozen=True)
class LabelExporter:
    """Renders frames and writes their labels.

    Raises:
        SceneError: from `export`, if the output folder is used or lies in the input, if a model cannot crop what is to
            be cropped, or if a frame cannot be rendered; the message names it. Nothing is left then.
    """

    model: RenderingModel
    output_dir: Path
    """New or empty folder, which appears when it is complete."""
    protected: Sequence[Path]
    """Folders in which nothing may be written, and files of them (the input)."""
    with_confidence: bool = True
    annotations: AnnotationFormat | None = None
    """Tool for which the labels are written as annotations, too, into a folder of its name."""

    def export(self, frames: Sequence[Frame]) -> list[Path]:
        """Write the label image of each frame, its colour preview and its confidence, and the table of classes.

        Returns:
            The paths of the label images.
        """
        if not frames:
            raise SceneError("Expected at least one frame to export, found none; choose other frames with --frames.")
        if can(self.model, "renders_from_sources") and any(frame.crop is not None for frame in frames):
            raise SceneError(
                "Expected a camera path without a crop for a run of a method for many rooms, which renders whole "
                "images alone, found one with a crop; save the path again with Crop Viewport off."
            )
        refuse_inside(self.output_dir, self.protected, "--output-dir")
        refuse_used_folder(self.output_dir, "--output-dir", is_replaced=True)
        if self.annotations is not None:
            refuse_equal_names((_name_shown(frame) for frame in frames), self.annotations)
        with making_folder(self.output_dir) as folder:
            self._write(frames, folder)
        return [self.output_dir / frame.name for frame in frames]

    def _write(self, frames: Sequence[Frame], folder: Path) -> None:
        files = None
        if self.annotations is not None:
            files = AnnotationFiles(folder / self.annotations, self.annotations, self.model.taxonomy)
        columns = (TextColumn("Exporting labels"), BarColumn(), MofNCompleteColumn())
        with self.model.raw_outputs(), Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress:
            for frame in progress.track(frames):
                self._export_frame(frame, folder, len(frames), files)
        if files is not None:
            files.finish()
        write_json(folder / CLASSES_FILE, {"written_by": WRITTEN_BY, **class_table(self.model.taxonomy)})

    def _export_frame(self, frame: Frame, folder: Path, num_frames: int, files: AnnotationFiles | None) -> None:
        try:
            # Only where there is one: not everything that renders images knows boxes.
            crop: dict[str, Any] = {} if frame.crop is None else {"obb_box": frame.crop}
            outputs = self.model.get_outputs_for_camera(frame.camera.to(self.model.device), **crop)
        except (RuntimeError, ValueError) as error:
            raise SceneError(
                f"Expected to render {num_frames} frames, found frame {frame.name} impossible ({error}); nothing was "
                "written, so mend this and export again."
            ) from error
        if RENDERED_LABELS not in outputs:
            raise SceneError(
                "Expected a model with classes, found one trained with --pipeline.model.use-semantics False; train it "
                "with classes to export labels."
            )
        labels = frame.stored(seen_labels(outputs)[..., 0].cpu().numpy(), VOID)  # [H, W]
        taxonomy = self.model.taxonomy
        write_png(folder / frame.color_name, _to_uint8(taxonomy.colorize(torch.from_numpy(labels))))
        if self.with_confidence:
            confidence = _to_uint8(outputs["semantics_confidence"][..., 0])
            write_png(folder / frame.confidence_name, frame.stored(confidence, 0))
        if files is not None:
            files.add(*_as_shown(frame, labels))
        write_png(folder / frame.name, label_image(labels, taxonomy))


def _as_shown(frame: Frame, labels: ndarray) -> tuple[str, ndarray]:
    """Name of the colour image, and labels [H, W] as tools show that image: upright."""
    if frame.image is None:
        return _name_shown(frame), labels
    return _name_shown(frame), to_upright(labels, exif_orientation(frame.image))


def _name_shown(frame: Frame) -> str:
    return frame.name.name if frame.image is None else frame.image.name


def _to_uint8(image: Tensor) -> ndarray:
    """Map [0, 1] to 0..255, rounded."""
    return (image.float().clamp(0, 1) * 255).round().byte().cpu().numpy()


def choose_frames(datamanager: ImagesLike, frames: Frames, camera_path: Path | None) -> list[Frame]:
    """The frames that the command line asks for.

    Args:
        datamanager: Holds `train_dataset` and `eval_dataset`.
        frames: `train`, `test`, `all` (both), or `camera-path`.
        camera_path: File of the camera path, needed for `camera-path` only.
    """
    if frames == "camera-path":
        if camera_path is None:
            raise SceneError("Expected a camera path, found none; give it with --camera-path-filename FILE.")
        return camera_path_frames(camera_path)
    chosen: dict[str, Callable[[], list[Frame]]] = {
        "train": lambda: dataset_frames(datamanager.train_dataset),
        "test": lambda: dataset_frames(datamanager.eval_dataset),
        "all": lambda: dataset_frames(datamanager.train_dataset) + dataset_frames(datamanager.eval_dataset),
    }
    return unique_frames(chosen[frames]())


def input_paths(datamanager: ImagesLike) -> list[Path]:
    """What an export must not write to: the scene's folder, and every image, label and depth file of it."""
    data = Path(datamanager.config.dataparser.data)
    paths = {data if data.is_dir() else data.parent}
    for dataset in (datamanager.train_dataset, datamanager.eval_dataset):
        paths.update(dataset.image_filenames)
        for key in (keys.LABEL_FILENAMES, keys.DEPTH_FILENAMES):
            paths.update(path for path in dataset.metadata.get(key) or () if path is not None)
    return sorted(paths)
