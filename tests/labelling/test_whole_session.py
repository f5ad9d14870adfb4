"""One session from end to end, in a browser, with the real server in a process of its own."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.labels.class_table import ClassTable
from support.fresh_process import ROOT, TESTS
from support.label_page import CONTROL, NO_BROWSER, LabelPage
from support.label_server import TOKEN, ask

pytestmark = pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
START = f"""
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.server import LabelServer
from semantic_ns.labelling.session import LabelSession
from support.label_surfaces import make_label_surface
folder, port = Path(sys.argv[1]), int(sys.argv[2])
surface = make_label_surface(folder / "scene")
c2w = np.tile(np.eye(4, dtype=np.float32)[:3], (3, 1, 1))
c2w[:, :, 3] = [[0.3, 0.2, 1.1], [0.4, 0.2, 1.1], [0.6, 0.2, 1.1]]  # before the wall, and looking at it
session = LabelSession(replace(surface, c2w=c2w), folder / "labelling")
server = LabelServer(LabelApi(session, "a scene", folder / "exports"), {TOKEN!r}, port=port)
print(server.port, flush=True)
server.serve()
"""
NAMES = ("wall", "lamp", "rug", "sofa", "plant", "book")


@contextlib.contextmanager
def process(folder: Path, port: int = 0) -> Iterator[int]:
    """A server, killed at the end of the block; its port."""
    paths = {"PYTHONPATH": f"{ROOT}:{TESTS}", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-c", START, str(folder), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=paths) as started:
        assert started.stdout is not None
        try:
            yield int(started.stdout.readline())
        finally:
            started.kill()


def shown_by(port: int) -> list[bytes]:
    """All that a server shows of the three frames."""
    return [
        ask(port, f"/api/frame/{f}/{layer}").body for f in range(3) for layer in ("labels", "painted", "confidence")
    ]


def add_class(page: LabelPage, name: str) -> None:
    page.keys("/")
    page.page.call("Input.insertText", text=name)
    page.keys("Enter")
    page.page.wait_until(f"snsLabel.store.classes.some((one) => one.name === '{name}')")
    page.page.value("document.getElementById('canvas').focus()")
    page.wait_until_saved()


def label(page: LabelPage) -> None:
    """Six classes: five in the first image, the sixth in the free view; and one more mark in the second image."""
    for name in NAMES[2:]:
        add_class(page, name)
    for key, x in zip("12345", (3.0, 9.0, 15.0, 21.0, 28.0), strict=True):
        page.keys(key)
        page.stroke((x, 5.0), (x, 18.0))
    page.keys("ArrowRight", "6")
    page.page.wait_until("snsLabel.store.shown === 1")
    page.keys("f")
    page.page.wait_until("snsLabel.view.free && !snsLabel.free.isBusy && snsLabel.view.free.width === 640")
    middle = page.page.value("[snsLabel.view.free.width / 2, snsLabel.view.free.height / 2]")
    page.stroke((middle[0], middle[1]), (middle[0] + 30, middle[1]))
    page.wait_until_saved()
    page.keys("f")
    page.keys("1")
    page.stroke((30.0, 20.0))
    page.wait_until_saved()


def undo_one_more(page: LabelPage, port: int, before: list[bytes]) -> None:
    """A mark that is taken back shows what was before."""
    page.keys("2")
    page.stroke((3.0, 3.0))
    page.wait_until_saved()
    assert shown_by(port) != before
    page.keys("z", modifiers=CONTROL)
    page.wait_until_saved()
    page.page.wait_until("snsLabel.store.state.progress.num_marks === 7")
    assert shown_by(port) == before


def test_six_classes_are_labelled_undone_renamed_exported_and_there_after_a_kill(
    one_page: LabelPage, another_page: Callable[[], LabelPage], tmp_path: Path
) -> None:
    page = one_page
    with process(tmp_path) as port:
        address = f"http://127.0.0.1:{port}/?token={TOKEN}"
        page.open(address)
        label(page)
        before = shown_by(port)
        undo_one_more(page, port, before)
        page.page.value("snsLabel.store.act('/api/classes', {action: 'rename', id: 3, name: 'big wall'})")
        page.wait_until_saved()
        second = another_page()
        second.open(address)
        assert second.page.value("snsLabel.store.classes.map((one) => one.name)") == ["big wall", *NAMES[1:]]
        assert second.page.value("snsLabel.store.state.progress.num_marks") == 7
    page.show()
    page.page.wait_until("document.getElementById('state').dataset.kind === 'offline'")
    with process(tmp_path, port):
        page.page.wait_until("document.getElementById('state').dataset.kind === 'saved'")
        assert shown_by(port) == before
        page.page.value("document.getElementById('export').click()")
        page.page.value("document.getElementById('export-form').requestSubmit()")
        page.page.wait_until("document.getElementById('export-result').textContent.startsWith('Wrote 3 files')")
    exported = tmp_path / "exports" / "labels_1"
    table = ClassTable.load(exported / "classes.json")
    assert sorted(entry.name for entry in table.entries) == sorted(["big wall", *NAMES[1:]])
    labels = np.frombuffer(before[0], "<i2").reshape(24, 32)
    image = np.asarray(Image.open(exported / "frame_0.png"))
    np.testing.assert_array_equal(image, np.where(labels < 0, 0, labels))
    with process(tmp_path, port):
        page.open(address)
        assert shown_by(port) == before
        painted = {int(number) for layer in before[1::3] for number in np.unique(np.frombuffer(layer, "<i2"))}
        assert painted == {-1, *(entry.id for entry in table.entries)}
