"""On whose behalf something is done: the request's id, and the `traceparent` (W3C Trace Context) that came with it.

It is carried by a context variable, so that what has no business with it need not pass it on. Whoever sends a request
on to another node, or writes a line about one, takes it from here, and only within the request's own task: what the
node does for many at once belongs to nobody.
"""

import re
from contextvars import ContextVar
from typing import Final, NamedTuple

from kvstore.limits import REQUEST_ID_CHARS_MAX

REQUEST_ID: Final = re.compile(rf"[A-Za-z0-9._~:/+=@-]{{1,{REQUEST_ID_CHARS_MAX}}}")
# Version 00; others begin in the same way, and are passed over: what they mean is not known here.
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Asked(NamedTuple):
    """`traceparent` is "" where none came, or none that is valid."""

    request_id: str
    traceparent: str = ""

    def told(self) -> dict[str, str]:
        """As fields of a line in the log."""
        told = {"request_id": self.request_id}
        return told | {"traceparent": self.traceparent} if self.traceparent else told


# The request's id and what it says is its parent, not looked at yet: most requests need neither. Nobody's by default;
# set in a request's own task.
ASKED: Final[ContextVar[tuple[str, str | None] | None]] = ContextVar("asked", default=None)


def asked() -> Asked | None:
    """On whose behalf this task works, if it is one request's."""
    found = ASKED.get()
    return None if found is None else Asked(found[0], traceparent(found[1]))


def traceparent(text: str | None) -> str:
    """`text` if it is a valid traceparent, else ""."""
    return text if text and _TRACEPARENT.fullmatch(text) else ""


def asked_of(request_id: str, parent: str) -> Asked | None:
    """What another node told, or None if it is not what one would."""
    if REQUEST_ID.fullmatch(request_id) is None or (parent and not traceparent(parent)):
        return None
    return Asked(request_id, parent)
