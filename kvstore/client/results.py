"""Answers of the HTTP API, read into typed results, and written again in the shapes of the API.

An answer that does not have its documented shape did not come from a node (a proxy, another service): it raises
InternalError, whose outcome is unknown for a write.
"""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from kvstore.errors import InternalError, Outcome
from kvstore.model.levels import Level
from kvstore.model.results import ClusterView, MemberView, Receipt, Record
from kvstore.model.stamp import ZERO_STAMP, Stamp

T = TypeVar("T")


class WriteResult(NamedTuple):
    """An acknowledged write. `revision` and `version` are those it gave the key; `acked` voters met `level`.

    At level ONE `outcome` is "pending": there is no revision or version yet, and `receipt` is the id to ask with.
    """

    key: bytes
    revision: int | None
    version: int | None
    level: Level
    required: int
    acked: int
    outcome: Outcome | Literal["pending"]
    receipt: str | None

    def to_json(self) -> dict[str, Any]:
        """The shape of the API."""
        return {
            **key_json(self.key),
            "revision": self.revision,
            "version": self.version,
            "level": str(self.level),
            "required": self.required,
            "acked": self.acked,
            "outcome": self.outcome,
            "receipt": self.receipt,
        }


@dataclass(frozen=True, slots=True)
class RangePage:
    """One page, all at `revision`. `count` is the number of keys in the whole range, `cursor` asks for the next."""

    revision: int
    count: int
    records: list[tuple[bytes, Record]]
    cursor: str | None


class RangeDeleted(NamedTuple):
    """A range delete: how many keys it took at `revision`; or would have taken, for a dry run."""

    deleted: int
    revision: int
    dry_run: bool


class LeaseView(NamedTuple):
    """A lease, what is left of its time, and the keys that are attached to it."""

    id: int
    ttl_seconds: float
    remaining_seconds: float
    keys: list[bytes]


class KeptAlive(NamedTuple):
    """The leases that live on, with their whole time to live in seconds, and those that are not there any more."""

    leases: dict[int, float]
    gone: list[int]


def decode_json(body: bytes, *, read: bool) -> dict[str, Any]:
    """The JSON object in `body`; raises InternalError when it is none."""
    try:
        document = json.loads(body)
    except ValueError as broken:
        raise foreign(f"not JSON ({broken})", read) from broken
    if not isinstance(document, dict):
        raise foreign("not a JSON object", read)
    return document


def parse_write(key: bytes, body: bytes) -> WriteResult:
    """The answer to PUT and DELETE."""
    return write_from_json(key, decode_json(body, read=False))


def write_from_json(key: bytes, document: dict[str, Any]) -> WriteResult:
    """The answer to a write of `key`."""
    try:
        return WriteResult(
            key,
            _optional(document["revision"]),
            _optional(document["version"]),
            Level(document["level"]),
            int(document["required"]),
            int(document["acked"]),
            document["outcome"],
            document.get("receipt"),
        )
    except (KeyError, TypeError, ValueError) as wrong:
        raise foreign(f"not the answer to a write ({wrong!r})", read=False) from wrong


def parse_session(body: bytes) -> int:
    """The answer to the opening of a session."""
    document = decode_json(body, read=False)
    try:
        return int(document["session"])
    except (KeyError, TypeError, ValueError) as wrong:
        raise foreign(f"not a session ({wrong!r})", read=False) from wrong


def parse_range_deleted(body: bytes) -> RangeDeleted:
    """The answer to the range DELETE."""
    document = decode_json(body, read=False)
    return _read(
        lambda: RangeDeleted(int(document["deleted"]), int(document["revision"]), bool(document["dry_run"])),
        "range delete",
        read=False,
    )


def parse_granted(body: bytes) -> tuple[int, float]:
    """The answer to the grant of a lease: its id, and its time to live in seconds."""
    document = decode_json(body, read=False)
    return _read(lambda: (int(document["id"]), float(document["ttl_seconds"])), "lease", read=False)


def parse_kept_alive(body: bytes) -> KeptAlive:
    """The answer to a keepalive of many."""
    document = decode_json(body, read=True)
    return _read(
        lambda: KeptAlive(
            {int(each["id"]): float(each["ttl_seconds"]) for each in document["leases"]}, list(document["gone"])
        ),
        "keepalive",
    )


def parse_lease(body: bytes) -> LeaseView:
    """The answer to GET of a lease."""
    document = decode_json(body, read=True)
    return _read(
        lambda: LeaseView(
            int(document["id"]),
            float(document["ttl_seconds"]),
            float(document["remaining_seconds"]),
            [bytes_field(each, "key") for each in document["keys"]],
        ),
        "lease",
    )


def parse_number(body: bytes, name: str, *, read: bool) -> int:
    """The number `name` of an answer."""
    document = decode_json(body, read=read)
    return _read(lambda: int(document[name]), name, read=read)


def parse_leases(body: bytes) -> list[int]:
    """The answer to GET of all leases."""
    document = decode_json(body, read=True)
    return _read(lambda: [int(each) for each in document["leases"]], "list of leases")


def parse_receipt(body: bytes) -> Receipt:
    """The answer to GET of a receipt."""
    document = decode_json(body, read=True)
    return _read(
        lambda: Receipt(
            str(document["id"]),
            Level(document["level"]),
            document["state"],
            _optional(document["revision"]),
            document.get("reason"),
        ),
        "receipt",
    )


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """The shape that `parse_receipt` reads."""
    return receipt._asdict() | {"level": str(receipt.level)}


def parse_record(body: bytes) -> Record:
    """The answer to GET with `Accept: application/json`."""
    return _read(lambda: record_from_json(decode_json(body, read=True))[1], "record")


def parse_range(body: bytes) -> RangePage:
    """The answer to the range GET."""
    document = decode_json(body, read=True)
    return _read(
        lambda: RangePage(
            int(document["revision"]),
            int(document["count"]),
            [record_from_json(item) for item in document["records"]],
            document.get("cursor"),
        ),
        "range",
    )


def parse_cluster(document: dict[str, Any]) -> ClusterView:
    """`GET /v1/cluster`."""
    names = MemberView._fields
    return _read(
        lambda: ClusterView(
            str(document["cluster_id"]),
            str(document["node"]),
            document["leader"],
            int(document["term"]),
            int(document["commit_index"]),
            int(document["revision"]),
            [MemberView(*(member[name] for name in names)) for member in document["members"]],
            list(document["alarms"]),
        ),
        "cluster",
    )


def record_from_json(item: dict[str, Any]) -> tuple[bytes, Record]:
    """A key and its record. Raises KeyError, TypeError or ValueError for another shape."""
    record = Record(
        bytes_field(item, "value"),
        int(item["create_revision"]),
        int(item["mod_revision"]),
        int(item["version"]),
        int(item.get("lease") or 0),
        _stamp(item.get("stamp")),
    )
    return bytes_field(item, "key"), record


def record_json(key: bytes, record: Record) -> dict[str, Any]:
    """The shape that `record_from_json` reads."""
    return {
        **key_json(key),
        "value_base64": base64.b64encode(record.value).decode(),
        "create_revision": record.create_revision,
        "mod_revision": record.mod_revision,
        "version": record.version,
        "lease": record.lease,
        "stamp": str(record.stamp),
    }


def key_json(key: bytes) -> dict[str, str]:
    """`key` as text when it is UTF-8, else `key_base64`."""
    return text_json("key", key)


def text_json(name: str, data: bytes) -> dict[str, str]:
    """The member `name` with `data` as text when it is UTF-8, else `name_base64`."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def bytes_field(item: dict[str, Any], name: str) -> bytes:
    """The bytes of `name` or `name_base64`; exactly one must be there. Raises ValueError, worded for people."""
    text, encoded = item.get(name), item.get(f"{name}_base64")
    if (text is None) == (encoded is None):
        raise ValueError(f'give "{name}" or "{name}_base64", one of them')
    try:
        if isinstance(text, str):
            return text.encode()
        if isinstance(encoded, str):
            return base64.b64decode(encoded, validate=True)
    except (UnicodeEncodeError, binascii.Error) as broken:
        raise ValueError(f'"{name}" cannot be decoded: {broken}') from broken
    raise ValueError(f'"{name}" must be a string')


def _optional(number: Any) -> int | None:
    return None if number is None else int(number)


def _stamp(text: Any) -> Stamp:
    if text is None:
        return ZERO_STAMP
    if isinstance(text, list):
        ms, counter, node, sequence = text
        return Stamp(int(ms), int(counter), str(node), int(sequence))
    head, sequence = str(text).rsplit(".", 1)
    ms, counter, node = head.split(".", 2)
    return Stamp(int(ms), int(counter), node, int(sequence))


def _read(parse: Callable[[], T], what: str, *, read: bool = True) -> T:
    try:
        return parse()
    except (KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise foreign(f"not a {what} ({wrong!r})", read=read) from wrong


def foreign(problem: str, read: bool) -> InternalError:
    """The error for an answer that no node gives."""
    return InternalError(f"the endpoint answered something that is not of kvstore's API: {problem}", read=read)
