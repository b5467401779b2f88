"""Three nodes of ZooKeeper with its defaults (transaction log fsynced, in groups), each in a JVM of its own."""

import re
import socket
from pathlib import Path

from kvcluster.topology import HOST, free_ports
from tests.bench.clusters import Place, tool
from tests.bench.procs import NotAvailable, Servers, wait_for

JAR = Path("/usr/share/java/zookeeper.jar")

_LOGGING = """log4j.rootLogger=WARN, C
log4j.appender.C=org.apache.log4j.ConsoleAppender
log4j.appender.C.layout=org.apache.log4j.PatternLayout
log4j.appender.C.layout.ConversionPattern=%d %p %c - %m%n
"""


class ZooKeeperCluster(Servers):
    """See Running."""

    notes = "defaults, heap of at most 1000 MiB; an fsync on a majority before each acknowledgment"

    def __init__(self, directory: Path) -> None:
        java = tool("java")
        if java is None or not JAR.exists():
            raise NotAvailable("ZooKeeper is not installed (Debian: zookeeper)")
        ports = free_ports(9)
        self.addresses = [f"{HOST}:{port}" for port in ports[:3]]
        members = [f"server.{n + 1}={HOST}:{ports[3 + n]}:{ports[6 + n]}" for n in range(3)]
        home = directory / "zookeeper"
        commands = []
        for number in range(3):
            place = home / f"z{number}"
            (place / "data").mkdir(parents=True)
            (place / "data" / "myid").write_text(f"{number + 1}\n")
            (place / "log4j.properties").write_text(_LOGGING)
            settings = ["tickTime=2000", "initLimit=10", "syncLimit=5", f"dataDir={place / 'data'}"]
            settings += [f"clientPort={ports[number]}", f"clientPortAddress={HOST}", "maxClientCnxns=0"]
            settings += ["admin.enableServer=false", "4lw.commands.whitelist=srvr", *members]
            (place / "zoo.cfg").write_text("\n".join(settings) + "\n")
            command = [java, "-Xmx1000m", "-cp", f"{place}:{JAR}", f"-Dzookeeper.log.dir={place}"]
            commands.append([*command, "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(place / "zoo.cfg")])
        super().__init__(commands, home / "log")
        self.begin(self.leader)
        found = re.search(r"version: (\S+?)[-,]", _srvr(self.addresses[0]) or "")
        self.version = f"ZooKeeper {found[1] if found else 'of unknown version'}"

    def leader(self) -> Place:
        return wait_for("an election of ZooKeeper", self._leader)

    def restart(self, number: int) -> None:
        self.start([number])
        wait_for("ZooKeeper's start", lambda: _mode(self.addresses[number]))

    def _leader(self) -> Place | None:
        modes = [_mode(address) for address in self.addresses]
        if "leader" not in modes:
            return None
        return Place(modes.index("leader"), self.addresses[modes.index("leader")])


def _mode(address: str) -> str | None:
    found = re.search(r"^Mode: (\w+)", _srvr(address) or "", re.MULTILINE)
    return found[1] if found else None


def _srvr(address: str) -> str | None:
    host, _, port = address.partition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2) as asking:
            asking.sendall(b"srvr")
            with asking.makefile("rb") as answer:
                return answer.read().decode(errors="replace")
    except OSError:
        return None
