"""Who answers: the scene's labels, with errors where asked for, and a folder with questions and answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from semantic_ns.active_learning.pool.units import Units
from semantic_ns.active_learning.rounds.folder_oracle import ANSWERS, FolderOracle, boxes_of, draw_units
from semantic_ns.active_learning.rounds.oracle import GroundTruthOracle, Oracle, uniform_numbers
from semantic_ns.active_learning.rounds.revealed_labels import Answer, RevealedLabels, spent
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.labels.taxonomy import VOID

HEIGHT, WIDTH, CELL = 36, 48, 12
NUM_CELLS = (HEIGHT // CELL) * (WIDTH // CELL)


def cells(num_frames: int) -> Units:
    """Squares of 12x12 pixels, numbered row by row, frame by frame."""
    rows, columns = np.indices((HEIGHT, WIDTH)) // CELL
    one = (rows * (WIDTH // CELL) + columns).astype(np.int32)
    maps = [one + np.int32(frame * NUM_CELLS) for frame in range(num_frames)]
    count = num_frames * NUM_CELLS
    frames = np.repeat(np.arange(num_frames, dtype=np.int32), NUM_CELLS)
    return Units(maps, frames, np.full(count, CELL * CELL, np.int64), np.ones(count, np.int64))


def random_labels(num_frames: int, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.integers(-1, 5, (HEIGHT, WIDTH)).astype(np.int16) for _ in range(num_frames)]


def void_labels(num_frames: int) -> list[np.ndarray]:
    return [np.full((HEIGHT, WIDTH), VOID, np.int16) for _ in range(num_frames)]


def answers_to(oracle: Oracle, units: Units, asked: np.ndarray) -> list[np.ndarray]:
    revealed = RevealedLabels(void_labels(len(units.maps)), "cells")
    revealed.ask(units, asked, 0)
    revealed.reveal(units, oracle.answers(revealed.pending, 0))
    assert not len(revealed.pending)
    return revealed.labels


@pytest.fixture(scope="module")
def dataset(replica_scene: Path) -> SemanticDataset:
    return SemanticDataset(ReplicaDataParserConfig(data=replica_scene).setup().get_dataparser_outputs("train"))


# The scene's labels


def test_known_labels_answer_exactly_what_is_asked_for() -> None:
    units, labels = cells(3), random_labels(3)
    asked = np.array([30, 2, 7, 13])
    found = answers_to(GroundTruthOracle(labels, units, 5), units, asked)
    for frame in range(3):
        for row in range(HEIGHT):
            for column in range(WIDTH):
                is_asked = units.maps[frame][row, column] in asked
                assert found[frame][row, column] == (labels[frame][row, column] if is_asked else VOID)


def test_a_wrong_answer_is_one_other_class_for_the_whole_unit_and_void_stays_void() -> None:
    units, labels = cells(2), random_labels(2)
    for image in labels:
        image[units.maps[0] % NUM_CELLS == 4] = 3
    found = answers_to(GroundTruthOracle(labels, units, 5, error_rate=1.0, seed=1), units, np.arange(len(units.frames)))
    for unit in range(len(units.frames)):
        frame, inside = units.frames[unit], units.maps[units.frames[unit]] == unit
        true, said = labels[frame][inside], found[frame][inside]
        np.testing.assert_array_equal(true == VOID, said == VOID)
        (said_class,) = set(said[said != VOID].tolist())
        assert 0 <= said_class < 5
        assert said_class != np.bincount(true[true != VOID]).argmax()


def test_errors_hang_on_the_seed_and_the_unit_and_not_on_what_else_is_asked() -> None:
    units, labels = cells(20), random_labels(20)
    oracle = GroundTruthOracle(labels, units, 5, error_rate=0.3, seed=4)
    everything = answers_to(oracle, units, np.arange(len(units.frames)))
    some = np.arange(0, len(units.frames), 7)
    few = answers_to(oracle, units, some)
    for frame in range(20):
        inside = np.isin(units.maps[frame], some)
        np.testing.assert_array_equal(few[frame][inside], everything[frame][inside])
    wrong = [
        (everything[f][units.maps[f] == u] != labels[f][units.maps[f] == u]).any() for u, f in enumerate(units.frames)
    ]
    assert np.mean(wrong) == pytest.approx(0.3, abs=0.1)
    other = answers_to(GroundTruthOracle(labels, units, 5, error_rate=0.3, seed=5), units, np.arange(len(units.frames)))
    assert any((a != b).any() for a, b in zip(everything, other, strict=True))


def test_random_numbers_of_numbers_are_uniform_and_equal_those_of_the_published_generator() -> None:
    # SplitMix64 from state 0 (Vigna's reference: 0xE220A8397B1DCDAF first), mixed once more with the seed's.
    def mixed(value: int) -> int:
        value = (value + 0x9E3779B97F4A7C15) % 2**64
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
        return value ^ (value >> 31)

    assert mixed(0) == 0xE220A8397B1DCDAF
    numbers = np.array([0, 1, 5, 10**7])
    slow = [(mixed((mixed(3) + n * 0x9E3779B97F4A7C15) % 2**64) >> 11) / 2**53 for n in numbers.tolist()]
    np.testing.assert_allclose(uniform_numbers(numbers, 3), slow, rtol=0, atol=0)
    many = uniform_numbers(np.arange(20_000), 0)
    assert np.histogram(many, 10, (0, 1))[0] == pytest.approx(2000, abs=200)


# What was given


def test_void_and_wrong_pixels_are_charged_in_every_currency() -> None:
    units = cells(2)
    revealed = RevealedLabels(void_labels(2), "cells")
    revealed.ask(units, np.array([0, 1, NUM_CELLS]), 7)
    revealed.reveal(
        units, [Answer(0, np.array([0, 1]), void_labels(1)[0]), Answer(1, np.array([NUM_CELLS]), void_labels(1)[0])]
    )
    assert not len(revealed.pending)
    expected = {"pixels": 3 * CELL * CELL, "clicks": 3, "frames": 3 / NUM_CELLS}
    approximately = {name: pytest.approx(value) for name, value in expected.items()}
    assert revealed.rounds == [{"step": 7, "units": 3, **approximately}]
    assert spent(units, np.arange(2 * NUM_CELLS))["frames"] == pytest.approx(2)


def test_answers_to_what_was_not_asked_are_not_taken() -> None:
    units, labels = cells(1), random_labels(1)
    revealed = RevealedLabels(void_labels(1), "cells")
    revealed.ask(units, np.array([3]), 0)
    revealed.reveal(units, [Answer(0, np.array([2, 3]), labels[0])])
    np.testing.assert_array_equal(revealed.labels[0] != VOID, (units.maps[0] == 3) & (labels[0] != VOID))


def test_what_was_given_comes_back_from_a_checkpoint_into_the_same_arrays() -> None:
    units, labels = cells(2), random_labels(2)
    first = RevealedLabels(void_labels(2), "cells")
    first.ask(units, np.array([3, 20, 9]), 5)
    first.reveal(units, [Answer(0, np.array([3, 9]), labels[0])])
    arrays = void_labels(2)
    second = RevealedLabels(arrays, "cells")
    second.load_state_dict(first.state_dict())
    assert (second.asked.tolist(), second.is_answered.tolist()) == ([3, 20, 9], [True, False, True])
    assert second.rounds == first.rounds
    for image, array in zip(first.labels, arrays, strict=True):
        np.testing.assert_array_equal(array, image)
    with pytest.raises(SceneError, match="in units other"):
        RevealedLabels(void_labels(2), "other").load_state_dict(first.state_dict())
    with pytest.raises(SceneError, match="given to 1728 pixels"):
        RevealedLabels(void_labels(1), "cells").load_state_dict(first.state_dict())


def test_a_unit_is_asked_for_once() -> None:
    revealed = RevealedLabels(void_labels(1), "cells")
    revealed.ask(cells(1), np.array([1]), 0)
    with pytest.raises(ValueError, match="asked for before"):
        revealed.ask(cells(1), np.array([2, 1]), 1)


# The folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "questions"


def folder_oracle(folder: Path, dataset: SemanticDataset, **settings: Any) -> FolderOracle:
    return FolderOracle(folder, cells(len(dataset)), dataset, {"strategy": "random", **settings})


ASKED = np.array([3, NUM_CELLS + 5, 0])
FIRST = "round-00_frame-0000"


def test_a_round_is_written_as_questions_with_pictures_and_the_way_to_answer(
    folder: Path, dataset: SemanticDataset
) -> None:
    folder_oracle(folder, dataset).ask(0, ASKED)
    question = json.loads((folder / f"{FIRST}.json").read_text())
    assert question["units"] == [3, 0]
    assert question["boxes"] == [[36, 0, 48, 12], [0, 0, 12, 12]]
    assert question["classes"][0].keys() == {"id", "name", "color"}
    assert ".json" in question["how_to_answer"]
    numbers = np.array(Image.open(folder / question["image_of_units"]))
    assert numbers.dtype == np.uint16
    np.testing.assert_array_equal(numbers == 1, cells(1).maps[0] == 3)
    np.testing.assert_array_equal(numbers == 2, cells(1).maps[0] == 0)
    assert Image.open(folder / question["picture"]).size == (960, 720)
    assert {path.name for path in folder.glob("round-00_*.json")} == {f"{FIRST}.json", "round-00_frame-0001.json"}


def test_an_outline_stays_inside_its_unit_and_a_whole_frame_has_none() -> None:
    colors, numbers = np.zeros((6, 8, 3), np.uint8), np.zeros((6, 8), np.int64)
    numbers[1:5, 2:6] = 1
    assert boxes_of(numbers, 2) == [[2, 1, 6, 5], []]
    drawn = draw_units(colors, numbers)
    factor = drawn.shape[0] // 6
    white = (drawn == 255).all(axis=-1)
    assert white[factor, 2 * factor : 6 * factor].all()
    assert not drawn[: factor - 1].any()
    np.testing.assert_array_equal(draw_units(colors + 9, np.ones((6, 8), np.int64)), 9)


@pytest.mark.parametrize("ending", ["json", "png"])
def test_answers_come_as_classes_of_units_or_as_a_label_image(
    folder: Path, dataset: SemanticDataset, ending: str
) -> None:
    oracle, taxonomy = folder_oracle(folder, dataset), dataset.taxonomy
    oracle.ask(0, ASKED)
    assert not oracle.answers(ASKED, 0)
    if ending == "json":
        answer = {"1": taxonomy.names[2], "2": taxonomy.source_ids[4]}
        (folder / ANSWERS / f"{FIRST}.json").write_text(json.dumps(answer))
    else:
        ids = np.full((HEIGHT, WIDTH), 250, np.uint8)  # no class; not looked at where nothing was asked
        ids[cells(1).maps[0] == 3] = taxonomy.source_ids[2]
        ids[cells(1).maps[0] == 0] = taxonomy.source_ids[4]
        Image.fromarray(ids).save(folder / ANSWERS / f"{FIRST}.png")
    (found,) = oracle.answers(ASKED, 1)
    assert found.frame == 0
    assert sorted(found.units.tolist()) == [0, 3]
    assert set(found.labels[cells(1).maps[0] == 3]) == {2}
    assert set(found.labels[cells(1).maps[0] == 0]) == {4}
    assert not oracle.answers(np.setdiff1d(ASKED, found.units), 2)


def test_units_may_be_left_out_and_answered_later_and_void_is_an_answer(folder: Path, dataset: SemanticDataset) -> None:
    oracle, units = folder_oracle(folder, dataset), cells(len(dataset))
    revealed = RevealedLabels(void_labels(len(dataset)), "cells")
    revealed.ask(units, ASKED, 0)
    oracle.ask(0, ASKED)
    path = folder / ANSWERS / f"{FIRST}.json"
    path.write_text('{"2": "void"}')
    revealed.reveal(units, oracle.answers(revealed.pending, 0))
    assert revealed.pending.tolist() == [3, NUM_CELLS + 5]
    path.write_text(json.dumps({"2": "void", "1": dataset.taxonomy.names[1]}))
    revealed.reveal(units, oracle.answers(revealed.pending, 10))
    assert revealed.pending.tolist() == [NUM_CELLS + 5]
    assert set(revealed.labels[0][units.maps[0] == 3]) == {1}
    assert set(revealed.labels[0][units.maps[0] == 0]) == {VOID}


def whole_png(dataset: SemanticDataset, path: Path) -> bytes:
    ids = np.random.default_rng(0).choice(dataset.taxonomy.source_ids, (HEIGHT, WIDTH)).astype(np.uint8)
    Image.fromarray(ids).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("ending", ["json", "png"])
def test_half_written_answers_are_taken_when_they_are_whole(
    folder: Path, dataset: SemanticDataset, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle = folder_oracle(folder, dataset)
    oracle.ask(0, ASKED)
    whole = b'{"1": "void", "2": "void"}' if ending == "json" else whole_png(dataset, tmp_path / "whole.png")
    path = folder / ANSWERS / f"{FIRST}.{ending}"
    capsys.readouterr()
    for end in range(0, len(whole) // 2, max(1, len(whole) // 20)):
        path.write_bytes(whole[:end])
        assert not oracle.answers(ASKED, end)
    assert capsys.readouterr().out == ""
    path.write_bytes(whole)
    (found,) = oracle.answers(ASKED, 1)
    assert len(found.units) == 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"1": "no such class"}', "no such class"),
        (b'{"7": "void"}', "units 1..2"),
        (b"[1]", "an object from numbers"),
        (b"\x00\x01", "JSON|UTF-8"),
    ],
)
def test_an_answer_that_cannot_be_used_is_complained_of_once_and_stops_nothing(
    folder: Path, dataset: SemanticDataset, content: bytes, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle = folder_oracle(folder, dataset)
    oracle.ask(0, ASKED)
    (folder / ANSWERS / f"{FIRST}.json").write_bytes(content)
    capsys.readouterr()
    said = []
    for step in range(4):
        assert not oracle.answers(ASKED, step)
        said.append(capsys.readouterr().out)
    assert [bool(text) for text in said] == [False, True, False, False]
    assert any(word in said[1] for word in complaint.split("|"))


def test_an_answer_of_another_size_is_complained_of(
    folder: Path, dataset: SemanticDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle = folder_oracle(folder, dataset)
    oracle.ask(0, ASKED)
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(folder / ANSWERS / f"{FIRST}.png")
    for step in range(2):
        assert not oracle.answers(ASKED, step)
    assert "48x36" in capsys.readouterr().out


def test_a_resumed_run_finds_its_questions_and_takes_answers_when_it_took_them(
    folder: Path, dataset: SemanticDataset
) -> None:
    oracle = folder_oracle(folder, dataset)
    assert oracle.asked_in(0) is None
    oracle.ask(0, ASKED)
    (folder / ANSWERS / f"{FIRST}.json").write_text('{"1": "void", "2": "void"}')
    assert len(oracle.answers(ASKED, 20)) == 1
    resumed = folder_oracle(folder, dataset)
    found = resumed.asked_in(0)
    assert found is not None
    assert found.tolist() == ASKED.tolist()
    resumed.ask(0, np.array([1]))  # what is asked already stands
    assert not (folder / "round-00_frame-0002.json").exists()
    assert not resumed.answers(ASKED, 10)
    assert len(resumed.answers(ASKED, 20)) == 1
    # An answer that the look at step 20 did not find is not found there the second time either.
    (folder / ANSWERS / "round-00_frame-0001.json").write_text('{"1": "void"}')
    again = folder_oracle(folder, dataset)
    assert [len(again.answers(ASKED[1:2], step)) for step in (10, 20, 30)] == [0, 0, 1]


def test_a_run_that_starts_anew_takes_all_answers_at_once(folder: Path, dataset: SemanticDataset) -> None:
    oracle = folder_oracle(folder, dataset)
    oracle.ask(0, ASKED)
    assert not oracle.answers(ASKED, 1990)
    (folder / ANSWERS / f"{FIRST}.json").write_text('{"1": "void", "2": "void"}')  # after its last look
    units = cells(len(dataset))
    anew = FolderOracle(folder, units, dataset, {"strategy": "random"}, is_resumed=False)
    (found,) = anew.answers(ASKED, 0)
    assert sorted(found.units.tolist()) == [0, 3]


def test_an_answer_that_is_added_to_gives_the_added_units_alone(folder: Path, dataset: SemanticDataset) -> None:
    oracle = folder_oracle(folder, dataset)
    oracle.ask(0, ASKED)
    path = folder / ANSWERS / f"{FIRST}.json"
    path.write_text('{"1": "void"}')
    (first,) = oracle.answers(ASKED, 0)
    pending = np.setdiff1d(ASKED, first.units)
    assert not oracle.answers(pending, 10)
    path.write_text('{"1": "void", "2": "void"}')
    (second,) = oracle.answers(pending, 20)
    assert (first.units.tolist(), second.units.tolist()) == ([3], [0])


def test_files_that_answer_no_question_are_named_once(
    folder: Path, dataset: SemanticDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle = folder_oracle(folder, dataset)
    oracle.ask(0, ASKED)
    for name in (f"{FIRST}.PNG", "frame-0000.json", ".hidden"):
        (folder / ANSWERS / name).write_text("{}")
    capsys.readouterr()
    oracle.answers(ASKED, 0)
    said = capsys.readouterr().out
    assert f"{FIRST}.PNG" in said
    assert "frame-0000.json" in said
    assert "hidden" not in said
    oracle.answers(ASKED, 10)
    assert capsys.readouterr().out == ""


def test_the_number_of_a_bent_unit_lies_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.zeros((20, 20), np.int64)
    numbers[2:18, 2:4] = numbers[2:4, 2:18] = 1  # a corner around the middle of its box
    numbers[9:12, 9:12] = 2
    places: dict[str, tuple[float, float]] = {}

    def noted(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, **_: Any) -> None:
        places[text] = place

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    factor = draw_units(np.zeros((20, 20, 3), np.uint8), numbers).shape[0] // 20
    for text, (x, y) in places.items():
        assert numbers[int(y / factor), int(x / factor)] == int(text)
    assert len(places) == 2


def test_a_folder_of_another_run_or_scene_is_refused(folder: Path, dataset: SemanticDataset) -> None:
    folder_oracle(folder, dataset, seed=0)
    folder_oracle(folder, dataset, seed=0)
    with pytest.raises(SceneError, match="oracle-folder"):
        folder_oracle(folder, dataset, seed=1)
    with pytest.raises(SceneError, match="oracle-folder"):  # as many frames of the same names, divided otherwise
        FolderOracle(folder, cells(len(dataset) + 1), dataset, {"strategy": "random", "seed": 0})


def test_both_are_oracles(folder: Path, dataset: SemanticDataset) -> None:
    assert isinstance(folder_oracle(folder, dataset), Oracle)
    assert isinstance(GroundTruthOracle(random_labels(1), cells(1), 5), Oracle)
