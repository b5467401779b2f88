"""Processes of a measurement: started and stopped by their own pid, and what they cost, from /proc."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")

TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1
STOP_S_MAX = 10.0
READY_S_MAX = 60.0
POLL_S = 0.02


class NotAvailable(Exception):
    """A system cannot be measured here; the words say why."""


class Machine(NamedTuple):
    """CPU seconds of the whole machine since it was started: at work, and taken away by a hypervisor."""

    busy_s: float
    stolen_s: float


class Usage(NamedTuple):
    """What was used while something ran. `others_share`: of one core, by processes that had nothing to do with it."""

    seconds: float
    servers_s: float
    servers_each_s: list[float]
    generator_s: float
    others_share: float
    stolen_share: float
    busy_share: float


def cpu_s(pid: int) -> float:
    """User and system seconds of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid: int) -> float:
    """Resident memory."""
    return _status_mib(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """The most that it has been."""
    return _status_mib(pid, "VmHWM")


def _status_mib(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def machine() -> Machine:
    """The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return Machine((user + nice + system + irq + softirq) / TICKS, steal / TICKS)


class Meter:
    """What some servers, a generator (a child that has ended by then) and everybody else used from now on."""

    def __init__(self, servers: Sequence[int]) -> None:
        self._servers = list(servers)
        self._begun = time.monotonic()
        self._before = [cpu_s(pid) for pid in self._servers]
        self._machine = machine()
        self._own = _own_s()

    def read(self) -> Usage:
        """So far."""
        seconds = time.monotonic() - self._begun
        each = [cpu_s(pid) - before for pid, before in zip(self._servers, self._before, strict=True)]
        now, own = machine(), _own_s()
        busy = now.busy_s - self._machine.busy_s
        mine = own[0] - self._own[0]
        children = own[1] - self._own[1]
        return Usage(
            seconds,
            sum(each),
            each,
            children,
            max(0.0, busy - sum(each) - mine - children) / seconds,
            (now.stolen_s - self._machine.stolen_s) / seconds,
            busy / seconds / CORES,
        )


def _own_s() -> tuple[float, float]:
    times = os.times()
    return times.user + times.system, times.children_user + times.children_system


def wait_for(what: str, found: Callable[[], T | None], seconds: float = READY_S_MAX) -> T:
    """What `found` gives as soon as it gives something. Raises NotAvailable when that takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        answer = found()
        if answer is not None:
            return answer
        if time.monotonic() > deadline:
            raise NotAvailable(f"{what} took longer than {seconds:g} s")
        time.sleep(POLL_S)


class Servers:
    """Some servers of one cluster, each the same command every time that it is started. `log`: what they say."""

    def __init__(self, commands: Sequence[Sequence[str]], log: Path) -> None:
        self._commands = [list(command) for command in commands]
        self._log = log
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * len(self._commands)

    def start(self, places: Iterable[int] | None = None) -> None:
        """Start these, or all."""
        for place in range(len(self._commands)) if places is None else places:
            with self._log.open("ab") as log:
                self._processes[place] = subprocess.Popen(
                    self._commands[place], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )

    def begin(self, ready: Callable[[], object]) -> None:
        """Start all, and call `ready`, which waits until they are. If that fails, none of them goes on running."""
        try:
            self.start()
            ready()
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> list[int]:
        """Of those that run; one that has ended by itself makes an error of it."""
        running = [(place, process) for place, process in enumerate(self._processes) if process is not None]
        for place, process in running:
            if process.poll() is not None:
                raise NotAvailable(f"{self._commands[place][0]} ended with {process.returncode}: {self.said()}")
        return [process.pid for _, process in running]

    def kill(self, number: int) -> None:
        """SIGKILL, and wait for the end."""
        process = self._processes[number]
        assert process is not None
        process.kill()
        process.wait()
        self._processes[number] = None

    def stop(self) -> None:
        """Ask all to end, kill those that have not after a while."""
        running = [process for process in self._processes if process is not None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S_MAX
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = [None] * len(self._commands)

    def said(self) -> str:
        """The end of the log, on one line."""
        return " / ".join(self._log.read_text(errors="replace").strip().splitlines()[-3:])
