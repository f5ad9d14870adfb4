"""Whether a labelling server that is killed at random moments loses a mark that it answered.

Three clients mark and take back at the same time, each over its own connections, and send again what was not answered,
as the page does. Each client draws marks of its own. The server, a process of its own, is killed (SIGKILL) while it
starts or at a random moment of that work, and started again.

After each kill the journal must hold every action that was answered: under its client and sequence, of its kind, with
its whole mark (frame, class, kind, shape), at a revision not above the answered one. Actions that the server refuses,
such as taking back when nothing is left, are counted apart. In the end the next server is sent the last three actions
of each client again, and must take none of them for a new one.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from semantic_ns.io.writing import write_json
from semantic_ns.labelling.session import JOURNAL_FILE

CONSOLE = Console(soft_wrap=True, highlight=False)
TOKEN = "token-of-a-server-that-is-killed"
CLIENTS = ("one", "two", "three")
KINDS = {"/api/marks": "mark", "/api/undo": "undo"}
"""Of an action in the journal, by the address to which it was sent."""
LIVES_OF_A_JOURNAL = 10
SHARE_AT_START = 0.15
LONGEST_LIFE_S = 0.6
START = f"""
import sys
from pathlib import Path
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.opening import label_surfaces
from semantic_ns.labelling.server import LabelServer
from semantic_ns.labelling.session import LabelSession
folder = Path(sys.argv[1])
(surface,) = label_surfaces(Path(sys.argv[2]), [int(sys.argv[3])])
session = LabelSession(surface, folder)
server = LabelServer(LabelApi(session, "a scene", folder / "exports"), {TOKEN!r}, port=0)
print(server.port, flush=True)
server.serve()
"""
Starter = Callable[[Path], "subprocess.Popen[str]"]
"""Starts a server on a folder; it prints its port."""


@dataclass
class Kills:
    """What happened.

    Attributes:
        kills: Number of kills.
        at_start: How many of them came before the server answered.
        answered: Actions that were answered.
        unanswered: Actions that were sent and not answered, and sent again later.
        refused: Actions that the server refused, which must not be in the journal.
        lost: Answered actions that are gone, or differ, and refused ones that were taken.
    """

    kills: int = 0
    at_start: int = 0
    answered: int = 0
    unanswered: int = 0
    refused: int = 0
    lost: int = 0


@dataclass
class Client:
    """Somebody who marks, and keeps what was answered.

    Attributes:
        name: The name.
        seed: Of the marks; those of two clients differ for one seed.
        answered: The revision, the address and the content of each action, by its sequence.
        refused: Sequences of the actions that the server refused.
    """

    name: str
    seed: int
    size: tuple[int, int, int]
    classes: list[int]
    answered: dict[int, tuple[int, str, dict[str, Any]]] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    next: int = 0
    unanswered: int = 0

    def action(self, sequence: int) -> tuple[str, dict[str, Any]]:
        """The address and the content of an action; every fifth one takes back what was made before."""
        rng = np.random.default_rng((self.seed, zlib.crc32(self.name.encode()), sequence))
        if sequence % 5 == 4:
            return "/api/undo", {}
        frames, height, width = self.size
        shape = {"kind": "click", "x": float(rng.integers(width)), "y": float(rng.integers(height)), "radius": 3.0}
        class_id = int(rng.choice(self.classes))
        return "/api/marks", {
            "mark": {"frame": int(rng.integers(frames)), "class_id": class_id, "action": "paint", "shape": shape}
        }

    def work(self, port: int, first: threading.Event) -> None:
        """Act until the server does not answer."""
        while True:
            path, content = self.action(self.next)
            try:
                revision = send(port, path, {**content, "client": self.name, "sequence": self.next})["revision"]
            except RefusedError:
                self.refused.add(self.next)
                self.next += 1
                continue
            except (OSError, http.client.HTTPException, ValueError):
                self.unanswered += 1
                return
            self.answered[self.next] = revision, path, content
            self.next += 1
            first.set()


class RefusedError(Exception):
    """The server answered that it does not take an action."""


def send(port: int, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer to a request.

    Raises:
        RefusedError: if the server refuses it for good.
        OSError, HTTPException, ValueError: if there is none, or it is cut off.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    try:
        if content is None:
            connection.request("GET", path, headers=headers)
        else:
            connection.request("POST", path, json.dumps(content), headers)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        if 400 <= answer.status < 500:
            raise RefusedError(found.get("error"))
        if answer.status != 200:
            raise ValueError(found.get("error"))
        return found
    finally:
        connection.close()


def kept_actions(folder: Path) -> dict[tuple[str, int], tuple[int, dict[str, Any]]]:
    """Revision and values of each action in a journal, read without the code that wrote it."""
    lines = (folder / JOURNAL_FILE).read_bytes().split(b"\n")[:-1]
    entries = [json.loads(line)["entry"] for line in lines[1:]]
    return {(entry["client"], entry["sequence"]): (number, entry) for number, entry in enumerate(entries, 1)}


def count_lost(folder: Path, clients: list[Client]) -> int:
    """Answered actions that a journal does not hold as they were made, and refused ones that it holds."""
    if not any(client.answered for client in clients):
        return 0
    kept = kept_actions(folder)
    lost = 0
    for client in clients:
        for sequence, (revision, path, content) in client.answered.items():
            number, entry = kept.get((client.name, sequence), (0, {}))
            is_same = entry.get("kind") == KINDS[path] and entry.get("mark") == content.get("mark")
            # The answer tells the revision of the session, which others may have raised meanwhile.
            lost += not (0 < number <= revision and is_same)
        lost += sum((client.name, sequence) in kept for sequence in client.refused)
    return lost


def kill_repeatedly(start: Starter, kills: int, seed: int, size: tuple[int, int, int], classes: list[int]) -> Kills:
    """Kill servers at random moments.

    Args:
        start: A function that starts a server on a folder.
        kills: How often.
        seed: Of marks and moments.
        size: Number of frames, and their height and width.
        classes: Ids of classes.
    """
    found, rng = Kills(), np.random.default_rng(seed)
    while found.kills < kills:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            clients = [Client(name, seed + found.kills, size, classes) for name in CLIENTS]
            for _ in range(min(LIVES_OF_A_JOURNAL, kills - found.kills)):
                _live_and_die(start, folder, clients, rng, found)
                found.lost += count_lost(folder, clients)
            found.lost += _differ_when_sent_again(start, folder, clients)
            found.answered += sum(len(client.answered) for client in clients)
            found.unanswered += sum(client.unanswered for client in clients)
            found.refused += sum(len(client.refused) for client in clients)
    return found


def _live_and_die(start: Starter, folder: Path, clients: list[Client], rng: np.random.Generator, found: Kills) -> None:
    with start(folder) as server:
        try:
            if rng.random() < SHARE_AT_START:
                time.sleep(rng.random() * LONGEST_LIFE_S)
                found.at_start += 1
            else:
                assert server.stdout is not None
                port, first = int(server.stdout.readline()), threading.Event()
                workers = [threading.Thread(target=client.work, args=(port, first)) for client in clients]
                for worker in workers:
                    worker.start()
                first.wait(60)
                time.sleep(rng.random() * LONGEST_LIFE_S)
                server.kill()
                for worker in workers:
                    worker.join(60)
        finally:
            server.kill()
    found.kills += 1


def _differ_when_sent_again(start: Starter, folder: Path, clients: list[Client]) -> int:
    """Answered actions that a new server takes for new ones, or answers with an earlier revision."""
    with start(folder) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            before, differ = send(port, "/api/state")["revision"], 0
            for client in clients:
                for sequence, (revision, *_) in list(client.answered.items())[-3:]:
                    path, content = client.action(sequence)
                    again = send(port, path, {**content, "client": client.name, "sequence": sequence})["revision"]
                    differ += not (revision <= again == before)
            return differ
        finally:
            server.kill()


def main() -> None:
    """Kill servers on the kept surface of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load-config", type=Path, required=True, help="config.yml of a trained run")
    parser.add_argument("--voxels", type=int, default=1000, help="of the surface, about")
    parser.add_argument("--kills", type=int, default=200, help="how often")
    parser.add_argument("--seed", type=int, default=0, help="of marks and moments")
    parser.add_argument("--output", type=Path, default=None, help="JSON file to write")
    options = parser.parse_args()
    from semantic_ns.labelling.opening import label_surfaces

    (surface,) = label_surfaces(options.load_config, [options.voxels])
    size = len(surface.frames), surface.frames[0].height, surface.frames[0].width

    def start(folder: Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", START, str(folder), str(options.load_config.resolve()), str(options.voxels)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ)

    found = kill_repeatedly(start, options.kills, options.seed, size, [entry.id for entry in surface.classes[:6]])
    CONSOLE.print(vars(found))
    if options.output is not None:
        write_json(options.output, vars(found))


if __name__ == "__main__":
    main()
