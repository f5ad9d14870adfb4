"""Figures of the summaries of results stand on the pages that they are taken from."""

import re
from collections.abc import Sequence

import pytest

from support.fresh_process import ROOT
from support.markdown import rows

RESULTS = ROOT / "docs/results"
FIGURE = re.compile(r"(?<![\w.])\d*\.\d+(?![\w.]*\d)")
"""A number with decimals, as in "0.104 m" and ".961 ± .001"; no version, and no whole number, which is anywhere."""
PAGE = re.compile(r"\]\((?:docs/results/)?(\w+\.md)(?:#[\w-]+)?\)")


def figures(text: str) -> list[str]:
    return FIGURE.findall(text)


def missing(summary: str, pages: Sequence[str]) -> list[str]:
    """Figures of a summary that no figure of the pages is, nor rounds to."""
    known = [float(figure) for page in pages for figure in figures(page)]

    def stands(figure: str) -> bool:
        half = 0.5 * 10.0 ** -len(figure.partition(".")[2])
        return any(abs(value - float(figure)) <= half + 1e-9 for value in known)

    return [figure for figure in figures(summary) if not stands(figure)]


def summary_rows() -> list[list[str]]:
    """What, measured, seeds and page of each row of the table of all results."""
    return [row for row in rows((RESULTS / "index.md").read_text("utf8")) if len(row) == 4 and PAGE.search(row[3])]


@pytest.mark.parametrize("row", summary_rows(), ids=lambda row: row[0][:40])
def test_a_summary_has_the_figures_of_the_page_that_it_names(row: list[str]) -> None:
    named = PAGE.findall(row[3])
    assert missing(row[1], [(RESULTS / name).read_text("utf8") for name in named]) == []


def test_the_readme_has_the_figures_of_the_pages_of_results() -> None:
    text = (ROOT / "README.md").read_text("utf8").partition("\n## Results\n")[2].partition("\n## ")[0]
    assert figures(text)
    pages = [(RESULTS / name).read_text("utf8") for name in ("labels.md", "scenes.md", "cuda.md", "splat.md")]
    assert missing(text, pages) == []


def test_a_figure_that_no_page_has_is_found_and_one_that_is_rounded_is_not() -> None:
    page = "| all labels | .9614 ± .001 | 32.98 dB | version 1.13.12 |"
    assert missing(".961 ± .001, 33.0 dB", [page]) == []
    assert missing(".962, 32.9 dB, 1.13 m", [page]) == [".962", "32.9", "1.13"]
