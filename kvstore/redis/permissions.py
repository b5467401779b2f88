"""What each command asks of who sends it, while auth is enabled: its row in the table says so (`Command.needs`).

open            nothing: AUTH itself, and what ends a connection
known           to be somebody
read, write, delete, or several of them
                on each of its keys
keys            read on all keys that its pattern can match, or that it counts
channels        watch on all keys that its channels or patterns are about
each            what was queued was checked, and is again when it is carried out (EXEC)
"""

from collections.abc import Sequence
from typing import Final

from kvstore.errors import Forbidden
from kvstore.guard import rules
from kvstore.guard.rules import Need
from kvstore.model.permissions import READ, VERBS
from kvstore.redis.command import Command

# Of the last three, what the command itself knows best it asks for where it reads (`Client.permit`).
BY_ITSELF: Final = frozenset(("open", "known", "keys", "channels", "each"))


def need_of(command: Command, arguments: Sequence[bytes]) -> Need:
    """What has to be allowed before `command` is begun. A row that says nothing is allowed to nobody."""
    if command.name == "CLIENT" and len(arguments) > 1 and arguments[1].upper() == b"LIST":
        return rules.admin
    if command.needs in BY_ITSELF:
        return rules.known
    verbs = [VERBS[word] for word in command.needs.split()]
    if not verbs:
        return _nobody
    if command.name == "SET" and b"GET" in [each.upper() for each in arguments[3:]]:
        verbs.append(READ)
    return rules.both(*(rules.on_key(verb, key) for key in command.keys_of(list(arguments)) for verb in verbs))


def _nobody(_: object) -> None:
    raise Forbidden("this command is allowed to nobody while auth is enabled")
