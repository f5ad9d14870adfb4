"""Locks between processes: who has one, and what is said where there can be none."""

import errno
import os
import re
import socket
from pathlib import Path

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.io import locking
from semantic_ns.io.locking import LockTakenError, take_lock

HOST = re.escape(socket.gethostname())
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d"


def refusal(owner: str) -> str:
    return f"Process {owner} has it."


def test_a_lock_is_had_once_names_its_owner_and_is_free_when_it_is_closed(tmp_path: Path) -> None:
    first = take_lock(tmp_path / "lock", refusal)
    with pytest.raises(LockTakenError, match=rf"^Process {os.getpid()} on {HOST} since {TIME} has it\.$"):
        take_lock(tmp_path / "lock", refusal)
    os.close(first)
    os.close(take_lock(tmp_path / "lock", refusal))


def test_a_lock_of_an_earlier_version_names_its_owner(tmp_path: Path) -> None:
    first = take_lock(tmp_path / "lock", refusal)
    (tmp_path / "lock").write_text("4711")
    with pytest.raises(LockTakenError, match=r"^Process 4711 has it\.$"):
        take_lock(tmp_path / "lock", refusal)
    os.close(first)


def answer_with(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def lock(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locking, "_lock", lock)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES])
def test_what_systems_answer_where_another_process_has_the_lock_is_a_refusal(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, number)
    with pytest.raises(LockTakenError, match="Process unknown has it"):
        take_lock(tmp_path / "lock", refusal)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO])
def test_a_file_system_without_locks_has_a_sentence_of_its_own_and_no_owner(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, number)
    with pytest.raises(SceneError) as error:
        take_lock(tmp_path / "lock", refusal)
    assert not isinstance(error.value, LockTakenError)
    said = str(error.value)
    assert "Process" not in said
    assert f"{tmp_path / 'lock'} cannot be ({os.strerror(number)})" in said
    assert "choose a folder on a local disk" in said


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOLCK])
def test_a_lock_that_is_not_had_leaves_no_file_open(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, number)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    with pytest.raises(SceneError):
        take_lock(tmp_path / "lock", refusal)
    again = os.open(os.devnull, os.O_RDONLY)
    os.close(again)
    assert again == free


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"Expected to write to .*missing/lock"):
        take_lock(tmp_path / "missing/lock", refusal)
