"""Region-wise noise: which instances, in which frames, and what becomes of them."""

import numpy as np
import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labels.corruption import CorruptedScene, CorruptionConfig, corrupt_labels
from semantic_ns.labels.corruption_regions import noisy_regions
from support.corruption_reference import noisy_pairs

NAMES = ("wall", "chair", "table")
CHAIRS = (5, 9)
CLASS_OF_INSTANCE = {2: 0, 5: 1, 9: 1, 7: 2}


@pytest.fixture(scope="module")
def scene():
    """Twelve frames in which chairs 5 and 9 and the table 7 move before the wall 2; chair 9 is out of sight in some."""
    labels, instances = [], []
    for frame in range(12):
        ids = np.full((20, 30), 2, np.int64)
        ids[2 : 4 + (frame * 5) % 12, 3:8] = 5
        if frame % 3:
            ids[5 : 6 + (frame * 7) % 11, 12:15] = 9
        ids[10:15, 20:28] = 7
        image = np.vectorize(CLASS_OF_INSTANCE.get)(ids).astype(np.int16)
        image[0, 3:10] = -1
        image[2, 3] = 0  # a label that bleeds over the edge
        labels.append(image)
        instances.append(ids)
    labels[4][:] = -1
    return labels, CorruptedScene(NAMES, [str(i) for i in range(12)], instances)


def corrupt(scene, **options):
    labels, description = scene
    config = CorruptionConfig(region_classes=("chair",), **options)
    return corrupt_labels(labels, config, len(NAMES), description)


@pytest.mark.parametrize("order", ["even", "sort"])
@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.5, 0.6, 1.0])
def test_frames_of_an_instance_are_chosen_by_its_area_as_published(scene, order, ratio):
    labels, description = scene
    found = list(noisy_regions(labels, description.instances, {1}, ratio, order))
    assert found == noisy_pairs(labels, description.instances, CHAIRS, ratio, order)
    if ratio == 0.05:
        assert found == []  # int(11 * 0.05) = 0, where the released code divides by zero
    if ratio == 1.0:
        assert len(found) == 11 + 7


@pytest.mark.parametrize("order", ["even", "sort"])
def test_a_struck_instance_has_one_label_and_all_else_is_untouched(scene, order):
    labels, description = scene
    result = corrupt(scene, region_noise=0.6, region_order=order)
    struck = set(noisy_regions(labels, description.instances, {1}, 0.6, order))
    for frame, (image, noisy) in enumerate(zip(labels, result, strict=True)):
        is_struck = np.zeros(image.shape, bool)
        for instance in CHAIRS:
            if (frame, instance) in struck:
                region = description.instances[frame] == instance
                assert len(np.unique(noisy[region])) == 1
                is_struck |= region
        np.testing.assert_array_equal(noisy[~is_struck], image[~is_struck])


def test_labels_of_regions_are_drawn_from_void_and_all_classes_alike(scene):
    labels, description = scene
    drawn = []
    for seed in range(60):
        result = corrupt(scene, region_noise=1.0, seed=seed)
        for frame, instance in noisy_regions(labels, description.instances, {1}, 1.0, "even"):
            drawn.append(int(result[frame][description.instances[frame] == instance][0]))
    shares = np.bincount(np.array(drawn) + 1, minlength=4) / len(drawn)
    assert (np.abs(shares - 0.25) < 4 * np.sqrt(0.25 * 0.75 / len(drawn))).all()


def test_frames_without_instance_image_are_left_alone(scene):
    labels, description = scene
    instances = [None if frame == 5 else ids for frame, ids in enumerate(description.instances)]
    found = list(noisy_regions(labels, instances, {1}, 1.0, "even"))
    assert 5 not in {frame for frame, _ in found}
    assert len(found) == 11 + 7 - 2


def test_classes_without_an_instance_are_said(scene):
    labels, description = scene
    other = CorruptedScene((*NAMES, "lamp"), description.frame_names, description.instances)
    config = CorruptionConfig(region_noise=0.5, region_classes=("lamp",))
    with pytest.raises(SceneError, match="an instance of the classes"):
        corrupt_labels(labels, config, 4, other)
