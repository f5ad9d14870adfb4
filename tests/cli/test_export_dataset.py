"""`sns-export dataset`: what is written is read back as it was, and wrong input leaves nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.scripts.train import main as train
from PIL import Image

from semantic_ns.batch import seen_labels, seen_planar_depth
from semantic_ns.cli.export_dataset import ExportDataset
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.export.dataset_files import DepthFit, in_thousandths
from semantic_ns.geometry.world import poses_in_world
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.runs import load_run
from support.new_rooms import change_transforms, without_depth, without_labels
from support.registered import configured
from support.scannet_scene import write_scan


def read(scene: Path, split: str) -> tuple[SemanticDataset, np.ndarray]:
    """A split, and its poses in the world of the scene's files."""
    parser: Any = AutoDataParserConfig(data=scene, labels_optional=True).setup()
    outputs = parser.get_dataparser_outputs(split)
    return SemanticDataset(outputs), poses_in_world(outputs, outputs.cameras.camera_to_worlds.double().numpy())


def _bent(dataset: SemanticDataset, index: int) -> torch.Tensor:
    """Distortion of the lens of a frame: k1, k2, k3, k4, p1, p2."""
    found = dataset.cameras.distortion_params
    return torch.zeros(6) if found is None else found[index]


def assert_equal(scene: Path, copy: Path) -> None:
    for split in ("train", "val", "test"):
        (old, old_poses), (new, new_poses) = read(scene, split), read(copy, split)
        order = np.argsort([path.stem for path in old.image_filenames])
        assert [path.stem for path in new.image_filenames] == [old.image_filenames[i].stem for i in order]
        np.testing.assert_allclose(new_poses, old_poses[order], atol=1e-5)
        assert new.taxonomy.names == old.taxonomy.names
        for place, index in enumerate(order.tolist()):
            assert (new.get_numpy_image(place) == old.get_numpy_image(index)).all()
            assert (new.read_labels(place) == old.read_labels(index)).all()
            masks = new.mask_of(place), old.mask_of(index)
            assert (masks[0] is None) == (masks[1] is None)
            assert masks[0] is None or (masks[0] == masks[1]).all()
            depths = new.depth_of(place), old.depth_of(index)
            assert (depths[0] is None) == (depths[1] is None)
            if depths[0] is not None and depths[1] is not None:
                np.testing.assert_allclose(depths[0], depths[1], atol=1e-6)
            for name in ("fx", "fy", "cx", "cy", "width", "height"):
                torch.testing.assert_close(getattr(new.cameras[place], name), getattr(old.cameras[index], name))
            torch.testing.assert_close(_bent(new, place), _bent(old, index))


@pytest.mark.parametrize("layout", ["nerfstudio", "replica", "scannet"])
def test_a_scene_is_read_back_as_it_was(layout: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    scene = write_scan(tmp_path) if layout == "scannet" else request.getfixturevalue(f"{layout}_scene")
    ExportDataset(scene, tmp_path / "out").main()
    assert_equal(scene, tmp_path / "out")


def test_masks_bent_lenses_and_three_splits_are_read_back(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], tmp_path: Path
) -> None:
    scene = copy_scene(nerfstudio_scene)

    def change(content: dict[str, Any]) -> None:
        names = [frame["file_path"] for frame in content["frames"]]
        content |= {"train_filenames": names[:-5], "val_filenames": names[-5:-3], "test_filenames": names[-3:]}
        content |= {"k1": 0.125, "k2": -0.25, "p1": 0.0625, "p2": 0.5}
        (scene / "masks").mkdir()
        for number, frame in enumerate(content["frames"][::2]):
            frame["mask_path"] = f"masks/{number}.png"
            Image.fromarray(255 * (np.arange(36 * 48).reshape(36, 48) % (number + 2) > 0).astype(np.uint8)).save(
                scene / frame["mask_path"]
            )

    change_transforms(scene, change)
    ExportDataset(scene, tmp_path / "out").main()
    assert not np.asarray(read(tmp_path / "out", "train")[0].mask_of(0)).all()
    assert float(_bent(read(tmp_path / "out", "train")[0], 0)[0]) == 0.125
    sets = [{path.stem for path in read(tmp_path / "out", split)[0].image_filenames} for split in ("val", "test")]
    assert [len(names) for names in sets] == [2, 3]
    assert_equal(scene, tmp_path / "out")


def test_a_scene_without_labels_or_depth_is_read_back_without(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], tmp_path: Path
) -> None:
    scene = without_depth(without_labels(copy_scene(nerfstudio_scene)))
    ExportDataset(scene, tmp_path / "out").main()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images", "transforms.json"]
    assert_equal(scene, tmp_path / "out")


def test_of_a_run_the_labels_and_depth_are_what_it_renders(nerfstudio_scene: Path, tmp_path: Path) -> None:
    config = configured(semantic_nerf, nerfstudio_scene, tmp_path / "run", 3, num_levels=4, log2_hashmap_size=8)
    config.pipeline.propagation.enabled = False  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    path = config.get_base_dir() / "config.yml"
    ExportDataset(path, tmp_path / "out").main()
    model = load_run(path).model
    for split in ("train", "val"):
        (old, old_poses), (new, new_poses) = read(nerfstudio_scene, split), read(tmp_path / "out", split)
        np.testing.assert_allclose(new_poses, old_poses, atol=1e-5)
        with torch.no_grad(), model.raw_outputs():
            outputs = model.get_outputs_for_camera(old.cameras[0:1])
        assert (
            model.taxonomy.decode(seen_labels(outputs)[..., 0].numpy()) == new.taxonomy.decode(new.read_labels(0))
        ).all()
        depth_m = seen_planar_depth(outputs, old.metadata["metres_per_unit"])[..., 0].numpy()
        found = new.depth_of(0)
        assert found is not None
        np.testing.assert_allclose(found, depth_m, atol=6e-4)
    ExportDataset(path, tmp_path / "hub", "huggingface").main()
    for folder in ("train", "validation"):
        for kind in ("images", "semantics", "depth"):
            for image in (tmp_path / "hub" / folder / kind).iterdir():
                assert (
                    np.asarray(Image.open(image)) == np.asarray(Image.open(tmp_path / "out" / kind / image.name))
                ).all()
    assert "they are predictions" in (tmp_path / "hub/README.md").read_text()


def test_depth_that_is_unknown_or_too_far_is_0() -> None:
    depth = np.array([[0, 1.2344, 65.535, 65.536], [np.inf, np.nan, 0.0004, 2]], np.float32)
    assert in_thousandths(depth).tolist() == [[0, 1234, 65535, 0], [0, 0, 0, 2000]]


def test_a_copy_of_a_scene_whose_scale_is_said_to_be_unknown_says_so_too(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], tmp_path: Path
) -> None:
    scene = change_transforms(
        copy_scene(nerfstudio_scene), lambda content: content.update(semantic_has_unknown_scale=True)
    )
    ExportDataset(scene, tmp_path / "out").main()
    ExportDataset(nerfstudio_scene, tmp_path / "metric").main()
    says = [keys.HAS_UNKNOWN_SCALE in read(tmp_path / name, "train")[0].metadata for name in ("out", "metric")]
    assert says == [True, False]


def test_depth_that_does_not_fit_is_counted_over_all_frames() -> None:
    fit = DepthFit()
    fit.counted(np.full((2, 2), 3.0, np.float32))
    assert fit.sentence == ""
    assert fit.counted(np.array([[0, np.nan, 70, 0.0001], [1, 2, 3, 4]], np.float32)).max() == 4000
    assert fit.sentence.startswith("20 % of the pixels")


def test_wrong_input_is_one_sentence_and_leaves_nothing(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(SceneError, match="new or an empty folder"):
        ExportDataset(nerfstudio_scene, tmp_path).main()
    with pytest.raises(SceneError, match="outside the scene"):
        ExportDataset(nerfstudio_scene, nerfstudio_scene / "out").main()
    with pytest.raises(SceneError, match=r"config\.yml of a training run"):
        ExportDataset(tmp_path / "config.yml", place / "out").main()
    with pytest.raises(SceneError, match="missing"):
        ExportDataset(tmp_path / "missing", place / "out").main()
    scene = copy_scene(nerfstudio_scene)
    path = scene / "images/frame_00007.png"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(SceneError, match="frame_00007"):
        ExportDataset(scene, place / "out").main()
    assert list(place.iterdir()) == []
