"""Why the state machine did not do what was asked: a result's status as the error that its caller is told."""

from collections.abc import Callable
from typing import Final

from kvstore.errors import (
    AuthChanged,
    AuthNotFound,
    AuthRefused,
    Compacted,
    IdempotencyConflict,
    IdempotencyExpired,
    KvError,
    LeaseNotFound,
    Overloaded,
    PreconditionFailed,
    TooLarge,
)
from kvstore.model.levels import Level
from kvstore.model.results import (
    AUTH_NOT_FOUND,
    AUTH_OLD,
    AUTH_REFUSED,
    COMPACTED,
    EXPIRED,
    FULL,
    LEASE_NOT_FOUND,
    ONCE_CONFLICT,
    PRECONDITION_FAILED,
    SUPERSEDED,
    TOO_LARGE,
    OpResult,
)


def refusal(result: OpResult, level: Level, leader: str | None) -> KvError | None:
    """The error for `result`, or None if what was asked was done, or there was nothing to do."""
    explain = _REFUSALS.get(result.status)
    if explain is None:
        return None
    error = explain(result)
    error.level, error.leader = level, leader
    return error


_REFUSALS: Final[dict[int, Callable[[OpResult], KvError]]] = {
    PRECONDITION_FAILED: lambda result: PreconditionFailed(
        f"the key's mod_revision is {result.revision}" if result.revision else "the key is absent"
    ),
    SUPERSEDED: lambda _: IdempotencyConflict(
        "under this idempotency key a write at level one was superseded, which changed nothing; send it under another"
    ),
    ONCE_CONFLICT: lambda _: IdempotencyConflict("another request was sent under this idempotency key before"),
    EXPIRED: lambda _: IdempotencyExpired(
        "the session has expired, or this write was answered before and its answer is not kept any more"
    ),
    FULL: lambda _: Overloaded(
        "too many leases, sessions, answers or idempotency keys are kept already", retry_after_s=5.0
    ),
    TOO_LARGE: lambda result: TooLarge(
        f"one operation would change, attach or read too much ({result.version:,}); do it in smaller parts"
    ),
    LEASE_NOT_FOUND: lambda _: LeaseNotFound("there is no such lease: it has expired or was revoked, or never was"),
    AUTH_OLD: lambda result: AuthChanged(f"users or roles have changed; the auth revision is {result.revision}"),
    AUTH_REFUSED: lambda result: AuthRefused(result.detail.decode()),
    AUTH_NOT_FOUND: lambda result: AuthNotFound(result.detail.decode()),
    COMPACTED: lambda result: Compacted(
        f"the history is compacted up to revision {result.revision} already, or that revision has not been reached"
    ),
}
