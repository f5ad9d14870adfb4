"""The server with the real session in a process of its own, which is killed and started again."""

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from benchmarks.label_kills import TOKEN, Client, count_lost, kill_repeatedly
from semantic_ns.labelling.session import JOURNAL_FILE
from support.fresh_process import ROOT, TESTS
from support.label_surfaces import HEIGHT, WIDTH

START = f"""
import sys
from pathlib import Path
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.server import LabelServer
from semantic_ns.labelling.session import LabelSession
from support.label_surfaces import make_label_surface
folder = Path(sys.argv[1])
session = LabelSession(make_label_surface(folder / "scene"), folder)
server = LabelServer(LabelApi(session, "a scene", folder / "exports"), {TOKEN!r}, port=0)
print(server.port, flush=True)
server.serve()
"""
SIZE = 3, HEIGHT, WIDTH


def start(folder: Path) -> "subprocess.Popen[str]":
    """A server on a small surface, which prints its port."""
    paths = {"PYTHONPATH": f"{ROOT}:{TESTS}", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-c", START, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=paths)


def test_no_action_that_was_answered_is_lost_by_kills() -> None:
    """Three clients mark and take back until the server is killed; every server after it knows what was answered."""
    found = kill_repeatedly(start, 3, 1, SIZE, [3, 7])
    assert found.answered >= 9
    assert (found.kills, found.lost) == (3, 0)


SPOILED: dict[str, dict[str, Any]] = {
    "frame": {"mark": {"frame": 9}},
    "class": {"mark": {"class_id": 9}},
    "action": {"mark": {"action": "void"}},
    "shape": {"mark": {"shape": {"kind": "click"}}},
    "kind": {"kind": "undo"},
    "client": {"client": "two"},
    "sequence": {"sequence": 1},
    "none": {},
}


@pytest.mark.parametrize("spoil", ["drop", *SPOILED])
def test_an_action_that_is_gone_or_differs_is_counted_as_lost(tmp_path: Path, spoil: str) -> None:
    client = Client("one", 0, SIZE, [3])
    path, content = client.action(0)
    client.answered[0] = 1, path, content
    change = SPOILED.get(spoil, {})
    mark = {"mark": {**content["mark"], **change.get("mark", {})}}
    entry = {"kind": "mark", "client": "one", "sequence": 0, **change, **mark}
    write_journal(tmp_path, [] if spoil == "drop" else [entry])
    assert count_lost(tmp_path, [client]) == (spoil != "none")


def test_a_refused_action_in_the_journal_is_counted(tmp_path: Path) -> None:
    client = Client("one", 0, SIZE, [3])
    path, content = client.action(0)
    client.answered[0], client.refused = (1, path, content), {4}
    entry = {"kind": "mark", "client": "one", "sequence": 0, **content}
    write_journal(tmp_path, [entry])
    assert count_lost(tmp_path, [client]) == 0
    write_journal(tmp_path, [entry, {"kind": "undo", "client": "one", "sequence": 4, "target": 1}])
    assert count_lost(tmp_path, [client]) == 1


def test_clients_of_one_seed_make_different_marks() -> None:
    first, second = (Client(name, 0, SIZE, [3, 7]) for name in ("one", "two"))
    marks = [client.action(n) for client in (first, second) for n in range(4)]
    assert all(marks[i] != marks[j] for i in range(8) for j in range(i))
    assert [first.action(n) for n in range(4)] == marks[:4]


def write_journal(folder: Path, entries: list[dict[str, Any]]) -> None:
    lines = [{"version": 1}, *entries]
    text = "".join(json.dumps({"crc32": zlib.crc32(json.dumps(one).encode()), "entry": one}) + "\n" for one in lines)
    (folder / JOURNAL_FILE).write_text(text + "torn")
