"""Servers of a comparison as real processes: started, measured, killed, stopped."""

from pathlib import Path

import pytest

from tests.bench.procs import Meter, NotAvailable, Servers, wait_for


def test_servers_are_started_measured_killed_and_stopped(tmp_path: Path) -> None:
    servers = Servers([["sh", "-c", "while :; do :; done"], ["sleep", "60"]], tmp_path / "log")
    servers.start()
    try:
        meter = Meter(servers.pids)
        wait_for("some work", lambda: True if meter.read().servers_s >= 0.1 else None, 30)
        usage = meter.read()
        assert usage.servers_each_s[0] > 0
        assert usage.servers_each_s[1] < 0.1
        servers.kill(0)
        assert len(servers.pids) == 1
        servers.start([0])
        assert len(servers.pids) == 2
    finally:
        pids = servers.pids
        servers.stop()
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_a_server_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    servers = Servers([["sh", "-c", "echo the disk is full >&2; exit 3"]], tmp_path / "log")
    servers.start()
    with pytest.raises(NotAvailable, match="ended with 3: the disk is full"):
        wait_for("its end", lambda: None if servers.pids else False, 30)


def test_waiting_ends() -> None:
    with pytest.raises(NotAvailable, match="an election took longer"):
        wait_for("an election", lambda: None, 0.05)
