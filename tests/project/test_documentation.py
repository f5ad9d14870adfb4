"""The documentation builds, asks nothing of other hosts, and names only what exists."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from semantic_ns import __version__
from support.fresh_process import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import write_reference
from prepare_release import with_absolute_links, with_urls

MAX_README_LINES = 120
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name != "history.md"),
]
"""History names what was, the others what is."""
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
LOADING = {("script", "src"), ("img", "src"), ("iframe", "src"), ("link", "href"), ("source", "src")}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


class Loaded(HTMLParser):
    """Addresses that a browser fetches to show a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if (tag, name) in LOADING]


def other_hosts(html: str) -> list[str]:
    return [address for address in Loaded(html).addresses if re.match(r"(https?:)?//", address)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as a site, built with every warning an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return folder


def test_the_site_builds_without_a_warning_and_no_page_loads_from_another_host(site: Path) -> None:
    pages = {path.relative_to(site).as_posix(): path.read_text(encoding="utf8") for path in site.rglob("*.html")}
    assert {"index.html", "commands.html", "results/index.html", "architecture.html", "contributing.html"} <= set(pages)
    assert {name: found for name, text in pages.items() if (found := other_hosts(text))} == {}
    styles = "".join(path.read_text(encoding="utf8") for path in site.rglob("*.css"))
    assert re.findall(r"url\((?:https?:)?//[^)]*\)", styles) == []


@pytest.mark.parametrize("html", ['<script src="https://host/x.js">', '<link rel="stylesheet" href="//host/x.css">'])
def test_what_is_loaded_from_another_host_is_found(html: str) -> None:
    assert len(other_hosts(html)) == 1


def test_a_link_to_another_host_is_no_loading() -> None:
    assert other_hosts('<a href="https://host/">there</a><img src="pictures/grid.png">') == []


@pytest.mark.parametrize(
    ("path", "write"),
    [
        (write_reference.COMMANDS, write_reference.commands_page),
        (write_reference.OPTIONS, write_reference.options_page),
    ],
    ids=["commands", "options"],
)
def test_a_page_written_from_the_command_line_is_current(path, write) -> None:
    assert (ROOT / path).read_text(encoding="utf8") == write(), f"{path} is out of date: run scripts/write_reference"


def test_of_the_first_methods_options_a_method_lists_those_that_differ_in_anything() -> None:
    first = {key: write_reference.Option(f"`--{key}`", "INT", "1", "Steps.") for key in ("same", "default", "meaning")}
    changed = {"default": replace(first["default"], default="2"), "meaning": replace(first["meaning"], meaning="Rays.")}
    section = write_reference._method_section("other", first | changed, first)
    listed = [line for line in section.splitlines() if line.startswith("| `--")]
    assert listed == ["| `--default` | `INT` | `2` | Steps. |", "| `--meaning` | `INT` | `1` | Rays. |"]


@pytest.fixture(scope="module")
def options() -> set[str]:
    """Every long option of ns-train with a method or a dataparser of ours."""
    points = write_reference.project()["entry-points"]
    known = set()
    for group in (write_reference.METHODS, write_reference.DATAPARSERS):
        for point in points[group].values():
            known |= write_reference.all_options(point)
    return known


def commands() -> Iterator[tuple[str, str]]:
    """Every line of a code block or code span of a page that starts one of our commands or ns-train."""
    for path in PAGES:
        for block in re.findall(r"`{1,3}([^`]+)`{1,3}", path.read_text(encoding="utf8")):
            for line in block.replace("\\\n", " ").splitlines():
                yield name_of(path), line


def test_every_option_of_training_that_a_page_names_exists(options: set[str]) -> None:
    named = {
        (page, word)
        for page, line in commands()
        for word in re.findall(r"--pipeline\.[\w.-]+[\w]", line)
        if f"{word}..." not in line and f"{word}.*" not in line
    }
    assert len(named) > 50
    assert sorted((page, word) for page, word in named if word not in options) == []


def test_every_command_and_script_that_a_page_names_exists() -> None:
    scripts = write_reference.project()["scripts"]
    texts = {name_of(path): path.read_text(encoding="utf8") for path in PAGES}
    named = {(page, word) for page, text in texts.items() for word in re.findall(r"\bsns-[a-z]+(?:-[a-z]+)?", text)}
    assert len({word for _, word in named}) == len(scripts)
    assert sorted((page, word) for page, word in named if word not in scripts) == []
    paths = {
        (page, word.rstrip("."))
        for page, text in texts.items()
        for word in re.findall(r"(?<![\w/.])(?:scripts|tests|examples|semantic_ns|docs)/[\w/.-]*\w", text)
    }
    assert len(paths) > 40
    assert sorted((page, word) for page, word in paths if not (ROOT / word).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_that_are_shown_together_write_to_folders_of_their_own(page: Path) -> None:
    for block in re.findall(r"```bash\n(.*?)```", page.read_text("utf8"), re.DOTALL):
        folders = re.findall(r"--output-dir (\S+)", block)
        assert len(set(folders)) == len(folders), block


def test_every_relative_link_of_the_readme_leads_to_a_file() -> None:
    targets = [target.split("#")[0] for target in LINK.findall((ROOT / "README.md").read_text(encoding="utf8"))]
    relative = [target for target in targets if not target.startswith("http")]
    assert len(relative) > 10
    assert [target for target in relative if not (ROOT / target).exists()] == []


def test_the_readme_is_one_page_and_shows_its_pictures_first() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf8").splitlines()
    assert len(lines) <= MAX_README_LINES
    assert any(line.startswith("![") for line in lines[:10])


def test_every_page_is_in_the_navigation_once() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf8"))["nav"]

    def pages(entry: object) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
            return
        for value in entry.values() if isinstance(entry, dict) else entry:  # pyright: ignore[reportGeneralTypeIssues]
            yield from pages(value)

    assert sorted(pages(navigation)) == sorted(
        path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")
    )


def test_citation_and_changelog_name_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert citation["version"] == __version__
    assert citation["license"] == write_reference.project()["license"]
    assert f"## {__version__} - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf8")


@cache
def workflow() -> dict:
    return yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf8"))


def test_continuous_integration_tests_every_python_that_the_package_declares() -> None:
    prefix = "Programming Language :: Python :: 3."
    classifiers = write_reference.project()["classifiers"]
    declared = [line.split(" :: ")[-1] for line in classifiers if line.startswith(prefix)]
    assert workflow()["jobs"]["test"]["strategy"]["matrix"]["python-version"] == declared == ["3.10", "3.11", "3.12"]


def test_continuous_integration_runs_every_part_of_the_check_and_the_wheel() -> None:
    steps = [step.get("run", "") for job in workflow()["jobs"].values() for step in job["steps"]]
    parts = re.findall(
        r"-m ((?:ruff|pyright|mkdocs|pytest)(?: check| format| build)?)", (ROOT / "scripts/test").read_text()
    )
    assert {"ruff check", "ruff format", "pyright", "mkdocs build", "pytest"} <= set(parts)
    for part in [*parts, "scripts/check_wheel"]:
        assert any(part in step for step in steps), part


def test_hooks_before_a_commit_download_nothing() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf8"))["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert all(hook["language"] == "system" and hook["entry"].startswith(".venv/bin/python ") for hook in hooks)


def test_links_of_a_released_readme_are_absolute_and_pictures_lead_to_files() -> None:
    text = "![a](docs/a.png) [b](docs/b.md#c) [d](https://host/d) [e](#e)"
    assert with_absolute_links(text, "https://host/o/n", "v1") == (
        "![a](https://host/o/n/raw/v1/docs/a.png) [b](https://host/o/n/blob/v1/docs/b.md#c) [d](https://host/d) [e](#e)"
    )
    released = with_absolute_links((ROOT / "README.md").read_text(encoding="utf8"), "https://host/o/n", "v1")
    assert [target for target in LINK.findall(released) if not target.startswith("https://")] == []


def test_a_released_package_has_urls_once() -> None:
    text = with_urls((ROOT / "pyproject.toml").read_text(encoding="utf8"), "https://host/o/n", "v1")
    urls = write_reference.tomllib.loads(text)["project"]["urls"]
    assert urls["Homepage"] == "https://host/o/n"
    assert urls["Changelog"] == "https://host/o/n/blob/v1/CHANGELOG.md"
    with pytest.raises(ValueError, match="fresh checkout"):
        with_urls(text, "https://host/o/n", "v1")
