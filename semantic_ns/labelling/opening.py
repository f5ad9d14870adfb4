"""Opens a labelling session on a trained run."""

from collections.abc import Sequence
from pathlib import Path

from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import (
    FOLDER,
    LabelSurface,
    build_label_surfaces,
    load_label_surface,
    save_label_surface,
)
from semantic_ns.runs import load_run, refuse_missing_run

NUM_VOXELS = 60_000
FIRST_NUM_VOXELS = 20_000
"""Voxels to begin with, whose system is factored in a second."""


def open_session(
    load_config: Path, folder: Path | None = None, class_names: Sequence[str] = (), num_voxels: int = NUM_VOXELS
) -> LabelSession:
    """The session of a run, as it was left, or a new one (slow the first time: the run is rendered).

    Args:
        load_config: The run's config.yml.
        folder: Where its journal is, or will be; the folder `labelling` of the run by default.
        class_names: Classes that there must be.
        num_voxels: Voxels of the surface, about. If there are many, fewer serve until their system is factored.

    Raises:
        SceneError: if there is no such run, it shows no surface, or its session is open elsewhere.
    """
    refuse_missing_run(load_config)
    numbers = sorted({min(FIRST_NUM_VOXELS, num_voxels), num_voxels})
    surfaces = label_surfaces(load_config, numbers)
    finer = surfaces[-1] if len(surfaces) > 1 else None
    return LabelSession(surfaces[0], folder or load_config.parent / FOLDER, class_names, finer)


def label_surfaces(load_config: Path, numbers_of_voxels: Sequence[int]) -> list[LabelSurface]:
    """The kept surfaces of a run, or all of them built anew and kept if one is missing.

    Args:
        load_config: The run's config.yml.
        numbers_of_voxels: The number of voxels of each, about.

    Raises:
        SceneError: if there is no such run, or it shows no surface.
    """
    kept = [load_label_surface(load_config, number) for number in numbers_of_voxels]
    found = [surface for surface in kept if surface is not None]
    if len(found) == len(kept):
        return found
    announce("labelling", "the surface of the run is rendered and divided into voxels, which is kept for the next time")
    built = build_label_surfaces(load_run(load_config), numbers_of_voxels)
    for surface, number in zip(built, numbers_of_voxels, strict=True):
        try:
            save_label_surface(surface, load_config, number)
        except SceneError as error:
            announce("labelling", f"the surface is not kept: {error}")
    return built
