"""What each route asks of who calls it, while auth is enabled. The route table names one of these for every route; the
dispatcher asks for it, and what touches keys is checked by the store that it hands to the handler (`kvstore.guard`).
"""

from typing import Final, Literal, NamedTuple

from kvstore.guard import rules
from kvstore.guard.rules import Need
from kvstore.model.permissions import NAMES


class Permission(NamedTuple):
    """`verb`: one of `kvstore.model.permissions`, None where it is not one alone. `of`: what it is needed on.

    open: nobody is asked who it is. metrics: nor here, unless a setting says so. known: whoever says who it is.
    own: the same for what is one's own, admin for what is others'. any: the verb, which is of no key. key, range: the
    verb on the key, or on all keys of the range. each: every key or range that the body names, with the verb of what is
    done to it.
    """

    verb: int | None
    of: Literal["open", "metrics", "known", "own", "any", "key", "range", "each"]

    @property
    def about(self) -> str:
        """In words."""
        if self.verb is None:
            return _ABOUT[self.of]
        return f"{NAMES[self.verb]}{_ON[self.of]}"

    @property
    def beforehand(self) -> Need:
        """What can be asked before anything is known of the request but its route."""
        return rules.anywhere(self.verb) if self.verb is not None and self.of == "any" else rules.known


_ABOUT: Final = {
    "open": "open to everybody",
    "metrics": "open to everybody, unless metrics_private is set: then to every user",
    "known": "every user",
    "own": "every user for the own one, admin for others",
    "each": "for each operation: read, write or delete on its key or range",
}
_ON: Final = {"any": "", "key": " on the key", "range": " on the whole range"}

OPEN: Final = Permission(None, "open")
METRICS: Final = Permission(None, "metrics")
KNOWN: Final = Permission(None, "known")
OWN: Final = Permission(None, "own")
EACH: Final = Permission(None, "each")


def on_key(verb: int) -> Permission:
    """`verb` on the key in the path, or in the query."""
    return Permission(verb, "key")


def on_range(verb: int) -> Permission:
    """`verb` on every key of the range in the query."""
    return Permission(verb, "range")


def anywhere(verb: int) -> Permission:
    """A verb that is of no key."""
    return Permission(verb, "any")
