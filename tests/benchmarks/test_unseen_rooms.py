"""The benchmark of unseen rooms: which pixels a source truly sees, what counts as wrong, and two tiny rooms."""

import json
from dataclasses import replace
from operator import and_, or_
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import unseen_rooms
from benchmarks.unseen_rooms import Table, Target, truly_seen
from benchmarks.unseen_rows import Row
from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManager, ManyScenesDataManagerConfig
from semantic_ns.geometry.views import ViewCameras
from semantic_ns.many_scenes.samples import Frames, TargetSample
from semantic_ns.many_scenes.scene_frames import read_views
from semantic_ns.many_scenes.source_selection import are_same_image
from semantic_ns.many_scenes.views import SceneViews
from semantic_ns.methods.source_views import RenderedImage
from support.new_rooms import write_room
from support.ring_of_views import pixel_of, sample_of_the_wall, world_point

NAMES = ("wall", "chair", "floor", "lamp", "ceiling")
SIZE = (12, 16)


def sample() -> TargetSample:
    """Two sources and a target before a wall, the depth of some pixels of each unknown."""
    made = sample_of_the_wall(2, SIZE)
    assert made.sources.depths_m is not None
    assert made.targets.depths_m is not None
    made.targets.depths_m[:, :4] = 0
    made.sources.depths_m[:, :, :5] = 0
    return made


def seen_slowly(frames: TargetSample) -> tuple[Tensor, Tensor]:
    """Pixels that a source sees, and pixels that certainly none sees: there is nothing but the wall to hide them."""
    seen, unseen = torch.zeros(SIZE, dtype=torch.bool), torch.zeros(SIZE, dtype=torch.bool)
    sources, truth = frames.sources, frames.targets
    assert sources.depths_m is not None
    assert truth.depths_m is not None
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            depth = float(truth.depths_m[0, row, column])
            if depth == 0:
                continue
            point, surfaces = world_point(truth.cameras, column, row, depth, SIZE), []
            for number in range(len(sources.cameras)):
                x, y, z = pixel_of(sources.cameras[number : number + 1], point, SIZE)
                if z > 0 and -0.5 <= x <= SIZE[1] - 0.5 and -0.5 <= y <= SIZE[0] - 0.5:
                    at = (min(int(y + 0.5), SIZE[0] - 1), min(int(x + 0.5), SIZE[1] - 1))
                    surfaces.append(float(sources.depths_m[number][at]))
            seen[row, column] = any(surface > 0 for surface in surfaces)
            unseen[row, column] = not surfaces
    return seen, unseen


def target_of(frames: TargetSample) -> Target:
    return Target(frames.sources, frames.targets, *truly_seen(frames.sources, frames.targets))


def test_a_pixel_whose_depth_or_that_of_its_source_is_unknown_is_neither_seen_nor_unseen() -> None:
    frames = sample()
    (_, seen), (_, unseen) = target_of(frames).parts
    expected_seen, expected_unseen = seen_slowly(frames)
    assert torch.equal(seen, expected_seen)
    assert torch.equal(unseen, expected_unseen)
    assert min(int(part.sum()) for part in (seen, unseen, ~seen & ~unseen)) > 0


def test_scores_of_seen_and_unseen_pixels_are_over_these_alone() -> None:
    frames, table = sample(), Table(NAMES)
    target, labels = target_of(frames), frames.targets.labels[0]
    table.classes("model", labels.clamp(min=0), target)
    table.depth("model", target.true_depth + 0.5, target)
    for where, part in zip(("seen by a source", "seen by none"), seen_slowly(frames), strict=True):
        row = table.rows[f"model, pixels {where}"]
        assert row.confusion is not None
        assert int(row.confusion.sum()) == int((part & (labels >= 0)).sum())
        assert row.depth.num_pixels == int(part.sum())
    whole = table.rows["model"]
    assert whole.confusion is not None
    assert int(whole.confusion.sum()) == int((labels >= 0).sum())


def test_what_is_not_predicted_is_wrong_as_a_class_and_as_a_thing_or_stuff() -> None:
    target, table = target_of(sample()), Table(NAMES)
    labels = target.truth.labels[0]
    table.classes("nothing", torch.full(SIZE, -1), target)
    scores = table.rows["nothing"].scores()
    assert (scores["accuracy"], scores["iou_of_things"], scores["iou_of_stuff"]) == (0, 0, 0)
    is_thing = (labels == 1) | (labels == 3)
    is_hole = torch.arange(SIZE[1]).expand(SIZE) % 3 == 0
    table.classes("holes", labels.clamp(min=0).masked_fill(is_hole, -1), target)
    scores = table.rows["holes"].scores()
    things, stuff = (float((part & ~is_hole).sum()) for part in (is_thing, (labels >= 0) & ~is_thing))
    assert scores["iou_of_things"] == pytest.approx(things / (float((labels >= 0).sum()) - stuff))
    assert scores["iou_of_stuff"] == pytest.approx(stuff / (float((labels >= 0).sum()) - things))


def test_miou_per_image_of_a_row_is_the_mean_over_images_of_a_loop_over_their_pixels() -> None:
    table, mious, generator = Table(NAMES), [], torch.Generator().manual_seed(0)
    for num_classes in (2, 5):
        labels = torch.randint(-1, num_classes, SIZE, generator=generator)
        predicted = torch.randint(-1, len(NAMES), SIZE, generator=generator)
        made = sample()
        target = target_of(replace(made, targets=replace(made.targets, labels=labels[None])))
        table.classes("model", predicted, target)
        # What is not predicted counts as the class after the true one.
        pairs = [
            (found if found >= 0 else (true + 1) % len(NAMES), true)
            for found, true in zip(predicted.flatten().tolist(), labels.flatten().tolist(), strict=True)
            if true >= 0
        ]
        ious = []
        for c in {true for _, true in pairs}:
            both, either = (sum(of(c == found, c == true) for found, true in pairs) for of in (and_, or_))
            ious.append(both / either)
        mious.append(sum(ious) / len(ious))
    scores = table.rows["model"].scores()
    assert scores["miou_per_image"] == pytest.approx(sum(mious) / 2)
    assert scores["miou_per_image"] != pytest.approx(scores["miou_present"])
    assert "miou_per_image" not in Row().scores()


class Oracle:
    """A model that knows the truth of the scored images, and classes of images by their brightness."""

    metres_per_unit = 1.0
    bounds = SimpleNamespace(near=0.3, far=8.0)

    def __init__(self, manager: ManyScenesDataManager) -> None:
        self.taxonomy = manager.dataparser.taxonomy
        self.config = SimpleNamespace(num_source_views=0, source_selection="coverage", use_source_labels=True)
        self._truth: list[SceneViews] = [read_views(dataset) for dataset in manager.scored_datasets()]
        self.asked: list[tuple[int | None, int, bool]] = []

    def train(self) -> None: ...

    def eval(self) -> None: ...

    def render_image(self, chosen: Any, camera: ViewCameras, size: tuple[int, int]) -> RenderedImage:
        self.asked.append((chosen.scene, len(chosen.frames), self.config.use_source_labels))
        views = self._truth[chosen.scene]
        (number,) = are_same_image(camera, views.cameras).nonzero()[:, 0]
        truth = Frames.of(views, number[None])
        assert truth.depths_m is not None
        logits = F.one_hot(truth.labels[0].clamp(min=0), self.taxonomy.num_classes).float()
        rgb = 0.05 + 0.9 * truth.images[0].permute(1, 2, 0)
        return RenderedImage(rgb, logits, truth.depths_m[0], torch.ones(size))

    def segment(self, images: Tensor) -> Tensor:
        classes = (images.mean(dim=1) * self.taxonomy.num_classes).long().clamp(max=self.taxonomy.num_classes - 1)
        return 9 * F.one_hot(classes, self.taxonomy.num_classes).permute(0, 3, 1, 2).float()

    def guess_depth(self, images: Tensor) -> Tensor:
        return torch.full((len(images), images.shape[2] // 4, images.shape[3] // 4), 1.5)


def test_a_model_that_knows_the_truth_of_two_rooms_is_right_and_no_other_row_beats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        write_room(tmp_path / f"rooms/room_{seed}", seed)
    manager = ManyScenesDataManager(ManyScenesDataManagerConfig(data=tmp_path / "rooms"), "cpu", "test")
    manager.eval_dataset.load_depth = True
    oracle = Oracle(manager)
    run = SimpleNamespace(model=oracle, pipeline=SimpleNamespace(datamanager=manager))
    monkeypatch.setattr(unseen_rooms, "load_run", lambda path: run)
    unseen_rooms.main(["run/config.yml", "--num-sources", "1", "2", "--output", str(tmp_path / "found.json")])
    assert oracle.asked == [(room, k, labels) for k in (1, 2) for room in (0, 1) for labels in (False, True)]
    found = json.loads((tmp_path / "found.json").read_text())
    printed = capsys.readouterr().out
    for name in ("K = 1", "K = 2"):
        part = found[name]
        rows = part["rows"]
        assert part["num_images"] == 2
        assert 0 < part["coverage"] < 1
        assert rows["model"]["accuracy"] == rows["labels: model"]["accuracy"] == 1
        assert rows["model"]["depth_l1"] == pytest.approx(0, abs=1e-6)
        assert rows["model"]["psnr"] > 20
        others = {other: row for other, row in rows.items() if not other.startswith(("model", "labels: model"))}
        assert [other for other, row in others.items() if row.get("accuracy", 0) == 1] == []
        assert [other for other, row in others.items() if row.get("depth_l1", 1) < 0.01] == []
        assert all(f"| {row} |" in printed for row in rows)
    assert found["K = 2"]["coverage"] > found["K = 1"]["coverage"]
