"""Each supervision mode against the text of its definition, pixel by pixel."""

import cv2
import numpy as np
import pytest
import torch
import tyro

from semantic_ns.errors import SceneError
from semantic_ns.evaluation.metrics import confusion_matrix, segmentation_scores
from semantic_ns.labels.corruption import (
    CorruptedScene,
    CorruptionConfig,
    add_pixel_noise,
    corrupt_labels,
    frame_number,
    lower_resolution_dense,
    lower_resolution_sparse,
)
from semantic_ns.labels.corruption_frames import evenly_spaced
from semantic_ns.labels.corruption_propagation import keep_grown_regions
from support.corruption_reference import even, grown_regions

NUM_CLASSES = 4


def random_labels(shape=(24, 32), seed=0, num_classes=NUM_CLASSES):
    """Blocks of classes -1..C-1, so that regions are connected."""
    blocks = np.random.default_rng(seed).integers(-1, num_classes, (shape[0] // 4, shape[1] // 4))
    return np.kron(blocks, np.ones((4, 4))).astype(np.int16)


def frames(count=6, **options):
    return [random_labels(seed=seed, **options) for seed in range(count)]


def corrupt(labels, scene=None, **options):
    scene = scene or CorruptedScene()
    return corrupt_labels(labels, CorruptionConfig(**options), NUM_CLASSES, scene)


def labelled(images):
    return [i for i, image in enumerate(images) if (image != -1).any()]


def assert_all_equal(images, others):
    for image, other in zip(images, others, strict=True):
        np.testing.assert_array_equal(image, other)


def test_even_spacing_gives_the_published_indices():
    assert evenly_spaced(18, 180).tolist() == list(range(0, 180, 10))
    assert evenly_spaced(2, 180).tolist() == [0, 90]
    indices = evenly_spaced(72, 180).tolist()
    assert indices[:3] == [0, 3, 6]
    assert set(np.diff(indices[36:])) == {2}
    for count, total in [(0, 5), (1, 5), (3, 7), (7, 7), (5, 180)]:
        assert evenly_spaced(count, total).tolist() == even(count, total)
    with pytest.raises(ValueError, match=r"0\.\.5"):
        evenly_spaced(6, 5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sparse_ratio": 0.0, "sparse_order": "random"},
        {"pixel_noise": 0.0, "seed": 5},
        {"region_noise": 0.0, "region_classes": ("a",)},
        {"super_resolution": 1, "super_resolution_mode": "dense"},
    ],
)
def test_ratio_zero_and_factor_one_change_nothing(options):
    assert CorruptionConfig(**options).is_clean
    assert_all_equal(corrupt(frames(), **options), frames())


@pytest.mark.parametrize(
    "options",
    [
        {"sparse_ratio": 0.1},
        {"label_frames": ("1",)},
        {"pixel_noise": 0.1},
        {"region_noise": 0.1},
        {"super_resolution": 2},
        {"propagation": 0.0},
        {"propagation": 100.0},
    ],
)
def test_any_mode_is_not_clean(options):
    assert not CorruptionConfig(**options).is_clean


@pytest.mark.parametrize(("ratio", "num_kept"), [(0.6, 72), (0.9, 18), (0.95, 9), (0.99, 2), (0.5, 90), (0.2, 144)])
@pytest.mark.parametrize("order", ["even", "random"])
def test_sparse_frames_keep_the_published_numbers(ratio, num_kept, order):
    images = [np.zeros((2, 2), np.int16)] * 180
    kept = labelled(corrupt(images, sparse_ratio=ratio, sparse_order=order))
    assert len(kept) == num_kept
    if order == "even":
        dropped = even(180 - num_kept, 180)
        expected = even(num_kept, 180) if ratio > 0.5 else [i for i in range(180) if i not in dropped]
        assert kept == expected


def test_frames_without_label_do_not_count_as_dropped_ones():
    images = frames(8)
    for i in (1, 4):
        images[i][:] = -1
    assert len(labelled(corrupt(images, sparse_ratio=0.5))) == 3


def test_options_come_from_the_command_line():
    words = ["--propagation", "0", "--seed", "1", "--label-frames", "3", "rgb_7", "--super-resolution-mode", "dense"]
    expected = CorruptionConfig(propagation=0.0, seed=1, label_frames=("3", "rgb_7"), super_resolution_mode="dense")
    assert tyro.cli(CorruptionConfig, args=words) == expected


def test_other_seeds_drop_other_random_frames():
    kept = [labelled(corrupt(frames(20), sparse_ratio=0.5, sparse_order="random", seed=seed)) for seed in (0, 0, 1)]
    assert kept[0] == kept[1] != kept[2]


def test_chosen_frames_are_found_by_name_or_number():
    scene = CorruptedScene(frame_names=[f"rgb_{10 * i:03d}" for i in range(6)])
    assert labelled(corrupt(frames(), scene, label_frames=("rgb_020", "50", "0"))) == [0, 2, 5]
    with pytest.raises(SceneError, match=r"label-frames 7,.*there are rgb_000, rgb_010"):
        corrupt(frames(), scene, label_frames=("20", "7"))


def test_the_number_of_a_frame_is_its_last_one():
    assert [frame_number(name) for name in ("rgb_012", "12", "frame.0007.color", "door")] == [12, 12, 7, None]


def test_pixel_noise_touches_exactly_its_share_and_draws_from_all_values():
    image = np.full((50, 60), 2, np.int16)
    # Values that no draw gives show which pixels were touched.
    noisy = add_pixel_noise(np.full((50, 60), 99, np.int16), 0.37, NUM_CLASSES, np.random.default_rng(3))
    assert (noisy != 99).sum() == int(50 * 60 * 0.37)
    values, counts = np.unique(noisy[noisy != 99], return_counts=True)
    assert values.tolist() == [-1, 0, 1, 2, 3]
    assert (np.abs(counts / counts.sum() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / counts.sum())).all()
    unchanged = np.mean(add_pixel_noise(image, 0.5, NUM_CLASSES, np.random.default_rng(0)) == image)
    assert unchanged == pytest.approx(1 - 0.5 + 0.5 / 5, abs=0.03)


def test_pixel_noise_may_label_void_pixels_of_labelled_frames_but_no_frame_without_label():
    image, empty = np.full((40, 40), -1, np.int16), np.full((40, 40), -1, np.int16)
    image[0, 0] = 1
    result = corrupt([image, empty], pixel_noise=1.0)
    assert (result[0] != -1).sum() > 1000
    assert (result[1] == -1).all()


@pytest.mark.parametrize("ratio", [0.5, 0.9])
def test_input_accuracy_of_pixel_noise_is_that_of_the_released_metric(ratio):
    """((1 - rho) + rho / n) / (1 - rho / n) with n = C + 1, predictions of void being left out."""
    num_classes = 22
    clean = np.random.default_rng(0).integers(0, num_classes, (300, 400)).astype(np.int16)
    noisy = corrupt_labels([clean], CorruptionConfig(pixel_noise=ratio), num_classes)[0]
    target = torch.from_numpy(np.where(noisy == -1, -1, clean))
    scores = segmentation_scores(confusion_matrix(torch.from_numpy(noisy), target, num_classes))
    n = num_classes + 1
    expected = ((1 - ratio) + ratio / n) / (1 - ratio / n)
    assert scores.pixel_accuracy == pytest.approx(expected, abs=0.006)
    # Table 1 of Zhi et al. 2021, whose scenes have about so many values.
    assert expected == pytest.approx({0.5: 0.533, 0.9: 0.145}[ratio], abs=0.005)


def test_frames_do_not_depend_on_each_other():
    images = frames()
    changed = [*images[:2], random_labels(seed=77), *images[3:]]
    for options in ({"pixel_noise": 0.4}, {"propagation": 20.0}, {"super_resolution": 4}):
        results, others = corrupt(images, **options), corrupt(changed, **options)
        assert_all_equal(results[:2] + results[3:], others[:2] + others[3:])


def test_a_seed_gives_the_same_labels_and_another_one_others():
    options = {"pixel_noise": 0.4, "propagation": 20.0}
    assert_all_equal(corrupt(frames(), seed=1, **options), corrupt(frames(), seed=1, **options))
    different = zip(corrupt(frames(), seed=1, **options), corrupt(frames(), seed=2, **options), strict=True)
    assert all((one != other).any() for one, other in different)


def test_the_input_stays_as_it_is():
    images = frames()
    instances = [np.ones(image.shape, np.int64) for image in images]
    scene = CorruptedScene(("a", "b", "c", "d"), [str(i) for i in range(6)], instances)
    corrupt(
        images, scene, sparse_ratio=0.3, pixel_noise=0.5, region_noise=1.0, region_classes=("a", "b", "c", "d"),
        super_resolution=2, propagation=50.0,
    )  # fmt: skip
    assert_all_equal(images, frames())


@pytest.mark.parametrize("factor", [2, 3, 8, 16])
@pytest.mark.parametrize("shape", [(240, 320), (37, 50), (17, 16)])
def test_dense_super_resolution_is_opencvs_nearest_neighbour_there_and_back(shape, factor):
    image = np.random.default_rng(0).integers(-1, 90, shape).astype(np.int16)
    height, width = shape
    small = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_NEAREST)
    expected = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(lower_resolution_dense(image, factor), expected)


def test_sparse_super_resolution_keeps_every_sth_row_and_column():
    image = np.random.default_rng(0).integers(0, 90, (240, 320)).astype(np.int16)
    result = lower_resolution_sparse(image, 8)
    assert (result != -1).sum() == 40 * 30
    for row in range(0, 240, 5):
        for column in range(0, 320, 4):
            is_kept = row % 8 == 0 and column % 8 == 0
            assert result[row, column] == (image[row, column] if is_kept else -1)


@pytest.mark.parametrize("percent", [0.0, 1.0, 5.0, 10.0, 37.0, 80.0, 100.0])
@pytest.mark.parametrize("seed", range(4))
def test_grown_regions_are_those_of_repeated_dilation(percent, seed):
    image = random_labels(seed=seed)
    if seed == 3:  # scattered pixels, where dilations add nothing again and again
        image = np.where(np.random.default_rng(1).random(image.shape) < 0.04, image, np.int16(-1))
    result = keep_grown_regions(image, percent, np.random.default_rng(seed))
    np.testing.assert_array_equal(result, grown_regions(image, percent, np.random.default_rng(seed)))


def test_a_single_click_labels_one_pixel_of_each_class_and_all_percent_every_valid_pixel():
    for image in frames():
        (clicks,) = corrupt([image], propagation=0.0)
        present = np.unique(image[image != -1])
        assert sorted(clicks[clicks != -1].tolist()) == present.tolist()
        assert (image[clicks != -1] == clicks[clicks != -1]).all()
        assert_all_equal(corrupt([image], propagation=100.0), [image])


def test_clicks_fall_on_every_pixel_of_a_class_alike():
    image = np.full((4, 4), -1, np.int16)
    image[1:3, 0:4] = 0
    hits = np.sum([clicks == 0 for clicks in corrupt([image] * 600, propagation=0.0)], axis=0)
    assert hits[image == -1].sum() == 0
    assert (np.abs(hits[image == 0] / 600 - 1 / 8) < 0.055).all()


def test_modes_compose_in_the_stated_order():
    images, instances = frames(4), [np.kron(np.arange(12).reshape(3, 4), np.ones((8, 8), np.int64))] * 4
    scene = CorruptedScene(("a", "b", "c", "d"), ["0", "1", "2", "3"], instances)
    modes = [
        {"label_frames": ("0", "1", "3"), "sparse_ratio": 0.4},
        {"region_noise": 0.6, "region_classes": ("a", "c")},
        {"pixel_noise": 0.3},
        {"super_resolution": 2, "super_resolution_mode": "dense"},
        {"propagation": 30.0},
    ]
    step_by_step = images
    for options in modes:
        step_by_step = corrupt(step_by_step, scene, seed=9, **options)
    at_once = corrupt(images, scene, seed=9, **{name: value for mode in modes for name, value in mode.items()})
    assert_all_equal(at_once, step_by_step)
    assert labelled(at_once) == [1, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparse_ratio": 1.2}, r"0 to 1 for --pipeline\.datamanager\.corruption\.sparse-ratio, found 1\.2"),
        ({"pixel_noise": -0.1}, "pixel-noise, found -0.1"),
        ({"pixel_noise": float("nan")}, "pixel-noise, found nan"),
        ({"region_noise": 2.0}, "region-noise, found 2.0"),
        ({"propagation": 101.0}, "0 to 100 .*propagation, found 101"),
        ({"super_resolution": 0}, "at least 1 .*super-resolution, found 0"),
        ({"super_resolution": 64, "super_resolution_mode": "dense"}, "at least 64 pixels .* found 24"),
        ({"seed": -1, "pixel_noise": 0.5}, "seed, found -1"),
        ({"region_noise": 0.5}, "region-classes"),
        ({"region_noise": 0.5, "region_classes": ("sofa",)}, "found 'sofa'; there are a, b, c, d"),
        ({"region_noise": 0.5, "region_classes": ("a",)}, "instance images"),
        ({"sparse_ratio": 1.0}, "labelled pixel .* found none after the corruption sparse_ratio 1.0"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(options, message):
    scene = CorruptedScene(("a", "b", "c", "d"), [str(i) for i in range(6)])
    with pytest.raises(SceneError, match=message) as caught:
        corrupt(frames(), scene, **options)
    assert "\n" not in str(caught.value)
