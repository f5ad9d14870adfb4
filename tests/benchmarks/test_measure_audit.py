"""Planted errors are what they are called, and precision and recall count them as they should."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.audit.planted_errors import PLANT, Listed, Planted, plant, precision_and_recall, recall_by_kind
from benchmarks.audit.run import copy_with_errors
from semantic_ns.io.images import read_label_image

SHAPE = (40, 60)
CLASSES = (3, 5, 8)


def scene_labels() -> np.ndarray:
    """Void at the top, class 3 left, class 5 right, and a box of class 8."""
    labels = np.zeros(SHAPE, np.int64)
    labels[5:, :30], labels[5:, 30:], labels[20:30, 10:30] = 3, 5, 8
    return labels


@pytest.mark.parametrize("kind", PLANT)
@pytest.mark.parametrize("seed", range(5))
def test_a_planted_error_leaves_void_and_the_input_alone_and_gives_classes_of_the_scene(kind: str, seed: int) -> None:
    labels = scene_labels()
    changed = PLANT[kind](labels, CLASSES, np.random.default_rng(seed), 100)
    assert (labels == scene_labels()).all()
    assert (changed != labels).sum() >= 50
    assert (changed[:5] == 0).all()
    assert set(np.unique(changed)) <= {0, *CLASSES}


def test_an_instance_is_changed_whole() -> None:
    labels = scene_labels()
    changed = PLANT["instance"](labels, CLASSES, np.random.default_rng(0), 100)
    # The other two regions are larger than a fifth of the image.
    assert ((changed != labels) == (labels == 8)).all()


def test_a_swap_is_its_own_inverse() -> None:
    labels = scene_labels()
    changed = PLANT["swap"](labels, CLASSES, np.random.default_rng(0), 100)
    assert ((changed == 0) == (labels == 0)).all()
    assert sorted(np.bincount(changed.ravel())) == sorted(np.bincount(labels.ravel()))


def test_nothing_is_planted_where_no_region_is_large_enough() -> None:
    labels = scene_labels()
    for kind in ("instance", "swap"):
        assert (PLANT[kind](labels, CLASSES, np.random.default_rng(0), labels.size) == labels).all()


def test_the_seed_fixes_the_errors_and_every_changed_pixel_of_a_large_error_is_known() -> None:
    images = [scene_labels() for _ in range(10)]
    shares = {"instance": 0.2, "blob": 0.3, "swap": 0.1}
    changed, planted = plant(images, CLASSES, shares, 1, 1)
    again, _ = plant(images, CLASSES, shares, 1, 1)
    other, _ = plant(images, CLASSES, shares, 2, 1)
    assert all((a == b).all() for a, b in zip(changed, again, strict=True))
    assert any((a != b).any() for a, b in zip(changed, other, strict=True))
    assert sum(bool((a != b).any()) for a, b in zip(changed, images, strict=True)) == 6
    for frame, (before, after) in enumerate(zip(images, changed, strict=True)):
        known = np.zeros(SHAPE, int)
        for error in planted:
            if error.frame == frame:
                known += error.mask
                assert (after[error.mask] == error.wrong).all()
        assert (known == (before != after)).all()


def box(top: int, bottom: int, left: int = 0, right: int = 10) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


def error(frame: int, mask: np.ndarray, kind: str = "blob") -> Planted:
    return Planted(frame, kind, mask, 5, np.full(SHAPE, 3))


def test_precision_and_recall_count_what_they_say() -> None:
    planted = [error(0, box(0, 10)), error(1, box(0, 10)), error(2, box(0, 10), "swap")]
    listed = [
        Listed(0, box(0, 5), 3),  # half of the error: found, and right
        Listed(1, box(0, 4), 8),  # less than half of the error, and the wrong class
        Listed(1, box(7, 21), 3),  # less than half of it is an error, but it completes the other one
        Listed(3, box(0, 10), 3),  # an image without errors
    ]
    first, second, third, last = precision_and_recall(listed, planted, [1, 2, 3, 4])
    assert first == {"regions": 1, "precision": 1, "precision_with_class": 1, "recall": pytest.approx(1 / 3)}
    assert second == {"regions": 2, "precision": 1, "precision_with_class": 0.5, "recall": pytest.approx(1 / 3)}
    assert third["recall"] == pytest.approx(2 / 3)
    assert third["precision"] == pytest.approx(2 / 3)
    assert last["precision"] == 0.5
    assert recall_by_kind(listed, planted) == {"blob": 1.0, "swap": 0.0}


def test_crumbs_of_an_error_need_not_be_found_but_are_no_false_alarm() -> None:
    crumb = replace(error(0, box(0, 2), "swap"), is_to_be_found=False)
    planted = [error(0, box(10, 20)), crumb]
    (row,) = precision_and_recall([Listed(0, box(0, 2), 3)], planted, [1])
    assert row == {"regions": 1, "precision": 1, "precision_with_class": 1, "recall": 0}
    assert recall_by_kind([], planted) == {"blob": 0.0}


def test_an_empty_list_has_no_precision_and_finds_nothing() -> None:
    (row,) = precision_and_recall([], [error(0, box(0, 10))], [0])
    assert np.isnan(row["precision"])
    assert row["recall"] == 0


def test_errors_are_planted_in_a_copy_alone_and_in_training_labels_alone(replica_scene: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in replica_scene.rglob("*") if path.is_file()}
    planted = copy_with_errors(replica_scene, tmp_path / "scene", {"instance": 1.0}, seed=0, smallest=20)
    assert planted
    assert {path: path.read_bytes() for path in replica_scene.rglob("*") if path.is_file()} == before
    changed = {
        path.relative_to(replica_scene)
        for path, content in before.items()
        if (tmp_path / "scene" / path.relative_to(replica_scene)).read_bytes() != content
    }
    assert changed
    assert {path.parent.name for path in changed} == {"semantic_class"}
    # A changed image may be without an error of 20 pixels only if nothing in it was large enough.
    assert len({error.frame for error in planted}) == len(changed)
    for path in changed:
        copied = tmp_path / "scene" / path
        assert not copied.is_symlink()
        assert read_label_image(copied).shape == (36, 48)
