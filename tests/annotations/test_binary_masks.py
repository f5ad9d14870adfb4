"""Masks of 0 and 255 mean the same to a scene that holds them and to the command that imports them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.annotations.formats import read_annotations
from semantic_ns.annotations.scene_labels import ImportOptions, import_labels
from semantic_ns.errors import SceneError
from support.hand_made_scene import each_file, labels_of, load, number_of, rewrite, write_scene


def make_binary(path: Path) -> None:
    Image.fromarray((np.array(Image.open(path)) == 3).astype(np.uint8) * 255).save(path)


@pytest.mark.parametrize("is_imported", [False, True], ids=["in the scene", "imported"])
def test_255_is_the_second_of_two_classes(
    is_imported: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene, masks, classes = write_scene(tmp_path / "scene"), tmp_path / "masks", tmp_path / "classes.txt"
    each_file(scene, "semantics", make_binary)
    rewrite(scene, lambda content: content.update(semantic_classes=["background", "fruit"]))
    if is_imported:
        (scene / "semantics").rename(masks)
        classes.write_text("background\nfruit\n")
        summary = import_labels(scene, read_annotations(masks, classes=classes), ImportOptions())
        assert sum(summary.num_pixels.values()) == 9 * 16 * 24
        assert summary.num_pixels["fruit"] == 9 * 36
        assert summary.num_void == 0
        assert summary.remarks == ("masks of 0 and 255 are read as background and fruit",)
    dataset = load(scene)
    assert dataset.taxonomy.names == ("background", "fruit")
    for index in range(len(dataset)):
        np.testing.assert_array_equal(dataset.labels_of(index), labels_of(number_of(dataset, index)) == 3)
    if not is_imported:
        assert capsys.readouterr().out.count("masks of 0 and 255 are read as background and fruit") == 1


def test_masks_of_one_class_are_left_to_a_person_by_both(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene")
    each_file(scene, "semantics", make_binary)
    rewrite(scene, lambda content: content.update(semantic_classes=["fruit"]))
    (tmp_path / "classes.txt").write_text("fruit\n")
    with pytest.raises(SceneError, match="name the class of 0 and that of 255"):
        load(scene)
    with pytest.raises(SceneError, match="name the class of 0 and that of 255"):
        read_annotations(scene / "semantics", classes=tmp_path / "classes.txt")
