"""The labelling server over a real port: who is let in, what it answers, and what it refuses."""

import json
import random
import socket
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labelling.access import kept_token
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.requests import MAX_BODY_BYTES
from semantic_ns.labelling.server import LabelServer, page_files
from support.label_server import TOKEN, action, ask, mark
from support.label_session import SmallSession


@pytest.fixture
def session() -> SmallSession:
    return SmallSession(num_frames=3, height=48, width=64)


# Who is let in


def test_the_printed_address_gives_the_page_and_a_cookie_that_opens_the_rest(server: LabelServer) -> None:
    path = server.address.partition(f":{server.port}")[2]
    page = ask(server.port, path, bearer=None)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    cookie = page.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert ask(server.port, "/api/state", headers={"Cookie": cookie.split(";")[0]}, bearer=None).status == 200
    assert "set-cookie" not in ask(server.port, "/", headers={"Cookie": cookie.split(";")[0]}, bearer=None).headers


@pytest.mark.parametrize("other", ['a={"x":1}', "a", "a b=c", "=", 'a="', "sns_label_1=x", "\xe9=\xe9"])
def test_odd_cookies_of_other_servers_beside_the_own_one_do_no_harm(port: int, other: str) -> None:
    own = f"sns_label_{port}={TOKEN}"
    for cookie in (f"{other}; {own}", f"{own};{other}"):
        assert ask(port, "/api/state", headers={"Cookie": cookie}, bearer=None).status == 200
    assert ask(port, "/api/state", headers={"Cookie": f"{other}; x{own}"}, bearer=None).status == 401


def test_every_file_that_the_page_names_is_served_and_needs_the_token(port: int) -> None:
    files = page_files()
    assert {"/", "/index.html", "/label.js", "/label.css"} <= files.keys()
    for path in files:
        assert ask(port, path).status == 200
        refused = ask(port, path, bearer=None)
        assert refused.status == 401
        assert b"open the address that sns-label printed" in refused.body
    text = b"".join(file.body for file in files.values()).decode()
    assert "https://" not in text
    assert text.count("http://") == text.count("http://www.w3.org/2000/svg")  # a name, not an address


@pytest.mark.parametrize("bearer", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "tökén"])
@pytest.mark.parametrize("path", ["/api/state", "/api/frame/0/image", "/label.js", "/nothing"])
def test_without_the_token_nothing_is_answered(port: int, path: str, bearer: str | None) -> None:
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}".encode().decode("latin1")}
    assert ask(port, path, headers=headers, bearer=None).status == 401
    assert ask(port, f"{path}?token={TOKEN}", bearer=None).status == 401
    assert ask(port, "/api/marks", "POST", action(1, mark=mark()), headers, bearer=None).status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:80"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": ""}, 400),
        ({"Host": "a b"}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
    ],
)
def test_other_names_and_other_pages_are_refused_even_with_the_token(
    port: int, session: SmallSession, headers: dict[str, str], status: int
) -> None:
    for refused in (
        ask(port, "/api/state", headers=headers),
        ask(port, "/api/marks", "POST", action(1, mark=mark()), headers),
    ):
        assert refused.status == status
        assert refused.sentence.endswith(".")
    assert session.revision == 0


def test_the_own_page_may_ask(port: int) -> None:
    for name in ("127.0.0.1", "localhost", "[::1]"):
        headers = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}"}
        assert ask(port, "/api/state", headers=headers).status == 200


def test_answers_forbid_scripts_frames_and_loads_from_elsewhere(port: int) -> None:
    policy = ask(port, "/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_a_token_is_kept_for_the_next_start_and_is_the_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "labelling" / "token"
    token = kept_token(file)
    assert len(token) >= 22
    assert kept_token(file) == token
    assert file.stat().st_mode & 0o077 == 0
    file.write_text("short")
    assert kept_token(file) not in ("short", token)
    (tmp_path / "a_file").touch()
    assert len(kept_token(tmp_path / "a_file" / "token")) >= 22


def test_a_taken_port_is_refused_with_a_sentence(server: LabelServer, session: SmallSession, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=f"127.0.0.1:{server.port} cannot be used .* choose another --port"):
        LabelServer(LabelApi(session, "a scene", tmp_path), TOKEN, port=server.port)
    with pytest.raises(SceneError, match="choose another --port"):
        LabelServer(LabelApi(session, "a scene", tmp_path), TOKEN, port=70_000)


# What it refuses


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/../../etc/hostname", 404),
        ("GET", "/..%2f..%2fetc/hostname", 404),
        ("GET", "/label.py", 404),
        ("GET", "/api/frame/3/image", 404),
        ("GET", "/api/frame/-1/image", 404),
        ("GET", "/api/frame/1e0/labels", 404),
        ("GET", "/api/frame/0/nothing", 404),
        ("GET", "/api/frame/99999999999999999999/labels", 404),
        ("GET", "/api/events", 400),
        ("GET", "/api/events?since=-1", 400),
        ("GET", "/api/events?since=nan", 400),
        ("GET", "/api/marks", 405),
        ("POST", "/api/state", 405),
        ("POST", "/nothing", 404),
        ("PUT", "/api/marks", 405),
        ("DELETE", "/api/state", 405),
        ("OPTIONS", "/api/marks", 405),
        ("HEAD", "/api/state", 405),
        ("BREW", "/", 405),
    ],
)
def test_an_address_that_does_not_exist_is_refused(port: int, method: str, path: str, status: int) -> None:
    refused = ask(port, path, method, {} if method == "POST" else None)
    assert refused.status == status
    assert method == "HEAD" or refused.sentence.endswith(".")


def raw_reply(port: int, request: bytes) -> bytes:
    """All that comes back on a connection, which the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        reply = b""
        while part := connection.recv(65536):
            reply += part
        return reply


HEAD = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n".encode()


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"POST /api/marks HTTP/1.1\r\n" + HEAD + b"Content-Length: 99999999\r\n\r\n", 413),
        (b"POST /api/marks HTTP/1.1\r\n" + HEAD + b"Content-Length: -5\r\n\r\n", 411),
        (b"POST /api/marks HTTP/1.1\r\n" + HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 411),
        (b"POST /api/marks HTTP/1.1\r\n" + HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 411),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST /api/marks HTTP/1.1\r\n" + HEAD + b"\r\n{}", 411),
        (b"POST /api/marks HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"GET /api/state HTTP/1.1\r\n" + HEAD + b"Content-Length: 5\r\n\r\nhello", 400),
        (b"GET /api/state HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/9.9\r\n" + HEAD + b"\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_a_request_that_is_none_is_refused_with_a_sentence(port: int, request_head: bytes, status: int) -> None:
    head, _, body = raw_reply(port, request_head).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert json.loads(body)["error"].endswith(".")


def test_a_body_of_another_type_is_refused(port: int) -> None:
    """A form of another page can send text without asking, but no JSON."""
    body = json.dumps(action(1, mark=mark())).encode()
    assert ask(port, "/api/marks", "POST", body, {"Content-Type": "text/plain"}).status == 415
    assert ask(port, "/api/marks", "POST", b" " * MAX_BODY_BYTES + b"x").status == 413


ODD = (0, -1, 1.5, 1e308, 2**60, True, None, "", "x" * 300, "../../etc/passwd", "\u202e", [], {}, [[1, 2]], "#ffffff")
NAMES = ("client", "sequence", "mark", "show", "action", "id", "name", "color", "into", "folder", "frame", "class_id")
PATHS = ("/api/marks", "/api/undo", "/api/classes", "/api/export", "/api/frame/0/labels", "/api/events", "/label.js")


def test_two_thousand_random_requests_are_refused_with_a_sentence_and_leave_no_trace(
    server: LabelServer, session: SmallSession, tmp_path: Path
) -> None:
    """Each request is right but for one part at least, which is drawn."""
    draw = random.Random(0)
    paths = {"inside": list(tmp_path.iterdir()), "beside": sorted(tmp_path.parent.iterdir())}
    for _ in range(2000):
        method, path = draw.choice(("GET", "POST", "PUT")), draw.choice(PATHS)
        body: Any = {draw.choice(NAMES): draw.choice(ODD) for _ in range(draw.randrange(5))}
        if draw.random() < 0.3:
            body = draw.randbytes(draw.randrange(200))
        bearer, headers = TOKEN, {}
        match draw.randrange(5):
            case 0:
                bearer = "".join(draw.choices("abcdefgh-_0", k=draw.randrange(40)))
            case 1:
                headers = {"Host": draw.choice(("evil.example", "[::1", "a b", "", "x" * 500, "::::"))}
            case 2:
                headers = {"Origin": draw.choice(("null", "http://evil.example", "file://", "x" * 500))}
            case 3:
                path = draw.choice(("/..", "/%00", "/a\\b", "/api/frame/7/labels", "/api//", "/?token=1")) + "/x"
            case 4:
                method, path = "POST", draw.choice(PATHS[:3])
                if isinstance(body, dict):  # else it might be right by chance
                    body["sequence"] = draw.choice((-1, "1", None, 0.5, [1]))
        reply = ask(server.port, path, method, body, headers, bearer)
        assert 400 <= reply.status < 500, (method, path, body, headers)
        assert reply.sentence.endswith("."), (method, path, body)
    assert session.revision == 0
    assert paths == {"inside": list(tmp_path.iterdir()), "beside": sorted(tmp_path.parent.iterdir())}
    assert ask(server.port, "/api/state").status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_a_server_on_all_addresses_tells_one_that_other_machines_reach(session: Any, tmp_path: Path, host: str) -> None:
    server = LabelServer(LabelApi(session, "a scene", tmp_path), TOKEN, host, port=0)
    server.serve_in_background()
    try:
        if host == "127.0.0.1":
            assert server.far_address is None
        else:
            assert server.far_address is not None
            name = server.far_address.removeprefix("http://").partition(":")[0]
            assert name not in ("", "0.0.0.0")
            assert server.far_address == f"http://{name}:{server.port}/?token={TOKEN}"
    finally:
        server.close()
