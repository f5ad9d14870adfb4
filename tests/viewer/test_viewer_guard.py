"""Which requests the viewer answers: the rules alone."""

import os
from http import HTTPStatus
from pathlib import Path

import pytest

from semantic_ns.viewer.guard import Authority, ViewerGuard, authority, is_loopback, machine_names, served_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to serve, beside a file that is not in it."""
    folder = tmp_path / "served"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<html>page</html>")
    (folder / "assets" / "code.js").write_text("let a = 1;" * 100)
    (folder / "assets" / "é ü.txt").write_text("umlaut")
    (folder / "a%2e.txt").write_text("literal")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "inner.txt").symlink_to(folder / "index.html")
    (folder / "up").symlink_to(tmp_path)
    (folder / "circle").symlink_to(folder / "circle")
    os.mkfifo(folder / "pipe")
    return folder


# Files


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "index.html"),
        ("/?websocket=ws://localhost:7007", "index.html"),
        ("/index.html", "index.html"),
        ("///assets//./code.js?v=1&path=/../..", "assets/code.js"),
        ("/assets/é ü.txt", "assets/é ü.txt"),
        ("/a%2e.txt", "a%2e.txt"),
        ("/inner.txt", "index.html"),
    ],
)
def test_a_file_inside_the_folder_is_found(folder: Path, path: str, name: str) -> None:
    assert served_file(path, folder) == folder / name


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/../../../../../../../../etc/hostname",
        "//etc/hostname",
        "///etc/hostname",
        "/..",
        "/..\\secret.txt",
        "\\..\\secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/link.txt",
        "/up/secret.txt",
        "/up/served/../secret.txt",
        "/circle",
        "/pipe",
        "/assets",
        "/assets/",
        "/assets/../index.html",
        "/missing/../index.html",
        "/missing.html",
        "/index.html\0",
        "/" + "a" * 300,
        "/" + "a/" * 4000,
        "/\udcff\udc80",
        "/é.html",
        "index.html",
        "http://localhost/index.html",
        "*",
        "",
    ],
)
def test_no_other_path_names_a_file(folder: Path, path: str) -> None:
    assert served_file(path, folder) is None
    refusal = ViewerGuard(folder, None).refusal(path, [("Host", "localhost")])
    assert refusal is not None
    assert refusal.status == HTTPStatus.NOT_FOUND


def test_a_folder_behind_a_link_is_served(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "installed").symlink_to(folder)
    assert served_file("/index.html", tmp_path / "installed") == folder / "index.html"
    assert served_file("/link.txt", tmp_path / "installed") is None


# Names


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("Localhost:7007", Authority("localhost", 7007)),
        ("localhost.", Authority("localhost", None)),
        ("localhost:", Authority("localhost", None)),
        ("127.0.0.1:80", Authority("127.0.0.1", 80)),
        ("[::1]:7007", Authority("::1", 7007)),
        ("[0:0::1]", Authority("::1", None)),
        ("::1", Authority("::1", None)),
        ("", None),
        (".", None),
        (":7007", None),
        ("[lab]:7007", None),
        ("[127.0.0.1]", None),
        ("a:b", None),
        ("a:1:2", None),
        ("me@localhost", None),
        ("localhost/path", None),
        ("localhost evil.example", None),
    ],
)
def test_hosts_are_parsed(text: str, parsed: Authority | None) -> None:
    assert authority(text) == parsed


def status(
    headers: list[tuple[str, str]], bound_host: str | None = "0.0.0.0", further_hosts: str = ""
) -> HTTPStatus | None:
    """How a guard without files refuses a request."""
    refusal = ViewerGuard(None, bound_host, further_hosts).refusal("/", headers)
    return None if refusal is None else refusal.status


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "LOCALHOST:7007",
        "127.0.0.1:7007",
        "192.168.1.5:7007",
        "[::1]:7007",
        "[fe80::1]",
        "quiet-owl.share.viser.studio",
        *machine_names(),
    ],
)
def test_names_that_nobody_else_can_give_away_are_answered(name: str) -> None:
    assert status([("host", name)]) is None


@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        "evil.example:7007",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        f"{machine_names()[0]}.evil.example",
        "evilshare.viser.studio",
        "share.viser.studio.evil.example",
        "0x7f.1",
        "lab.example",
    ],
)
def test_a_name_that_may_have_been_bound_to_this_machine_is_refused(name: str) -> None:
    assert status([("Host", name)]) == HTTPStatus.FORBIDDEN
    page = [("Host", name), ("Upgrade", "websocket"), ("Origin", f"http://{name}")]
    assert status(page) == HTTPStatus.FORBIDDEN


def test_the_bound_name_and_those_of_the_environment_are_answered() -> None:
    assert status([("Host", "Lab.example:7007")], bound_host="lab.example") is None
    assert status([("Host", "lab.example")], further_hosts="a.example:1, LAB.example ,,no host/") is None
    assert status([("Host", "other.example")], "lab.example", "a.example") == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example"], [""], ["a b"]])
def test_a_request_has_one_host(hosts: list[str]) -> None:
    assert status([("Host", name) for name in hosts]) == HTTPStatus.BAD_REQUEST


def test_a_refused_name_is_told_in_one_sentence_of_ascii() -> None:
    refusal = ViewerGuard(None, None).refusal("/", [("Host", "\udcffé" * 5000)])
    assert refusal is not None
    assert refusal.sentence.isascii()
    assert len(refusal.sentence) < 2000
    assert "SEMANTIC_NS_VIEWER_HOSTS=" in refusal.sentence


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("localhost:7007", "http://localhost:7007"),
        ("localhost:7007", "https://LOCALHOST:7007"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("127.0.0.1:80", "http://127.0.0.1"),
        ("127.0.0.1", "https://127.0.0.1:443"),
        ("[::1]:7007", "http://[0::1]:7007"),
        ("a.share.viser.studio", "https://a.share.viser.studio"),
    ],
)
def test_a_page_of_the_viewer_may_control_it(name: str, origin: str) -> None:
    assert status([("Host", name), ("Origin", origin), ("Upgrade", "websocket")]) is None


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "h2c, websocket", "websocket/13"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://localhost",
        "http://localhost:7008",
        "http://127.0.0.1:7007",
        "http://localhost:7007.evil.example",
        "http://localhost:7007@evil.example",
        "http://localhost:7007/",
        "https://localhost",
        "file://",
        "chrome-extension://localhost:7007",
        "null",
        "",
    ],
)
def test_a_page_of_another_origin_may_not(upgrade: str, origin: str) -> None:
    headers = [("Host", "localhost:7007"), ("ORIGIN", origin), ("upgrade", upgrade)]
    assert status(headers) == HTTPStatus.FORBIDDEN
    assert status([*headers, ("Origin", "http://localhost:7007")]) == HTTPStatus.FORBIDDEN


def test_a_program_may_control_the_viewer() -> None:
    assert status([("Host", "localhost:7007"), ("Upgrade", "websocket")]) is None


@pytest.mark.parametrize(
    ("bound_host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("lab.example", False),
        ("", False),
        (None, False),
    ],
)
def test_only_the_loopback_is_out_of_reach_of_the_network(bound_host: str | None, loopback: bool) -> None:
    assert is_loopback(bound_host) is loopback
