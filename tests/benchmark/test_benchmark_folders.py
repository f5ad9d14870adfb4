"""The folder of a benchmark: one call at a time works in it."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.benchmark.runner import one_trial
from semantic_ns.benchmark.runner.run import LOCK, locked
from semantic_ns.cli import benchmark as cli
from semantic_ns.errors import SceneError
from semantic_ns.io.locking import take_lock


@pytest.fixture(autouse=True)
def options_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of ns-train are not tried, which takes seconds."""

    def take(arguments: Sequence[str]) -> None:
        del arguments

    monkeypatch.setattr(one_trial, "training_config", take)


@pytest.mark.parametrize("command", [cli.Labels, cli.Scenes, cli.Active])
def test_a_folder_in_which_a_benchmark_works_is_refused_to_another(command: Any, tmp_path: Path) -> None:
    output, scene = tmp_path / "output", tmp_path / "scene"
    scene.mkdir()
    output.mkdir()
    lock = take_lock(output / LOCK, str)
    try:
        with pytest.raises(SceneError, match=rf"found process {os.getpid()} on \S+ since .* at work in {output}; wait"):
            command(output=output, data=(str(scene),)).main()
    finally:
        os.close(lock)
    assert [path.name for path in output.iterdir()] == [LOCK]


def test_a_folder_is_free_again_after_a_benchmark_that_failed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "output"):
        raise ZeroDivisionError
    with locked(tmp_path / "output"):
        pass


def test_an_interrupt_ends_the_command_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(command: cli.Scenes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.Scenes, "main", interrupt)
    monkeypatch.setattr(sys, "argv", ["sns-benchmark", "scenes", "--data", "a", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        cli.entrypoint()
    assert end.value.code == 130
    assert capsys.readouterr().err == "Interrupted; the same command goes on where it stopped.\n"
