"""Three nodes of NATS with a JetStream key-value bucket of three replicas in files.

Versions before 2.10 have no `sync_interval: always`: they acknowledge before an fsync, which is every two minutes.
"""

import json
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from kvcluster.topology import HOST, free_ports
from tests.bench.clusters import Place, tool
from tests.bench.procs import NotAvailable, Servers, wait_for

BUCKET = "bench"


class NatsCluster(Servers):
    """See Running. Who leads is the leader of the bucket's stream, or, before there is one, of the meta group."""

    def __init__(self, directory: Path) -> None:
        program = tool("nats-server")
        if program is None:
            raise NotAvailable("NATS is not installed (Debian: nats-server)")
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        version = re.search(r"v(\d+)\.(\d+)\.\d+", said.stdout + said.stderr)
        if version is None:
            raise NotAvailable("nats-server does not tell its version")
        synced = (int(version[1]), int(version[2])) >= (2, 10)
        self.version = f"NATS {version[0][1:]}"
        self.notes = "JetStream key-value bucket, 3 replicas, file storage; " + (
            "fsync before each acknowledgment" if synced else "no fsync before an acknowledgment"
        )
        ports = free_ports(9)
        self.addresses = [f"{HOST}:{port}" for port in ports[:3]]
        self._monitors = [f"http://{HOST}:{port}" for port in ports[6:]]
        routes = ", ".join(f"nats://{HOST}:{port}" for port in ports[3:6])
        home = directory / "nats"
        home.mkdir()
        commands = []
        for number in range(3):
            config = home / f"s{number}.conf"
            store = f'store_dir: "{home / f"s{number}"}"' + ("\nsync_interval: always" if synced else "")
            config.write_text(
                f"server_name: s{number}\nlisten: {self.addresses[number]}\n"
                f"http: {self._monitors[number].removeprefix('http://')}\njetstream {{\n{store}\n}}\n"
                f"cluster {{\nname: bench\nlisten: {HOST}:{ports[3 + number]}\nroutes: [{routes}]\n}}\n"
            )
            commands.append([program, "-c", str(config)])
        super().__init__(commands, home / "log")
        self.begin(lambda: wait_for("a meeting of the three NATS servers", self._whole))

    def leader(self) -> Place:
        return wait_for("an election of NATS", self._leader)

    def restart(self, number: int) -> None:
        self.start([number])
        wait_for("NATS to be whole", self._whole)
        wait_for("the bucket to be whole", self._bucket_is_whole)

    def _whole(self) -> bool | None:
        for number in range(3):
            meta = self._jetstream(number, "jsz").get("meta_cluster", {})
            if meta.get("leader") and meta.get("cluster_size") == 3:
                return True
        return None

    def _bucket_is_whole(self) -> bool | None:
        cluster = self._stream_cluster()
        if cluster is None:
            return None
        replicas = cluster.get("replicas") or []
        return True if len(replicas) == 2 and all(each.get("current") for each in replicas) else None

    def _leader(self) -> Place | None:
        cluster = self._stream_cluster()
        name = "" if cluster is None else str(cluster.get("leader", ""))
        if cluster is None:
            name = str(self._jetstream(0, "jsz").get("meta_cluster", {}).get("leader", ""))
        if not name.startswith("s"):
            return None
        return Place(int(name[1:]), self.addresses[int(name[1:])])

    def _stream_cluster(self) -> dict[str, Any] | None:
        """What the leader of the bucket's stream says of it; any other server if it is not found."""
        for number in range(3):
            told = self._jetstream(number, "jsz?streams=1&accounts=1&config=1")
            for account in told.get("account_details") or []:
                for stream in account.get("stream_detail") or []:
                    cluster: dict[str, Any] = stream.get("cluster") or {}
                    if stream.get("name") == f"KV_{BUCKET}" and cluster.get("leader") == f"s{number}":
                        return cluster
        return None

    def _jetstream(self, number: int, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self._monitors[number]}/{path}", timeout=2) as answer:
                parsed: dict[str, Any] = json.load(answer)
                return parsed
        except OSError:
            return {}
