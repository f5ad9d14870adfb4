"""The files of a Hypersim scene (Roberts et al. 2021): which cameras and frames there are, and their poses.

A scene folder `ai_VVV_NNN` holds, for each camera `cam_XX`, one trajectory of up to 100 frames `IIII`:

- `_detail/metadata_cameras.csv` (names of the cameras) and `_detail/metadata_scene.csv` (metres per asset unit),
- `_detail/cam_XX/camera_keyframe_{positions,orientations}.hdf5`: one row per frame number, also for frames without
  images; asset units, and rotations from camera (OpenGL axes) to world (z up),
- `images/scene_cam_XX_final_hdf5/frame.IIII.color.hdf5`: linear colour, float16,
- `images/scene_cam_XX_final_preview/frame.IIII.{tonemap,gamma,color}.jpg`: 8 bit colour,
- `images/scene_cam_XX_geometry_hdf5/frame.IIII.{semantic,depth_meters,render_entity_id}.hdf5`: NYU40 ids with -1 for
  unlabelled pixels, distance along the ray in metres, and -1 where no geometry is seen.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from semantic_ns.dataparsers.hypersim_camera import read_rows
from semantic_ns.dataparsers.posed_scene import PosedFrame
from semantic_ns.errors import SceneError
from semantic_ns.io.hdf5 import read_hdf5
from semantic_ns.io.images import read_hdr_image
from semantic_ns.io.tone_mapping import image_exposure, trajectory_exposure

_COLOR_FOLDERS = {"hdr": "final_hdf5", "tonemap": "final_preview", "gamma": "final_preview", "color": "final_preview"}
_MAX_IMAGES_FOR_EXPOSURE = 16
_CAMERA_NAME = re.compile(r"[\w-]{1,100}", re.ASCII)  # part of a folder's name


class HypersimFolder:
    """One camera of a scene folder.

    Args:
        folder: the scene.
        camera: name of a camera, None for the first one.
        color: `hdr`, or which preview is the colour image.

    Raises:
        SceneError: if the folder holds no such camera, or the camera no such images.
    """

    def __init__(self, folder: Path, camera: str | None, color: str) -> None:
        self.folder = folder
        self.is_hdr = color == "hdr"
        cameras = self._camera_names()
        if camera is not None and camera not in cameras:
            raise SceneError(f"Expected a camera of {folder} ({', '.join(cameras)}), found '{camera}'; choose one.")
        self.camera = camera or cameras[0]
        modality = "color.hdf5" if self.is_hdr else f"{color}.jpg"
        self._color_folder = self._images_folder(self.camera, _COLOR_FOLDERS[color])
        self.colors = _frames_in(self._color_folder, modality)
        if not self.colors:
            raise SceneError(self._no_images(cameras, modality, _COLOR_FOLDERS[color]))

    def _camera_names(self) -> list[str]:
        table = self.folder / "_detail" / "metadata_cameras.csv"
        if table.is_file():
            names = [row["camera_name"] for row in read_rows(table, "camera_name") if row["camera_name"]]
        else:
            names = sorted(path.name for path in (self.folder / "_detail").glob("cam_*") if path.is_dir())
        if not names:
            raise SceneError(
                f"Expected a Hypersim scene in {self.folder}, found no camera in _detail/metadata_cameras.csv or "
                "_detail/cam_*; pass the folder of one scene (ai_VVV_NNN)."
            )
        if wrong := next((name for name in names if not _CAMERA_NAME.fullmatch(name)), None):
            raise SceneError(
                f"Expected names of cameras such as cam_00 in {table}, found {ascii(wrong)[:60]}; restore the file."
            )
        return names

    def _images_folder(self, camera: str, kind: str) -> Path:
        return self.folder / "images" / f"scene_{camera}_{kind}"

    def _no_images(self, cameras: Sequence[str], modality: str, kind: str) -> str:
        folder = self._color_folder
        found = "none" if folder.is_dir() else "no such folder"
        others = [camera for camera in cameras if _frames_in(self._images_folder(camera, kind), modality)]
        choice = f"--camera ({', '.join(others)})" if others else "--camera or --color"
        return (
            f"Expected colour images frame.<number>.{modality} of {self.camera} in {folder}, found {found}; restore "
            f"them or choose another {choice}, with hypersim-data."
        )

    def frames(
        self, nominal_from_opencv: Float[ndarray, "3 3"], metres_per_asset_unit: float
    ) -> tuple[PosedFrame, ...]:
        """The frames with colour, by ascending number; labels and depth may lack.

        Args:
            nominal_from_opencv: how the true camera is turned, see `Pinhole`.
            metres_per_asset_unit: scale of the positions.

        Raises:
            SceneError: if the trajectory cannot be read or lacks a frame.
        """
        geometry = self._images_folder(self.camera, "geometry_hdf5")
        labels, depths = (_frames_in(geometry, f"{name}.hdf5") for name in ("semantic", "depth_meters"))
        rotations, positions = self._trajectory()
        place = self.folder / "_detail" / self.camera
        frames = []
        for number, image in self.colors.items():
            if number >= len(positions):
                raise SceneError(
                    f"Expected a pose for {image} in row {number} (from 0) of the trajectory in {place}, found "
                    f"{len(positions)} rows; restore the trajectory or remove the image."
                )
            c2w = np.eye(4)
            c2w[:3, :3] = rotations[number] @ nominal_from_opencv
            c2w[:3, 3] = positions[number] * metres_per_asset_unit
            label = labels.get(number, geometry / f"frame.{number:04d}.semantic.hdf5")
            frames.append(
                PosedFrame(
                    image=image,
                    label=labels.get(number),
                    depth=depths.get(number),
                    label_export_name=label.relative_to(self.folder).as_posix(),
                    id=number,
                    pose_name=f"{image} (row {number}, from 0, of the trajectory in {place})",
                    c2w_opencv=c2w,
                )
            )
        return tuple(frames)

    def _trajectory(self) -> tuple[Float[ndarray, "rows 3 3"], Float[ndarray, "rows 3"]]:
        """Rotations from the nominal camera to the world, and positions in asset units, by frame number."""
        folder = self.folder / "_detail" / self.camera
        paths = [folder / f"camera_keyframe_{name}.hdf5" for name in ("orientations", "positions")]
        rotations, positions = (read_hdf5(path, "camera trajectory").astype(np.float64) for path in paths)
        for path, values, shape in zip(paths, (rotations, positions), ((3, 3), (3,)), strict=True):
            if values.shape[1:] != shape or len(values) != len(positions):
                expected = ", ".join(str(length) for length in (len(positions), *shape))
                raise SceneError(
                    f"Expected numbers of shape ({expected}), one row per frame, at {path}, found {values.shape}; "
                    "restore the file."
                )
        return rotations, positions

    def metres_per_asset_unit(self) -> float | None:
        """What the scene says itself, None if it does not.

        Raises:
            SceneError: if it says something else than a positive number.
        """
        path = self.folder / "_detail" / "metadata_scene.csv"
        if not path.is_file():
            return None
        rows = read_rows(path, "parameter_name", "parameter_value")
        values = {row["parameter_name"]: row["parameter_value"] for row in rows}
        text = values.get("meters_per_asset_unit", "")
        try:
            metres = float(text)
        except ValueError:
            metres = np.nan
        if not 0 < metres < np.inf:
            raise SceneError(
                f"Expected a positive number as meters_per_asset_unit in {path}, found '{text}'; restore the file."
            )
        return metres

    def exposure(self) -> float:
        """One exposure for the trajectory: the median over up to 16 images, spread evenly over all that there are."""
        numbers = list(self.colors)
        chosen = np.unique(np.linspace(0, len(numbers) - 1, _MAX_IMAGES_FOR_EXPOSURE).round().astype(int))
        entities = _frames_in(self._images_folder(self.camera, "geometry_hdf5"), "render_entity_id.hdf5")
        return trajectory_exposure([self._image_exposure(numbers[i], entities) for i in chosen])

    def _image_exposure(self, number: int, entities: Mapping[int, Path]) -> float:
        hdr = read_hdr_image(self.colors[number])
        is_valid = np.ones(hdr.shape[:2], bool)
        if number in entities:
            entity = read_hdf5(entities[number], "image of entities")
            if entity.shape != is_valid.shape:
                raise SceneError(
                    f"Expected an image of entities of shape {is_valid.shape} at {entities[number]}, found "
                    f"{entity.shape}; restore the file."
                )
            is_valid = entity != -1
        return image_exposure(hdr, is_valid)


def _frames_in(folder: Path, modality: str) -> dict[int, Path]:
    """Files `frame.<number>.<modality>` by number, ascending."""
    files = {}
    for path in folder.glob(f"frame.*.{modality}"):
        if match := re.fullmatch(rf"frame\.(\d+)\.{re.escape(modality)}", path.name):
            files[int(match[1])] = path
    return dict(sorted(files.items()))
