"""Packet loss between the nodes: nftables drops one packet in some, on loopback, to and from peer ports."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from kvcluster import packets
from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import Fault, Field, Sign, Struck

_PERCENT: Final = (2, 25)


class Loss(Fault):
    """TCP sends again: what is seen is delay, in bursts, and connections that hang."""

    name = "loss"
    title = "2 to 25 % of the packets between the nodes are lost"
    needs = frozenset({Need.PROCESSES, Need.PACKETS})
    sign = Sign.LINKS

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        percent = field.rng.randint(*_PERCENT)
        struck = Struck(field.names, f"{percent} %")
        async with dropping(field, struck, [node.peer_port for node in field.cluster.topology.nodes], percent):
            yield struck


@asynccontextmanager
async def dropping(field: Field, struck: Struck, ports: Sequence[int], percent: int) -> AsyncIterator[None]:
    """Meanwhile so many packets to and from these ports are lost; that some were is an effect."""
    loss = packets.Loss(ports, percent)
    await field.blocking(loss.begin)
    try:
        yield
    finally:
        dropped = await field.blocking(loss.end)
    if dropped:
        struck.effects.append(f"{dropped:,} packets dropped")
