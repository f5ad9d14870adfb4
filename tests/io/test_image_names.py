"""Names for image files."""

from pathlib import Path

import pytest

from semantic_ns.io.image_names import names_of_images


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["a/x.png", "b/y.png"], ["x", "y"]),
        (["s/a/x.png", "s/b/x.png", "s/y.png"], ["a_x", "b_x", "y"]),
        (["s/a.jpg", "s/a.png"], ["a", "a_2"]),
        (["s/a.jpg", "s/a.png", "s/a_2.png", "s/a.webp"], ["a", "a_3", "a_2", "a_4"]),
        (["s/a/b_c.png", "s/a_b/c.png", "s/d/c.png"], ["a_b_c", "a_b_c_2", "d_c"]),
    ],
)
def test_no_two_images_have_the_same_name(images: list[str], names: list[str]) -> None:
    assert names_of_images([Path(image) for image in images]) == names
