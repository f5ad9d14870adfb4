"""What the pixels of training images show of Gaussians, and how labels of pixels become classes of Gaussians."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_ns.propagation.clusters import find_clusters
from semantic_ns.propagation.posterior import solve_posterior
from semantic_ns.splatting import classes
from semantic_ns.splatting.class_updates import ClassUpdates
from semantic_ns.splatting.classes import GaussianSurface, without_traces
from semantic_ns.splatting.composite import Tiles
from semantic_ns.splatting.fit import View
from semantic_ns.splatting.project import Gaussians, project
from semantic_ns.splatting.rasterize import rasterize
from semantic_ns.splatting.seen_surface import SeenSurface, in_world
from support.random_gaussians import CAMERA, composited_pixel_by_pixel, in_doubles, random_gaussians
from support.wall_of_gaussians import labels_on_both_sides, views_of_wall, wall

SHAPE = CAMERA.height, CAMERA.width


def pixels() -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(*(torch.arange(length) for length in SHAPE), indexing="ij")
    return rows, columns


@pytest.mark.parametrize("is_antialiased", [False, True])
def test_the_middle_gaussian_is_the_first_behind_which_less_than_half_of_the_light_is_left(
    is_antialiased: bool,
) -> None:
    gaussians, _ = random_gaussians(60)
    gaussians = replace(gaussians, opacities=gaussians.opacities.clamp(min=0.6), scales=2 * gaussians.scales)
    each = torch.eye(60, dtype=torch.float64)
    weights, _, _ = composited_pixel_by_pixel(in_doubles(gaussians), each, CAMERA, is_antialiased)
    projected = project(gaussians, CAMERA, is_antialiased=is_antialiased)
    found = Tiles.of(projected, *SHAPE).middles()
    order = [int(n) for n in projected.depths.argsort()]
    clear = 0
    for row in range(CAMERA.height):
        for column in range(CAMERA.width):
            left, middle, is_close = 1.0, -1, False
            for n in order:
                left -= float(weights[row, column, n])
                is_close |= abs(left - 0.5) < 1e-4
                if left < 0.5 and middle < 0:
                    middle = n
            if not is_close:
                assert int(found[row, column]) == middle
                clear += middle >= 0
    assert clear > 200


def test_pixels_lie_at_the_depth_of_their_image_and_else_at_that_of_their_gaussian() -> None:
    gaussians, _ = wall(900)
    given = torch.zeros(SHAPE)
    given[:, :20] = 2.5
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[:5] = False
    view = replace(views_of_wall(1)[0], depth=given, mask=mask)
    seen = SeenSurface(gaussians, [view]).pixels(0)
    rows, columns = pixels()
    _, _, opacity = rasterize(gaussians, torch.zeros(900, 1), CAMERA)
    assert not bool(seen.depths[:5].any())
    assert bool((seen.middles[:5] == -1).all())
    assert bool((seen.depths[5:, :20] == 2.5).all())
    is_open = (columns >= 20) & (rows >= 5)
    depths = project(gaussians, CAMERA).depths
    for row, column in torch.nonzero(is_open).tolist():
        middle = int(seen.middles[row, column])
        assert (middle >= 0) == (float(opacity[row, column]) > 0.5)
        assert float(seen.depths[row, column]) == (float(depths[middle]) if middle >= 0 else 0)


def test_points_of_pixels_are_seen_at_the_centres_of_these_pixels() -> None:
    rows, columns = pixels()
    depths = 1 + torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    points = in_world(CAMERA, rows, columns, depths)
    seen = points @ CAMERA.w2c[:, :3].T + CAMERA.w2c[:, 3]
    fx, fy, cx, cy = CAMERA.lens
    torch.testing.assert_close(seen[..., 2], depths)
    torch.testing.assert_close(seen[..., 0] / depths * fx + cx, columns + 0.5, atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[..., 1] / depths * fy + cy, rows + 0.5, atol=1e-3, rtol=0)


def test_a_gaussian_has_the_mean_of_the_posterior_over_the_pixels_that_show_it() -> None:
    gaussians, _ = wall(900)
    views, labels = views_of_wall(3), labels_on_both_sides(3)
    seen = SeenSurface(gaussians, views)
    surface = GaussianSurface(seen, 120)
    found = surface.class_probabilities(surface.votes_of(labels, 4), looks_alike=False)

    votes, voxel_of = np.zeros((surface.graph.num_nodes, 4), np.float32), []
    rows, columns = pixels()
    for frame, image in enumerate(labels):
        places = seen.in_unit_cube(frame, rows, columns).reshape(-1, 3).contiguous().numpy()
        voxel_of.append(surface.graph.voxels.at(places).reshape(SHAPE))
        for row, column in torch.nonzero(image >= 0).tolist():
            if voxel_of[-1][row, column] >= 0:
                votes[voxel_of[-1][row, column], image[row, column]] += 1
    np.testing.assert_array_equal(surface.votes_of(labels, 4), votes)
    posterior = solve_posterior(surface.graph, votes, clusters=find_clusters(surface.graph))
    posterior = without_traces(torch.from_numpy(posterior.probabilities)).numpy()
    shown = 0
    for n in range(0, 900, 7):
        own = [
            posterior[voxels[row, column]]
            for frame, voxels in enumerate(voxel_of)
            for row, column in torch.nonzero(seen.pixels(frame).middles == n).tolist()
            if voxels[row, column] >= 0
        ]
        if own:
            mean = np.mean(own, axis=0)
            np.testing.assert_allclose(found[n].numpy(), mean / mean.sum(), atol=1e-5)
            shown += 1
    assert shown > 50


def test_a_gaussian_that_no_pixel_shows_is_like_the_nearest_one_that_some_pixel_shows() -> None:
    gaussians, _ = wall(900)
    behind = gaussians.means[:40] + 0.3 * CAMERA.w2c[2, :3]  # farther away from the camera
    parts = (gaussians.quats, gaussians.scales, gaussians.opacities)
    both = Gaussians(torch.cat([gaussians.means, behind]), *(torch.cat([part, part[:40]]) for part in parts))
    views, labels = views_of_wall(3), labels_on_both_sides(3)
    surface = GaussianSurface(SeenSurface(both, views))
    found = surface.class_probabilities(surface.votes_of(labels, 4), looks_alike=False)
    shown = torch.cat([surface.seen.pixels(frame).middles.reshape(-1) for frame in range(3)]).unique()
    is_shown = torch.zeros(940, dtype=torch.bool)
    is_shown[shown[shown >= 0].long()] = True
    hidden = torch.nonzero(~is_shown)[:, 0]
    assert int((hidden >= 900).sum()) > 20
    nearest = torch.cdist(both.means[hidden], both.means[is_shown]).argmin(dim=1)
    torch.testing.assert_close(found[hidden], found[is_shown][nearest])


def test_a_gaussian_far_away_changes_the_classes_of_no_other_and_keeps_its_own_votes() -> None:
    gaussians, _ = wall(900)
    views, labels = views_of_wall(3), labels_on_both_sides(3)
    alone = ClassUpdates().update(gaussians, views, labels, 4)
    nothing = rasterize(gaussians, torch.zeros(900, 1), CAMERA)[2] < 0.01
    assert int(nothing.sum()) > 10
    for distance in (1e3, 1e6):
        row, column = (axis[None] for axis in torch.nonzero(nothing)[0])
        away = in_world(CAMERA, row, column, torch.tensor([distance]))
        wide = torch.full((1, 3), 0.02 * distance)
        further = away, gaussians.quats[:1], wide, torch.tensor([0.9])
        parts = gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities
        both = Gaussians(*(torch.cat(pair) for pair in zip(parts, further, strict=True)))
        told = [image.clone() for image in labels]
        told[0][nothing] = 3
        found = ClassUpdates().update(both, views, told, 4)
        assert torch.equal(found[:-1].argmax(dim=1), alone.argmax(dim=1))
        assert int(found[-1].argmax()) == 3
        assert float(found[-1, 3]) > 0.9


def test_few_labels_spread_and_without_any_nothing_has_a_class() -> None:
    gaussians, _ = wall(900)
    views, labels = views_of_wall(3), labels_on_both_sides(3)
    assert sum(int((image >= 0).sum()) for image in labels) < 0.02 * 3 * CAMERA.height * CAMERA.width
    found = ClassUpdates().update(gaussians, views, labels, 4)
    assert float((found.sum(dim=1) > 0).float().mean()) > 0.99
    side = (gaussians.means @ CAMERA.w2c[:, :3].T + CAMERA.w2c[:, 3])[:, 0] > 0
    assert float((found.argmax(dim=1) == side.long()).float().mean()) > 0.9
    nothing = ClassUpdates().update(gaussians, views, [torch.full(SHAPE, -1).int()] * 3, 4)
    assert not bool(nothing.any())


def test_where_no_pixel_shows_anything_votes_stand_as_they_are() -> None:
    gaussians, _ = wall(30)
    thin = replace(gaussians, opacities=torch.full((30,), 0.02))
    views = [replace(view, depth=None) for view in views_of_wall(2)]
    found = ClassUpdates().update(thin, views, labels_on_both_sides(2), 4)
    assert bool((found.sum(dim=1) <= 1 + 1e-5).all())


def test_noisy_labels_have_fewer_voxels_and_one_label_more_does_not_divide_the_surface_anew() -> None:
    gaussians, _ = wall(900)
    surface = GaussianSurface(SeenSurface(gaussians, views_of_wall(3)))
    generator = torch.Generator().manual_seed(0)
    clean = labels_on_both_sides(3)
    noisy = [torch.randint(0, 4, SHAPE, generator=generator).int() for _ in range(3)]
    assert surface.suitable_nodes(surface.votes_of(clean, 4)) == surface.num_wanted
    votes = surface.votes_of(noisy, 4)
    assert surface.suitable_nodes(votes) < 0.5 * surface.num_wanted
    more = votes.copy()
    more[0, 0] += 1
    assert surface.suitable_nodes(more) == surface.suitable_nodes(votes)


def test_the_classifier_is_fitted_anew_where_many_labels_change_or_a_class_comes_or_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fits = []

    def counted(features: np.ndarray, votes: np.ndarray, is_seen: np.ndarray) -> np.ndarray:
        del features
        fits.append(votes.copy())
        return np.full_like(votes, 0.25) * is_seen[:, None]

    monkeypatch.setattr(classes, "class_prior", counted)
    surface = GaussianSurface(SeenSurface(wall(900)[0], views_of_wall(3)), 200)
    votes = np.zeros((surface.graph.num_nodes, 4), np.float32)
    voted = np.arange(0, surface.graph.num_nodes, 1)
    votes[voted, voted % 3] = 1
    few, many, other = votes.copy(), votes.copy(), votes.copy()
    few[0] *= 2
    many[:20] *= 2
    other[0, 3] = 1
    for given, expected in ((votes, 1), (votes, 1), (few, 1), (many, 2), (other, 3), (votes, 4)):
        surface.class_probabilities(given, looks_alike=True)
        assert len(fits) == expected
    surface.class_probabilities(few, looks_alike=False)
    assert len(fits) == 4


def test_looks_are_the_means_of_the_features_of_the_pixels_that_show_a_voxel() -> None:
    generator = torch.Generator().manual_seed(0)
    views = [
        View(view.camera, torch.rand((*SHAPE, 3), generator=generator), view.depth, view.mask)
        for view in views_of_wall(2)
    ]
    seen = SeenSurface(wall(900)[0], views)
    surface = GaussianSurface(seen, 60)
    of_pixels = [seen.voxels_of(frame, surface.graph) for frame in range(2)]
    features, is_seen = seen.looks(surface.graph)
    assert set(np.flatnonzero(is_seen)) == {int(n) for voxels in of_pixels for n in np.unique(voxels) if n >= 0}
    assert features.shape[1] > 9
    np.testing.assert_allclose(features[is_seen].mean(axis=0), 0, atol=1e-3)


def test_classes_are_the_same_to_the_bit_whether_there_is_room_to_keep_what_pixels_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gaussians, _ = wall(900)
    views, labels = views_of_wall(3), labels_on_both_sides(3)
    found = []
    for room in (classes.MOST_KEPT, 6_000, 0):
        monkeypatch.setattr(classes, "MOST_KEPT", room)
        surface = GaussianSurface(SeenSurface(gaussians, views, most_kept=2 * room))
        found.append(surface.class_probabilities(surface.votes_of(labels, 4), looks_alike=True))
        assert len(surface._kept) == len(surface.seen._kept) == min(3, room // 4428)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_gaussians_that_are_not_finite_have_no_part_in_it() -> None:
    gaussians, _ = wall(900)
    views, labels = views_of_wall(3), labels_on_both_sides(3)
    before = ClassUpdates().update(gaussians, views, labels, 4)
    for value in (float("nan"), float("inf")):
        strange = torch.full((1, 3), value)
        parts = gaussians.quats, gaussians.scales, gaussians.opacities
        both = Gaussians(torch.cat([gaussians.means, strange]), *(torch.cat([part, part[:1]]) for part in parts))
        found = ClassUpdates().update(both, views, labels, 4)
        assert torch.equal(found[:-1], before)
        assert not bool(found[-1].any())
