"""Folders of exports: two at once, and what a process that was ended has left behind."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labelling.export import remove_leftovers
from semantic_ns.labelling.export_api import ExportApi
from semantic_ns.labelling.field_api import FieldApi
from semantic_ns.labelling.requests import Body, RequestError
from semantic_ns.labelling.session import LabelSession
from support.label_actions import FRAMES, WALL, click


def api_of(session: LabelSession, exports: Path) -> ExportApi:
    return ExportApi(session, exports, FieldApi(None, session))


def asked_for(folder: str | None) -> Body:
    return Body({"folder": folder, "painted_only": True})


@pytest.fixture
def session(opened: Callable[..., LabelSession]) -> LabelSession:
    made = opened()
    made.add_mark(click(0, WALL, 4, 4), "a", 0)
    return made


def test_two_exports_at_once_are_both_there(
    session: LabelSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, write = api_of(session, tmp_path / "exports"), session.export
    barrier = threading.Barrier(2)

    def write_together(*args: Any) -> list[Path]:
        barrier.wait(30)
        return write(*args)

    monkeypatch.setattr(session, "export", write_together)
    failures: list[BaseException] = []

    def export() -> None:
        try:
            api.export(asked_for(None))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=export) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for name in ("labels_1", "labels_2"):
        assert len([*(tmp_path / "exports" / name).glob("*.png")]) == FRAMES


def test_a_second_export_of_one_name_is_refused_before_it_begins(
    session: LabelSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, write = api_of(session, tmp_path / "exports"), session.export

    def write_while_another_begins(*args: Any) -> list[Path]:
        with pytest.raises(RequestError, match="found mine, which exists"):
            api.export(asked_for("mine"))
        return write(*args)

    monkeypatch.setattr(session, "export", write_while_another_begins)
    api.export(asked_for("mine"))
    assert len([*(tmp_path / "exports/mine").glob("*.png")]) == FRAMES


def test_an_export_that_fails_leaves_its_name_free(opened: Callable[..., LabelSession], tmp_path: Path) -> None:
    api = api_of(opened("empty"), tmp_path / "exports")
    with pytest.raises(SceneError, match="Expected a mark to write labels from"):
        api.export(asked_for("mine"))
    assert not [*(tmp_path / "exports").iterdir()]


def test_what_an_ended_process_had_begun_to_export_is_removed_and_nothing_else(
    session: LabelSession, tmp_path: Path
) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    gone = tmp_path / f".labels_1.{process.pid}.7.tmp"
    kept = [
        tmp_path / f".labels_2.{os.getpid()}.{threading.get_ident()}.tmp",
        tmp_path / f".labels_3.{os.getppid()}.7.tmp",
        tmp_path / ".mine.tmp",
        tmp_path / f"labels_4.{process.pid}.7.tmp",
    ]
    for folder in (gone, *kept):
        (folder / "inside").mkdir(parents=True)
    api_of(session, tmp_path)
    assert not gone.exists()
    assert all((folder / "inside").is_dir() for folder in kept)
    remove_leftovers(tmp_path / "none")
