"""What was refused, counted by door and reason, and said: at once the first time, then at most every few seconds."""

import time
from typing import Any, Final, Literal

import structlog

from kvstore import limits
from kvstore.security.reasons import CLOSED

_log = structlog.get_logger("kvstore.security")

Door = Literal["http", "redis", "peer", "peer_dial"]

DOORS: Final[dict[Door, str]] = {
    "http": "a client of the HTTP API",
    "redis": "a client of the Redis door",
    "peer": "somebody who dialed the peer port",
    "peer_dial": "the peer that this node dialed",
}


class TlsCounts:
    """The TLS connections of one node, as numbers that are read when somebody asks."""

    def __init__(self) -> None:
        self.handshakes: dict[str, float] = dict.fromkeys(DOORS, 0)
        """Done, by door."""
        self.refused: dict[tuple[str, ...], float] = {}
        """(door, reason) -> how often. Reasons are those of kvstore.security.reasons."""
        self.pending: dict[str, float] = dict.fromkeys(DOORS, 0)
        """Under way, by door."""
        self.reloads: dict[str, float] = {"ok": 0, "failed": 0}
        """Certificates that were read anew, by outcome."""
        self._said_at: dict[tuple[str, str], float] = {}
        self._unsaid: dict[tuple[str, str], int] = {}

    def refuse(self, door: Door, reason: str, detail: str, **about: Any) -> None:
        """Counts one, and says so if that was not said of this door and reason a moment ago."""
        which = (door, reason)
        self.refused[which] = self.refused.get(which, 0) + 1
        now = time.monotonic()
        said_at = self._said_at.get(which)
        if said_at is not None and now - said_at < limits.TLS_REFUSALS_LOG_S:
            self._unsaid[which] = self._unsaid.get(which, 0) + 1
            return
        self._said_at[which] = now
        more = self._unsaid.pop(which, 0)
        # Whoever only looks whether the port is open ends the connection, too.
        say = _log.info if reason == CLOSED else _log.warning
        say("tls_refused", door=door, who=DOORS[door], reason=reason, detail=detail, unsaid_before=more, **about)
