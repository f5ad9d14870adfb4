"""`sns-export instances` from the first to the last line, of a model that renders the truth: what lies where.

Images lie in two folders under equal names.
"""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import plyfile
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from numpy import ndarray
from PIL import Image
from pycocotools.coco import COCO

from semantic_ns.annotations.formats import read_annotations
from semantic_ns.batch import PLANAR_DEPTH, RENDERED_LABELS
from semantic_ns.cli import export, export_instances
from semantic_ns.cli.export import Mesh, PointCloud
from semantic_ns.cli.export_instances import Instances
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.export.surface_views import render_views
from semantic_ns.synthetic_scene import write_nerfstudio_scene
from support.hand_made_scene import each_frame


class TrueModel:
    """Renders the labels and the depth of the files of whichever image a camera belongs to."""

    device = torch.device("cpu")
    gives_raw_outputs = True

    def __init__(self, datasets: Sequence[SemanticDataset]) -> None:
        self.taxonomy, self._datasets = datasets[0].taxonomy, datasets

    def raw_outputs(self) -> Any:
        return nullcontext()

    def get_outputs_for_camera(self, camera: Cameras) -> dict[str, torch.Tensor]:
        for dataset in self._datasets:
            same = (dataset.cameras.camera_to_worlds == camera.camera_to_worlds).flatten(1).all(dim=1)
            if same.any():
                return self._truth(dataset, int(same.nonzero()[0, 0]))
        raise AssertionError("no image has this camera")

    def _truth(self, dataset: SemanticDataset, index: int) -> dict[str, torch.Tensor]:
        labels = torch.from_numpy(dataset.read_labels(index)).long()[..., None]
        depth_m = dataset.depth_of(index)
        assert depth_m is not None
        return {
            RENDERED_LABELS: labels.clamp(min=0),
            "accumulation": (labels >= 0).float(),
            PLANAR_DEPTH: torch.from_numpy(depth_m)[..., None] / dataset.metadata[keys.METRES_PER_UNIT],
            "semantics_confidence": torch.ones(labels.shape),
        }


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames, `left/0000.png` to `left/0005.png` and as many in `right`."""
    scene = write_nerfstudio_scene(tmp_path_factory.mktemp("scene") / "room")

    def move(index: int, entry: dict[str, Any]) -> None:
        old, new = Path(entry["file_path"]).name, f"{('left', 'right')[index % 2]}/{index // 2:04d}.png"
        for kind in ("images", "semantics", "depth"):
            (scene / kind / new).parent.mkdir(exist_ok=True)
            (scene / kind / old).rename(scene / kind / new)
        entry |= {"file_path": f"images/{new}", "depth_file_path": f"depth/{new}"}

    each_frame(scene, move)
    return scene


@pytest.fixture
def datasets(scene: Path, monkeypatch: pytest.MonkeyPatch) -> list[SemanticDataset]:
    """Training and scored images of the run that every config.yml now is."""
    parser: Any = AutoDataParserConfig(data=scene).setup()
    outputs = [parser.get_dataparser_outputs(split) for split in ("train", "val")]
    datasets = [SemanticDataset(split) for split in outputs]
    data = SimpleNamespace(
        train_dataset=datasets[0],
        eval_dataset=datasets[1],
        train_dataparser_outputs=outputs[0],
        config=SimpleNamespace(dataparser=SimpleNamespace(data=scene)),
    )
    run = SimpleNamespace(model=TrueModel(datasets), pipeline=SimpleNamespace(model=None, datamanager=data))
    for command in (export_instances, export):
        monkeypatch.setattr(command, "load_run", lambda path: run)
    return datasets


def images_of(datasets: Sequence[SemanticDataset]) -> dict[str, ndarray]:
    """The true labels of each image, by its path in `images`."""
    return {
        path.relative_to(path.parents[1]).as_posix(): dataset.read_labels(index)
        for dataset in datasets
        for index, path in enumerate(dataset.image_filenames)
    }


def check(folder: Path, datasets: Sequence[SemanticDataset]) -> list[set[int]]:
    """Every image has the ids of things of the classes that it shows; the ids of each class of things."""
    taxonomy = datasets[0].taxonomy
    rows = json.loads((folder / "instances.json").read_text())["instances"]
    class_of = np.array([-1] + [taxonomy.source_ids.index(row["class_id"]) for row in rows])
    is_thing = np.array([*taxonomy.is_thing, False])
    found: list[set[int]] = [set() for _ in taxonomy.names]
    for name, labels in images_of(datasets).items():
        with Image.open(folder / "instances/semantics" / name) as image:
            ids = np.asarray(image)
        np.testing.assert_array_equal(class_of[ids], np.where(is_thing[labels], labels, -1))
        for number in np.unique(ids[ids > 0]).tolist():
            found[class_of[number]].add(number)
    return found


def test_every_frame_has_the_things_that_it_shows_and_the_command_says_what_it_wrote(
    datasets: list[SemanticDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Instances(tmp_path / "config.yml", tmp_path / "out").main()
    ids = check(tmp_path / "out", datasets)
    images = images_of(datasets)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "instances", "instances.json", "instances.npz", "instances_coco.json", "instances_color", "panoptic",
        "panoptic.json",
    ]  # fmt: skip
    for kind in ("instances", "instances_color", "panoptic"):
        folder = tmp_path / "out" / kind / "semantics"
        assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")} == set(images)
    coco = json.loads((tmp_path / "out/instances_coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == list(images)
    count = len(json.loads((tmp_path / "out/instances.json").read_text())["instances"])
    assert count == sum(map(len, ids)) > 5
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(f"Wrote {count} instances, from connected parts of the surface, to {tmp_path / 'out'}; ")
    assert "the depth images of 10 of 10 training images" in said


def halves(datasets: Sequence[SemanticDataset]) -> list[ndarray]:
    """Of each training image the half of the thing that a pixel shows, on one side of the thing's middle: 2 c, 2 c + 1.

    It is -1 where a pixel shows no thing.
    """
    views = render_views(TrueModel(datasets), datasets[0], datasets[0]._dataparser_outputs)
    labels, along = np.stack([view.labels for view in views]), np.stack([view.points()[..., 0] for view in views])
    found = np.full(labels.shape, -1)
    for number in np.flatnonzero(datasets[0].taxonomy.is_thing).tolist():
        own = labels == number
        found[own] = 2 * number + (along[own] > np.median(along[own]))
    return list(found)


def test_masks_divide_things_in_the_frames_that_they_are_named_after(
    datasets: list[SemanticDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, true = np.random.default_rng(0), halves(datasets)
    names = list(images_of(datasets[:1]))
    for name, half in list(zip(names, true, strict=True))[1:]:
        masks = np.where(half < 0, 0, rng.permutation(200)[half] + 1)
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(masks.astype(np.uint8)).save(tmp_path / "masks" / name)
    Instances(tmp_path / "config.yml", tmp_path / "out", masks=tmp_path / "masks").main()
    assert "from masks of 9 of 10 training images" in capsys.readouterr().out
    check(tmp_path / "out", datasets)
    shown = np.stack([np.asarray(Image.open(tmp_path / "out/instances/semantics" / name)) for name in names])
    sides = np.stack(true)
    most = {half: np.bincount(shown[sides == half]).argmax() for half in np.unique(sides[sides >= 0]).tolist()}
    agreed = np.mean([(shown[sides == half] == number).mean() for half, number in most.items()])
    assert len(set(most.values())) > 10
    assert agreed > 0.8


def test_what_was_written_is_read_as_masks(
    datasets: list[SemanticDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Instances(tmp_path / "config.yml", tmp_path / "out").main()
    Instances(tmp_path / "config.yml", tmp_path / "again", masks=tmp_path / "out/instances").main()
    assert "from masks of 10 of 10 training images" in capsys.readouterr().out
    check(tmp_path / "again", datasets)


def test_what_was_written_in_the_layout_of_cityscapes_is_read_as_masks_and_as_labels(
    datasets: list[SemanticDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    Instances(tmp_path / "config.yml", out, cityscapes=True).main()
    shown = {name: np.asarray(Image.open(out / "instances/semantics" / name)) for name in images_of(datasets)}
    table = json.loads((out / "cityscapes/classes.json").read_text())
    ids = {entry["name"]: entry["id"] for entry in table["classes"]}
    files = {path.name: path for path in (out / "cityscapes").rglob("*_instanceIds.png")}
    labels = {Path(image.name).stem: image for image in read_annotations(out / "cityscapes").images}
    assert len(files) == len(labels) == len(shown) == 12
    pairs: set[tuple[int, int]] = set()
    for name, classes in images_of(datasets).items():
        stem = name.removesuffix(".png").replace("/", "_")
        found = np.asarray(Image.open(files[f"{stem}_gtFine_instanceIds.png"])).astype(int)
        of_class = np.array([*(ids[each] for each in datasets[0].taxonomy.names), table["void_id"]])[classes]
        np.testing.assert_array_equal(np.where(shown[name] > 0, found // 1000, found), of_class)
        pairs |= set(zip(found[shown[name] > 0].tolist(), shown[name][shown[name] > 0].tolist(), strict=True))
    assert len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs}) > 5
    Instances(tmp_path / "config.yml", tmp_path / "again", masks=out / "cityscapes").main()
    assert "from masks of 10 of 10 training images" in capsys.readouterr().out
    check(tmp_path / "again", datasets)
    assert share_of_same_things(tmp_path / "again", shown) > 0.99


def share_of_same_things(folder: Path, shown: dict[str, ndarray]) -> float:
    """How many pixels of things have, in the images of a folder, the id that most pixels of their thing have there."""
    again = {name: np.asarray(Image.open(folder / "instances/semantics" / name)) for name in shown}
    both = [(again[name] > 0) & (shown[name] > 0) for name in shown]
    joined = np.concatenate([np.stack([shown[n][b], again[n][b]], 1) for n, b in zip(shown, both, strict=True)])
    most = {number: np.bincount(joined[joined[:, 0] == number, 1]).argmax() for number in np.unique(joined[:, 0])}
    return float(np.mean([most[first] == second for first, second in joined]))


def test_the_coco_file_of_instances_is_read_as_masks(
    datasets: list[SemanticDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Instances(tmp_path / "config.yml", tmp_path / "out").main()
    Instances(tmp_path / "config.yml", tmp_path / "again", masks=tmp_path / "out/instances_coco.json").main()
    assert "from masks of 10 of 10 training images" in capsys.readouterr().out.replace("\n", " ")
    shown = {
        name: np.asarray(Image.open(tmp_path / "out/instances/semantics" / name)).astype(int)
        for name in images_of(datasets)
    }
    assert share_of_same_things(tmp_path / "again", shown) > 0.99


@pytest.mark.parametrize("masks", [False, True])
def test_the_surface_has_the_ids_that_the_images_have(
    masks: bool, datasets: list[SemanticDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Points are looked up in the training images: what lies in a pixel has the pixel's id."""
    if masks:
        for name, half in zip(images_of(datasets[:1]), halves(datasets), strict=True):
            (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((half + 1).astype(np.uint8)).save(tmp_path / "masks" / name)
    given = tmp_path / "masks" if masks else None
    Instances(tmp_path / "config.yml", tmp_path / "out", given).main()
    PointCloud(tmp_path / "config.yml", tmp_path / "points", instances=not masks, masks=given, num_points=9000).main()
    said = capsys.readouterr().out.splitlines()[-1]
    assert f"instances, from {'masks of 10 of 10' if masks else 'connected parts of the'}" in said
    tables = [json.loads((tmp_path / name / "instances.json").read_text()) for name in ("out", "points")]
    assert tables[0] == tables[1]
    table = plyfile.PlyData.read(str(tmp_path / "points/points.ply"))["vertex"].data
    points = np.stack([table[name] for name in "xyz"], axis=1).astype(np.float64)
    agreed, looked_up = 0, 0
    views = render_views(TrueModel(datasets), datasets[0], datasets[0]._dataparser_outputs)
    for name, view in zip(images_of(datasets[:1]), views, strict=True):
        ids = np.asarray(Image.open(tmp_path / "out/instances/semantics" / name))
        local = points @ view.w2c[:, :3].T + view.w2c[:, 3]
        ahead = local[:, 2] > 0.1
        pixels = np.floor(local[ahead, :2] / local[ahead, 2:] * view.lens[:2] + view.lens[2:]).astype(int)
        inside = ((pixels >= 0) & (pixels < ids.shape[::-1])).all(axis=1)
        chosen, (column, row) = np.flatnonzero(ahead)[inside], pixels[inside].T
        same = np.abs(view.depth[row, column] - local[chosen, 2]) < 0.02
        class_ids = datasets[0].taxonomy.decode(view.labels)[row, column]
        same &= class_ids == table["scalar_class"][chosen]
        agreed += int((ids[row, column] == table["scalar_instance"][chosen])[same].sum())
        looked_up += int(same.sum())
    assert looked_up > 3000
    assert agreed > 0.95 * looked_up


def test_a_mesh_of_instances_is_written_and_a_run_without_things_is_refused(
    datasets: list[SemanticDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Mesh(tmp_path / "config.yml", tmp_path / "mesh", instances=True, format="glb").main()
    names = ["README.txt", "classes.json", "instances.json", "mesh.glb", "mesh_classes.glb", "mesh_instances.glb"]
    assert sorted(path.name for path in (tmp_path / "mesh").iterdir()) == names
    stuff = replace(datasets[0].taxonomy, is_thing=(False,) * datasets[0].taxonomy.num_classes)
    monkeypatch.setattr(export.load_run(tmp_path).model, "taxonomy", stuff)
    with pytest.raises(SceneError, match="stuff alone"):
        Mesh(tmp_path / "config.yml", tmp_path / "out", instances=True).main()
    assert not (tmp_path / "out").exists()


def test_the_panoptic_files_hold_the_labels_and_the_ids_that_the_images_have(
    datasets: list[SemanticDataset], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    Instances(tmp_path / "config.yml", out).main()
    assert count_checked(out) == 12
    annotations = read_annotations(out / "panoptic.json")
    read = {image.name: image.read((48, 36)) for image in annotations.images}
    names = np.array([*annotations.taxonomy.names, "-"])
    for name, labels in images_of(datasets).items():
        found = read[name]
        assert (found.shape, annotations.taxonomy.names) == (labels.shape, datasets[0].taxonomy.names)
        np.testing.assert_array_equal(names[np.where(found < 0, -1, found)], names[labels])


def count_checked(out: Path) -> int:
    """Compare the areas of things in both of COCO's formats, image by image; the number of images."""
    coco = COCO(str(out / "instances_coco.json"))
    panoptic = json.loads((out / "panoptic.json").read_text())
    assert panoptic["images"] == list(coco.imgs.values())
    for record in panoptic["annotations"]:
        own: list[Any] = coco.loadAnns(coco.getAnnIds(imgIds=[record["image_id"]]))
        assert own
        expected = {item["track_id"]: (item["category_id"], item["area"], item["bbox"]) for item in own}
        most = max(row["id"] for row in json.loads((out / "instances.json").read_text())["instances"])
        things = [item for item in record["segments_info"] if item["id"] <= most]
        assert {item["id"]: (item["category_id"], item["area"], item["bbox"]) for item in things} == expected
    return len(panoptic["annotations"])
