"""Replicated settings: values that decide what applying a command does.

They belong to the state and travel in snapshots. A default is part of the format: a node that replays an old log from
its beginning must meet the same value as the nodes that applied it then, so a default is never changed, only replaced
by a replicated command.
"""

from typing import Final

TOMBSTONES_MAX: Final = "tombstones_max"


def default_settings() -> dict[str, int]:
    """A new dict with every setting at its default."""
    return {TOMBSTONES_MAX: 100_000}
