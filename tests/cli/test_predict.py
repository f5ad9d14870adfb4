"""`sns-predict` on scenes: what is written is what other commands read, and wrong input leaves nothing."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.cli.predict import Predict, entrypoint
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import read_label_folder
from semantic_ns.errors import SceneError
from semantic_ns.fusion.predictions import find_predictions
from semantic_ns.fusion.views import read_views
from semantic_ns.prediction.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from support.new_rooms import change_transforms, without_labels
from support.scannet_scene import write_scan
from support.segmenters import ConvNet, write_onnx

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

NAMES = ["wall", "floor", "sofa", "spaceship"]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(ConvNet(len(NAMES)), tmp_path_factory.mktemp("network") / "n.onnx", names=json.dumps(NAMES))


def classes_by_loop(image: np.ndarray) -> np.ndarray:
    """The channel of the largest logit of each pixel."""
    logits = ConvNet(len(NAMES)).slowly((image / 255 - IMAGENET_MEAN) / IMAGENET_STD)
    return logits.argmax(axis=-1)


def colors_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def classes_of(image: Path) -> np.ndarray:
    """The channel of the largest logit of each pixel of an image file."""
    return classes_by_loop(colors_of(image))


def ids_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_each_frame_has_the_ids_that_the_network_gives_it_pixel_by_pixel(
    nerfstudio_scene: Path, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Predict(nerfstudio_scene, network, tmp_path / "out").main()
    content = json.loads((nerfstudio_scene / "transforms.json").read_text())
    id_of = {entry["name"]: entry["id"] for entry in content["semantic_classes"]}
    expected_ids = np.array([id_of.get(name, 0) for name in NAMES])
    frames = sorted(path.name for path in (nerfstudio_scene / "images").iterdir())
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == frames
    for name in frames[::9]:
        expected = expected_ids[classes_by_loop(colors_of(nerfstudio_scene / "images" / name))]
        assert (ids_of(tmp_path / "out" / name) == expected).mean() > 0.999  # ties of rounded logits
    table = json.loads((tmp_path / "out/classes.json").read_text())
    assert table["void_id"] == 0
    assert {row["name"]: row["id"] for row in table["classes"]} == id_of
    said = capsys.readouterr().out
    assert said.count("spaceship") == 1
    assert "ns-train semantic-nerf" in said


@pytest.mark.parametrize("layout", ["nerfstudio", "replica", "scannet"])
def test_fusion_and_training_read_the_same_classes_from_labels_and_from_probabilities(
    layout: str, request: pytest.FixtureRequest, network: Path, tmp_path: Path
) -> None:
    scene = write_scan(tmp_path) if layout == "scannet" else request.getfixturevalue(f"{layout}_scene")
    Predict(scene, network, tmp_path / "out", probabilities=True).main()
    config = AutoDataParserConfig(data=scene)
    views = read_views(config, "all")
    hard = find_predictions(tmp_path / "out", views, 0.9)
    soft = find_predictions(tmp_path / "out/probabilities", views, 0.9)
    assert all(path is not None for path in (*hard.files, *soft.files))
    parser: Any = config.setup()
    dataset = SemanticDataset(parser.get_dataparser_outputs("train"))
    trained = read_label_folder(str(tmp_path / "out"), dataset, scene)
    names = [hard.taxonomy.names[number] for number in range(hard.taxonomy.num_classes)]
    seen = set()
    for index, view in enumerate(views.views):
        votes, distribution = hard.votes(index), soft.votes(index)
        label = votes.choice
        largest = distribution.table[distribution.choice].argmax(axis=-1)
        is_known = label >= 0
        assert ((distribution.choice >= 0) == is_known).all()
        assert (largest == votes.table[label].argmax(axis=-1))[is_known].mean() > 0.99  # halves are rounded
        seen |= {names[number] for number in np.unique(votes.table[label].argmax(axis=-1)[is_known])}
        if view.image in dataset.image_filenames:
            place = dataset.image_filenames.index(view.image)
            assert ((trained[place] >= 0) == is_known).all()
    assert len(seen) >= 2
    assert seen <= set(NAMES)


def per_split(scene: Path) -> Path:
    """The scene as a file and a folder of images for each split, whose images are `r_0`, `r_1`, ... in both."""
    content = json.loads((scene / "transforms.json").read_text())
    frames = content.pop("frames")
    for key in [key for key in content if key.endswith("_filenames")]:
        content.pop(key)
    for split, part in (("train", frames[::2]), ("val", frames[1::2])):
        for number, frame in enumerate(part):
            frame["semantics_path"] = f"semantics/{Path(frame['file_path']).name}"
            for key, folder in (("file_path", split), ("semantics_path", f"labels_{split}")):
                target = scene / folder / f"r_{number}.png"
                target.parent.mkdir(exist_ok=True)
                shutil.move(scene / frame[key], target)
                frame[key] = f"{folder}/{target.name}"
        (scene / f"transforms_{split}.json").write_text(json.dumps({**content, "frames": part}))
    (scene / "transforms.json").unlink()
    return scene


def test_frames_of_the_same_name_in_two_splits_have_files_that_fusion_and_training_tell_apart(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], network: Path, tmp_path: Path
) -> None:
    scene = per_split(copy_scene(nerfstudio_scene))
    Predict(scene, network, tmp_path / "out").main()
    parser: Any = AutoDataParserConfig(data=scene).setup()
    dataset = SemanticDataset(parser.get_dataparser_outputs("train"))
    assert dataset.image_filenames[0].name == "r_0.png"
    trained = read_label_folder(str(tmp_path / "out"), dataset, scene)
    for index, image in enumerate(dataset.image_filenames):
        written = ids_of(tmp_path / f"out/train_{image.stem}.png")
        assert (dataset.taxonomy.encode(written.astype(np.int64), "written") == trained[index]).all()
    views = read_views(AutoDataParserConfig(data=scene), "all")
    found = [path and path.name for path in find_predictions(tmp_path / "out", views, 0.9).files]
    assert found == [f"{view.image.parent.name}_{view.image.name}" for view in views.views]
    assert len(set(found)) == len(list((tmp_path / "out").glob("*.png")))


def test_a_photo_is_shown_upright_and_its_labels_lie_on_the_stored_pixels(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], network: Path, tmp_path: Path
) -> None:
    scene = copy_scene(nerfstudio_scene)
    path = scene / "images/frame_00002.png"
    stored = colors_of(path)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(stored).save(path, exif=exif)
    Predict(scene, network, tmp_path / "out", classes_of="model").main()
    upright = np.rot90(stored, -1)
    expected = np.rot90(classes_by_loop(upright))
    assert (ids_of(tmp_path / "out/frame_00002.png") == expected).mean() > 0.999


def test_an_unlabelled_scene_takes_predictions_as_its_labels(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], network: Path, tmp_path: Path
) -> None:
    scene = without_labels(copy_scene(nerfstudio_scene))
    with pytest.raises(SceneError, match="--classes-of model"):
        Predict(scene, network, tmp_path / "out").main()
    Predict(scene, network, tmp_path / "out", classes_of="model").main()
    shutil.copytree(tmp_path / "out", scene / "semantics")
    views = read_views(AutoDataParserConfig(data=scene), "all")
    assert set(views.taxonomy.names) <= set(NAMES)
    for view in views.views[::4]:
        ids = ids_of(tmp_path / "out" / f"{view.label_stem}.png")
        assert (views.taxonomy.decode(view.labels) == ids).all()


def test_labels_that_no_image_shows_yet_are_predicted_by_the_scenes_list_of_classes(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], network: Path, tmp_path: Path
) -> None:
    scene = copy_scene(nerfstudio_scene)
    shutil.rmtree(scene / "semantics")
    Predict(scene, network, tmp_path / "out").main()
    shutil.copytree(tmp_path / "out", scene / "semantics")
    assert "wall" in read_views(AutoDataParserConfig(data=scene), "all").taxonomy.names


def listed_in_a_file(scene: Path, ids: np.ndarray | None) -> Path:
    """The scene with a list of three classes in classes.txt, and label images of some ids or none."""
    shutil.rmtree(scene / "semantics")
    (scene / "classes.txt").write_text("wall\nfloor\nchair\n")
    change_transforms(scene, lambda content: content.pop("semantic_classes"))
    if ids is not None:
        (scene / "semantics").mkdir()
        for path in (scene / "images").iterdir():
            Image.fromarray(ids[np.arange(36 * 48).reshape(36, 48) % len(ids)].astype(np.uint8)).save(
                scene / "semantics" / path.name
            )
    return scene


def test_a_scene_that_lists_its_classes_in_a_file_takes_the_pngs_alone(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], network: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    scene = listed_in_a_file(copy_scene(nerfstudio_scene), None)
    Predict(scene, network, tmp_path / "out").main()
    assert "copy the PNGs alone, without classes.json" in capsys.readouterr().out
    (scene / "semantics").mkdir()
    for path in (tmp_path / "out").glob("*.png"):
        shutil.copy(path, scene / "semantics")
    views = read_views(AutoDataParserConfig(data=scene), "all")
    assert set(views.taxonomy.names) <= {"wall", "floor"}
    for view in views.views[::4]:
        channels = classes_of(view.image)
        names = np.array([*views.taxonomy.names, "void"])[view.labels]
        expected = np.array(["wall", "floor", "void", "void"])[channels]
        assert (names == expected).mean() > 0.999
    shutil.rmtree(scene / "semantics")
    Predict(scene, network, tmp_path / "own", classes_of="model").main()
    said = capsys.readouterr().out
    assert "predict with --classes-of scene" in said
    assert "copy the" not in said


def test_label_images_say_the_classes_of_a_scene_with_a_list_as_they_do_for_training(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], network: Path, tmp_path: Path
) -> None:
    scene = listed_in_a_file(copy_scene(nerfstudio_scene), np.array([1, 2, 3]))
    trained = read_views(AutoDataParserConfig(data=scene), "all")
    Predict(scene, network, tmp_path / "out").main()
    table = json.loads((tmp_path / "out/classes.json").read_text())
    assert [row["name"] for row in table["classes"]] == list(trained.taxonomy.names)


def test_frames_of_a_test_split_of_their_own_are_predicted(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], network: Path, tmp_path: Path
) -> None:
    def change(content: dict[str, Any]) -> None:
        names = [frame["file_path"] for frame in content["frames"]]
        content |= {"train_filenames": names[:3], "val_filenames": names[3:4], "test_filenames": names[4:6]}

    scene = change_transforms(copy_scene(nerfstudio_scene), change)
    Predict(scene, network, tmp_path / "out").main()
    assert len(list((tmp_path / "out").glob("*.png"))) == 6


def test_tiles_and_the_mirrored_image_give_what_a_loop_over_the_tiles_gives(
    nerfstudio_scene: Path, network: Path, tmp_path: Path
) -> None:
    Predict(nerfstudio_scene, network, tmp_path / "out", classes_of="model", tile=12, overlap=0, flip=True).main()
    image = colors_of(nerfstudio_scene / "images/frame_00000.png")
    normalized = (image / 255 - IMAGENET_MEAN) / IMAGENET_STD
    expected = {(tile, flip): np.zeros(image.shape[:2], int) for tile in (12, 48) for flip in (False, True)}
    for (tile, flip), labels in expected.items():
        for top in range(0, 36, tile):
            for left in range(0, 48, tile):
                piece = normalized[top : top + tile, left : left + tile]
                scores = distribution(piece)
                if flip:
                    scores = scores + distribution(piece[:, ::-1])[:, ::-1]
                labels[top : top + tile, left : left + tile] = scores.argmax(axis=-1)
    found = ids_of(tmp_path / "out/frame_00000.png")
    shares = {options: (found == labels).mean() for options, labels in expected.items()}
    assert shares[12, True] > 0.999
    assert all(share < 0.999 for options, share in shares.items() if options != (12, True))


def distribution(image: np.ndarray) -> np.ndarray:
    """The soft-max of the network's logits for a normalised image."""
    powers = np.exp(ConvNet(len(NAMES)).slowly(image))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_what_comes_next_is_said_for_the_sequence_that_was_predicted(
    replica_scene: Path, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Predict(replica_scene, network, tmp_path / "out", sequence="Sequence_2").main()
    assert f"--data {replica_scene}/Sequence_2 " in capsys.readouterr().out
    views = read_views(AutoDataParserConfig(data=replica_scene / "Sequence_2"), "all")
    assert all(find_predictions(tmp_path / "out", views, 0.9).files)
    record = json.loads((tmp_path / "out/predictions.json").read_text())
    assert record["sequence"] == "Sequence_2"


def test_options_reach_the_network_and_the_record(
    nerfstudio_scene: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--model", str(network), "--output-dir", str(tmp_path / "out"), "--size", "24", "--flip", "True"]
    words += ["--tile", "16", "--overlap", "4", "--mean", "0.5", "0.5", "0.5", "--std", "1", "1", "1"]
    monkeypatch.setattr(sys, "argv", ["sns-predict", str(nerfstudio_scene), *words])
    entrypoint()
    record = json.loads((tmp_path / "out/predictions.json").read_text())
    assert record["size"]["shorter"] == 24
    assert (record["tile"], record["overlap"], record["flip"]) == (16, 4, True)
    unset = {name: record[name] for name in ("classes", "architecture", "sequence", "probabilities", "device")}
    assert unset == {
        "classes": None, "architecture": None, "sequence": None, "probabilities": False, "device": "auto",
    }  # fmt: skip
    assert record["mean"] == [0.5, 0.5, 0.5]
    assert record["class_of_channel"][3] == {"channel": "spaceship", "class": None}
    assert ids_of(tmp_path / "out/frame_00000.png").shape == (36, 48)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (0,)}, "--size"),
        ({"size": (1, 2, 3)}, "--size"),
        ({"divisor": 0}, "--divisor"),
        ({"std": (1.0, 0.0, 1.0)}, "--std"),
        ({"mean": (1.0, float("nan"), 1.0)}, "--mean"),
        ({"tile": 8, "overlap": 5}, "--overlap"),
        ({"classes_of": "nyu41"}, "--classes-of"),
        ({"model": Path("missing.onnx")}, "hf download"),
        ({"sequence": "Sequence_1"}, "Replica"),
        ({"scene": Path("missing")}, "missing"),
    ],
)
def test_bad_options_are_one_sentence_and_leave_nothing(
    options: dict[str, Any], words: str, nerfstudio_scene: Path, network: Path, tmp_path: Path
) -> None:
    command = replace(Predict(nerfstudio_scene, network, tmp_path / "out"), **options)
    with pytest.raises(SceneError, match=words) as raised:
        command.main()
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_other_class_lists_and_used_or_inner_folders_are_refused(
    nerfstudio_scene: Path, network: Path, tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("wall\nfloor\n")
    with pytest.raises(SceneError, match=r"channels, 4, found 2"):
        Predict(nerfstudio_scene, network, tmp_path / "out", classes=tmp_path / "names.txt").main()
    with pytest.raises(SceneError, match="new or an empty folder"):
        Predict(nerfstudio_scene, network, tmp_path).main()
    with pytest.raises(SceneError, match="outside the scene"):
        Predict(nerfstudio_scene, network, nerfstudio_scene / "out").main()
    unnamed = write_onnx(ConvNet(4), tmp_path / "unnamed.onnx", (36, 48))
    with pytest.raises(SceneError, match="--classes FILE"):
        Predict(nerfstudio_scene, unnamed, tmp_path / "out").main()
    with pytest.raises(SceneError, match="--size 36 48"):
        Predict(nerfstudio_scene, unnamed, tmp_path / "out", size=(36,)).main()
    with pytest.raises(SceneError, match="the only size"):
        Predict(nerfstudio_scene, unnamed, tmp_path / "out", tile=16, overlap=4).main()
    assert not (tmp_path / "out").exists()


def test_a_frame_that_fails_half_way_or_a_full_disk_leaves_nothing(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], network: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    scene = copy_scene(nerfstudio_scene)
    (tmp_path / "files").mkdir()
    path = scene / "images/frame_00007.png"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(SceneError, match=r"frame_00007"):
        Predict(scene, network, tmp_path / "files/out").main()
    assert list((tmp_path / "files").iterdir()) == []

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("semantic_ns.prediction.folder.write_png", full)
    with pytest.raises(SceneError, match="No space left"):
        Predict(nerfstudio_scene, network, tmp_path / "files/out").main()
    assert list((tmp_path / "files").iterdir()) == []


def test_logits_that_are_not_finite_name_the_frame(nerfstudio_scene: Path, tmp_path: Path) -> None:
    net = ConvNet(4)
    next(net.second.parameters()).data[0] = float("nan")
    path = write_onnx(net, tmp_path / "n.onnx", names=json.dumps(NAMES))
    with pytest.raises(SceneError, match=r"finite logits.*frame_0"):
        Predict(nerfstudio_scene, path, tmp_path / "out").main()
