"""Processes that meet before tensors travel: a lost one is told of in a sentence, however long the tensors wait."""

import signal
from pathlib import Path

from support.two_processes import run_jobs


def test_a_process_that_is_lost_before_gradients_travel_ends_the_other_with_a_sentence(tmp_path: Path) -> None:
    ways = {"killed": signal.SIGKILL, "hanging": signal.SIGSTOP}
    jobs = {name: {"function": "lose_one", "by": int(by)} for name, by in ways.items()}
    for ended in run_jobs(tmp_path, jobs).values():
        assert ended.statuses == [1, -signal.SIGKILL], ended.outputs
        said = "Error: Expected an answer of all 2 processes, found in process 0 that another one has ended"
        assert ended.outputs[0].splitlines()[-1].startswith(said)
