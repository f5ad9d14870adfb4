"""The commands by which published numbers are to be had score what was published: no labels of source frames."""

import re

import pytest

from support.fresh_process import ROOT


@pytest.mark.parametrize("page", ["gsnerf_layers", "viewseg_layers"])
def test_the_command_for_published_numbers_scores_without_labels_of_source_frames(page: str) -> None:
    section = (ROOT / f"docs/{page}.md").read_text(encoding="utf8").partition("## Published numbers")[2]
    (training,) = re.findall(r"^ns-train .*$", section, re.MULTILINE)
    assert "--pipeline.model.use-source-labels False" in training


@pytest.mark.parametrize("page", ["label"])
def test_commands_of_a_results_page_give_what_their_benchmark_requires_and_nothing_that_it_does_not_know(
    page: str,
) -> None:
    text = (ROOT / f"docs/results/{page}.md").read_text(encoding="utf8")
    commands = re.findall(r"python -m benchmarks\.(\w+)([^`\n]*)", text)
    assert len(commands) > 3
    for name, options in commands:
        source = (ROOT / f"benchmarks/{name}.py").read_text(encoding="utf8")
        known = set(re.findall(r'add_argument\("(--[\w-]+)"', source))
        required = set(re.findall(r'add_argument\("(--[\w-]+)"[^\n]*required=True', source))
        assert required <= set(re.findall(r"--[\w-]+", options)) <= known, name
