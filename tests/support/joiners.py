"""Nodes beyond those of a cluster directory, started by hand as an operator would."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from kvcluster.topology import HOST, free_ports

PATIENCE_S = 30.0


class Joiners:
    """Nodes beyond the first ones, started by hand as an operator would."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.http: dict[str, str] = {}
        self.peer: dict[str, str] = {}

    def choose(self, name: str) -> str:
        """Pick addresses for `name`; its peer address."""
        http, peer = free_ports(2)
        self.http[name], self.peer[name] = f"http://{HOST}:{http}", f"{HOST}:{peer}"
        return self.peer[name]

    def start(self, name: str, join: str = "", data_dir: Path | None = None, *more: str) -> None:
        """Run `name` with the addresses that were chosen for it; `more`: other flags."""
        command = [sys.executable, "-m", "kvcli", "serve", "--name", name, "--join", join]
        command += ["--data-dir", str(data_dir or self._directory / name), "--listen-peer", self.peer[name]]
        command += ["--listen", self.http[name].removeprefix("http://")]
        command += more
        with (self._directory / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)

    async def until_log(self, name: str, wanted: str) -> None:
        """Wait until `name` has said `wanted`."""
        deadline = time.monotonic() + PATIENCE_S
        while wanted not in (self._directory / f"{name}.log").read_text():
            assert time.monotonic() < deadline, f"{name} never said {wanted}"
            await asyncio.sleep(0.05)

    def end(self, name: str) -> int:
        """Ask `name` to end; its exit code."""
        process = self._running.pop(name)
        process.terminate()
        return process.wait(timeout=PATIENCE_S)

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for name in list(self._running):
            self.kill(name)
