"""Processes with limits: how each of them ends, and that none is left behind."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from semantic_ns.jobs.parallel import in_threads, sigterm_as_exit
from semantic_ns.jobs.processes import Ending, Limits, Processes, resident_bytes, thread_counts, with_threads
from support.fresh_process import ROOT
from support.job_programs import GROW, HANG, python, wait_until_ended

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(params=["as it is", "without waitid"], autouse=True)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """This system, and one whose Python cannot look at a child without reaping it, such as 3.12 on macOS."""
    if request.param != "as it is":
        monkeypatch.delattr(os, "waitid", raising=False)


def run(tmp_path: Path, command: list[str], limits: Limits | None = None) -> Ending:
    return Processes().run(command, tmp_path / "log.txt", limits)


def test_a_process_that_ends_gives_its_status_and_its_words(tmp_path: Path) -> None:
    ending = run(tmp_path, python("import sys; print('last words'); sys.exit(3)"))
    assert (ending.status, ending.cause) == (3, "itself")
    assert ending.peak_bytes > 2**20
    assert (tmp_path / "log.txt").read_text() == "last words\n"


def test_the_log_is_appended_to(tmp_path: Path) -> None:
    for word in ("one", "two"):
        run(tmp_path, python(f"print('{word}')"))
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\n"


def test_a_process_that_kills_itself_ended_by_itself(tmp_path: Path) -> None:
    ending = run(tmp_path, python("import os; os.kill(os.getpid(), 9)"))
    assert (ending.status, ending.cause) == (-9, "itself")


def test_a_process_that_never_ends_is_asked_to_end(tmp_path: Path) -> None:
    ending = run(tmp_path, python(HANG), Limits(seconds=0.2))
    assert (ending.status, ending.cause) == (-signal.SIGTERM, "time")


def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which its children inherit
    try:
        ending = run(tmp_path, python(HANG), Limits(seconds=0.2, grace_s=0.2))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (ending.status, ending.cause) == (-signal.SIGKILL, "time")


def test_a_process_that_takes_too_much_memory_is_killed(tmp_path: Path) -> None:
    ending = run(tmp_path, python(GROW), Limits(memory_bytes=100 * 2**20))
    assert (ending.status, ending.cause) == (-signal.SIGKILL, "memory")
    assert ending.peak_bytes > 100 * 2**20


def test_memory_counts_the_children_of_a_process(tmp_path: Path) -> None:
    fork = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {GROW!r}])"
    assert run(tmp_path, python(fork), Limits(memory_bytes=100 * 2**20)).cause == "memory"
    assert resident_bytes(os.getpid()) > 2**20


def test_what_a_process_leaves_in_its_session_ends_with_it(tmp_path: Path) -> None:
    leave = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-S', '-c', {HANG!r}]).pid)"
    assert run(tmp_path, python(leave)).status == 0
    wait_until_ended(int((tmp_path / "log.txt").read_text()))


def test_stopping_ends_what_runs_and_starts_nothing_more(tmp_path: Path) -> None:
    processes, endings = Processes(), []
    os.mkfifo(tmp_path / "fifo")
    code = f"open({str(tmp_path / 'fifo')!r}, 'w').close(); {HANG}"
    thread = threading.Thread(target=lambda: endings.append(processes.run(python(code), tmp_path / "log.txt")))
    thread.start()
    (tmp_path / "fifo").open().close()  # the process runs
    processes.stop()
    thread.join()
    assert (endings[0].status, endings[0].cause) == (-signal.SIGTERM, "stopped")
    assert processes.run(python("print('never')"), tmp_path / "log.txt").cause == "stopped"
    assert (tmp_path / "log.txt").read_text() == ""


def test_a_wait_that_is_interrupted_lets_the_process_end_in_order_and_forgets_it(tmp_path: Path) -> None:
    processes, log = Processes(), tmp_path / "log.txt"
    listen = "signal.signal(signal.SIGTERM, lambda *_: (print('clean'), sys.exit()))"

    def interrupt(_: float) -> None:
        if log.read_text().endswith("\n"):
            raise KeyboardInterrupt

    program = python(f"import signal, sys; {listen}; print('ready', flush=True); {HANG}")
    with pytest.raises(KeyboardInterrupt):
        processes.run(program, log, told=interrupt)
    assert processes.running == ()
    assert log.read_text() == "ready\nclean\n"


def test_a_process_does_not_outlive_one_that_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    child = f"import os; open({str(tmp_path / 'fifo')!r}, 'w').write(str(os.getpid())); {HANG}"
    parent = (
        "import sys; from pathlib import Path; from semantic_ns.jobs.processes import Processes\n"
        f"Processes().run([sys.executable, '-S', '-c', {child!r}], Path({str(tmp_path / 'log.txt')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT)
    number = int((tmp_path / "fifo").read_text())
    process.kill()
    process.wait()
    wait_until_ended(number)


def test_results_come_from_all_threads_and_the_end_stops_what_they_wait_for() -> None:
    stopped: list[bool] = []
    assert sorted(in_threads(2, lambda number: number**2, [1, 2, 3], lambda: stopped.append(True))) == [1, 4, 9]
    assert stopped == [True]


def test_calls_that_are_stopped_early_return_before_the_end() -> None:
    stopped, last_words, returned = threading.Event(), [], []

    def call(number: int) -> int:
        if number == 1:
            stopped.wait()
            while len(last_words) < 10**6:
                last_words.append(number)
        returned.append(number)
        return number

    results = in_threads(2, call, [1, 2], stopped.set)
    assert next(results) == 2
    results.close()
    assert returned == [2, 1]


@pytest.mark.parametrize("jobs", [1, 2])
def test_calls_run_in_other_threads_than_that_of_the_caller(jobs: int) -> None:
    called_in = list(in_threads(jobs, lambda _: threading.current_thread(), [1, 2, 3], lambda: None))
    assert threading.current_thread() not in called_in


def test_an_interrupt_ends_what_the_only_call_waits_for_and_the_call_returns(tmp_path: Path) -> None:
    processes, causes = Processes(), []
    interrupt = python(f"import os, signal; os.kill(os.getppid(), signal.SIGINT); {HANG}")

    def call(number: int) -> None:
        causes.append(processes.run(interrupt, tmp_path / f"{number}.txt").cause)

    with pytest.raises(KeyboardInterrupt):
        list(in_threads(1, call, [1], processes.stop))
    assert causes == ["stopped"]
    assert processes.running == ()


def test_what_a_call_raises_reaches_the_caller_and_stops_the_others() -> None:
    stopped, returned = threading.Event(), []

    def call(number: int) -> None:
        if number == 1:
            raise ZeroDivisionError
        stopped.wait()
        returned.append(number)

    with pytest.raises(ZeroDivisionError):
        list(in_threads(2, call, [1, 2], stopped.set))
    assert returned == [2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_ask_for_the_end_end_this_process_as_ctrl_c_does(number: int) -> None:
    heard: list[int] = []
    before = signal.signal(number, lambda number, _: heard.append(number))
    try:
        with pytest.raises(SystemExit) as end, sigterm_as_exit():
            signal.raise_signal(number)
        signal.raise_signal(number)
    finally:
        signal.signal(number, before)
    assert (end.value.code, heard) == (128 + number, [number])


@pytest.mark.parametrize("further", [signal.SIGTERM, signal.SIGHUP])
def test_further_signals_do_not_interrupt_the_end(further: int) -> None:
    ended = []

    def hang_up() -> None:
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            signal.raise_signal(further)
            ended.append(True)

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, which may have started the tests, has it ignored
    try:
        with pytest.raises(SystemExit) as end, sigterm_as_exit():
            hang_up()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (end.value.code, ended) == (128 + signal.SIGHUP, [True])


def test_a_process_that_was_asked_to_end_is_not_asked_again(tmp_path: Path) -> None:
    # What it writes when it is asked for the first time is not cut off.
    processes, log = Processes(), tmp_path / "log.txt"
    count = python(
        "import signal, time\n"
        "asked = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: (asked.append(1), print('asked', flush=True)))\n"
        "print('ready', flush=True)\n"
        "while not asked: time.sleep(0.01)\n"
        "time.sleep(0.5)\n"
        "print('times', len(asked), flush=True)"
    )
    running = threading.Thread(target=lambda: processes.run(count, log))
    first = threading.Thread(target=processes.stop)
    for thread, word in ((running, "ready"), (first, "asked")):
        thread.start()
        while running.is_alive() and not (log.exists() and word in log.read_text()):
            threading.Event().wait(0.01)
    processes.stop()
    first.join()
    running.join()
    assert log.read_text().split()[-2:] == ["times", "1"]


def test_a_closed_terminal_is_of_no_matter_to_what_nohup_has_started() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with sigterm_as_exit():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_jobs_share_the_cores() -> None:
    assert set(thread_counts(10**6).values()) == {"1"}
    assert with_threads(3)["OMP_NUM_THREADS"] == "3"
