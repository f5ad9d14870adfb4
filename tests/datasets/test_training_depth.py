"""Depth that training may rely on is told from depth that it may not, and each pixel gets its distance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_depth import TrainingDepth, judge_depth, known_depth, read_training_depth
from semantic_ns.synthetic_scene import write_replica_scene

METRES_PER_UNIT = 2.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SemanticDataset:
    folder = tmp_path_factory.mktemp("scene")
    write_replica_scene(folder, 24, width=64, height=48)
    config = ReplicaDataParserConfig(data=folder, split="interval", eval_interval=4)
    return SemanticDataset(config.setup().get_dataparser_outputs("train"))


@pytest.fixture(scope="module")
def images(dataset: SemanticDataset) -> list[np.ndarray]:
    return list(read_training_depth(dataset)[0])


def verdict(dataset: SemanticDataset, images: list[np.ndarray]):
    return judge_depth(
        [image.astype(np.float32) for image in images], dataset.cameras, dataset.metadata["metres_per_unit"]
    )


def test_true_depth_is_used(dataset: SemanticDataset, images: list[np.ndarray]) -> None:
    found = verdict(dataset, images)
    assert found.is_usable
    assert "agree between views" in found.reason


@pytest.mark.parametrize("factor", [0.001, 0.25, 0.5, 2.0, 1000.0])
def test_depth_of_another_unit_is_not_used_and_its_unit_is_said(
    dataset: SemanticDataset, images: list[np.ndarray], factor: float
) -> None:
    found = verdict(dataset, [image * factor for image in images])
    assert not found.is_usable
    assert f"multiplied by {1 / factor:g}" in found.reason


def test_depth_of_other_frames_is_not_used(dataset: SemanticDataset, images: list[np.ndarray]) -> None:
    for others in (images[1:] + images[:1], images[::-1]):
        found = verdict(dataset, others)
        assert not found.is_usable
        assert "agree between views" in found.reason


def test_constant_and_empty_depth_is_not_used(dataset: SemanticDataset, images: list[np.ndarray]) -> None:
    constant = verdict(dataset, [np.full_like(image, 2.0) for image in images])
    assert not constant.is_usable
    assert "same value, 2 m" in constant.reason
    empty = verdict(dataset, [np.zeros_like(image) for image in images])
    assert not empty.is_usable
    assert "no pixel" in empty.reason


def test_depth_with_holes_noise_and_wrong_pixels_is_used(dataset: SemanticDataset, images: list[np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    for damaged in (
        [np.where(rng.random(image.shape) < 0.5, 0, image) for image in images],
        [image * (1 + 0.02 * rng.standard_normal(image.shape)) for image in images],
        [np.where(rng.random(image.shape) < 0.2, rng.uniform(0.5, 5, image.shape), image) for image in images],
        [np.where(np.arange(image.shape[0])[:, None] < image.shape[0] // 2, 0, image) for image in images],
        [image if index % 2 else np.zeros_like(image) for index, image in enumerate(images)],
    ):
        assert verdict(dataset, damaged).is_usable


@pytest.mark.parametrize(("offset_m", "said"), [(0.2, "m is subtracted from them"), (-0.2, "m is added to them")])
def test_depth_that_is_wrong_by_a_constant_says_the_constant(
    dataset: SemanticDataset, images: list[np.ndarray], offset_m: float, said: str
) -> None:
    found = verdict(dataset, [image + offset_m for image in images])
    assert found.is_usable
    before, _, _ = found.reason.partition(f" {said}")
    assert float(before.split()[-1]) == pytest.approx(abs(offset_m), abs=0.03)


def test_depth_of_sensors_with_noise_is_not_said_to_be_wrong_by_a_constant(
    dataset: SemanticDataset, images: list[np.ndarray]
) -> None:
    rng = np.random.default_rng(0)
    found = verdict(dataset, [image * (1 + 0.02 * rng.standard_normal(image.shape)) for image in images])
    assert found.reason.endswith("agree between views")


def test_single_images_with_depth_of_other_frames_are_named(dataset: SemanticDataset, images: list[np.ndarray]) -> None:
    assert verdict(dataset, images).wrong_frames == ()
    exchanged = list(images)
    exchanged[3], exchanged[12] = images[12], images[3]
    found = verdict(dataset, exchanged)
    assert found.is_usable
    assert found.wrong_frames == (3, 12)


def test_what_no_two_cameras_can_judge_is_used(dataset: SemanticDataset, images: list[np.ndarray]) -> None:
    found = judge_depth(images[:1], dataset.cameras[:1], dataset.metadata["metres_per_unit"])
    assert found.is_usable
    assert "too few" in found.reason


def test_unknown_is_zero_whatever_files_say() -> None:
    depth = np.array([[1.5, np.nan, np.inf], [-np.inf, -2.0, 0.0]])
    assert known_depth(depth).tolist() == [[1.5, 0, 0], [0, 0, 0]]


def slow_distance(cameras: Cameras, depth_m: np.ndarray, pixel: tuple[int, int, int]) -> float:
    """Length of the way to the point with a planar depth, with the pinhole written out."""
    image, row, column = pixel
    camera = cameras[image]
    x = (column + 0.5 - float(camera.cx)) / float(camera.fx)
    y = (row + 0.5 - float(camera.cy)) / float(camera.fy)
    return float(depth_m[row, column]) * (x * x + y * y + 1) ** 0.5 / METRES_PER_UNIT


def test_each_pixel_has_the_distance_along_its_ray_also_in_images_of_several_sizes() -> None:
    sizes = [(3, 5), (4, 2)]
    cameras = Cameras(
        torch.eye(4)[None, :3].repeat(2, 1, 1),
        fx=torch.tensor([[4.0], [3.0]]), fy=torch.tensor([[5.0], [3.0]]),
        cx=torch.tensor([[2.0], [1.0]]), cy=torch.tensor([[1.0], [2.0]]),
        width=torch.tensor([[5], [2]]), height=torch.tensor([[3], [4]]),
    )  # fmt: skip
    images = [np.random.default_rng(i).random(size).astype(np.float32) for i, size in enumerate(sizes)]
    images[0][1, 2] = 0

    def ray_lengths(index: int) -> torch.Tensor:
        return cameras.generate_rays(index).metadata["directions_norm"].view(sizes[index])

    depth = TrainingDepth.of(images, ray_lengths, METRES_PER_UNIT)
    pixels = [(i, r, c) for i, (h, w) in enumerate(sizes) for r in range(h) for c in range(w)]
    expected = [slow_distance(cameras, images[pixel[0]], pixel) for pixel in pixels]
    found = depth.at(torch.tensor(pixels))
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert found[pixels.index((0, 1, 2))] == 0
    beyond = depth.between(0.2, 0.4).at(torch.tensor(pixels))
    assert beyond.tolist() == pytest.approx([value if 0.2 < value < 0.4 else 0 for value in expected], rel=1e-5)
    others = depth.where_known(torch.tensor(pixels), torch.full((len(pixels),), 7.0))
    assert others.tolist() == pytest.approx([7.0 if value == 0 else value for value in expected], rel=1e-5)


def test_a_ray_learns_where_it_ends_unless_it_passes_close_to_something_nearer() -> None:
    images = [np.full((6, 160), 3, np.float32), np.full((6, 40), 3, np.float32)]
    images[0][:, 80], images[1][:, 20] = 2, 2
    images[0][0, 0] = 0
    depth = TrainingDepth.of(images, lambda index: torch.ones(images[index].shape), 1.0)
    pixels = torch.tensor([(i, r, c) for i, image in enumerate(images) for r, c in np.ndindex(image.shape)])
    given = np.concatenate([image.ravel() for image in images])
    learnt = [image.copy() for image in images]
    learnt[0][:, [78, 79, 81, 82]] = 0  # one pixel in eighty of a row
    learnt[1][:, [19, 21]] = 0
    assert depth.at(pixels).tolist() == given.tolist()
    assert depth.learnt_at(pixels).tolist() == np.concatenate([image.ravel() for image in learnt]).tolist()


def test_an_image_that_cannot_be_read_is_left_out_and_said(tmp_path: Path) -> None:
    write_replica_scene(tmp_path, 6, width=32, height=24)
    config = ReplicaDataParserConfig(data=tmp_path, split="interval", eval_interval=3)
    dataset = SemanticDataset(config.setup().get_dataparser_outputs("train"))
    damaged = dataset.metadata["depth_filenames"][1]
    damaged.write_bytes(b"no image")
    images, refusal = read_training_depth(dataset)
    assert refusal is not None
    assert str(damaged) in refusal
    assert "1 of 4 depth images" in refusal
    assert [bool(image.any()) for image in images] == [True, False, True, True]


def test_a_scene_without_depth_gives_none(dataset: SemanticDataset) -> None:
    metadata = {name: value for name, value in dataset.metadata.items() if name != "depth_filenames"}
    without = SemanticDataset(replace(dataset._dataparser_outputs, metadata=metadata))
    assert read_training_depth(without) == ([], None)


def test_images_of_which_nothing_is_known_share_their_pixels() -> None:
    known, wide, high = (np.full(shape, value, np.float32) for shape, value in (((3, 4), 2), ((2, 6), 0), ((3, 4), 0)))
    images = [wide, known, high, wide, high]
    depth = TrainingDepth.of(images, lambda index: torch.ones(images[index].shape), 1.0)
    assert len(depth.values) == 2 * known.size  # both sizes of nothing have as many pixels
    for index, image in enumerate(images):
        pixels = torch.tensor([[index, row, column] for row in range(len(image)) for column in range(image.shape[1])])
        assert (depth.at(pixels) == torch.from_numpy(image).reshape(-1)).all()
