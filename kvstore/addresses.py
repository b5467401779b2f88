"""How many connections of a door each address has open: nobody alone may take all that there are."""

import asyncio
from collections import Counter


class Addresses:
    """`most` of one address."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: Counter[str] = Counter()

    def came(self, transport: asyncio.BaseTransport) -> str | None:
        """The address at the other end, counted; None if it has as many as it may. Each that was counted is given back
        by `gone`.
        """
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        if self._open[address] >= self.most:
            return None
        self._open[address] += 1
        return address

    def gone(self, address: str | None) -> None:
        """One of its connections has ended; None for one that was not counted."""
        if address is not None:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    def __len__(self) -> int:
        """How many addresses there are."""
        return len(self._open)
