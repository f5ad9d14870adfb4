"""Scenes on a cluster, against a stand-in of Ray: what it is asked for, and what is said where it cannot give it."""

import errno
import os
import sys
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from rich.console import Console

from semantic_ns.errors import SceneError
from semantic_ns.io import locking
from semantic_ns.io.locking import take_lock
from semantic_ns.jobs import ray_cluster as jobs_on_ray
from semantic_ns.jobs.ray_cluster import RayCluster, Resources, interruptible
from semantic_ns.scene_batch import ray_cluster
from semantic_ns.scene_batch.ray_cluster import PlacedScene, RayBackend, work_on
from semantic_ns.scene_batch.run import run_batch
from semantic_ns.scene_batch.scene import SceneTask, run_scene
from support.batch_steps import FakeSteps, task
from support.fake_ray import GIB, FakeRay

NODE = {"CPU": 4.0, "GPU": 1.0, "memory": 8.0 * GIB}


def placed(one: SceneTask, call: str = "call", retries: int = 1) -> PlacedScene:
    return PlacedScene(one, Path.cwd(), call, retries)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(ray: FakeRay | None) -> FakeRay | None:
        monkeypatch.setitem(sys.modules, "ray", ray)
        return ray

    return install


@pytest.fixture(autouse=True)
def commands_of_milliseconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSteps:
    steps = FakeSteps(tmp_path)

    def run(one: SceneTask, processes: Any) -> Any:
        return run_scene(one, processes, command_of=steps)

    monkeypatch.setattr(ray_cluster, "run_scene", run)
    return steps


def test_without_ray_the_sentence_says_how_to_install_it_and_that_this_machine_does_it_too(use: Any) -> None:
    use(None)
    with pytest.raises(SceneError, match=r"pip install 'semantic-ns\[cluster\]', or give the same command without"):
        RayCluster("auto", Resources(), 3)


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1", "ray://127.0.0.1:1", "nonsense:port"])
def test_an_address_without_a_cluster_is_refused_in_a_sentence(address: str, use: Any) -> None:
    use(FakeRay())
    with pytest.raises(SceneError, match=f"Expected a Ray cluster at {address}, found none that answers"):
        RayCluster(address, Resources(), 3)


@pytest.mark.parametrize(
    "resources",
    [Resources(cpus=5.0), Resources(gpus=2.0), Resources(memory_bytes=9 * GIB), Resources(cpus=3.0, gpus=1.5)],
)
def test_more_than_any_machine_has_is_refused_and_dead_machines_do_not_count(resources: Resources, use: Any) -> None:
    ray = use(FakeRay(NODE, NODE))
    with pytest.raises(SceneError, match="found 4 cores, 1 GPUs, 8 GiB; lower --cpus, --gpus or --memory"):
        RayCluster("auto", resources, 3)
    assert ray.calls[-1] == ("shutdown", None)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(), 8), (Resources(cpus=2.0), 4), (Resources(gpus=0.1, cpus=0.1), 20),
        (Resources(cpus=0.0, gpus=0.5), 4), (Resources(memory_bytes=3 * GIB), 4),
    ],
)  # fmt: skip
def test_scenes_at_a_time_are_what_the_scarcest_resource_of_each_machine_allows(
    resources: Resources, expected: int, use: Any
) -> None:
    use(FakeRay(NODE, NODE))
    assert RayBackend(RayCluster("auto", resources, 3)).jobs == expected


def test_every_scene_ends_once_and_one_that_ray_gives_up_has_the_reason(
    use: Any, tmp_path: Path, commands_of_milliseconds: FakeSteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = use(FakeRay(NODE, lost=("b",)))
    monkeypatch.setattr(jobs_on_ray, "_MOST_WAITING", 2)
    backend = RayBackend(RayCluster("auto", Resources(2.0, 0.5, GIB), 7))
    rows = run_batch([task(tmp_path, name) for name in ("a", "b", "c")], backend, Console(quiet=True))
    assert {row.task.name: row.status for row in rows} == {"a": "done", "b": "failed", "c": "done"}
    assert "The node of b has died." in rows[1].reason
    assert rows[0].scores["miou_present"] == 0.5
    started = commands_of_milliseconds.started()
    assert len(started) == len(set(started)) == 6
    options = {"max_retries": 7, "num_cpus": 2.0, "num_gpus": 0.5, "memory": GIB}
    assert ray.calls == [("init", "auto"), ("remote", options), ("shutdown", None)]


@pytest.mark.parametrize("is_deaf", [False, True])
def test_a_batch_that_is_stopped_asks_its_tasks_to_end_and_ends_those_that_do_not(
    is_deaf: bool, use: Any, tmp_path: Path
) -> None:
    ray = use(FakeRay(NODE, is_deaf=is_deaf))
    ended = RayBackend(RayCluster("auto", Resources(), 0)).run(
        [task(tmp_path, name) for name in ("a", "b")], lambda _n, _r: None
    )
    assert next(iter(ended)).task.name == "b"
    ended.close()
    by_force = [("cancel by force", "a")] if is_deaf else []
    assert ray.calls[2:] == [("cancel", "a"), *by_force, ("shutdown", None)]


def test_a_scene_that_another_machine_still_works_on_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = task(tmp_path)
    lock = take_lock(one.folder / ".lock", str)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        os.close(lock)

    monkeypatch.setattr(jobs_on_ray, "sleep", sleep)
    assert work_on(placed(one)) == ""
    assert len(waited) == 1
    assert [record.state for record in one.records()] == ["done"] * 3


def test_a_scene_on_a_file_system_without_locks_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locking, "_lock", lock)
    monkeypatch.setattr(jobs_on_ray, "sleep", lambda seconds: pytest.fail("It waits."))
    one = task(tmp_path)
    assert "Expected a file system on which files can be locked" in work_on(placed(one))
    assert [record.state for record in one.records()] == ["open"] * 3


def test_a_folder_that_cannot_be_written_is_the_reason_of_one_scene(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one = task(tmp_path, folder=tmp_path / "file/room")
    assert "cannot be written" in work_on(placed(one))


def test_a_scene_that_is_taken_back_has_the_time_to_end_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray raises KeyboardInterrupt in the thread that waits."""
    asked, ended = Event(), list[str]()

    def work() -> None:
        asked.wait()
        ended.append("in peace")

    def interrupted(futures: object, seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs_on_ray, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            interruptible(work, asked.set)
    assert ended == ["in peace"]
    assert interruptible(lambda: 3, asked.set) == 3


def test_a_scene_that_is_started_for_ever_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray counts no tasks that it has ended for their memory."""
    one = task(tmp_path)

    def out_of_memory(*_: object) -> None:
        raise SystemExit(1)

    with monkeypatch.context() as patch:
        patch.setattr(ray_cluster, "run_scene", out_of_memory)
        for _ in range(3):
            with pytest.raises(SystemExit):
                work_on(placed(one, retries=2))
        assert "It was started 3 times" in work_on(placed(one, retries=2))
    assert work_on(placed(one, "the next call", retries=2)) == ""
    assert [record.state for record in one.records()] == ["done"] * 3


def test_paths_of_the_options_are_relative_to_where_the_batch_was_started(
    use: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands_of_milliseconds: FakeSteps
) -> None:
    there, elsewhere, said = tmp_path / "there", tmp_path / "elsewhere", tmp_path / "said"
    for folder in (there, elsewhere):
        folder.mkdir()
    commands_of_milliseconds.codes["room", "train"] = f"import os; open({str(said)!r}, 'w').write(os.getcwd())"

    class OnAnotherMachine(FakeRay):
        def get(self, reference: Any) -> Any:
            monkeypatch.chdir(elsewhere)
            return super().get(reference)

    use(OnAnotherMachine(NODE))
    monkeypatch.chdir(there)
    (end,) = RayBackend(RayCluster("auto", Resources(), 0)).run([task(tmp_path)], lambda _n, _r: None)
    assert end.lost == ""
    assert said.read_text() == str(there)
