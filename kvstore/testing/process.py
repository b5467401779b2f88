"""One process of a simulated node: what `kvstore.server` puts together, without the HTTP door."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from kvstore.consensus.configuration import Configuration
from kvstore.consensus.engine import Peer
from kvstore.consensus.transport import PeerTransport
from kvstore.node.boot import Opened
from kvstore.node.service import Node
from kvstore.testing.sim_loop import SimClock, SimLoop
from kvstore.testing.watch import Watch

PORT: Final = 8481


class SimNode(Node):
    """A node that tells what its state is after each entry."""

    told: Callable[[int, int], None]

    def apply(self, index: int, term: int, command: bytes) -> Any:
        result = super().apply(index, term, command)
        self.told(index, self.machine.digest)
        return result

    def skip(self, index: int, term: int) -> None:
        super().skip(index, term)
        self.told(index, self.machine.digest)


@dataclass(slots=True)
class SimProcess:
    """One start of a node, from boot to end."""

    name: str
    incarnation: int
    loop: SimLoop
    clock: SimClock
    node: Node | None = None
    transport: PeerTransport | None = None
    watch: Watch | None = None
    dialed: list[str] = field(default_factory=list)
    ended: list["asyncio.Future[None]"] = field(default_factory=list)  # who waits for its end
    waiting: dict["asyncio.Future[Any]", None] = field(default_factory=dict)  # clients' requests under way


def silence_logs() -> None:
    """Switch the logs of this process off: simulated nodes would write theirs among those of real ones."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("pysyncobj").setLevel(logging.CRITICAL + 1)


def peer_transport(opened: Opened, node: Node, rng: random.Random) -> PeerTransport:
    """The transport of `node`; it dials nobody yet (`connect`)."""
    identity = opened.identity

    def authorise(peer: Peer) -> str | None:
        member = node.engine.configuration.member(peer.name)
        return (
            None
            if member is None or member.identity in ("", peer.identity)
            else f"{peer.name} comes with another identity"
        )

    def stranger(peer: Peer) -> bool:
        transport.add_peer(peer.name, (peer.name, PORT))
        return True

    transport = PeerTransport(
        hello=Peer(identity.name, identity.identity, identity.incarnation, f"http://{identity.name}", identity.name),
        cluster_id=identity.cluster_id,
        listen=(identity.name, PORT),
        peers={},
        events=node,
        authorise=authorise,
        stranger=stranger,
        rng=rng,
    )
    return transport


def connect(process: SimProcess, configuration: Configuration) -> None:
    """Dial the members, and nobody else."""
    if process.transport is None:
        return
    wanted = [each.name for each in configuration.members if each.name != process.name]
    for gone in [name for name in process.dialed if name not in wanted]:
        process.transport.drop_peer(gone)
    for name in wanted:
        process.transport.add_peer(name, (name, PORT))
    process.dialed = wanted
