"""What the protocol did: a ring of its newest events, told as JSON lines at `GET /debug/trace`.

Events are rare (elections, votes, leaderships, members, snapshots, stalls), and none has a key or a value in it. Of
each kind it is counted, too, how often it came; metrics and the ring so have one source.
"""

import json
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from kvstore.limits import TRACE_EVENTS_MAX

log = structlog.get_logger("kvstore.protocol")


class Trace(Protocol):
    """Is told what happened; changes nothing."""

    def __call__(self, event: str, **about: Any) -> None:
        """See ProtocolTrace.note."""


class ProtocolTrace:
    """Bounded: the newest TRACE_EVENTS_MAX events, numbered from 1, so that a reader sees what it has missed."""

    def __init__(self, node: str, wall_ms: Callable[[], int]) -> None:
        self._node = node
        self._wall_ms = wall_ms
        self._events: deque[tuple[int, int, str, dict[str, Any]]] = deque(maxlen=TRACE_EVENTS_MAX)
        self._seq = 0
        self.counts: Counter[str] = Counter()
        """Kind of event -> how often."""
        self.reasons: Counter[str] = Counter()
        """Why leaderships ended -> how often."""

    def __len__(self) -> int:
        return len(self._events)

    def note(self, event: str, **about: Any) -> None:
        """`event` happened just now. `about`: small values that JSON has; names and numbers, no keys."""
        self._seq += 1
        self._events.append((self._seq, self._wall_ms(), event, about))
        self.counts[event] += 1
        if event == "leadership_ended":
            self.reasons[about["reason"]] += 1
        log.debug(event, **about)

    def lines(self, since: int, limit: int) -> bytes:
        """The first `limit` of the events numbered `since` and above that are left, one JSON object a line."""
        found = [each for each in self._events if each[0] >= since][:limit]
        return b"".join(
            json.dumps(
                {
                    "seq": seq,
                    "time": datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds"),
                    "node": self._node,
                    "event": event,
                    **about,
                }
            ).encode()
            + b"\n"
            for seq, ms, event, about in found
        )


def untraced(event: str, **about: Any) -> None:
    """Nobody wants to know."""
