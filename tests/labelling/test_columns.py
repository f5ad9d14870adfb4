"""Columns that are kept give the bits of columns that are computed, and what is damaged is computed."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semantic_ns.labelling import columns as keeping
from semantic_ns.labelling import solver as solving
from semantic_ns.labelling.columns import Column, ColumnFile, column_path
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.solver import ExactSolver, Observation
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import LAMP, WALL, are_equal, click, everything


def observations(num_voxels: int) -> list[Observation]:
    rng = np.random.default_rng(0)
    return [Observation(np.sort(rng.choice(num_voxels, 5, replace=False)).astype(np.int32), n % 3) for n in range(6)]


def solved(surface: LabelSurface, file: Path | None) -> tuple[ExactSolver, list[np.ndarray]]:
    solver = ExactSolver(surface.graph, surface.clusters, None, file)
    found = solver.solve(observations(surface.graph.num_nodes), 3)
    return solver, [found.labels, found.probabilities, found.nearness]


@pytest.fixture
def num_solved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    count, original = [0], ExactSolver._solved

    def counted(self: ExactSolver, voxels: np.ndarray) -> object:
        count[0] += 1
        return original(self, voxels)

    monkeypatch.setattr(solving.ExactSolver, "_solved", counted)
    return count


def test_kept_columns_give_the_same_bits_and_are_not_computed_again(
    surface: LabelSurface, tmp_path: Path, num_solved: list[int]
) -> None:
    file = tmp_path / "columns_a.bin"
    _, fresh = solved(surface, None)
    _, first = solved(surface, file)
    assert num_solved == [12]
    _, second = solved(surface, file)
    assert num_solved == [12]
    assert are_equal(first, fresh)
    assert are_equal(second, fresh)


@pytest.mark.parametrize("damage", ["cut", "byte", "folder"])
def test_damaged_columns_are_computed_again(
    surface: LabelSurface, tmp_path: Path, num_solved: list[int], damage: str
) -> None:
    file = tmp_path / "columns_a.bin"
    _, fresh = solved(surface, file)
    content = bytearray(file.read_bytes())
    record = len(content) // 6
    if damage == "cut":
        file.write_bytes(content[: 5 * record + record // 2])
    elif damage == "byte":
        content[2 * record + record // 2] ^= 1
        file.write_bytes(content)
    else:
        file.unlink()
        file.mkdir()
    _, again = solved(surface, file)
    assert num_solved == [12 if damage == "folder" else 7]
    assert are_equal(again, fresh)
    if damage == "cut":
        assert len(file.read_bytes()) == 6 * record


def test_a_session_that_is_opened_again_computes_no_column(
    surface: LabelSurface, tmp_path: Path, num_solved: list[int]
) -> None:
    session = LabelSession(surface, tmp_path / "journal")
    for number in range(4):
        session.add_mark(click(0, (WALL, LAMP)[number % 2], 3 + 7 * number, 9), "a", number)
    shown = everything(session)
    session.close()
    before = num_solved[0]
    again = LabelSession(surface, tmp_path / "journal")
    assert are_equal(everything(again), shown)
    assert num_solved[0] == before > 0
    again.close()


def test_columns_of_another_surface_other_imported_labels_or_constants_are_others(
    surface: LabelSurface, finer: LabelSurface, tmp_path: Path
) -> None:
    zeros, ones = np.zeros(3), np.ones(3)
    systems = [
        (surface, (), ()),
        (finer, (), ()),
        (replace(surface, stride=2), (), ()),
        (surface, (zeros,), ()),
        (surface, (ones,), ()),
        (surface, (ones, ones), ()),
        (surface, (), (0.5,)),
        (surface, (), (0.25,)),
    ]
    paths = [column_path(tmp_path, *system) for system in systems]
    assert len({*paths}) == len(systems)
    assert paths == [column_path(tmp_path, *system) for system in systems]


def test_a_record_of_other_voxels_is_computed_again(
    surface: LabelSurface, tmp_path: Path, num_solved: list[int]
) -> None:
    """Two records change places but for their keys: each is whole in itself."""
    file = tmp_path / "columns_a.bin"
    _, fresh = solved(surface, file)
    records = np.frombuffer(file.read_bytes(), np.uint8).reshape(6, -1).copy()
    records[[1, 4], 32:] = records[[4, 1], 32:]
    file.write_bytes(records.tobytes())
    _, again = solved(surface, file)
    assert num_solved == [6 + 2]
    assert are_equal(again, fresh)


def test_of_two_files_for_one_path_the_later_one_writes(tmp_path: Path) -> None:
    path, sizes = tmp_path / "columns_a.bin", (1, 2, 3)
    first, second = ColumnFile(path, *sizes), ColumnFile(path, *sizes)

    def column(value: int) -> Column:
        deviations, nearness = np.full(3, value, np.float32), np.full(3, value, np.uint8)
        return Column(np.full(1, float(value)), np.full(2, float(value)), deviations, nearness)

    def voxels(value: int) -> np.ndarray:
        return np.array([value], np.int32)

    for number in range(3):
        second.put(voxels(number), column(number))
        first.put(voxels(10 + number), column(10 + number))
    again = ColumnFile(path, *sizes)
    for number in range(3):
        found = again.get(voxels(number))
        assert found is not None
        assert all((a == b).all() for a, b in zip(found, column(number), strict=True))
        assert again.get(voxels(10 + number)) is None


def test_files_that_were_not_used_lately_make_room(surface: LabelSurface, tmp_path: Path) -> None:
    for number in range(6):
        solved(surface, tmp_path / f"columns_{number}.bin")
    assert {path.name for path in tmp_path.iterdir()} == {f"columns_{number}.bin" for number in (2, 3, 4, 5)}


def kept(folder: Path) -> list[int]:
    """The bytes of the files of columns."""
    return [path.stat().st_size for path in folder.glob("columns_*.bin")]


def test_a_file_of_columns_has_those_of_marks_in_force_and_few_others_after_a_start(
    surface: LabelSurface, tmp_path: Path, num_solved: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_MOST_SPARE", 3)
    folder = tmp_path / "journal"
    session = LabelSession(surface, folder)
    sequence = iter(range(1000))
    session.add_mark(click(0, WALL, 5, 5), "a", next(sequence))
    session.labels(0)
    (record,) = kept(folder)
    for number in range(12):
        session.add_mark(click(1, LAMP, 2 + 2 * number, 12), "a", next(sequence))
        session.labels(0)
        session.undo("a", next(sequence))
    session.add_mark(click(2, LAMP, 20, 10), "a", next(sequence))
    shown, before = everything(session), kept(folder)
    assert before[0] > 10 * record
    session.close()
    (folder / f".{next(folder.glob('columns_*.bin')).name}.99.tmp").write_text("of a process that was killed")
    solved_before = num_solved[0]
    for _ in range(3):
        again = LabelSession(surface, folder)
        assert kept(folder) == [(2 + 3) * record]
        assert are_equal(everything(again), shown)
        again.close()
    assert num_solved[0] == solved_before
    assert not list(folder.glob("*.tmp")) + list(folder.glob(".*.tmp"))
    again = LabelSession(surface, folder)
    for number in range(10, 12):  # of the last ones that were taken back
        again.add_mark(click(1, LAMP, 2 + 2 * number, 12), "a", next(sequence))
        again.labels(0)
    assert num_solved[0] == solved_before
    again.close()


def test_a_file_of_columns_stays_as_it_is_where_a_smaller_one_cannot_be_written(
    surface: LabelSurface, tmp_path: Path, num_solved: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "columns_a.bin"
    solver, fresh = solved(surface, file)
    content = file.read_bytes()

    def full(_: object) -> object:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keeping, "replacing", full)
        patch.setattr(keeping, "_MOST_SPARE", 0)
        solver.keep_columns([])
    assert file.read_bytes() == content
    assert are_equal(solved(surface, file)[1], fresh)
    assert num_solved == [6]


@pytest.mark.parametrize("used", [[], [4], [0, 2, 5], [*range(6)]])
def test_what_is_dropped_is_computed_again_and_what_is_kept_is_not(
    surface: LabelSurface, tmp_path: Path, num_solved: list[int], monkeypatch: pytest.MonkeyPatch, used: list[int]
) -> None:
    monkeypatch.setattr(keeping, "_MOST_SPARE", 0)
    file = tmp_path / "columns_a.bin"
    solver, fresh = solved(surface, file)
    record = file.stat().st_size // 6
    voxels = [one.voxels for one in observations(surface.graph.num_nodes)]
    solver.keep_columns([voxels[number] for number in used])
    assert file.stat().st_size == len(used) * record
    assert are_equal(solved(surface, file)[1], fresh)
    assert num_solved == [6 + 6 - len(used)]
    assert file.stat().st_size == 6 * record


def test_what_is_kept_is_written_from_the_file_without_a_copy_of_a_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_MOST_SPARE", 0)
    num_voxels = 200_000
    file = ColumnFile(tmp_path / "columns_a.bin", 1, 2, num_voxels)
    voxels = [np.array([number], np.int32) for number in range(4)]
    for number, of_column in enumerate(voxels):
        values = np.full(num_voxels, number, np.float32), np.full(num_voxels, number, np.uint8)
        file.put(of_column, Column(np.zeros(1), np.zeros(2), *values))
    tracemalloc.start()
    file.keep([voxels[1], voxels[3]])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < num_voxels
    found = [file.get(of_column) for of_column in voxels]
    assert [None if one is None else one.nearness[-1] for one in found] == [None, 1, None, 3]
