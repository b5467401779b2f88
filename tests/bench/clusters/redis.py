"""One Redis server that fsyncs before each answer: no replica, so no consensus; what one process can do at most."""

import re
import socket
import subprocess
from pathlib import Path

from kvcluster.topology import HOST, free_ports
from tests.bench.clusters import Place, tool
from tests.bench.procs import NotAvailable, Servers, wait_for


class RedisServer(Servers):
    """See Running; there is nobody to take over."""

    notes = "one server, no replica; appendfsync always"

    def __init__(self, directory: Path) -> None:
        program = tool("redis-server")
        if program is None:
            raise NotAvailable("Redis is not installed (Debian: redis-server)")
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"v=(\S+)", said)
        self.version = f"Redis {found[1] if found else 'of unknown version'}"
        port = free_ports(1)[0]
        self.addresses = [f"{HOST}:{port}"]
        home = directory / "redis"
        home.mkdir()
        command = [program, "--bind", HOST, "--port", str(port), "--dir", str(home), "--save", ""]
        super().__init__([[*command, "--appendonly", "yes", "--appendfsync", "always"]], home / "log")
        self.begin(lambda: wait_for("Redis's start", self._answers))

    def leader(self) -> Place:
        return Place(0, self.addresses[0])

    def restart(self, number: int) -> None:
        self.start([number])
        wait_for("Redis's start", self._answers)

    def _answers(self) -> bool | None:
        try:
            return True if ask(self.addresses[0], [[b"PING"]]) == [b"+PONG"] else None
        except OSError:
            return None


def ask(address: str, commands: list[list[bytes]]) -> list[bytes]:
    """The first line of the answer to each of `commands`, all sent at once; only for answers of one line."""
    host, _, port = address.partition(":")
    sent = b"".join(
        b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words) for words in commands
    )
    with socket.create_connection((host, int(port)), timeout=10) as asking, asking.makefile("rb") as answers:
        asking.sendall(sent)
        return [answers.readline().rstrip(b"\r\n") for _ in commands]
