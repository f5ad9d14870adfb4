"""The viewer's server answers raw requests as `semantic_ns.viewer.guard` says, and nothing else."""

import gzip
import importlib
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import viser
from nerfstudio.configs.method_configs import all_methods
from websockets.sync.client import connect

from semantic_ns import host
from support.registered import METHODS

INFRA: Any = importlib.import_module("viser.infra._infra")
SECRET = "what the viewer must not hand out"
WEBSOCKET = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + "A" * 22 + "=="
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to serve, beside a file that is not in it."""
    folder = tmp_path / "served"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<html>page</html>")
    (folder / "assets" / "code.js").write_text("let a = 1;" * 100)
    (tmp_path / "secret.txt").write_text(SECRET)
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    return folder


@contextmanager
def serving(folder: Path | None, bound_host: str = "127.0.0.1") -> Iterator[int]:
    """A server of viser for the files of a folder; gives its port."""
    server = INFRA.WebsockServer(bound_host, 0, http_server_root=folder, verbose=False)
    server.start()
    try:
        yield bound_port(server)
    finally:
        server.stop()


def bound_port(server: Any) -> int:
    (listening,) = server._ws_server.sockets
    return listening.getsockname()[1]


def ask(port: int, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request as it stands, and read status, headers and body of the answer until the server hangs up."""
    request = "\r\n".join([f"GET {path} HTTP/1.1", *(headers or (f"Host: localhost:{port}",)), "", ""])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request.encode("utf-8", "surrogateescape"))
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


def without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give viser's module the WebSocket library itself, as it is without this package."""
    original = INFRA.websockets
    while not isinstance(original, ModuleType):
        original = original._module
    monkeypatch.setattr(INFRA, "websockets", original)


def test_viser_itself_hands_out_other_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this hole the tests below would show nothing; when it is gone from viser, so may the guard be."""
    without_guard(monkeypatch)
    with serving(folder) as port:
        code, _, body = ask(port, "/../secret.txt")
    assert (code, body.decode()) == (200, SECRET)


def test_the_guarded_server_hands_out_its_own_files_only(folder: Path) -> None:
    with serving(folder) as port:
        for path in (
            "/../secret.txt",
            f"//{folder.parent}/secret.txt",
            "/link.txt",
            "/assets",
            "/a\0b",
            "/" + "a" * 999,
        ):
            code, _, body = ask(port, path)
            assert (code, body) == (404, b"The viewer has no such file.\n"), path
        assert ask(port, "/?x=/../..")[::2] == (200, b"<html>page</html>")
        assert ask(port, "/assets/é%20ü.txt")[0] == 404


def test_a_websocket_in_other_letters_is_no_way_around_the_guard(folder: Path) -> None:
    upgrade = WEBSOCKET.replace("websocket", "WebSocket").split("\r\n")
    with serving(folder) as port:
        own = (f"Host: localhost:{port}", *upgrade)
        assert ask(port, "/../secret.txt", *own, "Origin: http://evil.example")[0] == 403
        # A request that does not become a WebSocket is no request for a file either.
        code, _, body = ask(port, "/../secret.txt", own[0], "Upgrade: WebSocket")
    assert code in (400, 426)
    assert SECRET.encode() not in body


def test_the_page_still_loads_with_and_without_compression(folder: Path) -> None:
    with serving(folder) as port:
        code, headers, plain = ask(port, "/assets/code.js")
        _, packed_headers, packed = ask(port, "/assets/code.js", "Host: 127.0.0.1", "Accept-Encoding: gzip, br")
    assert (code, plain) == (200, (folder / "assets" / "code.js").read_bytes())
    assert "javascript" in headers["Content-Type"]
    assert packed_headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == plain


def test_a_rebound_name_gets_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(folder) as port:
        assert ask(port, "/", f"Host: rebound.example:{port}")[0] == 403
    monkeypatch.setenv("SEMANTIC_NS_VIEWER_HOSTS", "rebound.example")
    with serving(folder) as port:
        assert ask(port, "/", f"Host: rebound.example:{port}")[0] == 200


@pytest.fixture
def viewer() -> Iterator[tuple[viser.ViserServer, int]]:
    """A viewer of viser with one message for each visitor, and its port."""
    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    server.scene.add_frame("/a_frame")
    yield server, bound_port(server._websock_server)
    server.stop()


def test_the_client_of_viser_is_served(viewer: tuple[viser.ViserServer, int]) -> None:
    build = Path(viser.__file__).parent / "client" / "build"
    files = [file.relative_to(build) for file in build.rglob("*") if file.is_file()]
    assert Path("index.html") in files
    for file in files:
        assert ask(viewer[1], f"/{file.as_posix()}")[::2] == (200, (build / file).read_bytes())


@pytest.mark.parametrize("origin", ["http://localhost:{port}", None])
def test_a_page_of_the_viewer_and_a_program_get_its_messages(
    viewer: tuple[viser.ViserServer, int], origin: str | None
) -> None:
    port = viewer[1]
    own = origin and origin.format(port=port)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as connection,
        connect(f"ws://localhost:{port}", sock=connection, origin=cast(Any, own)) as client,
    ):
        seen = ""
        while "/a_frame" not in seen:
            seen += str(msgspec.msgpack.decode(cast(bytes, client.recv(timeout=30))))


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost"])
def test_a_foreign_page_gets_no_message(viewer: tuple[viser.ViserServer, int], origin: str) -> None:
    code, headers, body = ask(
        viewer[1], "/", f"Host: localhost:{viewer[1]}", *WEBSOCKET.split("\r\n"), f"Origin: {origin}"
    )
    assert code == 403
    assert "Upgrade" not in headers
    assert origin.encode() in body


# The hook


def test_the_guard_is_put_up_once() -> None:
    guarded = INFRA.websockets
    host.guard_viewer()
    assert INFRA.websockets is guarded
    assert not isinstance(guarded, ModuleType)
    assert guarded.exceptions.ConnectionClosedOK.__module__ == "websockets.exceptions"


def test_an_unknown_viser_is_left_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = SimpleNamespace(websockets=SimpleNamespace(server=None), WebsockServer=SimpleNamespace())
    before = dict(vars(unknown))
    monkeypatch.setitem(sys.modules, "viser.infra._infra", unknown)
    host._say_once.cache_clear()
    host.guard_viewer()
    host.guard_viewer(warn_of_network=True)
    assert vars(unknown) == before
    assert capsys.readouterr().out.count("not the viser 0.2.7") == 1


def test_nothing_is_done_before_viser_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "viser.infra._infra")
    host.guard_viewer()
    assert "viser.infra._infra" not in sys.modules


def test_a_viewer_that_the_network_can_reach_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    host.guard_viewer(warn_of_network=True)
    with serving(None):
        assert "network" not in capsys.readouterr().out
    with serving(None, "0.0.0.0"):
        told = capsys.readouterr().out
    assert "listens on 0.0.0.0: anybody on the network can see the scene and control the viewer" in told
    assert "--viewer.websocket-host 127.0.0.1" in told
    assert "ssh -L" in told
    with serving(None, "0.0.0.0"):  # another method's
        assert "network" not in capsys.readouterr().out


def test_our_methods_stay_on_this_machine_and_others_as_they_are() -> None:
    ours = [method.config for method in METHODS.values()]
    assert len(ours) >= 4
    assert {config.viewer.websocket_host for config in ours} == {"127.0.0.1"}
    assert all_methods["nerfacto"].viewer.websocket_host == "0.0.0.0"
