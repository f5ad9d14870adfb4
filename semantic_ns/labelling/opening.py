"""Opens a labelling session on a trained run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.writing import refuse_inside
from semantic_ns.labelling.imports import DEFAULT_WEIGHT
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import (
    FOLDER,
    LabelSurface,
    build_label_surfaces,
    load_label_surface,
    save_label_surface,
)
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.runs import load_run, refuse_missing_run

if TYPE_CHECKING:
    from semantic_ns.labelling.import_files import ImportFiles

NUM_VOXELS = 60_000
FIRST_NUM_VOXELS = 20_000
"""Voxels to begin with, whose system is factored in a second."""


def open_session(
    load_config: Path,
    folder: Path | None = None,
    classes: Sequence[str] | ClassTable = (),
    num_voxels: int = NUM_VOXELS,
    labels: "ImportFiles | None" = None,
    import_weight: float = DEFAULT_WEIGHT,
    appearance: bool = True,
) -> LabelSession:
    """The session of a run, as it was left, or a new one (slow the first time: the run is rendered).

    Args:
        load_config: The run's config.yml.
        folder: Where its journal is, or will be; the folder `labelling` of the run by default.
        classes: Names of classes that there must be, or a table of them with their ids and colours.
        num_voxels: Voxels of the surface, about. If there are many, fewer serve until their system is factored.
        labels: Labels to begin with, such as predictions or annotations.
        import_weight: Weight of one of their voxels beside one with a mark.
        appearance: Whether voxels far from marks take the class that they look like, while no imported labels count.

    Raises:
        SceneError: if there is no such run, it shows no surface, labels cannot be read, its session is open
            elsewhere, the folder lies in the scene, or memory does not suffice.
    """
    refuse_missing_run(load_config)
    numbers = sorted({min(FIRST_NUM_VOXELS, num_voxels), num_voxels})
    folder = folder or load_config.parent / FOLDER
    surfaces = label_surfaces(load_config, numbers, folder)
    if not appearance:
        surfaces = [surface.without_features() for surface in surfaces]
    finer = surfaces[-1] if len(surfaces) > 1 else None
    _tell_stride(surfaces[0])
    try:
        imported = None if labels is None else labels.read(surfaces[0].frames, _table_of(surfaces[0], classes))
        return LabelSession(surfaces[0], folder, classes, finer, imported, import_weight)
    except MemoryError as error:
        raise SceneError(
            f"Expected enough memory to label {len(surfaces[0].frames)} images over {surfaces[0].graph.num_nodes} "
            "voxels, found too little; end other programs, or start with fewer --voxels."
        ) from error


def _tell_stride(surface: LabelSurface) -> None:
    """Say how large the blocks are in which labels spread, if they are larger than a pixel."""
    stride, info = surface.stride, surface.frames[0]
    if stride > 1:
        announce(
            "labelling",
            f"of {len(surface.frames)} images of {info.width}x{info.height} the surface is known at one of {stride} "
            f"pixels along rows and columns: labels that spread show blocks of {stride}x{stride} pixels in the page, "
            "and in an export they follow the edges of the pictures; narrower things may be missing",
        )


def _table_of(surface: LabelSurface, classes: Sequence[str] | ClassTable) -> ClassTable:
    """The classes that ids mean where nothing else says so: those of a table that was given, or of the scene."""
    if isinstance(classes, ClassTable) and classes.has_given_ids:
        return classes
    return ClassTable(str(surface.scene), surface.classes, frozenset({surface.void_id}))


def label_surfaces(
    load_config: Path, numbers_of_voxels: Sequence[int], folder: Path | None = None
) -> list[LabelSurface]:
    """The kept surfaces of a run, or all of them built anew and kept if one is missing.

    Args:
        load_config: The run's config.yml.
        numbers_of_voxels: The number of voxels of each, about.
        folder: Where a session on them is to be; None for nowhere.

    Raises:
        SceneError: if there is no such run, it shows no surface, or the folder lies in the scene.
    """
    kept = [load_label_surface(load_config, number) for number in numbers_of_voxels]
    found = [surface for surface in kept if surface is not None]
    is_whole = len(found) == len(kept)
    if is_whole and all(info.image.is_file() for info in found[0].frames):
        _refuse_in_scene(folder, found[0].scene)
        return found
    try:
        run = load_run(load_config)
    except (SceneError, OSError) as error:
        if not is_whole:
            raise
        announce("labelling", f"images of the surface of the run are gone, and it cannot be built anew: {error}")
        _refuse_in_scene(folder, found[0].scene)
        return found
    _refuse_in_scene(folder, Path(run.parser_config.data))
    announce("labelling", "the surface of the run is rendered and divided into voxels, which is kept for the next time")
    built = build_label_surfaces(run, numbers_of_voxels)
    for surface, number in zip(built, numbers_of_voxels, strict=True):
        try:
            save_label_surface(surface, load_config, number)
        except SceneError as error:
            announce("labelling", f"the surface is not kept: {error}")
    return built


def _refuse_in_scene(folder: Path | None, scene: Path) -> None:
    """Check that exports, which lie in the folder of a session, are outside the scene."""
    if folder is not None:
        refuse_inside(folder, [scene], "--output-dir")
