"""Masks of what lies at points, by pairs of small networks."""

import sys
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from semantic_ns.errors import SceneError
from semantic_ns.prediction.point_segmenter import PointSegmenter, pair_at
from support.segmenters import write_pair

HEIGHT, WIDTH = 24, 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("pair"))


def image(scale: int = 1) -> np.ndarray:
    """Three areas of one colour each: left, middle, right."""
    thirds = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]], np.uint8)
    row = thirds[np.repeat([0, 1, 2], [8, 16, 8])].repeat(scale, axis=0)
    return np.ascontiguousarray(np.broadcast_to(row, (HEIGHT * scale, WIDTH * scale, 3)))


def area(first: int, last: int, scale: int = 1) -> np.ndarray:
    mask = np.zeros((HEIGHT * scale, WIDTH * scale), bool)
    mask[:, first * scale : last * scale] = True
    return mask


def test_the_mask_is_what_the_decoder_sees_at_the_point(folder: Path) -> None:
    segmenter = PointSegmenter(folder)
    assert (segmenter.mask(0, image(), [(3.0, 20.0, True)]) == area(0, 8)).all()
    assert (segmenter.mask(0, image(), [(12.0, 1.0, True)]) == area(8, 24)).all()
    both = segmenter.mask(0, image(), [(3.0, 20.0, True), (30.0, 2.0, True)])
    assert (both == area(0, 8) | area(24, 32)).all()
    less = segmenter.mask(0, image(), [(3.0, 20.0, True), (30.0, 2.0, True), (29.0, 9.0, False)])
    assert (less == area(0, 8)).all()


def test_points_and_masks_are_scaled_to_the_side_of_the_encoder(folder: Path) -> None:
    """Colours are blurred at borders, where the mask may end a pixel of the encoder earlier or later."""
    found = PointSegmenter(folder).mask(0, image(3), [(12.0 * 3, 20.0 * 3, True)])
    differs = found != area(8, 24, 3)
    assert found.shape == (3 * HEIGHT, 3 * WIDTH)
    assert found[:, 9 * 3 : 23 * 3].all()
    assert differs.mean() < 2 * 2 * 3 / (3 * WIDTH)


def test_of_several_masks_the_one_of_the_best_score_counts(tmp_path: Path) -> None:
    segmenter = PointSegmenter(write_pair(tmp_path, num_masks=3))
    assert (segmenter.mask(0, image(), [(3.0, 20.0, True)]) == area(0, 8)).all()


def test_an_encoder_of_raw_colours_gets_the_image_with_its_longer_side_at_1024(tmp_path: Path) -> None:
    segmenter = PointSegmenter(write_pair(tmp_path, is_raw=True))
    square = np.ascontiguousarray(image()[:, 4:28])
    assert (segmenter.mask(0, square, [(1.0, 20.0, True)]) == area(4, 8)[:, 4:28]).mean() > 0.95


def test_an_image_is_encoded_once(folder: Path) -> None:
    segmenter = PointSegmenter(folder)
    segmenter.prepare("one", image())
    first = segmenter.mask("one", np.zeros_like(image()), [(3.0, 3.0, True)])
    assert (first == area(0, 8)).all()
    for other in range(9):
        segmenter.prepare(other, image())
    assert segmenter.mask("one", np.zeros_like(image()), [(3.0, 3.0, True)]).all()  # it was forgotten


def test_a_pair_is_found_by_its_folder_and_by_either_file(folder: Path, tmp_path: Path) -> None:
    pair = folder / "small_encoder.onnx", folder / "small_decoder.onnx"
    assert [pair_at(path) for path in (folder, *pair)] == [pair] * 3
    for path in (tmp_path, tmp_path / "encoder.onnx", folder / "network.onnx"):
        with pytest.raises(SceneError, match=r"--segmenter .*found 0 of the encoder; give the folder"):
            pair_at(path)


def test_a_pair_is_found_whether_its_letters_are_capitals_or_not(tmp_path: Path) -> None:
    pair = tmp_path / "SAM_Encoder.onnx", tmp_path / "sam_DECODER.ONNX"
    for file in pair:
        file.touch()
    assert [pair_at(path) for path in (tmp_path, *pair)] == [pair] * 3
    (tmp_path / "sam_encoder.onnx").touch()
    if len(list(tmp_path.iterdir())) == 3:  # names that differ in case alone are two files here
        assert pair_at(pair[0]) == pair
        with pytest.raises(SceneError, match="found 2 of the encoder"):
            pair_at(pair[1])


def test_what_is_known_of_an_image_does_not_wait_while_another_one_is_encoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = PointSegmenter(folder)
    segmenter.prepare("known", image())
    started, go_on, run = threading.Event(), threading.Event(), segmenter._run

    def waiting(session: Any, path: Path, *given: Any) -> list[Any]:
        if path.name == "small_encoder.onnx":
            started.set()
            assert go_on.wait(60)
        return run(session, path, *given)

    monkeypatch.setattr(segmenter, "_run", waiting)
    other = threading.Thread(target=segmenter.prepare, args=("other", image()))
    other.start()
    assert started.wait(60)
    found: list[np.ndarray] = []
    asking = threading.Thread(
        target=lambda: found.append(segmenter.mask("known", image(), [(3.0, 20.0, True)])), daemon=True
    )
    asking.start()
    asking.join(30)
    was_answered = bool(found)
    go_on.set()
    other.join()
    assert was_answered
    assert (found[0] == area(0, 8)).all()


def test_what_is_no_such_network_is_refused_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    other = write_pair(tmp_path / "names", names=("a", "b", "c", "d", "e", "f"))
    with pytest.raises(SceneError, match=r"inputs image_embeddings, point_coords.* found a tensor"):
        PointSegmenter(other)
    (tmp_path / "small_decoder.onnx").write_bytes((folder / "small_decoder.onnx").read_bytes())
    (tmp_path / "small_encoder.onnx").write_bytes((folder / "small_decoder.onnx").read_bytes())
    with pytest.raises(SceneError, match=r"encoder with one input \[1, 3, S, S\]"):
        PointSegmenter(tmp_path)
    (tmp_path / "small_encoder.onnx").write_bytes(b"no network")
    with pytest.raises(SceneError, match=r"cannot be loaded \(.*export the network again"):
        PointSegmenter(tmp_path)


def test_a_network_that_fails_is_told(tmp_path: Path, folder: Path) -> None:
    """The embedding of this encoder is larger than what the decoder takes."""
    write_pair(tmp_path, side=48)
    (tmp_path / "small_decoder.onnx").write_bytes((folder / "small_decoder.onnx").read_bytes())
    with pytest.raises(SceneError, match=r"found one that fails \("):
        PointSegmenter(tmp_path).mask(0, image(), [(3.0, 3.0, True)])


def test_the_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", cast(Any, None))
    with pytest.raises(SceneError, match=r"pip install 'semantic-ns\[predict\]'"):
        PointSegmenter(folder)
