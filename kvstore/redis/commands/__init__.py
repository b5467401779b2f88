"""The table of commands: from it the door is served, COMMAND is answered, and docs/redis.md is made."""

from typing import Final

from kvstore.redis.command import Command
from kvstore.redis.commands import client, expiry, keys, levels, pubsub, server, strings, transactions

COMMANDS: Final[tuple[Command, ...]] = (
    *strings.COMMANDS,
    *keys.COMMANDS,
    *expiry.COMMANDS,
    *transactions.COMMANDS,
    *pubsub.COMMANDS,
    *levels.COMMANDS,
    *client.COMMANDS,
    *server.COMMANDS,
)

BY_NAME: Final = {
    spelt: command for command in COMMANDS for spelt in (command.name.encode(), command.name.lower().encode())
}
"""As most clients spell them; `find` knows the other ways."""


def find(name: bytes) -> Command | None:
    """The command called `name`, in any case."""
    return BY_NAME.get(name) or BY_NAME.get(name.upper())
