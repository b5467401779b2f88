"""Transactions: comparisons, then one of two lists of steps, all of it at one revision.

```python
from kvstore.client.txn import Get, Put, exists, value

done = await client.txn(
    compare=[value(b"state") == b"open", ~exists(b"owner")],
    then=[Put(b"owner", b"me"), Get(b"state")],
    otherwise=[Get(b"owner")],
)
done.succeeded, done.results
```

Comparisons and reads are judged against the state before the transaction, wherever they stand. An absent key has
version, revisions and lease 0, and a value that no comparison holds for. No two steps of a list may meet at a key,
unless both read it. A transaction within a transaction holds no other.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from kvstore.client.results import bytes_field, foreign, key_json, record_from_json, text_json
from kvstore.errors import BadRequest
from kvstore.model.results import Record

Target = Literal["value", "version", "create_revision", "mod_revision", "lease", "exists"]
Relation = Literal["=", "!=", "<", ">"]


class Comparison(NamedTuple):
    """What has to hold of one key. `to` is bytes for the value, a truth for existence, else a number."""

    target: Target
    key: bytes
    relation: Relation
    to: bytes | int

    def __invert__(self) -> "Comparison":
        """The opposite, of `exists` only: of anything else an absent key would make it something else."""
        if self.target != "exists":
            raise TypeError("only exists() can be turned round with ~")
        return self._replace(to=not self.to)

    def to_json(self) -> dict[str, Any]:
        """The shape of the API."""
        to = text_json("to", self.to) if isinstance(self.to, bytes) else {"to": self.to}
        return {**key_json(self.key), "target": self.target, "relation": self.relation, **to}


class _Operand:
    """One side of a comparison that is still to be made."""

    __slots__ = ("_key", "_target")
    __hash__ = None  # type: ignore[assignment]  # == makes comparisons here

    def __init__(self, target: Target, key: bytes) -> None:
        self._target = target
        self._key = key

    def _compared(self, relation: Relation, to: Any) -> Comparison:
        wanted = bytes if self._target == "value" else int
        if type(to) is not wanted:
            raise TypeError(f"{self._target} is compared to {wanted.__name__}, not to {type(to).__name__}")
        return Comparison(self._target, self._key, relation, to)

    def __eq__(self, to: Any) -> Comparison:  # type: ignore[override]
        return self._compared("=", to)

    def __ne__(self, to: Any) -> Comparison:  # type: ignore[override]
        return self._compared("!=", to)

    def __lt__(self, to: Any) -> Comparison:
        return self._compared("<", to)

    def __gt__(self, to: Any) -> Comparison:
        return self._compared(">", to)


def value(key: bytes) -> _Operand:
    """The value of `key`, to be compared to bytes."""
    return _Operand("value", key)


def version(key: bytes) -> _Operand:
    """How often `key` was written since it was created."""
    return _Operand("version", key)


def create_revision(key: bytes) -> _Operand:
    """The revision at which `key` was created."""
    return _Operand("create_revision", key)


def mod_revision(key: bytes) -> _Operand:
    """The revision at which `key` was written last."""
    return _Operand("mod_revision", key)


def lease(key: bytes) -> _Operand:
    """The id of the lease that `key` is attached to, 0 for none."""
    return _Operand("lease", key)


def exists(key: bytes) -> Comparison:
    """There is such a key; `~exists(key)`: there is none."""
    return Comparison("exists", key, "=", True)


class Put(NamedTuple):
    """Write a value. Without `lease` the key has none then; `keep_lease` keeps the one that it has."""

    key: bytes
    value: bytes
    lease: int = 0
    keep_lease: bool = False


class Get(NamedTuple):
    """Read a key, as it was before the transaction."""

    key: bytes


class Delete(NamedTuple):
    """Delete a key; one that is absent is no error."""

    key: bytes


class DeleteRange(NamedTuple):
    """Delete the keys with `prefix`, or those from `start` up to and without `end`."""

    prefix: bytes | None = None
    start: bytes | None = None
    end: bytes | None = None


class Range(NamedTuple):
    """Read a range, as it was before the transaction. `limit` 0: all of it."""

    prefix: bytes | None = None
    start: bytes | None = None
    end: bytes | None = None
    limit: int = 0
    reverse: bool = False


class Txn(NamedTuple):
    """A transaction within a transaction."""

    compare: Sequence[Comparison] = ()
    then: "Sequence[Step]" = ()
    otherwise: "Sequence[Step]" = ()


Step = Put | Get | Delete | DeleteRange | Range | Txn


class PutDone(NamedTuple):
    """A Put: the version that the key has now."""

    key: bytes
    version: int


class GetDone(NamedTuple):
    """A Get: None for an absent key."""

    key: bytes
    record: Record | None


class DeleteDone(NamedTuple):
    """A Delete or DeleteRange: how many keys it took."""

    deleted: int


@dataclass(frozen=True, slots=True)
class RangeDone:
    """A Range: `count` keys are in it, and `more` than those told here if its limit was lower."""

    count: int
    more: bool
    records: list[tuple[bytes, Record]]


class TxnDone(NamedTuple):
    """A Txn within: which list was carried out, and the results of its steps."""

    succeeded: bool
    results: "list[StepDone]"


StepDone = PutDone | GetDone | DeleteDone | RangeDone | TxnDone


class TxnResult(NamedTuple):
    """A transaction that was carried out at `revision`: `then` if it succeeded, else `otherwise`."""

    succeeded: bool
    revision: int
    results: list[StepDone]


_NAMES: Final = {Put: "put", Get: "get", Delete: "delete", DeleteRange: "delete_range", Range: "range", Txn: "txn"}


def body(compare: Sequence[Comparison], then: Sequence[Step], otherwise: Sequence[Step]) -> bytes:
    """What `POST /v1/txn` takes. Raises BadRequest for what is no comparison or step."""
    return json.dumps(_lists(compare, then, otherwise)).encode()


def _lists(compare: Sequence[Comparison], then: Sequence[Step], otherwise: Sequence[Step]) -> dict[str, Any]:
    for each in compare:
        if not isinstance(each, Comparison):
            raise BadRequest(f"{each!r} is no comparison")
    return {
        "compare": [each.to_json() for each in compare],
        "then": [step_json(each) for each in then],
        "else": [step_json(each) for each in otherwise],
    }


def step_json(step: Step) -> dict[str, Any]:
    """The shape of the API."""
    if type(step) not in _NAMES:
        raise BadRequest(f"{step!r} is no step of a transaction")
    shape: dict[str, Any] = {"op": _NAMES[type(step)]}
    if isinstance(step, Txn):
        return shape | _lists(step.compare, step.then, step.otherwise)
    if isinstance(step, (DeleteRange, Range)):
        for name in ("prefix", "start", "end"):
            bound = getattr(step, name)
            shape |= {} if bound is None else text_json(name, bound)
        if isinstance(step, Range):
            shape |= {"limit": step.limit, "reverse": step.reverse}
        return shape
    shape |= key_json(step.key)
    if isinstance(step, Put):
        shape |= text_json("value", step.value) | {"lease": step.lease, "keep_lease": step.keep_lease}
    return shape


def parse(document: dict[str, Any], then: Sequence[Step], otherwise: Sequence[Step]) -> TxnResult:
    """The answer to a transaction of these lists. Raises InternalError for anything else."""
    try:
        succeeded = bool(document["succeeded"])
        results = _results(document["results"], then if succeeded else otherwise)
        return TxnResult(succeeded, int(document["revision"]), results)
    except (KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise foreign(f"not the answer to a transaction ({wrong!r})", read=False) from wrong


def _results(told: list[dict[str, Any]], steps: Sequence[Step]) -> list[StepDone]:
    return [_result(each, step) for each, step in zip(told, steps, strict=True)]


def _result(told: dict[str, Any], step: Step) -> StepDone:
    if told["op"] != _NAMES[type(step)]:
        raise ValueError(f"{told['op']!r} does not answer {step!r}")
    if isinstance(step, Put):
        return PutDone(step.key, int(told["version"]))
    if isinstance(step, Get):
        record = told["record"]
        return GetDone(step.key, None if record is None else record_from_json(record)[1])
    if isinstance(step, (Delete, DeleteRange)):
        return DeleteDone(int(told["deleted"]))
    if isinstance(step, Range):
        return RangeDone(int(told["count"]), bool(told["more"]), [record_from_json(each) for each in told["records"]])
    succeeded = bool(told["succeeded"])
    return TxnDone(succeeded, _results(told["results"], step.then if succeeded else step.otherwise))


def parse_steps(document: Any) -> tuple[list[Comparison], list[Step], list[Step]]:
    """The lists that a document in the shape of the API means. Raises ValueError, worded for people."""
    if not isinstance(document, dict) or (strange := document.keys() - {"compare", "then", "else"}):
        raise ValueError(
            'a transaction is an object with the lists "compare", "then" and "else"'
            if not isinstance(document, dict)
            else f"{sorted(strange)[0]!r} is unknown; there are compare, then and else"
        )
    for name in document:
        if not isinstance(document[name], list) or not all(isinstance(each, dict) for each in document[name]):
            raise ValueError(f'"{name}" must be a list of objects')
    return (
        [_comparison(each) for each in document.get("compare", ())],
        [_step(each) for each in document.get("then", ())],
        [_step(each) for each in document.get("else", ())],
    )


def _comparison(item: dict[str, Any]) -> Comparison:
    target: Any = item.get("target", "mod_revision")
    to: Any = bytes_field(item, "to") if target == "value" else item.get("to", target == "exists")
    if not isinstance(to, (bytes, int)):
        raise ValueError(f"{target} is compared to a whole number")
    return Comparison(target, bytes_field(item, "key"), item.get("relation", "="), to)


def _step(item: dict[str, Any]) -> Step:
    kinds: dict[Any, type[Step]] = {name: kind for kind, name in _NAMES.items()}
    kind = kinds.get(item.get("op"))
    if kind is None:
        raise ValueError(f'"op" must be one of {", ".join(_NAMES.values())}')
    if kind is Txn:
        return Txn(*parse_steps({name: each for name, each in item.items() if name != "op"}))
    if kind in (DeleteRange, Range):
        bounds = {
            name: bytes_field(item, name)
            for name in ("prefix", "start", "end")
            if name in item or f"{name}_base64" in item
        }
        if kind is DeleteRange:
            return DeleteRange(**bounds)
        return Range(**bounds, limit=int(item.get("limit", 0)), reverse=bool(item.get("reverse", False)))
    key = bytes_field(item, "key")
    if kind is Put:
        return Put(key, bytes_field(item, "value"), int(item.get("lease", 0)), bool(item.get("keep_lease", False)))
    return Get(key) if kind is Get else Delete(key)
