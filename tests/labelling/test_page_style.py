"""The page's colours, without a browser."""

import re
from importlib import resources

import pytest

CSS = resources.files("semantic_ns.labelling").joinpath("page/label.css").read_text("utf8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.S)
)


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2.1."""
    channels = [value / 255 for value in bytes.fromhex(color[1:])]
    red, green, blue = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


PAIRS = {
    "surface": ("ink", "faint", "bad"),
    "back": ("ink", "faint"),
    "raised": ("ink", "faint"),
    "soft": ("ink", "faint"),
    "accent-soft": ("ink", "faint", "accent"),
    "accent": ("accent-ink",),
}
"""Backgrounds, and what is written on them."""


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "back"), [(ink, back) for back, inks in PAIRS.items() for ink in inks])
def test_text_has_the_contrast_of_wcag_aa(scheme: dict[str, str], ink: str, back: str) -> None:
    light, dark = sorted((luminance(scheme[ink]), luminance(scheme[back])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
