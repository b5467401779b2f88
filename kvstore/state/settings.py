"""Replicated settings: values that decide what applying a command does.

They belong to the state and travel in snapshots. A default is part of the format: a node that replays an old log from
its beginning must meet the same value as the nodes that applied it then, so a default is never changed, only replaced
by a replicated command.
"""

from collections.abc import Mapping
from typing import Final

TOMBSTONES_MAX: Final = "tombstones_max"
CLOCK_DRIFT_MS_MAX: Final = "clock_drift_ms_max"
IDEMPOTENCY_WINDOW_MS: Final = "idempotency_window_ms"
IDEMPOTENCY_KEYS_MAX: Final = "idempotency_keys_max"
SESSION_WINDOW_MS: Final = "session_window_ms"
SESSIONS_MAX: Final = "sessions_max"
SESSION_ANSWERS_MAX: Final = "session_answers_max"
ANSWERS_MAX: Final = "answers_max"
RECEIPT_RUNS_MAX: Final = "receipt_runs_max"
ORIGINS_MAX: Final = "origins_max"
ANSWER_BYTES_MAX: Final = "answer_bytes_max"
KEPT_ANSWER_BYTES_MAX: Final = "kept_answer_bytes_max"
KEPT_ANSWERS_BYTES_MAX: Final = "kept_answers_bytes_max"
CHANGES_MAX: Final = "changes_max"
LEASES_MAX: Final = "leases_max"
LEASE_KEYS_MAX: Final = "lease_keys_max"
HISTORY_REVISIONS_MAX: Final = "history_revisions_max"
HISTORY_BYTES_MAX: Final = "history_bytes_max"

_DEFAULTS: Final = {
    TOMBSTONES_MAX: 100_000,
    CLOCK_DRIFT_MS_MAX: 1_000,
    IDEMPOTENCY_WINDOW_MS: 600_000,
    IDEMPOTENCY_KEYS_MAX: 100_000,
    SESSION_WINDOW_MS: 600_000,
    SESSIONS_MAX: 10_000,
    SESSION_ANSWERS_MAX: 1_024,
    ANSWERS_MAX: 200_000,
    RECEIPT_RUNS_MAX: 100_000,
    ORIGINS_MAX: 60,
    # The answers of one transaction: at all, where they are kept for a repetition, and all that are kept.
    ANSWER_BYTES_MAX: 1 << 20,
    KEPT_ANSWER_BYTES_MAX: 64 << 10,
    KEPT_ANSWERS_BYTES_MAX: 32 << 20,
    # Keys that one operation may change: a transaction, a range delete, the end of a lease.
    CHANGES_MAX: 10_000,
    LEASES_MAX: 100_000,
    LEASE_KEYS_MAX: 10_000,
    HISTORY_REVISIONS_MAX: 50_000,
    HISTORY_BYTES_MAX: 32 << 20,
}


# Bounds on users and roles. Read like the feature level: a state that was written before there were any lacks them.
_AUTH_BOUNDS: Final = {
    "auth_users_max": 10_000,
    "auth_roles_max": 1_000,
    "auth_user_roles_max": 64,
    "auth_role_ranges_max": 256,
}


def auth_bound(settings: Mapping[str, int], name: str) -> int:
    """The bound `name` on users and roles."""
    return settings.get(name, _AUTH_BOUNDS[name])


def default_settings() -> dict[str, int]:
    """A new dict with every setting at its default."""
    return dict(_DEFAULTS)
