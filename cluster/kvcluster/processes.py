"""One process of the operating system, known by more than its number.

A pid alone is a name that the kernel gives away again. Recorded with the boot and the moment the process started (field
22 of /proc/PID/stat), it names one process for ever, so a pid that was reused is never signalled. Signals go through a
pidfd opened before the check, so that nothing can slip in between. Linux only.
"""

import os
import select
import signal
from pathlib import Path
from typing import Final, Literal, NamedTuple

State = Literal["running", "paused", "dead"]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Process(NamedTuple):
    """A process: its `pid`, when it `started` (clock ticks since boot), and in which `boot`."""

    pid: int
    started: int
    boot: str


def identify(pid: int) -> Process | None:
    """The process that has `pid` now, or None."""
    stat = _stat(pid)
    return None if stat is None else Process(pid, stat[1], _boot())


def state(process: Process) -> State:
    """What `process` is doing. A zombie is dead: nothing of it runs any more."""
    stat = _stat(process.pid)
    if stat is None or stat[1] != process.started or process.boot != _boot() or stat[0] in "ZXx":
        return "dead"
    return "paused" if stat[0] in "Tt" else "running"


def send(process: Process, signum: signal.Signals) -> bool:
    """Send `signum`. False if the process is gone; another one that got its pid is left alone."""
    fd = _open(process)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def wait_dead(process: Process, timeout_s: float) -> bool:
    """Wait until `process` has ended. False if it has not within `timeout_s`."""
    fd = _open(process)
    if fd is None:
        return True
    try:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return bool(poller.poll(max(0, round(timeout_s * 1000))))
    finally:
        os.close(fd)


def _open(process: Process) -> int | None:
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if state(process) == "dead":
        os.close(fd)
        return None
    return fd


def _stat(pid: int) -> tuple[str, int] | None:
    """The state letter and start time of `pid`. The name before them may hold anything, also parentheses."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19])


def _boot() -> str:
    return _BOOT_ID.read_text().strip()
