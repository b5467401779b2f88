"""Alarms: what somebody has to look at. They stand until whoever raised them finds that it is over, or the process
ends, and are shown by every node.
"""

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

import structlog

from kvstore.limits import ALARMS_MAX

log = structlog.get_logger()

DIVERGENCE: Final = "divergence"
CLOCK_DRIFT: Final = "clock_drift"
BACKUP_FAILED: Final = "backup_failed"
ENCRYPTION_KEYS: Final = "encryption_keys"


class Alarm(NamedTuple):
    """`code` says what it is, `node` who is concerned, `detail` the rest, for people."""

    code: str
    node: str
    detail: str


class Alarms:
    """Bounded: of each code and node the newest is kept."""

    def __init__(self) -> None:
        self._raised: dict[tuple[str, str], Alarm] = {}

    def __iter__(self) -> Iterator[Alarm]:
        return iter(list(self._raised.values()))

    def __len__(self) -> int:
        return len(self._raised)

    def set(self, alarm: Alarm) -> None:
        """Raise it, or replace what is known of the same."""
        place = alarm.code, alarm.node
        if place not in self._raised:
            if len(self._raised) >= ALARMS_MAX:
                return
            log.error("alarm", code=alarm.code, node=alarm.node, detail=alarm.detail)
        self._raised[place] = alarm

    def clear(self, code: str, node: str) -> None:
        """It is over."""
        self._raised.pop((code, node), None)

    def keep(self, code: str, nodes: Collection[str]) -> None:
        """Those of `code` that concern other nodes are over, or somebody else's to raise."""
        for raised in [raised for raised in self._raised if raised[0] == code and raised[1] not in nodes]:
            del self._raised[raised]

    def counts(self) -> dict[str, float]:
        """How many there are of each code, for metrics; every code is there."""
        counts: dict[str, float] = {DIVERGENCE: 0, CLOCK_DRIFT: 0, BACKUP_FAILED: 0, ENCRYPTION_KEYS: 0}
        for alarm in self._raised.values():
            counts[alarm.code] = counts.get(alarm.code, 0) + 1
        return counts
