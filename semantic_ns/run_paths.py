"""Where the files of a trained run are now.

nerfstudio 1.1.5 writes paths into a run's `config.yml` as they were typed, relative to the folder in which the training
was started, and looks for them there. Its commands that open a run (`ns-eval`, `ns-render`, `ns-viewer`, `ns-export`)
have no option for the scene, and so a run opens in that one folder of that one machine alone. Here a run is where its
`config.yml` is, and its scene is looked for relative to it.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_ns.io.console import announce

SCENE_VARIABLE = "SEMANTIC_NS_SCENE"
"""Environment variable with the folder of the scene, for a run whose scene is nowhere near it."""
RESUME_CONFIG = "resume.yml"
"""File beside `config.yml` with which `ns-train <method> --load-config` goes on where the newest checkpoint is."""

_PROGRAMS = ("ns-eval", "ns-export", "ns-render", "ns-train", "ns-viewer")
_MODULES = ("eval", "exporter", "render", "train", "run_viewer")
"""The same as modules of `nerfstudio.scripts`."""
_LOAD = "--load-config"
_NUM_FOLDERS = 3
"""Names at the end of a scene's path by which it is looked for; more of them are hardly ever the same elsewhere."""


def option_value(option: str, arguments: Sequence[str]) -> str | None:
    """Value of an option in any of its spellings (hyphens or underscores, a space or `=`); the last one counts."""
    found = None
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.replace("_", "-") == option:
            found = value if equals else "".join(arguments[place + 1 : place + 2])
    return found


def option_values(option: str, arguments: Sequence[str], count: int) -> Sequence[str]:
    """Values of an option that takes several, in any of its spellings; the last one counts, and none is empty."""
    found: Sequence[str] = ()
    for place, argument in enumerate(arguments):
        if argument.replace("_", "-") == option:
            found = arguments[place + 1 : place + 1 + count]
    return found


def opened_by_command(arguments: Sequence[str]) -> Path | None:
    """The configuration file of the run that a command of nerfstudio opens; None for other commands.

    nerfstudio reads the file and forgets where it was, so that only the command line tells.

    Args:
        arguments: Command line, with the program's name first.
    """
    if not arguments or Path(arguments[0]).stem not in _PROGRAMS + _MODULES:
        return None
    value = option_value(_LOAD, arguments)
    return Path(value) if value and Path(value).is_file() else None


@dataclass(frozen=True)
class RunPlaces:
    """A run's recorded paths, and where it is.

    Attributes:
        folder: The folder that holds the run's `config.yml` now, absolute.
        recorded_folder: The folder of the run as its configuration says.
        trained_in: The folder in which the training was started; None for runs that did not record it.
    """

    folder: Path
    recorded_folder: Path
    trained_in: Path | None = None

    def find_scene(self, recorded: Path) -> Path | None:
        """Where the scene is that is recorded under a path, absolute; None if it is not found.

        Searched in this order: the path that :data:`SCENE_VARIABLE` names; for a relative path the folder that now
        stands in the place of the training's working folder, and that folder itself; the path as recorded; the place
        that the scene had relative to the run; and every folder above the run, by the last names of the path.
        """
        named = os.environ.get(SCENE_VARIABLE)
        if named:
            return Path(named).expanduser().absolute()
        for candidate in self._candidates(recorded):
            place = Path(os.path.normpath(candidate))  # without following links, as the folder above may be one
            # The folders of runs are named after their scenes.
            if place.exists() and not self.folder.is_relative_to(place):
                return place
        return None

    def _candidates(self, recorded: Path) -> Iterator[Path]:
        if not recorded.is_absolute():
            if (root := self._working_folder()) is not None:
                yield root / recorded
            if self.trained_in is not None:
                yield self.trained_in / recorded
        yield recorded.absolute()
        if self.trained_in is not None:
            start, end = self.trained_in / self.recorded_folder, self.trained_in / recorded
            yield self.folder / os.path.relpath(end, start)
        names = recorded.absolute().parts[1:]
        for number in range(min(_NUM_FOLDERS, len(names)), 0, -1):
            for above in self.folder.parents:
                yield above.joinpath(*names[-number:])

    def _working_folder(self) -> Path | None:
        """The folder relative to which the run lies where it is recorded; None if it lies elsewhere."""
        parts = self.recorded_folder.parts
        if self.recorded_folder.is_absolute() or ".." in parts or self.folder.parts[-len(parts) :] != parts:
            return None
        return self.folder.parents[len(parts) - 1]


def relocate(config: Any, path: Path) -> None:
    """Change the paths of a run's configuration to where its checkpoints and its scene are now, and say so.

    What is not found keeps its recorded path, for nerfstudio or the dataparser to refuse.

    Args:
        config: A `SemanticTrainerConfig`, as read from the file.
        path: The file, `config.yml` or `resume.yml` of the run.
    """
    folder = path.absolute().parent
    places = RunPlaces(folder, config.get_base_dir(), config.trained_in)
    checkpoints = folder / config.relative_model_dir
    if checkpoints.is_dir():
        config.run_dir = folder
        if path.name == RESUME_CONFIG and config.load_dir is not None:
            config.load_dir = checkpoints
    _relocate_scene(config.pipeline.datamanager, places)


def _relocate_scene(datamanager: Any, places: RunPlaces) -> None:
    holder = datamanager if getattr(datamanager, "data", None) is not None else getattr(datamanager, "dataparser", None)
    recorded = getattr(holder, "data", None)
    if holder is None or recorded is None or recorded == Path():
        return
    recorded = Path(recorded)
    found = places.find_scene(recorded)
    if found is None or (recorded.is_absolute() and found == recorded):
        return
    holder.data = found
    for part in (datamanager, datamanager.dataparser):
        for name, value in vars(part).items():
            if name != "data" and isinstance(value, str | Path) and Path(value).is_relative_to(recorded):
                setattr(part, name, type(value)(found / Path(value).relative_to(recorded)))
    if found.resolve() != recorded.resolve():
        announce("run", f"its scene is read from {found}; it was trained on {recorded}")


def relocate_opened(config: Any) -> None:
    """Relocate a configuration that a command of nerfstudio has just read from the file of a run."""
    path = opened_by_command(sys.argv)
    if path is not None:
        relocate(config, path)
