"""Whether results of before are of the scenes that are trained now: a scoreboard knows scenes by their names alone."""

import os
from collections.abc import Iterable
from pathlib import Path

from semantic_ns.benchmark.runner.trials import Trial
from semantic_ns.benchmark.scenes.summary import row_of
from semantic_ns.dataparsers.scene_files import files_of_scene
from semantic_ns.errors import SceneError


def refuse_other_scenes(planned: Iterable[Trial], done: Iterable[Trial]) -> None:
    """Check that no result of before is of another scene than one of now that belongs to the same row.

    Results of machines whose scenes lie elsewhere are taken on trust, since there is nothing here to compare.

    Raises:
        SceneError: naming both scenes.
    """
    here = {row_of(trial): trial.scene.data for trial in planned}
    before = {(row, trial.scene.data): trial.scene.name for trial in done if (row := row_of(trial)) in here}
    compared = {(data, here[row]): name for (row, data), name in before.items()}
    for (data, of_now), name in compared.items():
        if not is_same_scene(data, of_now):
            raise SceneError(
                f"Expected the results of {name} that are there to be of the scene at {of_now}, found results of that "
                f"at {data}, which has other files; choose another --output or --label, or give one of the two folders "
                "another name."
            )


def is_same_scene(one: Path, other: Path) -> bool:
    """Whether two paths are of one scene, or of copies with the same files, or one of them cannot be looked into here.

    What only one of them has says nothing: smaller images and points are made later, and systems leave files behind.
    """
    try:
        if os.path.samefile(one, other):
            return True
        sizes, others = _sizes(one), _sizes(other)
    except OSError:
        return True
    common = sizes.keys() & others.keys()
    is_most = 2 * len(common) >= min(len(sizes), len(others))
    return is_most and all(sizes[name] == others[name] for name in common)


def _sizes(data: Path) -> dict[str, int]:
    """Sizes of the files of a scene, which may be given by one of them; hidden ones are left out."""
    return {path: status.st_size for path, status in files_of_scene(data)}
