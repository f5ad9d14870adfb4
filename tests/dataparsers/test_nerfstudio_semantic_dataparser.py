import json
import shutil

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image

from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from support.scene_geometry import distance_to_synthetic_room, world_points

CLASS_IDS = (18, 20, 29, 31, 37, 40, 47, 76, 80, 93, 97)


def parse(folder, split="train", **options):
    return NerfstudioSemanticDataParserConfig(data=folder, **options).setup().get_dataparser_outputs(split)


def names(outputs):
    return [path.stem for path in outputs.image_filenames]


@pytest.fixture
def scene(nerfstudio_scene, copy_scene):
    return copy_scene(nerfstudio_scene)


@pytest.fixture
def edit(scene):
    """Changes transforms.json through a function of its content."""

    def apply(change):
        path = scene / "transforms.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return scene

    return apply


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_cameras_images_and_scale_are_the_parents(nerfstudio_scene, split):
    ours = parse(nerfstudio_scene, split)
    config = NerfstudioDataParserConfig(data=nerfstudio_scene, eval_mode="interval", downscale_factor=1)
    parents = config.setup().get_dataparser_outputs(split)
    assert ours.image_filenames == parents.image_filenames
    torch.testing.assert_close(ours.cameras.camera_to_worlds, parents.cameras.camera_to_worlds)
    torch.testing.assert_close(ours.cameras.get_intrinsics_matrices(), parents.cameras.get_intrinsics_matrices())
    assert ours.dataparser_scale == parents.dataparser_scale
    assert ours.metadata["depth_unit_scale_factor"] == parents.metadata["depth_unit_scale_factor"]


def test_unprojected_depth_lies_on_the_room_to_a_millimetre(nerfstudio_scene):
    outputs = parse(nerfstudio_scene)
    dataset = SemanticDataset(outputs, load_depth=True)
    for index in range(len(dataset)):
        item = dataset[index]
        points = world_points(outputs, index, item["depth_image_m"])
        for label in (31, 40, 93):
            is_label = item["semantics"][..., 0].numpy() == outputs.metadata["taxonomy"].source_ids.index(label)
            assert distance_to_synthetic_room(points[is_label], label).max(initial=0) < 1.5e-3


def test_metadata_has_one_item_per_image(nerfstudio_scene):
    metadata = parse(nerfstudio_scene, "val").metadata
    assert [path.name for path in metadata["label_filenames"]] == ["frame_00000.png", "frame_00008.png"]
    assert metadata["label_export_names"] == ["semantics/frame_00000.png", "semantics/frame_00008.png"]
    assert len(metadata["depth_filenames"]) == 2
    assert metadata["depth_metres_per_unit"] == 0.001
    assert metadata["near_far_m"] is None
    assert metadata["split"] == "interval (one frame in 8 is scored, the others train): 10 train, 2 test images"
    assert metadata["taxonomy"].source_ids == CLASS_IDS


def test_both_splits_have_one_class_set_and_one_sentence(nerfstudio_scene):
    parser = NerfstudioSemanticDataParserConfig(data=nerfstudio_scene).setup()
    evaluation, train = (parser.get_dataparser_outputs(split).metadata for split in ("val", "train"))
    assert train["taxonomy"] == evaluation["taxonomy"]
    assert train["split"] == evaluation["split"]


def test_semantics_path_goes_before_the_sibling_folder(scene, edit):
    (scene / "labels").mkdir()
    (scene / "semantics" / "frame_00000.png").rename(scene / "labels" / "a.png")
    edit(lambda content: content["frames"][0].update(semantics_path="labels/a.png"))
    metadata = parse(scene, "val").metadata
    assert metadata["label_filenames"][0] == scene / "labels" / "a.png"
    assert metadata["label_export_names"] == ["labels/a.png", "semantics/frame_00008.png"]


def test_a_label_outside_the_scene_is_exported_under_the_siblings_name(scene, edit, tmp_path):
    (scene / "semantics" / "frame_00000.png").rename(tmp_path / "a.png")
    edit(lambda content: content["frames"][0].update(semantics_path="../a.png"))
    metadata = parse(scene, "val").metadata
    assert metadata["label_filenames"][0].resolve() == (tmp_path / "a.png").resolve()
    assert metadata["label_export_names"][0] == "semantics/frame_00000.png"


def test_frames_without_labels_are_kept(scene):
    (scene / "semantics" / "frame_00008.png").unlink()
    outputs = parse(scene, "val")
    assert outputs.metadata["label_filenames"][1] is None
    assert outputs.metadata["label_export_names"][1] == "semantics/frame_00008.png"
    assert (SemanticDataset(outputs)[1]["semantics"] == -1).all()


def test_names_alone_are_the_ids_in_order_and_255_is_void(scene, edit):
    for path in (scene / "semantics").iterdir():
        raw = np.array(Image.open(path))
        ids = np.where(raw == 0, 255, np.searchsorted(CLASS_IDS, raw))
        Image.fromarray(ids.astype(np.uint8)).save(path)

    def change(content):
        del content["semantic_void_id"]
        content["semantic_classes"] = [entry["name"] for entry in content["semantic_classes"]]

    taxonomy = parse(edit(change)).metadata["taxonomy"]
    assert taxonomy.source_ids == tuple(range(11))
    assert taxonomy.void_source_id == 255
    assert taxonomy.names[5] == "floor"


def test_own_class_table_goes_before_the_files(scene, tmp_path):
    table = tmp_path / "own.json"
    table.write_text(json.dumps([{"id": i, "name": f"own {i}"} for i in CLASS_IDS]))
    assert parse(scene, classes=table).metadata["taxonomy"].names[0] == "own 18"


@pytest.mark.parametrize("key", ["val_filenames", "test_filenames"])
def test_lists_of_file_names_decide_the_split_and_either_list_serves_for_both(scene, edit, key):
    def change(content):
        images = [frame["file_path"] for frame in content["frames"]]
        content.update({"train_filenames": images[:9], key: images[9:]})

    edit(change)
    assert names(parse(scene)) == [f"frame_{i:05d}" for i in range(9)]
    for split in ("val", "test"):
        outputs = parse(scene, split)
        assert names(outputs) == [f"frame_{i:05d}" for i in range(9, 12)]
        assert outputs.metadata["split"] == "lists of file names in transforms.json: 9 train, 3 test images"


@pytest.mark.parametrize(
    ("options", "num_train", "num_eval"),
    [({"eval_mode": "fraction"}, 11, 1), ({"eval_mode": "all"}, 12, 12), ({"eval_interval": 2}, 6, 6)],
)
def test_nerfstudios_splits_work(nerfstudio_scene, options, num_train, num_eval):
    outputs = parse(nerfstudio_scene, **options)
    assert len(outputs.image_filenames) == num_train
    assert len(parse(nerfstudio_scene, "val", **options).image_filenames) == num_eval
    assert f": {num_train} train, {num_eval} test images" in outputs.metadata["split"]


def test_a_scene_without_depth_has_no_depth_key(edit):
    scene = edit(lambda content: [frame.pop("depth_file_path") for frame in content["frames"]])
    assert "depth_filenames" not in parse(scene).metadata


def test_the_json_file_may_be_named(nerfstudio_scene):
    assert names(parse(nerfstudio_scene / "transforms.json")) == names(parse(nerfstudio_scene))


def test_large_images_do_not_make_nerfstudio_look_for_smaller_ones(scene, edit):
    """Images above 1600 pixels, with a folder images_2 beside them, are still read in full."""
    for i in range(12):
        name = f"frame_{i:05d}.png"
        Image.new("RGB", (1700, 40)).save(scene / "images" / name)
        Image.fromarray(np.full((40, 1700), 40, np.uint8)).save(scene / "semantics" / name)
    (scene / "images_2").mkdir()
    Image.new("RGB", (850, 20)).save(scene / "images_2" / "frame_00000.png")
    edit(lambda content: content.update(w=1700, h=40))
    outputs = parse(scene)
    assert outputs.image_filenames[0].parent.name == "images"
    assert outputs.cameras.width.unique().tolist() == [1700]


BAD_FILES = {
    "no frames": (lambda content: content.update(frames=[]), "list of frames"),
    "no file_path": (lambda content: content["frames"][2].pop("file_path"), "frame number 2"),
    "odd matrix": (lambda content: content["frames"][2].update(transform_matrix=[[1, 2]]), "frame_00002.png"),
    "text in the matrix": (lambda content: content["frames"][2].update(transform_matrix="none"), "frame_00002.png"),
    "repeated frame": (
        lambda content: content["frames"].append({**content["frames"][0], "transform_matrix": np.eye(4).tolist()}),
        "frame_00000.png 2 times with another transform_matrix",
    ),
    "classes is text": (lambda content: content.update(semantic_classes="chair"), "semantic_classes"),
    "absent label": (lambda content: content["frames"][2].update(semantics_path="labels/2.png"), "labels/2.png"),
    "no focal length": (lambda content: [content.pop(key) for key in ("fl_x", "fl_y")], "Expected a focal length"),
    "wrong size": (lambda content: content.update(w=640), "640x36"),
    "unknown image in a list": (
        lambda content: content.update(train_filenames=["images/x.png"], val_filenames=["images/x.png"]),
        "x.png",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_told(edit, name):
    change, place = BAD_FILES[name]
    with pytest.raises(SceneError) as raised:
        parse(edit(change))
    message = str(raised.value)
    assert place in message
    assert "\n" not in message


def test_a_scene_that_says_what_is_void_needs_the_names_of_its_classes(edit):
    scene = edit(lambda content: (content.pop("semantic_classes"), content.update(semantic_void_id=0)))
    with pytest.raises(SceneError, match="Expected a list semantic_classes"):
        parse(scene)


def test_a_scene_to_be_labelled_needs_the_names_of_its_classes(scene, edit):
    edit(lambda content: content.pop("semantic_classes"))
    with pytest.raises(SceneError, match="Expected a list semantic_classes"):
        parse(scene, all_classes=True)


def test_frames_that_say_the_same_are_read_once(scene, edit, capsys):
    expected = parse(scene)
    edit(lambda content: content["frames"].append(
        {**content["frames"][3], "file_path": "./" + content["frames"][3]["file_path"]}
    ))  # fmt: skip
    repeated = parse(scene)
    assert repeated.image_filenames == expected.image_filenames
    assert capsys.readouterr().out.count("1 frames repeat another one") == 1


def test_two_images_of_one_name_need_a_semantics_path(scene, edit):
    (scene / "more").mkdir()
    (scene / "images" / "frame_00001.png").rename(scene / "more" / "frame_00000.png")
    edit(lambda content: content["frames"][1].update(file_path="more/frame_00000.png"))
    with pytest.raises(SceneError, match="several named frame_00000"):
        parse(scene)


def test_another_downscale_factor_is_refused(nerfstudio_scene):
    with pytest.raises(SceneError, match="--downscale-factor 1"):
        parse(nerfstudio_scene, downscale_factor=2)


def test_an_empty_evaluation_split_is_refused(nerfstudio_scene):
    with pytest.raises(SceneError, match="split val"):
        parse(nerfstudio_scene, "train", eval_mode="fraction", train_split_fraction=1.0)


def test_a_scene_that_is_still_to_be_labelled_has_every_class_of_its_table(edit):
    def leave_labels_out(content):
        for frame in content["frames"]:
            frame.pop("semantics_path", None)

    scene = edit(leave_labels_out)
    if (scene / "semantics").is_dir():
        shutil.rmtree(scene / "semantics")
    with pytest.raises(SceneError, match="--all-classes True"):
        parse(scene)
    outputs = parse(scene, all_classes=True)
    table = json.loads((scene / "transforms.json").read_text())["semantic_classes"]
    named = [entry if isinstance(entry, str) else entry["name"] for entry in table]
    assert set(outputs.metadata["taxonomy"].names) == {name for name in named if name.casefold() != "void"}
    assert outputs.metadata["label_filenames"] == [None] * len(outputs.image_filenames)
    assert (SemanticDataset(outputs)[0]["semantics"] == -1).all()


def test_classes_that_no_label_shows_yet_are_there_on_demand_alone(edit):
    def name_one_more(content):
        content["semantic_classes"].append({"id": 99, "name": "not painted yet"})

    scene = edit(name_one_more)
    assert "not painted yet" not in parse(scene).metadata["taxonomy"].names
    assert parse(scene, all_classes=True).metadata["taxonomy"].names[-1] == "not painted yet"
