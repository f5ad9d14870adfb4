"""Writes docs/commands.md and docs/options.md from the parsers of the command line; `--check` only compares.

Both pages are committed, so that they can be read in the repository as well as on the site. A test runs the check.
"""

import argparse
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import tyro

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports] - a dependency of pytest there

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = Path("docs/commands.md")
OPTIONS = Path("docs/options.md")
METHODS = "nerfstudio.method_configs"
DATAPARSERS = "nerfstudio.dataparser_configs"

_NOTE = "<!-- Written by scripts/write_reference; change the docstrings in the code, not this page. -->"
_DEFAULT = re.compile(r"\s*\((default: .*|required|optional|repeatable|fixed to: .*)\)$")
_COMMANDS_HEAD = f"""{_NOTE}
# Commands

Every command prints this text with `--help`. A bad input ends a command with one sentence on the error stream and an
exit status other than 0. The sentence says what was expected, what was found, where, and what to do.

nerfstudio's own commands work with the methods of this package: `ns-train`, `ns-eval`, `ns-viewer` and `ns-render`.
The options that this package adds to `ns-train` have [a page of their own](options.md).
"""
_OPTIONS_HEAD = f"""{_NOTE}
# All options of ns-train

These are the options that this package adds to `ns-train`. `ns-train METHOD --help` also lists nerfstudio's own, such
as `--max-num-iterations` and `--viewer.websocket-port`. [Methods](methods.md) explains the options that matter most.
"""


Parser = Any
"""tyro's own copy of `argparse.ArgumentParser`, which is not public."""


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a parser: how it is written, its values, its default and what it means."""

    names: str
    values: str
    default: str
    meaning: str


class _ParserAskedForError(BaseException):
    """Leaves a command at the point where it parses its arguments."""


def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]


def load(entry_point: str) -> Any:
    """What an entry point `module:name` names."""
    module, _, name = entry_point.partition(":")
    return getattr(importlib.import_module(module), name)


def parser_of_command(entry_point: str) -> Parser:
    """The parser of a console script: the script runs until it calls `tyro.cli`, whose arguments are taken."""
    asked: dict[str, Any] = {}

    def take(command: Any, **options: Any) -> None:
        asked.update(command=command, config=options.get("config", ()))
        raise _ParserAskedForError

    with mock.patch.object(tyro, "cli", take), mock.patch.object(sys, "argv", ["command"]):
        try:
            load(entry_point)()
        except _ParserAskedForError:
            return tyro.extras.get_parser(asked["command"], config=asked["config"] or None)
    raise RuntimeError(f"{entry_point} ended without reading its command line")


def option_of(action: Any) -> Option:
    """What a parser knows of one option or positional argument."""
    text = " ".join((action.help or "").split()).replace("%%", "%")
    found = _DEFAULT.search(text)
    default = found[1].removeprefix("default: ") if found else ""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    names = [name for name in action.option_strings if not name.startswith("--no-")]
    is_flag = not names or action.nargs == 0
    return Option(
        # tyro puts the name of a command's only positional argument behind one of its own.
        " ".join(f"`{name}`" for name in names) or f"`{action.dest.rpartition('.')[2].upper()}`",
        "" if is_flag and names else metavar.replace("{None}|", ""),
        default,
        _DEFAULT.sub("", text),
    )


def options_of(parser: Parser) -> dict[str, Option]:
    """All options of a parser by their key in the configuration, without `--help` and subcommands."""
    return {
        action.dest: option_of(action)
        for action in parser._actions
        if action.dest != "help" and not isinstance(action.choices, dict)
    }


def subcommands_of(parser: Parser) -> dict[str, Parser]:
    """The parsers of the subcommands by name; only their action has a dictionary of choices."""
    return {
        name: sub
        for action in parser._actions
        if isinstance(action.choices, dict)
        for name, sub in action.choices.items()
    }


def own_fields(config: Any, prefix: str = "") -> Iterator[str]:
    """Keys of the fields, nested ones too, that a class of this package adds to a configuration."""
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        key = prefix + entry.name.replace("_", "-")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from own_fields(value, f"{key}.")
            continue
        owner = next(base for base in type(config).__mro__ if entry.name in inspect.get_annotations(base))
        if owner.__module__.startswith("semantic_ns."):
            yield key


@cache
def parser_of_config(entry_point: str) -> Parser:
    """The parser of the configuration of a method or a dataparser; it takes tyro a third of a second."""
    config = load(entry_point).config
    return tyro.extras.get_parser(type(config), default=config, config=(tyro.conf.FlagConversionOff,))


def own_options(entry_point: str) -> dict[str, Option]:
    """The options of a configuration that this package adds, by key."""
    options = options_of(parser_of_config(entry_point))
    return {key: options[key] for key in own_fields(load(entry_point).config) if key in options}


def all_options(entry_point: str) -> set[str]:
    """Every way to write an option of a configuration, nerfstudio's own included."""
    return {name for action in parser_of_config(entry_point)._actions for name in action.option_strings}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else ""


def table(options: "dict[str, Option] | list[Option]") -> str:
    """A Markdown table of options."""
    rows = list(options.values()) if isinstance(options, dict) else options
    lines = ["| option | values | default | meaning |", "| --- | --- | --- | --- |"]
    for row in rows:
        default = row.default if row.default in ("required", "optional") else _code(row.default)
        lines.append(f"| {row.names} | {_code(row.values)} | {default} | {_cell(row.meaning)} |")
    return "\n".join(lines)


def _description(parser: Parser) -> str:
    paragraphs = (parser.description or "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _command_section(title: str, parser: Parser, level: int) -> str:
    parts = [f"{'#' * level} {title}", _description(parser)]
    if options := options_of(parser):
        parts.append(table(options))
    parts += [_command_section(f"{title} {name}", sub, level + 1) for name, sub in subcommands_of(parser).items()]
    return "\n\n".join(part for part in parts if part)


def commands_page() -> str:
    """The text of docs/commands.md."""
    sections = [_command_section(name, parser_of_command(point), 2) for name, point in project()["scripts"].items()]
    return "\n\n".join([_COMMANDS_HEAD.rstrip(), *sections]) + "\n"


def _grouped(options: dict[str, Option]) -> list[str]:
    groups: dict[str, list[Option]] = {}
    for key, option in options.items():
        groups.setdefault(key.rpartition(".")[0], []).append(option)
    return [part for name, rows in groups.items() for part in (f"### --{name}.*", table(rows))]


def _method_section(name: str, options: dict[str, Option], common: dict[str, Option]) -> str:
    added = {key: option for key, option in options.items() if key not in common}
    changed = [option for key, option in options.items() if key in common and option.default != common[key].default]
    others = [
        option
        for key, option in options.items()
        if key in common and option.default == common[key].default and option != common[key]
    ]
    absent = [option.names for key, option in common.items() if key not in options]
    parts = [f"## {name}"]
    if added:
        parts += ["Options of this method alone:", table(added)]
    if changed:
        parts += ["Other defaults than `semantic-nerf`:", table(changed)]
    if others:
        parts += ["Defaults of `semantic-nerf`, with another meaning or other values:", table(others)]
    if absent:
        parts.append(f"This method has no {', '.join(absent)}.")
    if len(parts) == 1:
        parts.append("The options and their defaults are those of `semantic-nerf`.")
    return "\n\n".join(parts)


def options_page() -> str:
    """The text of docs/options.md."""
    points = project()["entry-points"]
    methods = {name: own_options(point) for name, point in points[METHODS].items()}
    first, *others = methods
    parts = [_OPTIONS_HEAD.rstrip(), f"## {first}", *_grouped(methods[first])]
    parts += [_method_section(name, methods[name], methods[first]) for name in others]
    parts += [
        "## Dataparsers",
        "The name of a dataparser and its options follow those of the method: "
        "`ns-train semantic-nerf --data SCENE replica-data --split all`.",
    ]
    for name, point in points[DATAPARSERS].items():
        specification = load(point)
        parts += [f"### {name}", specification.description, table(own_options(point))]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write both pages, or tell which one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    check = parser.parse_args().check
    stale = []
    for path, text in ((COMMANDS, commands_page()), (OPTIONS, options_page())):
        if not check:
            (ROOT / path).write_text(text, encoding="utf8")
        elif not (ROOT / path).is_file() or (ROOT / path).read_text(encoding="utf8") != text:
            stale.append(str(path))
    if stale:
        raise SystemExit(f"{' and '.join(stale)} differ from the command line: run scripts/write_reference.")


if __name__ == "__main__":
    main()
