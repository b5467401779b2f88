"""Partitions of every shape. Clients still reach every node.

What is cut is stalled (connections stay up, and what was sent arrives late) or reset by the link proxies, or, where
nftables can be had, its packets vanish in the kernel: nobody is told, and TCP has to find out. The ports of the proxies
tell the directed links apart, so that this takes no network namespaces. Which of these it is, chance decides.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kvcluster import faults
from kvcluster.partition import Pair, cut_pairs
from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import HELD_LONG_S, Fault, Field, Sign, Struck
from kvjepsen.nemesis.loss import dropping


class _Partition(Fault):
    needs = frozenset({Need.PROCESSES, Need.LINKS})
    sign = Sign.LINKS

    @abstractmethod
    async def cut(self, field: Field) -> tuple[list[str], list[Pair], str]:
        """The nodes concerned, the directed links that are cut, and what to call it."""

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        topology = field.cluster.topology
        nodes, pairs, shape = await self.cut(field)
        way = field.rng.choice(("stall", "reset", "drop")[: 3 if field.drops else 2])
        struck = Struck(nodes, f"{shape}, {way}")
        if way == "drop":
            ports = [link.port for link in topology.links if (link.source, link.target) in pairs]
            async with dropping(field, struck, ports, 100):
                yield struck
            return
        try:
            await field.blocking(faults.stall if way == "stall" else faults.reset, topology, pairs)
            yield struck
        finally:
            await field.blocking(faults.heal, topology)


class Halves(_Partition):
    """Two parts, of which one has a majority."""

    name = "halves"
    title = "the cluster is split into a majority and a minority"

    async def cut(self, field: Field) -> tuple[list[str], list[Pair], str]:
        order = field.rng.sample(field.names, len(field.names))
        few = order[: (len(order) - 1) // 2] or order[:1]
        groups = [few, [name for name in order if name not in few]]
        return sorted(few), cut_pairs(groups), "|".join(",".join(sorted(group)) for group in groups)


class Isolate(_Partition):
    """One node alone."""

    name = "isolate"
    title = "one node is cut off from all others"

    async def victim(self, field: Field) -> str:
        return field.any()

    async def cut(self, field: Field) -> tuple[list[str], list[Pair], str]:
        victim = await self.victim(field)
        return [victim], cut_pairs([[victim], [name for name in field.names if name != victim]]), "alone"


class IsolateLeader(Isolate):
    """The leader alone: it has to notice that it leads nobody."""

    held_s = HELD_LONG_S
    name = "isolate-leader"
    title = "the leader is cut off from all others"

    async def victim(self, field: Field) -> str:
        return await field.leader_or_any()


class Bridge(_Partition):
    """Two halves that only one node sees both of."""

    name = "bridge"
    title = "two halves, and one node between them that reaches both"
    nodes_min = 3

    async def cut(self, field: Field) -> tuple[list[str], list[Pair], str]:
        bridge, *others = field.rng.sample(field.names, len(field.names))
        groups = [others[: len(others) // 2], others[len(others) // 2 :]]
        return [bridge], cut_pairs(groups), "|".join(",".join(sorted(group)) for group in groups)


class Ring(_Partition):
    """Majorities ring: everybody sees a majority, nobody sees the same one."""

    name = "ring"
    title = "every node reaches a majority, and each another one"
    nodes_min = 4

    async def cut(self, field: Field) -> tuple[list[str], list[Pair], str]:
        order = field.rng.sample(field.names, len(field.names))
        count, reach = len(order), (len(order) // 2 + 1) // 2
        pairs = [
            (order[i], order[j])
            for i in range(count)
            for j in range(count)
            if i != j and min((i - j) % count, (j - i) % count) > reach
        ]
        return order, pairs, "-".join(order)


class OneWay(_Partition):
    """What one node says is not heard, though it hears, or the other way round."""

    name = "one-way"
    title = "one node is not heard by the others, or does not hear them"

    async def cut(self, field: Field) -> tuple[list[str], list[Pair], str]:
        victim = await field.leader_or_any() if field.rng.random() < 0.5 else field.any()
        others = [name for name in field.names if name != victim]
        deaf = field.rng.random() < 0.5
        groups = [others, [victim]] if deaf else [[victim], others]
        return [victim], cut_pairs(groups, one_way=True), "deaf" if deaf else "mute"
