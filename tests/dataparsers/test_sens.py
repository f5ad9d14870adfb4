import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from semantic_ns.cli.extract_sens import ExtractSens
from semantic_ns.dataparsers.sens_export import export_frames
from semantic_ns.dataparsers.sens_file import SensFile
from semantic_ns.errors import SceneError
from support.scannet_scene import HEIGHT, LOST, WIDTH, SensWriter, encode, intrinsics, record, write_sens

NUM_FRAMES = 4


@pytest.fixture(scope="module")
def recording():
    return record(NUM_FRAMES)


@pytest.fixture
def sens_path(tmp_path, recording):
    write_sens(tmp_path / "scan.sens", recording)
    return tmp_path / "scan.sens"


def read_all(path):
    """Everything that a caller can ask for, in the order of the file."""
    with SensFile(path) as sens:
        return [(frame.number, sens.encoded_color(frame), sens.depth(frame)) for frame in sens.frames()]


def decoded(content):
    return np.array(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(("color", "depth"), [("jpeg", "zlib"), ("png", "raw"), ("raw", "zlib")])
def test_what_was_written_is_read(tmp_path, recording, color, depth):
    path = tmp_path / "scan.sens"
    write_sens(path, recording, color=color, depth=depth)
    with SensFile(path) as sens:
        header, frames = sens.header, list(sens.frames())
        assert (header.name, header.num_frames, header.units_per_metre) == ("StructSen", NUM_FRAMES, 1000)
        assert header.color_size == header.depth_size == (WIDTH, HEIGHT)
        np.testing.assert_allclose(header.intrinsic_color, intrinsics())
        np.testing.assert_array_equal(header.extrinsic_depth, np.eye(4))
        assert [frame.number for frame in frames] == list(range(NUM_FRAMES))
        for i, frame in enumerate(frames):
            np.testing.assert_allclose(frame.c2w_opencv, recording.c2w[i], atol=1e-6)
            content, suffix = sens.encoded_color(frame)
            assert suffix == {"jpeg": ".jpg"}.get(color, ".png")
            if color == "jpeg":
                assert content == encode(recording.colors[i], "jpeg"), "copied, not compressed a second time"
            else:
                np.testing.assert_array_equal(decoded(content), recording.colors[i])
            np.testing.assert_array_equal(sens.depth(frame), recording.depths[i])


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({}, [0, 1, 2, 3]),
        ({"start": 1, "stride": 2}, [1, 3]),
        ({"stop": 3, "stride": 2}, [0, 2]),
        ({"start": 9}, []),
        ({"stop": 99}, [0, 1, 2, 3]),
        ({"stop": 0}, []),
    ],
)
def test_range_and_stride_choose_the_frames(sens_path, recording, options, numbers):
    with SensFile(sens_path) as sens:
        frames = list(sens.frames(**options))
        assert [frame.number for frame in frames] == numbers
        for frame in frames:
            np.testing.assert_array_equal(sens.depth(frame), recording.depths[frame.number])


@pytest.mark.parametrize("options", [{"start": -1}, {"stride": 0}, {"stop": -2}])
def test_an_impossible_range_is_told(sens_path, options):
    with SensFile(sens_path) as sens, pytest.raises(SceneError, match="--stride of 1 or more"):
        list(sens.frames(**options))


def test_memory_does_not_grow_with_the_file(tmp_path):
    """500 frames, whose pixels are noise so that nothing shrinks; only one of them is in memory at a time."""
    num_frames, (width, height) = 500, (160, 120)
    rng = np.random.default_rng(0)

    def frames():
        for _ in range(num_frames):
            color = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            depth = rng.integers(0, 65536, (height, width), dtype=np.uint16)
            yield encode(color, "jpeg"), encode(depth, "zlib"), np.eye(4)

    path = tmp_path / "long.sens"
    SensWriter(path, (width, height), (width, height), num_frames=num_frames).write(frames())
    assert path.stat().st_size > 25e6
    tracemalloc.start()
    with SensFile(path) as sens:
        num_read = sum(
            sens.depth(frame).shape == decoded(sens.encoded_color(frame)[0]).shape[:2] for frame in sens.frames()
        )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_read == num_frames
    assert peak < 1e6


def test_a_file_cut_off_anywhere_is_refused_with_the_byte_of_the_broken_piece(tmp_path, recording):
    path = tmp_path / "scan.sens"
    writer = write_sens(path, recording)
    content = path.read_bytes()
    kinds = set()
    for name, start, length in writer.pieces:
        for cut in {start, start + length // 2, start + length - 1}:
            path.write_bytes(content[:cut])
            if name == "imu":
                assert len(read_all(path)) == NUM_FRAMES, "nothing that is used lies behind the last frame"
                continue
            with pytest.raises(SceneError) as raised:
                read_all(path)
            message = str(raised.value)
            assert f" at byte {start} of {path}, found {cut - start}, the end of the file; " in message
            assert "truncated" in message
            kinds.add(name)
    assert kinds == {"version", "length", "name", "matrix", "compression", "sizes", "count", "frame", "images"}


@pytest.mark.parametrize("version", [0, 3, 5, 2**32 - 1])
def test_another_version_is_refused(tmp_path, recording, version):
    write_sens(tmp_path / "scan.sens", recording, version=version)
    with pytest.raises(SceneError, match=rf"version 4 at byte 0 of .*scan\.sens, found {version}; "):
        SensFile(tmp_path / "scan.sens")


@pytest.mark.parametrize(
    ("options", "piece", "shift", "says"),
    [
        ({"color_code": -1}, "compression", 0, "colour compression 0 (raw), 1 (png), 2 (jpeg)"),
        ({"depth_code": 2}, "compression", 4, "depth compression 0 (raw), 1 (zlib)"),
        ({"depth_size": (0, 4)}, "sizes", 0, "positive image sizes"),
        ({"units_per_metre": 0.0}, "sizes", 0, "units per metre"),
        ({"units_per_metre": float("nan")}, "sizes", 0, "units per metre"),
    ],
)
def test_a_header_that_cannot_be_is_refused_with_its_byte(tmp_path, recording, options, piece, shift, says):
    writer = write_sens(tmp_path / "scan.sens", recording, **options)
    start = next(start for name, start, _ in writer.pieces if name == piece)
    with pytest.raises(SceneError) as raised:
        SensFile(tmp_path / "scan.sens")
    assert says in str(raised.value)
    assert f"at byte {start + shift} of" in str(raised.value)


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
@pytest.mark.parametrize("piece", ["length", "count"])
def test_an_absurd_number_is_refused_and_nothing_is_reserved_for_it(tmp_path, recording, piece, value):
    path = tmp_path / "scan.sens"
    writer = write_sens(path, recording)
    content = bytearray(path.read_bytes())
    struct.pack_into("<Q", content, next(start for name, start, _ in writer.pieces if name == piece), value)
    path.write_bytes(content)
    with pytest.raises(SceneError, match=r"for .* at byte \d+ of .*scan\.sens, found"):
        read_all(path)


def test_a_file_without_frames_is_refused(tmp_path):
    SensWriter(tmp_path / "scan.sens").write([])
    with pytest.raises(SceneError, match=r"frames at byte 305 of .*scan\.sens, found none"):
        SensFile(tmp_path / "scan.sens")


def huge_zeros():
    return zlib.compress(bytes(100_000_000))


@pytest.mark.parametrize(
    ("color", "depth", "says"),
    [
        (None, b"no zlib data", "zlib data for the depth image of frame 1"),
        (None, zlib.compress(b"short"), "bytes for the depth image of frame 1"),
        (None, huge_zeros(), "bytes for the depth image of frame 1"),
        (b"no image", None, "JPEG of 48x36 for the colour image of frame 1"),
        (encode(np.zeros((8, 8, 3), np.uint8), "jpeg"), None, "JPEG of 48x36 for the colour image of frame 1"),
        (encode(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "png"), None, "JPEG of 48x36"),
    ],
)
def test_a_damaged_image_is_told_with_its_byte_and_without_filling_the_memory(tmp_path, recording, color, depth, says):
    path = tmp_path / "scan.sens"
    good = [encode(recording.colors[0], "jpeg"), encode(recording.depths[0], "zlib")]
    bad = [color or good[0], depth or good[1]]
    writer = SensWriter(path, num_frames=2)
    writer.write([(*good, np.eye(4)), (*bad, np.eye(4))])
    start = [start for name, start, _ in writer.pieces if name == "images"][1]
    tracemalloc.start()
    with pytest.raises(SceneError) as raised:
        read_all(path)
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()
    assert says in str(raised.value)
    assert f"at byte {start if color else start + len(good[0])} of" in str(raised.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(SceneError, match=r"scan\.sens, found none"):
        SensFile(tmp_path / "scan.sens")


def test_the_command_writes_scannets_folders(sens_path, tmp_path, recording, capsys):
    out = tmp_path / "frames"
    ExtractSens(sens_path, out, start=1, stride=2).main()
    assert "Wrote 2 of 4 frames" in capsys.readouterr().out
    for i in (1, 3):
        assert (out / "color" / f"{i}.jpg").read_bytes() == encode(recording.colors[i], "jpeg")
        np.testing.assert_array_equal(np.array(Image.open(out / "depth" / f"{i}.png")), recording.depths[i])
        np.testing.assert_allclose(np.loadtxt(out / "pose" / f"{i}.txt"), recording.c2w[i], atol=1e-6)
    assert sorted(path.name for path in (out / "color").iterdir()) == ["1.jpg", "3.jpg"]
    np.testing.assert_allclose(np.loadtxt(out / "intrinsic" / "intrinsic_color.txt"), intrinsics())
    assert len(list((out / "intrinsic").iterdir())) == 4


def test_lost_poses_are_kept_as_they_are(tmp_path, recording):
    writer = SensWriter(tmp_path / "scan.sens", num_frames=1)
    writer.write([(encode(recording.colors[0], "jpeg"), encode(recording.depths[0], "zlib"), LOST)])
    ExtractSens(tmp_path / "scan.sens", tmp_path / "out").main()
    assert (np.loadtxt(tmp_path / "out" / "pose" / "0.txt") == -np.inf).all()


def test_other_depth_units_become_millimetres(tmp_path, recording):
    path = tmp_path / "scan.sens"
    write_sens(path, recording, units_per_metre=4000.0)
    ExtractSens(path, tmp_path / "out", stop=1).main()
    written = np.array(Image.open(tmp_path / "out" / "depth" / "0.png"))
    assert written.dtype == np.uint16
    assert abs(written - recording.depths[0] / 4).max() <= 0.5


def test_frames_that_are_there_are_left_alone_on_request(sens_path, tmp_path):
    out = tmp_path / "out"
    with SensFile(sens_path) as sens:
        assert export_frames(sens, sens.frames(stop=1), out) == 1
        (out / "color" / "0.jpg").write_bytes(b"mine")
        assert export_frames(sens, sens.frames(), out, skip_existing=True) == NUM_FRAMES - 1
        assert (out / "color" / "0.jpg").read_bytes() == b"mine"
        assert export_frames(sens, sens.frames(), out) == NUM_FRAMES
        assert (out / "color" / "0.jpg").read_bytes() != b"mine"


def test_a_place_that_cannot_be_written_is_told(sens_path, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SceneError, match=r"file/out, found that it cannot be written"):
        ExtractSens(sens_path, tmp_path / "file" / "out").main()


def test_a_start_beyond_the_end_is_told(sens_path, tmp_path):
    with pytest.raises(SceneError, match=r"--start below the 4 frames of .*scan\.sens, found 4"):
        ExtractSens(sens_path, tmp_path / "out", start=NUM_FRAMES).main()
    assert not (tmp_path / "out").exists()
