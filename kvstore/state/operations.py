"""The operations of clients, carried out on the contents in the order of their entry (rules 3 to 7 and 9 of
`machine`).
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from kvstore.model.commands import (
    MUST_BE_ABSENT,
    MUST_EXIST,
    NO_LEASE,
    OP_AUTH,
    OP_CHECKED,
    OP_CLOSE_SESSION,
    OP_COMPACT,
    OP_DELETE,
    OP_DELETE_RANGE,
    OP_EXPIRE,
    OP_GRANT,
    OP_OPEN_SESSION,
    OP_PUT,
    OP_PUT_LEASED,
    OP_REVOKE,
    OP_SET,
    OP_TXN,
    TAKES_ONCE,
    Once,
    Op,
    op_digest,
    split_once,
)
from kvstore.model.features import FEATURE_LEVEL
from kvstore.model.results import (
    APPLIED,
    AUTH_OLD,
    COMPACTED,
    FULL,
    LEASE_NOT_FOUND,
    NOT_FOUND,
    PRECONDITION_FAILED,
    STALE_TERM,
    TOO_LARGE,
    OpResult,
)
from kvstore.state import changes
from kvstore.state.contents import Contents
from kvstore.state.digest import DIGEST_MASK, RawStamp, RecordHash, record_hasher
from kvstore.state.raw import RawRecord
from kvstore.state.settings import ANSWER_BYTES_MAX, CHANGES_MAX, KEPT_ANSWER_BYTES_MAX, LEASE_KEYS_MAX, LEASES_MAX
from kvstore.state.transacting import transact


class Entry(NamedTuple):
    """What all operations of one entry share."""

    stamp: RawStamp
    term: int
    record_hash: RecordHash


def apply_operations(contents: Contents, ops: Any, stamp: RawStamp, term: int) -> list[OpResult]:
    """Carry out the operations of an entry; one result for each."""
    entry = Entry(stamp, term, record_hasher(stamp))
    auth = contents.auth
    results = []
    for op in ops:
        kind = op[0]
        if auth.enabled or kind == OP_CHECKED:
            op, refused = _admitted(contents, entry, op)
            if refused is not None:
                results.append(refused)
                continue
            kind = op[0]
        if kind == OP_PUT and len(op) == 4 and op[3] is None:
            # Most operations are this one, tens of thousands a second.
            _, key, value, _ = op
            revision = contents.revision + 1
            version = changes.write(contents, revision, key, value, contents.records.get(key), stamp, entry.record_hash)
            results.append(OpResult(APPLIED, revision, version))
            continue
        body, once = split_once(op) if kind in TAKES_ONCE else (op, None)
        if once is None:
            results.append(_DO[kind](contents, entry, ANSWER_BYTES_MAX, *body[1:]))
        else:
            results.append(_once(contents, entry, body, once))
    return results


def _admitted(contents: Contents, entry: Entry, op: Op) -> tuple[Op, OpResult | None]:
    """The operation itself, and why it is not carried out, if it is not (rules A2 to A4 of `auth`)."""
    at, op = (op[1], op[2]) if op[0] == OP_CHECKED else (0, op)
    if at == contents.auth.revision or op[0] == OP_EXPIRE or op[:2] == (OP_SET, FEATURE_LEVEL):
        return op, None
    body, once = split_once(op)
    kept = None if once is None else _answered(contents, entry, op_digest(body), once)
    return op, kept or OpResult(AUTH_OLD, contents.auth.revision, 0)


def _answered(contents: Contents, entry: Entry, digest: int, once: Once) -> OpResult | None:
    if isinstance(once, bytes):
        return contents.idempotency_keys.answer(once, digest, contents.settings)
    return contents.sessions.answer(*once, digest, entry.stamp[0], contents.settings)


def _once(contents: Contents, entry: Entry, op: Op, once: Once) -> OpResult:
    """Carry out `op` unless it was before; then its first answer is the answer."""
    digest = op_digest(op)
    now_ms = entry.stamp[0]
    kept = _answered(contents, entry, digest, once)
    if kept is not None:
        return kept
    result = _DO[op[0]](contents, entry, KEPT_ANSWER_BYTES_MAX, *op[1:])
    if result.status == FULL:
        return result  # nothing was done: there may be room when it is sent again
    if isinstance(once, bytes):
        contents.idempotency_keys.keep(once, digest, result, now_ms)
    else:
        contents.sessions.keep(once[0], once[1], digest, result)
    return result


# -- one function for each kind: (contents, entry, name of the bound on its answer, fields)


def _put(contents: Contents, entry: Entry, _: str, key: bytes, value: bytes, condition: int | None) -> OpResult:
    return _put_leased(contents, entry, _, key, value, condition, NO_LEASE)


def _put_leased(
    contents: Contents, entry: Entry, _: str, key: bytes, value: bytes, condition: int | None, lease: int
) -> OpResult:
    old = contents.records.get(key)
    if condition is not None and not _holds(condition, old):
        return _refused(old)
    if lease > 0:
        if lease not in contents.leases:
            return OpResult(LEASE_NOT_FOUND, 0, 0)
        attached = contents.leases.count(lease)
        if attached >= contents.settings[LEASE_KEYS_MAX] and (old is None or old[4] != lease):
            return OpResult(TOO_LARGE, 0, attached)
    revision = contents.revision + 1
    version = changes.write(contents, revision, key, value, old, entry.stamp, entry.record_hash, lease)
    return OpResult(APPLIED, revision, version)


def _delete(contents: Contents, entry: Entry, _: str, key: bytes, condition: int | None) -> OpResult:
    old = contents.records.get(key)
    if condition is not None and not _holds(condition, old):
        return _refused(old)
    if old is None:
        return OpResult(NOT_FOUND, contents.revision, 0)
    changes.bury(contents, contents.revision + 1, key, old, entry.stamp)
    return OpResult(APPLIED, contents.revision, 0)


def _delete_range(contents: Contents, entry: Entry, _: str, start: bytes, end: bytes | None) -> OpResult:
    count = contents.records.count(start, end)
    if count > contents.settings[CHANGES_MAX]:
        return OpResult(TOO_LARGE, 0, count)
    revision = contents.revision + 1
    for key in list(contents.records.keys(start, end)):
        changes.bury(contents, revision, key, contents.records.get(key), entry.stamp)
    return OpResult(APPLIED, contents.revision, count)


def _transact(contents: Contents, entry: Entry, answer_bytes: str, *lists: Any) -> OpResult:
    return transact(contents, lists, entry.stamp, entry.record_hash, contents.settings[answer_bytes])


def _grant(contents: Contents, _entry: Entry, _: str, ttl_ms: int) -> OpResult:
    if len(contents.leases) >= contents.settings[LEASES_MAX]:
        return OpResult(FULL, 0, 0)
    return OpResult(APPLIED, contents.leases.grant(ttl_ms), 0)


def _revoke(contents: Contents, entry: Entry, _: str, lease: int) -> OpResult:
    if lease not in contents.leases:
        return OpResult(LEASE_NOT_FOUND, 0, 0)
    ended = changes.end_lease(contents, lease, entry.stamp)
    return OpResult(APPLIED, contents.revision, ended)


def _expire(contents: Contents, entry: Entry, _: str, term: int, leases: tuple[int, ...]) -> OpResult:
    if term != entry.term:
        return OpResult(STALE_TERM, 0, 0)
    ended = [changes.end_lease(contents, lease, entry.stamp) for lease in leases if lease in contents.leases]
    return OpResult(APPLIED, contents.revision, len(ended))


def _compact(contents: Contents, _entry: Entry, _: str, revision: int) -> OpResult:
    compacted = contents.history.compacted
    if not compacted < revision <= contents.revision:
        return OpResult(COMPACTED, compacted, 0)
    contents.history.compact(revision)
    return OpResult(APPLIED, revision, 0)


def _set(contents: Contents, _entry: Entry, _: str, name: str, value: int) -> OpResult:
    if name == FEATURE_LEVEL:
        value = max(value, contents.settings.get(FEATURE_LEVEL, 1))
    contents.settings[name] = value
    return OpResult(APPLIED, contents.revision, 0)


def _auth(contents: Contents, _entry: Entry, _: str, action: int, arguments: tuple[Any, ...]) -> OpResult:
    before = contents.auth.digest
    result = contents.auth.apply(action, arguments, contents.settings)
    contents.digest = (contents.digest - before + contents.auth.digest) & DIGEST_MASK
    return result


def _open_session(contents: Contents, entry: Entry, _: str) -> OpResult:
    number = contents.sessions.open(entry.stamp[0], contents.settings)
    return OpResult(FULL, 0, 0) if number is None else OpResult(APPLIED, number, 0)


def _close_session(contents: Contents, _entry: Entry, _: str, session: int) -> OpResult:
    closed = contents.sessions.close(session)
    return OpResult(APPLIED if closed else NOT_FOUND, contents.revision, 0)


_DO: Final[dict[int, Callable[..., OpResult]]] = {
    OP_PUT: _put,
    OP_DELETE: _delete,
    OP_OPEN_SESSION: _open_session,
    OP_CLOSE_SESSION: _close_session,
    OP_PUT_LEASED: _put_leased,
    OP_TXN: _transact,
    OP_DELETE_RANGE: _delete_range,
    OP_GRANT: _grant,
    OP_REVOKE: _revoke,
    OP_EXPIRE: _expire,
    OP_COMPACT: _compact,
    OP_SET: _set,
    OP_AUTH: _auth,
}


def _holds(condition: int, old: RawRecord | None) -> bool:
    if condition == MUST_BE_ABSENT:
        return old is None
    return old is not None and (condition == MUST_EXIST or old[2] == condition)


def _refused(old: RawRecord | None) -> OpResult:
    return OpResult(PRECONDITION_FAILED, 0, 0) if old is None else OpResult(PRECONDITION_FAILED, old[2], old[3])
