"""One row of the table of commands, and what a command may use.

There are three kinds. `pure` ones are functions on the keys (`view`): what they need is read for them, what they change
is written for them, and they may stand between MULTI and EXEC. `local` ones are answered at once. `served` ones wait
for something, one at a time for each connection; a row may have a pure form too, for transactions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, NamedTuple, Protocol

from kvstore.guard.rules import Need
from kvstore.redis.replies import Reply
from kvstore.redis.view import Call, Function

if TYPE_CHECKING:
    from kvstore.redis.services import Services
    from kvstore.redis.session import Session


class Client(Protocol):
    """Whose command it is: a connection."""

    @property
    def session(self) -> Session:
        """What is known of it."""

    @property
    def services(self) -> Services:
        """What all connections share."""

    def push(self, reply: Reply) -> None:
        """Sends something that is no answer to a command, or an answer before the last one of it."""

    def call(self, command: Command, arguments: list[bytes]) -> Call:
        """`command`, which has a pure form, to be carried out for this client, and checked each time."""

    def permit(self, need: Need) -> None:
        """Raises CommandError unless the client may do it (NOAUTH, NOPERM)."""

    async def writable(self) -> bool:
        """Waits until the client has read enough of what was sent. False if it has gone."""

    def end(self, last: Reply | None = None) -> None:
        """Sends `last`, and closes the connection behind all that was sent."""


Local = Callable[[Client, list[bytes]], Reply]
Served = Callable[[Client, list[bytes]], Awaitable[Reply]]


class Command(NamedTuple):
    """`arity`: how many arguments there are, the name among them; -n for n at least. `keys`: the first, the last
    (negative from the end) and the step between arguments that are keys; (0, 0, 0) for none. `differs`: what is not as
    in Redis. `subscribed`: whether it may be sent in RESP2 by who has subscribed. `at_one`: a write that level ONE
    takes by itself. `needs`: what it asks of who sends it, see kvstore.redis.permissions.
    """

    name: str
    arity: int
    keys: tuple[int, int, int]
    flags: tuple[str, ...]
    group: str
    since: str
    summary: str
    differs: str = ""
    pure: Function | None = None
    local: Local | None = None
    served: Served | None = None
    subscribed: bool = False
    at_one: bool = False
    needs: str = ""

    @property
    def writes(self) -> bool:
        """Whether it may change keys."""
        return "write" in self.flags

    @property
    def only_reads(self) -> bool:
        """Whether it cannot change anything, so that its errors have no outcome."""
        return not self.writes and self.name != "EXEC"

    def fits(self, count: int) -> bool:
        """Whether it can have `count` arguments."""
        return count == self.arity if self.arity > 0 else count >= -self.arity

    def keys_of(self, arguments: list[bytes]) -> list[bytes]:
        """Those of its arguments that are keys."""
        first, last, step = self.keys
        if not first:
            return []
        return arguments[first : (len(arguments) if last < 0 else last) + (last + 1 if last < 0 else 1) : step]


class Peers(Protocol):
    """The connections of the door."""

    def sessions(self) -> Collection[Session]:
        """Of all of them."""
