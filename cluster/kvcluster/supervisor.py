"""The nodes of one cluster directory as real processes: started, killed, paused, resumed, restarted, stopped.

The link proxies, if the cluster has them, are one more process, called PROXIES; it is started with the first node.

A node is `kv serve` in a session of its own, so that it outlives whoever started it and no Ctrl-C meant for that one
reaches it. Every call reads the recorded processes anew: several programs may look after one directory, one after the
other or at the same time. What starts or removes processes holds a lock on the directory meanwhile.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal

from kvcluster import faults, probe, processes
from kvcluster.processes import Process, State
from kvcluster.topology import PROXIES, Topology, locked, port_is_free, write_atomically
from kvstore.client import Tls
from kvstore.config import SETTINGS
from kvstore.errors import LocalError

PROGRAM: Final = "kvcli"
NO_ENV: Final[Mapping[str, str]] = {}
START_S_DEFAULT: Final = 30.0
STOP_S_MAX: Final = 10.0

_POLL_S: Final = 0.02
_PORT_S_MAX: Final = 2.0
_LOG_TAIL_BYTES: Final = 2_000
_EXIT_CORRUPT: Final = 7
_PACKAGES: Final = ("kvstore", "kvcli", "kvcluster")

Progress = Callable[[str], None]
Condition = State | Literal["stopped"]


class NotReady(LocalError):
    """Nodes run but did not become ready in time: no leader, no majority, or a node that hangs or has ended."""

    exit_code = 4


class NodeEnded(NotReady):
    """A node ended instead of becoming ready. `name` says which."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class NodeCorrupt(NodeEnded):
    """A node refused to start because it cannot trust a file of its own."""

    exit_code = 7


class PortTaken(NodeEnded):
    """Another program listens where a node should."""


class Cluster:
    """The processes of one cluster directory. Calls block: use a thread from asyncio. `progress` gets lines for people.

    Safe to use from several threads, one node each.
    """

    def __init__(
        self,
        topology: Topology,
        progress: Progress = lambda line: None,
        env: Mapping[str, str] = NO_ENV,
        program: str = PROGRAM,
    ) -> None:
        """`env`: settings of the nodes that are started from here, as `KV_*` variables. `program`: the module that is
        run as `kv`; another one may stand in front of it, to break something.
        """
        self.topology = topology
        self._env = dict(env)
        self._program = program
        self._progress = progress
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def open(
        cls,
        directory: Path,
        progress: Progress = lambda line: None,
        env: Mapping[str, str] = NO_ENV,
        program: str = PROGRAM,
    ) -> "Cluster":
        """The cluster in `directory`, running or not. Raises BadClusterDirectory."""
        return cls(Topology.load(directory), progress, env, program)

    # What is there.

    @property
    def endpoints(self) -> list[str]:
        """What clients are given: the URL of every node."""
        return list(self.topology.endpoints)

    @property
    def tls(self) -> Tls | None:
        """What clients are given beside them, if the cluster speaks TLS."""
        there = self.topology.tls
        return None if there is None else Tls(str(there.ca), *map(str, there.client))

    def process(self, name: str) -> Process | None:
        """The process recorded for `name`, alive or not."""
        if name != PROXIES:
            self.topology.node(name)
        try:
            return Process(*json.loads(self.topology.pid_path(name).read_text()))
        except FileNotFoundError:
            return None

    def state(self, name: str) -> State:
        """running, paused or dead."""
        process = self.process(name)
        if name in self._children:
            self._children[name].poll()
        return "dead" if process is None else processes.state(process)

    def condition(self, name: str) -> Condition:
        """As `state`; but stopped, not dead, if that is what was wanted: it was asked to end and has, or never ran."""
        return "stopped" if self.process(name) is None else self.state(name)

    def describe(self) -> dict[str, Any]:
        """Directory, endpoints and nodes with their pids (null when dead), as `kv cluster up` prints them."""
        return self._describe(self.views())

    def status(self) -> dict[str, Any]:
        """`describe`, and for every node its condition as `state` and the role it says it has (null unless it answers).

        With link proxies also `links`: those with a fault on them, null if the proxies do not answer.
        """
        views = self.views()
        answer = self._describe(views)
        for node in answer["nodes"]:
            member = probe.own_member(views.get(node["name"]))
            node["state"] = self.condition(node["name"])
            node["role"] = None if member is None else member["role"]
        if self.topology.links:
            try:
                answer["links"] = faults.faulty_links(self.topology)
            except faults.NoProxies:
                answer["links"] = None
        return answer

    def leader(self) -> str | None:
        """The node that leads, as the running node with the highest term says."""
        views = [view for view in self.views().values() if view is not None and view["leader"] is not None]
        return max(views, key=lambda view: int(view["term"]))["leader"] if views else None

    def log_tail(self, name: str) -> str:
        """The end of what the node said on stderr."""
        try:
            with self.topology.log_path(name).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                return log.read().decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    # What changes it.

    def up(self, timeout_s: float = START_S_DEFAULT) -> None:
        """Start or resume every node that is not running and wait until all are ready. Raises NotReady, NodeEnded."""
        with locked(self.topology.directory):
            there = [name for name in self.topology.names if self.state(name) == "running"]
            if there == self.topology.names:
                self._progress(f"the cluster in {self.topology.directory} is running already")
            elif there:
                self._progress(f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} running already")
            for name in self.topology.names:
                self.resume(name)
                self._start(name)
        self.wait_ready(self.topology.names, timeout_s)

    def start(self, name: str) -> None:
        """Start one node unless it runs, without waiting for it. Raises PortTaken."""
        with locked(self.topology.directory):
            self._start(name)

    def kill(self, name: str) -> bool:
        """SIGKILL, and wait for the end. False if it was dead already."""
        process = self.process(name)
        if process is None or not processes.send(process, signal.SIGKILL):
            return False
        if not processes.wait_dead(process, STOP_S_MAX):
            raise NotReady(f"{name} (pid {process.pid}) does not die: it hangs in the kernel")
        self.state(name)
        return True

    def pause(self, name: str) -> bool:
        """SIGSTOP, and wait until it is stopped. False if it was dead."""
        return self._signal_until(name, signal.SIGSTOP, "paused")

    def resume(self, name: str) -> bool:
        """SIGCONT. False if it was not paused."""
        return self.state(name) == "paused" and self._signal_until(name, signal.SIGCONT, "running")

    def restart(self, name: str, timeout_s: float = START_S_DEFAULT) -> None:
        """Stop the node if it runs, start it, wait until it is ready. Raises NotReady, NodeEnded."""
        with locked(self.topology.directory):
            self._stop([name])
            self._start(name)
        self.wait_ready([name], timeout_s)

    def stop(self, name: str) -> None:
        """Ask one node to end, kill it if it has not after a while, and wait for its end."""
        with locked(self.topology.directory):
            self._stop([name])

    def down(self) -> bool:
        """Ask every node to end, kill those that have not after a while, and wait for the end of all. False if no node
        was running.
        """
        with locked(self.topology.directory):
            return bool(set(self._stop(self.topology.processes)) & set(self.topology.names))

    def wait_ready(self, names: Iterable[str], timeout_s: float) -> None:
        """Wait until each of `names` is ready. Raises NodeEnded at once when one has died, NotReady at the deadline."""
        deadline = time.monotonic() + timeout_s
        names = list(names)
        waiting = list(names)
        reasons: dict[str, str] = {}
        while True:
            if self.topology.links and self.state(PROXIES) == "dead":
                raise self._ended(PROXIES)
            for name in names:
                if self.state(name) == "dead":
                    raise self._ended(name)
            for name in list(waiting):
                reason = probe.not_ready(self.topology.node(name), self.topology.addresses(name))
                if reason is None:
                    waiting.remove(name)
                    self._progress(f"{name} is ready at {self.topology.node(name).http}")
                else:
                    reasons[name] = reason
            if not waiting:
                return
            if time.monotonic() >= deadline:
                told = "; ".join(f"{name} {reasons[name]}" for name in waiting)
                raise NotReady(f"not ready after {timeout_s:g} s: {told}. Logs: {self.topology.directory}/nX/log")
            time.sleep(_POLL_S)

    def _describe(self, views: dict[str, dict[str, Any] | None]) -> dict[str, Any]:
        nodes = []
        for node in self.topology.nodes:
            process = self.process(node.name)
            alive = process is not None and processes.state(process) != "dead"
            nodes.append(
                {
                    "name": node.name,
                    "http": node.http,
                    "peer": node.peer,
                    **({} if node.redis is None else {"redis": node.redis}),
                    "pid": process.pid if process is not None and alive else None,
                    "data_dir": str(self.topology.data_dir(node.name)),
                }
            )
        cluster_id = next((view["cluster_id"] for view in views.values() if view is not None), None)
        directory = str(self.topology.directory)
        told: dict[str, Any] = {
            "dir": directory,
            "cluster_id": cluster_id,
            "endpoints": self.topology.endpoints,
            "nodes": nodes,
        }
        if (tls := self.topology.tls) is not None:
            told["tls"] = {"cacert": str(tls.ca), "cert": str(tls.client[0]), "key": str(tls.client[1])}
        return told

    def views(self) -> dict[str, dict[str, Any] | None]:
        """What each running node says about the cluster, None where it does not answer."""
        running = [node for node in self.topology.nodes if self.state(node.name) == "running"]
        if not running:
            return {}
        with ThreadPoolExecutor(len(running)) as pool:
            return dict(zip((node.name for node in running), pool.map(probe.cluster_view, running), strict=True))

    def _start(self, name: str) -> None:
        if name != PROXIES and self.topology.links:
            self._start(PROXIES)
        if self.state(name) != "dead":
            return
        self._wait_for_ports(name)
        self.topology.home(name).mkdir(parents=True, exist_ok=True)
        with self.topology.log_path(name).open("ab") as log:
            child = subprocess.Popen(
                self._command(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.topology.home(name),
                env=_environment(self._program) | self._env,
                start_new_session=True,
            )
        self._children[name] = child
        process = processes.identify(child.pid)
        assert process is not None, "a child that was not waited for keeps its pid"
        write_atomically(self.topology.pid_path(name), json.dumps(process))
        self._progress(f"started {name}, pid {child.pid}")

    def _wait_for_ports(self, name: str) -> None:
        """The kernel closes the sockets of a killed process a little after its end (with io_uring, 10 to 30 ms)."""
        deadline = time.monotonic() + _PORT_S_MAX
        for port in self.topology.ports(name):
            while not port_is_free(port):
                if time.monotonic() >= deadline:
                    raise PortTaken(name, f"port {port} of {name} is in use by another program")
                time.sleep(_POLL_S)

    def _command(self, name: str) -> list[str]:
        if name == PROXIES:
            return [sys.executable, "-m", "kvcluster.proxies", "--dir", str(self.topology.directory)]
        me = self.topology.node(name)
        command = [sys.executable, "-m", self._program, "serve", "--name", name]
        command += ["--data-dir", str(self.topology.data_dir(name)), "--listen", me.listen, "--listen-peer", me.peer]
        if me.redis is not None:
            command += ["--listen-redis", me.redis]
        if me.tls is not None:
            cert, key = me.tls.node(name)
            command += ["--tls-cert", str(cert), "--tls-key", str(key), "--tls-ca", str(me.tls.ca)]
        for node in self.topology.nodes:
            if node.name != name:
                command += ["--peer", f"{node.name}={self.topology.dialed(name, node.name)}"]
        return [*command, "--cluster-token", self.topology.token]

    def _stop(self, names: list[str]) -> list[str]:
        """Those of them that were running, or paused. Afterwards none is recorded any more."""
        asked = []
        for name in names:
            process = self.process(name)
            if process is None or not processes.send(process, signal.SIGTERM):
                continue
            processes.send(process, signal.SIGCONT)
            asked.append((name, process))
        deadline = time.monotonic() + STOP_S_MAX
        for name, process in asked:
            if not processes.wait_dead(process, deadline - time.monotonic()):
                self._progress(f"{name} did not end when asked; killing it")
                self.kill(name)
            self.state(name)
        for name in names:
            self.topology.pid_path(name).unlink(missing_ok=True)
        return [name for name, _ in asked]

    def _signal_until(self, name: str, signum: signal.Signals, wanted: State) -> bool:
        process = self.process(name)
        if process is None or not processes.send(process, signum):
            return False
        deadline = time.monotonic() + STOP_S_MAX
        while (now := processes.state(process)) != wanted:
            if now == "dead":
                return False
            if time.monotonic() >= deadline:
                raise NotReady(f"{name} (pid {process.pid}) is {now}, not {wanted}, {STOP_S_MAX:g} s after the signal")
            time.sleep(_POLL_S)
        return True

    def _ended(self, name: str) -> NodeEnded:
        child = self._children.get(name)
        code = None if child is None else child.poll()
        kind = NodeCorrupt if code == _EXIT_CORRUPT else NodeEnded
        how = "has ended" if code is None else f"ended with status {code}"
        log = f"{self.topology.log_path(name)} ends:\n{self.log_tail(name)}"
        return kind(name, f"{name} {how} instead of becoming ready. {log}")


def _environment(program: str) -> dict[str, str]:
    """Ours, without KV_PEERS, which a cluster of one node must not get from outside.

    The node starts in its own directory: what settings say of files and folders is made absolute, and so is PYTHONPATH,
    to the packages that we run from.
    """
    roots = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    for package in (*_PACKAGES, program.partition(".")[0]):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            roots.append(str(Path(spec.origin).parent.parent))
    paths = {setting.env for setting in SETTINGS if setting.kind in ("DIR", "FILE")}
    kept = {
        name: os.path.abspath(value) if name in paths and value else value
        for name, value in os.environ.items()
        if name != "KV_PEERS"
    }
    return kept | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(roots))}
