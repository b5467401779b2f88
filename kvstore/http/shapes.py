"""The shapes of structured bodies, one struct each; the same members in JSON and in msgpack.

`EITHER` names the members of which there is one, under the plain name or under that ending in `_base64`.
"""

from typing import Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from kvstore.errors import Outcome
from kvstore.http.answer import MSGPACK
from kvstore.model.levels import Level
from kvstore.model.results import ClusterView, Record, WriteAnswer

_encode_json = msgspec.json.Encoder().encode
_encode_msgpack = msgspec.msgpack.Encoder().encode


class WriteBody(msgspec.Struct):
    """The answer to PUT and DELETE."""

    EITHER: ClassVar[tuple[str, ...]] = ("key",)

    key: str | UnsetType
    key_base64: bytes | UnsetType
    revision: int | None
    version: int | None
    level: Level
    required: int
    acked: int
    outcome: Outcome | Literal["pending"]
    receipt: str | None

    @classmethod
    def of(cls, answer: WriteAnswer) -> "WriteBody":
        """The shape of `answer`."""
        text, encoded = keyed(answer.key)
        return cls(
            text,
            encoded,
            answer.revision,
            answer.version,
            answer.level,
            answer.required,
            answer.acked,
            answer.outcome,
            answer.receipt,
        )


class ReceiptBody(msgspec.Struct):
    """What became of a write at level ONE."""

    id: str
    level: Level
    state: Literal["pending", "committed", "superseded", "unknown"]
    revision: int | None
    reason: Literal["lost", "expired", "conflict"] | None


class SessionBody(msgspec.Struct):
    """A session: the number to put before each sequence."""

    session: int


class RecordBody(msgspec.Struct):
    """One record. `value_base64` is left out where only keys were asked for."""

    EITHER: ClassVar[tuple[str, ...]] = ("key",)

    key: str | UnsetType
    key_base64: bytes | UnsetType
    value_base64: bytes | UnsetType
    create_revision: int
    mod_revision: int
    version: int
    lease: int
    stamp: str

    @classmethod
    def of(cls, key: bytes, record: Record, *, with_value: bool = True) -> "RecordBody":
        """The shape of `record`, held under `key`."""
        text, encoded = keyed(key)
        value = record.value if with_value else UNSET
        return cls(
            text,
            encoded,
            value,
            record.create_revision,
            record.mod_revision,
            record.version,
            record.lease,
            str(record.stamp),
        )


class RangeBody(msgspec.Struct):
    """One page of a range."""

    revision: int
    count: int
    cursor: str | None
    records: list[RecordBody]


class LineBody(msgspec.Struct):
    """One line of a range as ndjson."""

    EITHER: ClassVar[tuple[str, ...]] = ("key",)

    key: str | UnsetType
    key_base64: bytes | UnsetType
    value: str | UnsetType
    value_base64: bytes | UnsetType


def keyed(data: bytes) -> tuple[str | UnsetType, bytes | UnsetType]:
    """`data` as text if it is UTF-8, else as bytes for a member ending in `_base64`; the other one is UNSET."""
    try:
        return data.decode(), UNSET
    except UnicodeDecodeError:
        return UNSET, data


def line(key: bytes, value: bytes | None) -> bytes:
    """One line of ndjson, newline and all; without a value for None."""
    value_text, value_bytes = (UNSET, UNSET) if value is None else keyed(value)
    return _encode_json(LineBody(*keyed(key), value_text, value_bytes)) + b"\n"


def cluster_body(view: ClusterView) -> dict[str, Any]:
    """The shape of `GET /v1/cluster`."""
    return view._asdict() | {"members": [member._asdict() for member in view.members]}


def encode(body: Any, media_type: str) -> bytes:
    """`body` as JSON, or as msgpack if `media_type` says so. Bytes become base64 text in both: one shape."""
    if media_type == MSGPACK:
        return _encode_msgpack(msgspec.to_builtins(body))
    return _encode_json(body)
