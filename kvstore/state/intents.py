"""Intents, carried out on the contents: writes that one node has acknowledged at level ONE (rule 8 of `machine`)."""

from typing import Any, Final

from kvstore.model.commands import OP_PUT, Op, Origin, request_digest
from kvstore.model.results import APPLIED, DUPLICATE, SUPERSEDED, OpResult
from kvstore.state import changes
from kvstore.state.contents import Contents
from kvstore.state.digest import RawStamp, record_hasher
from kvstore.state.settings import CLOCK_DRIFT_MS_MAX

_SUPERSEDED: Final = OpResult(SUPERSEDED, 0, 0)
_DUPLICATE: Final = OpResult(DUPLICATE, 0, 0)


def apply_intents(contents: Contents, origin: Origin, ops: Any, entry_stamp: RawStamp) -> list[OpResult]:
    """Carry out the intents of an entry; one result for each."""
    known = contents.origins.admit(origin, contents.settings)
    if isinstance(known, OpResult):
        return [known] * len(ops)
    results = [_DUPLICATE] * min(known, len(ops))
    # Not counted from the entry's own stamp: batch after batch would push log time ahead of every clock.
    bound = max((origin.wall_ms + contents.settings[CLOCK_DRIFT_MS_MAX], 0), entry_stamp[:2])
    for place in range(len(results), len(ops)):
        op = ops[place]
        # Where many are bounded to one moment, their sequence alone gives their order.
        ms, counter = min((op[-3], op[-2]), bound)
        stamp = (ms, counter, origin.node, origin.first_sequence + place)
        result = _apply(contents, op, stamp, entry_stamp[0])
        contents.origins.note(origin.node, result, contents.settings)
        results.append(result)
    return results


def _apply(contents: Contents, op: Op, stamp: RawStamp, now_ms: int) -> OpResult:
    kind, key, once = op[0], op[1], op[-1]
    value = op[2] if kind == OP_PUT else b""
    digest = 0
    if once is not None:
        digest = request_digest(kind, key, value, None)
        kept = contents.idempotency_keys.answer(once, digest, contents.settings, bounded=False)
        if kept is not None:
            return kept
    old = contents.records.get(key)
    revision = contents.revision + 1
    if stamp < changes.stamp_of(contents, key, old):
        result = _SUPERSEDED
    elif kind == OP_PUT:
        version = changes.write(contents, revision, key, value, old, stamp, record_hasher(stamp))
        result = OpResult(APPLIED, revision, version)
    else:
        changes.bury(contents, revision, key, old, stamp)
        result = OpResult(APPLIED, revision, 0)
    contents.last_stamp = max(contents.last_stamp, stamp)
    if once is not None:
        contents.idempotency_keys.keep(once, digest, result, now_ms, intent=True)
    return result
