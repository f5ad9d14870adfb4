"""Kernels are compiled before the first mark, and what opens a run is imported before it is trained."""

from support.fresh_process import TESTS, run_python, run_with_libraries

CODE = f"""
import sys, tempfile
from pathlib import Path
sys.path.insert(0, {str(TESTS)!r})
from numba.core.dispatcher import Dispatcher
from semantic_ns.labelling import shapes_numba, solver_numba, view_numba
from semantic_ns.labelling.compiling import compile_kernels
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.session import LabelSession
from support.label_surfaces import make_label_surface

def compiled():
    modules = shapes_numba, solver_numba, view_numba
    kernels = [one for module in modules for one in vars(module).values() if isinstance(one, Dispatcher)]
    return {{kernel.py_func.__qualname__: kernel.signatures for kernel in kernels}}

compile_kernels()
before = compiled()
assert sum(map(bool, before.values())) > 3, before
with tempfile.TemporaryDirectory() as folder:
    session = LabelSession(make_label_surface(Path(folder)), Path(folder) / "journal")
    stroke = {{"kind": "stroke", "points": [[3.0, 3.0], [9.0, 9.0]], "radius": 2.0}}
    for number, mark in enumerate([Mark(0, 3, stroke), Mark(1, 7, stroke), Mark(1, None, stroke, "void")]):
        session.add_mark(mark, "one", number)
        assert session.labels(0).max() >= 3
    session.view(*session.pose(0), 24, 32)
    session.undo("one", 9)
    session.progress()
    session.close()
assert compiled() == before, compiled()
"""


def test_marks_and_views_compile_nothing_that_was_not_compiled_before() -> None:
    done = run_python(CODE)
    assert done.returncode == 0, done.stderr


IMPORT_CODE = """
import sys
from semantic_ns.labelling.preloading import MODULES, import_in_background
assert not set(MODULES) & sys.modules.keys()
import_in_background().join()
assert set(MODULES) <= sys.modules.keys()
"""


def test_what_opens_a_run_is_imported_in_the_background() -> None:
    ended = run_with_libraries(IMPORT_CODE)
    assert ended.returncode == 0, ended.stderr
