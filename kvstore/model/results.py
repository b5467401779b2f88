"""Answers: what applying an operation gives, and what the doors and the client library pass on."""

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from kvstore.errors import Outcome
from kvstore.model.levels import Level
from kvstore.model.stamp import Stamp

# What applying one operation gave, the first element of an OpResult.
APPLIED: Final = 0
PRECONDITION_FAILED: Final = 1
NOT_FOUND: Final = 2
SUPERSEDED: Final = 3
ONCE_CONFLICT: Final = 4
EXPIRED: Final = 5
FULL: Final = 6
DUPLICATE: Final = 7
GAP: Final = 8
WRONG_EPOCH: Final = 9
TOO_LARGE: Final = 10
LEASE_NOT_FOUND: Final = 11
STALE_TERM: Final = 12
COMPACTED: Final = 13
AUTH_OLD: Final = 14
AUTH_REFUSED: Final = 15
AUTH_NOT_FOUND: Final = 16


class OpResult(NamedTuple):
    """Result of one applied operation; crosses the peer wire as an array.

    `status` APPLIED: `revision` and `version` are those the operation gave the key (version 0 for a delete).
    PRECONDITION_FAILED: `revision` and `version` are those the key has now, 0 and 0 if absent.
    NOT_FOUND (a delete of an absent key): `revision` is the store's, version 0.
    SUPERSEDED (a level ONE write that is older than what the key has): nothing changed; `revision` and `version` 0.
    ONCE_CONFLICT: another request used this idempotency key or sequence. EXPIRED: the session has, or its answer was
    told before. FULL: too many sessions, answers or keys are kept. DUPLICATE, GAP (`revision` is the mark) and
    WRONG_EPOCH: see kvstore.state.origins. TOO_LARGE: it would change, attach or read more than one operation may;
    `version` says how many or how much. LEASE_NOT_FOUND: a lease that it names is not there. STALE_TERM: the leader
    that wanted it leads no more. COMPACTED (`revision` is how far): a compaction to where nothing is left, or nothing
    is yet. AUTH_OLD (`revision` is the auth revision): users or roles have changed since it was checked, or nobody has
    checked it. AUTH_REFUSED, AUTH_NOT_FOUND: a change of them that cannot be made; `detail` says why. None of these
    changed anything.

    Where the operation is not of one key: `version` is how many keys a range delete or a revoked lease took with it,
    and 1 or 0 for a transaction whose comparisons held or did not; `detail` has a transaction's answers
    (`kvstore.model.transactions`).
    """

    status: int
    revision: int
    version: int
    detail: bytes = b""


class Record(NamedTuple):
    """A key's present state. `lease` is 0 for none."""

    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int
    stamp: Stamp


class WriteAnswer(NamedTuple):
    """An acknowledged write: `acked` of at least `required` voters met `level`.

    At level ONE the outcome is "pending": no revision or version yet, and a `receipt` to find out.
    """

    key: bytes
    revision: int | None
    version: int | None
    level: Level
    required: int
    acked: int
    outcome: Outcome | Literal["pending"]
    receipt: str | None


class Receipt(NamedTuple):
    """What became of a write at level ONE.

    `state` pending: acknowledged, not applied yet. committed: applied, at `revision` (None if nothing was there to
    delete). superseded: it changed nothing, because the key had a newer stamp, or (`reason` conflict) because another
    request had used its idempotency key. unknown: `reason` expired (applied or superseded, but too long ago to be
    kept) or lost (its origin does not know it, or is no member any more).
    """

    id: str
    level: Level
    state: Literal["pending", "committed", "superseded", "unknown"]
    revision: int | None
    reason: Literal["lost", "expired", "conflict"] | None


class ReadAnswer(NamedTuple):
    """A read of one key: `record` is None when absent; the rest describes the state that answered.

    At level ONE a record with mod_revision 0 is a write of this node's own that is not committed yet.
    """

    record: Record | None
    revision: int
    applied_index: int
    leader: str | None
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class RangeAnswer:
    """One page, all of it at `revision`. `count` is the number of keys in the whole range, not on the page.

    `next_key` is where the following page starts (the last key of this page, exclusive), or None at the end.
    """

    revision: int
    count: int
    records: list[tuple[bytes, Record]]
    next_key: bytes | None
    applied_index: int
    leader: str | None
    stamp: Stamp


class TxnAnswer(NamedTuple):
    """A transaction that was carried out at `revision`; `answers` as `kvstore.model.transactions` describes them."""

    succeeded: bool
    revision: int
    level: Level
    required: int
    acked: int
    answers: tuple[Any, ...]


class RangeDeleted(NamedTuple):
    """How many keys a range delete took, at `revision`."""

    keys: int
    revision: int
    level: Level
    required: int
    acked: int


class LeaseAnswer(NamedTuple):
    """A lease: its time to live, what is left of it, and the keys that are attached to it."""

    id: int
    ttl_ms: int
    left_ms: int
    keys: tuple[bytes, ...]


class Change(NamedTuple):
    """One change of a key at `revision`: its record after it, None if it was deleted, and before it."""

    revision: int
    key: bytes
    record: Record | None
    previous: Record | None


class MemberView(NamedTuple):
    """One member as the answering node sees it; indices are None where it cannot know them."""

    name: str
    role: str
    voter: bool
    reachable: bool
    http: str | None
    peer: str
    match_index: int | None
    applied_index: int | None
    intents_pending: int
    digest: dict[str, Any] | None


class ClusterView(NamedTuple):
    """`GET /v1/cluster` (DESIGN 3.1)."""

    cluster_id: str
    node: str
    leader: str | None
    term: int
    commit_index: int
    revision: int
    members: list[MemberView]
    alarms: list[dict[str, str]]
