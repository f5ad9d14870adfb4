"""Processes that tests fork from others are as fresh as they are said to be, and end as others do."""

import signal

import pytest

from support.fresh_process import last_line, run_warm, run_with_libraries

OURS_AND_HOST = "sorted({name.partition('.')[0] for name in sys.modules} & {'nerfstudio', 'semantic_ns'})"


def test_a_process_with_libraries_has_imported_neither_nerfstudio_nor_this_package() -> None:
    code = f"import sys; print('torch' in sys.modules, {OURS_AND_HOST})"
    assert last_line(code, run_with_libraries) == "True []"
    assert last_line(code, run_warm) == "True ['nerfstudio', 'semantic_ns']"
    assert last_line(code, run_with_libraries) == "True []"


@pytest.mark.parametrize("run", [run_with_libraries, run_warm])
def test_a_forked_process_has_one_thread_and_nothing_of_the_one_before(run) -> None:
    code = "import os, sys; print(len(os.listdir('/proc/self/task')), 'mark' in os.environ, hasattr(sys, 'mark'))"
    assert last_line(f"{code}; os.environ['mark'] = sys.mark = 'set'", run) == "1 False False"
    assert last_line(code, run) == "1 False False"
    assert run("import os; print(os.environ['mark'])", mark="given").stdout == "given\n"


@pytest.mark.parametrize("run", [run_with_libraries, run_warm])
def test_a_forked_process_ends_as_any_other(run) -> None:
    ended = run("import sys; print('said'); sys.exit('Error: a sentence')")
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "said\n", "Error: a sentence\n")
    assert run("raise SystemExit(3)").returncode == 3
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").returncode == -signal.SIGKILL
    failed = run("raise ValueError('mine')")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == "ValueError: mine"
