"""The replicated settings that operators may change, with their bounds. The rest are decided by the build."""

from typing import Final, NamedTuple


class Bounds(NamedTuple):
    """The least and the most that may be set, in `unit`."""

    least: int
    most: int
    unit: str

    def allow(self, value: int) -> bool:
        """Whether it may be `value`."""
        return self.least <= value <= self.most


CHANGEABLE: Final[dict[str, Bounds]] = {
    # How many changes can be read back and watched, and how large they may be together, keys and old values.
    "history_revisions_max": Bounds(100, 10_000_000, "changes"),
    "history_bytes_max": Bounds(1 << 20, 4 << 30, "bytes"),
    # How many deleted keys are remembered for late writes at level ONE.
    "tombstones_max": Bounds(1_000, 10_000_000, "keys"),
    # For how long a session lives without being used, and an idempotency key is remembered at least.
    "session_window_ms": Bounds(60_000, 86_400_000, "ms"),
    "idempotency_window_ms": Bounds(60_000, 86_400_000, "ms"),
    "leases_max": Bounds(1_000, 1_000_000, "leases"),
}
