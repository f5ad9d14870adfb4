"""Point clouds and meshes with classes as files: PLY, LAS and LAZ, OBJ and GLB."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int16, Int32, Int64, UInt8
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import replacing
from semantic_ns.labels.taxonomy import VOID, Taxonomy

_LARGEST_FLOAT = 1e4
"""Coordinates above this are written in double precision: a float would round them by a millimetre."""
FIRST_LAS_CLASS = 64
"""Classes of LAS 1.4 from here on are the user's (ASPRS LAS 1.4 R15, table 17)."""
_MOST_LAS_CLASSES = 256 - FIRST_LAS_CLASS
LAS_UNCLASSIFIED = 1
"""The class of LAS for what has none."""
_LAS_STEP = 1e-4
"""Coordinates of LAS are whole numbers of a step, which is this in the unit of the world."""
_LAS_STEPS = 1e8
"""Steps over the extent of scenes for which that step is too coarse (below one unit) or too fine for 32 bits."""


TAKEN_NAMES = ("classes", "instances")
"""Endings of the names of meshes in the colours of classes and of things, which no part of a class has."""
_VOID_PART = "void"
_MOST_NAME_BYTES = 100


@dataclass(frozen=True, eq=False)
class Labelled:
    """What a file holds of each point or vertex.

    Attributes:
        positions: In the world of the data set's files.
        normals: Unit length, zero where unknown.
        colors: RGB.
        labels: Classes 0..C-1, void -1.
        confidence: 0..1.
        instances: Ids of things from 1, 0 of stuff and void; None where none were asked for.
    """

    positions: Float64[ndarray, "points 3"]
    normals: Float32[ndarray, "points 3"]
    colors: UInt8[ndarray, "points 3"]
    labels: Int16[ndarray, "points"]
    confidence: Float32[ndarray, "points"]
    instances: Int32[ndarray, "points"] | None = None

    def source_ids(self, taxonomy: Taxonomy) -> ndarray:
        """The ids of the label images, int32."""
        return taxonomy.decode(self.labels).astype(np.int32)

    def class_colors(self, taxonomy: Taxonomy) -> UInt8[ndarray, "points 3"]:
        """The colours of the classes; void is black."""
        table = np.array([*taxonomy.colors, (0, 0, 0)], np.uint8)
        return table[self.labels]  # void is -1, the last row

    def __getitem__(self, chosen: ndarray) -> "Labelled":
        return Labelled(
            self.positions[chosen],
            self.normals[chosen],
            self.colors[chosen],
            self.labels[chosen],
            self.confidence[chosen],
            None if self.instances is None else self.instances[chosen],
        )


Parts = dict[int | None, tuple[Labelled, ndarray]]
"""Vertices and triangles by their class, void -1; those of a whole mesh by None."""


def write_ply(path: Path, points: Labelled, taxonomy: Taxonomy, faces: Int64[ndarray, "faces 3"] | None = None) -> None:
    """Write a PLY: position, normal, RGB, id of the class, confidence and id of the thing, and triangles if given.

    The ids are scalar fields: `scalar_class` and `scalar_instance` of points, names under which CloudCompare takes them
    as such, and `label` and `instance` of a mesh, the first as in ScanNet's `*.labels.ply`.

    Args:
        path: The file.
        points: Points or vertices.
        taxonomy: The classes.
        faces: Vertices of triangles.
    """
    number = "<f8" if _is_large(points.positions) else "<f4"
    prefix, id_name = ("scalar_", "class") if faces is None else ("", "label")
    instances = [] if points.instances is None else [(f"{prefix}instance", "<i4", points.instances)]
    columns = [
        *((name, number, points.positions[:, axis]) for axis, name in enumerate("xyz")),
        *((name, "<f4", points.normals[:, axis]) for axis, name in enumerate(("nx", "ny", "nz"))),
        *((name, "u1", points.colors[:, axis]) for axis, name in enumerate(("red", "green", "blue"))),
        (f"{prefix}{id_name}", "<i4", points.source_ids(taxonomy)),
        (f"{prefix}confidence", "<f4", points.confidence),
        *instances,
    ]
    table = np.empty(len(points.positions), [(name, kind) for name, kind, _ in columns])
    for name, _, values in columns:
        table[name] = values
    words = {"<f8": "double", "<f4": "float", "u1": "uchar", "<i4": "int"}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    header += [f"property {words[kind]} {name}" for name, kind, _ in columns]
    triangles = b""
    if faces is not None:
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        rows = np.empty(len(faces), [("count", "u1"), ("vertices", "<i4", 3)])
        rows["count"], rows["vertices"] = 3, faces
        triangles = rows.tobytes()
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(("\n".join([*header, "end_header"]) + "\n").encode())
        file.write(table.tobytes())
        file.write(triangles)


def _is_large(positions: Float64[ndarray, "points 3"]) -> bool:
    return len(positions) > 0 and float(np.abs(positions).max()) > _LARGEST_FLOAT


def refuse_las(path: Path, num_classes: int) -> None:
    """Check that a LAS or LAZ file can be written, before anything slow.

    Raises:
        SceneError: if a package is missing, or there are more classes than LAS has numbers for.
    """
    try:
        import laspy
    except ImportError as error:
        raise SceneError(
            f"Expected the package laspy to write {path.name}, found none; install it with pip install "
            "'semantic-ns[las]', or give --format ply."
        ) from error
    if path.suffix == ".laz" and not laspy.LazBackend.detect_available():
        raise SceneError(
            f"Expected a package that compresses LAZ to write {path.name}, found none; install it with pip install "
            "'semantic-ns[las]', or give --format las."
        )
    if num_classes > _MOST_LAS_CLASSES:
        raise SceneError(
            f"Expected at most {_MOST_LAS_CLASSES} classes for {path.name}, found {num_classes}; give --format ply."
        )


def write_las(path: Path, points: Labelled, taxonomy: Taxonomy) -> None:
    """Write LAS 1.4 or LAZ, point format 7: class 64 + number of the class, 1 where void, and RGB.

    The extra dimensions `class_id` (id of the label images), `confidence`, `nx`, `ny`, `nz` and, of points with ids of
    things, `instance_id` hold the rest.

    Args:
        path: The file; its ending says which.
        points: The points.
        taxonomy: The classes.

    Raises:
        SceneError: See `refuse_las`.
    """
    refuse_las(path, taxonomy.num_classes)
    import laspy

    header = laspy.LasHeader(point_format=7, version="1.4")
    extent = float(np.ptp(points.positions, axis=0).max())
    step = extent / _LAS_STEPS if extent < 1 or extent > _LAS_STEPS * _LAS_STEP else _LAS_STEP
    header.offsets, header.scales = points.positions.min(axis=0), np.full(3, max(step, np.finfo(np.float32).tiny))
    extra = {"class_id": np.int32, "confidence": np.float32, "nx": np.float32, "ny": np.float32, "nz": np.float32}
    if points.instances is not None:
        extra["instance_id"] = np.int32
    header.add_extra_dims([laspy.ExtraBytesParams(name=name, type=kind) for name, kind in extra.items()])
    cloud = laspy.LasData(header)
    cloud.x, cloud.y, cloud.z = points.positions.T
    cloud.red, cloud.green, cloud.blue = points.colors.T.astype(np.uint16) * 257
    cloud.classification = np.where(points.labels == VOID, LAS_UNCLASSIFIED, points.labels + FIRST_LAS_CLASS).astype(
        np.uint8
    )
    cloud.class_id, cloud.confidence = points.source_ids(taxonomy), points.confidence
    cloud.nx, cloud.ny, cloud.nz = points.normals.T
    if points.instances is not None:
        cloud.instance_id = points.instances
    with replacing(path) as temporary, temporary.open("wb") as file:
        cloud.write(file, do_compress=path.suffix == ".laz")


def write_mesh(
    path: Path,
    vertices: Labelled,
    faces: Int64[ndarray, "faces 3"],
    taxonomy: Taxonomy,
    splits_classes: bool = False,
) -> list[Path]:
    """Write a mesh with colours and classes of its vertices: PLY, OBJ or GLB by the ending of the path.

    A GLB whose classes are split has a node for each, under its name; PLY and OBJ are then a file for each class, see
    `part_names`. A triangle belongs to the class of most of its vertices. A GLB holds ids as attributes of its own,
    `_CLASS_ID` and `_INSTANCE_ID` (glTF 2.0, 3.7.2.1), whole numbers in single precision; OBJ has no place for them.

    Args:
        path: The file.
        vertices: The vertices.
        faces: Vertices of triangles.
        taxonomy: The classes.
        splits_classes: Whether classes are apart.

    Returns:
        The files.
    """
    parts: Parts = _parts(vertices, faces) if splits_classes else {None: (vertices, faces)}
    if path.suffix == ".glb":
        if _is_large(vertices.positions):
            raise SceneError(
                f"Expected positions below {_LARGEST_FLOAT:g} for {path.name}, which holds single precision, found "
                f"{np.abs(vertices.positions).max():.6g}; give --format ply."
            )
        _write_glb(path, parts, taxonomy)
        return [path]
    names = part_names([number for number in parts if number is not None], taxonomy, TAKEN_NAMES, file_name)
    paths: list[Path] = []
    for number, (some, triangles) in parts.items():
        place = path if number is None else path.with_name(f"{path.stem}_{names[number]}{path.suffix}")
        if path.suffix == ".obj":
            with replacing(place) as temporary:
                _trimesh(some, triangles).export(str(temporary), file_type="obj")
        else:
            write_ply(place, some, taxonomy, triangles)
        paths.append(place)
    return paths


def _parts(vertices: Labelled, faces: Int64[ndarray, "faces 3"]) -> Parts:
    """The triangles of each class, and the vertices that they use."""
    of_faces = majority(vertices.labels[faces])
    parts: Parts = {}
    for number in np.unique(of_faces).tolist():
        used, local = np.unique(faces[of_faces == number], return_inverse=True)
        parts[number] = (vertices[used], local.reshape(-1, 3))
    return parts


def part_names(
    numbers: Sequence[int],
    taxonomy: Taxonomy,
    taken: Iterable[str] = (),
    made: Callable[[str], str] = str,
) -> dict[int, str]:
    """Names of parts of a mesh after their classes, no two of which differ in case alone.

    Where a name is taken, the id of the class is added to it.

    Args:
        numbers: Classes 0..C-1, void -1.
        taxonomy: The classes.
        taken: Names that mean something else.
        made: Makes what is allowed of a name.
    """
    used = {name.casefold() for name in taken}
    found: dict[int, str] = {}
    for number in sorted(numbers):  # void comes first, and keeps its name
        name = _VOID_PART if number == VOID else made(taxonomy.names[number].strip())
        if not name:
            name = f"class_{taxonomy.source_ids[number]}"
        while name.casefold() in used:
            name = f"{name}_{taxonomy.void_source_id if number == VOID else taxonomy.source_ids[number]}"
        used.add(name.casefold())
        found[number] = name
    return found


def file_name(name: str) -> str:
    """A class name as part of a file name, at most 100 bytes long."""
    # Composed, since some file systems take both spellings of a letter with an accent for one name.
    composed = unicodedata.normalize("NFC", name)
    allowed = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in composed)
    return allowed.encode()[:_MOST_NAME_BYTES].decode(errors="ignore")


def majority(labels: Int16[ndarray, "faces 3"]) -> Int16[ndarray, "faces"]:
    """The class that two or three vertices have, else that of the first."""
    first, second, third = labels.T
    return np.where(second == third, second, first)


def _trimesh(vertices: Labelled, faces: ndarray) -> Any:
    import trimesh

    return trimesh.Trimesh(
        vertices.positions, faces, vertex_normals=vertices.normals, vertex_colors=vertices.colors, process=False
    )


def _write_glb(path: Path, parts: Parts, taxonomy: Taxonomy) -> None:
    import trimesh

    names: dict[int | None, str] = {None: "scene", **part_names([n for n in parts if n is not None], taxonomy)}
    # trimesh has a node above all others, which a class must not share its name with.
    root = "world"
    while root in names.values():
        root += "_"
    scene = trimesh.Scene(base_frame=root)
    for number, (vertices, faces) in parts.items():
        mesh = _trimesh(vertices, faces)
        # The 32 bits of whole numbers are for indices alone in glTF; those of floats hold ids below 2^24.
        mesh.vertex_attributes["_CLASS_ID"] = vertices.source_ids(taxonomy).astype(np.float32)
        if vertices.instances is not None:
            mesh.vertex_attributes["_INSTANCE_ID"] = vertices.instances.astype(np.float32)
        scene.add_geometry(mesh, node_name=names[number], geom_name=names[number])
    with replacing(path) as temporary:
        scene.export(str(temporary), file_type="glb")
