"""The script of the page for a SLURM allocation, run with stand-ins of the programs that it starts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.fresh_process import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs bash")
PROGRAMS = {
    "scontrol": "printf 'node_%s\\n' 1 2 3 4",
    "srun": 'echo "$SRUN_CPUS_PER_TASK $*" >> "$JOURNAL"',
    "sleep": ":",
}


@pytest.fixture
def started(tmp_path: Path) -> list[str]:
    """What the script starts by `srun`, after the cores that each task of it gets."""
    text = (ROOT / "docs/many_machines.md").read_text("utf8")
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n#SBATCH .*?)```", text, re.DOTALL)
    for name, code in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{code}\n")
        (tmp_path / name).chmod(0o755)
    cores = re.findall(r"--cpus-per-task=(\d+)", script)[0]
    environment = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "JOURNAL": str(tmp_path / "journal"),
        "SLURM_JOB_NODELIST": "node_[1-4]", "SLURM_CPUS_PER_TASK": cores,
    }  # fmt: skip
    subprocess.run(["bash", "-euc", f"{script}\nwait"], env=environment, check=True)
    return (tmp_path / "journal").read_text().splitlines()


def test_every_step_of_the_allocation_gets_the_cores_that_were_asked_for(started: list[str]) -> None:
    assert len(started) == 3
    assert all(line.startswith("16 ") for line in started)


def test_the_head_runs_on_the_first_node_and_a_worker_on_each_other_one(started: list[str]) -> None:
    (head,) = [line for line in started if "ray start --head" in line]
    (workers,) = [line for line in started if "ray start --address" in line]
    (batch,) = [line for line in started if "sns-batch" in line]
    assert "-w node_1 " in head
    assert "--nodes=3 --ntasks=3 -x node_1 ray start --address=node_1:6379" in workers
    assert "--overlap" in batch
    assert "--address node_1:6379" in batch
