"""The commands by which published numbers are to be had score what was published: no labels of source frames."""

import re

import pytest

from support.fresh_process import ROOT


@pytest.mark.parametrize("page", ["gsnerf_layers", "viewseg_layers"])
def test_the_command_for_published_numbers_scores_without_labels_of_source_frames(page: str) -> None:
    section = (ROOT / f"docs/{page}.md").read_text(encoding="utf8").partition("## Published numbers")[2]
    (training,) = re.findall(r"^ns-train .*$", section, re.MULTILINE)
    assert "--pipeline.model.use-source-labels False" in training
