"""Pictures of one evaluated image."""

import math

import pytest
import torch
from torch import Tensor

from semantic_ns.evaluation.pictures import mark_wrong, paint, picture_grid, tile
from semantic_ns.labels.taxonomy import Taxonomy

HEIGHT, WIDTH = 4, 6
TAXONOMY = Taxonomy(
    source_ids=(3, 7, 300),
    names=("wall", "lamp", "door"),
    colors=((10, 20, 30), (200, 0, 0), (0, 0, 250)),
    is_thing=(False, True, True),
    void_source_id=0,
)


def random_image(seed: int) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    """Model outputs, true colours, true labels and true depth in metres."""
    generator = torch.Generator().manual_seed(seed)

    def floats(channels: int) -> Tensor:
        return torch.rand(HEIGHT, WIDTH, channels, generator=generator)

    outputs = {name: floats(1) for name in ("depth", "planar_depth", "semantics_confidence", "semantics_entropy")}
    outputs |= {"rgb": floats(3), "semantics_labels": torch.randint(0, 3, (HEIGHT, WIDTH, 1), generator=generator)}
    target = torch.randint(-1, 3, (HEIGHT, WIDTH, 1), generator=generator)
    depth_m = floats(1)
    depth_m[0, 0] = 0
    return outputs, floats(3), target, depth_m


def test_every_picture_is_float_rgb_between_zero_and_one() -> None:
    outputs, rgb, target, depth_m = random_image(0)
    pictures = picture_grid(outputs, rgb, target, depth_m, TAXONOMY, 1.0)
    assert set(pictures) == {"img", "semantics", "depth", "confidence", "entropy", "grid"}
    for name, picture in pictures.items():
        assert picture.shape[-1] == 3, name
        assert picture.dtype == torch.float32, name
        assert float(picture.min()) >= 0, name
        assert float(picture.max()) <= 1, name


def places_of(picture: Tensor, grid: Tensor) -> list[tuple[int, int]]:
    """Rows and columns of a grid at which a picture begins, pixel for pixel."""
    windows = grid.unfold(0, HEIGHT, 1).unfold(1, WIDTH, 1)  # [rows, columns, 3, H, W]
    return [tuple(place) for place in (windows == picture.permute(2, 0, 1)).all(-1).all(-1).all(-1).nonzero().tolist()]


def test_the_grid_holds_its_pictures_in_four_rows_of_three() -> None:
    outputs, rgb, target, depth_m = random_image(1)
    pictures = picture_grid(outputs, rgb, target, depth_m, TAXONOMY, 1.0)
    grid = pictures["grid"]
    rows = [list(pictures[name].split(WIDTH, dim=1)) for name in ("img", "semantics", "depth")]
    predicted = TAXONOMY.colorize(outputs["semantics_labels"][..., 0])
    rows.append([pictures["confidence"], pictures["entropy"], torch.lerp(outputs["rgb"], predicted, 0.5)])
    assert torch.equal(rows[0][0], rgb)
    places = [[places_of(picture, grid) for picture in row] for row in rows]
    assert all(len(found) == 1 for row in places for found in row)
    tops, lefts = (
        [{place[0][0] for place in row} for row in places],
        [{row[i][0][1] for row in places} for i in range(3)],
    )
    assert all(len(shared) == 1 for shared in (*tops, *lefts))
    assert sorted(tops, key=min) == tops
    assert sorted(lefts, key=min) == lefts


def test_rendered_depth_stays_in_its_column_where_no_other_is_known() -> None:
    outputs, rgb, target, _ = random_image(1)
    pictures = picture_grid(outputs, rgb, target, None, TAXONOMY, 1.0)
    ((_, depth_left),) = places_of(pictures["depth"], pictures["grid"])
    ((_, color_left),) = places_of(outputs["rgb"], pictures["grid"])
    assert depth_left == color_left


def test_label_pictures_show_truth_then_prediction_in_class_colours() -> None:
    outputs, rgb, target, _ = random_image(2)
    picture = picture_grid(outputs, rgb, target, None, TAXONOMY, 1.0)["semantics"]
    for y in range(HEIGHT):
        for x in range(WIDTH):
            true, predicted = int(target[y, x]), int(outputs["semantics_labels"][y, x])
            expected = (0, 0, 0) if true < 0 else TAXONOMY.colors[true]
            assert (picture[y, x] * 255).round().int().tolist() == list(expected)
            assert (picture[y, WIDTH + x] * 255).round().int().tolist() == list(TAXONOMY.colors[predicted])


def test_red_marks_the_wrong_pixels_and_no_other() -> None:
    outputs, rgb, target, _ = random_image(3)
    marked = mark_wrong(rgb, outputs["semantics_labels"], target)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            true, predicted = int(target[y, x]), int(outputs["semantics_labels"][y, x])
            assert (marked[y, x].tolist() == [1.0, 0.0, 0.0]) == (true not in (-1, predicted))


def test_depth_of_truth_and_rendering_share_one_scale_in_metres() -> None:
    outputs, rgb, target, depth_m = random_image(4)
    outputs["planar_depth"] = depth_m / 2.5
    picture = picture_grid(outputs, rgb, target, depth_m, TAXONOMY, 2.5)["depth"]
    known = depth_m[..., 0] > 0
    torch.testing.assert_close(picture[:, :WIDTH][known], picture[:, WIDTH : 2 * WIDTH][known], atol=1 / 64, rtol=0)
    assert picture[0, 0].tolist() == [0.0, 0.0, 0.0]
    no_error = paint(torch.zeros(1, 1, 1), 0.0, 1.0, "inferno")[0, 0]
    assert bool((picture[:, 2 * WIDTH :][known] == no_error).all())


@pytest.mark.parametrize("depth", [None, "unknown"])
def test_without_known_depth_only_the_rendered_one_is_shown(depth: str | None) -> None:
    outputs, rgb, target, _ = random_image(5)
    depth_m = None if depth is None else torch.zeros(HEIGHT, WIDTH, 1)
    assert picture_grid(outputs, rgb, target, depth_m, TAXONOMY, 1.0)["depth"].shape == (HEIGHT, WIDTH, 3)


def test_depth_along_the_ray_stands_in_where_planar_depth_was_not_rendered() -> None:
    outputs, rgb, target, depth_m = random_image(6)
    outputs["depth"] = outputs.pop("planar_depth")
    with_ray = picture_grid(outputs, rgb, target, depth_m, TAXONOMY, 1.0)["depth"]
    outputs["planar_depth"] = outputs["depth"]
    assert torch.equal(with_ray, picture_grid(outputs, rgb, target, depth_m, TAXONOMY, 1.0)["depth"])


def test_paint_is_safe_for_nan_and_values_out_of_range() -> None:
    painted = paint(torch.tensor([[[math.nan], [-5.0], [0.0], [1.0], [9.0]]]), 0.0, 1.0)
    assert torch.equal(painted[0, 0], painted[0, 2])
    assert torch.equal(painted[0, 1], painted[0, 2])
    assert torch.equal(painted[0, 4], painted[0, 3])
    assert not torch.equal(painted[0, 3], painted[0, 2])


def test_short_rows_are_filled_with_black() -> None:
    white = torch.ones(2, 3, 3)
    grid = tile([[white, white], [white]])
    assert grid.shape == (4, 6, 3)
    assert float(grid[2:, 3:].max()) == 0
