"""The process that trains the classes of a run's field, as the one that started it sees it: asked a line at a time."""

import json
import os
import subprocess
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_errors_as_scene_error


class WorkerEndedError(Exception):
    """The process has ended before it answered."""


class SaidArrays(NamedTuple):
    """What the field says: class ids, -1 for none, how sure they are, 0..255, and the processor's time for it."""

    labels: ndarray
    confidence: ndarray
    seconds: float


class FieldProcess:
    """A process that answers requests, which one thread makes, and that any thread may end.

    Args:
        command: What starts it.
        folder: Folder for what is handed over, and for what it prints.

    Attributes:
        log: What it prints.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command, self._folder = command, folder
        self.log = folder / "field.log"
        self._process: subprocess.Popen[str] | None = None
        self._was_started = False

    @property
    def is_running(self) -> bool:
        """Whether it can be asked."""
        process = self._process
        return process is not None and process.poll() is None

    def start(self) -> None:
        """Start it, in the place of one that has ended.

        Raises:
            SceneError: if the folder cannot be written.
        """
        self.end()
        with write_errors_as_scene_error(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            # What one printed that ended says why, and is kept until the next session.
            with self.log.open("a" if self._was_started else "w", encoding="utf8") as log:
                # One thread, and on the CPU: a GPU may be busy with the training of the run.
                one_thread = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                    encoding="utf8", env={**os.environ, **one_thread},
                )  # fmt: skip
        self._was_started = True

    def ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What it answers.

        Raises:
            SceneError: if it answers by a sentence about what is wrong.
            WorkerEndedError: if it ends before.
        """
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise WorkerEndedError
        try:
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError) as error:  # of a pipe that is broken or closed
            raise WorkerEndedError from error
        if not line.endswith("\n"):
            raise WorkerEndedError
        said = json.loads(line)
        if "error" in said:
            raise SceneError(said["error"])
        return said

    def ask_arrays(self, asked: Mapping[str, Any]) -> SaidArrays:
        """What it answers by arrays, in a file.

        Raises:
            SceneError: if it answers by a sentence about what is wrong, or the file cannot be read.
            WorkerEndedError: if it ends before.
        """
        path = self._folder / "said.npz"
        said = self.ask({**asked, "to": str(path)})
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return SaidArrays(arrays["labels"], arrays["confidence"], said["seconds"])
        except (OSError, EOFError, BadZipFile) as error:
            raise SceneError(
                f"Expected what the field says in {path}, found that it cannot be read ({error}); check the disk, and "
                "try again."
            ) from error

    def note(self, error: Exception) -> None:
        """Write the traceback of an error to where the process prints, if that can be written."""
        with suppress(OSError), self.log.open("a", encoding="utf8") as log:
            traceback.print_exception(error, file=log)

    def end(self) -> None:
        """End it, if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
