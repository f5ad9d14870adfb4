"""Which scenes a batch has and with what it was begun, kept in its folder so that a second start means the same."""

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from json import JSONDecodeError
from pathlib import Path

from semantic_ns.dataparsers.scene_folders import find_scenes, is_scene, listed_paths, scene_name
from semantic_ns.errors import SceneError
from semantic_ns.io.text import as_text
from semantic_ns.io.writing import write_errors_as_scene_error, write_json
from semantic_ns.run_paths import option_value
from semantic_ns.scene_batch.records import log_path, record_path
from semantic_ns.scene_batch.steps import STEPS, Step

SETTINGS = "batch.json"
SCENES = "scenes"
"""Folder of the folders of the scenes."""
_TAKEN = (
    "data", "output-dir", "experiment-name", "method-name", "timestamp", "relative-model-dir", "run-dir",
    "load-config", "load-dir", "load-checkpoint",
)  # fmt: skip
"""Options of `ns-train` that the batch itself gives, or without which it finds the run of a scene."""
_MOST_BYTES = 200
"""Bytes of the name of a scene; file systems take 255 for a folder's."""
_FORBIDDEN_IN_NAMES = '/\\:*?"<>|'


@dataclass(frozen=True)
class Settings:
    """What decides the results of a batch.

    Attributes:
        method: The method, as `ns-train` knows it.
        arguments: More arguments of `ns-train`.
        scenes: The scenes by their names in the tables, absolute paths.
        method_name: The method's name in its own configuration, which differs for variants such as nerfacto-big; empty
            in a folder of an earlier version.
        steps: The steps of all calls so far; none in a folder of an earlier version.
        version: Version of this package of the last call; empty in a folder of an earlier version.
        unlisted: Names of those scenes of earlier calls that are no longer in the list. Their results stay.
    """

    method: str
    arguments: tuple[str, ...] = ()
    scenes: Mapping[str, str] = field(default_factory=dict)
    method_name: str = ""
    steps: tuple[Step, ...] = ()
    version: str = ""
    unlisted: tuple[str, ...] = ()

    @property
    def listed(self) -> dict[str, str]:
        """The scenes that are in the list."""
        left_out = set(self.unlisted)
        return {name: path for name, path in self.scenes.items() if name not in left_out}


def find_paths(given: Sequence[Path]) -> list[Path]:
    """The scenes that folders, folders of scenes and text files of paths mean, absolute, each once.

    A path in a text file, and one of several given folders, is a scene whatever it holds: its row says what is wrong
    with it.

    Raises:
        SceneError: there is none, or a file cannot be read.
    """
    found: dict[Path, None] = {}
    for path in given:
        found |= dict.fromkeys(each.expanduser().absolute() for each in _paths_of(path, is_only=len(given) == 1))
    if not found:
        raise SceneError("Expected the folder of a scene, a folder of scenes or a text file of paths, found none.")
    return list(found)


def _paths_of(path: Path, is_only: bool) -> list[Path]:
    if path.is_file() and path.suffix != ".json":
        listed = [found for _, _, found in listed_paths(path)]
        if not listed:
            raise SceneError(f"Expected the path of a scene on each line of {path}, found none; add some.")
        return listed
    if not path.exists() or is_scene(path):
        if is_only and not path.exists():
            raise SceneError(f"Expected a scene or a folder of scenes at {path}, found nothing; correct the path.")
        return [path]
    try:
        return _each_once([scene.path for scene in find_scenes(path)], path)
    except SceneError:
        if is_only:
            raise
        return [path]


def _each_once(scenes: Sequence[Path], folder: Path) -> list[Path]:
    """The scenes of a folder without hidden ones, and without links to others of them.

    Raises:
        SceneError: only hidden ones are there.
    """
    shown = [path for path in scenes if not path.name.startswith(".")]
    if not shown:
        raise SceneError(f"Expected sub-folders of {folder} that are scenes, found hidden ones alone; rename them.")
    real = {path.resolve() for path in shown if not path.is_symlink()}
    return [path for path in shown if not path.is_symlink() or path.resolve() not in real]


def find_others(given: Sequence[Path], scenes: Collection[Path], output: Path) -> dict[Path, str]:
    """What lies in folders of scenes and is none: sub-folders that are half copied or hold something else, dead links.

    Args:
        given: What the user has given.
        scenes: The scenes of the batch, absolute paths.
        output: The folder of the batch, which may lie among the scenes.

    Returns:
        Why each is no scene. Hidden folders and links to scenes of the batch are left out.
    """
    known, folders = set(scenes), {path.parent for path in scenes}
    # Not resolve(), which raises where links lead in a circle.
    real, place = {os.path.realpath(path) for path in scenes}, Path(os.path.realpath(output))
    found: dict[Path, str] = {}
    for folder in (path.expanduser().absolute() for path in given):
        if folder in known or folder not in folders or not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            end = os.path.realpath(path)
            if path.name.startswith(".") or path in known or end in real or place.is_relative_to(end):
                continue
            if path.is_symlink() and not path.exists():
                found[path] = f"Expected a scene, found a link to {as_text(os.readlink(path))}, where nothing is."
            elif path.is_dir():
                found[path] = (
                    "It holds no scene in a layout that semantic-data reads; complete it, or give the scenes as a list."
                )
    return found


def named(paths: Sequence[Path], known: Mapping[str, str]) -> dict[str, str]:
    """Names of scenes: that of the folder, and as many of the folders above it as it takes to tell them apart.

    Args:
        paths: Absolute paths.
        known: Scenes that have names already and keep them, with their paths; a new path to one of them is no other
            scene.
    """
    names = {path: name for name, path in known.items()}
    given = {str(path) for path in paths}
    # Looked up only where some of the known paths are not given: on a network each takes a moment.
    real = {os.path.realpath(path): name for path, name in names.items() if path not in given}
    found: dict[str, str] = {}
    taken = dict(known)
    for path in paths:
        name = names.get(str(path)) or (real.get(os.path.realpath(path)) if real else None)
        if name is None:
            name = _new_name(path, taken)
            taken[name] = str(path)
        found[name] = taken[name]
    return found


def still_there(scenes: Mapping[str, str], given: Sequence[Path]) -> dict[str, str]:
    """The scenes of earlier calls that lie in a folder that is given, whatever is left of them.

    One that is broken by now, or is a link that leads nowhere any longer, has not been taken out of the folder.
    """
    folders = {str(path.expanduser().absolute()) for path in given}
    return {name: path for name, path in scenes.items() if str(Path(path).parent) in folders and os.path.lexists(path)}


def is_whole_list(given: Sequence[Path], scenes: Collection[Path]) -> bool:
    """Whether what is given says all scenes of a batch: a text file or a folder of scenes does, single scenes do not.

    Args:
        given: What the user has given.
        scenes: The scenes that it means, absolute paths.
    """
    return any(path.expanduser().absolute() not in scenes for path in given)


def sentence_about_unlisted(path: Path) -> str:
    """What the row of a scene says that is no longer among those of the batch."""
    place = "" if os.path.lexists(path) else f", and nothing is at {as_text(path)}"
    return f"It is no longer in the list of scenes{place}; its results and logs are kept, and are not counted."


def _new_name(path: Path, taken: Mapping[str, str]) -> str:
    name = _as_name(scene_name(path) if path.exists() else path.name)
    for above in path.parents:
        if _shortened(name, path) not in taken:
            break
        name = f"{_as_name(above.name)}__{name}"
    return _shortened(name, path)


def _shortened(name: str, path: Path) -> str:
    """A name that a folder can have; a long one ends in a number of the path, so that no other has it."""
    encoded = name.encode()
    if len(encoded) <= _MOST_BYTES:
        return name
    number = blake2b(os.fsencode(path), digest_size=8).hexdigest()
    return f"{encoded[: _MOST_BYTES - len(number) - 1].decode(errors='ignore')}-{number}"


def _as_name(text: str) -> str:
    name = "".join("-" if sign in _FORBIDDEN_IN_NAMES or not sign.isprintable() else sign for sign in text)
    return f"_{name}" if name.startswith("-") else name  # else ns-train takes it for an option


def refuse_taken_options(arguments: Sequence[str]) -> None:
    """Check the arguments of `ns-train` after `--`.

    Raises:
        SceneError: the batch gives one of the options itself.
    """
    for name in _TAKEN:
        if option_value(f"--{name}", arguments) is not None:
            raise SceneError(
                f"Expected options of the method after --, found --{name}, which sns-batch itself decides for each "
                "scene; leave it out."
            )


def read_settings(output: Path) -> Settings | None:
    """The settings that a folder was begun with; None for one that is no batch's.

    Raises:
        SceneError: the file cannot be read.
    """
    path = output / SETTINGS
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text("utf8"))
        return Settings(
            content["method"], tuple(content["arguments"]), dict(content["scenes"]), content.get("method_name", ""),
            tuple(step for step in STEPS if step in content.get("steps", ())),
            content.get("version", ""),
            tuple(name for name in content.get("unlisted", ()) if name in content["scenes"]),
        )  # fmt: skip
    except (OSError, JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise SceneError(
            f"Expected the settings of a batch in {path}, found a file that cannot be read ({error}); choose another "
            "--output-dir."
        ) from error


def refuse_other_settings(output: Path, begun: Settings, method: str, arguments: Sequence[str]) -> None:
    """Check that a folder was begun with the same method and arguments: its table compares scenes.

    How many scenes at a time, which steps, limits and where they are worked on may be different in every call.

    Raises:
        SceneError: they differ, and how.
    """
    for what, before, now in (
        ("--method", [begun.method], [method]),
        ("arguments of ns-train", _options(begun.arguments), _options(arguments)),
    ):
        if before != now:
            gone = [option for option in before if option not in now]
            new = [option for option in now if option not in before]
            if not gone and not new:  # their order differs, or how often they are given
                gone, new = before, now
            raise SceneError(
                f"Expected the settings with which {output} was begun, {what}: {' '.join(gone) or 'none'}, found "
                f"{' '.join(new) or 'none'}; give the same, or choose another --output-dir."
            )


def _options(arguments: Sequence[str]) -> list[str]:
    """Each option with its values, in one spelling; the name of a dataparser goes with the option before it."""
    found: list[str] = []
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            found.append(name.replace("_", "-") + (f" {value}" if equals else ""))
        elif found:
            found[-1] += f" {argument}"
        else:
            found.append(argument)
    return found


def begun_steps(output: Path, scenes: Iterable[str]) -> tuple[Step, ...]:
    """The steps that were begun for a scene, by what lies in the folder of a batch."""
    places = [output / SCENES / name for name in scenes]
    return tuple(
        step
        for step in STEPS
        if any(log_path(place, step).exists() or record_path(place, step).exists() for place in places)
    )


def write_settings(output: Path, settings: Settings) -> None:
    """Write the settings into the folder of a batch.

    Raises:
        SceneError: it cannot be written.
    """
    with write_errors_as_scene_error(output):
        write_json(output / SETTINGS, asdict(settings))
