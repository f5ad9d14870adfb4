"""The server with the real session in a process of its own, which is killed and started again."""

import contextlib
import http.client
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from support.fresh_process import ROOT, TESTS
from support.label_server import TOKEN, action, ask, mark

START = f"""
import sys
from pathlib import Path
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.server import LabelServer
from semantic_ns.labelling.session import LabelSession
from support.label_surfaces import make_label_surface
folder, port = Path(sys.argv[1]), int(sys.argv[2])
session = LabelSession(make_label_surface(folder / "scene"), folder)
server = LabelServer(LabelApi(session, "a scene", folder / "exports"), {TOKEN!r}, port=port)
print(server.port, flush=True)
server.serve()
"""


@contextlib.contextmanager
def process(folder: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server, killed at the end of the block if it is still there."""
    command = [sys.executable, "-c", START, str(folder), str(port)]
    paths = {"PYTHONPATH": f"{ROOT}:{TESTS}", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=paths) as started:
        assert started.stdout is not None
        try:
            yield started, int(started.stdout.readline())
        finally:
            started.kill()


NUM_ANSWERS = 20


def test_no_mark_that_was_answered_is_lost_by_a_kill(tmp_path: Path) -> None:
    """Three clients mark until the server is killed; the next server knows every mark that was answered."""
    answered: dict[tuple[str, int], int] = {}
    enough = threading.Event()

    def work(client: str, port: int) -> None:
        for sequence in count():
            made = mark(sequence % 3, (3, 7)[sequence % 2], 2.0 + sequence % 28, 3.0 + sequence % 19)
            try:
                reply = ask(port, "/api/marks", "POST", action(sequence, client, mark=made))
            except (OSError, http.client.HTTPException):
                return  # it was killed before it answered
            answered[client, sequence] = reply.content["revision"]
            if len(answered) >= NUM_ANSWERS:
                enough.set()

    with process(tmp_path) as (server, port):
        workers = [threading.Thread(target=work, args=(client, port)) for client in ("one", "two", "three")]
        for worker in workers:
            worker.start()
        assert enough.wait(60)
        server.kill()
        for worker in workers:
            worker.join(60)
    assert len(answered) >= NUM_ANSWERS
    with process(tmp_path) as (_, port):
        state = ask(port, "/api/state").content
        assert state["progress"]["num_marks"] == state["revision"] >= len(answered)
        for (client, sequence), revision in answered.items():
            again = ask(port, "/api/marks", "POST", action(sequence, client, mark=mark(0, 3)))
            assert again.content["revision"] >= revision
        # Sent again, they count no second time: those that were answered are the same marks.
        assert ask(port, "/api/state").content["revision"] == state["revision"]
