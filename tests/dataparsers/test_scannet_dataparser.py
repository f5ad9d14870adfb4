import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.dataparsers.frame_cache import rows_to_four_thirds
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from support.scannet_reading import assert_in_the_room, parse, sens_only
from support.scannet_scene import (
    HEIGHT,
    LOST,
    NAME,
    NUM_FRAMES,
    RAW_OFFSET,
    TABLE,
    WIDTH,
    intrinsics,
    record,
    write_scan,
    write_sens,
)
from support.scene_geometry import label_agreement


@pytest.fixture(scope="module")
def recording():
    return record()


@pytest.fixture(scope="module")
def original(tmp_path_factory, recording):
    return write_scan(tmp_path_factory.mktemp("scans"), recording)


@pytest.fixture
def scan(tmp_path, original):
    """A scan that a test may change, with ScanNet's table in the folder above."""
    shutil.copytree(original.parent, tmp_path / "scans")
    return tmp_path / "scans" / NAME


def ids_of(outputs):
    return [int(path.stem) for path in outputs.image_filenames]


def resize(folder: Path, size: tuple[int, int], method: Image.Resampling) -> None:
    for path in folder.iterdir():
        Image.open(path).resize(size, method).save(path)


def test_unprojected_depth_lies_on_the_room_to_a_millimetre(original):
    assert_in_the_room(parse(original))


def test_raw_ids_are_nyu40_by_default(original, recording):
    outputs = parse(original)
    taxonomy = outputs.metadata["taxonomy"]
    assert {"wall", "floor", "ceiling", "chair", "sofa"} <= set(taxonomy.names)
    assert taxonomy.void_source_id == 0
    semantics = SemanticDataset(outputs)[0]["semantics"][..., 0].numpy()
    raw = recording.labels[ids_of(outputs)[0]]
    np.testing.assert_array_equal(semantics == taxonomy.names.index("wall"), raw == 93 + RAW_OFFSET)
    np.testing.assert_array_equal(semantics == -1, raw == 0)


@pytest.mark.parametrize(("space", "name"), [("nyu13", "sofa"), ("scannet20", "sofa"), ("viewseg37", "ceiling")])
def test_labels_come_in_the_space_that_is_asked_for(original, space, name):
    outputs = parse(original, label_space=space)
    assert name in outputs.metadata["taxonomy"].names
    assert SemanticDataset(outputs)[0]["semantics"].max() < outputs.metadata["taxonomy"].num_classes


def test_native_keeps_raw_ids(original):
    assert 93 + RAW_OFFSET in parse(original, label_space="native").metadata["taxonomy"].source_ids


def test_the_label_table_may_lie_elsewhere(scan, tmp_path):
    (scan.parent / TABLE).rename(tmp_path / "mine.tsv")
    assert "wall" in parse(scan, label_table=tmp_path / "mine.tsv").metadata["taxonomy"].names


def test_own_ids_need_no_table(scan):
    (scan.parent / TABLE).unlink()
    for path in (scan / "label-filt").iterdir():
        Image.fromarray(np.where(np.array(Image.open(path)) > 0, 5, 0).astype(np.uint8)).save(path)
    assert parse(scan, classes=Path("nyu40")).metadata["taxonomy"].names == ("chair",)
    assert parse(scan, classes=Path("nyu40"), label_space="nyu13").metadata["taxonomy"].source_ids == (4,)


@pytest.mark.parametrize("folder", ["frames", "renders"])
def test_frames_in_a_subfolder_are_found(scan, folder):
    (scan / folder).mkdir()
    for name in ("color", "depth", "pose", "intrinsic"):
        (scan / name).rename(scan / folder / name)
    (scan / f"{NAME}_2d-label-filt").mkdir()
    (scan / "label-filt").rename(scan / f"{NAME}_2d-label-filt" / "label-filt")
    outputs = parse(scan, "val")
    assert outputs.image_filenames[0] == scan / folder / "color" / "0.jpg"
    assert outputs.metadata["label_export_names"][0] == f"{NAME}_2d-label-filt/label-filt/0.png"


def test_filtered_labels_go_before_unfiltered_ones(scan):
    shutil.copytree(scan / "label-filt", scan / "label")
    assert parse(scan).metadata["label_filenames"][0].parent.name == "label-filt"
    shutil.rmtree(scan / "label-filt")
    assert parse(scan).metadata["label_filenames"][0].parent.name == "label"


def test_empty_label_folders_do_not_count(scan):
    shutil.copytree(scan / "label-filt", scan / "label")
    for path in (scan / "label-filt").iterdir():
        path.unlink()
    assert parse(scan).metadata["label_filenames"][0].parent.name == "label"


def test_a_link_to_a_scan_counts_by_its_own_name_and_place(scan, tmp_path):
    (scan.parent / TABLE).rename(tmp_path / TABLE)
    store = tmp_path / "store" / "0815"
    store.parent.mkdir()
    scan.rename(store)
    scan.symlink_to(store)
    (store / f"{NAME}.txt").write_text("fx_color = 24\nfy_color = 25\nmx_color = 23.5\nmy_color = 17.5\n")
    shutil.rmtree(store / "intrinsic")
    (tmp_path / TABLE).rename(scan.parent / TABLE)
    assert parse(scan).cameras[0].fy.item() == 25


def test_frames_without_a_finite_pose_are_dropped_and_counted(scan, capsys):
    np.savetxt(scan / "pose" / "3.txt", LOST)
    np.savetxt(scan / "pose" / "5.txt", np.full((4, 4), np.nan))
    (scan / "pose" / "7.txt").unlink()
    outputs = parse(scan)
    kept = [i for i in range(NUM_FRAMES) if i not in (3, 5, 7)]
    assert ids_of(outputs) == [i for i in kept if i not in (0, 11)], "every eighth of those that are left is scored"
    assert "9 frames with a finite pose (2 without dropped)" in capsys.readouterr().out


def test_frames_are_counted_before_they_are_chosen(scan):
    np.savetxt(scan / "pose" / "0.txt", LOST)
    train, evaluation = (ids_of(parse(scan, part, num_frames=2)) for part in ("train", "val"))
    assert (train, evaluation) == ([1, 6], [3, 9])


@pytest.mark.parametrize(
    ("options", "train", "evaluation"),
    [
        ({"num_frames": 3}, [0, 4, 8], [2, 6, 10]),
        ({"num_frames": 6}, [0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]),
        ({"num_frames": 7}, [1, 3, 5, 6, 8, 10], [0]),
        ({"num_frames": 4, "split": "interval", "eval_interval": 2}, [3, 9], [0, 6]),
        ({"num_frames": 3, "split": "all"}, [0, 4, 8], [0, 4, 8]),
        ({}, [1, 2, 3, 4, 5, 6, 7, 9, 10, 11], [0, 8]),
    ],
)
def test_frames_are_spread_evenly_and_scored_half_way_where_there_are_enough(original, options, train, evaluation):
    assert ids_of(parse(original, "train", **options)) == train
    assert ids_of(parse(original, "val", **options)) == evaluation


def test_metadata_has_one_item_per_image(original):
    outputs = parse(original, "val")
    metadata = outputs.metadata
    assert [path.name for path in metadata["label_filenames"]] == ["0.png", "8.png"]
    assert metadata["label_export_names"] == ["label-filt/0.png", "label-filt/8.png"]
    assert [path.name for path in metadata["depth_filenames"]] == ["0.png", "8.png"]
    assert metadata["depth_metres_per_unit"] == 0.001
    assert metadata["near_far_m"] == (0.1, 10.0)


def test_labels_and_depth_may_be_missing(scan):
    (scan / "label-filt" / "1.png").unlink()
    (scan / "depth" / "2.png").unlink()
    metadata = parse(scan).metadata
    assert metadata["label_filenames"][0] is None
    assert metadata["label_export_names"][0] == "label-filt/1.png"
    assert metadata["depth_filenames"][1] is None


def test_the_camera_has_its_centre_half_a_pixel_on(original):
    camera = parse(original).cameras[0]
    assert (camera.fx.item(), camera.fy.item(), camera.cx.item(), camera.cy.item()) == (24, 24, 24, 18)
    assert (camera.width.item(), camera.height.item()) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("size", [(1296, 968), (640, 480), (96, 72)])
def test_images_that_were_resized_without_their_intrinsics_are_found_out(scan, size, capsys):
    np.savetxt(scan / "intrinsic" / "intrinsic_color.txt", intrinsics(*size))
    (scan / f"{NAME}.txt").write_text("colorWidth = 96\r\ncolorHeight = 72 \naxisAlignment = 1 0 0 0\nsceneType = x\n")
    camera = parse(scan).cameras[0]
    assert f"for {size[0]}x{size[1]} scaled to 48x36" in capsys.readouterr().out
    assert camera.fx.item() == pytest.approx(24)
    # Rows and columns have scales of their own: 968 rows are no 4:3.
    assert camera.fy.item() == pytest.approx(size[0] / 2 * HEIGHT / size[1])
    assert (camera.cx.item(), camera.cy.item()) == (24, 18)


def test_a_slight_resize_is_found_out_where_the_text_file_states_the_size(scan):
    np.savetxt(scan / "intrinsic" / "intrinsic_color.txt", intrinsics(50, 38))
    assert parse(scan).cameras[0].fx.item() == 25, "nothing shows that images of 48x36 are not meant"
    (scan / f"{NAME}.txt").write_text("fx_color = 25.0\ncolorWidth = 50\ncolorHeight = 38\n")
    assert parse(scan).cameras[0].fx.item() == pytest.approx(24)
    (scan / f"{NAME}.txt").write_text("fx_color = 1170.0\ncolorWidth = 1296\ncolorHeight = 968\n")
    assert parse(scan).cameras[0].fx.item() == 25


def test_the_benchmarks_25k_subset_is_read_with_its_own_classes(scan):
    """Numbers with leading zeros, intrinsics beside the folders, 8 bit labels that are NYU40 already."""
    (scan / "label-filt").rename(scan / "label")
    for path in (scan / "label").iterdir():
        Image.fromarray(np.where(np.array(Image.open(path)) > 0, 5, 0).astype(np.uint8)).save(path)
    for name in ("color", "depth", "label", "pose"):
        for path in list((scan / name).iterdir()):
            path.rename(path.with_stem(f"{int(path.stem):06d}"))
    (scan / "intrinsic" / "intrinsic_color.txt").rename(scan / "intrinsics_color.txt")
    shutil.rmtree(scan / "intrinsic")
    outputs = parse(scan, "val", classes=Path("nyu40"))
    assert [path.name for path in outputs.image_filenames] == ["000000.jpg", "000008.jpg"]
    assert outputs.metadata["taxonomy"].names == ("chair",)
    assert outputs.cameras[0].cx.item() == 24


def test_depth_and_labels_bigger_than_colour_are_read_at_the_nearest_pixel(scan, recording):
    """As in exports that give colour at half the size of depth, in the frame of the depth camera."""
    resize(scan / "color", (24, 18), Image.Resampling.BOX)
    np.savetxt(scan / "intrinsic" / "intrinsic_color.txt", intrinsics(24, 18))
    outputs = parse(scan)
    camera = outputs.cameras[0]
    assert (camera.fx.item(), camera.cx.item(), camera.cy.item()) == (12, 12, 9)
    item = SemanticDataset(outputs, load_depth=True)[0]
    number = ids_of(outputs)[0]
    depth = recording.depths[number][1::2, 1::2].astype(np.float32) * np.float32(0.001)
    np.testing.assert_array_equal(item["depth_image_m"][..., 0], depth)
    np.testing.assert_array_equal(item["semantics"][..., 0] == -1, recording.labels[number][1::2, 1::2] == 0)


def test_intrinsics_may_come_from_the_text_file_of_the_scan(scan):
    shutil.rmtree(scan / "intrinsic")
    (scan / f"{NAME}.txt").write_text("fx_color = 24\nfy_color = 25\nmx_color = 23.5\nmy_color = 17.5\n")
    camera = parse(scan).cameras[0]
    assert (camera.fx.item(), camera.fy.item(), camera.cx.item(), camera.cy.item()) == (24, 25, 24, 18)


def test_a_sens_file_gives_what_its_folders_give(tmp_path, original, recording):
    scan = sens_only(tmp_path, recording, color="png")
    outputs, other = parse(scan), parse(original)
    assert ids_of(outputs) == ids_of(other)
    np.testing.assert_allclose(outputs.cameras.camera_to_worlds, other.cameras.camera_to_worlds, atol=1e-5)
    assert outputs.metadata["taxonomy"] == other.metadata["taxonomy"]
    assert_in_the_room(outputs)


def test_a_sens_file_is_extracted_once_and_only_the_frames_in_use(tmp_path, recording, capsys):
    scan = sens_only(tmp_path, recording)
    cache = scan / "frames_from_sens"
    parse(scan, num_frames=2)
    assert f"{cache}, 4 of 4 extracted just now" in capsys.readouterr().out.replace("\n", "")
    assert sorted(path.name for path in (cache / "color").iterdir()) == ["0.jpg", "3.jpg", "6.jpg", "9.jpg"]
    (cache / "color" / "3.jpg").touch()
    parse(scan, num_frames=3)
    assert "4 of 6 extracted just now" in capsys.readouterr().out
    assert ids_of(parse(scan, num_frames=2)) == [0, 6], "frames that only another run used are not"
    capsys.readouterr()
    recording = record(10)
    write_sens(scan / f"{NAME}.sens", recording)
    parse(scan, num_frames=2)
    assert "4 of 4 extracted just now" in capsys.readouterr().out, "another file starts anew"


def test_lost_frames_of_a_sens_file_are_dropped(tmp_path, recording, capsys):
    c2w = recording.c2w.copy()
    c2w[4] = LOST
    changed = type(recording)(recording.colors, recording.depths, recording.labels, c2w)
    scan = sens_only(tmp_path, changed)
    assert 4 not in ids_of(parse(scan))
    assert "11 frames with a finite pose (1 without dropped)" in capsys.readouterr().out


def test_a_scan_that_cannot_be_written_is_extracted_to_the_users_cache(tmp_path, recording, monkeypatch):
    scan = sens_only(tmp_path, recording)
    (scan / "frames_from_sens").write_text("in the way of the folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (image, *_) = parse(scan).image_filenames
    assert image.is_relative_to(tmp_path / "cache" / "semantic_ns")
    assert image.parts[-3:] == ("frames_from_sens", "color", "1.jpg")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(SceneError, match=r"frames_from_sens nor .* can be written; .*XDG_CACHE_HOME"):
        parse(scan)


def enlarge(scan, width, height):
    resize(scan / "color", (width, height), Image.Resampling.NEAREST)
    resize(scan / "label-filt", (width, height), Image.Resampling.NEAREST)
    matrix = intrinsics(width, height)
    matrix[1, 1] = matrix[0, 0] * height / (width * 3 / 4)
    np.savetxt(scan / "intrinsic" / "intrinsic_color.txt", matrix)


def test_paper_size_adds_two_rows_and_resizes_to_320x240(scan):
    enlarge(scan, 1296, 968)
    outputs = parse(scan, num_frames=2, paper_size=True)
    camera = outputs.cameras[0]
    assert (camera.width.item(), camera.height.item()) == (320, 240)
    # One scale for rows and columns; the middle stays in the middle.
    assert camera.fx.item() == pytest.approx(648 * 320 / 1296)
    assert camera.fy.item() == pytest.approx(648 * 968 / 972 * 320 / 1296)
    assert (camera.cx.item(), camera.cy.item()) == pytest.approx((160, 120))
    item = SemanticDataset(outputs, load_depth=True)[0]
    assert item["image"].shape == (240, 320, 3)
    assert item["semantics"].shape == (240, 320, 1)
    # 2 of 4.05 rows that make one: about half of it is black. No label's centre lies in the rows added.
    inside, edge = item["image"][1].mean(), item["image"][0].mean()
    assert 0.3 * inside < edge < 0.7 * inside


def test_paper_size_matches_the_padded_image_by_hand(scan):
    enlarge(scan, 1296, 968)
    outputs = parse(scan, num_frames=2, paper_size=True)
    number = ids_of(outputs)[0]
    color = np.pad(np.array(Image.open(scan / "color" / f"{number}.jpg")), ((2, 2), (0, 0), (0, 0)))
    labels = np.pad(np.array(Image.open(scan / "label-filt" / f"{number}.png")), ((2, 2), (0, 0)))
    assert color.shape == (972, 1296, 3)
    item = SemanticDataset(outputs)[0]
    expected = np.array(Image.fromarray(color).resize((320, 240), Image.Resampling.BILINEAR)) / 255
    np.testing.assert_allclose(item["image"], expected, atol=1e-6)
    rows, columns = ((np.arange(240) + 0.5) * 4.05).astype(int), ((np.arange(320) + 0.5) * 4.05).astype(int)
    raw = labels[np.ix_(rows, columns)]
    wall = outputs.metadata["taxonomy"].names.index("wall")
    np.testing.assert_array_equal(item["semantics"][..., 0] == wall, raw == 93 + RAW_OFFSET)
    np.testing.assert_array_equal(item["semantics"][..., 0] == -1, raw == 0)


def test_copies_in_paper_size_follow_their_source(scan):
    (image, *_) = parse(scan, paper_size=True).image_filenames
    before, stamp = image.read_bytes(), image.stat().st_mtime_ns
    parse(scan, paper_size=True)
    assert image.stat().st_mtime_ns == stamp, "made once"
    Image.new("RGB", (WIDTH, HEIGHT)).save(scan / "color" / f"{image.stem}.jpg")
    parse(scan, paper_size=True)
    assert image.read_bytes() != before


@pytest.mark.parametrize(("size", "rows"), [((1296, 968), 2), ((640, 480), 0), ((320, 240), 0)])
def test_rows_that_are_missing_to_four_thirds(size, rows):
    assert rows_to_four_thirds(size, Path("a.jpg")) == rows
    assert (size[1] + 2 * rows) * 4 == size[0] * 3


def test_a_real_scan_agrees_with_itself_from_view_to_view(data_root):
    scan = data_root / "scannet" / "scans" / "scene0014_00"
    if not scan.is_dir():
        pytest.skip(f"no {scan}")
    outputs = parse(scan)
    assert (len(outputs.image_filenames), outputs.metadata["taxonomy"].num_classes) == (23, 10)
    dataset = SemanticDataset(outputs, load_depth=True)
    pairs = [(i, i + step) for step in (1, 2) for i in range(0, len(dataset) - step, 3)]
    agreeing, both = np.sum([label_agreement(outputs, dataset, *pair) for pair in pairs], axis=0)
    assert both > 50_000
    assert agreeing / both >= 0.95
