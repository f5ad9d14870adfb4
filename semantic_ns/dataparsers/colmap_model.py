"""COLMAP's sparse models, read by nerfstudio's own parser of them."""

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from semantic_ns.dataparsers.frame_paths import find_file
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_text

_MODEL_FOLDERS = (
    "colmap/sparse/0",
    "sparse/0",
    "colmap/sparse",
    "sparse",
    "dense/sparse/0",
    "dense/sparse",
    "dense/0/sparse",
    ".",
)
_RATIONAL = "FULL_OPENCV"
_IMAGE_FOLDERS = ("images", "dense/images", "dense/0/images", "input", "color", "rgb", ".")
_BROKEN_MODEL_ERRORS = (
    OSError,
    struct.error,
    ValueError,
    KeyError,
    IndexError,
    AssertionError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
)


def find_model(data: Path) -> Path | None:
    """The folder of the COLMAP model of a scene, None without one: the first that nerfstudio or COLMAP would write."""
    return next((data / name for name in _MODEL_FOLDERS if _is_model(data / name)), None)


def _is_model(folder: Path) -> bool:
    return any(all((folder / f"{name}{end}").is_file() for name in ("cameras", "images")) for end in (".txt", ".bin"))


def read_model(data: Path, model: Path) -> dict[str, Any]:
    """A COLMAP model as the content of a `transforms.json`, with OpenGL camera-to-world poses in nerfstudio's world.

    Lists of images for the splits are taken from `train_list.txt`, `validation_list.txt` and `test_list.txt`.

    Args:
        data: folder of the scene.
        model: folder of the model.

    Raises:
        SceneError: if the model is damaged, is empty, or has cameras that nerfstudio does not know.
    """
    with _told_as_scene_error(model):
        content = _content(data, model)
    names = [Path(frame["file_path"]).relative_to(data / "images").as_posix() for frame in content["frames"]]
    folders = [data / folder for folder in _IMAGE_FOLDERS if (data / folder).is_dir()]
    folder = next((folder for folder in folders if find_file(names[0], folder).is_file()), data / "images")
    frames = [
        {
            **frame,
            "file_path": find_file(name, folder).absolute().as_posix(),
            "transform_matrix": frame["transform_matrix"].tolist(),
        }
        for name, frame in zip(names, content["frames"], strict=True)
    ]
    return {**content, "frames": frames, **_split_lists(data)}


def _content(data: Path, model: Path) -> dict[str, Any]:
    """What nerfstudio's parser reads of a model, also where it has cameras `FULL_OPENCV`, which that one refuses.

    Those are given to it without their k3 to k6, which are added to the frames afterwards.
    """
    from nerfstudio.data.utils import colmap_parsing_utils as files

    is_text = (model / "cameras.txt").exists()
    end = ".txt" if is_text else ".bin"
    cameras = (files.read_cameras_text if is_text else files.read_cameras_binary)(model / f"cameras{end}")
    rational = {number: camera for number, camera in cameras.items() if camera.model == _RATIONAL}
    if not rational:
        return _parser(data, model)._get_all_images_and_cameras(model)
    with tempfile.TemporaryDirectory(prefix="colmap-") as temporary:
        known = Path(temporary)
        (known / f"images{end}").symlink_to((model / f"images{end}").absolute())
        opencv = {
            number: camera._replace(model="OPENCV", params=camera.params[:8]) for number, camera in rational.items()
        }
        (files.write_cameras_text if is_text else files.write_cameras_binary)(cameras | opencv, known / f"cameras{end}")
        content = _parser(data, model)._get_all_images_and_cameras(known)
        images = (files.read_images_text if is_text else files.read_images_binary)(known / f"images{end}")
    for frame in content["frames"]:
        camera = rational.get(images[frame["colmap_im_id"]].camera_id)
        if camera is not None:
            further = dict(zip(("k3", "k4", "k5", "k6"), map(float, camera.params[8:12]), strict=True))
            frame.update(camera_model=_RATIONAL, **further)
    return content


def read_points(data: Path, model: Path, transform: Float[Tensor, "3 4"], scale: float) -> dict[str, Tensor]:
    """The sparse points of a COLMAP model in scene units, as nerfstudio's parser of such models gives them.

    Args:
        data: folder of the scene.
        model: folder of the model.
        transform: from COLMAP's world to the scene, before scaling.
        scale: scene units per unit of the model.

    Returns:
        `points3D_xyz` float32 [points, 3], `points3D_rgb` uint8 [points, 3] and what else nerfstudio keeps of each
        point; nothing where the model has no points.

    Raises:
        SceneError: if the file of the points is damaged.
    """
    if not _has_points(model):
        return {}
    with _told_as_scene_error(model):
        return _parser(data, model)._load_3D_points(model, transform, scale) or {}


def _has_points(model: Path) -> bool:
    binary, text = model / "points3D.bin", model / "points3D.txt"
    if binary.is_file():
        return binary.stat().st_size > struct.calcsize("<Q")  # the number of points alone
    return text.is_file() and any(line.strip() and not line.startswith("#") for line in read_text(text).splitlines())


def _parser(data: Path, model: Path) -> Any:
    """A `ColmapDataParser`; imported late, as nerfstudio is still half imported when it loads this package."""
    from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig

    return ColmapDataParserConfig(data=data, colmap_path=model.relative_to(data)).setup()


def _split_lists(data: Path) -> dict[str, list[str]]:
    files = {"train": "train_list.txt", "val": "validation_list.txt", "test": "test_list.txt"}
    return {
        f"{split}_filenames": [line.strip() for line in read_text(data / name).splitlines() if line.strip()]
        for split, name in files.items()
        if (data / name).is_file()
    }


@contextmanager
def _told_as_scene_error(model: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN_MODEL_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SceneError(
            f"Expected a COLMAP model in {model}, found that nerfstudio cannot read it ({reason[:160]}); export it "
            "again, with undistorted images where its camera model is the reason."
        ) from error
