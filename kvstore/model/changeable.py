"""The replicated settings that operators may change, with their bounds. The rest are decided by the build."""

from typing import Final, NamedTuple


class Bounds(NamedTuple):
    """The least and the most that may be set, in `unit`."""

    least: int
    most: int
    unit: str
    help: str


CHANGEABLE: Final[dict[str, Bounds]] = {
    "history_revisions_max": Bounds(100, 10_000_000, "changes", "how many changes can be read back and watched"),
    "history_bytes_max": Bounds(1 << 20, 4 << 30, "bytes", "how large they may be together, keys and old values"),
    "tombstones_max": Bounds(1_000, 10_000_000, "keys", "how many deleted keys are remembered for late writes at one"),
    "session_window_ms": Bounds(60_000, 86_400_000, "ms", "for how long a session lives without being used"),
    "idempotency_window_ms": Bounds(60_000, 86_400_000, "ms", "for how long an idempotency key is remembered at least"),
    "leases_max": Bounds(1_000, 1_000_000, "leases", "how many leases there may be"),
}
