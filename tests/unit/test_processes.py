"""Processes are known by pid, start and boot, so that a signal never reaches a stranger."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kvcluster import processes
from kvcluster.processes import Process


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as started:
        yield started
        started.kill()


def identified(child: subprocess.Popen[bytes]) -> Process:
    process = processes.identify(child.pid)
    assert process is not None
    return process


def test_a_process_runs_is_paused_and_runs_again(child: subprocess.Popen[bytes]) -> None:
    process = identified(child)
    assert processes.state(process) == "running"
    assert processes.send(process, signal.SIGSTOP)
    os.waitpid(child.pid, os.WUNTRACED)
    assert processes.state(process) == "paused"
    assert processes.send(process, signal.SIGCONT)
    os.waitpid(child.pid, os.WCONTINUED)
    assert processes.state(process) == "running"


def test_a_killed_process_is_dead_before_anybody_has_waited_for_it(child: subprocess.Popen[bytes]) -> None:
    process = identified(child)
    assert processes.send(process, signal.SIGKILL)
    assert processes.wait_dead(process, 5)
    assert processes.state(process) == "dead"
    assert not processes.send(process, signal.SIGKILL)


def test_waiting_for_a_process_that_lives_gives_up(child: subprocess.Popen[bytes]) -> None:
    assert not processes.wait_dead(identified(child), 0)


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}])
def test_a_reused_pid_is_never_signalled(child: subprocess.Popen[bytes], change: dict[str, int | str]) -> None:
    process = identified(child)
    stranger = Process(**(process._asdict() | change))
    assert processes.state(stranger) == "dead"
    assert not processes.send(stranger, signal.SIGKILL)
    assert processes.wait_dead(stranger, 5)
    assert processes.state(process) == "running"


def test_a_pid_that_nobody_has_is_dead(child: subprocess.Popen[bytes]) -> None:
    process = identified(child)
    child.kill()
    child.wait()
    assert processes.identify(child.pid) is None
    assert processes.state(process) == "dead"
    assert not processes.send(process, signal.SIGKILL)
