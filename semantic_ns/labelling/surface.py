"""The surface that is labelled: the voxels of a trained run's surface, and which of them each pixel shows.

It is built once from the run and kept beside it, so that nothing of torch or nerfstudio is needed to label.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float16, Float32, Float64, Int, Int32, Shaped, UInt8
from numpy import ndarray
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.geometry.lens import Undistortion
from semantic_ns.io.console import announce
from semantic_ns.io.orientation import UPRIGHT, exif_orientation
from semantic_ns.io.writing import replacing, write_errors_as_scene_error, write_png
from semantic_ns.labelling.frame_files import fingerprint, have_moved
from semantic_ns.labelling.thinning import drawn_wider
from semantic_ns.labelling.view import SurfaceDiscs
from semantic_ns.labels.class_table import ClassEntry
from semantic_ns.propagation.clusters import Clusters, find_clusters
from semantic_ns.propagation.surface_graph import SurfaceGraph
from semantic_ns.surface.voxels import VoxelGrid, Voxels

if TYPE_CHECKING:
    from semantic_ns.runs import Run

FOLDER = "labelling"
"""Folder in a run's folder that holds what belongs to labelling."""
_VERSION = 8
_RAYS_PER_VOXEL = 10
_LEAST_RAYS = 400_000
_MOST_PIXELS = 32_000_000
"""Pixels over all frames of which the voxel is kept; of more, every n-th one along rows and columns is."""
_GRAPH_ARRAYS = ("neighbours", "weights", "centres", "colors", "normals")
_OWN_ARRAYS = ("pixel_voxels", "positions", "c2w", "intrinsics", "world_from_scene", "drawn", "features")
_DISC_ARRAYS = ("positions", "normals", "radii", "pixels", "colors")


@dataclass(frozen=True)
class BentPhoto:
    """A photo that a lens bends.

    Attributes:
        path: The scene's own file.
        undistortion: How it becomes the image that training sees.
    """

    path: Path
    undistortion: Undistortion

    @classmethod
    def from_json(cls, values: dict[str, Any] | None) -> "BentPhoto | None":
        """That of a kept surface."""
        return None if values is None else cls(Path(values["path"]), Undistortion.from_json(values))

    def to_json(self) -> dict[str, Any]:
        """All numbers by name."""
        return {"path": str(self.path), **self.undistortion.to_json()}


@dataclass(frozen=True)
class FrameInfo:
    """One training image.

    Attributes:
        name: Its name, unique in the scene, without suffix.
        height, width: Its size, pixels.
        image: A file with its colours at this size, as training sees them.
        orientation: EXIF orientation 1..8 of the scene's own file, 1 where pixels are stored upright.
        bent: The photo, where a lens bends it and `image` was made of it.
    """

    name: str
    height: int
    width: int
    image: Path
    orientation: int = UPRIGHT
    bent: BentPhoto | None = None

    @property
    def photo(self) -> Path:
        """The scene's own file where a lens bends it, else `image`: what files for others are about."""
        return self.image if self.bent is None else self.bent.path

    def on_photo(
        self, values: Shaped[ndarray, "height width *channels"], unseen: int
    ) -> Shaped[ndarray, "height width *channels"]:
        """Numbers of the pixels of `image` on those of `photo`, and `unseen` for what `image` does not show."""
        return values if self.bent is None else self.bent.undistortion.distort(values - unseen) + unseen

    def from_photo(
        self, values: Shaped[ndarray, "height width *channels"]
    ) -> Shaped[ndarray, "height width *channels"]:
        """Numbers of the pixels of `photo` on those of `image`."""
        return values if self.bent is None else self.bent.undistortion.undistort(values)


@dataclass(frozen=True, eq=False)
class LabelSurface:
    """Voxels of a surface, and those that the pixels of the training images show.

    Attributes:
        graph: The voxels.
        clusters: Their appearance clusters.
        stride: n; the voxel of every n-th pixel along rows and columns is known, and stands for n x n pixels.
        pixel_voxels: The voxel of these pixels, -1 for none.
        positions: Mean of the surface points in each voxel, scene units.
        discs: Points of the surface, one for each pixel of the maps of the run.
        drawn: Numbers of those that are enough to draw it from any pose, ascending, see `enough_discs`.
        near: Depth below which nothing is to be drawn, scene units.
        world_from_scene: From scene units to the world of the data set's files, see `geometry.world`.
        features: What the voxels look like, columns of about unit deviation, see `propagation.appearance`; zero rows
            where no image that was looked at shows a voxel, and no columns where nothing is known.
        c2w: Poses of the frames (OpenGL axes), scene units.
        intrinsics: Focal lengths and principal point (fx, fy, cx, cy) of the frames, pixels.
        frames: The frames.
        classes: The classes of the scene; none where it has none.
        void_id: Id of void in the label images of the scene.
        scene: Folder of the scene.
    """

    graph: SurfaceGraph
    clusters: Clusters
    stride: int
    pixel_voxels: Int32[ndarray, "frames height width"]
    positions: Float32[ndarray, "nodes 3"]
    c2w: Float32[ndarray, "frames 3 4"]
    intrinsics: Float32[ndarray, "frames 4"]
    frames: tuple[FrameInfo, ...]
    classes: tuple[ClassEntry, ...]
    void_id: int
    scene: Path
    discs: SurfaceDiscs
    drawn: Int32[ndarray, "drawn"]
    near: float
    world_from_scene: Float64[ndarray, "3 4"]
    features: Float16[ndarray, "nodes channels"]

    @cached_property
    def drawn_discs(self) -> SurfaceDiscs:
        """The discs that are drawn."""
        return drawn_wider(self.discs.part(self.drawn))

    @cached_property
    def drawn_voxels(self) -> Int32[ndarray, "drawn"]:
        """The voxel of each disc that is drawn, -1 for none."""
        return self.disc_voxels[self.drawn]

    @cached_property
    def disc_voxels(self) -> Int32[ndarray, "points"]:
        """The voxel of each disc, -1 for none."""
        frames, rows, columns = self.discs.pixels.T
        return self.pixel_voxels[frames, rows // self.stride, columns // self.stride]

    def without_features(self) -> "LabelSurface":
        """The surface without what its voxels look like."""
        return replace(self, features=np.empty((self.graph.num_nodes, 0), np.float16))

    def voxels_at(
        self, frame: int, rows: Int[ndarray, "*pixels"], columns: Int[ndarray, "*pixels"]
    ) -> Int32[ndarray, "*pixels"]:
        """The voxels of single pixels of a frame, -1 for none."""
        return self.pixel_voxels[frame, rows // self.stride, columns // self.stride]

    def voxels_of(self, frame: int) -> Int32[ndarray, "height width"]:
        """The voxel of each pixel of a frame, -1 for none."""
        return self.enlarged(self.pixel_voxels[frame], frame)

    def enlarged(self, values: Shaped[ndarray, "rows columns"], frame: int) -> Shaped[ndarray, "height width"]:
        """Values of every n-th pixel of a frame at its size; each pixel has those of the block that it lies in."""
        if self.stride == 1:
            return values
        info = self.frames[frame]
        return values.repeat(self.stride, axis=0).repeat(self.stride, axis=1)[: info.height, : info.width]


def read_color(info: FrameInfo) -> UInt8[ndarray, "height width 3"]:
    """The colours of a frame.

    Raises:
        SceneError: if its file is gone, damaged or of another size.
    """
    try:
        with Image.open(info.image) as image:
            color = np.asarray(image.convert("RGB"))
    except (OSError, ValueError) as error:
        raise SceneError(f"Expected the colour image {info.image}, found '{error}'; put it back.") from error
    if color.shape[:2] != (info.height, info.width):
        raise SceneError(
            f"Expected a colour image of {info.width}x{info.height} at {info.image}, found "
            f"{color.shape[1]}x{color.shape[0]}; put the one of the training back."
        )
    return color


def surface_path(load_config: Path, num_voxels: int) -> Path:
    """Where the surface of a run is kept."""
    return load_config.parent / FOLDER / f"surface_{num_voxels}.npz"


def surface_key(load_config: Path, num_voxels: int) -> dict[str, Any]:
    """What a kept surface must agree with: the newest checkpoint of the run, and the options.

    Raises:
        SceneError: if the run has no checkpoint.
    """
    found = sorted((load_config.parent / "nerfstudio_models").glob("step-*.ckpt"))
    if not found:
        raise SceneError(
            f"Expected a checkpoint in {load_config.parent / 'nerfstudio_models'}, found none; train the run first."
        )
    status = found[-1].stat()
    return {
        "version": _VERSION,
        "checkpoint": found[-1].name,
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "num_voxels": num_voxels,
    }


def load_label_surface(load_config: Path, num_voxels: int) -> LabelSurface | None:
    """The kept surface of a run; None if there is none, or it is of another checkpoint or version, or damaged."""
    path = surface_path(load_config, num_voxels)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            header = json.loads(bytes(arrays["header"]).decode("utf8"))
            if header["key"] != surface_key(load_config, num_voxels):
                announce("labelling", f"{path} is of another checkpoint or version, so that the surface is built anew")
                return None
            surface = _surface_of(header, {name: arrays[name] for name in arrays.files})
            if not any(info.image.is_file() for info in surface.frames):
                announce("labelling", f"the images of {path} are gone, so that the surface is built anew")
                return None
            files = header.get("files")
            if files is not None and have_moved(files, [info.photo for info in surface.frames]):
                announce("labelling", f"photos of {path} have each other's names, so that the surface is built anew")
                return None
            return surface
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        announce("labelling", f"{path} cannot be read ({error}), so that the surface is built anew")
        return None


def save_label_surface(surface: LabelSurface, load_config: Path, num_voxels: int) -> Path:
    """Keep a surface beside its run, so that it need not be built again.

    Raises:
        SceneError: if it cannot be written.
    """
    header = {
        "key": surface_key(load_config, num_voxels),
        "resolution": surface.graph.voxels.grid.resolution,
        "stride": surface.stride,
        "frames": [[info.name, info.height, info.width, str(info.image), info.orientation] for info in surface.frames],
        "files": [fingerprint(info.photo) for info in surface.frames],
        "bent": [None if info.bent is None else info.bent.to_json() for info in surface.frames],
        "classes": [[entry.id, entry.name, list(entry.color), entry.is_thing] for entry in surface.classes],
        "void_id": surface.void_id,
        "scene": str(surface.scene),
        "near": surface.near,
    }
    arrays = {name: getattr(surface.graph, name) for name in _GRAPH_ARRAYS}
    arrays |= {name: getattr(surface, name) for name in _OWN_ARRAYS}
    arrays |= {f"disc_{name}": getattr(surface.discs, name) for name in _DISC_ARRAYS}
    arrays |= {"numbers": surface.clusters.numbers, "sizes": surface.clusters.sizes, "keys": surface.graph.voxels.keys}
    arrays["header"] = np.frombuffer(json.dumps(header).encode("utf8"), np.uint8)
    path = surface_path(load_config, num_voxels)
    with write_errors_as_scene_error(path), replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    return path


def _surface_of(header: dict[str, Any], arrays: dict[str, ndarray]) -> LabelSurface:
    voxels = Voxels(VoxelGrid.of_unit_cube(header["resolution"]), arrays["keys"])
    frames = [
        FrameInfo(name, height, width, Path(image), turn, BentPhoto.from_json(bent))
        for (name, height, width, image, turn), bent in zip(header["frames"], header["bent"], strict=True)
    ]
    classes = [ClassEntry(number, name, tuple(color), thing) for number, name, color, thing in header["classes"]]
    return LabelSurface(
        graph=SurfaceGraph(voxels, **{name: arrays[name] for name in _GRAPH_ARRAYS}),
        clusters=Clusters(arrays["numbers"], arrays["sizes"]),
        stride=header["stride"],
        frames=tuple(frames),
        classes=tuple(classes),
        void_id=header["void_id"],
        scene=Path(header["scene"]),
        discs=SurfaceDiscs(**{name: arrays[f"disc_{name}"] for name in _DISC_ARRAYS}),
        near=header["near"],
        **{name: arrays[name] for name in _OWN_ARRAYS},
    )


def build_label_surface(run: "Run", num_voxels: int) -> LabelSurface:
    """The surface of a trained run, see `build_label_surfaces`."""
    return build_label_surfaces(run, [num_voxels])[0]


def build_label_surfaces(run: "Run", numbers_of_voxels: Sequence[int]) -> list[LabelSurface]:
    """The surface of a trained run, divided into voxels in several ways (slow: the run is rendered).

    Points lie where the depth images say, where training trusts them, else where the run renders a surface.

    Args:
        run: The run.
        numbers_of_voxels: The number of voxels of each, about.

    Raises:
        SceneError: if its method shows no surface, or the training images have several sizes.
    """
    from semantic_ns.interfaces import can
    from semantic_ns.labelling.building import SurfaceBuilder

    if not can(run.model, "shows_surface"):
        raise SceneError(
            "Expected a run of semantic-nerf, semantic-ngp or semantic-splatfacto, found a "
            f"{type(run.model).__name__}, whose surface cannot be divided into voxels, in {run.load_config}; train "
            "with ns-train semantic-nerf."
        )
    builder = SurfaceBuilder.of(run, max(_LEAST_RAYS, _RAYS_PER_VOXEL * max(numbers_of_voxels)))
    frames = _frames_of(run)
    num_pixels = sum(info.height * info.width for info in frames)
    stride = max(1, int(np.ceil((num_pixels / _MOST_PIXELS) ** 0.5)))
    parts = [builder.build(number) for number in numbers_of_voxels]
    pixel_voxels = builder.pixel_voxels([graph for graph, _ in parts], stride)
    discs, near = builder.discs(), float(run.pipeline.model.bounds.near)
    drawn = builder.drawn(discs, near)
    features = builder.features([graph for graph, _ in parts])
    return [
        LabelSurface(graph, find_clusters(graph), stride, of_pixels, positions, *builder.cameras(), frames,
                     *builder.classes(), Path(run.parser_config.data), discs, drawn, near, builder.world_from_scene(),
                     of_voxels)
        for (graph, positions), of_pixels, of_voxels in zip(parts, pixel_voxels, features, strict=True)
    ]  # fmt: skip


def _frames_of(run: "Run") -> tuple[FrameInfo, ...]:
    """The frames; the colours of those whose file is not as training sees it are written beside the run."""
    from semantic_ns.datasets.training_labels import frame_names

    dataset = run.pipeline.datamanager.train_dataset
    frames = []
    for index, name in enumerate(frame_names(dataset)):
        color = np.ascontiguousarray((dataset.color_of(index).numpy() * 255).round().astype(np.uint8))
        height, width = color.shape[:2]
        file = Path(dataset.image_filenames[index]).resolve()
        undistortion = dataset.undistortion_of(index)
        bent = None if undistortion is None or undistortion.lens.is_pinhole else BentPhoto(file, undistortion)
        info = FrameInfo(name, height, width, file, exif_orientation(file), bent)
        if not _is_color_of(info, color):
            info = replace(info, image=run.load_config.parent / FOLDER / "images" / f"{name}.png")
            with write_errors_as_scene_error(info.image):
                write_png(info.image, color)
        frames.append(info)
    return tuple(frames)


def _is_color_of(info: FrameInfo, color: UInt8[ndarray, "height width 3"]) -> bool:
    try:
        return bool((read_color(info) == color).all())
    except SceneError:
        return False
