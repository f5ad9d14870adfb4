"""What `sns-export` writes of the surface of a trained scene: points or a mesh, the classes, and what to expect."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.export.crop import Crop
from semantic_ns.export.instance_files import INSTANCES_FILE, describe
from semantic_ns.export.instance_surface import SurfaceInstances
from semantic_ns.export.labels import CLASSES_FILE, class_table
from semantic_ns.export.point_cloud import make_points
from semantic_ns.export.point_files import (
    FIRST_LAS_CLASS,
    LAS_UNCLASSIFIED,
    TAKEN_NAMES,
    Labelled,
    write_las,
    write_mesh,
    write_ply,
)
from semantic_ns.export.scannet_files import write_scannet
from semantic_ns.export.surface_views import SceneSurface
from semantic_ns.export.tsdf import Mesh, TsdfConfig, fuse_depth
from semantic_ns.export.view_votes import PointVotes, Tolerance, depth_difference, gather
from semantic_ns.instances.colors import instance_colors
from semantic_ns.io.writing import write_json, write_text
from semantic_ns.labels.taxonomy import Taxonomy

PointFormat = Literal["ply", "las", "laz"]
MeshFormat = Literal["ply", "obj", "glb", "scannet"]
README = "README.txt"
_OF_CLASSES, _OF_INSTANCES = (f"_{name}" for name in TAKEN_NAMES)
"""Endings of the names of what is in the colours of the classes and of the things."""
_OF_LAS = (
    f"The classification is {FIRST_LAS_CLASS} for the first class of {CLASSES_FILE}, {FIRST_LAS_CLASS + 1} for the "
    f"second, and so on, and {LAS_UNCLASSIFIED} for void; the dimension class_id has the ids."
)
_OF_GLB = (
    "Programs take y for up in a GLB. Coordinates are those of the scene's files all the same, so that where z is up "
    "there, it is shown turned against a PLY."
)
_LEAST_TOLERANCE_PX = 2.0
"""Least difference of depths of one surface between views, in sides of a pixel there."""
_LEAST_TRUNCATION = 3.0
"""Of a mesh, in voxels."""
_SAFETY = 2.0
"""Views differ by less than this times their median difference in most pixels."""


@dataclass(frozen=True)
class Precision:
    """How well the views agree, and what follows from it.

    Attributes:
        difference: Median difference of depths between views, in the unit of the world; NaN if no two views meet.
        pixel_side: Median side of a pixel at its depth.
    """

    difference: float
    pixel_side: float

    @classmethod
    def of(cls, surface: SceneSurface) -> "Precision":
        """That of a scene."""
        sides = [view.pixel_side for view in surface.views]
        return cls(depth_difference(surface.views), float(np.median(sides)))

    @property
    def tolerance(self) -> Tolerance:
        """How far depths of one surface may differ between views."""
        return Tolerance(max(_SAFETY * np.nan_to_num(self.difference), _LEAST_TOLERANCE_PX * self.pixel_side))


@dataclass(frozen=True)
class MeshOptions:
    """How a mesh is made and written.

    Attributes:
        voxel_size: Distance of two voxels in the unit of the world; None is one and a half sides of a pixel.
        file_format: Ending of the files, or ScanNet's layout.
        splits_classes: See `write_mesh`.
        name: Name of the scan in ScanNet's layout.
        crop: The part of the scene that is written.
    """

    voxel_size: float | None = None
    file_format: MeshFormat = "ply"
    splits_classes: bool = False
    name: str = "scan"
    crop: Crop | None = None


def write_points(
    folder: Path,
    surface: SceneSurface,
    taxonomy: Taxonomy,
    num_points: int,
    file_format: PointFormat,
    instances: SurfaceInstances | None = None,
    crop: Crop | None = None,
) -> str:
    """Write a point cloud of the surface and, as PLY, the same in the colours of the classes and of the instances.

    Args:
        folder: Folder of the files.
        surface: The views.
        taxonomy: The classes.
        num_points: Number of points wanted.
        file_format: Ending of the file.
        instances: Things whose ids the points get, too.
        crop: The part of the scene that is written.

    Returns:
        What was written, as a sentence.
    """
    precision = Precision.of(surface)
    points = make_points(surface.views, num_points, taxonomy.num_classes, precision.tolerance, crop)
    content = _with_instances(
        Labelled(points.positions, points.normals, _to_uint8(points.colors), points.labels, points.confidence),
        instances,
    )
    if file_format == "ply":
        for ending, colored in _pictures(content, taxonomy):
            write_ply(folder / f"points{ending}.ply", colored, taxonomy)
    else:
        write_las(folder / f"points.{file_format}", content, taxonomy)
    what = f"{len(points.positions)} points, one in each cube of {_length(points.spacing, surface.unit)}"
    dropped = f"{points.dropped:.1%} of the points were left out, since more views see through them than see them."
    said = [f"{what}.", dropped, *([] if file_format == "ply" else [_OF_LAS])]
    _write_about(folder, surface, taxonomy, precision, [*said, *_write_instances(folder, instances, taxonomy, surface)])
    return what


def write_surface_mesh(
    folder: Path,
    surface: SceneSurface,
    taxonomy: Taxonomy,
    options: MeshOptions,
    instances: SurfaceInstances | None = None,
    track: Callable[[Sequence[ndarray]], Iterator[ndarray]] = iter,
) -> str:
    """Write a mesh of the surface, and others in the colours of the classes and of the instances.

    Args:
        folder: Folder of the files.
        surface: The views.
        taxonomy: The classes.
        options: How the mesh is made and written.
        instances: Things whose ids the vertices get, too.
        track: Wraps the blocks of space, to show progress.

    Returns:
        What was written, as a sentence.
    """
    precision = Precision.of(surface)
    edge = 1.5 * precision.pixel_side if options.voxel_size is None else options.voxel_size
    truncation = max(_LEAST_TRUNCATION * edge, _SAFETY * float(np.nan_to_num(precision.difference)))
    mesh = fuse_depth(surface.views, TsdfConfig(edge, truncation), track, options.crop)
    tolerance = Tolerance(max(precision.tolerance.least, edge))
    votes = gather(mesh.vertices, surface.views, taxonomy.num_classes, tolerance)
    mesh, kept = without_vertices(mesh, votes.seen_through > votes.seen)
    votes = with_neighbours(mesh.vertices, votes[kept])
    content = _with_instances(
        Labelled(mesh.vertices, mesh.normals, _to_uint8(votes.colors), votes.labels, votes.confidence), instances
    )
    if options.file_format == "scannet":
        write_scannet(folder, options.name, content, mesh.faces, taxonomy)
    for ending, colored in [] if options.file_format == "scannet" else _pictures(content, taxonomy):
        if ending == _OF_CLASSES and options.splits_classes:
            continue  # each class is a file or a node of its own
        path = folder / f"mesh{ending}.{options.file_format}"
        # The picture of the things stays in one piece: a thing is not cut where a vertex of it has another class.
        write_mesh(path, colored, mesh.faces, taxonomy, options.splits_classes and ending == "")
    what = f"{len(mesh.faces)} triangles and {len(mesh.vertices)} vertices from voxels of {_length(edge, surface.unit)}"
    said = [
        f"{what}.",
        "Space that no camera saw has no surface.",
        *([_OF_GLB] if options.file_format == "glb" else []),
    ]
    _write_about(folder, surface, taxonomy, precision, [*said, *_write_instances(folder, instances, taxonomy, surface)])
    return what


def _with_instances(content: Labelled, instances: SurfaceInstances | None) -> Labelled:
    if instances is None:
        return content
    return replace(content, instances=instances.at(content.positions, content.labels))


def _pictures(content: Labelled, taxonomy: Taxonomy) -> Iterator[tuple[str, Labelled]]:
    """The endings of names, and the content in its colours, in those of the classes and in those of instances."""
    yield "", content
    yield _OF_CLASSES, replace(content, colors=content.class_colors(taxonomy))
    if content.instances is not None:
        colors = instance_colors(int(content.instances.max(initial=0)))
        yield _OF_INSTANCES, replace(content, colors=colors[content.instances])


def _write_instances(
    folder: Path, instances: SurfaceInstances | None, taxonomy: Taxonomy, surface: SceneSurface
) -> list[str]:
    """The table of instances, and what to say of it."""
    if instances is None:
        return []
    write_json(folder / INSTANCES_FILE, describe(instances, taxonomy, surface.unit))
    return [f"{instances.count} instances of things; {INSTANCES_FILE} lists them, and 0 is stuff or void."]


def without_vertices(mesh: Mesh, is_wrong: Bool[ndarray, "vertices"]) -> tuple[Mesh, Int64[ndarray, "kept"]]:
    """A mesh without the triangles that have a wrong vertex, and the numbers of the vertices that are left.

    Raises:
        SceneError: if no triangle is left.
    """
    faces = mesh.faces[~is_wrong[mesh.faces].any(axis=1)]
    if len(faces) == 0:
        raise SceneError(
            "Expected a surface that the views agree about, found every triangle contradicted by other views; check "
            "poses and depth with sns-doctor, or train longer."
        )
    kept, numbers = np.unique(faces, return_inverse=True)
    return Mesh(mesh.vertices[kept], mesh.normals[kept], numbers.reshape(-1, 3)), kept


def with_neighbours(positions: Float[ndarray, "points 3"], votes: PointVotes) -> PointVotes:
    """Votes in which a point that no view sees has the colour and the votes of the nearest one that some view sees.

    What views see as void stays void.
    """
    from scipy.spatial import KDTree

    is_seen: Bool[ndarray, "points"] = votes.seen > 0
    if is_seen.all() or not is_seen.any():
        return votes
    nearest = np.flatnonzero(is_seen)[KDTree(positions[is_seen]).query(positions[~is_seen])[1]]
    colors: Float32[ndarray, "points 3"] = votes.colors.copy()
    counts = votes.votes.copy()
    colors[~is_seen], counts[~is_seen] = colors[nearest], counts[nearest]
    return PointVotes(colors, counts, votes.seen, votes.seen_through)


def _to_uint8(colors: Float32[ndarray, "points 3"]) -> UInt8[ndarray, "points 3"]:
    return np.clip(np.round(colors), 0, 255).astype(np.uint8)


def _length(value: float, unit: str) -> str:
    return f"{value * 1000:.3g} mm" if unit == "m" else f"{value:.3g} {unit}"


def _write_about(
    folder: Path, surface: SceneSurface, taxonomy: Taxonomy, precision: Precision, contents: Sequence[str]
) -> None:
    """The table of classes, and a text for people."""
    write_json(folder / CLASSES_FILE, class_table(taxonomy))
    if not np.isfinite(precision.difference):
        expected = "No two views show the same surface, so that errors could not be measured."
    else:
        expected = f"Depth differs between views by {_length(precision.difference, surface.unit)} in the median."
        if not surface.is_given:
            expected += " Errors can be larger: on plain walls views agree about a surface that is in the wrong place."
    frame = (
        "Positions are in metres in the world of the scene's files."
        if surface.unit == "m"
        else "Positions are in the world of the scene's files, whose scale is unknown: they are not in metres."
    )
    lines = [*contents, frame, f"Depth: {surface.depth_source}.", expected]
    lines.append(f"Ids of classes are those of the label images; {CLASSES_FILE} has their names and colours.")
    write_text(folder / README, "\n".join(lines) + "\n")
