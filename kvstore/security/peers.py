"""Who a peer is, by its certificate: both sides show one, and both compare it with the name in the handshake above.

the dialer     whom it dialed must be in the certificate that it is shown, before it says a word
the acceptor   who says hello must be in the certificate of the connection
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from kvstore.security.certificates import names_of
from kvstore.security.gate import Dialing, Gate, HandshakeFailed
from kvstore.security.keeper import Keeper
from kvstore.security.reasons import REASONS, REJECTED, WRONG_NAME, is_rejection
from kvstore.security.refusals import Door

_NAMES_SHOWN_MAX: Final = 4


class PeerTls:
    """Mutual TLS between peers, by the certificates of a keeper."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._counts = keeper.counts

    def gate(self, accept: Callable[[], asyncio.BaseProtocol]) -> Gate:
        """For the peer port."""
        return Gate("peer", self._keeper.peers, accept, self._counts)

    async def dial(
        self,
        host: str,
        port: int,
        accept: Callable[[], asyncio.BaseProtocol],
        connected: Callable[[], None],
        peer: str,
    ) -> None:
        """A connection on which `accept`'s protocol goes on. `connected`: the host has answered, TLS has not.

        Raises OSError, HandshakeFailed.
        """
        dialing = Dialing(self._keeper.dialing, accept)
        await asyncio.get_running_loop().create_connection(lambda: dialing.stream, host, port)
        connected()
        try:
            await dialing.shaken()
        except HandshakeFailed as failed:
            assert dialing.reason is not None
            self._counts.refuse("peer_dial", dialing.reason, str(failed), peer=peer, address=f"{host}:{port}")
            raise
        self._counts.handshakes["peer_dial"] += 1

    def objection(self, transport: asyncio.BaseTransport, name: str, *, dialed: bool) -> str | None:
        """Why whoever is at the other end is not `name`, or None; counted."""
        found = names_of(transport.get_extra_info("peercert"))
        if name in found:
            return None
        shown = ", ".join(each[:64] for each in found[:_NAMES_SHOWN_MAX]) or "no name"
        door: Door = "peer_dial" if dialed else "peer"
        why = f"its certificate is for {shown}, not for {name}"
        self._counts.refuse(door, WRONG_NAME, why, claimed=name)
        return why

    def rejected(self, error: Exception | None, peer: str) -> str | None:
        """What it means that the connection to `peer` ended by `error` before a word was heard on it; counted."""
        if not isinstance(error, ssl.SSLError) or not is_rejection(error):
            return None
        why = f"{REASONS[REJECTED]} ({(error.reason or '').lower().replace('_', ' ')})"
        self._counts.refuse("peer_dial", REJECTED, why, peer=peer)
        return why
