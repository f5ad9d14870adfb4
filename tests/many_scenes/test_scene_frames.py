"""Frames of a scene are read one by one when they are asked for, and what is kept of them has a bound."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.labels.taxonomy import VOID
from semantic_ns.many_scenes.scene_frames import FrameCache, SceneFrames, frames_of, read_views
from semantic_ns.many_scenes.views import SceneViews
from support.hand_made_scene import rewrite
from support.rooms import note_reads, parser_of
from support.views import random_cameras, scene_views

BYTES = {"color": 6 * 8 * 3, "labels": 6 * 8 * 2, "depth": 6 * 8 * 4, "mask": 6 * 8}


class Reads:
    """Frames that are read out of others in memory, and a list of what was read."""

    def __init__(self, views: SceneViews, **options: Any) -> None:
        self.read: list[tuple[str, int]] = []
        depths, masks = views.depths_m, views.masks
        self.frames = SceneFrames(
            views.cameras,
            views.size,
            views.metres_per_unit,
            self._of("color", views.images),
            self._of("labels", views.labels),
            None if depths is None else self._of("depth", depths),
            None if masks is None else self._of("mask", masks),
            **options,
        )

    def _of(self, kind: str, values: Tensor) -> Callable[[int], Tensor]:
        def read(frame: int) -> Tensor:
            self.read.append((kind, frame))
            return values[frame].clone()

        return read


def numbers(*frames: int) -> Tensor:
    return torch.tensor(frames)


def dataset_of(scene: Path, **options: Any) -> SemanticDataset:
    parser = parser_of(scene, split="all", metres_per_unit=1.0)
    return SemanticDataset(parser.get_dataparser_outputs("train"), **options)


def content(scene: Path, max_width: int | None = None, **options: Any) -> str:
    text = frames_of(dataset_of(scene, **options), max_width).content
    assert text is not None
    return text()


@pytest.fixture
def scene(nerfstudio_scene: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(nerfstudio_scene, tmp_path / "scene"))


def test_of_the_frames_that_are_asked_for_what_is_asked_for_is_read_and_nothing_else() -> None:
    views = scene_views(random_cameras(5))
    reads = Reads(views)
    assert len(reads.frames) == 5
    assert reads.frames.has_depth
    assert reads.read == []
    assert torch.equal(reads.frames.colors(numbers(3, 0)), views.colors(numbers(3, 0)))
    assert reads.read == [("color", 3), ("color", 0)]
    assert torch.equal(reads.frames.labels_of(numbers(2)), views.labels[2:3])
    depths = reads.frames.depths_of(numbers(4))
    assert depths is not None
    assert views.depths_m is not None
    assert torch.equal(depths, views.depths_m[4:5])
    assert reads.frames.masks_of(numbers(4)) is None
    assert reads.read[2:] == [("labels", 2), ("depth", 4)]


def test_outside_its_mask_a_frame_is_void_and_of_unknown_depth() -> None:
    views = scene_views(random_cameras(3))
    masks = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(3)) < 0.5
    found = Reads(replace(views, masks=masks)).frames.whole()
    expected = views.masked(masks)
    assert found.masks is not None
    assert found.depths_m is not None
    assert expected.depths_m is not None
    assert torch.equal(found.masks, masks)
    assert torch.equal(found.labels, expected.labels)
    assert bool((found.labels[~masks] == VOID).all())
    assert torch.equal(found.depths_m, expected.depths_m)


def test_without_depth_there_is_none_to_read() -> None:
    frames = Reads(scene_views(random_cameras(2), has_depth=False)).frames
    assert not frames.has_depth
    assert frames.depths_of(numbers(0, 1)) is None
    assert frames.whole().depths_m is None


def test_what_is_kept_is_read_once_and_what_is_not_each_time() -> None:
    cache, views = FrameCache(1 << 20), scene_views(random_cameras(3))
    kept, anew = Reads(views, keep=cache.of_scene(0)), Reads(views)
    for reads in (kept, anew):
        for _ in range(3):
            reads.frames.whole()
    assert len(kept.read) == 3 * 3
    assert len(anew.read) == 3 * 3 * 3
    assert (len(cache), cache.num_bytes) == (9, 3 * sum(BYTES[kind] for kind in ("color", "labels", "depth")))


def test_two_scenes_of_one_memory_do_not_meet_in_it() -> None:
    cache = FrameCache(1 << 20)
    for scene in (0, 1):
        views = scene_views(random_cameras(3, seed=scene))
        views = replace(views, images=views.images + scene)
        assert torch.equal(Reads(views, keep=cache.of_scene(scene)).frames.whole().images, views.images)


@pytest.mark.parametrize("most", [0, 1, BYTES["color"], 5 * BYTES["color"], 11 * BYTES["color"] - 1])
def test_no_more_is_kept_than_the_bound_whatever_is_read(most: int) -> None:
    cache, views = FrameCache(most), scene_views(random_cameras(20))
    frames = Reads(views, keep=cache.of_scene(0)).frames
    for frame in torch.randint(20, (200,), generator=torch.Generator().manual_seed(0)).tolist():
        assert torch.equal(frames.images_of(numbers(frame))[0], views.images[frame])
        assert cache.num_bytes == len(cache) * BYTES["color"] <= most
    assert len(cache) == most // BYTES["color"]


def test_the_frame_used_longest_ago_goes_first() -> None:
    cache = FrameCache(3 * BYTES["color"])
    reads = Reads(scene_views(random_cameras(5)), keep=cache.of_scene(0))
    for frame in (0, 1, 2, 0, 3, 0, 2, 1):  # 3 takes the place of 1, and then 1 that of 3
        reads.frames.images_of(numbers(frame))
    assert [frame for _, frame in reads.read] == [0, 1, 2, 3, 1]
    reads.frames.images_of(numbers(0, 2))
    assert len(reads.read) == 5


def test_a_frame_that_cannot_be_read_is_not_kept() -> None:
    cache, tries = FrameCache(1 << 20), []

    def read() -> Tensor:
        tries.append(1)
        if len(tries) == 1:
            raise SceneError("Expected a file, found none; restore it.")
        return torch.ones(1)

    with pytest.raises(SceneError):
        cache.get("a", read)
    assert len(cache) == 0
    assert torch.equal(cache.get("a", read), torch.ones(1))


def test_frames_of_a_data_set_are_those_of_all_its_images_and_its_labels_are_not_kept_in_full(
    nerfstudio_scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, dataset = note_reads(monkeypatch), dataset_of(nerfstudio_scene)
    frames = frames_of(dataset, 24)
    assert (len(frames), frames.size, opened) == (12, (18, 24), [])
    whole = read_views(dataset, 24)
    opened.clear()
    for frame in (7, 2, 7):
        assert torch.equal(frames.images_of(numbers(frame))[0], whole.images[frame])
        assert torch.equal(frames.labels_of(numbers(frame))[0], whole.labels[frame])
    assert opened == [dataset.image_filenames[frame] for frame in (7, 2, 7)]
    assert dataset.num_kept_labels == 0


@pytest.mark.parametrize(
    ("folder", "kind"), [("images", "colour image"), ("semantics", "label image"), ("depth", "depth image")]
)
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_frame_that_is_lost_after_the_scene_was_opened_is_one_sentence_with_its_path_when_it_is_read(
    folder: str, kind: str, damage: str, scene: Path
) -> None:
    frames = frames_of(dataset_of(scene))
    path = scene / folder / "frame_00005.png"
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    read = {"images": frames.images_of, "semantics": frames.labels_of, "depth": frames.depths_of}[folder]
    read(numbers(4, 6))
    with pytest.raises(SceneError, match=rf"^Expected a .*{kind} at .*{folder}/frame_00005\.png, found") as raised:
        read(numbers(4, 5))
    assert "\n" not in str(raised.value)


def test_a_copied_scene_has_the_same_content_and_its_labels_and_depth_do_not_count(
    nerfstudio_scene: Path, scene: Path
) -> None:
    Image.fromarray(np.full((36, 48), 40, np.uint8)).save(scene / "semantics" / "frame_00001.png")
    (scene / "depth" / "frame_00002.png").unlink()
    Image.fromarray(np.full((36, 48), 999, np.uint16)).save(scene / "depth" / "frame_00002.png")
    assert content(scene) == content(nerfstudio_scene)


def other_color(scene: Path) -> None:
    path = scene / "images" / "frame_00011.png"
    with Image.open(path) as image:
        pixels = np.array(image)
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)


def other_pose(scene: Path) -> None:
    def change(written: dict[str, Any]) -> None:
        written["frames"][3]["transform_matrix"][0][3] += 0.01

    rewrite(scene, change)


def other_focal_length(scene: Path) -> None:
    rewrite(scene, lambda written: written.update(fl_x=written["fl_x"] + 0.5))


def with_distortion(scene: Path) -> None:
    rewrite(scene, lambda written: written.update(k1=0.001))


def with_mask(scene: Path) -> None:
    mask = np.full((36, 48), 255, np.uint8)
    mask[:3] = 0
    (scene / "masks").mkdir()
    Image.fromarray(mask).save(scene / "masks" / "1.png")
    rewrite(scene, lambda written: written["frames"][1].update(mask_path="masks/1.png"))


@pytest.mark.parametrize("change", [other_color, other_pose, other_focal_length, with_distortion, with_mask])
def test_another_colour_camera_or_mask_is_another_content(change: Callable[[Path], None], scene: Path) -> None:
    before = content(scene)
    change(scene)
    assert content(scene) != before


def test_another_size_is_another_content(scene: Path) -> None:
    assert len({content(scene), content(scene, 24), content(scene, scale_factor=0.5)}) == 3


def test_a_missing_image_is_told_when_content_is_looked_at(scene: Path) -> None:
    frames = frames_of(dataset_of(scene))
    (scene / "images" / "frame_00004.png").unlink()
    assert frames.content is not None
    with pytest.raises(SceneError, match=r"Expected a colour image at .*frame_00004\.png, found none"):
        frames.content()
