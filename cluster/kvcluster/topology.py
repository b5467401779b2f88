"""What a cluster directory holds: the names, ports and files of its nodes.

    DIR/cluster.json    the nodes and their ports, written once, atomically
    DIR/n1/data         data directory of node n1
    DIR/n1/log          what n1 said on stderr
    DIR/n1/pid          the process that runs n1, or ran it until its end; none if n1 was asked to end, or never started
    DIR/tls/            CA and certificates, in a cluster that speaks TLS
    DIR/proxies/        log, pid and control socket of the link proxies, in a cluster that has them

Paths inside are relative, so that a stopped cluster can be moved.
"""

import fcntl
import itertools
import json
import os
import random
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kvcluster.claims import claim, claimed
from kvstore import limits
from kvstore.errors import LocalError

FILE_NAME: Final = "cluster.json"
PROXIES: Final = "proxies"
HOST: Final = "127.0.0.1"

_VERSION: Final = 1
CLIENT: Final = "admin"
_TLS_NAME: Final = "tls"
_CONTROL_NAME: Final = "control"
_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_DEFAULT: Final = (32_768, 60_999)
_PORT_MIN: Final = 20_000
_PORT_MAX: Final = 65_535


class BadClusterDirectory(LocalError):
    """The directory holds no cluster, another one than asked for, or a file that cannot be read."""

    exit_code = 2


class UnknownNode(LocalError):
    """The cluster has no node of that name."""

    exit_code = 2


@dataclass(frozen=True)
class Certificates:
    """Where the certificates of a cluster are: those of `kv cert`, a client called `admin` among them."""

    directory: Path

    @property
    def ca(self) -> Path:
        """What nodes and clients trust."""
        return self.directory / "ca.pem"

    @property
    def client(self) -> tuple[Path, Path]:
        """Certificate and key that clients may show."""
        return self.directory / f"client-{CLIENT}.pem", self.directory / f"client-{CLIENT}-key.pem"

    def node(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of the node called `name`."""
        return self.directory / f"node-{name}.pem", self.directory / f"node-{name}-key.pem"


@dataclass(frozen=True)
class NodeSpec:
    """A node: its name and its ports on the loopback interface, that of its Redis door if it has one."""

    name: str
    http_port: int
    peer_port: int
    redis_port: int | None = None
    tls: "Certificates | None" = None

    @property
    def listen(self) -> str:
        """HOST:PORT of its HTTP door."""
        return f"{HOST}:{self.http_port}"

    @property
    def http(self) -> str:
        """URL of its HTTP door."""
        return f"http{'' if self.tls is None else 's'}://{self.listen}"

    @property
    def peer(self) -> str:
        """HOST:PORT of its door for peers."""
        return f"{HOST}:{self.peer_port}"

    @property
    def redis(self) -> str | None:
        """HOST:PORT of its Redis door."""
        return None if self.redis_port is None else f"{HOST}:{self.redis_port}"


@dataclass(frozen=True)
class LinkSpec:
    """The way of what `source` sends to `target`: a proxy listens on `port` and passes it on."""

    source: str
    target: str
    port: int


@dataclass(frozen=True)
class Topology:
    """The nodes of one cluster and where their files lie. `token` keeps strangers on reused ports apart.

    `links` has one for each directed pair of nodes, or none: then the nodes dial each other directly.
    """

    directory: Path
    token: str
    nodes: tuple[NodeSpec, ...]
    links: tuple[LinkSpec, ...] = ()

    @classmethod
    def create(
        cls, directory: Path, count: int, *, proxy: bool = False, redis: bool = False, tls: bool = False
    ) -> "Topology":
        """Names and free ports for `count` new nodes (1..15) in `directory`; nothing is written yet. `redis`: each has
        a Redis door. `tls`: all doors speak TLS.
        """
        if not 1 <= count <= limits.MEMBERS_MAX:
            raise ValueError(f"a cluster has 1 to {limits.MEMBERS_MAX} nodes, not {count}")
        names = [f"n{i + 1}" for i in range(count)]
        pairs = list(itertools.permutations(names, 2)) if proxy else []
        ports = iter(free_ports((3 if redis else 2) * count + len(pairs)))
        spoken = Certificates(directory.absolute() / _TLS_NAME) if tls else None
        nodes = tuple(
            NodeSpec(name, next(ports), next(ports), next(ports) if redis else None, spoken) for name in names
        )
        links = tuple(LinkSpec(source, target, next(ports)) for source, target in pairs)
        return cls(directory.absolute(), secrets.token_hex(8), nodes, links)

    @classmethod
    def load(cls, directory: Path) -> "Topology":
        """The cluster in `directory`. Raises BadClusterDirectory."""
        path = directory / FILE_NAME
        try:
            document = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise BadClusterDirectory(f"{directory} holds no cluster (no {FILE_NAME} in it)") from None
        except (OSError, ValueError) as broken:
            raise BadClusterDirectory(f"{path} cannot be read: {broken}") from broken
        return cls(directory.absolute(), *_parse(document, path, directory.absolute() / _TLS_NAME))

    def save(self) -> None:
        """Write cluster.json so that it is either absent, or there and whole."""
        nodes = [
            {"name": n.name, "http_port": n.http_port, "peer_port": n.peer_port}
            | ({} if n.redis_port is None else {"redis_port": n.redis_port})
            for n in self.nodes
        ]
        links = [{"from": link.source, "to": link.target, "port": link.port} for link in self.links]
        document: dict[str, Any] = {"version": _VERSION, "token": self.token, "nodes": nodes, "links": links}
        if self.tls is not None:
            document["tls"] = True
        write_atomically(self.directory / FILE_NAME, json.dumps(document, indent=2) + "\n")
        claim((port for name in self.processes for port in self.ports(name)), self.directory / FILE_NAME)

    @property
    def tls(self) -> Certificates | None:
        """The certificates, if all doors speak TLS."""
        return self.nodes[0].tls

    def node(self, name: str) -> NodeSpec:
        """The node called `name`. Raises UnknownNode."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise UnknownNode(f"no node {name!r} in {self.directory}; there are {', '.join(self.names)}")

    @property
    def names(self) -> list[str]:
        """Names of all nodes, in order."""
        return [node.name for node in self.nodes]

    @property
    def processes(self) -> list[str]:
        """Names of all processes: the nodes, and PROXIES if there are links."""
        return [*self.names, PROXIES] if self.links else self.names

    def ports(self, name: str) -> list[int]:
        """Where the process called `name` listens."""
        if name == PROXIES:
            return [link.port for link in self.links]
        node = self.node(name)
        return [node.http_port, node.peer_port, *([] if node.redis_port is None else [node.redis_port])]

    def dialed(self, source: str, target: str) -> str:
        """HOST:PORT at which `source` reaches the peer port of `target`."""
        for link in self.links:
            if (link.source, link.target) == (source, target):
                return f"{HOST}:{link.port}"
        return self.node(target).peer

    def addresses(self, name: str) -> list[str]:
        """Where other nodes reach it: what any member may know it by."""
        return [self.node(name).peer, *(f"{HOST}:{link.port}" for link in self.links if link.target == name)]

    @property
    def endpoints(self) -> list[str]:
        """HTTP URLs of all nodes, in order."""
        return [node.http for node in self.nodes]

    def home(self, name: str) -> Path:
        """The directory of everything that belongs to one process."""
        return self.directory / name

    def data_dir(self, name: str) -> Path:
        """What the node is given as its data directory."""
        return self.home(name) / "data"

    def log_path(self, name: str) -> Path:
        """Where the process's stderr goes."""
        return self.home(name) / "log"

    def pid_path(self, name: str) -> Path:
        """Where the process is recorded, unless it is to be stopped and is."""
        return self.home(name) / "pid"


def free_ports(count: int) -> list[int]:
    """`count` TCP ports that nothing uses now, nor any cluster's node will, all held until the last one is chosen.

    They lie outside the range from which the kernel takes the source ports of outgoing connections, if there is room:
    inside it, a peer that keeps dialling a dead node's port would sooner or later be given that very port as its own
    source, connect to itself, and keep the node from coming back.
    """
    with ExitStack() as held:
        ports: list[int] = []
        for candidate in _candidates():
            if claimed(candidate):
                continue
            holder = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            try:
                holder.bind((HOST, candidate))
            except OSError:
                continue
            ports.append(int(holder.getsockname()[1]))
            if len(ports) == count:
                return ports
        while len(ports) < count:
            holder = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            holder.bind((HOST, 0))
            ports.append(int(holder.getsockname()[1]))
        return ports


def port_is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory against other programs that create, start or remove nodes in it. Not to be nested."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def socket_path(home: Path) -> Iterator[str]:
    """The path of the control socket in `home`, to be bound or connected to inside the `with`.

    By way of an open directory, because the kernel takes no path of more than 107 bytes for a socket. Linux only.
    """
    fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{_CONTROL_NAME}"
    finally:
        os.close(fd)


def write_atomically(path: Path, text: str) -> None:
    """Replace the file by `text`, durably: a reader sees the old one or the new one, also after a power loss."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _candidates() -> list[int]:
    """A few random ports outside the ephemeral range. A generator of its own: seeded tests must not share ports."""
    try:
        low, high = (int(word) for word in _EPHEMERAL.read_text().split())
    except (OSError, ValueError):
        low, high = _EPHEMERAL_DEFAULT
    pool = [port for port in range(_PORT_MIN, _PORT_MAX + 1) if not low <= port <= high]
    return random.SystemRandom().sample(pool, min(len(pool), 4 * limits.MEMBERS_MAX**2))


def _node(told: Any, tls: Certificates | None) -> NodeSpec:
    redis = told.get("redis_port")
    return NodeSpec(
        str(told["name"]), int(told["http_port"]), int(told["peer_port"]), None if redis is None else int(redis), tls
    )


def _parse(document: Any, path: Path, tls_dir: Path) -> tuple[str, tuple[NodeSpec, ...], tuple[LinkSpec, ...]]:
    try:
        if document["version"] != _VERSION:
            raise ValueError(f"version {document['version']!r} is not known to this build")
        tls = Certificates(tls_dir) if document.get("tls") else None
        nodes = tuple(_node(n, tls) for n in document["nodes"])
        if not nodes:
            raise ValueError("it names no node")
        links = tuple(LinkSpec(str(n["from"]), str(n["to"]), int(n["port"])) for n in document.get("links", []))
        names = [node.name for node in nodes]
        if links and sorted((link.source, link.target) for link in links) != sorted(itertools.permutations(names, 2)):
            raise ValueError("its links are not those of its nodes")
        return str(document["token"]), nodes, links
    except (AttributeError, KeyError, TypeError, ValueError) as broken:
        raise BadClusterDirectory(f"{path} is not a cluster file of this build: {broken}") from broken
