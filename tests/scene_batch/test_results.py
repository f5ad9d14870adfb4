"""Commands of steps, reasons, names of scenes, time that is left, tables and the page of pictures."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nerfstudio.configs.method_configs import all_methods
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.jobs.last_words import last_error
from semantic_ns.jobs.processes import Ending, Limits
from semantic_ns.jobs.training_arguments import name_in_paths
from semantic_ns.run_paths import RESUME_CONFIG
from semantic_ns.scene_batch import plan
from semantic_ns.scene_batch.index_page import PAGE
from semantic_ns.scene_batch.page import as_data, write_pages
from semantic_ns.scene_batch.progress import as_clock, seconds_left
from semantic_ns.scene_batch.reasons import reason_of
from semantic_ns.scene_batch.records import Record, write_record
from semantic_ns.scene_batch.steps import STEPS, command_of, config_path, in_order, is_trained, newest_step
from semantic_ns.scene_batch.table import CSV_FILE, MARKDOWN_FILE, row_of, write_table
from support.batch_steps import task

MIB = 2**20


def ending(status: int, **changes: object) -> Ending:
    return Ending(**{"status": status, "seconds": 1.0, "peak_bytes": 1024 * MIB, "cause": "itself"} | changes)  # pyright: ignore[reportArgumentType]


# Steps


def test_steps_are_put_into_their_order_once_each() -> None:
    assert in_order(["eval", "train", "eval", "doctor"]) == ("doctor", "train", "eval")
    assert in_order(STEPS[::-1]) == STEPS


@pytest.mark.parametrize("steps", [(), ("eval",), ("doctor", "export-mesh")])
def test_steps_that_cannot_run_are_refused(steps: tuple) -> None:
    with pytest.raises(SceneError, match="Expected"):
        in_order(steps)


def test_a_training_has_the_options_of_the_user_last_because_a_dataparser_ends_the_line(tmp_path: Path) -> None:
    folder = tmp_path / "out/scenes/room"
    arguments = ("--max-num-iterations", "5", "semantic-data", "--split", "all")
    config = config_path(folder, "semantic-nerf")
    command = command_of("train", tmp_path / "room", folder, config, "semantic-nerf", arguments)
    assert command[1:4] == ["-m", "nerfstudio.scripts.train", "semantic-nerf"]
    assert tuple(command[-5:]) == arguments


@pytest.mark.parametrize("method", ["nerfacto", "nerfacto-big", "splatfacto-big", "semantic-nerf", "semantic-nerf-big"])
def test_the_run_of_a_scene_is_where_nerfstudio_puts_it_also_for_variants_of_a_method(
    method: str, tmp_path: Path
) -> None:
    one = task(tmp_path, method=method, method_name=name_in_paths(method))
    command = command_of("train", tmp_path / "room", one.folder, one.config, method, ())
    place = [command[command.index(name) + 1] for name in ("--output-dir", "--experiment-name", "--timestamp")]
    config = replace(all_methods[method], output_dir=Path(place[0]), experiment_name=place[1], timestamp=place[2])
    assert config.get_base_dir() / "config.yml" == one.config


def half_trained(folder: Path, steps: int, limit: int, more: str = "") -> Path:
    config = config_path(folder, "semantic-nerf")
    checkpoint = config.parent / f"nerfstudio_models/step-{steps - 1:09d}.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"PK\5\6" + bytes(18))  # the smallest zip file
    (config.parent / RESUME_CONFIG).write_text(f"!!python/object:x\nmax_num_iterations: {limit}\n{more}")
    return config


def test_a_training_goes_on_from_its_checkpoint_and_one_without_starts_over(tmp_path: Path) -> None:
    config = half_trained(tmp_path / "room", 2000, 3000)
    arguments = ("--max-num-iterations", "3000")
    command = command_of("train", tmp_path, tmp_path / "room", config, "semantic-nerf", arguments)
    assert command[-2:] == ["--load-config", str(config.parent / RESUME_CONFIG)]
    assert newest_step(config) == 2000
    next(config.parent.glob("nerfstudio_models/*")).write_bytes(b"half")
    command = command_of("train", tmp_path, tmp_path / "room", config, "semantic-nerf", ())
    assert "--load-config" not in command
    assert not config.parent.exists()


@pytest.mark.parametrize(
    ("steps", "more", "expected"),
    [
        (2000, "", False), (3000, "", True), (100, "max_seconds: 60.0\nseconds_before: 60.2\n", True),
        (100, "max_seconds: 60.0\nseconds_before: 59.0\n", False), (100, "max_seconds: null\n", False),
    ],
)  # fmt: skip
def test_a_training_that_was_killed_after_its_last_checkpoint_is_trained(
    steps: int, more: str, expected: bool, tmp_path: Path
) -> None:
    assert is_trained(half_trained(tmp_path, steps, 3000, more)) is expected


def test_a_folder_of_results_that_an_attempt_has_left_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit/half.png").touch()
    command = command_of("audit", tmp_path, tmp_path, config_path(tmp_path, "m"), "m", ())
    assert command[-2:] == ["--output", str(tmp_path / "audit")]
    assert not (tmp_path / "audit").exists()


# Reasons


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("Loading\nError: Expected a scene, found none.\n", "Expected a scene, found none."),
        ("\x1b[31mExpected 1 step or more.\x1b[0m\n\n", "Expected 1 step or more."),
        ("Traceback (most recent call last):\n  File x\nKeyError: 'a'\n\nprofiling: 3\n", "KeyError: 'a'"),
        ("Traceback (most recent call last):\n  x\ntorch.OutOfMemoryError: CUDA\n", "torch.OutOfMemoryError: CUDA"),
        ("a" * 600, "a" * 497 + "..."),
        ("\n \n", ""),
    ],
)  # fmt: skip
def test_the_reason_is_the_last_error_and_no_traceback(log: str, expected: str) -> None:
    assert last_error(log) == expected


def test_each_way_to_fail_has_a_sentence_of_its_own() -> None:
    limits = Limits(60.0, 512 * MIB)
    said = [
        reason_of(ending(-15, cause="time"), limits, ""),
        reason_of(ending(-9, cause="memory"), limits, ""),
        reason_of(ending(-9), limits, ""),
        reason_of(ending(-11), limits, ""),
        reason_of(ending(1), limits, "Traceback (most recent call last):\nMemoryError\n"),
        reason_of(ending(3), limits, ""),
    ]
    for sentence, word in zip(
        said, ("1 minutes", "allows 0.5 GiB", "memory is short", "SIGSEGV", "out of memory", "status 3"), strict=True
    ):
        assert word in sentence
    assert len(set(said)) == len(said)


# Scenes


def scene(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "transforms.json").write_text('{"frames": []}')
    return folder


def test_scenes_are_folders_folders_of_scenes_and_lines_of_a_file_each_once(tmp_path: Path) -> None:
    rooms = [scene(tmp_path / "rooms" / name) for name in ("a", "b")]
    other = scene(tmp_path / "other")
    (tmp_path / "list.txt").write_text("# rooms\nother\n\nrooms/a\nmissing\n")
    assert plan.find_paths([tmp_path / "rooms"]) == rooms
    assert plan.find_paths([other, tmp_path / "rooms", rooms[0]]) == [other, *rooms]
    assert plan.find_paths([tmp_path / "list.txt"]) == [other, rooms[0], tmp_path / "missing"]


def test_a_folder_among_others_that_holds_no_scene_is_a_row_and_alone_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    room = scene(tmp_path / "room")
    assert plan.find_paths([tmp_path / "empty", room]) == [tmp_path / "empty", room]
    (tmp_path / "none.txt").write_text("# nothing\n")
    for path in (tmp_path / "empty", tmp_path / "missing", tmp_path / "none.txt"):
        with pytest.raises(SceneError, match="Expected"):
            plan.find_paths([path])
    with pytest.raises(SceneError, match="found none"):
        plan.find_paths([])


def test_scenes_of_one_name_are_told_apart_and_known_ones_keep_their_names() -> None:
    first = plan.named([Path("/x/house/room"), Path("/x/flat/room")], {})
    assert first == {"room": "/x/house/room", "flat__room": "/x/flat/room"}
    again = plan.named([Path("/x/flat/room"), Path("/y/flat/room")], first)
    assert list(plan.named([Path("/x/-a:b")], {})) == ["_-a-b"]
    assert again == {"flat__room": "/x/flat/room", "y__flat__room": "/y/flat/room"}


def test_settings_are_read_back_and_others_refused(tmp_path: Path) -> None:
    assert plan.read_settings(tmp_path) is None
    settings = plan.Settings("semantic-nerf", ("--max-num-iterations", "5"), {"a": "/a"}, "semantic-nerf")
    plan.write_settings(tmp_path, settings)
    begun = plan.read_settings(tmp_path)
    assert begun == settings
    plan.refuse_other_settings(tmp_path, settings, settings.method, settings.arguments)
    with pytest.raises(SceneError, match="--method: semantic-nerf, found semantic-ngp"):
        plan.refuse_other_settings(tmp_path, settings, "semantic-ngp", settings.arguments)
    plan.refuse_other_settings(tmp_path, settings, settings.method, ("--max_num_iterations=5",))
    with pytest.raises(SceneError, match="iterations 5, found none"):
        plan.refuse_other_settings(tmp_path, settings, settings.method, ())
    (tmp_path / plan.SETTINGS).write_text("{")
    with pytest.raises(SceneError, match="cannot be read"):
        plan.read_settings(tmp_path)


def test_of_many_arguments_those_that_differ_are_named() -> None:
    begun = plan.Settings("m", ("--max-num-iterations", "5", "--vis", "wandb", "semantic-data", "--split", "all"))
    arguments = ("--max-num-iterations", "6", "--vis", "wandb", "semantic-data", "--split", "all", "--new", "1")
    with pytest.raises(SceneError, match="ns-train: --max-num-iterations 5, found --max-num-iterations 6 --new 1;"):
        plan.refuse_other_settings(Path("out"), begun, "m", arguments)
    with pytest.raises(SceneError, match="ns-train: --a 1 --b 2, found --b 2 --a 1; give"):
        plan.refuse_other_settings(Path("out"), plan.Settings("m", ("--a=1", "--b=2")), "m", ("--b", "2", "--a", "1"))


@pytest.mark.parametrize(
    "option",
    [
        ("--data", "x"), ("--output_dir=x",), ("--load-config", "x"), ("--method-name", "x"),
        ("--relative-model-dir", "x"), ("--relative_model_dir=x",), ("--run-dir", "x"),
    ],
)  # fmt: skip
def test_options_that_the_batch_gives_itself_are_refused(option: tuple[str, ...]) -> None:
    with pytest.raises(SceneError, match="leave it out"):
        plan.refuse_taken_options(option)


# Time


def test_the_time_left_is_the_mean_of_each_kind_of_step_times_those_that_are_left() -> None:
    ended = [Record("train", "done", 0, seconds) for seconds in ((10.0,), (20.0, 10.0))]
    ended += [Record("train", "done", 0), Record("eval", "done", 0, (4.0,))]
    assert seconds_left(ended, {"train": 3, "eval": 5}, 2) == (3 * 20 + 5 * 4) / 2
    assert seconds_left(ended, {"audit": 1}, 1) is None
    assert seconds_left(ended, {"train": 0, "audit": 0}, 1) == 0
    assert [as_clock(seconds) for seconds in (None, 0.0, 75.4, 3661.0)] == ["-:--", "0:00", "1:15", "1:01:01"]


# Tables and page


def test_the_tables_have_a_row_for_each_scene_with_scores_and_reasons(tmp_path: Path) -> None:
    done, failed = task(tmp_path, "a|b"), task(tmp_path, "bad")
    for step in done.steps:
        write_record(done.folder, Record(step, "done", 0, (1.5, 0.5), 0.5))
    (done.folder / "scores.json").write_text('{"results": {"miou_present": 0.91, "psnr": 20.5, "fps": 1}}')
    write_record(failed.folder, Record("doctor", "failed", 2, (1.0,), 0.2, "no cameras"))
    rows = [row_of(done), row_of(failed), row_of(task(tmp_path, "gone"), "Its machine was lost.")]
    write_table(tmp_path, rows)
    with (tmp_path / CSV_FILE).open() as file:
        read = list(csv.DictReader(file))
    assert [row["status"] for row in read] == ["done", "failed", "failed"]
    assert [row["miou_present"] for row in read] == ["0.91", "", ""]
    assert (read[0]["seconds"], read[0]["train_seconds"], read[0]["peak_memory_gib"]) == ("6.0", "2.0", "0.50")
    assert [row["reason"] for row in read] == ["", "doctor: no cameras", "Its machine was lost."]
    lines = (tmp_path / MARKDOWN_FILE).read_text().splitlines()
    assert lines[2:4] == [
        "| a\\|b | 0.910 | 20.50 | - | 6 | done | - |",
        "| bad | - | - | - | 1 | failed | doctor: no cameras |",
    ]


def test_the_page_needs_no_other_file_and_shows_names_as_text(tmp_path: Path) -> None:
    one, bare = task(tmp_path, "<b>&"), task(tmp_path, "bare")
    (one.folder / "pictures").mkdir()
    for name in ("eval_img_0000", "eval_semantics_0000", "eval_legend"):
        Image.fromarray(np.zeros((30, 900, 3), np.uint8)).save(one.folder / f"pictures/{name}.png")
    write_pages(tmp_path, [row_of(one), row_of(bare)], "A & B")
    text = (tmp_path / PAGE).read_text()
    assert text.count("<img") == 3
    assert all(source.startswith("data:image/") for source in re.findall(r'src="([^"]*)"', text))
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;" in text


def test_a_picture_is_embedded_small_with_its_classes_as_they_are(tmp_path: Path) -> None:
    import base64
    import io

    values = np.zeros((20, 1440, 3), np.uint8)
    values[:, 720:] = (200, 30, 7)
    Image.fromarray(values).save(tmp_path / "classes.png")
    source = as_data(tmp_path / "classes.png")
    assert source is not None
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))
    assert image.shape == (10, 720, 3)
    assert np.array_equal(np.unique(image.reshape(-1, 3), axis=0), [[0, 0, 0], [200, 30, 7]])
    (tmp_path / "none.png").write_text("x")
    assert as_data(tmp_path / "none.png") is None
