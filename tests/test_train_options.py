"""Options of a training by several processes, and of one that is alone: what is compared, refused and said."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from semantic_ns.errors import SceneError
from semantic_ns.methods.many_scenes_trainer import ManyScenesTrainerConfig
from semantic_ns.processes import ALONE, Place, Processes
from semantic_ns.train import _prepared, options_of, refuse_different_options
from support.fresh_process import run_warm
from support.registered import METHODS, SMALL, configured
from support.two_processes import run_jobs

METHOD = "viewseg-small"


@pytest.fixture
def config(tmp_path: Path) -> Any:
    config = configured(METHODS[METHOD], tmp_path / "rooms", tmp_path / "runs", 2, **SMALL[METHOD])
    assert isinstance(config, ManyScenesTrainerConfig)
    config.timestamp = "run"
    return config


def test_options_go_by_their_names_on_the_command_line_and_are_the_same_text_in_every_copy(config: Any) -> None:
    options = options_of(config)
    assert options["--max-num-iterations"] == "2"
    assert options["--pipeline.datamanager.targets-per-step"] == "1"
    assert "--optimizers.network.optimizer.lr" in options
    assert options_of(yaml.load(yaml.dump(config), Loader=yaml.Loader)) == options
    assert not [text for text in options.values() if "\n" in text or " at 0x" in text]


def test_every_option_that_differs_between_processes_is_found_and_named(config: Any) -> None:
    other = copy.deepcopy(config)
    refuse_different_options([options_of(config), options_of(other)])
    other.max_num_iterations = 3
    other.pipeline.datamanager.train_sources = (2, 3)
    sentence = (
        "Expected the same options in all processes, found in process 0 and in process 2: "
        "--pipeline.datamanager.train-sources 2 2 and 2 3; --max-num-iterations 2 and 3; "
        "give torchrun the same command on every host."
    )
    with pytest.raises(SceneError, match=f"^{re.escape(sentence)}$"):
        refuse_different_options([options_of(config), options_of(config), options_of(other)])
    first, second = ({f"--{name}": value for name in "abcde"} for value in "xy")
    with pytest.raises(SceneError, match=r"--c x and y \(2 more differ\); give torchrun the same command"):
        refuse_different_options([first, second])
    with pytest.raises(SceneError, match="--a x and not at all"):
        refuse_different_options([first, {name: first[name] for name in list(first)[1:]}])


def test_two_processes_with_different_options_both_end_before_the_first_step(config: Any, tmp_path: Path) -> None:
    files = []
    for steps in (2, 3):
        config.max_num_iterations = steps
        files.append(tmp_path / f"{steps}.yml")
        files[-1].write_text(yaml.dump(config))
    job = {"function": "train_by_rank", "configs": [str(path) for path in files]}
    ended = run_jobs(tmp_path / "jobs", {"different": job})["different"]
    assert ended.statuses == [1, 1], ended.outputs
    sentence = "Error: Expected the same options in all processes, found in process 0 and in process 1: "
    assert ended.outputs[0].splitlines()[-1].startswith(f"{sentence}--max-num-iterations 2 and 3; give torchrun")
    assert "Expected" not in ended.outputs[1]
    assert not (tmp_path / "runs").exists()


def test_a_process_that_is_alone_accumulates_gradients_as_ns_train_does(config: Any) -> None:
    config.gradient_accumulation_steps = {"network": 2}
    prepared = _prepared(config, ALONE)
    assert prepared.samples_per_step is None
    assert prepared.gradient_accumulation_steps == {"network": 2}


def test_several_processes_that_are_to_accumulate_gradients_are_told_of_that_option_alone(config: Any) -> None:
    config.gradient_accumulation_steps = {"network": 2}
    with pytest.raises(SceneError, match="found --gradient-accumulation-steps, by which") as error:
        _prepared(config, Processes(Place(0, 2, 0, 2)))
    assert "found both" not in str(error.value)


def test_a_process_that_is_alone_says_of_itself_what_ns_train_says(
    config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    _prepared(config, ALONE)
    alone = capsys.readouterr().out
    config.print_to_terminal()
    config.save_config()
    said = capsys.readouterr().out
    assert len(alone.splitlines()) == len(said.splitlines())


def test_a_refusal_is_worded_as_ns_train_words_it(tmp_path: Path) -> None:
    code = "import sys; from semantic_ns import train; sys.argv = ['train', 'gsnerf-small']; train.entrypoint()"
    ended = run_warm(code, RANK="0")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("Expected the environment of torchrun, found no LOCAL_RANK")
    assert "Traceback" not in ended.stderr
