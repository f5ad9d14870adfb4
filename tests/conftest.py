"""Fixtures that several test modules share. Scenes are read-only: copy one before changing it."""

import gc
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

# What is imported for 300 test files stays: to look for garbage in it again and again takes seconds in each process.
gc.disable()

# Kernels may use two threads wherever tests run, for some tests compare them with one. numba reads this when imported.
_THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
os.environ["NUMBA_NUM_THREADS"] = str(max(2, int(os.environ.get("NUMBA_NUM_THREADS") or _THREADS)))

# Containers often set it. About a hundred processes of the tests would each compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import numba  # noqa: E402
import torch  # noqa: E402

pytest.register_assert_rewrite("support")

from support.lean_checks import check_lean  # noqa: E402

check_lean()

from semantic_ns.synthetic_scene import write_nerfstudio_scene, write_replica_scene  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    """Let kernels and torch use as many threads as there are for this process, and let it hear of Ctrl-C."""
    numba.set_num_threads(min(_THREADS, int(os.environ["NUMBA_NUM_THREADS"])))
    # As numba starts its threads, it sets those of torch to as many. They would spin, and take the cores from other
    # processes of the tests.
    torch.set_num_threads(_THREADS)
    # Shells have what they start in the background take no notice of it, and tests that send it would wait for ever.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Several processes of pytest-xdist would take files of many tests first, see `pytest_collection_modifyitems`.
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import nerfstudio's methods before the tests do, where all of them are run.

    It looks at all that is being imported for each of some methods, which takes seconds from within a test's imports.
    """
    if hasattr(session.config, "workerinput"):
        import_module("nerfstudio.configs.method_configs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In parallel, put files in an order that keeps all cores busy to the end and compiles kernels once.

    One process begins with trainings of all methods, which compile most kernels, the others with folders whose tests
    need few. Then come files of few tests, because these train: one at the end would leave the other cores idle.
    """
    if not hasattr(config, "workerinput"):
        return
    sizes = Counter(item.path for item in items)
    order = dict.fromkeys(("project", "doctor", "scene_batch", "jobs", "dataparsers", "annotations", "labels"), 1)
    order |= {"methods/test_methods_train.py": 0, "project/test_method_folders.py": 2, "project/test_examples.py": 2}

    def rank(item: pytest.Item) -> tuple[int, int, Path]:
        place = item.path.relative_to(Path(__file__).parent)
        known = order.get(place.as_posix(), order.get(place.parts[0], 2))
        return known, sizes[item.path], item.path

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Look for garbage from now on, in what tests make."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def replica_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Replica layout, 48x36, Sequence_1 and Sequence_2 of 12 frames each, 10 classes and some void."""
    return write_replica_scene(tmp_path_factory.mktemp("replica") / "room", sequences=2)


@pytest.fixture(scope="session")
def nerfstudio_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nerfstudio's format with labels and depth, 48x36, 12 frames of the same room as `replica_scene`."""
    return write_nerfstudio_scene(tmp_path_factory.mktemp("nerfstudio") / "room")


@pytest.fixture(scope="session")
def smaller_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `nerfstudio_scene`, 32x24: the fewest pixels that all scores of an image take."""
    return write_nerfstudio_scene(tmp_path_factory.mktemp("smaller") / "room", 12, 32, 24)


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two small scenes and one folder that is none, see `support.rooms`."""
    from support.rooms import write_rooms  # not before the hook that checks shapes

    return write_rooms(tmp_path_factory.mktemp("rooms"))


@pytest.fixture
def copy_scene(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a scene folder to where a test may change it."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / "scene"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real scenes, which are not part of the repository; skips where they are missing."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("SEMANTIC_NS_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no scenes at {folder}; set SEMANTIC_NS_DATA to a folder with rendered/ and replica/")
    return folder
