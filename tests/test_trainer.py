import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch.cuda.amp.grad_scaler import GradScaler

from semantic_ns.checkpoints import find_checkpoint
from semantic_ns.errors import SceneError
from semantic_ns.optimizers import RunDecayConfig
from semantic_ns.trainer import LenientGradScaler, SemanticTrainer, SemanticTrainerConfig
from support.fresh_process import TESTS, run_warm
from support.tiny_training import TinyPipelineConfig, start, tiny_config

RUN = Path("tiny/tiny/run")
CHECKPOINTS = RUN / "nerfstudio_models"
CHILD = "from support import tiny_training; tiny_training.main()"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def finished(config: SemanticTrainerConfig) -> SemanticTrainer:
    trainer = start(config)
    trainer.train()
    return trainer


def stopped(config: SemanticTrainerConfig) -> SemanticTrainer:
    trainer = start(config)
    with pytest.raises(SystemExit):
        trainer.train()
    return trainer


def resume_config(run: Path) -> SemanticTrainerConfig:
    config = yaml.load((run / "resume.yml").read_text(), Loader=yaml.Loader)
    config.pipeline.signal_at_step = -1
    return config


def written(config: SemanticTrainerConfig) -> str:
    (path := Path(config.output_dir) / "child.yml").write_text(yaml.dump(config))
    return str(path)


def ended(config: SemanticTrainerConfig, argument: str) -> "subprocess.CompletedProcess[str]":
    """A training in a process of its own, which has ended."""
    return run_warm(f"import sys; sys.argv = {['-c', written(config), argument]!r}; {CHILD}")


def started(config: SemanticTrainerConfig) -> "subprocess.Popen[str]":
    """A training in a process of its own, as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHILD, written(config)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# Saving


def test_only_the_newest_checkpoint_stays_by_default(tmp_path: Path) -> None:
    finished(tiny_config(tmp_path, steps=10, steps_per_save=3))
    assert names(tmp_path / CHECKPOINTS) == ["step-000000009.ckpt"]


def test_all_checkpoints_stay_if_asked(tmp_path: Path) -> None:
    finished(tiny_config(tmp_path, steps=10, steps_per_save=4, save_only_latest_checkpoint=False))
    assert names(tmp_path / CHECKPOINTS) == ["step-000000004.ckpt", "step-000000008.ckpt", "step-000000009.ckpt"]


def test_a_saved_checkpoint_leaves_no_temporary_file(tmp_path: Path) -> None:
    trainer = finished(tiny_config(tmp_path))
    assert trainer.checkpoint_dir == tmp_path / CHECKPOINTS
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".partial", ".tmp"))]


def test_a_save_that_fails_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = finished(tiny_config(tmp_path, steps=3))

    def full_disk(content: Any, path: Path) -> None:
        path.write_bytes(b"PK")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        trainer.save_checkpoint(7)
    assert names(tmp_path / CHECKPOINTS) == ["step-000000002.ckpt"]
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".partial", ".tmp"))]


def test_a_kill_in_the_middle_of_a_save_keeps_the_previous_checkpoint_and_training_goes_on(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, steps=20, steps_per_save=5)
    process = ended(config, "2")  # the second save, of step 10, is cut off
    assert process.returncode == -signal.SIGKILL, process.stdout + process.stderr
    assert names(tmp_path / CHECKPOINTS) == ["step-000000005.ckpt"]
    assert [path for path in tmp_path.rglob("*") if "partial" in path.name], "the save was not cut off"

    trainer = finished(resume_config(tmp_path / RUN))
    assert trainer.pipeline.steps == list(range(6, 20))  # pyright: ignore[reportAttributeAccessIssue]
    assert names(tmp_path / CHECKPOINTS) == ["step-000000019.ckpt"]


def test_config_of_a_run_is_written_whole(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    config.save_config()
    assert names(tmp_path / RUN) == ["config.yml"]
    assert yaml.load((tmp_path / RUN / "config.yml").read_text(), Loader=yaml.Loader) == config


# Signals


def test_a_signal_ends_a_command_after_a_whole_step_with_a_checkpoint(tmp_path: Path) -> None:
    process = started(tiny_config(tmp_path, steps=10**9, pipeline=TinyPipelineConfig(announce=True)))
    assert process.stdout is not None
    while process.stdout.readline() != "step 3\n":
        assert process.poll() is None, process.stdout.read()
    process.send_signal(signal.SIGTERM)
    # Not communicate(), which passes over lines that came together with the one that was read.
    output = process.stdout.read()
    process.wait(timeout=60)
    last = max([3, *map(int, re.findall(r"^step (\d+)$", output, re.MULTILINE))])
    assert process.returncode == 143, output
    assert names(tmp_path / CHECKPOINTS) == [f"step-{last:09d}.ckpt"]
    assert f"step-{last:09d}.ckpt" in output
    assert f"Resume with: ns-train tiny --load-config {tmp_path / RUN / 'resume.yml'}" in output


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_exit_status_names_the_signal(tmp_path: Path, number: signal.Signals, status: int) -> None:
    trainer = start(tiny_config(tmp_path, pipeline=TinyPipelineConfig(signal_at_step=2, signal_number=int(number))))
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == status
    assert names(tmp_path / CHECKPOINTS) == ["step-000000002.ckpt"]


@pytest.mark.parametrize("count", [2, 3])
def test_signals_that_come_together_are_one_request_and_a_checkpoint_is_written(tmp_path: Path, count: int) -> None:
    trainer = start(tiny_config(tmp_path, pipeline=TinyPipelineConfig(signal_at_step=3, signal_count=count)))
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == 143
    assert names(tmp_path / CHECKPOINTS) == ["step-000000003.ckpt"]


def test_a_signal_while_the_checkpoint_is_written_belongs_to_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start(tiny_config(tmp_path, pipeline=TinyPipelineConfig(signal_at_step=2)))
    save = torch.save

    def interrupted(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        save(*arguments)

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == 143
    assert names(tmp_path / CHECKPOINTS) == ["step-000000002.ckpt"]


def test_a_later_signal_ends_a_command_at_once(tmp_path: Path) -> None:
    process = ended(tiny_config(tmp_path, pipeline=TinyPipelineConfig(signal_at_step=3, signal_count=2)), "impatient")
    assert process.returncode == -signal.SIGTERM, process.stdout + process.stderr
    assert not (tmp_path / CHECKPOINTS).exists()


def test_stopping_and_resuming_equals_training_without_a_stop(tmp_path: Path) -> None:
    whole = finished(tiny_config(tmp_path / "whole"))
    part = stopped(tiny_config(tmp_path / "part", pipeline=TinyPipelineConfig(signal_at_step=4)))
    rest = finished(resume_config(tmp_path / "part" / RUN))
    assert part.pipeline.steps == [0, 1, 2, 3, 4]  # pyright: ignore[reportAttributeAccessIssue]
    assert rest.pipeline.steps == [5, 6, 7, 8, 9]  # pyright: ignore[reportAttributeAccessIssue]
    assert torch.equal(rest.pipeline.vector, whole.pipeline.vector)  # pyright: ignore[reportArgumentType]
    assert not torch.equal(part.pipeline.vector, whole.pipeline.vector)  # pyright: ignore[reportArgumentType]


def test_a_signal_in_the_last_step_saves_it_once_and_still_ends_with_its_status(tmp_path: Path) -> None:
    trainer = start(tiny_config(tmp_path, pipeline=TinyPipelineConfig(signal_at_step=9)))
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == 143
    assert names(tmp_path / CHECKPOINTS) == ["step-000000009.ckpt"]


def test_a_paused_training_stops_on_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = start(tiny_config(tmp_path, start_paused=True))
    monkeypatch.setattr("nerfstudio.engine.trainer.time.sleep", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == 143
    assert not (tmp_path / CHECKPOINTS).exists()


def test_signals_mean_afterwards_what_they_meant_before(tmp_path: Path) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    stopped(tiny_config(tmp_path, pipeline=TinyPipelineConfig(signal_at_step=1)))
    finished(tiny_config(tmp_path))
    assert [signal.getsignal(number) for number in numbers] == before


# Resuming


def test_the_number_of_iterations_is_a_total(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(tiny_config(tmp_path, steps=4))
    more = finished(tiny_config(tmp_path, steps=10, timestamp="more", load_dir=tmp_path / CHECKPOINTS))
    assert more.pipeline.steps == [4, 5, 6, 7, 8, 9]  # pyright: ignore[reportAttributeAccessIssue]
    assert more.config.max_num_iterations == 10
    assert "4 of 10 steps are done" in capsys.readouterr().out


def test_without_a_checkpoint_all_iterations_are_trained(tmp_path: Path) -> None:
    assert finished(tiny_config(tmp_path, steps=5)).pipeline.steps == [0, 1, 2, 3, 4]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("steps", [4, 3])
def test_a_run_that_has_its_steps_is_refused_in_one_sentence_and_not_copied(tmp_path: Path, steps: int) -> None:
    finished(tiny_config(tmp_path, steps=4))
    sentence = rf"step-000000003\.ckpt has 4 of {steps}; raise --max-num-iterations, .*--load-config .*config\.yml"
    again = tiny_config(tmp_path, steps=steps, timestamp="again", load_dir=tmp_path / CHECKPOINTS)
    with pytest.raises(SceneError, match=sentence):
        again.save_config()
    assert names(tmp_path / "tiny/tiny") == ["run"]
    with pytest.raises(SceneError, match=sentence):
        start(again)
    assert not list((tmp_path / "tiny/tiny/again").rglob("*.ckpt"))
    assert names(tmp_path / CHECKPOINTS) == ["step-000000003.ckpt"]


def test_a_run_of_no_steps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="1 step or more for --max-num-iterations, found 0"):
        tiny_config(tmp_path, steps=0).save_config()
    assert not names(tmp_path)


def test_a_single_file_can_be_resumed(tmp_path: Path) -> None:
    finished(tiny_config(tmp_path, steps=4))
    path = tmp_path / CHECKPOINTS / "step-000000003.ckpt"
    more = finished(tiny_config(tmp_path, steps=6, timestamp="more", load_checkpoint=path))
    assert more.pipeline.steps == [4, 5]  # pyright: ignore[reportAttributeAccessIssue]


def test_the_newest_checkpoint_is_chosen_by_number_among_other_files(tmp_path: Path) -> None:
    finished(tiny_config(tmp_path, steps=4, steps_per_save=2, save_only_latest_checkpoint=False))
    folder = tmp_path / CHECKPOINTS
    (folder / "notes.txt").write_text("mine")
    (folder / ".step-000000009.ckpt.swp").write_text("an editor's")
    assert find_checkpoint(folder).name == "step-000000003.ckpt"
    assert find_checkpoint(folder, 2).name == "step-000000002.ckpt"


def test_schedules_know_the_length_of_the_run(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, steps=70)
    config.optimizers["fields"]["scheduler"] = RunDecayConfig(max_steps=1)
    trainer = start(config)
    assert trainer.optimizers.config["fields"]["scheduler"].max_steps == 70
    assert trainer.config is config
    assert config.optimizers["fields"]["scheduler"].max_steps == 1


def a_second_for_each_step(trainer: SemanticTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step takes an hour, as if it compiled kernels."""
    steps = trainer.pipeline.steps
    clock = SimpleNamespace(monotonic=lambda: 3600.0 * bool(steps) + len(steps))  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr("semantic_ns.run_clock.time", clock)


def test_a_run_ends_when_its_seconds_after_the_first_step_are_over_with_a_checkpoint_and_the_final_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(tmp_path, steps=100, max_seconds=5.0)
    config.optimizers["fields"]["scheduler"] = RunDecayConfig()
    trainer = start(config)
    a_second_for_each_step(trainer, monkeypatch)
    trainer.train()
    assert trainer.pipeline.steps == [0, 1, 2, 3, 4, 5]  # pyright: ignore[reportAttributeAccessIssue]
    assert names(tmp_path / CHECKPOINTS) == ["step-000000005.ckpt"]
    rate = trainer.optimizers.optimizers["fields"].param_groups[0]["lr"]
    assert rate == pytest.approx(0.1 * RunDecayConfig().final_fraction)


def test_seconds_before_a_stop_count_in_the_rest_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path, steps=100, max_seconds=5.0, pipeline=TinyPipelineConfig(signal_at_step=1))
    part = start(config)
    a_second_for_each_step(part, monkeypatch)
    with pytest.raises(SystemExit):
        part.train()
    rest = start(resume_config(tmp_path / RUN))
    a_second_for_each_step(rest, monkeypatch)
    rest.train()
    assert rest.pipeline.steps == [2, 3, 4, 5, 6]  # pyright: ignore[reportAttributeAccessIssue]


def test_a_run_whose_seconds_are_over_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = start(tiny_config(tmp_path, steps=100, max_seconds=5.0))
    a_second_for_each_step(trainer, monkeypatch)
    trainer.train()
    with pytest.raises(SceneError, match=r"has 5\.0 of 5; go on with --load-dir and --max-seconds"):
        resume_config(tmp_path / RUN).save_config()
    more = tiny_config(tmp_path, steps=100, max_seconds=3.0, timestamp="more", load_dir=tmp_path / CHECKPOINTS)
    more.save_config()
    rest = start(more)
    a_second_for_each_step(rest, monkeypatch)
    rest.train()
    assert rest.pipeline.steps == [6, 7, 8, 9]  # pyright: ignore[reportAttributeAccessIssue]


def test_steps_end_a_run_that_has_seconds_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = start(tiny_config(tmp_path, steps=3, max_seconds=50.0))
    a_second_for_each_step(trainer, monkeypatch)
    trainer.train()
    assert trainer.pipeline.steps == [0, 1, 2]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_seconds_that_are_no_limit_are_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(SceneError, match="--max-seconds, found"):
        start(tiny_config(tmp_path, max_seconds=seconds))


def test_a_configuration_of_another_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    del config.optimizers["fields"]
    with pytest.raises(SceneError, match="found none for fields"):
        start(config)


def no_folder(folder: Path) -> Path:
    return folder / "absent"


def empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def half_a_checkpoint(folder: Path) -> Path:
    torch.save({"step": 7, "weights": torch.zeros(1000)}, folder / "step-000000007.ckpt")
    data = (folder / "step-000000007.ckpt").read_bytes()
    (folder / "step-000000007.ckpt").write_bytes(data[: len(data) // 2])
    return folder


@pytest.mark.parametrize(
    ("make", "sentence"),
    [(no_folder, "there is no folder"), (empty_folder, "holds no checkpoint"), (half_a_checkpoint, "part of a file")],
)
def test_what_cannot_be_resumed_is_said_in_one_sentence(tmp_path: Path, make: Any, sentence: str) -> None:
    config = tiny_config(tmp_path / "out", load_dir=make(tmp_path))
    with pytest.raises(SceneError, match=sentence) as error:
        start(config)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_step_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    finished(tiny_config(tmp_path, steps=4, steps_per_save=2, save_only_latest_checkpoint=False))
    with pytest.raises(SceneError, match=r"--load-step 1 .* holds the steps 2, 3"):
        find_checkpoint(tmp_path / CHECKPOINTS, 1)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_scaler_takes_the_empty_state_of_a_cpu_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    with pytest.raises(RuntimeError, match="empty"):
        GradScaler().load_state_dict({})
    scaler = LenientGradScaler(init_scale=8.0)
    scaler.load_state_dict({})
    assert scaler.get_scale() == 8.0
    scaler.load_state_dict(GradScaler(init_scale=4.0).state_dict())
    assert scaler.get_scale() == 4.0


def test_gradients_are_not_scaled_on_a_cpu_even_where_cuda_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    config = tiny_config(tmp_path, mixed_precision=True)
    assert not config.setup().grad_scaler.is_enabled()
    cuda = replace(config, machine=replace(config.machine, device_type="cuda"))
    assert cuda.setup().grad_scaler.is_enabled()
