"""Circles and ellipses of each tool have the pixels whose centres they hold."""

from pathlib import Path

import numpy as np
import pytest

import support.tool_files as files
from semantic_ns.annotations.formats import read_annotations
from support.tool_files import HEIGHT, WIDTH
from support.tool_samples import (
    cvat,
    label_studio,
    names_of_pixels,
    via,
    via_of_version_3,
)


def ellipse(centre_x: float, centre_y: float, radius_x: float, radius_y: float) -> np.ndarray:
    rows, columns = np.indices((HEIGHT, WIDTH)) + 0.5
    return ((columns - centre_x) / radius_x) ** 2 + ((rows - centre_y) / radius_y) ** 2 <= 1


def percent(**values: float) -> dict[str, float]:
    return {key: value / (HEIGHT if key in {"y", "radiusY"} else WIDTH) * 100 for key, value in values.items()}


ELLIPSES: dict[str, files.Make] = {
    "cvat": cvat('<ellipse label="chair" cx="20" cy="15" rx="4" ry="9" rotation="90" z_order="0"/>'),
    "label studio": label_studio(
        files.label_studio_region(
            "ellipselabels", **percent(x=20, y=15, radiusX=9, radiusY=4), rotation=0, ellipselabels=["chair"]
        )
    ),
    "via 3": via_of_version_3(4, 20, 15, 9, 4),
    "via": via(files.via_region(name="ellipse", cx=20, cy=15, rx=4, ry=9, theta=np.pi / 2)),
}


@pytest.mark.parametrize("name", ELLIPSES)
def test_ellipses_have_the_pixels_whose_centres_they_hold(tmp_path: Path, name: str) -> None:
    (pixels,) = names_of_pixels(read_annotations(ELLIPSES[name](tmp_path))).values()
    np.testing.assert_array_equal(pixels == "chair", ellipse(20, 15, 9, 4))


@pytest.mark.parametrize("numbers", [(3, 20, 15, 5), (9, 25, 15, 20, 20, 16, 12)])
def test_a_circle_of_via_3_has_a_middle_and_a_radius_or_three_points(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    (pixels,) = names_of_pixels(read_annotations(via_of_version_3(*numbers)(tmp_path))).values()
    np.testing.assert_array_equal(pixels == "chair", ellipse(20, 15, 5, 5))
