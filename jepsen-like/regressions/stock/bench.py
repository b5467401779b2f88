"""The published engine on a bench: several nodes in one process, on a clock and a network that are moved by hand.

Nothing of the engine is changed but its clock, which it reads as a module global, and its network, which is its own
interface for one. Connections are first-in, first-out, as TCP is: a message may be late or lost with its connection,
never overtaken on it.
"""

import json
import logging
import os
import random
from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from typing import Any

from pysyncobj import SyncObj, SyncObjConf, replicated, syncobj
from pysyncobj.node import Node
from pysyncobj.transport import Transport

# Longer than any election timeout of the default configuration (0.4 to 1.4 s).
ELECTION_S = 1.5

Wire = tuple[str, str]


class Killed(BaseException):
    """The process ends here: raised by a script in the place where SIGKILL strikes. What was written stays written."""


class Network(Transport):
    """The engine's interface for a network; messages lie in `Bench.wires` until somebody delivers them."""

    def __init__(self, bench: "Bench", name: str) -> None:
        super().__init__(None, None, [])
        self._bench, self._name = bench, name

    def send(self, node: Node, message: Any) -> bool:
        self._bench.wires[self._name, node.id].append(message)
        return True


class Store(SyncObj):
    """A replicated dictionary, as the engine's manual shows it."""

    def __init__(self, name: str, others: Iterable[str], conf: SyncObjConf, transport: Network) -> None:
        self.name, self.network = name, transport
        super().__init__(Node(name), [Node(other) for other in others], conf, transport=transport)
        self.data: dict[str, Any] = {}  # what is set after the engine's own attributes is replicated state, and dumped

    @replicated
    def put(self, key: str, value: Any) -> None:
        self.data[key] = value

    def write(self, key: str, value: Any = "") -> list[int]:
        """Propose; the list gets the fail reason (0: success) when the engine answers."""
        answers: list[int] = []
        self.put(key, value, callback=lambda _result, reason: answers.append(reason))
        return answers

    @property
    def leads(self) -> bool:
        return self._isLeader()

    def log(self) -> list[tuple[int, int]]:
        """(index, term) of what the log holds."""
        return [(index, term) for _, index, term in self._SyncObj__raftLog[:]]

    def last(self) -> int:
        """Index of the last entry."""
        return self.log()[-1][0]


class Bench:
    """The nodes. With a `directory` they have journals and dumps; options go to the engine's configuration."""

    def __init__(self, *names: str, directory: str | None = None, **options: Any) -> None:
        logging.getLogger("pysyncobj").setLevel(logging.CRITICAL + 1)
        random.seed(1)
        self.now = 1000.0
        syncobj.monotonicTime = lambda: self.now
        self.names = names
        self.wires: dict[Wire, deque[Any]] = defaultdict(deque)
        self._directory = directory
        self._options = options
        self.nodes: dict[str, Store] = {}
        for name in names:
            self.start(name)

    def start(self, name: str) -> Store:
        """Start `name`, or start it again from its files; what its former process had on its connections is gone."""
        files = {}
        if self._directory is not None:
            files = {f"{kind}File": os.path.join(self._directory, f"{name}.{kind}") for kind in ("journal", "fullDump")}
        conf = SyncObjConf(autoTick=False, useFork=False, **files, **self._options)
        for wire in self.wires:
            if name in wire:
                self.wires[wire].clear()
        others = [other for other in self.names if other != name]
        node = self.nodes[name] = Store(name, others, conf, Network(self, name))
        for other in others:
            node.network._onNodeConnected(Node(other))
        return node

    def tick(self, *names: str) -> None:
        """One turn of these nodes' loops, all of them by default."""
        for name in names or self.names:
            self.nodes[name].doTick(0.0)

    def deliver(self, *wires: Wire) -> bool:
        """Hand over one message of each of these wires; whether there was any."""
        found = False
        for source, target in wires:
            if self.wires[source, target]:
                found = True
                message = self.wires[source, target].popleft()
                self.nodes[target].network._onMessageReceived(Node(source), message)
        return found

    def settle(self, *, cut: Collection[str] = (), held: Collection[Wire] = ()) -> None:
        """Hand over everything, but lose what goes to or comes from `cut`, and leave what lies on the wires `held`."""
        going = True
        while going:
            for (source, target), wire in self.wires.items():
                if (source in cut or target in cut) and (source, target) not in held:
                    wire.clear()
            going = self.deliver(*[wire for wire in list(self.wires) if wire not in held])

    def advance(
        self, seconds: float, *names: str, cut: Collection[str] = (), held: Collection[Wire] = (), step: float = 0.05
    ) -> None:
        """Let time pass for these nodes, by default for all that are not in `cut`."""
        names = names or tuple(name for name in self.names if name not in cut)
        end = self.now + seconds
        while self.now < end:
            self.now += step
            self.tick(*names)
            self.settle(cut=cut, held=held)

    def elect(self, name: str, *, cut: Collection[str] = (), held: Collection[Wire] = ()) -> Store:
        """Let `name` be the first whose election timeout passes, and win."""
        self.now += ELECTION_S
        self.tick(name)
        self.settle(cut=cut, held=held)
        assert self.nodes[name].leads, f"{name} was not elected"
        self.advance(0.5, cut=cut, held=held)
        return self.nodes[name]


def verdict(**found: Any) -> None:
    """Print what was found."""
    print(json.dumps(found))
