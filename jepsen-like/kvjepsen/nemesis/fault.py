"""What every fault is made of. A new kind is one file with a class, and its name in `kinds.py`."""

import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Final, ParamSpec, TypeVar

from kvcluster import probe
from kvcluster.partition import Pair
from kvcluster.supervisor import Cluster
from kvjepsen import faulty
from kvjepsen.capabilities import Need
from kvjepsen.frame import Progress
from kvjepsen.threads import in_thread
from kvstore.vault.envelope import NO_KEYS

P = ParamSpec("P")
T = TypeVar("T")

# Followers wait for 300 to 500 ms of silence before an election. Most faults need not outlast one.
HELD_S: Final = (0.2, 1.4)

# Where it counts what the others do meanwhile: elect another leader, and let it acknowledge something.
HELD_LONG_S: Final = (0.3, 2.5)
READY_S_MAX: Final = 30.0

# What faults write themselves, to make logs grow.
FILLER_KEY: Final = b"nemesis/filler"


class Sign(Enum):
    """By what a fault is known when another is there at the same time. Those of ANY are always alone."""

    ANY = "any"
    NODES = "nodes"
    LINKS = "links"


class Field:
    """A cluster, as faults see it: who is there, who leads, and chance, which a seed decides. `hit`: who is struck
    already, by the other one of two faults. `wiped` is told of a node whose disk was taken away. `held_disks`: a node
    loses what it has not synced whenever it ends (kvjepsen.held_disk). `drops`: packets can be dropped here.
    `vault`: what opens the files of the nodes.
    """

    def __init__(self, cluster: Cluster, rng: random.Random, progress: Progress = lambda line: None) -> None:
        self.cluster = cluster
        self.rng = rng
        self.progress = progress
        self.wiped: Callable[[str], object] = lambda name: None
        self.held_disks = False
        self.drops = False
        self.vault = NO_KEYS
        self.hit: set[str] = set()

    @property
    def names(self) -> list[str]:
        """All nodes."""
        return self.cluster.topology.names

    async def blocking(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls of the supervisor block."""
        return await in_thread(function, *args, **kwargs)

    async def leader(self) -> str | None:
        """Who leads now."""
        return await self.blocking(self.cluster.leader)

    async def leader_or_any(self) -> str:
        """Who leads now, or somebody."""
        leader = await self.leader()
        return leader if leader in self._open() else self.any()

    def any(self) -> str:
        """Somebody."""
        return self.rng.choice(self._open())

    def minority(self) -> list[str]:
        """Fewer than half of the nodes, one at least, together with who is hit already."""
        some = max(1, self.rng.randint(1, max(1, (len(self.names) - 1) // 2)) - len(self.hit))
        return self.rng.sample(self._open(), some)

    def _open(self) -> list[str]:
        """Who may be hit. Once a minority is, only they."""
        return self.names if len(self.hit) < (len(self.names) - 1) // 2 or not self.hit else sorted(self.hit)

    async def leader_or_minority(self) -> list[str]:
        """Whoever leads, or fewer than half of the nodes, as chance has it."""
        return [await self.leader_or_any()] if self.rng.random() < 0.5 else self.minority()

    @property
    def links(self) -> list[Pair]:
        """All directed links."""
        return [(link.source, link.target) for link in self.cluster.topology.links]

    async def order(self, names: list[str], **what: Any) -> None:
        """Have each of these nodes do it: see kvjepsen.faulty."""
        for name in names:
            await self.blocking(faulty.order, self.cluster, name, **what)

    async def metric(self, name: str, sample: str) -> float:
        """A sample of a node's metrics; 0 if it cannot be had."""
        return await self.blocking(probe.metric, self.cluster.topology.node(name), sample) or 0.0


@dataclass
class Struck:
    """What was hit: nodes, and one phrase for people. A fault adds `effects` that it saw itself.

    `held_s`: how long it lasts, None for as long as its kind says.
    """

    nodes: list[str]
    detail: str = ""
    effects: list[str] = field(default_factory=list)
    held_s: float | None = None


class Fault(ABC):
    """One kind of fault. Each needs the processes at least: the driver looks at them for what it sees of the fault."""

    name: ClassVar[str]
    title: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset({Need.PROCESSES})
    nodes_min: ClassVar[int] = 2
    held_s: ClassVar[tuple[float, float]] = HELD_S
    sign: ClassVar[Sign] = Sign.ANY
    loses_ones: ClassVar[bool] = False  # a node is lost with what it alone has acknowledged, at level ONE

    @asynccontextmanager
    async def prepared(self, field: Field) -> AsyncIterator[None]:
        """What has to be there from before the load until after the last read."""
        yield

    @abstractmethod
    def strike(self, field: Field) -> AbstractAsyncContextManager[Struck]:
        """The fault lasts as long as the `async with`. On leaving it is over, though nodes may not be ready yet."""


class Aimed(Fault):
    """A fault for some nodes: a minority, so that the others can go on, unless its kind says otherwise."""

    async def victims(self, field: Field) -> list[str]:
        """Who is hit."""
        return field.minority()


class AtLeader(Aimed):
    """For whoever leads."""

    async def victims(self, field: Field) -> list[str]:
        return [await field.leader_or_any()]
