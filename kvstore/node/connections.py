"""Who is dialed and who is let in: a node's connections follow the members of its cluster. The same code in a real
process and in a simulated one; sockets and loop are whatever it is given.

- Every other member is dialed, where this node was told itself to dial it, else where the configuration says.
- Somebody of this cluster who is no member as far as this node's log tells is let in too: the log may be behind, and
  this may be who leads. Whoever was removed is let in as well; nobody counts its votes.
- A member's name with the identity of another data directory is refused (rule M5).
- The peer port is opened once there is another member. A node that is alone has nobody to listen to, and takes no port
  from whoever else runs one with the same default.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from kvstore import limits
from kvstore.config import Address, parse_address
from kvstore.consensus.configuration import Configuration
from kvstore.consensus.engine import Peer
from kvstore.consensus.transport import PeerTransport

log = structlog.get_logger()

REMOVED_LINGER_S: Final = 1.0
LISTEN_AGAIN_S: Final = 1.0


class Connections:
    """Keeps `transport` in step with the configuration. `own`: addresses that this node was told itself, by name."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        name: str,
        own: dict[str, Address],
        listen: Address,
        configuration: Callable[[], Configuration],
    ) -> None:
        self._loop = loop
        self._name = name
        self._own = own
        self._listen = listen
        self._configuration = configuration
        self._transport: PeerTransport | None = None
        self._dialed: set[str] = set()
        self._opening: asyncio.Task[None] | None = None
        self._started = False

    async def start(self, transport: PeerTransport) -> None:
        """Open the peer port if there is another member, and dial. Raises OSError if the port cannot be had."""
        self._transport = transport
        self.follow(self._configuration())
        if self._dialed:
            await transport.listen(*self._listen)
        await transport.start()
        self._started = True
        self.follow(self._configuration())

    def close(self) -> None:
        """Open no port any more."""
        if self._opening is not None:
            self._opening.cancel()

    def follow(self, configuration: Configuration) -> None:
        """Another configuration took effect."""
        transport = self._transport
        if transport is None:
            return
        wanted = addresses_to_dial(self._own, configuration, self._name)
        if self._dialed - wanted.keys():
            # Not at once: whoever asked a node for its own removal still waits there for the answer.
            self._loop.call_later(REMOVED_LINGER_S, self._drop_strangers)
        for name, address in wanted.items():
            transport.add_peer(name, (address.host, address.port))
        self._dialed |= wanted.keys()
        if wanted and self._started and not transport.listens and self._opening is None:
            self._opening = self._loop.create_task(self._open_port(transport))

    async def _open_port(self, transport: PeerTransport) -> None:
        """The first other member has come. It is a learner and counts nowhere, so the port may keep it waiting."""
        while True:
            try:
                await transport.listen(*self._listen)
            except OSError as error:
                log.error("cannot_listen_for_peers", node=self._name, address=str(self._listen), problem=str(error))
                await asyncio.sleep(LISTEN_AGAIN_S)  # nobody tells when whoever has the port gives it up
            else:
                log.info("listens_for_peers", node=self._name, address=str(self._listen))
                self._opening = None
                return

    def authorise(self, peer: Peer) -> str | None:
        """Why `peer` is refused, or None."""
        member = self._configuration().member(peer.name)
        if member is None or member.identity in ("", peer.identity):
            return None
        return (
            f"{peer.name} comes with identity {peer.identity}, but the member has {member.identity}: this is "
            "another data directory; remove the member and add it again"
        )

    def let_in(self, peer: Peer) -> bool:
        """Whether somebody who is no member is let in; then it is dialed, too. Nobody goes by this node's own name."""
        if self._transport is None or len(self._dialed) >= limits.PEERS_MAX or peer.name == self._name:
            return False
        try:
            address = parse_address(peer.address)
        except ValueError:
            return False
        self._transport.add_peer(peer.name, (address.host, address.port))
        self._dialed.add(peer.name)
        return True

    def _drop_strangers(self) -> None:
        for gone in self._dialed - set(self._configuration().names):
            self._dialed.discard(gone)
            if self._transport is not None:
                self._transport.drop_peer(gone)


def addresses_to_dial(own: dict[str, Address], configuration: Configuration, me: str) -> dict[str, Address]:
    """Where the other members are, by name. What this node was told itself, `own`, goes before the configuration: from
    here they may be reached in another way than from the others.

    Takes out of `own` who is no member: one that is taken in again later under its name is a new one, somewhere else.
    """
    for gone in own.keys() - set(configuration.names):
        del own[gone]
    others = [each for each in configuration.members if each.name != me]
    return {each.name: own.get(each.name) or parse_address(each.peer) for each in others}
