"""What `sns-label` refuses before anything slow, and how it finds a run or trains a surface."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from semantic_ns.cli.label import Label
from semantic_ns.errors import SceneError
from semantic_ns.labelling.question_files import lock_answers
from semantic_ns.labelling.waiting import WaitingApi
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.methods import surface_run as training
from semantic_ns.methods.surface_run import checked_images, surface_config, surface_run, train
from semantic_ns.viewer.view_requests import VARIABLE
from support import fresh_process
from support.hand_made_scene import HEIGHT, WIDTH, each_frame, write_scene


def test_a_scene_or_a_run_is_needed_and_not_both(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="give one of them"):
        Label().main()
    with pytest.raises(SceneError, match="give one of them"):
        Label(tmp_path, load_config=tmp_path / "config.yml").main()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"load_config": Path("nowhere/config.yml")}, "correct --load-config"),
        ({"target": Path("nowhere")}, "found nothing at nowhere"),
        ({"target": Path("README.md")}, "found a file at README.md"),
        ({"target": Path(), "voxels": 10}, "--voxels"),
        ({"target": Path(), "labels": Path("nowhere")}, "for --import, found nothing at nowhere"),
        ({"target": Path(), "labels": Path("README.md")}, "Expected annotations of coco, labelme"),
        ({"target": Path(), "max_seconds": 0.0}, "--max-seconds"),
        ({"target": Path(), "max_seconds": float("nan")}, "--max-seconds"),
        ({"target": Path(), "classes": ("nothing.csv",)}, "nothing.csv"),
        ({"target": Path(), "classes": ("void",)}, "'void', which means pixels without one"),
        ({"target": Path(), "classes": ("lamp", "")}, "Expected a class name of 1 to 100"),
        ({"target": Path(), "classes": ("x" * 101,)}, "Expected a class name of 1 to 100"),
        ({"target": Path()}, "outside the scene, found outputs/"),
        ({"target": Path(), "output_dir": Path("mine")}, "outside the scene, found mine in .; choose another --output"),
        ({"target": Path(), "host": "256.1.1.1"}, "--port"),
    ],
)
def test_a_wrong_option_is_named_before_anything_slow(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SceneError, match=re.escape(sentence)):
        Label(**{"port": 0, **options}).main()


def test_questions_that_another_one_answers_are_refused_before_anything_slow(tmp_path: Path) -> None:
    lock = lock_answers(tmp_path)
    with pytest.raises(SceneError, match="Expected questions that nobody else answers"):
        Label(tmp_path, questions=tmp_path, port=0).main()
    os.close(lock)
    with pytest.raises(SceneError, match="outside the scene"):  # it goes on to what is slow
        Label(tmp_path, questions=tmp_path, port=0, output_dir=tmp_path / "mine").main()


def test_networks_that_there_are_none_of_are_refused_before_anything_slow(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"--segmenter .*found 0 of the encoder"):
        Label(tmp_path, segmenter=tmp_path, port=0).main()
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SceneError, match="choose another --port"):
        Label(tmp_path, port=taken.getsockname()[1]).main()
    assert list(tmp_path.iterdir()) == []


def test_classes_come_from_the_command_or_from_a_table(tmp_path: Path) -> None:
    assert Label(tmp_path, classes=("wall", "lamp")).class_table() == ("wall", "lamp")
    (tmp_path / "classes.csv").write_text("id,name\n4,wall\n7,lamp\n")
    (tmp_path / "classes.txt").write_text("sofa\nrug\n")
    for file, ids in (("classes.csv", [4, 7]), ("classes.txt", [0, 1])):
        table = Label(tmp_path, classes=(str(tmp_path / file),)).class_table()
        assert isinstance(table, ClassTable)
        assert ([entry.id for entry in table.entries], table.has_given_ids) == (ids, file == "classes.csv")
    assert isinstance(Label(tmp_path, classes=("nyu40",)).class_table(), ClassTable)


def test_a_run_is_found_by_its_folder_its_file_and_its_option(tmp_path: Path) -> None:
    config = tmp_path / "run" / "config.yml"
    config.parent.mkdir()
    config.touch()
    expected = config, config.parent / "labelling"
    for command in (Label(config.parent), Label(config), Label(load_config=config)):
        assert command.run_and_folder() == expected
    assert Label(config, output_dir=tmp_path / "mine").run_and_folder() == (config, tmp_path / "mine")


def test_the_folder_above_runs_is_refused_with_the_newest_run(tmp_path: Path) -> None:
    for number, name in enumerate(("new", "old")):
        run = tmp_path / "outputs" / "semantic-nerf" / name
        (run / "nerfstudio_models").mkdir(parents=True)
        (run / "config.yml").touch()
        os.utime(run / "config.yml", (1000 - number, 1000 - number))
    for folder in (tmp_path / "outputs", tmp_path / "outputs" / "semantic-nerf"):
        with pytest.raises(SceneError, match=r"found 2 runs in .*; give one of them, such as .*/semantic-nerf/new\."):
            Label(folder, port=0).main()


def test_a_scene_gets_a_surface_beside_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(training, "surface_run", lambda *values: asked.append(values) or Path("surface/config.yml"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kitchen").mkdir()
    folder = Path("outputs/kitchen/labelling")
    assert Label(Path("kitchen"), max_seconds=300.0).run_and_folder() == (Path("surface/config.yml"), folder)
    assert Label(Path("kitchen")).run_and_folder() == (Path("surface/config.yml"), folder)
    assert asked == [(Path("kitchen"), folder / "surface", seconds) for seconds in (300.0, 60.0)]


def test_the_surface_is_trained_without_classes_on_all_images(tmp_path: Path) -> None:
    config = surface_config(tmp_path / "scene", tmp_path / "run", 90.0)
    assert not config.pipeline.model.use_semantics
    assert not config.pipeline.propagation.enabled
    parser = config.pipeline.datamanager.dataparser
    assert (parser.labels_optional, parser.split) == (True, "all")
    assert config.get_base_dir() == tmp_path / "run"
    assert config.max_seconds == 90.0
    assert config.pipeline.eval_images_at_end == 0  # scores would keep who wants to label waiting
    assert config.vis != "viewer"  # no port is opened meanwhile


def test_images_of_several_sizes_are_refused_before_the_training(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene")
    config = surface_config(scene, tmp_path / "run")
    assert [path.name for path in checked_images(config)] == sorted(path.name for path in (scene / "images").iterdir())

    def turn_the_first(index: int, entry: dict[str, Any]) -> None:
        if index == 0:
            for name in ("images", "semantics"):
                path = scene / name / "frame_0.png"
                Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
            entry.update(w=HEIGHT, h=WIDTH, cx=HEIGHT / 2, cy=WIDTH / 2)

    each_frame(scene, turn_the_first)
    with pytest.raises(SceneError, match="Expected training images of one size to label them, found several sizes"):
        train(scene, tmp_path / "run")
    assert not (tmp_path / "run").exists()


START = subprocess.Popen


def stand_in(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let a few lines of Python be the training; `sys.argv` is as for the real one."""

    def started(command: list[str], **options: Any) -> Any:
        return START([sys.executable, "-c", code, *command[3:]], **options)

    monkeypatch.setattr(training.subprocess, "Popen", started)


WRITE_RUN = """
import sys, zipfile
from pathlib import Path
from semantic_ns.io.writing import write_json
from semantic_ns.methods.surface_run import images_record
scene, folder = Path(sys.argv[1]), Path(sys.argv[2])
write_json(folder / "scene.json", images_record(scene, sorted(scene.glob("images/*.png"))))
(folder / "nerfstudio_models").mkdir(parents=True)
with zipfile.ZipFile(folder / "nerfstudio_models" / "step-000000009.ckpt", "w") as file:
    file.writestr("a", "b")
(folder / "config.yml").touch()
for share in (0, 4, 55, 100):
    print(f"{share} ({share}.00%)   1 s")
(folder / "finished").touch()
"""


def test_a_training_tells_how_far_it_is_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, WRITE_RUN)
    assert surface_run(tmp_path, tmp_path / "run") == tmp_path / "run" / "config.yml"
    said = capsys.readouterr().out
    assert [int(share) for share in re.findall(r"(\d+) % of the surface", said)] == [0, 50, 100]
    assert "55 (55.00%)" in (tmp_path / "run" / "training.log").read_text()
    stand_in(monkeypatch, "raise SystemExit('trained again')")
    assert surface_run(tmp_path, tmp_path / "run") == tmp_path / "run" / "config.yml"
    (tmp_path / "run" / "finished").unlink()  # as if it had been stopped before the last step
    stand_in(monkeypatch, "import sys, pathlib; (pathlib.Path(sys.argv[2]) / 'finished').touch()")
    surface_run(tmp_path, tmp_path / "run")
    assert "goes on being" in " ".join(capsys.readouterr().out.split())


def test_a_surface_whose_time_was_over_goes_on_if_there_is_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    stand_in(monkeypatch, WRITE_RUN + "(folder / 'finished').write_text('60')")
    surface_run(tmp_path, run, 60.0)
    assert "a larger --max-seconds goes on" in " ".join(capsys.readouterr().out.split())
    stand_in(monkeypatch, "raise SystemExit('trained again')")
    for seconds in (60.0, 30.0):
        assert surface_run(tmp_path, run, seconds) == run / "config.yml"
    for seconds in (60.5, None):
        with pytest.raises(SceneError):  # of the training, which was begun
            surface_run(tmp_path, run, seconds)
    stand_in(monkeypatch, "import sys, pathlib; (pathlib.Path(sys.argv[2]) / 'finished').write_text('')")
    surface_run(tmp_path, run, 300.0)
    assert "goes on being" in " ".join(capsys.readouterr().out.split())
    stand_in(monkeypatch, "raise SystemExit('trained again')")
    assert surface_run(tmp_path, run) == run / "config.yml"  # it has all steps
    (run / "finished").write_text("soon")
    with pytest.raises(SceneError, match=r"Expected nothing or a number of seconds in .*finished, found 'soon'"):
        surface_run(tmp_path, run)


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A scene of two images, as far as the stand-in of a training asks."""
    for name in ("0.png", "1.png"):
        (tmp_path / "a" / "room" / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / "room" / "images" / name).touch()
    return tmp_path / "a" / "room"


@pytest.mark.parametrize("is_finished", [True, False])
def test_the_surface_of_another_scene_or_of_other_images_is_refused(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_finished: bool
) -> None:
    stand_in(monkeypatch, WRITE_RUN)
    other = tmp_path / "b" / "room"
    other.mkdir(parents=True)
    run = tmp_path / "run"
    surface_run(room, run)
    if not is_finished:
        (run / "finished").unlink()
    stand_in(monkeypatch, "import sys, pathlib; (pathlib.Path(sys.argv[2]) / 'finished').touch()")
    sentence = f"Expected the surface of {other} in {run}, found that of {room}; choose another --output-dir"
    with pytest.raises(SceneError, match=re.escape(sentence)):
        surface_run(other, run)
    (room / "images" / "2.png").touch()
    with pytest.raises(SceneError, match=r"Expected the 2 images in .*, found that 2\.png was added or removed"):
        surface_run(room, run)
    (room / "images" / "2.png").unlink()
    (room / "images" / "0.txt").touch()
    assert surface_run(room, run) == run / "config.yml"
    (run / "scene.json").unlink()
    with pytest.raises(SceneError, match=re.escape(f"Expected scene.json beside the surface in {run}, found none")):
        surface_run(room, run)


def test_a_page_waits_for_a_surface_that_is_not_there_yet_and_for_no_other(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[tuple[str, Path]] = []
    api = WaitingApi("room", tmp_path / "views", 60.0)
    tell = f"import os; Path(sys.argv[2], 'views').write_text(os.environ['{VARIABLE}'])"
    stand_in(monkeypatch, WRITE_RUN + tell)
    label = Label(room, output_dir=tmp_path / "session")
    for _ in range(2):
        found = label.run_and_folder(lambda *asked: waited.append(asked) or api)
        assert found == (tmp_path / "session" / "surface" / "config.yml", tmp_path / "session")
    assert waited == [("room", tmp_path / "session")]
    assert (api.state()["step"], api.state()["share"]) == (100, 1)
    surface = tmp_path / "session" / "surface"
    assert (surface / "views").read_text() == str(tmp_path / "views")
    label.run_and_folder(lambda *asked: waited.append(asked) or api)
    assert len(waited) == 1


TRAIN_WAITING = """
import os, signal, subprocess, sys
from pathlib import Path
from semantic_ns.methods import surface_run as training
start = subprocess.Popen
def started(command, **options):
    child = start([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, **options)
    print(child.pid, flush=True)
    if "at once" in sys.argv:
        os.kill(os.getpid(), signal.SIGTERM)
    return child
training.subprocess.Popen = started
training.surface_run(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM to catch and no flock")
def test_a_folder_in_which_another_process_trains_is_refused_and_sigterm_ends_the_training(
    room: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", TRAIN_WAITING, str(room), str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        numbers = (line for line in first.stdout if line.strip().isdigit())
        child = int(next(numbers))
        try:
            with pytest.raises(
                SceneError, match=rf"found that process {first.pid} on \S+ since .* trains the surface in"
            ):
                surface_run(room, tmp_path / "run")
            first.terminate()
            assert first.wait(60) == 128 + signal.SIGTERM
        finally:
            first.kill()
        with pytest.raises(ProcessLookupError):  # it was waited for, so that its number is free
            os.kill(child, 0)


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM to catch")
def test_sigterm_while_the_training_starts_leaves_no_process_behind(room: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TRAIN_WAITING, str(room), str(tmp_path / "run"), "at once"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 128 + signal.SIGTERM
    (child,) = (int(line) for line in done.stdout.splitlines() if line.strip().isdigit())
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("print('Error: Expected a scene, found none.'); raise SystemExit(1)", "Expected a scene, found none."),
        ("raise ZeroDivisionError", "training.log"),
        ("pass", "training.log"),
    ],
)
def test_a_training_that_fails_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, sentence: str
) -> None:
    stand_in(monkeypatch, code)
    with pytest.raises(SceneError, match=re.escape(sentence)):
        surface_run(tmp_path, tmp_path / "run")


ENDING = """
import atexit, sys, threading
from semantic_ns.cli import label
atexit.register(print, "the interpreter ends")
def main(self):
    if "thread" in sys.argv[1]:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    if "error" in sys.argv[1]:
        raise label.SceneError("Expected something, found nothing.")
    if "interrupt" in sys.argv[1]:
        raise KeyboardInterrupt
    print("done", end="")
label.Label.main = main
label.entrypoint()
"""


INTERRUPTED = "Ended by Ctrl+C before there was a page to label in; start again to go on.\n"


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("thread", 0, "done"),
        ("thread error", 1, "Error: Expected something, found nothing.\n"),
        ("thread interrupt", 130, INTERRUPTED),
        ("nothing else", 0, "donethe interpreter ends\n"),
        ("interrupt", 130, INTERRUPTED + "the interpreter ends\n"),
    ],
)
def test_the_command_ends_with_its_status_and_waits_for_no_thread(what: str, status: int, said: str) -> None:
    """A thread in SuperLU spoils the end of the interpreter, which is left out where one is left."""
    command = [sys.executable, "-W", "ignore", "-c", ENDING, what]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (status, said)


def test_a_run_whose_surface_is_kept_opens_without_torch_and_nerfstudio() -> None:
    """They take seconds to load, and nothing of them is needed."""
    modules = ("access", "api", "opening", "server", "surface")
    code = f"import semantic_ns.cli.label, {', '.join(f'semantic_ns.labelling.{name}' for name in modules)}"
    loaded = {name.partition(".")[0] for name in fresh_process.loaded_after(code)}
    assert "scipy" in loaded
    assert not {"torch", "nerfstudio"} & loaded
