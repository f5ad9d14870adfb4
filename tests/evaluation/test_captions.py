"""Titles and a legend around pictures."""

import numpy as np
import pytest
import torch
from PIL import ImageDraw
from torch import Tensor

from semantic_ns.evaluation.captions import GridRow, LegendEntry, captioned_grid, class_legend, draw_legend
from semantic_ns.labels.taxonomy import Taxonomy

TAXONOMY = Taxonomy(
    source_ids=(3, 7, 300),
    names=("wall", "lamp", "door"),
    colors=((10, 20, 30), (200, 0, 0), (0, 0, 250)),
    is_thing=(False, True, True),
    void_source_id=0,
)
LONG = "a title that is far longer than its picture is wide"
Drawn = list[tuple[str, tuple[float, float, float, float]]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Texts that are drawn, with the boxes that their ink fills in their picture."""
    texts: Drawn = []
    draw = ImageDraw.ImageDraw.text

    def noted(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, **options: object) -> None:
        if text:
            box = pen.textbbox(place, text, font=options["font"], anchor=options["anchor"])  # pyright: ignore[reportArgumentType]
            width, height = pen.im.size
            assert 0 <= box[0] <= box[2] <= width, text
            assert 0 <= box[1] <= box[3] <= height, text
            texts.append((text, box))
        draw(pen, place, text, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    return texts


def random_pictures(rows: int, columns: int, height: int, width: int) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [[torch.rand(height, width, 3, generator=generator) for _ in range(columns)] for _ in range(rows)]


def place_of(picture: Tensor, grid: Tensor) -> tuple[int, int]:
    """Where a picture begins in a grid, pixel for pixel: row and column; it must be there once."""
    height, width = picture.shape[:2]
    found = [
        (y, x)
        for y, x in (grid[..., 0] == picture[0, 0, 0]).nonzero().tolist()
        if torch.equal(grid[y : y + height, x : x + width], picture)
    ]
    assert len(found) == 1
    return found[0]


def overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize(("height", "width"), [(3, 4), (24, 32), (40, 700)])
def test_titles_are_whole_and_touch_no_pixel_of_a_picture_and_no_other_text(
    height: int, width: int, drawn: Drawn
) -> None:
    pictures = random_pictures(3, 2, height, width)
    rows = [
        GridRow(pictures[0], "first", ("left", LONG)),
        GridRow(pictures[1], "second, which is longer"),
        GridRow(pictures[2], "", ("other", "titles")),
    ]
    grid = captioned_grid(rows, [LegendEntry("wall", (1, 2, 3))], "the whole")
    expected = ["wall", "the whole", "first", "left", LONG, "second, which is longer", "other", "titles"]
    assert sorted(text for text, _ in drawn) == sorted(expected)
    boxes = [box for text, box in drawn if text != "wall"]  # the legend is drawn on a picture of its own
    assert not any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
    for row in pictures:
        for picture in row:
            y, x = place_of(picture, grid)
            assert not any(overlap(box, (x, y, x + width, y + height)) for box in boxes)


def test_a_title_is_beside_or_above_its_pictures(drawn: Drawn) -> None:
    pictures = random_pictures(2, 2, 30, 80)
    grid = captioned_grid([GridRow(pictures[0], "a", ("c", "d")), GridRow(pictures[1], "b")])
    boxes = dict(drawn)
    for title, row in zip("ab", pictures, strict=True):
        y, x = place_of(row[0], grid)
        assert boxes[title][2] <= x
        assert y <= (boxes[title][1] + boxes[title][3]) / 2 <= y + 30
    for title, picture in zip("cd", pictures[0], strict=True):
        y, x = place_of(picture, grid)
        assert boxes[title][3] <= y
        assert x <= (boxes[title][0] + boxes[title][2]) / 2 <= x + 80


def test_without_titles_and_legend_there_are_the_pictures_alone() -> None:
    ((picture,),) = random_pictures(1, 1, 5, 7)
    assert torch.equal(captioned_grid([GridRow([picture])]), picture)


def test_an_empty_place_is_white() -> None:
    ((first, second),) = random_pictures(1, 2, 5, 7)
    grid = captioned_grid([GridRow([first, None]), GridRow([None, second])])
    (y, _), (_, x) = place_of(first, grid), place_of(second, grid)
    assert bool((grid[y : y + 5, x : x + 7] == 1).all())


def test_text_grows_with_the_pictures(drawn: Drawn) -> None:
    for width in (32, 320, 1280):
        captioned_grid([GridRow([torch.zeros(20, width, 3)], column_titles=["title"])])
    small, usual, large = (box[3] - box[1] for _, box in drawn)
    assert 6 <= small <= usual < large


def test_a_legend_names_the_classes_that_occur_in_their_order_and_no_other() -> None:
    wall, lamp, door = (LegendEntry(*pair) for pair in zip(TAXONOMY.names, TAXONOMY.colors, strict=True))
    void = LegendEntry("void", (0, 0, 0))
    assert class_legend(TAXONOMY, torch.tensor([[2, 0], [0, 2]])) == [wall, door]
    assert class_legend(TAXONOMY, torch.tensor([2]), torch.tensor([-1, 1])) == [lamp, door, void]
    assert class_legend(TAXONOMY) == []


def test_a_legend_shows_name_and_colour_of_each_entry(drawn: Drawn) -> None:
    names = [f"class {number}" for number in range(23)]
    entries = [LegendEntry(name, (number, 255 - number, 7)) for number, name in enumerate(names)]
    grid = captioned_grid([GridRow([torch.zeros(20, 200, 3)])], entries)
    assert [text for text, _ in drawn] == names
    colors = {tuple(color) for color in (grid * 255).round().int().reshape(-1, 3).tolist()}
    assert {entry.color for entry in entries} <= colors
    boxes = [box for _, box in drawn]
    assert not any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_legend_of_a_scene_holds_every_class_and_void(drawn: Drawn) -> None:
    legend = draw_legend(TAXONOMY)
    assert legend.dtype == np.uint8
    assert {*TAXONOMY.colors, (0, 0, 0)} <= {tuple(color) for color in legend.reshape(-1, 3).tolist()}
    assert [text for text, _ in drawn] == ["wall", "lamp", "door", "void"]


def test_letters_of_other_alphabets_are_drawn_as_what_they_are() -> None:
    def legend(name: str) -> np.ndarray:
        return draw_legend(Taxonomy((1,), (name,), ((1, 2, 3),), (True,), 0))

    for first, second in (("стена", "стеня"), ("à", "é"), ("βΩ", "βΨ")):
        assert not np.array_equal(legend(first), legend(second))
    assert legend("灯").ndim == 3
