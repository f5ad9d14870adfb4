"""Whether results of before are of the scenes that are trained now: a scoreboard knows scenes by their names alone."""

import os
from collections.abc import Iterable
from pathlib import Path

from semantic_ns.benchmark.runner.trials import Trial
from semantic_ns.errors import SceneError


def refuse_other_scenes(planned: Iterable[Trial], done: Iterable[Trial]) -> None:
    """Check that no result of before is of another scene with the name of one that is trained now.

    Results of machines whose scenes lie elsewhere are taken on trust, since there is nothing here to compare.

    Raises:
        SceneError: naming both scenes.
    """
    here = {trial.scene.name: trial.scene.data for trial in planned}
    before = {(trial.scene.name, trial.scene.data): None for trial in done if trial.scene.name in here}
    for name, data in before:
        if not is_same_scene(data, here[name]):
            raise SceneError(
                f"Expected the results of {name} that are there to be of the scene at {here[name]}, found results of "
                f"that at {data}, which has other files; choose another --output, or give one of the two folders "
                "another name."
            )


def is_same_scene(one: Path, other: Path) -> bool:
    """Whether two paths are of one scene, or of copies with the same files, or one of them is not on this machine."""
    if not (one.exists() and other.exists()):
        return True
    return os.path.samefile(one, other) or _files(one) == _files(other)


def _files(data: Path) -> set[tuple[str, int]]:
    """Names and sizes of the files of a scene, which may be given by one of them."""
    folder = data if data.is_dir() else data.parent
    return {(path.relative_to(folder).as_posix(), path.stat().st_size) for path in folder.rglob("*") if path.is_file()}
