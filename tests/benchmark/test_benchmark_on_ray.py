"""Trials on a cluster, against a stand-in of Ray: each is trained once, and one that is lost has the reason."""

import sys
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.benchmark.runner.backend import Backend
from semantic_ns.benchmark.runner.ray_backend import RayBackend, TrialTask, train_on
from semantic_ns.benchmark.runner.run import run_trials
from semantic_ns.benchmark.runner.trials import read_result, state_of, trial_folder, write_done, write_trial
from semantic_ns.cli import benchmark
from semantic_ns.cli.cluster import ClusterOptions
from semantic_ns.errors import SceneError
from semantic_ns.jobs.ray_cluster import RayCluster, Resources
from support import benchmark_trials
from support.benchmark_trials import outcome, trial
from support.fake_ray import FakeRay

PROGRAM = (benchmark_trials.__file__,)


def nothing(sentence: str) -> None:
    del sentence


def test_each_trial_ends_once_and_those_that_die_or_are_lost_have_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trials = [trial(method=method) for method in ("works", "dies", "leaves-nothing")]
    folders = [trial_folder(tmp_path / "out", each) for each in trials]
    ray = FakeRay({"CPU": 4.0}, lost=(folders[2].name,))
    monkeypatch.setitem(sys.modules, "ray", ray)
    backend = RayBackend(RayCluster("auto", Resources(cpus=2.0), 5), PROGRAM, 2)
    assert isinstance(backend, Backend)
    # As the command gets it: the machines of a cluster work in other folders.
    assert run_trials(trials, Path("out"), backend, nothing) == {"done": 1, "failed": 2}
    reasons = [(read_result(folder) or {}).get("error", "") for folder in folders]
    assert reasons[0] == ""
    assert "signal 9" in reasons[1]
    assert reasons[2].startswith("Ray gave it up after 5 retries: The node of ")
    options = {"max_retries": 5, "num_cpus": 2.0, "num_gpus": 0.0}
    assert ray.calls == [("init", "auto"), ("remote", options), ("shutdown", None)]


def test_a_machine_trains_in_the_folder_in_which_the_benchmark_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "trial"
    write_trial(folder, trial(method="works"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert train_on(TrialTask(folder, PROGRAM, 3, tmp_path)) == ""
    assert Path.cwd() == tmp_path
    assert state_of(folder) == "done"


def test_a_trial_that_a_machine_has_ended_that_was_taken_for_lost_is_not_trained_again(tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    write_trial(folder, trial(method="works"))
    write_done(folder, trial(method="works"), outcome(0.5), [])
    assert train_on(TrialTask(folder, PROGRAM, 1, Path.cwd())) == ""
    assert not (folder / "log.txt").exists()


def test_a_trial_whose_folder_cannot_be_written_has_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in train_on(TrialTask(tmp_path / "file/trial", PROGRAM, 1, tmp_path))


@pytest.mark.parametrize("command", [benchmark.Labels, benchmark.Scenes])
def test_jobs_of_this_machine_and_a_cluster_are_not_mixed(command: Any, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="with --cluster ray, found --jobs 2; leave it out"):
        command(output=tmp_path / "out", data=("x",), jobs=2, place=ClusterOptions(cluster="ray")).main()
    assert not (tmp_path / "out").exists()


def test_without_ray_the_benchmark_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SceneError, match=r"pip install 'semantic-ns\[cluster\]'"):
        benchmark._backend(1, ClusterOptions(cluster="ray"), PROGRAM)
