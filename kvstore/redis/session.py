"""What the door knows of one connection between two commands."""

import itertools
import time
from typing import Final, Protocol

from kvstore.guard.gate import Caller
from kvstore.model.levels import Level
from kvstore.redis.command import Command
from kvstore.redis.replies import RESP2

_IDS: Final = itertools.count(1)


class Subscription(Protocol):
    """A channel or pattern that somebody listens to."""

    def end(self) -> None:
        """Nobody does any more. Harmless when repeated."""


class Session:
    """State of one connection. `plain`: the next command is carried out as usual, neither queued nor refused."""

    def __init__(self, address: str) -> None:
        self.id = next(_IDS)
        self.address = address
        self.since_s = time.monotonic()
        self.name = b""
        self.library: dict[str, str] = {}
        self.last_command = ""
        self.protocol = RESP2
        self.read_level = Level.QUORUM
        self.write_level = Level.QUORUM
        self.receipt: str | None = None
        """Of the last write at level ONE."""
        self.queue: list[tuple[Command, list[bytes]]] | None = None
        """The commands behind MULTI."""
        self.queued_bytes = 0
        self.aborted = False
        """Whether one of them was refused."""
        self.watched: dict[bytes, int] = {}
        """The mod_revision of each key that is watched, when that began."""
        self.subscriptions: dict[tuple[str, bytes], Subscription] = {}
        """(subscribe or psubscribe, channel or pattern) -> what listens."""
        self.plain = True
        self.caller: Caller | None = None
        """Who has said so by AUTH."""

    @property
    def listens_only(self) -> bool:
        """Whether RESP2 leaves no place for replies between the messages of subscriptions."""
        return bool(self.subscriptions) and self.protocol == RESP2

    def settle(self) -> None:
        """To be called after what decides about `plain` has changed."""
        self.plain = self.queue is None and not self.listens_only

    def end_transaction(self) -> None:
        """Neither queued commands nor watched keys are left."""
        self.queue = None
        self.queued_bytes = 0
        self.aborted = False
        self.watched = {}
        self.settle()

    def reset(self) -> None:
        """As it was when the connection began, its id and address aside."""
        self.end_subscriptions()
        self.end_transaction()
        self.name = b""
        self.caller = None
        self.protocol = RESP2
        self.read_level = self.write_level = Level.QUORUM
        self.settle()

    def end_subscriptions(self) -> None:
        """Listen to nothing any more."""
        for subscription in list(self.subscriptions.values()):
            subscription.end()
        self.subscriptions = {}
        self.settle()
