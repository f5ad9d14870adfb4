"""Which scenes a path means."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from semantic_ns.dataparsers.auto import AutoDataParser, AutoDataParserConfig
from semantic_ns.dataparsers.scene import folder_name
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.text import as_text, read_text
from semantic_ns.run_paths import SCENE_VARIABLE

_NUM_SHOWN = 6


@dataclass(frozen=True)
class SceneFolder:
    """A scene.

    Attributes:
        name: its name, unique among the scenes of a run.
        path: its folder, or the json file that describes it.
    """

    name: str
    path: Path


def find_scenes(data: Path) -> list[SceneFolder]:
    """The scenes that a path means, sorted by name.

    Args:
        data: a folder whose sub-folders are scenes in any layout that `semantic-data` reads, the folder or json file of
            one scene, or a text file with the path of a scene on each line, relative to the file. In it, empty lines
            and those that start with # mean nothing. Sub-folders that are no scenes are left out.

    Raises:
        SceneError: if there is no scene, a line of the file is none, or two scenes have one name.
    """
    if not data.exists():
        raise SceneError(
            f"Expected a folder of scenes at {data}, found nothing; check --data, or for a trained run whose scenes "
            f"have moved name their folder in the environment variable {SCENE_VARIABLE}."
        )
    if data.is_file() and data.suffix != ".json":
        return _unique(_listed(data), data)
    if is_scene(data):
        return [SceneFolder(scene_name(data), data)]
    folders = sorted(path for path in data.iterdir() if path.is_dir())
    scenes = [SceneFolder(path.name, path) for path in folders if is_scene(path)]
    if not scenes:
        held = ", ".join(as_text(path.name) for path in folders[:_NUM_SHOWN]) or "no folder"
        raise SceneError(
            f"Expected the folder of a scene, or a folder whose sub-folders are scenes, at {data}, found {held}; see "
            "the layouts that semantic-data reads."
        )
    names = {scene.name for scene in scenes}
    if others := [path.name for path in folders if path.name not in names and not path.name.startswith(".")]:
        shown = ", ".join(as_text(name) for name in others[:_NUM_SHOWN]) + (", ..." if len(others) > _NUM_SHOWN else "")
        announce("many scenes", f"left out in {data}, since they hold no scene: {shown}")
    return scenes


def is_scene(path: Path) -> bool:
    """Whether a folder or json file has a layout that `semantic-data` knows."""
    try:
        cast(AutoDataParser, AutoDataParserConfig(data=path).setup()).choose()
    except SceneError:
        return False
    return True


def pick_scenes(scenes: list[SceneFolder], names: tuple[str, ...], option: str) -> list[SceneFolder]:
    """The scenes of some names, each once, in the order of the names.

    Raises:
        SceneError: if a name is that of no scene; `option` is the option that has the names.
    """
    by_name = {scene.name: scene for scene in scenes}
    if unknown := [name for name in names if name not in by_name]:
        raise SceneError(
            f"Expected names of scenes for {option}, found {', '.join(unknown)}; the scenes are "
            f"{', '.join(sorted(by_name))}."
        )
    return [by_name[name] for name in dict.fromkeys(names)]


def listed_paths(file: Path) -> list[tuple[int, str, Path]]:
    """The paths in a text file: number of the line, the line, and the path, which may be relative to the file.

    Empty lines and those that start with # mean nothing.

    Raises:
        SceneError: if the file cannot be read.
    """
    lines = [line.strip() for line in read_text(file).splitlines()]
    return [
        (number, text, file.parent / Path(text).expanduser())
        for number, text in enumerate(lines, start=1)
        if text and not text.startswith("#")
    ]


def _listed(file: Path) -> list[SceneFolder]:
    found = []
    for number, text, path in listed_paths(file):
        if not is_scene(path):
            raise SceneError(
                f"Expected the path of a scene in line {number} of {file}, found {text}, which is none; correct the "
                "line."
            )
        found.append(SceneFolder(scene_name(path), path))
    return found


def scene_name(path: Path) -> str:
    """The name of a folder; a json file is called like the folder that it is in."""
    return folder_name(path if path.is_dir() else path.absolute().parent)


def _unique(scenes: list[SceneFolder], file: Path) -> list[SceneFolder]:
    names = [scene.name for scene in scenes]
    if not names:
        raise SceneError(f"Expected the path of a scene on each line of {file}, found none; add some.")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise SceneError(
            f"Expected scenes of different names in {file}, found {', '.join(repeated)} more than once; rename their "
            "folders."
        )
    return sorted(scenes, key=lambda scene: scene.name)
