"""The doctor names what is wrong with files that read well: ids from 1, interpolated labels, turned pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.cli import doctor
from semantic_ns.doctor.loading import load_scene, parser_config
from semantic_ns.doctor.report import Report, examine
from semantic_ns.labels.borders import Borders
from support.hand_made_scene import HEIGHT, WIDTH, each_file, each_frame, labels_of, rewrite, write_scene


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene")


def examined(folder: Path) -> Report:
    return examine(load_scene(parser_config("semantic-data", folder)), str(folder))


def raise_ids(path: Path) -> None:
    Image.fromarray(np.array(Image.open(path)) + 1).save(path)


def interpolate(path: Path) -> None:
    larger = Image.open(path).resize((2 * WIDTH, 2 * HEIGHT), Image.Resampling.BILINEAR)
    larger.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR).save(path)


def test_files_as_they_were_made_are_no_mistake(scene: Path) -> None:
    report = examined(scene)
    assert report.mistake is None
    assert report.labels.by_name == pytest.approx({"wall": 216 / 384, "floor": 132 / 384, "box": 36 / 384})


@pytest.mark.parametrize("classes", [["wall", "floor", "ceiling", "box", "lamp"], ["wall", "floor", "ceiling", "box"]])
def test_ids_that_start_at_1_are_named_whether_the_last_one_is_in_the_table_or_not(
    classes: list[str], scene: Path
) -> None:
    each_file(scene, "semantics", raise_ids)
    table = [{"id": number, "name": name} for number, name in enumerate(classes)]
    rewrite(scene, lambda content: content.update(semantic_classes=table))
    report = examined(scene)
    assert report.mistake is not None
    assert report.mistake.name == "label ids off by one"
    assert "subtract 1" in report.mistake.sentence
    assert (report.labels.outside == (4,)) == (len(classes) == 4)


def test_ids_that_only_names_in_order_explain_are_no_mistake(scene: Path) -> None:
    each_file(scene, "semantics", raise_ids)
    report = examined(scene)
    assert report.mistake is None
    assert report.labels.by_name == pytest.approx({"wall": 216 / 384, "floor": 132 / 384, "box": 36 / 384})


@pytest.mark.parametrize("ids", [(0, 1, 2, 3), (0, 60, 120, 180)], ids=["ids that are classes", "ids that are none"])
def test_interpolated_label_images_are_named(ids: tuple[int, ...], scene: Path) -> None:
    classes = [
        {"id": number, "name": name} for number, name in zip(ids, ("wall", "floor", "ceiling", "box"), strict=True)
    ]
    rewrite(scene, lambda content: content.update(semantic_classes=classes))

    def change(path: Path) -> None:
        Image.fromarray(np.array(ids, np.uint8)[np.array(Image.open(path))]).save(path)

    each_file(scene, "semantics", change)
    assert examined(scene).mistake is None
    each_file(scene, "semantics", interpolate)
    report = examined(scene)
    assert report.mistake is not None
    assert report.mistake.name == "interpolated label images"
    assert "nearest neighbours" in report.mistake.sentence
    assert not report.is_healthy


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_seams_are_counted_at_the_borders_that_smooth_enlargement_blurs(factor: int) -> None:
    ids = labels_of(0).astype(np.uint8)
    ids[ids == 1] = 9  # far from 0, so that its border with 3 is wide, too
    sharp = Borders.of(ids.astype(np.int64))
    smooth = Image.fromarray(ids).resize((factor * WIDTH, factor * HEIGHT), Image.Resampling.BILINEAR)
    smoothed = Borders.of(np.asarray(smooth).astype(np.int64))
    nearest = Borders.of(ids.repeat(factor, axis=0).repeat(factor, axis=1).astype(np.int64))
    assert sharp.seams == nearest.seams == 0
    assert not nearest.are_interpolated
    assert smoothed.are_interpolated


def test_a_thin_object_between_two_classes_is_no_interpolation() -> None:
    ids = np.zeros((40, 40), np.int64)
    ids[:, 20:] = 9
    ids[:10, 20] = 4  # a door frame along a part of one border
    ids[30:34, 4:8] = 7
    assert Borders.of(ids) == Borders(sharp=30 + 4 * 4 + 1, seams=10)  # 1: below the door frame
    assert not Borders.of(ids).are_interpolated


@pytest.mark.parametrize(("orientation", "num_turned"), [(1, 0), (3, 9), (6, 9)])
def test_images_that_viewers_turn_are_told(orientation: int, num_turned: int, scene: Path) -> None:
    def change(path: Path) -> None:
        image = Image.open(path)
        exif = image.getexif()
        exif[0x0112] = orientation
        path.unlink()
        image.save(path.with_suffix(".jpg"), exif=exif)

    each_file(scene, "images", change)
    each_frame(scene, lambda i, entry: entry.update(file_path=f"images/frame_{i}.jpg"))
    told = [remark for remark in examined(scene).remarks if "EXIF orientation" in remark]
    assert [remark.partition(" ")[0] for remark in told] == ([str(num_turned)] if num_turned else [])


def test_images_of_several_sizes_are_examined_and_those_of_one_compared(
    scene: Path, tmp_path: Path, monkeypatch
) -> None:
    (scene / "depth").mkdir()

    def turn(index: int, entry: dict) -> None:
        if index % 3 == 0:
            for name in ("images", "semantics"):
                path = scene / name / f"frame_{index}.png"
                Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
            entry.update(w=HEIGHT, h=WIDTH, cx=HEIGHT / 2, cy=WIDTH / 2)
        shape = (WIDTH, HEIGHT) if index % 3 == 0 else (HEIGHT, WIDTH)
        entry["depth_file_path"] = f"depth/{index}.png"
        Image.fromarray(np.full(shape, 2000, np.uint16)).save(scene / entry["depth_file_path"])

    each_frame(scene, turn)
    report = examined(scene)
    assert report.num_frames == report.num_depth == 9
    assert sum(report.labels.pixels.values()) == 9 * WIDTH * HEIGHT
    assert any("2 sizes; 3 that have not the commonest one" in remark for remark in report.remarks)
    monkeypatch.setattr("sys.argv", ["sns-doctor", str(scene), "--pictures", str(tmp_path / "grid.png")])
    with pytest.raises(SystemExit):
        doctor.entrypoint()
    assert (tmp_path / "grid.png").is_file()


def test_a_scene_of_one_frame_is_examined(tmp_path: Path) -> None:
    report = examined(write_scene(tmp_path / "one", num_frames=1))
    assert report.num_frames == 1
    assert "There is no second frame to compare the first one with." in report.remarks


def test_shares_are_those_of_the_labels_as_training_reads_them(scene: Path) -> None:
    """Label images of other sizes weigh as much as their images, and 255 in binary masks is a class."""

    def change(path: Path) -> None:
        mask = Image.fromarray((np.array(Image.open(path)) == 3).astype(np.uint8) * 255)
        is_half = path.stem.endswith(("1", "3"))
        mask.resize((WIDTH // 2, HEIGHT // 2) if is_half else (WIDTH, HEIGHT), Image.Resampling.NEAREST).save(path)

    each_file(scene, "semantics", change)
    rewrite(scene, lambda content: content.update(semantic_classes=["background", "fruit"]))
    labels = examined(scene).labels
    assert labels.void_share == 0
    assert sum(labels.pixels.values()) == 9 * WIDTH * HEIGHT
    assert labels.by_name == pytest.approx({"background": 348 / 384, "fruit": 36 / 384})
