"""`sns-label`: label a scene in the browser and see the labels spread."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError
from semantic_ns.io.writing import refuse_inside
from semantic_ns.runs import refuse_missing_run

if TYPE_CHECKING:
    from semantic_ns.labelling.api import LabelApi
    from semantic_ns.labelling.import_files import ImportFiles
    from semantic_ns.labelling.questions import QuestionFolder
    from semantic_ns.labelling.server import LabelServer
    from semantic_ns.labelling.session import LabelSession
    from semantic_ns.labelling.waiting import WaitingApi
    from semantic_ns.labels.class_table import ClassTable
    from semantic_ns.prediction.point_segmenter import PointSegmenter

CONFIG = "config.yml"
_TABLE_ENDINGS = (".csv", ".json", ".txt")


@dataclass
class Label:
    """Label a scene in the browser: marks on training images spread over the surface at once.

    Every mark is on the disk before the page counts it as saved, and the next start goes on where this one ended.
    """

    target: tyro.conf.Positional[Path | None] = None
    """Folder of a run, its config.yml, or folder of a scene. The surface of a scene is trained first, without classes,
    and kept."""
    load_config: Path | None = None
    """The config.yml of the run, in the place of the folder."""
    classes: tuple[str, ...] = ()
    """Names of classes, beside those of the scene, which get ids and colours that are free; or one class table as a
    .csv, .json or .txt file, or by name (nyu40), with the ids and colours that exports are to have."""
    labels: Annotated[Path | None, tyro.conf.arg(name="import")] = None
    """Labels to begin with: a folder of label images or probabilities with a list of classes (classes.json), as
    sns-predict and the page write it, or annotations in any format that sns-import-labels reads, as a file, a folder or
    a zip file. They are weak evidence beneath all marks, and can be switched off in the page."""
    import_weight: float = 1e-4
    """Weight of a voxel with imported labels, beside 1 of one with a mark."""
    appearance: bool = True
    """Let voxels far from marks take the class of the marked ones that they look like. A classifier is fitted to the
    marks in the background; its features come from the network of `rooms-small`. While imported labels count, it does
    not."""
    voxels: int = 60_000
    """Voxels of the surface, about. More are finer and slower: 60000 need about a gigabyte of memory."""
    questions: Path | None = None
    """Folder in which a run asks for labels (its --pipeline.active.oracle-folder): the page shows the questions, and
    what is painted there answers them."""
    field: bool = True
    """Train the classes of the run's field on the labels in the background, in a process of its own with low priority.
    The page then also shows what the field says, and writes it as a run. It needs semantic-nerf or semantic-splatfacto;
    Gaussians take their classes from the labels in closed form."""
    segmenter: Path | None = None
    """Two ONNX files like those of Segment Anything, an image encoder and a mask decoder: their folder, or either file.
    A click in the page then proposes a mask. It needs the extra `predict`."""
    host: str = "127.0.0.1"
    """Address to listen on. With another one than 127.0.0.1 the page can be reached from the network by all who know
    the token."""
    port: int = 7008
    """Port to listen on."""
    output_dir: Path | None = None
    """Folder for the marks, the exports and, for a scene, the surface; by default `labelling` in the run, or
    `outputs/SCENE/labelling` for a scene."""
    max_seconds: float = 60.0
    """Longest training of a scene's surface, seconds. A slow machine does not make all steps of semantic-nerf in a
    minute; more seconds then make a finer surface."""

    def main(self) -> None:
        """Find or train the surface, open the session, and serve the page until Ctrl+C."""
        self._check_options()
        # Slow to import, and not needed to refuse a wrong option.
        from semantic_ns.labelling.server import refuse_taken_port

        refuse_taken_port(self.host, self.port)
        with ExitStack() as stack:
            if self.questions is not None:
                from semantic_ns.labelling.question_files import lock_answers  # loads torch

                stack.callback(os.close, lock_answers(self.questions))
            segmenter, labels, page = self._segmenter(), self._labels(stack), _Page(self, stack)
            run, folder = self.run_and_folder(page.wait_for_surface)
            self._label(stack, run, folder, segmenter, labels, page)

    def _label(
        self,
        stack: ExitStack,
        run: Path,
        folder: Path,
        segmenter: "PointSegmenter | None",
        labels: "ImportFiles | None",
        page: "_Page",
    ) -> None:
        """Open the session of a run, and serve it; the stack closes what was opened."""
        from semantic_ns.labelling.api import LabelApi
        from semantic_ns.labelling.compiling import compile_in_background
        from semantic_ns.labelling.field import FieldFollower
        from semantic_ns.labelling.opening import open_session

        page.end_training("The surface is rendered and divided into voxels.")
        session = open_session(
            run, folder, self.class_table(), self.voxels, labels, self.import_weight, self.appearance
        )
        stack.callback(session.close)
        if labels is not None:
            labels.close()
        compile_in_background()
        field = None
        if self.field:
            field = FieldFollower(session, run, folder / "field")
            stack.callback(field.close)
        name = session.surface.scene.name
        questions = self._questions_for(session, folder)
        api = LabelApi(session, name, folder / "exports", questions, field, segmenter)
        server = page.label(api, folder)
        _serve(
            server, f"Open {server.address} to label {name}.{_from_afar(server)} Ctrl+C ends; marks are in {folder}."
        )

    def _segmenter(self) -> "PointSegmenter | None":
        if self.segmenter is None:
            return None
        from semantic_ns.prediction.point_segmenter import PointSegmenter

        return PointSegmenter(self.segmenter)

    def _labels(self, stack: ExitStack) -> "ImportFiles | None":
        if self.labels is None:
            return None
        from semantic_ns.labelling.import_files import ImportFiles  # loads torch

        labels = ImportFiles.find(self.labels)
        stack.callback(labels.close)
        return labels

    def _questions_for(self, session: "LabelSession", folder: Path) -> "QuestionFolder | None":
        if self.questions is None:
            return None
        from semantic_ns.labelling.questions import QuestionFolder  # loads torch

        return QuestionFolder(self.questions, session, folder)

    def _check_options(self) -> None:
        from semantic_ns.labelling.classes import ClassList
        from semantic_ns.labels.class_table import ClassTable

        if (self.target is None) == (self.load_config is None):
            raise SceneError(
                "Expected the folder of a scene or a run, or --load-config, and not both; give one of them."
            )
        if self.load_config is not None:
            refuse_missing_run(self.load_config)
        if self.voxels < 1000:
            raise SceneError(f"Expected 1000 voxels or more for --voxels, found {self.voxels}; raise it.")
        if not 0 < self.import_weight <= 1:
            raise SceneError(
                f"Expected a number above 0, and at most 1, for --import-weight, found {self.import_weight}; change it."
            )
        if self.questions is not None and not self.questions.is_dir():
            raise SceneError(f"Expected the folder of a run's questions, found none at {self.questions}; correct it.")
        if not self.max_seconds > 0:
            raise SceneError(f"Expected seconds above 0 for --max-seconds, found {self.max_seconds}; raise it.")
        classes = self.class_table()
        for entry in classes.entries if isinstance(classes, ClassTable) else classes:
            ClassList().check_name(entry if isinstance(entry, str) else entry.name)

    def run_and_folder(
        self, wait: "Callable[[str, Path], WaitingApi | None]" = lambda _name, _folder: None
    ) -> tuple[Path, Path]:
        """The run's config.yml, and the folder of the session; the surface of a scene is trained where it is not yet.

        Args:
            wait: A function of the scene's name and that folder, called before a training; it gives what is told of it.
        """
        from semantic_ns.labelling.surface import FOLDER

        config = self.load_config
        if self.target is not None and self.target.is_file() and self.target.name == CONFIG:
            config = self.target
        elif self.target is not None and (self.target / CONFIG).is_file():
            config = self.target / CONFIG
        if config is not None:
            return config, self.output_dir or config.parent / FOLDER
        assert self.target is not None
        refuse_no_scene(self.target)
        # Loads nerfstudio, which a run that is kept needs not.
        from semantic_ns.methods.surface_run import is_trained, surface_run

        folder = self.output_dir or Path("outputs") / self.target.absolute().name / FOLDER
        refuse_inside(folder, [self.target], "--output-dir")
        surface, name = folder / "surface", self.target.absolute().name
        waiting = None if is_trained(self.target, surface, self.max_seconds) else wait(name, folder)
        if waiting is None:
            return surface_run(self.target, surface, self.max_seconds), folder
        return surface_run(self.target, surface, self.max_seconds, waiting.progress, waiting.views), folder

    def class_table(self) -> "tuple[str, ...] | ClassTable":
        """The names of `--classes`, or the table that it names."""
        from semantic_ns.labels.class_table import BUILT_IN_TABLES, ClassTable

        if len(self.classes) == 1 and (
            self.classes[0] in BUILT_IN_TABLES or Path(self.classes[0]).suffix.lower() in _TABLE_ENDINGS
        ):
            return ClassTable.load(self.classes[0])
        return self.classes


class _Page:
    """The page of a `sns-label`, which may wait for the surface of a scene first.

    Args:
        command: The command.
        stack: Closes what is opened.
    """

    def __init__(self, command: Label, stack: ExitStack) -> None:
        self._command, self._stack = command, stack
        self._waiting: "WaitingApi | None" = None
        self._server: "LabelServer | None" = None
        self._importing: threading.Thread | None = None

    def wait_for_surface(self, name: str, folder: Path) -> "WaitingApi":
        """Serve a page that shows the training of a surface; returns what it is told by.

        Args:
            name: Name of the scene.
            folder: Folder of the session.

        Raises:
            SceneError: if the port is taken.
        """
        from semantic_ns.labelling.preloading import import_in_background
        from semantic_ns.labelling.waiting import PAGE, WaitingApi

        views = TemporaryDirectory(prefix="sns_label_", ignore_cleanup_errors=True)
        self._waiting = WaitingApi(name, Path(self._stack.enter_context(views)), self._command.max_seconds)
        self._server = self._listen(self._waiting, folder, PAGE)
        self._server.serve_in_background()
        self._stack.callback(self._server.release)
        sentence = f"Open {self._server.address} to see how the surface is trained, and then to label {name}."
        sentence += _from_afar(self._server)
        Console(soft_wrap=True, highlight=False).print(sentence, markup=False)
        sys.stdout.flush()
        # While the other process imports the same, before it needs both cores.
        self._importing = import_in_background()
        return self._waiting

    def end_training(self, sentence: str) -> None:
        """Tell who waits what is done after the training."""
        if self._waiting is not None:
            self._waiting.end_training(sentence)
        if self._importing is not None:
            self._importing.join()  # two threads that import the same may see modules that are not whole

    def label(self, api: "LabelApi", folder: Path) -> "LabelServer":
        """The server of the session, whose page takes the place of the one that waits.

        Raises:
            SceneError: if the port is taken.
        """
        from semantic_ns.labelling.server import PAGE

        if self._server is None:
            return self._listen(api, folder, PAGE)
        self._server.hand_over(api)
        return self._server

    def _listen(self, api: "LabelApi | WaitingApi", folder: Path, page: str) -> "LabelServer":
        from semantic_ns.io.console import announce
        from semantic_ns.labelling.access import kept_token
        from semantic_ns.labelling.server import LabelServer
        from semantic_ns.viewer.guard import is_loopback

        server = LabelServer(api, kept_token(folder / "token"), self._command.host, self._command.port, page)
        if not is_loopback(self._command.host):
            announce(
                "labelling",
                f"the page can be reached from the network at port {server.port} by all who know the token, and "
                "what is sent is not encrypted",
            )
        return server


def refuse_no_scene(target: Path) -> None:
    """Check that a target can be the folder of a scene, before anything slow.

    Raises:
        SceneError: if it is none, or a folder of runs.
    """
    if not target.is_dir():
        found = "a file" if target.exists() else "nothing"
        raise SceneError(
            f"Expected the folder of a scene or a run, or a run's config.yml, found {found} at {target}; correct the "
            "path."
        )
    # Such as outputs/my_scene and outputs/my_scene/semantic-nerf, which nerfstudio makes.
    configs = [path for pattern in ("*", "*/*") for path in target.glob(f"{pattern}/{CONFIG}")]
    runs = [path.parent for path in configs if (path.parent / "nerfstudio_models").is_dir()]
    if runs:
        newest = max(runs, key=lambda run: (run / CONFIG).stat().st_mtime_ns)
        raise SceneError(
            f"Expected the folder of a scene or of one run, found {len(runs)} run{'s' * (len(runs) > 1)} in {target}; "
            f"give one of them, such as {newest}."
        )


def _from_afar(server: "LabelServer") -> str:
    """Where other machines find the page, if they do."""
    return "" if server.far_address is None else f" From other machines, open {server.far_address}."


def _serve(server: Any, sentence: str) -> None:
    """Answer until Ctrl+C or SIGTERM."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        Console(soft_wrap=True, highlight=False).print(sentence, markup=False)
        sys.stdout.flush()
        server.serve()
    except KeyboardInterrupt:
        pass
    finally:
        server.release()
        signal.signal(signal.SIGTERM, before)


def entrypoint() -> None:
    """Console script `sns-label`."""
    command = tyro.cli(Label, config=(tyro.conf.FlagConversionOff,))
    try:
        run_command(command.main)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:  # before the page was served, and not while a surface is trained
        print("Ended by Ctrl+C before there was a page to label in; start again to go on.", file=sys.stderr)
        status = 128 + signal.SIGINT
    end_process(status)


def end_process(status: int) -> None:
    """End with this status, at once if a thread still works.

    The thread that factors the finer surface is inside of SuperLU for ten seconds and more. An interpreter that ends
    meanwhile waits for nothing, writes that an exception was ignored, and ends with another status.
    """
    if threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    raise SystemExit(status)


if __name__ == "__main__":
    entrypoint()
