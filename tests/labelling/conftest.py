"""A labelling server and a field for the `session` of each test module, and the page in a browser."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.labelling import field as following
from semantic_ns.labelling.server import LabelServer
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from support.field_followers import Followers
from support.label_actions import FRAMES
from support.label_page import LabelPage, open_browser
from support.label_server import serving
from support.label_surfaces import make_label_surface


@pytest.fixture
def server(session: Any, tmp_path: Path) -> Iterator[LabelServer]:
    with serving(session, tmp_path / "exports") as running:
        yield running


@pytest.fixture
def port(server: LabelServer) -> int:
    return server.port


@pytest.fixture(scope="module")
def another_page() -> Iterator[Callable[[], LabelPage]]:
    with open_browser(60) as another:
        yield lambda: LabelPage(another())


@pytest.fixture(scope="module")
def one_page(another_page: Callable[[], LabelPage]) -> LabelPage:
    return another_page()


@pytest.fixture(scope="module")
def other_page(another_page: Callable[[], LabelPage], one_page: LabelPage) -> LabelPage:
    return another_page()


@pytest.fixture
def page(one_page: LabelPage, server: LabelServer) -> LabelPage:
    one_page.open(server.address)
    return one_page


@pytest.fixture(scope="module")
def surface(tmp_path_factory: pytest.TempPathFactory) -> LabelSurface:
    return make_label_surface(tmp_path_factory.mktemp("images"), FRAMES)


@pytest.fixture(scope="module")
def finer(tmp_path_factory: pytest.TempPathFactory) -> LabelSurface:
    return make_label_surface(tmp_path_factory.mktemp("images"), FRAMES, 600)


@pytest.fixture
def opened(surface: LabelSurface, tmp_path: Path) -> Iterator[Callable[..., LabelSession]]:
    sessions: list[LabelSession] = []

    def opening(name: str = "journal", **options: Any) -> LabelSession:
        sessions.append(LabelSession(surface, tmp_path / name, **options))
        return sessions[-1]

    yield opening
    for session in sessions:
        session.close()


@pytest.fixture
def follow(session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Followers]:
    monkeypatch.setattr(following, "_REST_S", 0.05)
    monkeypatch.setattr(following, "_LOOK_S", 0.02)
    followers = Followers(session, tmp_path)
    yield followers
    for one in followers.made:
        one.close()
