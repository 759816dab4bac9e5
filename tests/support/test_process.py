"""How long a wait in a test lasts, and how it ends."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.process import PORT_RANGES, ROOT, Patience, completed, free_port, until

BUSY, IDLE = "while True: pass", "import time; time.sleep(600)"
ASK_FOR_A_PORT = """
import sys
from tests.support.process import free_port
print(free_port(), flush=True)
sys.stdin.read()
"""


@contextmanager
def running(program: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python process, ended with the context."""
    with subprocess.Popen([sys.executable, "-S", "-c", program]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_wait_outlasts_its_limit_while_a_process_is_busy() -> None:
    """For three times its limit; it ends once the process has ended."""
    patience = Patience(0.5)
    with running(BUSY) as process:
        for _ in range(3):
            subprocess.run(["sleep", "0.6"], check=True)
            assert not patience.is_over()
        process.kill()
        process.wait()
        with pytest.raises(AssertionError, match="nothing more"):
            until(lambda: False, lambda: "nothing more", patience=patience)


def test_a_wait_beside_idle_processes_ends() -> None:
    with running(IDLE), pytest.raises(AssertionError, match="never came true"):
        until(lambda: False, patience=Patience(0.5))


def test_a_wait_has_a_maximum_length() -> None:
    """It ends beside a busy process."""
    with running(BUSY), pytest.raises(AssertionError, match="never came true"):
        until(lambda: False, patience=Patience(0.5, 1.2))


def test_a_wait_for_an_ended_process_says_how_it_ended() -> None:
    with running("raise SystemExit(7)") as process, pytest.raises(AssertionError, match="ended with 7"):
        until(lambda: False, lambda: "no answer", process)


def test_a_programs_output_and_exit_code_are_returned() -> None:
    done = completed([sys.executable, "-S", "-c", "import sys; print(1); sys.exit('two')"])
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "two\n", 1)


def test_a_program_that_does_nothing_is_ended() -> None:
    """It is killed when patience ends."""
    with pytest.raises(subprocess.TimeoutExpired):
        completed([sys.executable, "-S", "-c", IDLE], patience=Patience(0.5))


@contextmanager
def another_run() -> Iterator[int]:
    """A port that another process that runs tests was given but does not listen on yet."""
    command, pipe = [sys.executable, "-c", ASK_FOR_A_PORT], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


def test_two_runs_of_the_tests_are_never_given_the_same_port() -> None:
    """Neither this process nor a third one gets a port of the range that another process has."""
    with another_run() as first, another_run() as second:
        ours = free_port()
        assert len({ports for ports in PORT_RANGES for port in (first, second, ours) if port in ports}) == 3
