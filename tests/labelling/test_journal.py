import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labelling.journal import Journal, JournalWriteError

HEADER = {"version": 1, "scene": 'a "room" \N{SEAT}'}
ENTRIES = [{"kind": "mark", "x": 0.1 + i, "n": "\u00e9\ud800", "list": [1, None]} for i in range(3)]


def journal_at(path: Path, header: dict[str, Any] = HEADER) -> Journal:
    return Journal(path, header)


def written(path: Path) -> bytes:
    journal = journal_at(path)
    for entry in ENTRIES:
        journal.append(entry)
    journal.close()
    return path.read_bytes()


def test_actions_come_back_as_they_were(tmp_path: Path) -> None:
    written(tmp_path / "marks.jsonl")
    journal = journal_at(tmp_path / "marks.jsonl", {"other": 1})
    assert journal.header == HEADER
    assert journal.entries == ENTRIES
    journal.close()


def test_of_a_journal_cut_off_at_any_byte_all_whole_lines_are_there_and_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    content = written(path)
    for size in range(len(content)):
        path.write_bytes(content[:size])
        num_whole = content[:size].count(b"\n")
        journal = journal_at(path)
        assert journal.header == HEADER
        assert journal.entries == ENTRIES[: max(0, num_whole - 1)]
        journal.append({"kind": "last"})
        journal.close()
        again = journal_at(path)
        assert again.entries == [*ENTRIES[: max(0, num_whole - 1)], {"kind": "last"}]
        again.close()


@pytest.mark.parametrize("line", [0, 2])
def test_a_damaged_line_before_others_is_refused_and_nothing_is_changed(tmp_path: Path, line: int) -> None:
    path = tmp_path / "marks.jsonl"
    lines = written(path).split(b"\n")
    lines[line] = lines[line].replace(b"1", b"7")
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(SceneError, match=f"at line {line + 1} of"):
        journal_at(path)
    assert path.read_bytes() == b"\n".join(lines)
    lines[line] = lines[line].replace(b"7", b"1")


def test_a_journal_that_is_open_is_refused_with_the_process_that_has_it(tmp_path: Path) -> None:
    journal = journal_at(tmp_path / "marks.jsonl")
    with pytest.raises(SceneError, match=rf"found that process {os.getpid()} on \S+ since .* is labelling"):
        journal_at(tmp_path / "marks.jsonl")
    journal.close()
    journal.close()
    journal_at(tmp_path / "marks.jsonl").close()


def test_an_action_for_which_there_is_no_room_is_not_in_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    journal = journal_at(path)
    journal.append(ENTRIES[0])
    before, file = path.read_bytes(), journal._file

    class FullDisk:
        def write(self, line: bytes) -> int:
            return file.write(line[:10])

        def __getattr__(self, name: str) -> Any:
            return getattr(file, name)

    journal._file = FullDisk()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(JournalWriteError, match="No space left on device"):
        journal.append(ENTRIES[1])
    assert path.read_bytes() == before
    journal._file = file
    journal.append(ENTRIES[2])
    journal.close()
    again = journal_at(path)
    assert again.entries == [ENTRIES[0], ENTRIES[2]]
    again.close()


_LABELLER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.session import LabelSession
from support.label_surfaces import make_label_surface

session = LabelSession(make_label_surface(Path(sys.argv[1]), 2, 60), Path(sys.argv[2]))
for number in range(session.revision, 100_000):
    shape = {"kind": "click", "x": number % 30 + 0.5, "y": number % 20 + 0.5, "radius": 2}
    revision = session.add_mark(Mark.from_json({"frame": 0, "class_id": 3, "shape": shape}), "a", number)
    print(revision, flush=True)
"""


def test_no_answered_mark_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """Each process goes on with the journal of the one that was killed before, whose lock is free."""
    root = Path(__file__).parents[2]
    answered = 0
    for num_answers in (1, 20):
        arguments = [sys.executable, "-c", _LABELLER, str(tmp_path / "images"), str(tmp_path), str(root / "tests")]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=root, text=True)
        assert process.stdout is not None
        for _ in range(num_answers):
            assert int(process.stdout.readline()) == answered + 1
            answered += 1
        os.kill(process.pid, signal.SIGKILL)
        # What it printed before it was killed was answered, too.
        answered += sum(line.endswith("\n") for line in process.stdout)
        process.stdout.close()
        process.wait()
        journal = journal_at(tmp_path / "marks.jsonl")
        assert answered <= len(journal.entries) <= answered + 1
        answered = len(journal.entries)
        journal.close()


def test_numbers_that_json_has_no_word_for_are_no_action(tmp_path: Path) -> None:
    journal = journal_at(tmp_path / "marks.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        journal.append({"x": float("nan")})
    journal.close()
    assert len((tmp_path / "marks.jsonl").read_bytes().splitlines()) == 1
    assert json.loads((tmp_path / "marks.jsonl").read_text())["entry"] == HEADER
