"""What all connections of the door share."""

import asyncio
import time
from collections.abc import Mapping

from kvstore import limits
from kvstore.guard.gate import Gate
from kvstore.redis.changes import Changes
from kvstore.redis.command import Command, Peers
from kvstore.redis.cursors import Cursors
from kvstore.redis.lane import Lane
from kvstore.redis.leases import KeyLeases
from kvstore.redis.store import Store
from kvstore.telemetry.metrics import RedisMeter


class Services:
    """Made once, by the door. `commands`: name -> row, in the order of the table."""

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        meter: RedisMeter,
        commands: Mapping[str, Command],
        peers: Peers,
        gate: Gate,
    ) -> None:
        self.store = store
        self.loop = loop
        self.meter = meter
        self.commands = commands
        self.peers = peers
        self.gate = gate
        self.lane = Lane(store, loop, meter, gate)
        self.leases = KeyLeases(loop, self.lane)
        self.changes = Changes(store, loop, self.lane, self.leases)
        self.cursors = Cursors()
        self.since_s = time.monotonic()
        self.port = 0
        self.connections_total = 0
        self.refused_total = 0
        self.held = 0
        """Bytes of commands of all connections that were received and not yet carried out."""
        self.draining = False
        """Whether the door is about to close: what comes now is refused."""

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes more may be collected."""
        return self.held + size <= limits.REDIS_INPUT_BYTES_MAX
