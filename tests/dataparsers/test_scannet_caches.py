"""What a scan's parser computes once and keeps: frames of a `.sens` file, and copies in the paper's size."""

import os

import pytest
from PIL import Image

from semantic_ns.errors import SceneError
from support.scannet_reading import assert_in_the_room, parse, sens_only
from support.scannet_scene import HEIGHT, NAME, WIDTH, record, write_scan, write_sens


@pytest.fixture(scope="module")
def recording():
    return record()


@pytest.fixture
def scan(tmp_path, recording):
    return write_scan(tmp_path, recording)


def test_another_sens_file_leaves_no_colour_of_the_one_before(tmp_path, recording):
    scan = sens_only(tmp_path, recording)
    parse(scan)
    write_sens(scan / f"{NAME}.sens", record(10), color="png")
    images = parse(scan).image_filenames
    assert {path.suffix for path in images} == {".png"}
    assert {path.suffix for path in images[0].parent.iterdir()} == {".png"}


def test_a_cache_that_becomes_unwritable_is_told(tmp_path, recording):
    scan = sens_only(tmp_path, recording)
    (scan / "frames_from_sens" / "source.txt").mkdir(parents=True)
    with pytest.raises(SceneError, match=r"frames_from_sens, found that it cannot be written"):
        parse(scan)


def test_no_half_written_file_is_left_in_the_cache(tmp_path, recording, monkeypatch):
    scan = sens_only(tmp_path, recording)

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(SceneError, match="No space left on device"):
        parse(scan)
    cache = scan / "frames_from_sens"
    assert not list((cache / "depth").iterdir())
    assert not list((cache / "pose").iterdir()), "the frame is not complete"
    monkeypatch.undo()
    assert_in_the_room(parse(scan))


def test_a_source_that_is_older_than_its_copy_is_copied_again(scan):
    (image, *_) = parse(scan, paper_size=True).image_filenames
    before, source = image.read_bytes(), scan / "color" / f"{image.stem}.jpg"
    stamp = source.stat().st_mtime_ns
    Image.new("RGB", (WIDTH, HEIGHT)).save(source)
    os.utime(source, ns=(stamp - 10**12, stamp - 10**12))
    parse(scan, paper_size=True)
    assert image.read_bytes() != before
    image.write_bytes(before)
    os.utime(image, ns=(stamp - 10**12, stamp - 10**12))
    parse(scan, paper_size=True)
    assert image.read_bytes() == before, "of one time: kept"


def test_copies_of_filtered_and_unfiltered_labels_do_not_mix(scan):
    (filtered, *_) = parse(scan, paper_size=True).metadata["label_filenames"]
    (scan / "label-filt").rename(scan / "label")
    (unfiltered, *_) = parse(scan, paper_size=True).metadata["label_filenames"]
    assert (filtered.parent.name, unfiltered.parent.name) == ("label-filt_void_0", "label_void_0")
