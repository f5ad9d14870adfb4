"""Regions of the surface that are worth looking at, against a twin of loops, in a session and over the server."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.labelling import region_ranking
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.owner_map import OwnerMap
from semantic_ns.labelling.ranking import UNSURE
from semantic_ns.labelling.region_ranking import NUM_RANKED, RegionRank, SurfaceRegions
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.spreading import REACHED, SpreadLabels
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import FRAMES, LAMP, WALL, click
from support.label_server import ask, serving
from support.label_session import SmallSession
from support.label_surfaces import HEIGHT, WIDTH, truth

LIKE = 0.3


def slow_numbers(surface: LabelSurface, shown: SpreadLabels) -> list[int]:
    """The lowest voxel of the region of each voxel, -1 where it is sure: a walk from voxel to voxel."""
    graph = surface.graph
    is_open = [bool(shown.confidence[v] < UNSURE or shown.contradicted[v]) for v in range(graph.num_nodes)]
    numbers = [-1] * graph.num_nodes
    for first in range(graph.num_nodes):
        waiting = [first] if is_open[first] and numbers[first] < 0 else []
        while waiting:
            voxel = waiting.pop()
            numbers[voxel] = first
            for other, weight in zip(graph.neighbours[voxel].tolist(), graph.weights[voxel].tolist(), strict=True):
                is_alike = other >= 0 and weight >= LIKE and shown.labels[other] == shown.labels[voxel]
                if is_alike and is_open[other] and numbers[other] < 0:
                    numbers[other] = first
                    waiting.append(other)
    return numbers


def slow_ranks(
    surface: LabelSurface, shown: SpreadLabels, owners: Mapping[int, ndarray], spacing: int
) -> list[tuple[int, int, float, float]]:
    """Lowest voxel, frame, confidence and score of each region with a pixel, the highest score first."""
    numbers = slow_numbers(surface, shown)
    num_pixels = 0
    seen: dict[int, list[int]] = {}
    confidences: dict[int, list[float]] = {}
    for frame in range(len(surface.frames)):
        voxels = surface.voxels_of(frame)
        for row in range(0, HEIGHT, spacing):
            for column in range(0, WIDTH, spacing):
                num_pixels += 1
                voxel = int(voxels[row, column])
                is_marked = frame in owners and owners[frame][row, column] > 0
                if voxel >= 0 and numbers[voxel] >= 0 and not is_marked:
                    seen.setdefault(numbers[voxel], [0] * len(surface.frames))[frame] += 1
                    confidences.setdefault(numbers[voxel], []).append(float(shown.confidence[voxel]))
    found = [
        (number, per_frame.index(max(per_frame)), float(np.mean(confidences[number])),
         sum(1 - one for one in confidences[number]) / num_pixels)
        for number, per_frame in seen.items()
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-one[3], one[0]))


@pytest.mark.parametrize(("stride", "most_pixels"), [(1, 10_000), (1, 700), (2, 10_000), (2, 200)])
@pytest.mark.parametrize("seed", range(3))
def test_regions_and_their_ranks_are_those_of_a_twin_of_loops(
    surface: LabelSurface, monkeypatch: pytest.MonkeyPatch, stride: int, most_pixels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    surface = replace(surface, stride=stride, pixel_voxels=surface.pixel_voxels[:, ::stride, ::stride].copy())
    surface.pixel_voxels[rng.random(surface.pixel_voxels.shape) < 0.1] = -1
    monkeypatch.setattr(region_ranking, "_MOST_PIXELS", most_pixels)
    num_voxels = surface.graph.num_nodes
    shown = SpreadLabels(
        rng.choice(np.array([-1, WALL, LAMP], np.int16), num_voxels, p=[0.1, 0.1, 0.8]),
        (rng.random(num_voxels) * 0.9).astype(np.float32),
        rng.random(num_voxels) < 0.1,
    )
    owners = {1: rng.integers(0, 3, (HEIGHT, WIDTH)).astype(np.int32)}
    spacing = stride * max(1, int(np.ceil((surface.pixel_voxels.size / most_pixels) ** 0.5)))
    expected = slow_ranks(surface, shown, owners, spacing)
    found = SurfaceRegions(surface).ranked(shown, {1: OwnerMap.of(owners[1])})
    twin = np.array(slow_numbers(surface, shown))
    assert len(np.unique(found.numbers)) == len(np.unique(twin)) == len({*zip(found.numbers, twin, strict=True)})
    assert len(found.ranks) == min(NUM_RANKED, len(expected))
    for rank, (lowest, frame, confidence, score) in zip(found.ranks, expected, strict=False):
        assert (rank.frame, rank.guess) == (frame, None if shown.labels[lowest] < 0 else shown.labels[lowest])
        assert (rank.confidence, rank.score) == (pytest.approx(confidence), pytest.approx(score))
        voxels = surface.voxels_of(frame)
        is_region = (voxels >= 0) & (twin[voxels] == lowest) & ((owners[1] == 0) | (frame != 1))
        mask = mark_of(rank, WALL).mask(HEIGHT, WIDTH, lambda: np.zeros((HEIGHT, WIDTH), np.int32))
        is_contradicted = 2 * shown.contradicted[twin == lowest].sum() >= (twin == lowest).sum()
        assert rank.reason.endswith("each other") == is_contradicted
        assert is_contradicted or rank.reason.endswith("unsure") == (confidence >= REACHED)
        assert is_region[int(rank.y), int(rank.x)]
        assert is_region[mask].all() or spacing > 1


def mark_of(rank: RegionRank, class_id: int | None) -> Mark:
    """What the page sends for a region."""
    return click(rank.frame, class_id, rank.x, rank.y, rank.radius)


def test_one_answer_for_each_of_the_best_regions_labels_the_wall(opened: Callable[..., LabelSession]) -> None:
    session, colors = opened(classes=["chair"]), truth(FRAMES)
    ids = (WALL, LAMP, 8)
    ranks = session.ranked_regions()
    assert [rank.guess for rank in ranks] == [None] * len(ranks)
    assert [rank.score for rank in ranks] == sorted((rank.score for rank in ranks), reverse=True)
    answered = []
    for number in range(len(ids)):
        (first, *_) = session.ranked_regions()
        answered.append(int(colors[first.frame, int(first.y), int(first.x)]))
        session.add_mark(mark_of(first, ids[answered[-1]]), "a", number)
    assert answered[0] == np.bincount(colors.reshape(-1)).argmax()
    assert sorted(answered) == [0, 1, 2]
    labels = np.stack([session.labels(frame) for frame in range(FRAMES)])
    assert (labels == np.array(ids)[colors]).mean() > 0.95


def test_a_region_is_seen_best_where_it_has_most_pixels_without_a_mark(opened: Callable[..., LabelSession]) -> None:
    session, colors = opened(), truth(FRAMES)
    (first, *_) = session.ranked_regions()
    color = colors[first.frame, int(first.y), int(first.x)]
    seen = (colors == color).sum(axis=(1, 2))
    assert seen[first.frame] == seen.max()
    void = {"frame": first.frame, "class_id": None, "action": "void"}
    for number, (x, y) in enumerate(((16, 6), (16, 18), (8, 12), (24, 12))):
        shape = {"kind": "click", "x": x, "y": y, "radius": 14}
        session.add_mark(Mark.from_json({**void, "shape": shape}), "a", number)
    again = next(rank for rank in session.ranked_regions() if colors[rank.frame, int(rank.y), int(rank.x)] == color)
    assert again.frame != first.frame


def test_undo_of_an_answer_suggests_what_was_suggested_before(
    opened: Callable[..., LabelSession], tmp_path: Path
) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    before = session.ranked_regions()
    assert session.ranked_regions() is before  # nothing is computed twice
    session.add_mark(mark_of(before[0], LAMP), "a", 1)
    assert session.painted(before[0].frame)[int(before[0].y), int(before[0].x)] == LAMP
    after = session.ranked_regions()
    assert after[0] != before[0]
    session.close()
    session = opened()  # from the journal
    assert session.ranked_regions() == after
    session.undo("a", 2)
    assert session.ranked_regions() == before


def test_the_pixels_of_a_region_are_those_of_its_voxels_without_a_mark(opened: Callable[..., LabelSession]) -> None:
    session, colors = opened(), truth(FRAMES)
    (first, *_) = session.ranked_regions()
    is_color = colors[first.frame] == colors[first.frame, int(first.y), int(first.x)]
    assert (session.ranked_region_at(first.frame, first.x, first.y) == is_color).mean() > 0.95  # but for shared voxels
    void = {"kind": "click", "x": first.x, "y": first.y, "radius": 1}
    session.add_mark(Mark.from_json({"frame": first.frame, "class_id": None, "action": "void", "shape": void}), "a", 0)
    (first, *_) = session.ranked_regions()
    pixels = session.ranked_region_at(first.frame, first.x, first.y)
    assert not (pixels & (session.painted(first.frame) != -1)).any()


def test_what_is_sure_marked_or_beside_the_frame_is_no_region(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    with pytest.raises(SceneError, match=r"Expected a region that is not sure at \(5, 5\) of frame_0, found none"):
        session.ranked_region_at(0, 5.0, 5.0)
    with pytest.raises(SceneError, match=r"at \(5, 9\) of frame_0, found none"):
        session.ranked_region_at(0, 5.0, 9.0)  # near it, of the same colour
    for x, y in ((-0.1, 5.0), (float(WIDTH), 5.0), (5.0, -0.1), (5.0, float(HEIGHT))):
        with pytest.raises(SceneError, match=r"Expected a place in the frame of 32x24 pixels, found"):
            session.ranked_region_at(0, x, y)
    with pytest.raises(SceneError, match=r"Expected a frame 0\.\.2, found 3"):
        session.ranked_region_at(3, 5.0, 5.0)


def test_a_place_means_a_region_of_the_finer_surface_once_that_has_taken_over(
    opened: Callable[..., LabelSession], finer: LabelSurface
) -> None:
    session = opened(finer=finer)
    assert session.wait_for_finer()
    (first, *_) = session.ranked_regions()
    assert first == SurfaceRegions(finer).ranked(session._spread(), {}).ranks[0]
    assert session.ranked_region_at(first.frame, first.x, first.y)[int(first.y), int(first.x)]


def test_regions_and_their_pixels_come_over_the_server(tmp_path: Path) -> None:
    session = SmallSession(num_frames=3, height=48, width=64)
    with serving(session, tmp_path) as server:
        answer = ask(server.port, "/api/ranked_regions").content
        assert answer == {"revision": 0, "ranked": [asdict(rank) for rank in session.ranked_regions()]}
        first = answer["ranked"][0]
        place = f"/api/frame/{first['frame']}/ranked?x={first['x']}&y={first['y']}"
        pixels = np.frombuffer(ask(server.port, place).body, np.uint8).reshape(48, 64)
        assert (pixels == session.ranked_region_at(first["frame"], first["x"], first["y"])).all()


def test_pixels_without_a_place_are_refused(tmp_path: Path) -> None:
    with serving(SmallSession(num_frames=1, height=48, width=64), tmp_path) as server:
        for query in ("", "?x=3", "?y=3", "?x=3&y=", "?x=nan&y=3", "?x=3&y=inf", "?x=a&y=3"):
            refused = ask(server.port, f"/api/frame/0/ranked{query}")
            assert refused.status == 400
            assert refused.sentence.startswith("Expected the pixel of a place as '")


def test_pixels_of_no_region_are_refused(opened: Callable[..., LabelSession], tmp_path: Path) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    with serving(session, tmp_path / "exports") as server:
        for frame, x, status in ((0, 5, 400), (0, 32, 400), (0, -1, 400), (3, 5, 404)):
            refused = ask(server.port, f"/api/frame/{frame}/ranked?x={x}&y=5")
            assert (refused.status, refused.sentence[:8]) == (status, "Expected")
