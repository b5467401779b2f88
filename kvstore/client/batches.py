"""The operations of a batch, and their shapes on the wire. No sending here: see batching.py.

A batch is sent as msgpack, in which keys and values are bytes as they are.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from kvstore import limits
from kvstore.client.results import WriteResult, record_from_json, write_from_json
from kvstore.client.sessions import Session
from kvstore.client.wire import Request
from kvstore.errors import BadRequest, InternalError, KeyTooLong, KvError, LocalError, NotFound, TooLarge, from_problem
from kvstore.model.levels import Level
from kvstore.model.results import Record


class Put(NamedTuple):
    """As AsyncClient.put."""

    key: bytes
    value: bytes
    level: str = "quorum"
    if_revision: int | None = None
    if_absent: bool = False
    idempotency_key: str | None = None


class Delete(NamedTuple):
    """As AsyncClient.delete."""

    key: bytes
    level: str = "quorum"
    if_revision: int | None = None
    idempotency_key: str | None = None


class Get(NamedTuple):
    """As AsyncClient.get."""

    key: bytes
    level: str = "quorum"


BatchOp = Put | Delete | Get
BatchResult = WriteResult | Record | None | KvError | LocalError
"""What the call would have returned (None: a get of an absent key), or the error that it would have raised."""

_HEADERS: Final = {"Accept": "application/msgpack", "Content-Type": "application/msgpack"}
_LEVELS: Final = frozenset(level.value for level in Level)
_OVERHEAD_BYTES: Final = 128


class Kind(NamedTuple):
    """What the operations of one request have in common, so that none of them delays or endangers another."""

    write: bool
    level: str
    in_session: bool
    named: bool


def kind_of(op: BatchOp, *, sessions: bool) -> Kind:
    """Which request `op` may travel in."""
    if isinstance(op, Get):
        return Kind(False, op.level, False, False)
    keyed = op.idempotency_key is not None or op.level == "one"
    return Kind(True, op.level, sessions and not keyed, sessions or keyed)


def size_of(op: BatchOp) -> int:
    """The bytes that `op` takes, about."""
    return _OVERHEAD_BYTES + len(op.key) + (len(op.value) if isinstance(op, Put) else 0)


def refusal_of(op: BatchOp) -> KvError | None:
    """What is wrong with `op`, so that it is never sent."""
    read = isinstance(op, Get)
    if not op.key:
        return BadRequest("the key is empty; a key has 1 to 4,096 bytes", read=read)
    if len(op.key) > limits.KEY_BYTES_MAX:
        return KeyTooLong(f"the key has {len(op.key):,} bytes; at most {limits.KEY_BYTES_MAX:,} are allowed", read=read)
    if op.level not in _LEVELS:
        return BadRequest(f"there is no level {op.level!r}", read=read)
    if not isinstance(op, Get):
        if op.if_revision is not None and not 0 < op.if_revision <= limits.REVISION_MAX:
            return BadRequest("if_revision is a revision, above 0; for an absent key there is if_absent")
        if op.idempotency_key is not None and (wrong := key_problem(op.idempotency_key)):
            return BadRequest(wrong)
    if isinstance(op, Put):
        if len(op.value) > limits.VALUE_BYTES_MAX:
            return TooLarge(f"the value has {len(op.value):,} bytes; at most {limits.VALUE_BYTES_MAX:,} are allowed")
        if op.if_absent and op.if_revision is not None:
            return BadRequest("a write takes one condition: if_revision or if_absent")
    return None


def key_problem(idempotency_key: str) -> str | None:
    """What is wrong with an idempotency key, if anything is."""
    bytes_max = limits.IDEMPOTENCY_KEY_BYTES_MAX
    fits = 0 < len(idempotency_key.encode("utf-8", "surrogateescape")) <= bytes_max
    if fits and idempotency_key.isprintable() and idempotency_key == idempotency_key.strip():
        return None
    return f"an idempotency key has 1 to {bytes_max} bytes of printable text, and no space at its ends"


def wire_op(op: BatchOp) -> dict[str, Any]:
    """`op` as it stands in the body, without its name and level."""
    if isinstance(op, Get):
        return {"op": "get", "key": op.key}
    shape: dict[str, Any] = {"op": "put" if isinstance(op, Put) else "delete", "key": op.key}
    if isinstance(op, Put):
        shape["value"] = op.value
        if op.if_absent:
            shape["if_absent"] = True
    if op.if_revision is not None:
        shape["if_revision"] = op.if_revision
    return shape


def request(kind: Kind, shapes: Sequence[dict[str, Any]], session: Session | None) -> Request:
    """The request that carries `shapes`, with the floor of this moment."""
    import msgspec  # only who sends batches waits for it

    body: dict[str, Any] = {"ops": shapes}
    if session is not None:
        body |= {"session": session.number, "floor": session.floor}
    data = msgspec.msgpack.encode(body)
    return Request("POST", "/v1/batch", f"level={kind.level}", _HEADERS, data, write=kind.write, named=kind.named)


def parse_results(body: bytes, ops: Sequence[BatchOp], *, read: bool) -> list[BatchResult]:
    """The answer to `ops`, in their order. Raises InternalError for anything else."""
    import msgspec

    try:
        results = msgspec.msgpack.decode(body)["results"]
        if len(results) != len(ops):
            raise ValueError(f"{len(results)} results for {len(ops)} operations")
        return [_result(op, each) for op, each in zip(ops, results, strict=True)]
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise InternalError(
            f"the endpoint answered something that is not of kvstore's API: not the answer to a batch ({wrong!r})",
            read=read,
        ) from wrong


def _result(op: BatchOp, told: dict[str, Any]) -> BatchResult:
    if "code" in told:
        error = from_problem(told)
        return None if isinstance(op, Get) and isinstance(error, NotFound) else error
    return record_from_json(told)[1] if isinstance(op, Get) else write_from_json(op.key, told)
