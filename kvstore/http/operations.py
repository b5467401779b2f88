"""What each route takes and answers, for `/openapi.json`. The route table names one of these beside each handler.

What can be taken from where it is kept is: parameters from the Query that parses them, bodies from their structs, codes
and statuses from the error tree. What a handler's docstring says is the summary.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec

from kvstore import errors, limits
from kvstore.errors import KvError
from kvstore.http import batch, cluster, keepalives, leases, parameters, parse, settings, shapes, transactions, watch
from kvstore.http.answer import JSON, MSGPACK, NDJSON, OCTETS
from kvstore.http.parameters import Key, Number, Opaque, Parameter, Query
from kvstore.http.problems import ProblemBody
from kvstore.model.changeable import CHANGEABLE
from kvstore.model.results import ClusterView, MemberView

Schema = dict[str, Any]
REF: Final = "#/components/schemas/{name}"

Shape = type[msgspec.Struct] | Schema
"""A struct, or a schema as it stands."""


class Header(NamedTuple):
    """A header. `always`: an answer has it every time; no request has to have any."""

    name: str
    about: str
    schema: Schema
    always: bool = False


class Told(NamedTuple):
    """An answer that is no error."""

    about: str
    content: Mapping[str, Shape]
    headers: tuple[Header, ...] = ()


class Operation(NamedTuple):
    """What a route takes and answers. `given`: what stands in its path. `errors`: beside those that any route has."""

    query: Query
    answers: Mapping[int, Told]
    errors: tuple[type[KvError], ...] = ()
    given: Parameter | None = None
    headers: tuple[Header, ...] = ()
    body: Mapping[str, Shape] | None = None


def ref(struct: type[msgspec.Struct]) -> Schema:
    """Where the document has the schema of `struct`."""
    return {"$ref": REF.format(name=struct.__name__)}


def _both(shape: Shape) -> Mapping[str, Shape]:
    return {JSON: shape, MSGPACK: shape}


def _matching(pattern: str) -> Schema:
    return {"type": "string", "pattern": f"^(?:{pattern})$"}


def _shown(schema: Schema, example: Any) -> Schema:
    return schema | {"examples": [example]}


def _object_of(name: str, view: type, **instead: Any) -> type[msgspec.Struct]:
    """The struct that a named tuple is as an object."""
    return msgspec.defstruct(name, [*(get_type_hints(view) | instead).items()])


# -- headers

_WHOLE: Final[Schema] = {"type": "integer", "minimum": 0}
_TEXT: Final[Schema] = {"type": "string"}

REQUEST_ID: Final = Header(
    "X-Request-Id", "The request's id: the client's, if it may be used, else a new one.", _TEXT, True
)
STAMP: Final = Header(
    "KV-Stamp",
    "The highest stamp that is known: what is written behind it is later.",
    _shown(_matching(parse.STAMP.pattern), "1795472243071.0.n1.0"),
)
_SESSION: Final = Header(
    "KV-Session", "SESSION/SEQUENCE/FLOOR names a write.", _shown(_matching(parse.SESSION.pattern), "41/7/6")
)
_IDEMPOTENCY_KEY: Final = Header(
    "Idempotency-Key",
    "Names a write, so that it can be sent again.",
    _shown({"type": "string", "minLength": 1, "maxLength": limits.IDEMPOTENCY_KEY_BYTES_MAX}, "order-66"),
)
_IF_MATCH: Final = Header(
    "If-Match",
    "The key's mod_revision, in quotes; or * if it only must be there.",
    _shown(_matching(rf"\*|{parse.ENTITY_TAG.pattern}"), '"42"'),
)
_IF_NONE_MATCH: Final = Header("If-None-Match", "The key must be absent.", {"type": "string", "enum": ["*"]})
_LAST_EVENT_ID: Final = Header(
    "Last-Event-ID",
    "The last id that a watch told: go on behind it.",
    _shown(_matching(parameters.DIGITS.pattern.decode()), "42"),
)
RETRY_AFTER: Final = Header("Retry-After", "Seconds after which it may be tried again.", _WHOLE)
WWW_AUTHENTICATE: Final = Header("WWW-Authenticate", "By what one says who one is: Bearer.", _TEXT)
_LOCATION: Final = Header("Location", "The receipt.", _TEXT, True)
_ETAG: Final = Header(
    "ETag", "The mod_revision, in quotes; none while a write is pending.", _matching(parse.ENTITY_TAG.pattern)
)
_REVISION: Final = Header("KV-Revision", "The revision of the write, or of the state that answered.", _WHOLE, True)
_VERSION: Final = Header("KV-Version", "How often the key was put since it was created.", _WHOLE)
_APPLIED_INDEX: Final = Header("KV-Applied-Index", "How much of the log the answering state has.", _WHOLE, True)
_LEADER: Final = Header("KV-Leader", "Who leads, if the answering node knows.", _TEXT)
STAMPED: Final = STAMP._replace(always=True)
_STATE: Final = (_REVISION, _APPLIED_INDEX, _LEADER, STAMPED)

_ONCE: Final = (STAMP, _IDEMPOTENCY_KEY, _SESSION)

# -- errors

ANY: Final[tuple[type[KvError], ...]] = (errors.BadRequest, errors.KeyTooLong, errors.Overloaded, errors.InternalError)
READ: Final = (
    errors.NoQuorum,
    errors.NoLeader,
    errors.MembersUnreachable,
    errors.NotAVoter,
    errors.DeadlineExceeded,
)
WRITE: Final = (*READ, errors.Discarded, errors.StorageFull, errors.AuthChanged)
_NAMED: Final = (*WRITE, errors.IdempotencyConflict, errors.IdempotencyExpired)
BODY: Final = (errors.TooLarge,)
# Of every route that asks who it is that calls.
CLOSED: Final[tuple[type[KvError], ...]] = (errors.Unauthenticated, errors.Forbidden)

# -- bodies

_BYTES: Final[Schema] = {"type": "string", "format": "binary"}
_PLAIN: Final = Told("The word ok.", {"text/plain": _TEXT})

MemberBody: Final = _object_of("MemberBody", MemberView)
ClusterBody: Final = _object_of("ClusterBody", ClusterView, members=list[MemberBody])  # type: ignore[valid-type]
RemovedBody: Final = msgspec.defstruct("RemovedBody", [("lost_writes", int | None)], bases=(ClusterBody,))

_CLUSTER: Final = {200: Told("The cluster as this node sees it.", _both(ClusterBody))}
_BATCH_ANSWER: Final[Schema] = {
    "type": "object",
    "required": ["results"],
    "properties": {
        "results": {
            "type": "array",
            "items": {"anyOf": [ref(each) for each in (shapes.WriteBody, shapes.RecordBody, ProblemBody)]},
        }
    },
}
# OpenAPI 3.1 has no word for streams: these are of one event, and of one line.
_EVENT: Final[Schema] = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": _matching("[0-9]+"),
        "event": {"enum": ["put", "delete", "progress", "lagged", "compacted", "closed"]},
        "data": {
            "type": "string",
            "contentMediaType": JSON,
            "contentSchema": {
                "anyOf": [
                    ref(watch.PutBody),
                    ref(watch.DeletedBody),
                    {"type": "object", "required": ["revision"], "properties": {"revision": _WHOLE}},
                ]
            },
        },
    },
}
# What these name; the document has to have it, too.
NAMED_IN_STREAMS: Final = (watch.PutBody, watch.DeletedBody, shapes.LineBody)


def _line(struct: type[msgspec.Struct]) -> Schema:
    return {"type": "string", "contentMediaType": JSON, "contentSchema": ref(struct)}


def _stamped(shape: Shape, about: str) -> Told:
    return Told(about, _both(shape), (STAMPED,))


# -- what stands in paths

_KEY: Final = Key("key", "The key: any bytes, percent-encoded; decoded once and never normalised.", bytes_min=1)
_LEASE: Final = Number("id", 1, limits.REVISION_MAX, "The lease.")
_SESSION_NUMBER: Final = Number("session", 1, limits.REVISION_MAX, "The session.")
_RECEIPT: Final = Opaque(
    "id",
    limits.KEY_BYTES_MAX,
    "The receipt, as an answer has told it: node, epoch, sequence.",
    r"^[\s\S]{1,64}\.[1-9a-f][0-9a-f]{0,15}\.[1-9][0-9]{0,18}$",
    "n1.1f6a3c2b1.7",
)
_NAME: Final = Opaque("name", limits.KEY_BYTES_MAX, "The member.")

# -- keys

_PENDING: Final = Told("Taken, not committed yet (level one).", _both(shapes.WriteBody), (_LOCATION, STAMPED))

GET_KEY: Final = Operation(
    parameters.READ,
    {
        200: Told(
            "The value, or the record if Accept prefers it.",
            {OCTETS: _BYTES, **_both(shapes.RecordBody)},
            (_ETAG, _VERSION, *_STATE),
        )
    },
    (*READ, errors.NotFound, errors.Compacted, errors.Divergence),
    given=_KEY,
    headers=(STAMP,),
)
PUT_KEY: Final = Operation(
    parameters.PUT,
    {
        200: Told("Written.", _both(shapes.WriteBody), (_ETAG._replace(always=True), _REVISION, _VERSION, STAMPED)),
        202: _PENDING,
    },
    (*_NAMED, *BODY, errors.PreconditionFailed, errors.LeaseNotFound),
    given=_KEY,
    headers=(_IF_MATCH, _IF_NONE_MATCH, *_ONCE),
    body={OCTETS: _BYTES},
)
DELETE_KEY: Final = Operation(
    parameters.WRITE,
    {200: Told("Deleted.", _both(shapes.WriteBody), (_REVISION, _VERSION, STAMPED)), 202: _PENDING},
    (*_NAMED, errors.NotFound, errors.PreconditionFailed),
    given=_KEY,
    headers=(_IF_MATCH, *_ONCE),
)
GET_RANGE: Final = Operation(
    parameters.RANGE,
    {
        200: Told(
            "A page of records, or a stream of them.",
            {**_both(shapes.RangeBody), NDJSON: _line(shapes.LineBody)},
            _STATE,
        )
    },
    (*READ, errors.Compacted),
    headers=(STAMP,),
)
DELETE_RANGE: Final = Operation(
    parameters.RANGE_DELETE,
    {200: _stamped(transactions.RangeDeleteBody, "How many keys it took, or would take.")},
    (*_NAMED, *BODY),
    headers=_ONCE,
)
BATCH: Final = Operation(
    parameters.WRITE,
    {200: _stamped(_BATCH_ANSWER, "Each operation has its answer.")},
    (*WRITE, *BODY),
    headers=(STAMP,),
    body={JSON: batch.BatchBody, MSGPACK: batch.PackedBatchBody},
)
TXN: Final = Operation(
    parameters.TXN,
    {200: _stamped(transactions.TxnAnswerBody, "One of the two lists was carried out.")},
    (*_NAMED, *BODY, errors.LeaseNotFound),
    headers=_ONCE,
    body=_both(transactions.TxnBody),
)
COMPACT: Final = Operation(
    parameters.TIMEOUT,
    {200: _stamped(transactions.CompactBody, "The history before it is forgotten.")},
    (*WRITE, *BODY, errors.Compacted),
    body=_both(transactions.CompactBody),
)
WATCH: Final = Operation(
    parameters.WATCH,
    {
        200: Told(
            "The changes, as they come. KV-Revision: everything up to it is left out.",
            {"text/event-stream": _EVENT},
            (_REVISION, STAMPED),
        )
    },
    (*READ, errors.Compacted),
    headers=(_LAST_EVENT_ID, STAMP),
)

# -- leases, sessions, receipts

GRANT: Final = Operation(
    parameters.TIMEOUT,
    {201: _stamped(leases.LeaseBody, "The new lease.")},
    (*_NAMED, *BODY),
    headers=_ONCE,
    body=_both(leases.GrantBody),
)
LEASES: Final = Operation(parameters.TIMEOUT, {200: _stamped(leases.LeasesBody, "Their ids.")}, READ)
KEEP_MANY_ALIVE: Final = Operation(
    parameters.TIMEOUT,
    {
        200: Told(
            "Those that live on, and those that are gone; or a line for each line of the request, as they come.",
            {**_both(keepalives.KeptAliveBody), NDJSON: _line(keepalives.KeptAliveBody)},
            (STAMPED,),
        )
    },
    (*WRITE, *BODY),
    body={**_both(keepalives.KeepAliveBody), NDJSON: _line(keepalives.KeepAliveBody)},
)
LEASE: Final = Operation(
    parameters.TIMEOUT,
    {200: _stamped(leases.LeaseViewBody, "The lease.")},
    (*READ, errors.LeaseNotFound),
    given=_LEASE,
)
REVOKE: Final = Operation(
    parameters.TIMEOUT,
    {200: _stamped(leases.RevokedBody, "It is gone, and so are its keys.")},
    (*_NAMED, errors.LeaseNotFound),
    given=_LEASE,
    headers=_ONCE,
)
KEEP_ALIVE: Final = Operation(
    parameters.TIMEOUT,
    {200: _stamped(leases.LeaseBody, "It has its whole time again.")},
    (*WRITE, errors.LeaseNotFound),
    given=_LEASE,
)
RECEIPT: Final = Operation(
    parameters.TIMEOUT, {200: _stamped(shapes.ReceiptBody, "What became of it.")}, READ, given=_RECEIPT
)
OPEN_SESSION: Final = Operation(parameters.TIMEOUT, {201: _stamped(shapes.SessionBody, "The new session.")}, WRITE)
CLOSE_SESSION: Final = Operation(
    parameters.TIMEOUT, {200: _stamped(shapes.SessionBody, "It is gone.")}, WRITE, given=_SESSION_NUMBER
)

# -- the cluster and this node

SNAPSHOT: Final = Operation(
    parameters.SNAPSHOT,
    {200: Told("The bytes of the backup.", {OCTETS: _BYTES}, (_APPLIED_INDEX,))},
    (*READ, errors.StorageFull),
)
CLUSTER: Final = Operation(parameters.NOTHING, _CLUSTER)
ADD_MEMBER: Final = Operation(
    parameters.TIMEOUT,
    _CLUSTER,
    (*WRITE, *BODY, errors.MembershipRefused),
    body=_both(cluster.NewMember),
)
REMOVE_MEMBER: Final = Operation(
    parameters.REMOVAL,
    {200: Told("The cluster without it.", _both(RemovedBody))},
    (*WRITE, errors.MembershipRefused),
    given=_NAME,
)
TRANSFER: Final = Operation(
    parameters.TIMEOUT,
    _CLUSTER,
    (*WRITE, *BODY, errors.MembershipRefused),
    body=_both(cluster.NewLeader),
)
_SETTINGS: Final = {200: _stamped(settings.SettingsBody, "The settings, as they are now.")}
SETTINGS: Final = Operation(parameters.TIMEOUT, _SETTINGS, READ)
SETTING: Final = Operation(
    parameters.TIMEOUT,
    _SETTINGS,
    (*WRITE, *BODY, errors.UpgradeIncomplete),
    given=Parameter("name", "The setting.", {"type": "string", "enum": list(CHANGEABLE)}),
    body=_both(settings.NewValue),
)
LIVE: Final = Operation(parameters.NOTHING, {200: _PLAIN})
READY: Final = Operation(parameters.NOTHING, {200: _PLAIN}, (errors.Unavailable,))
TRACE: Final = Operation(parameters.TRACE, {200: Told("One event a line.", {NDJSON: _TEXT})})
METRICS: Final = Operation(
    parameters.NOTHING,
    {200: Told("All metrics.", {"text/plain": _TEXT, "application/openmetrics-text": _TEXT})},
)
PAGE: Final = Operation(parameters.NOTHING, {200: Told("The page.", {"text/html": _TEXT})})
DESCRIPTION: Final = Operation(parameters.NOTHING, {200: Told("This document.", {JSON: {"type": "object"}})})
