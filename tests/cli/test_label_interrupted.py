"""Ctrl+C and SIGTERM while `sns-label` trains a surface: no process and no half of a file is left, and it is told."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no signals and no named pipes")

SAVING = """
import os, signal, sys, zipfile
from pathlib import Path
def save(*_):
    Path(sys.argv[1]).read_text()  # a pipe: until somebody writes into it
    folder = Path(sys.argv[2], "nerfstudio_models")
    folder.mkdir()
    with zipfile.ZipFile(folder / "step-000000041.ckpt", "w") as file:
        file.writestr("data", "")
    os._exit(0)
signal.signal(signal.SIGTERM, save)
print("trains", flush=True)
while True:
    signal.pause()
"""
HANGING = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("trains", flush=True)
while True:
    signal.pause()
"""
COMMAND = """
import subprocess, sys
from pathlib import Path
from semantic_ns.cli import label
from semantic_ns.methods import surface_run as training
room, session, gate, patience_s, code = sys.argv[1:]
training._PATIENCE_S = float(patience_s)
start, lines = subprocess.Popen, training._progress
def started(command, **options):
    if training.__name__ not in command:  # what a thread imports meanwhile starts others
        return start(command, **options)
    child = start([sys.executable, "-c", code, gate, command[4]], **options)
    print(child.pid, flush=True)
    return child
def told(output, on_step):
    for line in lines(output, on_step):
        print(line, end="", flush=True)
        yield line
training.subprocess.Popen, training._progress = started, told
sys.argv[1:] = [room, "--output-dir", session, "--port", "0"]
label.entrypoint()
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "gate")
    return tmp_path / "gate"


def begun(tmp_path: Path, gate: Path, code: str, patience_s: float) -> tuple["subprocess.Popen[str]", int]:
    """A command that trains a surface by a child that runs some code, and the number of the child."""
    (tmp_path / "room").mkdir()
    arguments = [str(tmp_path / "room"), str(tmp_path / "session"), str(gate), str(patience_s), code]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines: Iterator[str] = iter(process.stdout.readline, "")
    child = int(next(line for line in lines if line.strip().isdigit()))
    assert next(lines) == "trains\n"
    return process, child


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_ended_waits_until_the_training_has_kept_its_last_step_and_says_so(
    tmp_path: Path, gate: Path, number: signal.Signals
) -> None:
    process, child = begun(tmp_path, gate, SAVING, 1e6)
    with process:
        process.send_signal(number)
        # The pipe opens once the child reads.
        with gate.open("w"), pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert not is_alive(child)
    assert "the training of the surface was ended; the next start goes on after 42 steps" in output
    assert "Traceback" not in errors
    kept = {"token", "surface/training.log", "surface/nerfstudio_models/step-000000041.ckpt"}
    assert files(tmp_path / "session") - {"surface/training.lock"} == kept


def test_a_training_that_does_not_end_is_killed(tmp_path: Path, gate: Path) -> None:
    process, child = begun(tmp_path, gate, HANGING, 0.1)
    with process:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert not is_alive(child)
    assert "was ended before a step was kept; the next start begins anew" in output
