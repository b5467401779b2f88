"""Handlers of what changes several keys at one revision: transactions and range deletes; and of compaction."""

from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta

from kvstore import limits
from kvstore.errors import BadRequest
from kvstore.http import parse
from kvstore.http.answer import Answer
from kvstore.http.asked import Base64Text, Keyed, PlainText, asked, plain_bytes
from kvstore.http.kv import Door, once_of
from kvstore.http.once import shaped
from kvstore.http.shapes import RecordBody
from kvstore.model import transactions
from kvstore.model.commands import KEEP_LEASE, OP_DELETE, OP_DELETE_RANGE, OP_PUT, OP_TXN
from kvstore.model.keys import prefix_end
from kvstore.model.levels import Level
from kvstore.model.results import Record, TxnAnswer
from kvstore.model.stamp import Stamp
from kvstore.model.transactions import STEP_GET, STEP_RANGE, Comparison, Step

_RELATIONS: Final = {
    "=": transactions.EQUAL,
    "!=": transactions.NOT_EQUAL,
    "<": transactions.LESS,
    ">": transactions.GREATER,
}
_TARGETS: Final = {
    "value": transactions.TARGET_VALUE,
    "version": transactions.TARGET_VERSION,
    "create_revision": transactions.TARGET_CREATE_REVISION,
    "mod_revision": transactions.TARGET_MOD_REVISION,
    "lease": transactions.TARGET_LEASE,
    "exists": transactions.TARGET_EXISTS,
}


class CompareBody(Keyed, forbid_unknown_fields=True):
    """One comparison. `to` is a whole number; text for a value, or `to_base64`; true or false for `exists`."""

    target: Literal["value", "version", "create_revision", "mod_revision", "lease", "exists"] = "mod_revision"
    relation: Literal["=", "!=", "<", ">"] = "="
    to: Annotated[Any, Meta(extra_json_schema={"type": ["integer", "string", "boolean"]})] = UNSET
    to_base64: Base64Text = UNSET


class PutStep(Keyed, forbid_unknown_fields=True, tag_field="op", tag="put"):
    """Put a value under a key. Without `lease` the key has none then; `keep_lease` keeps the one that it has."""

    EITHER: ClassVar[tuple[str, ...]] = ("key", "value")

    value: PlainText = UNSET
    value_base64: Base64Text = UNSET
    lease: Annotated[int, Meta(ge=0, le=limits.REVISION_MAX)] = 0
    keep_lease: bool = False


class GetStep(Keyed, forbid_unknown_fields=True, tag_field="op", tag="get"):
    """Read one key, as it was before the transaction."""


class DeleteStep(Keyed, forbid_unknown_fields=True, tag_field="op", tag="delete"):
    """Delete one key; one that is absent is no error."""


class _Bounds(msgspec.Struct, forbid_unknown_fields=True):
    prefix: PlainText = UNSET
    prefix_base64: Base64Text = UNSET
    start: PlainText = UNSET
    start_base64: Base64Text = UNSET
    end: PlainText = UNSET
    end_base64: Base64Text = UNSET

    def span(self) -> tuple[bytes, bytes | None]:
        """The keys that are meant: from the first up to the second, exclusive. Raises BadRequest."""
        given = [each for each in (self.start, self.start_base64, self.end, self.end_base64) if each is not UNSET]
        if self.prefix is not UNSET or self.prefix_base64 is not UNSET:
            if given:
                raise BadRequest("give prefix, or start and end, not both")
            prefix = plain_bytes("prefix", self.prefix, self.prefix_base64)
            return prefix, prefix_end(prefix)
        if not given:
            raise BadRequest("say which keys: prefix, or start and end; an empty prefix is all of them")
        start = end = None
        if self.start is not UNSET or self.start_base64 is not UNSET:
            start = plain_bytes("start", self.start, self.start_base64)
        if self.end is not UNSET or self.end_base64 is not UNSET:
            end = plain_bytes("end", self.end, self.end_base64)
        return start or b"", end


class DeleteRangeStep(_Bounds, forbid_unknown_fields=True, tag_field="op", tag="delete_range"):
    """Delete all keys of a range."""


class RangeStep(_Bounds, forbid_unknown_fields=True, tag_field="op", tag="range"):
    """Read a range, as it was before the transaction. `limit` 0: all of it."""

    limit: Annotated[int, Meta(ge=0, lt=1 << 31)] = 0
    reverse: bool = False


# One within another ends there: the inner one knows no `txn`.
_InnerStep = PutStep | GetStep | DeleteStep | DeleteRangeStep | RangeStep


class InnerTxnStep(msgspec.Struct, forbid_unknown_fields=True, tag_field="op", tag="txn", rename={"otherwise": "else"}):
    """A transaction within a transaction."""

    compare: list[CompareBody] = []
    then: list[_InnerStep] = []
    otherwise: list[_InnerStep] = []


_Step = _InnerStep | InnerTxnStep


class TxnBody(msgspec.Struct, forbid_unknown_fields=True, rename={"otherwise": "else"}):
    """Body of `POST /v1/txn`: if all comparisons hold, what is in `then` is carried out, else what is in `else`."""

    compare: list[CompareBody] = []
    then: list[_Step] = []
    otherwise: list[_Step] = []


class TxnAnswerBody(msgspec.Struct):
    """The answer to a transaction; one result for each operation of the list that was carried out."""

    succeeded: bool
    revision: int
    level: Level
    required: int
    acked: int
    outcome: Literal["committed"]
    results: list[dict[str, Any]]


class RangeDeleteBody(msgspec.Struct):
    """The answer to a range delete: how many keys it took, or would take."""

    deleted: int
    revision: int
    dry_run: bool


class CompactBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/compact`, and its answer."""

    revision: Annotated[int, Meta(ge=1, le=limits.REVISION_MAX)]


async def transact(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Carries out one of two lists of operations at one revision, as comparisons decide."""
    level, timeout_s = parse.transaction_options(query)
    once = once_of(door, request)
    body, took_s = await asked(door, request, TxnBody, timeout_s=timeout_s, bytes_max=limits.TXN_BODY_BYTES_MAX)
    comparisons, then, otherwise = _lists(body)
    try:
        transactions.check(comparisons, then, otherwise)
    except transactions.BadTransaction as wrong:
        raise BadRequest(str(wrong)) from wrong
    op = transactions.transaction(comparisons, then, otherwise, once)
    answer = await door.store.transactions.transact(op, level=level, timeout_s=timeout_s - took_s)
    taken = then if answer.succeeded else otherwise
    answered = shaped(door, request, 200, _told(answer, taken))
    if door.audited:
        answered.about = {"keys": _changed(taken)}
    return answered


async def delete_range(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Deletes all keys of a range at one revision; `dry_run` only counts them."""
    options = parse.range_delete_options(query)
    once = once_of(door, request)
    if options.dry_run:
        found = await door.store.range(
            options.start,
            options.end,
            level=Level.QUORUM,
            limit=1,
            after=None,
            reverse=False,
            revision=None,
            count=None,
            timeout_s=options.timeout_s,
        )
        return shaped(door, request, 200, RangeDeleteBody(found.count, found.revision, True))
    gone = await door.store.transactions.delete_range(
        options.start, options.end, level=options.level, once=once, timeout_s=options.timeout_s
    )
    return shaped(door, request, 200, RangeDeleteBody(gone.keys, gone.revision, False))


async def compact(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Forgets the history up to a revision: what was before it can be neither read nor watched any more."""
    timeout_s = parse.timeout_option(query)
    body, took_s = await asked(door, request, CompactBody, timeout_s=timeout_s)
    await door.store.transactions.compact(body.revision, timeout_s=timeout_s - took_s)
    return shaped(door, request, 200, body)


def _changed(steps: tuple[Step, ...]) -> list[bytes]:
    """The keys that steps change, and the first one of each range."""
    changed: list[bytes] = []
    for step in steps:
        if step[0] == OP_TXN:
            changed += _changed((*step[2], *step[3]))
        elif step[0] in (OP_PUT, OP_DELETE, OP_DELETE_RANGE):
            changed.append(step[1])
    return changed


# -- what was asked, as the model has it


def _lists(body: TxnBody | InnerTxnStep) -> tuple[tuple[Comparison, ...], tuple[Step, ...], tuple[Step, ...]]:
    return (
        tuple(_comparison(each) for each in body.compare),
        tuple(_step(each) for each in body.then),
        tuple(_step(each) for each in body.otherwise),
    )


def _comparison(body: CompareBody) -> Comparison:
    key = plain_bytes("key", body.key, body.key_base64)
    to: Any = body.to
    if body.target == "value":
        if isinstance(to, (bool, int)):
            raise BadRequest("a value is compared to text, or to to_base64")
        to = plain_bytes("to", to, body.to_base64)
    elif body.target == "exists":
        if to is not UNSET and not isinstance(to, bool):
            raise BadRequest("exists is compared to true or false")
        to = int(to is UNSET or to)
    elif not isinstance(to, int) or isinstance(to, bool):
        raise BadRequest(f"{body.target} is compared to a whole number")
    return _TARGETS[body.target], key, _RELATIONS[body.relation], to


def _step(body: _Step) -> Step:
    if isinstance(body, InnerTxnStep):
        return (OP_TXN, *_lists(body))
    if isinstance(body, DeleteRangeStep):
        return (OP_DELETE_RANGE, *body.span())
    if isinstance(body, RangeStep):
        return (STEP_RANGE, *body.span(), body.limit, int(body.reverse))
    key = plain_bytes("key", body.key, body.key_base64)
    if isinstance(body, GetStep):
        return (STEP_GET, key)
    if isinstance(body, DeleteStep):
        return (OP_DELETE, key)
    if body.lease and body.keep_lease:
        raise BadRequest("give lease, the id of one, or keep_lease")
    value = plain_bytes("value", body.value, body.value_base64)
    return (OP_PUT, key, value, KEEP_LEASE if body.keep_lease else body.lease)


# -- what was answered


def _told(answer: TxnAnswer, steps: tuple[Step, ...]) -> TxnAnswerBody:
    results = _results(answer.answers, steps)
    return TxnAnswerBody(
        answer.succeeded, answer.revision, answer.level, answer.required, answer.acked, "committed", results
    )


def _results(answers: tuple[Any, ...], steps: tuple[Step, ...]) -> list[dict[str, Any]]:
    return [_result(answer, step) for answer, step in zip(answers, steps, strict=True)]


def _result(answer: Any, step: Step) -> dict[str, Any]:
    kind = step[0]
    if kind == OP_PUT:
        return {"op": "put", "version": answer}
    if kind == OP_DELETE:
        return {"op": "delete", "deleted": answer}
    if kind == OP_DELETE_RANGE:
        return {"op": "delete_range", "deleted": answer}
    if kind == STEP_GET:
        return {"op": "get", "record": None if answer is None else _record(step[1], answer)}
    if kind == STEP_RANGE:
        count, rows, more = answer
        return {"op": "range", "count": count, "more": more, "records": [_record(row[0], row[1:]) for row in rows]}
    succeeded, inner = answer
    return {"op": "txn", "succeeded": succeeded, "results": _results(inner, step[2] if succeeded else step[3])}


def _record(key: bytes, raw: Any) -> RecordBody:
    *plain, stamp = raw
    return RecordBody.of(key, Record._make([*plain, Stamp._make(stamp)]))
