"""The benchmark of predictions: what its network is trained on, how its classes count, and what its fusion is."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.predicted_labels import UNet, class_weights, export, only_trained, score_room, train, varied
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.fusion.label_fusion import fuse, most_likely
from semantic_ns.fusion.predictions import find_predictions
from semantic_ns.fusion.views import read_views
from semantic_ns.synthetic_scene import write_replica_scene


def test_places_name_the_classes_that_occur_and_void_stays_void() -> None:
    labels = torch.tensor([[[7, -1, 40], [40, 7, 93]]])
    places, occurring = only_trained(labels)
    assert occurring == [7, 40, 93]
    assert (places >= 0).tolist() == (labels >= 0).tolist()
    assert torch.tensor([*occurring, -1])[places].equal(labels)


def test_a_pixel_counts_one_in_the_mean_and_each_class_by_the_power_of_its_share() -> None:
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10 + [-1] * 50)
    weights = class_weights(labels, 3, 0.5)
    assert weights[labels[labels >= 0]].mean().item() == pytest.approx(1.0, abs=1e-5)
    assert (weights[2] / weights[0]).item() == pytest.approx(90**0.5, rel=1e-5)
    assert class_weights(labels, 3, 0.0).tolist() == pytest.approx([1.0] * 3)


def test_a_class_that_does_not_occur_counts_a_finite_amount() -> None:
    assert torch.isfinite(class_weights(torch.tensor([0, 0, 2]), 4)).all()


def test_labels_turn_with_their_images() -> None:
    torch.manual_seed(0)
    labels = torch.arange(12).reshape(1, 3, 4).expand(2, 3, 4)
    images = labels[:, None].expand(2, 3, 3, 4).float()
    generator = random.Random(0)
    found = [varied(images, labels, generator) for _ in range(8)]
    assert {bool((of_labels == labels).all()) for _, of_labels in found} == {True, False}
    for of_images, of_labels in found:  # brightness, contrast and tint keep the order of values
        for image, label in zip(of_images, of_labels, strict=True):
            assert all(channel.flatten().argsort().equal(label.flatten().argsort()) for channel in image)


def test_a_class_of_one_pixel_in_a_hundred_is_learnt() -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = 0.1 * torch.randn(8, 3, 80, 80, generator=generator), torch.zeros(8, 80, 80, dtype=torch.int64)
    for image, truth, corner in zip(images, labels, torch.randint(1, 9, (8, 2), generator=generator), strict=True):
        row, column = (8 * corner).tolist()
        image[0, row : row + 8, column : column + 8] += 3.0
        truth[row : row + 8, column : column + 8] = 1
    net = train(images, labels, 2, num_steps=40, seed=0)
    with torch.no_grad():
        found = net(images).argmax(dim=1)
    is_rare = labels[:, 2::4, 2::4] == 1
    assert (found[is_rare] == 1).float().mean() > 0.8
    assert (found[~is_rare] == 0).float().mean() > 0.95


def test_the_exported_network_is_the_network_at_every_size(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    net = UNet(5, (4, 4, 6, 6)).eval()
    path = export(net, ["a", "b", "c", "d", "e"], tmp_path / "net.onnx")
    assert path.with_suffix(".txt").read_text("utf8").split() == ["a", "b", "c", "d", "e"]
    session = onnxruntime.InferenceSession(str(path))
    for size in ((64, 64), (144, 192), (48, 80)):
        image = torch.rand(1, 3, *size)
        (found,) = session.run(None, {"image": image.numpy()})
        assert found.shape == (1, 5, size[0] // 4, size[1] // 4)
        with torch.no_grad():
            assert np.allclose(found, net(image).numpy(), atol=1e-4)


def test_fused_labels_are_scored_with_all_views_alike(tmp_path: Path) -> None:
    room = write_replica_scene(tmp_path / "room", num_frames=12, width=32, height=24)
    scene = read_views(AutoDataParserConfig(data=room), "all")
    folder = tmp_path / "out/room_predicted/probabilities"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for view in scene.views:
        likelihoods = generator.random((*view.labels.shape, scene.taxonomy.num_classes)) + 0.5 * (
            view.labels[..., None] == np.arange(scene.taxonomy.num_classes)
        )
        np.save(folder / f"{view.label_stem}.npy", likelihoods / likelihoods.sum(axis=-1, keepdims=True))
    score = score_room(room, tmp_path / "unused.onnx", tmp_path / "out")["fused"]["pixel_accuracy"]

    views = [view.with_depth(view.given_depth()) for view in scene.views]
    votes = find_predictions(folder, scene, 0.9).votes
    is_right = {}
    for by_distance in (False, True):
        fused = fuse(views, votes, scene.taxonomy.num_classes, "bayes", by_distance)
        pairs = [(most_likely(result), view.labels) for result, view in zip(fused, scene.views, strict=True)]
        is_right[by_distance] = np.concatenate([(found == truth)[truth >= 0] for found, truth in pairs])
    assert score == pytest.approx(is_right[False].mean())
    assert score != pytest.approx(is_right[True].mean(), abs=1e-4)
