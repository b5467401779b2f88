"""Three nodes of etcd with its defaults: heartbeat 100 ms, election 1000 ms, WAL fsynced before each acknowledgment."""

import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from kvcluster.topology import HOST, free_ports
from tests.bench.clusters import Place, tool
from tests.bench.procs import NotAvailable, Servers, wait_for


class EtcdCluster(Servers):
    """See Running."""

    notes = "defaults; an fsync on a majority before each acknowledgment"

    def __init__(self, directory: Path) -> None:
        program = tool("etcd")
        if program is None:
            raise NotAvailable("etcd is not installed (Debian: etcd-server)")
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        self.version = "etcd " + said.splitlines()[0].rpartition(" ")[2]
        ports = free_ports(6)
        self.addresses = [f"{HOST}:{port}" for port in ports[:3]]
        peers = [f"http://{HOST}:{port}" for port in ports[3:]]
        members = ",".join(f"e{place}={peer}" for place, peer in enumerate(peers))
        home = directory / "etcd"
        home.mkdir()
        commands = []
        for place, (address, peer) in enumerate(zip(self.addresses, peers, strict=True)):
            client = f"http://{address}"
            command = [program, "--name", f"e{place}", "--data-dir", str(home / f"e{place}"), "--log-level", "error"]
            command += ["--listen-client-urls", client, "--advertise-client-urls", client]
            command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            command += ["--initial-cluster", members, "--initial-cluster-state", "new"]
            command += ["--initial-cluster-token", f"bench-{ports[0]}"]
            commands.append(command)
        super().__init__(commands, home / "log")
        self.begin(self.leader)

    def leader(self) -> Place:
        return wait_for("an election of etcd", self._leader)

    def restart(self, number: int) -> None:
        self.start([number])
        wait_for("etcd's start", lambda: self._knows_a_leader(number))

    def _leader(self) -> Place | None:
        for number, address in enumerate(self.addresses):
            status = _status(address)
            if status is not None and status.get("leader") == status["header"]["member_id"]:
                return Place(number, address)
        return None

    def _knows_a_leader(self, number: int) -> bool | None:
        status = _status(self.addresses[number])
        return True if status is not None and status.get("leader", "0") != "0" else None


def _status(address: str) -> dict[str, Any] | None:
    try:
        return post(address, "/v3/maintenance/status", {})
    except OSError:
        return None


def post(address: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request of etcd's HTTP gateway. Raises OSError."""
    request = urllib.request.Request(
        f"http://{address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        parsed: dict[str, Any] = json.load(answer)
        return parsed
