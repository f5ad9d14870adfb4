"""One model over many scenes, trained by two processes of one thread each."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from semantic_ns.checkpoints import check_is_whole
from semantic_ns.errors import SceneError
from semantic_ns.processes import Place
from semantic_ns.synthetic_scene import write_nerfstudio_scene
from semantic_ns.train import train
from support.registered import METHODS, SMALL, configured
from support.two_processes import Branched, Ended, gradients_of, num_sources_noted, run_jobs

METHOD = "viewseg-small"
NUM_STEPS, STOPPED_AFTER, LOST_AFTER = 6, 3, 2
NUM_SOURCES = (2, 4)
"""Least and largest number of sources of a sample: every scene has as many frames."""
SAMPLES = [[0, 3], [2]]
"""Numbers of the samples of each rank: only rank 0 has an odd one."""


def config_of(rooms: Path, output: Path, name: str) -> Any:
    config: Any = configured(METHODS[METHOD], rooms, output, NUM_STEPS, **SMALL[METHOD])
    config.experiment_name, config.timestamp = "rooms", name
    config.viewer.quit_on_train_completion = True
    config.pipeline.eval_images_at_end = 0
    config.samples_per_step, config.pipeline.datamanager.train_sources = 2, NUM_SOURCES
    return config


def run_of(output: Path, name: str) -> Path:
    return output / "rooms" / METHOD / name


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "nerfstudio_models").iterdir())


@pytest.fixture(scope="module")
def small_rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rooms, of which two images and one are scored."""
    folder = tmp_path_factory.mktemp("small_rooms")
    for seed, num_frames in ((1, 9), (2, 6)):
        write_nerfstudio_scene(folder / f"room_{seed}", num_frames, 32, 24, seed=seed)
    return folder


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def ended(small_rooms: Path, output: Path, folder: Path) -> dict[str, Ended]:
    """How the processes of each job ended; they train into `output`."""

    def training(name: str, seconds: float = 600.0, **options: Any) -> dict[str, Any]:
        path, config = folder / f"{name}.yml", config_of(small_rooms, output, name)
        config.seconds_to_answer = seconds
        path.write_text(yaml.dump(config))
        return {"function": "train", "config": str(path), **options}

    resume = str(run_of(output, "stopped") / "resume.yml")
    jobs = {
        "gradients": {"function": "share_gradients", "numbers": SAMPLES},
        "stopped": training("stopped", rank=1, at_sample=2 * STOPPED_AFTER - 1, by=int(signal.SIGTERM)),
        "whole": training("whole", num_processes=1),
        "resumed": {"function": "train", "config": resume, "timestamp": "resumed", "num_processes": 1},
        "scores": {"function": "score", "config": resume},
        "scores_of_one": {"function": "score", "config": resume, "num_processes": 1},
        "lost": training("lost", rank=1, at_sample=2 * LOST_AFTER + 1, by=int(signal.SIGKILL)),
        "started again": training("lost", num_processes=1, environment={"TORCHELASTIC_RESTART_COUNT": "1"}),
        "hanging": training("hanging", seconds=10.0, rank=1, at_sample=3, by=int(signal.SIGSTOP)),
        "lost before tensors": {"function": "lose_one", "by": int(signal.SIGKILL)},
        "hanging before tensors": {"function": "lose_one", "by": int(signal.SIGSTOP)},
    }
    return run_jobs(folder, jobs)


def kept_by_ranks(ended: dict[str, Ended], folder: Path, job: str) -> list[dict[str, Any]]:
    statuses = ended[job].statuses
    assert not any(statuses), ended[job].outputs
    return [torch.load(folder / job / f"rank_{rank}.pt", weights_only=False) for rank in range(len(statuses))]


def test_gradients_of_two_processes_are_the_mean_that_one_process_has(ended: dict[str, Ended], folder: Path) -> None:
    first, second = kept_by_ranks(ended, folder, "gradients")
    alone = Branched()
    alone.load_state_dict(first["start"])
    numbers = [number for own in SAMPLES for number in own]
    loss = torch.stack([alone.loss(number) for number in numbers]).mean()
    loss.backward()
    for rank in (first, second):
        torch.testing.assert_close(rank["loss"], loss.detach(), rtol=1e-6, atol=0)
        for name, gradient in gradients_of(alone).items():
            if gradient is None:  # no sample trains it: optimisers leave it alone then, but not with a gradient of 0
                assert "branches.2" in name
                assert rank["gradients"][name] is None
            else:
                torch.testing.assert_close(rank["gradients"][name], gradient, rtol=0, atol=1e-6)


def test_processes_begin_with_the_same_weights_and_go_on_with_the_same_statistics(
    ended: dict[str, Ended], folder: Path
) -> None:
    first, second = kept_by_ranks(ended, folder, "gradients")
    for moment in ("start", "end"):
        floating = {name: value for name, value in first[moment].items() if value.is_floating_point()}
        assert len(floating) == 12
        assert all(torch.equal(value, second[moment][name]) for name, value in floating.items())
    name = "common.1.running_mean"
    means = []
    for own in SAMPLES:
        alone = Branched()
        alone.load_state_dict(first["start"])
        for number in own:
            alone.loss(number)
        means.append(alone.state_dict()[name])
    torch.testing.assert_close(first["end"][name], (means[0] + means[1]) / 2)


def test_a_signal_to_one_process_ends_both_after_the_same_step_with_one_whole_checkpoint(
    ended: dict[str, Ended], output: Path
) -> None:
    assert ended["stopped"].statuses == [143, 143], ended["stopped"].outputs
    run = run_of(output, "stopped")
    assert checkpoints(run) == [f"step-{STOPPED_AFTER - 1:09d}.ckpt"]
    check_is_whole(run / "nerfstudio_models" / checkpoints(run)[0])
    assert "Resume with: torchrun --nproc-per-node N -m semantic_ns.train viewseg-small" in ended["stopped"].outputs[0]
    assert not [path for path in run.rglob("*") if path.name.endswith((".partial", ".tmp"))]


def test_only_the_first_process_prints_and_logs(ended: dict[str, Ended], output: Path) -> None:
    assert "all processes stop after this step" in ended["stopped"].outputs[1]
    assert "many scenes:" in ended["stopped"].outputs[0]
    assert "many scenes:" not in ended["stopped"].outputs[1]
    # One of the two processes, and that which went on alone.
    assert len(list(run_of(output, "lost").glob("events.out.*"))) == 2


def test_a_process_that_is_killed_ends_the_other_with_a_sentence_and_a_checkpoint_of_the_last_step(
    ended: dict[str, Ended], output: Path
) -> None:
    assert ended["lost"].statuses == [1, -signal.SIGKILL], ended["lost"].outputs
    printed = ended["lost"].outputs[0].splitlines()[-1]
    assert printed.startswith(
        "Error: Expected an answer of all 2 processes, found in process 0 that another one has ended"
    )
    assert "Traceback" not in ended["lost"].outputs[0]
    assert f"Checkpoint after {LOST_AFTER} of {NUM_STEPS} steps: " in printed
    assert f"step-{LOST_AFTER - 1:09d}.ckpt. Resume with: torchrun" in printed


def test_a_process_that_hangs_ends_the_other_when_its_time_to_answer_is_over(ended: dict[str, Ended]) -> None:
    assert ended["hanging"].statuses == [1, -signal.SIGKILL], ended["hanging"].outputs
    printed = ended["hanging"].outputs[0].splitlines()[-1]
    assert "that another one has ended or gave none for 10 s" in printed
    assert f"Checkpoint after 1 of {NUM_STEPS} steps: " in printed


@pytest.mark.parametrize("way", ["lost", "hanging"])
def test_a_process_that_is_lost_before_gradients_travel_ends_the_other_with_a_sentence_however_long_these_wait(
    ended: dict[str, Ended], way: str
) -> None:
    job = ended[f"{way} before tensors"]
    assert job.statuses == [1, -signal.SIGKILL], job.outputs
    said = "Error: Expected an answer of all 2 processes, found in process 0 that another one has ended"
    assert job.outputs[0].splitlines()[-1].startswith(said)


def test_processes_that_torchrun_starts_again_go_on_from_that_checkpoint(ended: dict[str, Ended], output: Path) -> None:
    assert ended["started again"].statuses == [0], ended["started again"].outputs
    assert f": {LOST_AFTER} of {NUM_STEPS} steps are done." in ended["started again"].outputs[0]
    assert checkpoints(run_of(output, "lost")) == [f"step-{NUM_STEPS - 1:09d}.ckpt"]


def weights_and_moments(run: Path) -> Iterator[tuple[str, torch.Tensor]]:
    content = torch.load(check_is_whole(run / "nerfstudio_models" / checkpoints(run)[-1]), weights_only=False)
    assert content["step"] == NUM_STEPS - 1
    yield from ((name, value) for name, value in content["pipeline"].items() if isinstance(value, torch.Tensor))
    for number, state in content["optimizers"]["network"]["state"].items():
        yield from ((f"{number} {name}", value) for name, value in state.items())


def test_one_process_goes_on_where_two_were_stopped_as_if_it_had_taken_all_samples_itself(
    ended: dict[str, Ended], output: Path
) -> None:
    assert ended["stopped"].statuses == [143, 143]
    assert [ended[name].statuses for name in ("whole", "resumed", "started again")] == [[0]] * 3
    expected = dict(weights_and_moments(run_of(output, "whole")))
    for run in ("resumed", "lost"):  # the latter was started again after it had lost a process
        found = dict(weights_and_moments(run_of(output, run)))
        assert found.keys() == expected.keys()
        differences = {name: (found[name].double() - value.double()).abs() for name, value in expected.items()}
        assert [name for name, difference in differences.items() if bool((difference > 1e-5).any())] == []


def test_processes_that_share_a_step_draw_samples_of_one_number_of_sources_which_are_those_of_one_process(
    ended: dict[str, Ended], folder: Path
) -> None:
    assert ended["whole"].statuses == [0]
    whole = num_sources_noted(folder / "whole")
    assert [number for number, _ in whole] == list(range(2 * NUM_STEPS))
    counts = [count for _, count in whole]
    assert counts[::2] == counts[1::2]
    assert set(counts) == set(range(NUM_SOURCES[0], NUM_SOURCES[1] + 1))
    shared = num_sources_noted(folder / "stopped")  # by two processes, after which one goes on alone
    assert shared == whole[: 2 * STOPPED_AFTER]
    assert num_sources_noted(folder / "resumed") == whole[2 * STOPPED_AFTER :]


def test_images_that_two_processes_share_have_the_scores_of_one(ended: dict[str, Ended], folder: Path) -> None:
    (alone,) = kept_by_ranks(ended, folder, "scores_of_one")
    for rank in kept_by_ranks(ended, folder, "scores"):
        assert torch.equal(rank["confusion"], alone["confusion"])
        assert rank["images"] == alone["images"]
        assert len(rank["images"]) == 3
        assert rank["scores"].keys() == alone["scores"].keys()
        for name, value in alone["scores"].items():
            if isinstance(value, float) and name not in ("num_rays_per_sec", "fps"):
                assert rank["scores"][name] == pytest.approx(value, rel=1e-9), name


def refused(config: Any, sentence: str) -> None:
    with pytest.raises(SceneError, match=sentence) as error:
        train(config, Place())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", ["semantic-nerf", "semantic-splatfacto"])
def test_a_method_of_one_scene_is_refused(method: str, small_rooms: Path, tmp_path: Path) -> None:
    config = configured(METHODS[method], small_rooms, tmp_path, 2)
    refused(config, f"found {method}, which fits one scene in one process; start one ns-train for each scene instead")


def change_devices(config: Any) -> None:
    config.machine.num_devices = 1
    config.machine.num_machines = 2


def change(name: str, value: Any, config: Any) -> None:
    setattr(config, name, value)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (change_devices, "found --machine.num-devices 1 and --machine.num-machines 2; leave them out"),
        (partial(change, "samples_per_step", 0), "found --samples-per-step 0"),
        (partial(change, "seconds_to_answer", 0.0), "for --seconds-to-answer, found 0; leave it out"),
        (partial(change, "gradient_accumulation_steps", {"network": 2}), "found both; leave out the latter"),
    ],
)
def test_options_that_cannot_be_obeyed_are_refused_before_anything_is_written(
    spoil: Any, sentence: str, small_rooms: Path, tmp_path: Path
) -> None:
    config = config_of(small_rooms, tmp_path, "run")
    spoil(config)
    refused(config, sentence)
    assert not list(tmp_path.iterdir())
