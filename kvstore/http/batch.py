"""`POST /v1/batch`: many independent operations in one request, each with the answer that it would have had alone.

What cannot be read as a batch (no JSON or msgpack, an unknown member, too many operations) is refused whole, and
nothing of it is carried out. What is wrong with one operation (a key that is too long, a level that takes no
condition) is that operation's own problem.

The path is short: one decoding, which validates as it reads; one call of the store; one encoding.
"""

from typing import Annotated, Any, Final

import msgspec
from aiohttp import hdrs, web
from msgspec import UNSET, Meta, UnsetType

from kvstore import limits
from kvstore.errors import BadRequest, Forbidden, KeyTooLong, KvError, TooLarge
from kvstore.http import parse
from kvstore.http.answer import JSON, MSGPACK, Answer, content_type
from kvstore.http.asked import media_type, plain_bytes
from kvstore.http.kv import Door, hear, once_headers, read_body, stamp_line
from kvstore.http.shapes import RecordBody, WriteBody, encode
from kvstore.model.batches import BatchOp, BatchResult
from kvstore.model.commands import MUST_BE_ABSENT, MUST_EXIST, NO_LEASE, Once
from kvstore.model.levels import Level
from kvstore.model.results import Record, WriteAnswer

_OFFERS: Final = (JSON, MSGPACK)
_TYPE: Final = {offer: content_type(offer) for offer in _OFFERS}

_Number = Annotated[int, Meta(ge=1, le=limits.REVISION_MAX)]


class GetOp(msgspec.Struct, forbid_unknown_fields=True, tag_field="op", tag="get"):
    """Read a key: text, or base64 under the other name."""

    key: str | UnsetType = UNSET
    key_base64: bytes | UnsetType = UNSET
    level: Level | None = None


class DeleteOp(GetOp, forbid_unknown_fields=True, tag_field="op", tag="delete"):
    """Delete a key, under one condition at most."""

    if_revision: _Number | None = None
    if_exists: bool = False
    idempotency_key: str | None = None
    sequence: _Number | None = None


class PutOp(DeleteOp, forbid_unknown_fields=True, tag_field="op", tag="put"):
    """Put a value under a key, under one condition at most."""

    value: str | UnsetType = UNSET
    value_base64: bytes | UnsetType = UNSET
    if_absent: bool = False
    lease: _Number | None = None


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/batch`. A level, a condition or a name stands with its operation."""

    ops: Annotated[list[GetOp | DeleteOp | PutOp], Meta(max_length=limits.BATCH_OPS_MAX)]
    session: _Number | None = None
    floor: _Number | None = None


# The same as msgpack, where bytes may stand as they are: of what type something is, each operation says for itself.


class PackedGetOp(GetOp, forbid_unknown_fields=True, tag_field="op", tag="get"):
    """Read a key: text or bytes, or base64 under the other name."""

    key: Any = UNSET
    key_base64: Any = UNSET


class PackedDeleteOp(DeleteOp, forbid_unknown_fields=True, tag_field="op", tag="delete"):
    """Delete a key, under one condition at most."""

    key: Any = UNSET
    key_base64: Any = UNSET


class PackedPutOp(PutOp, forbid_unknown_fields=True, tag_field="op", tag="put"):
    """Put a value under a key, under one condition at most."""

    key: Any = UNSET
    key_base64: Any = UNSET
    value: Any = UNSET
    value_base64: Any = UNSET


class PackedBatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/batch` as msgpack."""

    ops: Annotated[list[PackedGetOp | PackedDeleteOp | PackedPutOp], Meta(max_length=limits.BATCH_OPS_MAX)]
    session: _Number | None = None
    floor: _Number | None = None


_from_json = msgspec.json.Decoder(BatchBody).decode
_from_msgpack = msgspec.msgpack.Decoder(PackedBatchBody).decode
_Op = GetOp | PackedGetOp


class BatchAnswerBody(msgspec.Struct):
    """The answer: one element for each operation, in their order; a problem has `code`, others do not."""

    results: list[WriteBody | RecordBody | dict[str, Any]]


async def post_batch(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Carries out every operation of the body; 200 as soon as each of them has its answer."""
    level, timeout_s = parse.write_options(query)
    if once_headers(request):
        raise BadRequest("a batch is named operation by operation: idempotency_key, or session, floor and sequence")
    hear(door, request)
    offer = parse.preferred(request.headers.get(hdrs.ACCEPT, JSON), _OFFERS)
    with door.bodies.held() as held:
        body, took_s = await read_body(request, limits.BATCH_BODY_BYTES_MAX, held, timeout_s)
        batch = _decoded(body, media_type(request))
        results: list[BatchResult] = []
        places: list[int] = []
        ops: list[BatchOp] = []
        for place, asked in enumerate(batch.ops):
            op = _op(asked, batch, level)
            results.append(op if isinstance(op, KvError) else _NOT_YET)
            if not isinstance(op, KvError):
                places.append(place)
                ops.append(op)
        answers = await door.store.batch(ops, timeout_s=timeout_s - took_s) if ops else []
    for place, answer in zip(places, answers, strict=True):
        results[place] = answer
    told = BatchAnswerBody(
        [_told(asked, result, level) for asked, result in zip(batch.ops, results, strict=True)],
    )
    answered = Answer(200, _TYPE[offer] + stamp_line(door.store.stamp()), encode(told, offer), level.value)
    if door.audited:
        refused = [op.key for op, each in zip(ops, answers, strict=True) if isinstance(each, Forbidden)]
        answered.about = {"keys": [op.key for op in ops], "refused": refused}
    return answered


_NOT_YET: Final = KvError("not carried out yet")


def _decoded(body: bytes, kind: str) -> BatchBody | PackedBatchBody:
    try:
        if kind == MSGPACK:
            return _from_msgpack(body)
        if kind in (JSON, "application/x-www-form-urlencoded"):  # what curl says unless it is told otherwise
            return _from_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise BadRequest(f"the body is no batch: {wrong}; nothing of it was carried out") from wrong
    raise BadRequest(f"a batch is {JSON} or {MSGPACK}")


def _op(asked: _Op, batch: BatchBody | PackedBatchBody, default: Level) -> BatchOp | KvError:
    try:
        level = asked.level or default
        key = _bytes("key", asked.key, asked.key_base64)
        if not 0 < len(key) <= limits.KEY_BYTES_MAX:
            return _bad_key(key, asked)
        if not isinstance(asked, DeleteOp):
            return BatchOp("get", key, b"", level, None, None)
        condition, once = _condition(asked), _once(asked, batch)
        if not isinstance(asked, PutOp):
            return BatchOp("delete", key, b"", level, condition, once)
        value = _bytes("value", asked.value, asked.value_base64)
        if len(value) > limits.VALUE_BYTES_MAX:
            return TooLarge(f"the value has {len(value)} bytes; at most {limits.VALUE_BYTES_MAX} are allowed")
        return BatchOp("put", key, value, level, condition, once, asked.lease or NO_LEASE)
    except (BadRequest, ValueError) as wrong:
        return BadRequest(str(wrong), read=not isinstance(asked, DeleteOp))


def _bad_key(key: bytes, asked: _Op) -> KvError:
    read = not isinstance(asked, DeleteOp)
    if not key:
        return BadRequest("the key is empty; a key has at least one byte", read=read)
    return KeyTooLong(f"the key has {len(key)} bytes; at most {limits.KEY_BYTES_MAX} are allowed", read=read)


def _bytes(name: str, plain: Any, encoded: Any) -> bytes:
    """From JSON, base64 is decoded already."""
    return encoded if plain is UNSET and type(encoded) is bytes else plain_bytes(name, plain, encoded)


def _condition(asked: DeleteOp) -> int | None:
    absent = isinstance(asked, PutOp) and asked.if_absent
    if (asked.if_revision is not None) + asked.if_exists + absent > 1:
        raise ValueError("an operation takes one condition: if_revision, if_exists or if_absent")
    if absent:
        return MUST_BE_ABSENT
    return MUST_EXIST if asked.if_exists else asked.if_revision


def _once(asked: DeleteOp, batch: BatchBody | PackedBatchBody) -> Once | None:
    if asked.idempotency_key is not None:
        key = asked.idempotency_key.strip().encode("utf-8", "surrogateescape")
        if asked.sequence is not None:
            raise ValueError("give one of idempotency_key and sequence")
        if not 0 < len(key) <= limits.IDEMPOTENCY_KEY_BYTES_MAX:
            raise ValueError(f"an idempotency_key has 1 to {limits.IDEMPOTENCY_KEY_BYTES_MAX} bytes")
        return key
    if asked.sequence is None:
        return None
    if batch.session is None or batch.floor is None or batch.floor > asked.sequence:
        raise ValueError("a sequence goes with the batch's session and a floor that is not above it")
    return batch.session, asked.sequence, batch.floor


def _told(asked: _Op, result: BatchResult, default: Level) -> WriteBody | RecordBody | dict[str, Any]:
    if isinstance(result, WriteAnswer):
        return WriteBody.of(result)
    if isinstance(result, Record):
        return RecordBody.of(_bytes("key", asked.key, asked.key_base64), result)
    problem = result.to_problem()
    problem["level"] = result.level or asked.level or default
    return problem
