"""Prepares a checkout for a package index: project URLs, and README links that work outside the repository.

A package index shows the README without the repository around it, so relative pictures and links lead nowhere there.
The repository does not know where it is hosted; the workflow that builds a release does. Run this in a checkout of its
own, because it changes README.md and pyproject.toml.

Use: python scripts/prepare_release.py --repository https://HOST/OWNER/NAME --revision v1.2.3
"""

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_URLS = "[project.urls]"
_PAGES = {
    "Homepage": "",
    "Documentation": "/tree/{revision}/docs",
    "Changelog": "/blob/{revision}/CHANGELOG.md",
    "Issues": "/issues",
}


def with_absolute_links(readme: str, repository: str, revision: str) -> str:
    """The README with every relative link made absolute; pictures lead to the files themselves."""

    def absolute(match: "re.Match[str]") -> str:
        target = match["target"]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        kind = "raw" if match["image"] else "blob"
        return f"{match['image']}[{match['text']}]({repository}/{kind}/{revision}/{target})"

    return _LINK.sub(absolute, readme)


def with_urls(pyproject: str, repository: str, revision: str) -> str:
    """The text of pyproject.toml with a table of URLs.

    Raises:
        ValueError: if it has one already.
    """
    if _URLS in pyproject.splitlines():
        raise ValueError(f"Expected no {_URLS} in pyproject.toml, found one; take a fresh checkout.")
    lines = [f'{name} = "{repository}{page.format(revision=revision)}"' for name, page in _PAGES.items()]
    return f"{pyproject.rstrip()}\n\n{_URLS}\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Change README.md and pyproject.toml of this checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", required=True, help="address of the repository, https://HOST/OWNER/NAME")
    parser.add_argument("--revision", required=True, help="tag or commit that the links lead to")
    options = parser.parse_args()
    repository = options.repository.rstrip("/")
    if not re.fullmatch(r"https://[^/\s]+(/[^/\s]+)+", repository):
        parser.error(f"expected https://HOST/OWNER/NAME for --repository, found {options.repository}")
    readme, pyproject = ROOT / "README.md", ROOT / "pyproject.toml"
    urls = with_urls(pyproject.read_text(encoding="utf8"), repository, options.revision)
    links = with_absolute_links(readme.read_text(encoding="utf8"), repository, options.revision)
    pyproject.write_text(urls, encoding="utf8")
    readme.write_text(links, encoding="utf8")


if __name__ == "__main__":
    main()
